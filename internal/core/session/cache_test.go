package session

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

// whileFresh runs act while the feed is fresh, which real time decides: on a
// busy machine it may take more than one try.
func (w *world) whileFresh(act func() string) (got string) {
	w.t.Helper()
	eventually(w.t, "the feed is fresh throughout", func() bool {
		if err := w.feed.Read(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
		got = act()
		return w.feed.Fresh()
	})
	return got
}

// staleFeed has never read.
func (w *world) staleFeed() *revocation.Feed {
	w.t.Helper()
	gone, cancel := context.WithCancel(w.t.Context())
	cancel()
	feed, err := revocation.NewFeed(gone, w.db, w.clock, dbtest.Log)
	if err == nil || feed.Fresh() {
		w.t.Fatal("this feed has read, after all")
	}
	return feed
}

func (w *world) cached(id uuid.UUID) bool {
	_, ok := w.cache.GetIfPresent(id)
	return ok
}

// checkIntoCache checks a good token until its session is in the cache.
func (w *world) checkIntoCache(s Session, p Pair) {
	w.t.Helper()
	if code := w.whileFresh(func() string { return w.check(p.Access) }); code != "" {
		w.t.Fatalf("a good token: %s", code)
	}
	if !w.cached(s.ID) {
		w.t.Fatal("the session is not in the cache")
	}
}

func (w *world) deleteRow(s Session) { w.change(`DELETE FROM sessions WHERE id = $1`, s.ID) }

func TestACheckedSessionIsNotReadAgain(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		started, pair := w.signIn()
		w.checkIntoCache(started, pair)
		w.deleteRow(started) // whoever reads SQL now finds nothing
		if code := w.whileFresh(func() string { return w.check(pair.Access) }); code != "" {
			t.Errorf("it was read again: %s", code)
		}
		w.revoke(revocation.Session, started.ID.String(), 0)
		if code := w.check(pair.Access); code != "session_expired" {
			t.Errorf("after its revocation the cache answers %q", code)
		}
	})
}

func TestARevocationOnAnotherReplicaReachesTheCache(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		started, pair := w.signIn()
		w.checkIntoCache(started, pair)
		other := replica(t, d)
		if err := w.service(other, w.newFeed(other), settings).Logout(t.Context(), "", pair.Refresh, CSRF{}); err != nil {
			t.Fatal(err)
		}
		if code := w.whileFresh(func() string { return w.check(pair.Access) }); code != "session_expired" {
			t.Errorf("after one read of the feed: %q", code)
		}
	})
}

func TestATokenThatKnowsMoreThanTheCacheIsLookedUp(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		started, pair := w.signIn()
		w.checkIntoCache(started, pair)
		w.confirm()
		w.checkIntoCache(started, w.mustRotate(pair.Refresh))
		if state, _ := w.cache.GetIfPresent(started.ID); state.epoch != 2 {
			t.Errorf("the cache still knows epoch %d", state.epoch)
		}
	})
}

func TestAStaleFeedPassesTheCacheBy(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		started, pair := w.signIn()
		other, otherPair := w.signIn()
		w.checkIntoCache(started, pair)
		w.deleteRow(started)
		w.Service.feed = w.staleFeed()
		if code := w.check(pair.Access); code != "session_expired" {
			t.Errorf("the cache answers %q", code)
		}
		if code := w.check(otherPair.Access); code != "" {
			t.Errorf("a session that SQL knows: %s", code)
		}
		if w.cached(other.ID) {
			t.Error("what was read meanwhile is in the cache")
		}
	})
}

// A value read from SQL before a revocation came in may be out of date, and is
// not kept.
func TestAFillThatRacesWithARevocationIsNotKept(t *testing.T) {
	rows := []struct {
		name string
		meet func(w *world, f *revocation.Feed) // while the check waits for SQL
		kept bool
	}{
		{"nothing happens", func(*world, *revocation.Feed) {}, true},
		{"something is revoked", func(w *world, f *revocation.Feed) {
			err := replica(w.t, w.db).Write(w.t.Context(), func(tx *db.Tx) error {
				return f.Append(w.t.Context(), tx, noon, revocation.Entry{
					Kind: revocation.Session, Subject: uuid.NewString(), Expires: noon.Add(time.Hour)})
			})
			if err != nil {
				w.t.Error(err)
			}
		}, false},
	}
	each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				w := newWorld(t, d)
				started, pair := w.signIn()
				eventually(t, "the feed is fresh throughout", func() bool {
					w.cache.Invalidate(started.ID)
					if err := w.feed.Read(t.Context()); err != nil {
						t.Fatal(err)
					}
					w.whileReadersWait(func() { row.meet(w, w.feed) }, func() {
						if code := w.check(pair.Access); code != "" {
							t.Errorf("the check: %s", code)
						}
					})
					return w.feed.Fresh()
				})
				if w.cached(started.ID) != row.kept {
					t.Errorf("in the cache: %t, want %t", w.cached(started.ID), row.kept)
				}
			})
		}
	})
}

