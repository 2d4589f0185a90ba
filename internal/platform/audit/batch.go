package audit

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/metric"
)

const (
	// batchMost is how many different events may wait. What comes beyond is
	// dropped and counted: whoever is flooded with uses must not run out of memory.
	batchMost = 10_000

	// batchRows is how many events one transaction of Flush records.
	batchRows = 1_000

	batchEvery = time.Second
)

// Batcher records events of uses, which are too many for a row and a transaction
// each: those that are equal become one row a second, with their count.
type Batcher struct {
	db      *db.DB
	clock   *clock.Clock
	log     *slog.Logger
	metrics *metric.Metrics

	mu      sync.Mutex
	waiting map[string]*merged
	down    bool // the last Flush failed; only Flush uses it
}

type merged struct {
	event  Event
	origin Origin // of the first
	count  int
}

// NewBatcher makes one that records while Run runs.
func NewBatcher(d *db.DB, c *clock.Clock, log *slog.Logger, m *metric.Metrics) *Batcher {
	return &Batcher{db: d, clock: c, log: log, metrics: m, waiting: map[string]*merged{}}
}

// Add takes an event with the origin of ctx. It never blocks on the database. If
// the Type names the key count, the row will say how many were equal in type,
// actor, target, outcome, metadata and address. The caller leaves the metadata
// alone afterwards.
func (b *Batcher) Add(ctx context.Context, e Event) {
	origin := OriginOf(ctx)
	var space [256]byte
	key := e.key(space[:0], origin.IP)
	b.mu.Lock()
	defer b.mu.Unlock()
	if m := b.waiting[string(key)]; m != nil {
		m.count++
		return
	}
	if len(b.waiting) >= batchMost {
		b.metrics.AuditDropped(1)
		return
	}
	b.waiting[string(key)] = &merged{e, origin, 1}
}

// key is the same for events that become one row.
func (e Event) key(b []byte, ip string) []byte {
	put := func(s string) {
		b = strconv.AppendInt(b, int64(len(s)), 10)
		b = append(append(b, ':'), s...)
	}
	put(e.Type.Name)
	put(e.ActorType)
	b = append(append(b, e.Actor[:]...), e.Target[:]...)
	put(e.TargetType)
	put(e.Failure)
	put(ip)
	for _, name := range e.Type.Keys { // in one order, unlike the map's
		switch value := e.Metadata[name].(type) {
		case nil:
			b = append(b, '0')
		case string:
			put(value)
		case bool:
			b = strconv.AppendBool(b, value)
		case int:
			b = strconv.AppendInt(append(b, 'i'), int64(value), 10)
		case uuid.UUID:
			b = append(b, value[:]...)
		default:
			put(fmt.Sprint(value))
		}
	}
	return b
}

// Run records what waits each second, and once more when ctx ends.
func (b *Batcher) Run(ctx context.Context) {
	tick := time.NewTicker(batchEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.tryFlush(ctx)
		case <-ctx.Done():
			last, cancel := db.Settle(ctx)
			defer cancel()
			b.tryFlush(last)
			return
		}
	}
}

// tryFlush logs an outage once when it begins and once when it ends.
func (b *Batcher) tryFlush(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := b.Flush(bounded)
	switch {
	case err != nil && !b.down:
		b.down = true
		b.log.Warn("events of uses cannot be recorded; they wait, at most 10,000", "error", err)
	case err == nil && b.down:
		b.down = false
		b.log.Info("events of uses are recorded again")
	}
}

// Flush records what waits. What could not be recorded goes on waiting.
func (b *Batcher) Flush(ctx context.Context) error {
	b.mu.Lock()
	taken := b.waiting
	b.waiting = map[string]*merged{}
	b.mu.Unlock()
	for len(taken) > 0 {
		part := map[string]*merged{}
		for key, m := range taken {
			if part[key] = m; len(part) == batchRows {
				break
			}
		}
		if err := b.write(ctx, part); err != nil {
			b.putBack(taken)
			return err
		}
		for key := range part {
			delete(taken, key)
		}
	}
	return nil
}

func (b *Batcher) write(ctx context.Context, part map[string]*merged) error {
	byOrigin := map[Origin][]Event{}
	for _, m := range part {
		byOrigin[m.origin] = append(byOrigin[m.origin], m.counted())
	}
	now := b.clock.Now()
	return b.db.Write(ctx, func(tx *db.Tx) error {
		for origin, events := range byOrigin {
			if err := Record(WithOrigin(ctx, origin), tx, now, events...); err != nil {
				return err
			}
		}
		return nil
	})
}

func (m *merged) counted() Event {
	e := m.event
	if e.Type.allows("count") {
		e.Metadata = maps.Clone(e.Metadata)
		if e.Metadata == nil {
			e.Metadata = map[string]any{}
		}
		e.Metadata["count"] = m.count
	}
	return e
}

// putBack lets events wait again, beside those that came meanwhile.
func (b *Batcher) putBack(events map[string]*merged) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, m := range events {
		switch now := b.waiting[key]; {
		case now != nil:
			now.count += m.count
		case len(b.waiting) < batchMost:
			b.waiting[key] = m
		default:
			b.metrics.AuditDropped(m.count)
		}
	}
}
