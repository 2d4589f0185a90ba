package stepup_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

const racers = 32

var erase = stepup.Demand{Action: stepup.EraseAccount, Target: "account 7"}

// sent are the action tokens that may come along.
var sent = []struct {
	name  string
	make  func(w *world, caller session.Identity) string
	right bool
}{
	{"for the act", func(w *world, c session.Identity) string { return w.confirm(c, erase.Action, "") }, true},
	{"for the act and its target", func(w *world, c session.Identity) string { return w.confirm(c, erase.Action, erase.Target) }, true},
	{"for the act on another target", func(w *world, c session.Identity) string { return w.confirm(c, erase.Action, "account 8") }, false},
	{"for another act", func(w *world, c session.Identity) string { return w.confirm(c, stepup.ChangePassword, "") }, false},
	{"for another service's act", func(w *world, c session.Identity) string { return w.confirm(c, "orders-api:refund", "") }, false},
	{"of another user", func(w *world, c session.Identity) string {
		stranger := w.signIn(w.addUser(true))
		stranger.Session = c.Session
		return w.confirm(stranger, erase.Action, "")
	}, false},
	{"of another session of the user", func(w *world, c session.Identity) string {
		c.Session = uuid.New()
		return w.confirm(c, erase.Action, "")
	}, false},
	{"that is spent", func(w *world, c session.Identity) string {
		spent := w.confirm(c, erase.Action, "")
		if err := w.act(c, spent, erase); err != nil {
			w.t.Fatal(err)
		}
		return spent
	}, false},
	{"that the database does not know", func(w *world, c session.Identity) string {
		unknown := w.confirm(c, erase.Action, "")
		w.change(`DELETE FROM action_tokens`)
		return unknown
	}, false},
	{"that has expired", func(w *world, c session.Identity) string {
		old := w.confirm(c, erase.Action, "")
		w.Clock.Advance(lifetime + time.Second)
		return old
	}, false},
	{"that is rubbish", func(*world, session.Identity) string { return "rubbish" }, false},
	{"that is an access token", func(w *world, c session.Identity) string {
		raw, err := w.Tokens.Access(*c.Claims)
		if err != nil {
			w.t.Fatal(err)
		}
		return raw
	}, false},
}

func TestATokenDecidesWhenOneIsSent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, row := range sent {
			for _, codes := range []bool{true, false} {
				for _, only := range []bool{true, false} {
					t.Run(fmt.Sprintf("%s, second factor %t, token only %t", row.name, codes, only), func(t *testing.T) {
						w := newWorld(t, d)
						caller := w.signIn(w.addUser(codes)) // a moment ago
						demand := erase
						demand.TokenOnly = only
						raw := row.make(w, caller)
						err := w.act(caller, raw, demand)
						want := ""
						if !row.right {
							want = "action_token_invalid"
							checkHeader(t, err, map[string]string{"X-OTP-Required": "true", "X-OTP-Action": "erase_account"})
						}
						if got := slug(err); got != want {
							t.Errorf("%q (%v), want %q", got, err, want)
						}
						if row.right {
							if got := slug(w.act(caller, raw, demand)); got != "action_token_invalid" {
								t.Errorf("a second act: %q", got)
							}
							if _, err := w.Prove(t.Context(), caller, raw, demand); slug(err) != "action_token_invalid" {
								t.Errorf("a spent one lets a second act begin: %v", err)
							}
						}
					})
				}
			}
		}
	})
}

func checkHeader(t *testing.T, err error, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, fault.From(err).Header); diff != "" {
		t.Error(diff)
	}
}

