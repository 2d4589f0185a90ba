package session

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/foundation/db"
)

const racers = 32

// race runs n acts at once, on two replicas in turn, and returns what each got.
func (w *world) race(n int, act func(i int, s *Service) (Pair, error)) (pairs []Pair, errs []error) {
	w.t.Helper()
	other := replica(w.t, w.db)
	replicas := []*Service{w.Service, w.service(other, w.newFeed(other), settings)}
	pairs, errs = make([]Pair, n), make([]error, n)
	start := make(chan struct{})
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			<-start
			pairs[i], errs[i] = act(i, replicas[i%2])
		})
	}
	close(start)
	running.Wait()
	return pairs, errs
}

func TestTabsThatRefreshAtOnceGetOneSuccessor(t *testing.T) {
	rows := []struct {
		name   string
		tabs   int
		before func(w *world, p Pair) Pair // what they hold
		audit  map[string]int
	}{
		{"of a fresh token", racers, func(_ *world, p Pair) Pair { return p },
			map[string]int{"token.refreshed": 1, "token.issued": 1}},
		{"of a token that was used a moment ago", racers, func(w *world, p Pair) Pair { w.mustRotate(p.Refresh); return p },
			map[string]int{"token.refreshed": 1, "token.issued": 1}},
		// No more than may lose an answer within the hour.
		{"of a token whose answer was lost", retryRule.Burst, func(w *world, p Pair) Pair {
			w.mustRotate(p.Refresh)
			w.clock.Advance(late)
			return p
		}, map[string]int{"token.refreshed": 1, "token.refresh_retried": 1, "token.issued": 2}},
	}
	each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				w := newWorld(t, d)
				started, pair := w.signIn()
				pair = row.before(w, pair)
				pairs, errs := w.race(row.tabs, func(_ int, s *Service) (Pair, error) { return s.Rotate(t.Context(), pair.Refresh, CSRF{}) })
				for i := range pairs {
					if errs[i] != nil {
						t.Errorf("tab %d: %v", i, errs[i])
					}
					if pairs[i].Refresh != pairs[0].Refresh {
						t.Errorf("tab %d got another successor than tab 0", i)
					}
					if code := w.check(pairs[i].Access); code != "" {
						t.Errorf("the access token of tab %d: %s", i, code)
					}
				}
				if diff := cmp.Diff(row.audit, w.audited()); diff != "" {
					t.Error(diff)
				}
				if reason := w.ended(started.ID); reason != "" {
					t.Errorf("the session ended: %s", reason)
				}
				w.mustRotate(pairs[0].Refresh)
			})
		}
	})
}

func TestARefreshNeverOutrunsASignOut(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		started, pair := w.signIn()
		pairs, errs := w.race(racers, func(i int, s *Service) (Pair, error) {
			if i/2%2 == 0 {
				return Pair{}, s.Logout(t.Context(), pair.Access, pair.Refresh, CSRF{})
			}
			return s.Rotate(t.Context(), pair.Refresh, CSRF{})
		})
		for i, err := range errs {
			if code := slug(err); code != "" && (i/2%2 == 0 || code != "session_expired") {
				t.Errorf("racer %d: %v", i, err)
			}
		}
		// What one replica ended, the other has not read yet perhaps.
		if err := w.feed.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.wasSignedOut(started)
		for i, p := range append(pairs, pair) {
			if p == (Pair{}) {
				continue
			}
			if code := w.check(p.Access); code != "session_expired" {
				t.Errorf("the access token of racer %d is good: %q", i, code)
			}
			if _, code := w.rotate(p.Refresh); code != "session_expired" {
				t.Errorf("the refresh token of racer %d is good: %q", i, code)
			}
		}
	})
}

// Many displaced holders at once end the session once.
func TestATheftIsRecordedOnce(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		started, pair := w.signIn()
		w.mustRotate(w.mustRotate(pair.Refresh).Refresh)
		_, errs := w.race(racers, func(_ int, s *Service) (Pair, error) { return s.Rotate(t.Context(), pair.Refresh, CSRF{}) })
		for i, err := range errs {
			if slug(err) != "session_expired" {
				t.Errorf("racer %d: %v", i, err)
			}
		}
		if err := w.feed.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.wasStolen(started.ID)
	})
}
