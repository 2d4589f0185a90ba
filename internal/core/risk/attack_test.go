package risk

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

// strange is an address in a /24 of its own for each i.
func strange(i int) string { return fmt.Sprintf("10.%d.%d.1", i/256, i%256) }

func TestFiftyFailuresOfStrangersLockAllOfThemAndNobodyElse(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.use(home4, chrome)
		for i := range 49 {
			w.say(strange(i), "counted")
		}
		w.say(strange(49), "locks for 1h0m0s")
		w.say(strange(50), "locked for 1h0m0s")
		w.say(strange(0), "locked for 1h0m0s")
		if got := w.count(`SELECT COUNT(*) FROM audit_events WHERE event_type = 'user.locked' AND metadata LIKE '%"distributed_attack":true%'`); got != 1 {
			t.Errorf("%d such locks recorded, want 1", got)
		}
		t.Run("the known network has its own count", func(t *testing.T) {
			w.say("198.51.100.77", "counted") // a neighbour of the address it is known from
			w.right(home4, w.Clear)
		})
		t.Run("the lock stays when the owner signs in", func(t *testing.T) {
			w.say(strange(51), "locked for 1h0m0s")
		})
		t.Run("nor does it end early", func(t *testing.T) {
			w.Clock.Advance(time.Hour - time.Second)
			w.say(strange(52), "locked for 1s")
			w.Clock.Advance(time.Second)
			w.say(strange(53), "counted")
		})
	})
}

func TestTheCountOfStrangersIsForgottenAnHourAfterItsFirst(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.say(strange(0), "counted")
		w.Clock.Advance(time.Hour - time.Second)
		for i := range 48 {
			w.say(strange(1+i), "counted")
		}
		w.Clock.Advance(time.Second)
		// 48 a second ago and 50 now: the most that any hour sees is 99.
		for i := range 49 {
			w.say(strange(100+i), "counted")
		}
		w.say(strange(200), "locks for 1h0m0s")
		w.say(strange(201), "locked for 1h0m0s")
	})
}

// The lock is longer than what is left of the hour that led to it.
func TestTheLockOfStrangersOutlivesTheirHour(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.say(strange(0), "counted")
		w.Clock.Advance(59 * time.Minute)
		for i := range 48 {
			w.say(strange(1+i), "counted")
		}
		w.say(strange(100), "locks for 1h0m0s")
		w.Clock.Advance(30 * time.Minute)
		if err := Prune(t.Context(), d, w.Clock.Now()); err != nil {
			t.Fatal(err)
		}
		w.say(strange(101), "locked for 30m0s")
	})
}

// An owner who signs in from a new network gives strangers nothing.
func TestASuccessOfAStrangerForgivesNoOther(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.use(home4, chrome)
		for i := range 49 {
			w.say(strange(i), "counted")
		}
		w.right(away, w.Clear) // it would have been the one that locks
		w.say(strange(100), "locks for 1h0m0s")
	})
}

// recent is when proofs were examined within the last hour.
type recent struct {
	at   []time.Time
	most int
}

func (r *recent) add(now time.Time) {
	for len(r.at) > 0 && now.Sub(r.at[0]) >= time.Hour {
		r.at = r.at[1:]
	}
	r.at = append(r.at, now)
	r.most = max(r.most, len(r.at))
}

// Many guesses at one account, at several paces: how many are examined in any hour
// is bounded, and the owner gets in throughout.
func TestAttackers(t *testing.T) {
	rows := []struct {
		name string
		from func(i int) string
		pace time.Duration // between guesses
	}{
		{"from 1 address", func(int) string { return away }, 5 * time.Second},
		{"from 1 address, a hundred each minute", func(int) string { return away }, 0},
		{"from 256 addresses of a /24", func(i int) string { return fmt.Sprintf("203.0.113.%d", i%256) }, 5 * time.Second},
		{"from 256 /24s", func(i int) string { return strange(i % 256) }, 5 * time.Second},
		{"from 256 /24s, a hundred each minute", func(i int) string { return strange(i % 256) }, 0},
		{"from a site with 65,536 IPv6 networks", func(i int) string { return fmt.Sprintf("2001:db8:1:%x::1", i) }, 5 * time.Second},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			guesses := 1000 // over an hour at every pace
			if os.Getenv("AUTHD_SOAK") != "" {
				guesses = 10_000
			}
			t.Run(row.name, func(t *testing.T) {
				w := newWorld(t, d)
				w.write(func(tx *db.Tx) error { return w.Forget(t.Context(), tx, w.id, ann) })
				w.use(home4, chrome)
				all, networks := recent{}, map[string]*recent{}
				for i := range guesses {
					if w.Clock.Advance(row.pace); row.pace == 0 && i%100 == 0 {
						w.Clock.Advance(time.Minute)
					}
					ctx := w.from(row.from(i))
					_, locked, err := w.charge(ctx, ann, Place{})
					if err != nil {
						t.Fatal(err)
					}
					if locked == 0 {
						for _, n := range networksOf(row.from(i)) {
							if networks[n.prefix] == nil {
								networks[n.prefix] = &recent{}
							}
							networks[n.prefix].add(w.Clock.Now())
						}
						all.add(w.Clock.Now())
					}
					if i%500 == 499 {
						if before := w.right(home4, w.Clear); before != 0 {
							t.Errorf("guess %d: %d failures from the owner's network", i, before)
						}
						w.use(home4, chrome)
					}
				}
				for prefix, r := range networks {
					if r.most > 20 {
						t.Errorf("from %s %d guesses were examined in an hour", prefix, r.most)
					}
				}
				if all.most > 100 || all.most < 5 {
					t.Errorf("%d guesses were examined in an hour", all.most)
				}
			})
		}
	})
}