func TestWithoutAToken(t *testing.T) {
	otp := map[string]string{"X-OTP-Required": "true", "X-OTP-Action": "erase_account"}
	reauth := map[string]string{"X-Reauth-Required": "true"}
	rows := []struct {
		name   string
		codes  bool
		age    time.Duration // of the last proof
		only   bool
		want   string
		header map[string]string
	}{
		{"a second factor, fresh", true, 0, false, "otp_required", otp},
		{"a second factor, stale", true, time.Hour, false, "otp_required", otp},
		{"no second factor, fresh", false, 0, false, "", nil},
		{"no second factor, 300 s", false, 300 * time.Second, false, "", nil},
		{"no second factor, stale", false, 301 * time.Second, false, "reauth_required", reauth},
		{"token only, a second factor", true, 0, true, "action_token_invalid", otp},
		{"token only, none", false, 0, true, "action_token_invalid", otp},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				w := newWorld(t, d)
				caller := w.signIn(w.addUser(row.codes))
				w.Clock.Advance(row.age)
				demand := erase
				demand.TokenOnly = row.only
				err := w.act(caller, "", demand)
				if got := slug(err); got != row.want {
					t.Fatalf("%q (%v), want %q", got, err, row.want)
				}
				if err == nil {
					return
				}
				checkHeader(t, err, row.header)
				var reason, metadata string
				err = d.Read().QueryRowContext(t.Context(), `SELECT failure_reason, CAST(metadata AS TEXT) FROM audit_events
					WHERE event_type = 'stepup.refused' AND actor_id = $1`, caller.User).Scan(&reason, &metadata)
				if err != nil || reason != row.want || !strings.Contains(metadata, "erase_account") || !strings.Contains(metadata, caller.Session.String()) {
					t.Errorf("recorded: %s %s %v", reason, metadata, err)
				}
			})
		}
	})
}

// What an access token says may be old by up to its lifetime.
func TestTheDatabaseDecidesAndNotTheAccessToken(t *testing.T) {
	rows := []struct {
		name   string
		codes  bool // when the caller signed in, half an hour ago
		change string
		want   string
	}{
		{"codes were switched on since", false, `UPDATE users SET email_otp_enabled = TRUE WHERE id = $1`, "otp_required"},
		{"codes were switched off since", true, `UPDATE users SET email_otp_enabled = FALSE WHERE id = $1`, "reauth_required"},
		{"the address is not confirmed any more", true, `UPDATE users SET email_verified = FALSE WHERE id = $1`, "reauth_required"},
		{"the password was proved since", false, `UPDATE sessions SET auth_time = '2026-03-01 12:29:00+00:00' WHERE user_id = $1`, ""},
		{"the session has ended", false, `UPDATE sessions SET revoked_at = created_at, revoke_reason = 'logout' WHERE user_id = $1`, "session_expired"},
		{"the account was deactivated", false, `UPDATE users SET is_active = FALSE WHERE id = $1`, "session_expired"},
		{"the account was deleted", false, `UPDATE users SET deleted_at = created_at WHERE id = $1`, "session_expired"},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				w := newWorld(t, d)
				caller := w.signIn(w.addUser(row.codes))
				w.Clock.Advance(30 * time.Minute)
				w.change(row.change, caller.User)
				if got := slug(w.act(caller, "", erase)); got != row.want {
					t.Errorf("%q, want %q", got, row.want)
				}
			})
		}
	})
}

// race runs an act at once by many and counts how each ended.
func race(act func() error) map[string]int {
	ends := make([]string, racers)
	start := make(chan struct{})
	var running sync.WaitGroup
	for i := range racers {
		running.Go(func() {
			<-start
			ends[i] = slug(act())
		})
	}
	close(start)
	running.Wait()
	counts := map[string]int{}
	for _, end := range ends {
		counts[end]++
	}
	return counts
}

var oneWins = map[string]int{"": 1, "action_token_invalid": racers - 1}

func TestOfManyActsWithOneConfirmationOneIsDone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		caller := w.signIn(w.addUser(true))
		raw := w.confirm(caller, erase.Action, "")
		if diff := cmp.Diff(oneWins, race(func() error { return w.act(caller, raw, erase) })); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAnActThatIsRolledBackKeepsItsConfirmation(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		caller := w.signIn(w.addUser(true))
		raw := w.confirm(caller, erase.Action, "")
		p, err := w.Prove(t.Context(), caller, raw, erase)
		if err != nil {
			t.Fatal(err)
		}
		failed := fault.New(fault.LastAdminProtected)
		err = d.Write(t.Context(), func(tx *db.Tx) error {
			if err := p.Spend(t.Context(), tx, noon, erase); err != nil {
				return err
			}
			return failed
		})
		if slug(err) != "last_admin_protected" {
			t.Error(err)
		}
		if got := slug(w.act(caller, raw, erase)); got != "" {
			t.Errorf("afterwards: %q", got)
		}
	})
}

