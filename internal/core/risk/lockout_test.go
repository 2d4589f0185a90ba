package risk

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

func TestTheLadder(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.say(away, append(times(4, "counted"), "locks for 1m0s", "locked for 1m0s", "locked for 1m0s")...)
		for _, step := range []struct {
			wait string
			next string
		}{{"1m0s", "5m0s"}, {"5m0s", "15m0s"}, {"15m0s", "1h0m0s"}} {
			wait, err := time.ParseDuration(step.wait)
			if err != nil {
				t.Fatal(err)
			}
			w.Clock.Advance(wait - time.Second)
			w.say(away, "locked for 1s")
			w.Clock.Advance(time.Second)
			w.say(away, "locks for "+step.next, "locked for "+step.next)
		}
		w.Clock.Advance(time.Hour)
		w.say(away, append(times(4, "counted"), "locks for 1m0s")...)
	})
}

func TestFailuresAreForgottenAnHourAfterTheLast(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.say(away, times(3, "counted")...)
		w.Clock.Advance(59 * time.Minute)
		w.say(away, "counted")
		w.Clock.Advance(59 * time.Minute)
		w.say(away, "locks for 1m0s")
		w.Clock.Advance(time.Minute)
		w.say(away, "locks for 5m0s")
		w.Clock.Advance(time.Hour)
		w.say(away, append(times(4, "counted"), "locks for 1m0s")...)
	})
}

func TestWhatEndsAnAttempt(t *testing.T) {
	rows := []struct {
		name  string
		end   func(*Service, context.Context, *db.Tx, Attempt) error
		after []string // what further wrong attempts from there say
	}{
		{"a right one is no failure, and forgives none", func(s *Service, ctx context.Context, tx *db.Tx, a Attempt) error { return s.Right(ctx, tx, a) },
			[]string{"locks for 1m0s", "locked for 1m0s"}},
		{"a success forgives all", func(s *Service, ctx context.Context, tx *db.Tx, a Attempt) error { return s.Clear(ctx, tx, a) },
			[]string{"counted", "counted", "counted", "counted", "locks for 1m0s"}},
		{"a proved mailbox forgives all", func(s *Service, ctx context.Context, tx *db.Tx, _ Attempt) error { return s.ClearAll(ctx, tx, ann) },
			[]string{"counted", "counted", "counted", "counted", "locks for 1m0s"}},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		for i, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				ip := fmt.Sprintf("203.0.%d.7", i)
				w.say(ip, times(4, "counted")...)
				end := func(ctx context.Context, tx *db.Tx, a Attempt) error { return row.end(w.Service, ctx, tx, a) }
				if got := w.right(ip, end); got < 4 {
					t.Errorf("%d failures before it, want 4 at least", got)
				}
				w.say(ip, row.after...)
			})
		}
	})
}

// Each attempt that is right would lock while it is looked at.
func TestRightAttemptsNeverLock(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.say(away, times(4, "counted")...)
		for range 10 {
			w.right(away, w.Right)
		}
		if n := w.count(`SELECT COUNT(*) FROM audit_events WHERE event_type = 'user.locked'`); n != 0 {
			t.Errorf("%d locks recorded", n)
		}
		w.say(away, "locks for 1m0s")
	})
}

func TestASuccessClearsItsOwnNetworkOnly(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.say(away, times(4, "counted")...)
		w.say(home4, times(4, "counted")...)
		w.right(home4, w.Clear)
		w.say(away, "locks for 1m0s")
		w.say(home4, times(4, "counted")...)
		if n := w.count(`SELECT failures FROM lockouts WHERE network = '*'`); n != 4+4+1+4 {
			t.Errorf("%d failures of strangers are counted: a success is to take back its own attempt and no other", n)
		}
	})
}

func TestANetwork(t *testing.T) {
	rows := []struct {
		name, attacker, other string
		shared                bool
	}{
		{"an address of the same /24", "203.0.113.7", "203.0.113.250", true},
		{"the /24 beside", "203.0.113.7", "203.0.114.7", false},
		{"the same address, written as IPv6", "203.0.113.7", "::ffff:203.0.113.9", true},
		{"another address written as IPv6", "::ffff:203.0.113.7", "::ffff:203.0.114.7", false},
		{"an address of the same /64", "2001:db8:1:2::3", "2001:db8:1:2:ffff::1", true},
		{"the /64 beside", "2001:db8:1:2::3", "2001:db8:1:3::3", false},
		{"a zone makes no other network", "fe80::1%eth0", "fe80::2%eth1", true},
		{"nowhere is one network", "", "rubbish", true},
		{"and nobody else's", "", "203.0.113.7", false},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				w.write(func(tx *db.Tx) error { return w.ClearAll(t.Context(), tx, ann) })
				w.say(row.attacker, append(times(4, "counted"), "locks for 1m0s")...)
				want := "counted"
				if row.shared {
					want = "locked for 1m0s"
				}
				w.say(row.other, want)
			})
		}
	})
}

