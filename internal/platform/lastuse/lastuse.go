// Package lastuse writes when something was last used: to the minute, in
// batches, so that a use writes nothing itself. It is a courtesy, not a record:
// a crash loses the last seconds.
package lastuse

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
)

const (
	// precision is how much older a stored time must be to be replaced.
	precision = 60 * time.Second
	every     = 10 * time.Second

	most  = 50_000 // that may wait; what comes beyond is not written
	batch = 200    // of one transaction, so that nobody waits long
)

// Touch sets the time of a row, unless it holds one of older or later.
type Touch func(ctx context.Context, tx *db.Tx, id uuid.UUID, older, at time.Time) error

// Times are those that wait to be written. Make one with New.
type Times struct {
	db    *db.DB
	clock *clock.Clock
	log   *slog.Logger
	what  string // for the log
	touch Touch

	mu      sync.Mutex
	waiting map[uuid.UUID]time.Time
}

// New makes one for the rows that touch writes; what names them in the log.
func New(d *db.DB, c *clock.Clock, log *slog.Logger, what string, touch Touch) *Times {
	return &Times{db: d, clock: c, log: log, what: what, touch: touch, waiting: map[uuid.UUID]time.Time{}}
}

// See notes that something is used now.
func (t *Times) See(id uuid.UUID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, waits := t.waiting[id]; !waits && len(t.waiting) < most {
		t.waiting[id] = t.clock.Now()
	}
}

// Run writes what waits until ctx ends, and once more then.
func (t *Times) Run(ctx context.Context) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			t.Flush(last)
			return
		case <-tick.C:
			t.Flush(ctx)
		}
	}
}

// Flush writes what waits, in the order of ids, so that replicas do not block
// each other.
func (t *Times) Flush(ctx context.Context) {
	t.mu.Lock()
	used := t.waiting
	t.waiting = map[uuid.UUID]time.Time{}
	t.mu.Unlock()
	ids := slices.SortedFunc(maps.Keys(used), func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	for part := range slices.Chunk(ids, batch) {
		err := t.db.Write(ctx, func(tx *db.Tx) error {
			for _, id := range part {
				if err := t.touch(ctx, tx, id, used[id].Add(-precision), used[id]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			if ctx.Err() == nil {
				t.log.Warn("when they were last used could not be written", "what", t.what, "rows", len(used), "error", err)
			}
			return
		}
	}
}