// A proof outlives the token's signature check by as long as the act takes.
func TestAConfirmationThatExpiresDuringTheActIsNotSpent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		caller := w.signIn(w.addUser(true))
		p, err := w.Prove(t.Context(), caller, w.confirm(caller, erase.Action, ""), erase)
		if err != nil {
			t.Fatal(err)
		}
		err = d.Write(t.Context(), func(tx *db.Tx) error { return p.Spend(t.Context(), tx, noon.Add(lifetime), erase) })
		if slug(err) != "action_token_invalid" {
			t.Error(err)
		}
	})
}

func TestAServiceConsumesAConfirmation(t *testing.T) {
	const action = "orders-api:refund"
	confirmed := func(target string) func(*world, session.Identity) string {
		return func(w *world, c session.Identity) string { return w.confirm(c, action, target) }
	}
	rows := []struct {
		name   string
		make   func(*world, session.Identity) string
		target string // that the service names
		want   string
	}{
		{"for the act", confirmed(""), "", ""},
		{"for the act on nothing in particular", confirmed(""), "order 7", "action_token_invalid"},
		{"for the target", confirmed("order 7"), "order 7", ""},
		{"for another target", confirmed("order 7"), "order 8", "action_token_invalid"},
		{"for a target where none is named", confirmed("order 7"), "", "action_token_invalid"},
		{"for another act", func(w *world, c session.Identity) string { return w.confirm(c, "orders-api:cancel", "") }, "", "action_token_invalid"},
		{"for another service's act of that name", func(w *world, c session.Identity) string { return w.confirm(c, "jobs-api:refund", "") }, "", "action_token_invalid"},
		{"of another user", func(w *world, c session.Identity) string {
			stranger := w.signIn(w.addUser(true))
			stranger.Session = c.Session
			return w.confirm(stranger, action, "")
		}, "", "action_token_invalid"},
		{"of another session", func(w *world, c session.Identity) string {
			c.Session = uuid.New()
			return w.confirm(c, action, "")
		}, "", "action_token_invalid"},
		{"that has expired", func(w *world, c session.Identity) string {
			old := w.confirm(c, action, "")
			w.Clock.Advance(lifetime + time.Second)
			return old
		}, "", "action_token_invalid"},
		{"that is rubbish", func(*world, session.Identity) string { return "rubbish" }, "", "action_token_invalid"},
		{"that is none", func(*world, session.Identity) string { return "" }, "", "action_token_invalid"},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				w := newWorld(t, d)
				caller := w.signIn(w.addUser(true), "orders-api")
				raw := row.make(w, caller)
				consume := func() error { return w.Consume(t.Context(), caller, raw, action, row.target) }
				err := consume()
				if got := slug(err); got != row.want {
					t.Fatalf("%q (%v), want %q", got, err, row.want)
				}
				recorded := w.count(`SELECT COUNT(*) FROM audit_events WHERE event_type = 'action_token.consumed' AND actor_id = $1`, caller.User)
				if (recorded == 1) != (row.want == "") {
					t.Errorf("%d events", recorded)
				}
				if err == nil {
					err = consume()
				}
				if got := slug(err); got != "action_token_invalid" {
					t.Errorf("a second time: %q", got)
				}
				checkHeader(t, err, map[string]string{"X-OTP-Required": "true", "X-OTP-Action": action})
			})
		}
	})
}

func TestOfManyServicesThatConsumeOneConfirmationOneGetsIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		caller := w.signIn(w.addUser(false), "orders-api")
		raw := w.confirm(caller, "orders-api:refund", "")
		got := race(func() error { return w.Consume(t.Context(), caller, raw, "orders-api:refund", "") })
		if diff := cmp.Diff(oneWins, got); diff != "" {
			t.Error(diff)
		}
		if n := w.count(`SELECT COUNT(*) FROM audit_events WHERE event_type = 'action_token.consumed'`); n != 1 {
			t.Errorf("%d events", n)
		}
	})
}

func TestWhomAConfirmationIsFor(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	caller := w.signIn(w.addUser(true), "orders-api")
	for action, want := range map[string][]string{
		stepup.EraseAccount: {"auth-service", "orders-api"}, // those of the access token
		"orders-api:refund": {"orders-api"},
		"jobs-api:cancel":   {"jobs-api"},
	} {
		c, _, _, err := w.Tokens.VerifyOnce(t.Context(), "action_token", w.confirm(caller, action, ""))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, []string(c.Audience)); diff != "" {
			t.Errorf("%s: %s", action, diff)
		}
		if c.ExpiresAt != noon.Add(lifetime).Unix() || c.SessionID != caller.Session.String() || c.Subject != caller.User.String() || c.Action != action {
			t.Errorf("%s: %+v", action, c)
		}
	}
}