// A customer with a /48 has 65,536 /64s.
func TestAnIPv6SiteHasFifteenFailuresBeforeAllOfItIsLocked(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		site := func(i int) string { return fmt.Sprintf("2001:db8:1:%x::1", i) }
		for i := range 14 {
			w.say(site(i), "counted")
		}
		w.say(site(14), "locks for 1m0s")
		w.say(site(15), "locked for 1m0s")
		w.say("2001:db8:2:1::1", "counted")
		for i, wait := range []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute} {
			w.Clock.Advance(wait)
			w.say(site(20+i), "locks for "+[]string{"5m0s", "15m0s", "1h0m0s"}[i])
		}
	})
}

func TestFailuresHere(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.say(away, "counted", "counted")
		w.say("192.0.2.1", "counted")
		w.say("2001:db8:1:2::3", "counted", "counted")
		w.say("2001:db8:1:3::3", "counted", "counted")
		for _, row := range []struct {
			name, ip string
			known    bool
			after    time.Duration
			want     int
		}{
			{"a stranger sees all strangers'", away, false, 0, 7},
			{"a known network sees its own", away, true, 0, 2},
			{"an IPv6 network sees those of its site", "2001:db8:1:2::3", true, 0, 4},
			{"a network without any", "192.0.3.1", true, 0, 0},
			{"after an hour there are none", away, false, time.Hour, 0},
		} {
			got, err := w.Failures(w.from(row.ip), d.Read(), noon.Add(row.after), ann, Place{Known: row.known})
			if err != nil || got != row.want {
				t.Errorf("%s: %d (%v), want %d", row.name, got, err, row.want)
			}
		}
	})
}

func TestParallelAttemptsGetNoFurtherThanTheLadderLets(t *testing.T) {
	const racers = 32
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		ctx := w.from(away)
		for _, step := range []struct {
			after time.Duration
			pass  int64
		}{{0, 5}, {time.Minute, 1}, {5 * time.Minute, 1}, {15 * time.Minute, 1}, {time.Hour, 5}} {
			w.Clock.Advance(step.after)
			var passed, locking atomic.Int64
			start := make(chan struct{})
			var running sync.WaitGroup
			for range racers {
				running.Go(func() {
					<-start
					a, locked, err := w.charge(ctx, ann, Place{})
					if err != nil {
						t.Error(err)
					}
					if err != nil || locked > 0 {
						return
					}
					passed.Add(1)
					if !a.lockedTo.IsZero() {
						locking.Add(1)
					}
				})
			}
			close(start)
			running.Wait()
			if passed.Load() != step.pass || locking.Load() != 1 {
				t.Errorf("after another %v: %d of %d are examined, want %d; %d of them lock, want 1", step.after, passed.Load(), racers, step.pass, locking.Load())
			}
		}
	})
}

func TestALockIsRecordedOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.say(away, append(times(4, "counted"), "locks for 1m0s", "locked for 1m0s", "locked for 1m0s")...)
		w.Clock.Advance(time.Minute)
		w.say(away, "locks for 5m0s", "locked for 5m0s")
		rows, err := d.Read().QueryContext(t.Context(), `SELECT metadata, failure_reason, actor_id, target_type, target_id FROM audit_events
			WHERE event_type = 'user.locked' ORDER BY created_at`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		var got []map[string]any
		for rows.Next() {
			var text, reason, kind string
			var actor, target uuid.UUID
			if err := rows.Scan(&text, &reason, &actor, &kind, &target); err != nil {
				t.Fatal(err)
			}
			if reason != "account_locked" || actor != w.id || kind != "user" || target != w.id {
				t.Errorf("%s, %v, %s %v", reason, actor, kind, target)
			}
			var m map[string]any
			if err := json.Unmarshal([]byte(text), &m); err != nil {
				t.Fatal(err)
			}
			got = append(got, m)
		}
		if diff := cmp.Diff([]map[string]any{
			{"provider": "password", "retry_after": 60., "attempt_count": 5., "distributed_attack": false},
			{"provider": "password", "retry_after": 300., "attempt_count": 6., "distributed_attack": false},
		}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWhatIsRecordedOfALock(t *testing.T) {
	rows := []struct {
		name string
		of   About
		want string
	}{
		{"a code for an action", About{User: uuid.Max, Provider: "password", Context: "action", Action: "erase_account"},
			`{"action":"erase_account","attempt_count":5,"context":"action","distributed_attack":false,"provider":"password","retry_after":60}`},
		{"nobody's account", About{Provider: "password"},
			`{"attempt_count":5,"distributed_attack":false,"provider":"password","retry_after":60}`},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, dbtest.SQLite(t))
			a := Attempt{charged: []charge{{"203.0.113.0/24", 5, false}}, lockedTo: noon.Add(time.Minute), lockedBy: 5}
			w.write(func(tx *db.Tx) error {
				why, err := a.Failed(t.Context(), tx, noon, row.of)
				if !fault.Has(why, fault.AccountLocked) {
					t.Errorf("%v", why)
				}
				return err
			})
			var metadata string
			if err := w.DB.Read().QueryRowContext(t.Context(), `SELECT metadata FROM audit_events`).Scan(&metadata); err != nil || metadata != row.want {
				t.Errorf("%s, %v", metadata, err)
			}
			who := w.count(`SELECT COUNT(*) FROM audit_events WHERE actor_id IS NOT NULL AND target_id IS NOT NULL`)
			if (who == 1) != (row.of.User != uuid.Nil) {
				t.Errorf("%d events name an account", who)
			}
		})
	}
}