// whileReadersWait runs act until it waits for a connection to read with, then
// meanwhile, and then lets act go on.
func (w *world) whileReadersWait(meanwhile, act func()) {
	w.t.Helper()
	pool := w.db.Read().(*sql.DB)
	most := pool.Stats().MaxOpenConnections
	pool.SetMaxOpenConns(1)
	defer pool.SetMaxOpenConns(most)
	only, err := pool.Conn(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	waited := pool.Stats().WaitCount
	done := make(chan struct{})
	go func() { defer close(done); act() }()
	eventually(w.t, "the check waits for SQL", func() bool { return pool.Stats().WaitCount > waited })
	meanwhile()
	if err := only.Close(); err != nil {
		w.t.Error(err)
	}
	<-done
}

func TestTheCacheKnowsWhenASessionExpires(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.Service = w.service(d, w.feed, Settings{RefreshTTL: time.Minute, ReuseGrace: grace})
		started, pair := w.signIn()
		w.checkIntoCache(started, pair)
		w.clock.Advance(59 * time.Second)
		next := w.mustRotate(pair.Refresh) // moves the end, which the cache does not know
		w.clock.Advance(time.Second)
		for name, access := range map[string]string{"its first token": pair.Access, "its next token": next.Access} {
			if code := w.whileFresh(func() string { return w.check(access) }); code != "" {
				t.Errorf("%s, after a refresh moved the end: %s", name, code)
			}
		}
		w.clock.Advance(time.Minute)
		if code := w.whileFresh(func() string { return w.check(next.Access) }); code != "session_expired" {
			t.Errorf("past its end: %q", code)
		}
	})
}

func TestWhenLastSeenMoves(t *testing.T) {
	rows := []struct {
		name  string
		after time.Duration
		moves bool
	}{
		{"within the minute it stays", seenEvery - time.Microsecond, false},
		{"after a minute it moves", seenEvery, true},
		{"later too", 10 * time.Minute, true},
	}
	each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				w := newWorld(t, d)
				started, pair := w.signIn()
				idle, _ := w.signIn()
				w.clock.Advance(row.after)
				for range 2 {
					if code := w.check(pair.Access); code != "" {
						t.Fatal(code)
					}
				}
				if at := w.lastSeen(started.ID); !at.Equal(noon) {
					t.Errorf("a check wrote %v itself", at)
				}
				w.Flush(t.Context())
				want := noon
				if row.moves {
					want = noon.Add(row.after)
				}
				if at := w.lastSeen(started.ID); !at.Equal(want) {
					t.Errorf("last seen at %v, want %v", at, want)
				}
				if at := w.lastSeen(idle.ID); !at.Equal(noon) {
					t.Errorf("a session that was not used was seen at %v", at)
				}
				if len(w.seen) != 0 {
					t.Errorf("%d sessions wait to be written again", len(w.seen))
				}
			})
		}
	})
}

func TestMoreSessionsThanOneBatchAreWritten(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		n := seenBatch + 1
		w.write(func(tx *db.Tx) error {
			for range n {
				started, _, err := w.Begin(w.jo, Start{Provider: "password"})
				if err != nil {
					return err
				}
				if err := saved(w.Save(t.Context(), tx, started, w.jo)); err != nil {
					return err
				}
				w.seen[started.ID] = noon.Add(time.Hour)
			}
			return nil
		})
		w.Flush(t.Context())
		var moved int
		err := d.Read().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM sessions WHERE last_seen_at = $1 AND user_id = $2`, noon.Add(time.Hour), w.jo.ID).Scan(&moved)
		if err != nil || moved != n {
			t.Errorf("%d of %d were written, %v", moved, n, err)
		}
	})
}

func TestWhatWaitsIsWrittenBeforeTheEnd(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		started, pair := w.signIn()
		w.clock.Advance(2 * time.Minute)
		w.check(pair.Access)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); w.Run(ctx) }()
		stop()
		<-ended
		if at := w.lastSeen(started.ID); !at.Equal(noon.Add(2 * time.Minute)) {
			t.Errorf("last seen at %v", at)
		}
	})
}