func TestPruningKeepsConfirmationsThatCount(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		caller := w.signIn(w.addUser(true))
		w.confirm(caller, erase.Action, "")
		w.Clock.Advance(lifetime)
		good := w.confirm(caller, erase.Action, "")
		w.Clock.Advance(time.Second)
		if err := stepup.Prune(t.Context(), d, w.Clock.Now()); err != nil {
			t.Fatal(err)
		}
		if n := w.count(`SELECT COUNT(*) FROM action_tokens`); n != 1 {
			t.Errorf("%d confirmations are left, want 1", n)
		}
		if got := slug(w.act(caller, good, erase)); got != "" {
			t.Error(got)
		}
	})
}

func TestForgettingAnAccountForgetsItsConfirmationsOnly(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		caller, other := w.signIn(w.addUser(true)), w.signIn(w.addUser(true))
		raw, kept := w.confirm(caller, erase.Action, ""), w.confirm(other, erase.Action, "")
		w.write(func(tx *db.Tx) error { return stepup.Forget(t.Context(), tx, caller.User) })
		if got := slug(w.act(caller, raw, erase)); got != "action_token_invalid" {
			t.Errorf("%q", got)
		}
		if got := slug(w.act(other, kept, erase)); got != "" {
			t.Errorf("another account's: %q", got)
		}
	})
}

func TestActions(t *testing.T) {
	rows := []struct {
		action, audience string
		ok               bool
	}{
		{"erase_account", "", true},
		{"manage_webhooks", "", true},
		{"orders-api:refund", "orders-api", true},
		{"orders-api:a", "orders-api", true},
		{"9:x_y.z-1", "9", true},
		{"orders-api:" + strings.Repeat("x", 48), "orders-api", true},
		{strings.Repeat("o", 206) + ":" + strings.Repeat("x", 48), strings.Repeat("o", 206), true},

		{"", "", false},
		{"erase", "", false},
		{"Erase_Account", "", false},
		{" erase_account", "", false},
		{"erase_account\n", "", false},
		{"orders-api", "", false},
		{"orders-api:", "", false},
		{":refund", "", false},
		{"orders_api:refund", "", false},
		{"Orders-api:refund", "", false},
		{"orders-api:Refund", "", false},
		{"orders-api:refund:twice", "", false},
		{"orders-api:refund\n", "", false},
		{"orders-api:ref und", "", false},
		{"orders-api:" + strings.Repeat("x", 49), "", false},
		{strings.Repeat("o", 207) + ":" + strings.Repeat("x", 48), "", false},
		{"orders-api:réfund", "", false},
	}
	for _, row := range rows {
		audience, err := stepup.ParseAction("action", row.action)
		if audience != row.audience || (err == nil) != row.ok {
			t.Errorf("%q: %q, %v", row.action, audience, err)
		}
		if err != nil {
			f := fault.From(err)
			if f.Code.Slug != "validation_error" || len(f.Fields) != 1 || f.Fields[0].Field != "action" {
				t.Errorf("%q: %v", row.action, err)
			}
		}
	}
	for _, action := range stepup.Actions {
		if audience, err := stepup.ParseAction("action", action); err != nil || audience != "" {
			t.Errorf("%s: %q, %v", action, audience, err)
		}
	}
}

func FuzzParseAction(f *testing.F) {
	for _, seed := range []string{"erase_account", "orders-api:refund", ":", "a:b\n", "\xff:x", "a:" + strings.Repeat("b", 300)} {
		f.Add(seed)
	}
	_, refused := stepup.ParseAction("action", "")
	f.Fuzz(func(t *testing.T, action string) {
		audience, err := stepup.ParseAction("action", action)
		switch {
		case err != nil:
			if audience != "" || err.Error() != refused.Error() { // which echoes nothing
				t.Errorf("%q: %q, %v", action, audience, err)
			}
		case audience != "":
			if name, ok := strings.CutPrefix(action, audience+":"); !ok || name == "" || len(action) > 255 || strings.ContainsAny(action, " \n\x00") {
				t.Errorf("%q is accepted as an act of %q", action, audience)
			}
		}
	})
}