func TestAnUnknownAddressIsCountedLikeAKnownOne(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		story := func(email string, id uuid.UUID) (told []string) {
			for range 7 {
				ctx := audit.WithOrigin(t.Context(), audit.Origin{IP: "2001:db8::1", UserAgent: chrome})
				p, err := w.Look(ctx, id)
				if err != nil {
					t.Fatal(err)
				}
				_, locked, err := w.charge(ctx, email, p)
				p.user = uuid.Nil // which only the row says
				told = append(told, fmt.Sprint(p, locked, err))
			}
			rows, err := d.Read().QueryContext(t.Context(), `SELECT account, network, failures, locked_until, expires_at FROM lockouts
				WHERE account = $1 ORDER BY network`, w.account(email))
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				var account, network string
				var failures int
				var until, expires time.Time
				if err := rows.Scan(&account, &network, &failures, &until, &expires); err != nil {
					t.Fatal(err)
				}
				if strings.Contains(account, "@") || strings.Contains(account, "example") {
					t.Errorf("the address can be read in the row: %s", account)
				}
				told = append(told, fmt.Sprint(network, failures, until.UTC(), expires.UTC()))
			}
			return told
		}
		known, unknown := story(ann, w.id), story("nobody@example.com", uuid.Nil)
		if diff := cmp.Diff(known, unknown); diff != "" || len(known) != 7+3 {
			t.Error(len(known), diff)
		}
	})
}

func TestPruningKeepsWhatCounts(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.say(away, "counted")
		w.Clock.Advance(30 * time.Minute)
		w.say(home4, "counted")
		w.Clock.Advance(31 * time.Minute)
		if err := Prune(t.Context(), d, w.Clock.Now()); err != nil {
			t.Fatal(err)
		}
		if n := w.count(`SELECT COUNT(*) FROM lockouts WHERE network = '198.51.100.0/24'`); n != 1 {
			t.Error("a count that is not forgotten was deleted")
		}
		if n := w.count(`SELECT COUNT(*) FROM lockouts WHERE network <> '198.51.100.0/24'`); n != 0 {
			t.Errorf("%d forgotten counts stay", n)
		}
	})
}

// What a sign-in asks must not cost more in a large table.
func TestWhatASignInReadsIsFoundByIndex(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.write(func(tx *db.Tx) error {
			var id uuid.UUID
			for i := range 3000 {
				if i%30 == 0 {
					id = uuid.New()
					if _, err := user.Create(t.Context(), tx, noon, user.User{ID: id, Email: id.String(), Role: user.RoleUser}); err != nil {
						return err
					}
				}
				_, err := tx.ExecContext(t.Context(), `INSERT INTO lockouts (account, network, failures, pending, locked_until, expires_at) VALUES ($1, 'unknown', 1, 0, $2, $3)`,
					fmt.Sprint("account ", i), noon, noon.Add(time.Duration(i)*time.Second))
				if err != nil {
					return err
				}
				_, err = tx.ExecContext(t.Context(), `INSERT INTO seen (user_id, kind, value, seen_at) VALUES ($1, 'network', $2, $3)`, id, fmt.Sprint(i), noon)
				if err != nil {
					return err
				}
			}
			return nil
		})
		for _, row := range []struct {
			query            string
			args             []any
			sqlite, postgres string
		}{
			{failuresOf, []any{"account 7", noon}, "SEARCH lockouts USING INDEX sqlite_autoindex_lockouts_1 (account=?)", "lockouts_pkey"},
			{placesOf, []any{uuid.New()}, "SEARCH seen USING INDEX sqlite_autoindex_seen_1 (user_id=?)", "seen_pkey"},
			{pruneOld, []any{noon}, "SEARCH lockouts USING INDEX lockouts_expiry (expires_at<?)", "lockouts_expiry"},
		} {
			want := row.sqlite
			if d.Engine() == db.Postgres {
				want = row.postgres
			}
			if plan := dbtest.Plan(t, d, row.query, row.args...); !strings.Contains(plan, want) {
				t.Errorf("no %q in\n%s", want, plan)
			}
		}
	})
}
