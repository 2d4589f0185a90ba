package revocation

import (
	"context"
	"database/sql"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
)

const (
	pollEvery  = 250 * time.Millisecond
	freshFor   = 900 * time.Millisecond // of the second that is promised; the rest is for the answer
	rereadFor  = 10 * time.Second
	sweepEvery = time.Minute

	// rememberFor is how long an entry is kept whatever the clock says: one that
	// was set, here or at the replica that revoked, finds entries spent that are
	// not. It is longer than a session stays in a cache; after that SQL is asked.
	rememberFor = 2 * time.Minute
)

// Feed is the in-memory set of revocations and the tail that feeds it.
type Feed struct {
	db    *db.DB
	clock *clock.Clock
	log   *slog.Logger
	wake  chan struct{}

	mu       sync.RWMutex
	entries  map[subject]state
	position uint64    // grows with every new entry
	readAt   time.Time // start of the last read that succeeded; monotonic

	remember time.Duration // rememberFor, but in tests

	// Only the tail's goroutine uses these.
	seq  int64  // SQLite: last rowid seen
	xmin uint64 // PostgreSQL: every transaction below it has been seen
	down bool
}

type subject struct {
	kind Kind
	id   string
}

type state struct {
	epoch   int64
	expires time.Time
	taken   time.Time // when this process heard of it; monotonic
}

// NewFeed reads the whole table once, so that a process never answers from an
// empty set.
func NewFeed(ctx context.Context, d *db.DB, c *clock.Clock, log *slog.Logger) (*Feed, error) {
	f := &Feed{db: d, clock: c, log: log, wake: make(chan struct{}, 1), entries: map[subject]state{}, remember: rememberFor}
	return f, f.Read(ctx)
}

// Run tails the table until ctx ends.
func (f *Feed) Run(ctx context.Context) {
	var listening sync.WaitGroup
	defer listening.Wait()
	if f.db.Engine() == db.Postgres {
		listening.Go(func() { f.listen(ctx) })
	}
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-sweep.C:
			f.sweep()
		case <-poll.C:
			f.tryRead(ctx)
		case <-f.wake:
			f.tryRead(ctx)
		}
	}
}

// tryRead reads and logs an outage once when it begins and once when it ends.
func (f *Feed) tryRead(ctx context.Context) {
	wait := freshFor
	if f.down { // then everything is read once more, which may be much
		wait = rereadFor
	}
	bounded, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	err := f.Read(bounded)
	switch {
	case err != nil && ctx.Err() == nil && !f.down:
		f.down = true
		f.log.Warn("revocations cannot be read; sessions are checked in SQL until they can", "error", err)
	case err == nil && f.down:
		f.down = false
		f.log.Info("revocations are read again")
	}
}

// Read takes in what is new. Only the tail calls it, and tests.
func (f *Feed) Read(ctx context.Context) error {
	start := time.Now()
	entries, err := f.readNew(ctx)
	if err != nil {
		return err
	}
	f.apply(entries)
	f.mu.Lock()
	f.readAt = start
	f.mu.Unlock()
	return nil
}

func (f *Feed) readNew(ctx context.Context) (list []Entry, err error) {
	if f.db.Engine() == db.Postgres {
		if list, err = f.readPostgres(ctx); err != nil {
			f.xmin = 0 // the server may come back as another one: promoted, or restored
		}
		return list, err
	}
	rows, err := f.db.Read().QueryContext(ctx, `SELECT seq, kind, subject, epoch, expires_at FROM revocations WHERE seq > $1 ORDER BY seq`, f.seq)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	seq := f.seq
	for rows.Next() {
		var e Entry
		if err := rows.Scan(&seq, &e.Kind, &e.Subject, &e.Epoch, &e.Expires); err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	f.seq = seq
	return list, nil
}

// readPostgres reads by transaction id, because sequence order is not commit
// order: a row with a lower seq may become visible later. Every transaction
// below the snapshot's xmin has ended, so all their rows have been seen; rows
// above it are read again next time, which is harmless. An xmin that went back
// is another server's: everything is read once more.
func (f *Feed) readPostgres(ctx context.Context) ([]Entry, error) {
	rows, err := f.db.Read().QueryContext(ctx, `
		SELECT s.xmin, r.kind, r.subject, r.epoch, r.expires_at
		FROM (SELECT CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS xmin) s
		LEFT JOIN revocations r ON r.xid >= CAST(CAST($1 AS TEXT) AS xid8)`, strconv.FormatUint(f.xmin, 10))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	xmin := f.xmin
	var list []Entry
	for rows.Next() {
		var kind, id sql.NullString
		var epoch sql.NullInt64
		var expires sql.NullTime
		if err := rows.Scan(&xmin, &kind, &id, &epoch, &expires); err != nil {
			return nil, err
		}
		if kind.Valid {
			list = append(list, Entry{Kind(kind.String), id.String, epoch.Int64, expires.Time})
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if xmin < f.xmin {
		f.xmin = 0
		return f.readPostgres(ctx)
	}
	f.xmin = xmin
	return list, nil
}

func (f *Feed) apply(entries []Entry) {
	if len(entries) == 0 {
		return
	}
	taken := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range entries {
		key := subject{e.Kind, e.Subject}
		old, ok := f.entries[key]
		if ok && old.epoch >= e.Epoch && !e.Expires.After(old.expires) {
			continue // known already
		}
		if old.expires.After(e.Expires) {
			e.Expires = old.expires
		}
		f.entries[key] = state{max(old.epoch, e.Epoch), e.Expires, taken}
		f.position++
	}
}

func (f *Feed) sweep() {
	now := f.clock.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, s := range f.entries {
		if !s.expires.After(now) && time.Since(s.taken) >= f.remember {
			delete(f.entries, key)
		}
	}
}

// listen wakes the tail when another replica revokes. It only makes things
// faster: the poll goes on without it.
func (f *Feed) listen(ctx context.Context) {
	for ctx.Err() == nil {
		f.listenOnce(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (f *Feed) listenOnce(ctx context.Context) {
	pooled, err := f.db.Pool().Acquire(ctx)
	if err != nil {
		return
	}
	conn := pooled.Hijack() // LISTEN must not go back to the pool
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, `LISTEN authd_revocations`); err != nil {
		return
	}
	for {
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return
		}
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// Fresh reports whether the set is less than a second behind SQL.
func (f *Feed) Fresh() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return time.Since(f.readAt) <= freshFor
}

// Position grows with every entry taken in: a value read from SQL before it
// grew may be out of date.
func (f *Feed) Position() uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.position
}

// Revoked reports whether a session or a key is named.
func (f *Feed) Revoked(kind Kind, id string) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	_, ok := f.entries[subject{kind, id}]
	return ok
}

// Epoch returns the lowest epoch of a user or client that is still good, 0 if
// none is named.
func (f *Feed) Epoch(kind Kind, id string) int64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.entries[subject{kind, id}].epoch
}
