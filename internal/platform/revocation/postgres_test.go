package revocation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest/engines"
)

// late begins a transaction that appends and stays open. finish commits it, or
// rolls it back if it is given an error.
func late(t *testing.T, f *Feed, e Entry) (finish func(error)) {
	t.Helper()
	appended, decision, ended := make(chan struct{}), make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		err := f.db.Write(t.Context(), func(tx *db.Tx) error {
			if err := f.Append(t.Context(), tx, noon, e); err != nil {
				t.Error(err)
			}
			close(appended)
			return <-decision
		})
		if err != nil && !errors.Is(err, errRollback) {
			t.Error(err)
		}
	}()
	<-appended
	return func(err error) { decision <- err; <-ended }
}

var errRollback = errors.New("rolled back")

// A row may become visible after rows that were written later: sequence order
// is not commit order.
func TestALateCommitIsNotSkipped(t *testing.T) {
	d := dbtest.Postgres(t)
	c := clock.Set(noon)
	a, b := newFeed(t, d, c), newFeed(t, replica(t, d), c)
	commit := late(t, a, session("early id, late commit"))
	revoke(t, a, noon, session("late id, early commit"))
	for range 3 {
		read(t, b)
	}
	if !b.Revoked(Session, "late id, early commit") {
		t.Error("the open transaction holds up the others")
	}
	if b.Revoked(Session, "early id, late commit") {
		t.Error("an uncommitted row was read")
	}
	from := b.xmin
	commit(nil)
	read(t, b)
	if !b.Revoked(Session, "early id, late commit") {
		t.Error("the late commit was skipped")
	}
	// Transactions of other databases on this server may be older still.
	eventually(t, "the tail moves on", func() bool { read(t, b); return b.xmin > from })
}

func TestRacingTransactionsLoseNothing(t *testing.T) {
	d := dbtest.Postgres(t)
	const lanes, rounds = 8, 20
	c := clock.Set(noon)
	var mu sync.Mutex
	committed, rolledBack := []string{}, []string{}
	var writing, reading sync.WaitGroup
	for lane := range lanes {
		writing.Go(func() {
			f := &Feed{db: d, clock: c, entries: map[subject]state{}} // reads with the tail under test, appends like a replica
			for round := range rounds {
				first := fmt.Sprintf("%d.%d first", lane, round)
				finish := late(t, &Feed{db: d, clock: c, entries: map[subject]state{}}, session(first))
				for i := range rand.IntN(3) {
					later := fmt.Sprintf("%d.%d later %d", lane, round, i)
					revoke(t, &Feed{db: d, clock: c, entries: map[subject]state{}}, noon, session(later))
					mu.Lock()
					committed = append(committed, later)
					mu.Unlock()
				}
				read(t, f)
				keep := rand.IntN(4) > 0
				if keep {
					finish(nil)
				} else {
					finish(errRollback)
				}
				read(t, f)
				if f.Revoked(Session, first) != keep {
					t.Errorf("%s: refused %t, committed %t", first, !keep, keep)
				}
				mu.Lock()
				if keep {
					committed = append(committed, first)
				} else {
					rolledBack = append(rolledBack, first)
				}
				mu.Unlock()
			}
		})
	}
	// Readers that look all the time, each at its own moments.
	done := make(chan struct{})
	readers := make([]*Feed, 2)
	for i := range readers {
		readers[i] = newFeed(t, replica(t, d), c)
		reading.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					read(t, readers[i])
				}
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	for i, f := range append(readers, newFeed(t, d, c)) {
		read(t, f)
		for _, id := range committed {
			if !f.Revoked(Session, id) {
				t.Errorf("reader %d skipped %s", i, id)
			}
		}
		for _, id := range rolledBack {
			if f.Revoked(Session, id) {
				t.Errorf("reader %d refuses %s, which was rolled back", i, id)
			}
		}
	}
	if len(committed) < lanes*rounds/2 || len(rolledBack) == 0 {
		t.Errorf("only %d commits and %d rollbacks: the test is blind", len(committed), len(rolledBack))
	}
}

// The server may come back as another one, whose transaction counter is lower:
// a standby that was promoted, or a backup that was restored.
func TestAServerWhoseCounterIsLowerIsReadFromTheStart(t *testing.T) {
	rows := []struct {
		name  string
		since func(t *testing.T, f *Feed) // what the tail has lived through
	}{
		{"the counter went back", func(_ *testing.T, f *Feed) { f.xmin = 1 << 40 }},
		{"a read failed, and the counter has caught up since", func(t *testing.T, f *Feed) {
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			if err := f.Read(gone); err == nil {
				t.Error("the read did not fail")
			}
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d := dbtest.Postgres(t)
			f := newFeed(t, d, clock.Set(noon))
			revoke(t, newFeed(t, d, clock.Set(noon)), noon, session("s0"))
			read(t, f)
			err := d.Write(t.Context(), func(tx *db.Tx) error { // as the other server had it
				_, err := tx.ExecContext(t.Context(), `INSERT INTO revocations (xid, kind, subject, epoch, created_at, expires_at)
					VALUES (CAST(CAST($1 AS TEXT) AS xid8), 'session', 's1', 0, $2, $3)`, "3", noon, noon.Add(time.Hour))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			row.since(t, f)
			read(t, f)
			if !f.Revoked(Session, "s1") {
				t.Error("what was committed there is not refused")
			}
		})
	}
}

func TestANotificationWakesTheTail(t *testing.T) {
	d := dbtest.Postgres(t)
	c := clock.Set(noon)
	a, b := newFeed(t, d, c), newFeed(t, replica(t, d), c)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); b.listenOnce(ctx) }()
	defer func() { stop(); <-ended }()
	i := 0
	eventually(t, "the tail is woken", func() bool { // until it listens nobody hears
		i++
		revoke(t, a, noon, session(fmt.Sprint(i)))
		select {
		case <-b.wake:
			return true
		default:
			return false
		}
	})
}

func TestTheTailOutlivesItsDatabase(t *testing.T) {
	if _, err := engines.Postgres(); errors.Is(err, engines.ErrLeftOut) {
		t.Skip(err)
	}
	server, err := engines.StartPostgres(engines.PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	d := dbtest.Open(t, server.URL)
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := clock.Set(noon)
	a, b := newFeed(t, d, c), newFeed(t, replica(t, d), c)
	revoke(t, a, noon, session("before"))
	run(t, b)
	eventually(t, "the tail has read", func() bool { return b.Fresh() && b.Revoked(Session, "before") })

	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the tail knows that it is behind", func() bool { return !b.Fresh() })
	if !b.Revoked(Session, "before") {
		t.Error("it forgot what it knew")
	}

	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	err = errors.New("not tried")
	eventually(t, "the other replica can write", func() bool {
		err = a.db.Write(t.Context(), func(tx *db.Tx) error { return a.Append(t.Context(), tx, noon, session("after")) })
		return err == nil
	})
	eventually(t, "the tail is fresh again", b.Fresh)
	eventually(t, "it has seen what was committed", func() bool { return b.Revoked(Session, "after") })
	if !b.Revoked(Session, "before") {
		t.Error("it forgot what it knew")
	}
}
