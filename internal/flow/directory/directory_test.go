package directory_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/core/risk"
	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/core/token"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/flow/directory"
	"github.com/authsdk/authsdk/internal/flow/erasure"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/method/password"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/jobs"
	"github.com/authsdk/authsdk/internal/platform/limit"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

const good = "Correct-Horse-7"

// system is the operator at the command line.
var system = audit.By{Type: "system"}

// world is the service with a clock that the test moves.
type world struct {
	*directory.Service
	erasure *erasure.Service
	invited []string
}

func newWorld(t *testing.T, d *db.DB) *world {
	t.Helper()
	c := clock.Set(time.Now())
	limiter, err := limit.Open(t.Context(), "", dbtest.Log, c)
	noError(t, err)
	t.Cleanup(limiter.Close)
	feed, err := revocation.NewFeed(t.Context(), d, c, dbtest.Log)
	noError(t, err)
	queue, err := jobs.New(d, dbtest.Log)
	noError(t, err)
	queue.Handle(map[string]jobs.Handler{erasure.ForgetEvents: func(context.Context, jobs.Job) error { return nil }})
	keys, err := keyring.Load(t.Context(), d, secret.NewRing("signing-keys", "test"), c, dbtest.Log, keyring.Options{Algorithm: keyring.EdDSA})
	noError(t, err)
	tokens := token.NewIssuer(keys, c, "https://auth.example.com", "auth-service", time.Minute)
	w := &world{Service: &directory.Service{
		DB: d, Clock: c, Accounts: &user.Accounts{Feed: feed, TokenLife: time.Hour},
		Sessions:  session.New(d, c, dbtest.Log, feed, tokens, secret.NewRing("refresh-token", "test"), limiter, session.Settings{RefreshTTL: time.Hour}),
		Passwords: &password.Service{Hasher: secret.NewHasher(secret.Cost{MemoryKiB: 8, Iterations: 1, Parallelism: 1}, 2)},
		Risk:      &risk.Service{DB: d, Clock: c, Ring: secret.NewRing("lockouts", "test")},
	}}
	w.Invite = func(_ context.Context, _ *db.Tx, email string) error {
		w.invited = append(w.invited, email)
		return nil
	}
	w.erasure = &erasure.Service{DB: d, Clock: c, Jobs: queue, Accounts: w.Accounts, Risk: w.Risk, StepUp: &stepup.Service{DB: d, Clock: c, Tokens: tokens}}
	return w
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) write(t *testing.T, act func(tx *db.Tx) error) {
	t.Helper()
	noError(t, w.DB.Write(t.Context(), act))
}

// account is a new one, a second younger than the one before.
func (w *world) account(t *testing.T, email, role string) uuid.UUID {
	t.Helper()
	w.Clock.Advance(time.Second)
	u := user.User{ID: uuid.Must(uuid.NewV7()), Email: email, Role: role, Active: true, EmailVerified: true, Epoch: 1}
	w.write(t, func(tx *db.Tx) error {
		made, err := user.Create(t.Context(), tx, w.Clock.Now(), u)
		if err == nil && !made {
			err = fmt.Errorf("%s is taken", email)
		}
		return err
	})
	return u.ID
}

// signIn begins a session and returns its access token.
func (w *world) signIn(t *testing.T, id uuid.UUID) string {
	t.Helper()
	u, _, err := user.ByID(t.Context(), w.DB.Read(), id)
	noError(t, err)
	started, pair, err := w.Sessions.Begin(u, session.Start{Provider: "password"})
	noError(t, err)
	w.write(t, func(tx *db.Tx) error {
		saved, err := w.Sessions.Save(t.Context(), tx, started, u)
		if err == nil && !saved {
			err = fmt.Errorf("the account is not what it was")
		}
		return err
	})
	return pair.Access
}

// lock guesses at an account until somebody must wait a minute.
func (w *world) lock(t *testing.T, id uuid.UUID, email string) {
	t.Helper()
	place, err := w.Risk.Look(t.Context(), id)
	noError(t, err)
	for range 5 {
		w.write(t, func(tx *db.Tx) error {
			_, err := w.Risk.Charge(t.Context(), tx, w.Clock.Now(), email, place)
			return err
		})
	}
}

func code(err error) string {
	if err == nil {
		return ""
	}
	return fault.From(err).Code.Slug
}

// events are what was recorded, in order, with the role of who did it.
func (w *world) events(t *testing.T) (list []string) {
	t.Helper()
	rows, err := w.DB.Read().QueryContext(t.Context(), `SELECT event_type, actor_type, COALESCE(target_type, ''), COALESCE(failure_reason, 'ok') FROM audit_events
		WHERE event_type NOT LIKE 'signing_key.%' ORDER BY created_at, id`)
	noError(t, err)
	defer rows.Close()
	for rows.Next() {
		var kind, actor, target, outcome string
		noError(t, rows.Scan(&kind, &actor, &target, &outcome))
		list = append(list, kind+" by "+actor+" on "+target+" "+outcome)
	}
	noError(t, rows.Err())
	return list
}

func (w *world) admins(t *testing.T) (n int) {
	t.Helper()
	noError(t, w.DB.Read().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM users WHERE role = 'admin' AND is_active AND deleted_at IS NULL`).Scan(&n))
	return n
}

// Two admins who remove each other at the same moment: whatever they do, one
// stays.
func TestOfTwoAdminsWhoRemoveEachOtherOneAlwaysRemains(t *testing.T) {
	type removal func(w *world, ctx context.Context, by audit.By, id uuid.UUID) error
	ways := []struct {
		name string
		act  removal
	}{
		{"demote", func(w *world, ctx context.Context, by audit.By, id uuid.UUID) error {
			_, err := w.SetRole(ctx, by, id, user.RoleUser)
			return err
		}},
		{"delete", func(w *world, ctx context.Context, by audit.By, id uuid.UUID) error {
			_, err := w.Delete(ctx, by, id)
			return err
		}},
		{"deactivate", func(w *world, ctx context.Context, by audit.By, id uuid.UUID) error {
			_, err := w.Deactivate(ctx, by, id)
			return err
		}},
		{"erase", func(w *world, ctx context.Context, by audit.By, id uuid.UUID) error {
			_, err := w.erasure.ByAdmin(ctx, by, id)
			return err
		}},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		for round := range 100 {
			w.write(t, func(tx *db.Tx) error {
				_, err := tx.ExecContext(t.Context(), `UPDATE users SET role = 'user' WHERE role = 'admin'`)
				return err
			})
			a := w.account(t, fmt.Sprintf("a%d@example.com", round), user.RoleAdmin)
			b := w.account(t, fmt.Sprintf("b%d@example.com", round), user.RoleAdmin)
			first, second := ways[round%4], ways[round/4%4]
			var errs [2]error
			start := make(chan struct{})
			var running sync.WaitGroup
			running.Go(func() { <-start; errs[0] = first.act(w, t.Context(), audit.By{Type: "admin", ID: a}, b) })
			running.Go(func() { <-start; errs[1] = second.act(w, t.Context(), audit.By{Type: "admin", ID: b}, a) })
			close(start)
			running.Wait()
			if n := w.admins(t); n != 1 {
				t.Fatalf("round %d, %s and %s: %d admins remain (%v, %v)", round, first.name, second.name, n, errs[0], errs[1])
			}
			done := 0
			for _, err := range errs {
				switch c := code(err); c {
				case "":
					done++
				case "insufficient_role", "last_admin_protected":
				default:
					t.Errorf("round %d, %s and %s: %v", round, first.name, second.name, err)
				}
			}
			if done != 1 {
				t.Errorf("round %d, %s and %s: %d acts were done", round, first.name, second.name, done)
			}
		}
	})
}

func TestTheLastAdminCannotBeRemoved(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		only := w.account(t, "only@example.com", user.RoleAdmin)
		closed := w.account(t, "closed@example.com", user.RoleAdmin)
		_, err := w.Deactivate(t.Context(), system, closed)
		noError(t, err)
		_, demote := w.SetRole(t.Context(), system, only, user.RoleUser)
		_, remove := w.Delete(t.Context(), system, only)
		_, deactivate := w.Deactivate(t.Context(), system, only)
		_, erase := w.erasure.ByAdmin(t.Context(), system, only)
		for _, err := range []error{demote, remove, deactivate, erase} {
			if code(err) != "last_admin_protected" {
				t.Errorf("%v", err)
			}
		}
		if _, err := w.SetRole(t.Context(), system, only, user.RoleAdmin); err != nil {
			t.Errorf("what is so stays so: %v", err)
		}
		if _, err := w.Delete(t.Context(), system, closed); err != nil {
			t.Errorf("one that is closed is not the last: %v", err)
		}
	})
}

func TestAnActEndsWhatItShouldAndSaysSo(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.account(t, "boss@example.com", user.RoleAdmin)
		id := w.account(t, "ann@example.com", user.RoleUser)
		refused := func(access, want string) {
			t.Helper()
			if _, err := w.Sessions.Check(t.Context(), access); code(err) != want {
				t.Errorf("the access token: %v, want %q", err, want)
			}
		}
		act := func(want ...string) func(directory.Detail, error) directory.Detail {
			before := len(w.events(t))
			return func(d directory.Detail, err error) directory.Detail {
				t.Helper()
				noError(t, err)
				if diff := cmp.Diff(want, slices.Clip(w.events(t)[before:]), cmp.Transformer("", func(s []string) []string { return append([]string{}, s...) })); diff != "" {
					t.Error(diff)
				}
				return d
			}
		}
		access := w.signIn(t, id)
		check := act("user.role_changed by system on user ok")
		if d := check(w.SetRole(t.Context(), system, id, user.RoleAdmin)); d.Role != user.RoleAdmin || d.ActiveSessions != 1 {
			t.Errorf("%+v", d)
		}
		refused(access, "token_expired")
		check = act()
		check(w.SetRole(t.Context(), system, id, user.RoleAdmin))
		if _, err := w.SetRole(t.Context(), system, id, "service"); code(err) != "validation_error" {
			t.Errorf("another role: %v", err)
		}

		access = w.signIn(t, id)
		check = act("session.revoked by system on user ok", "user.deactivated by system on user ok")
		if d := check(w.Deactivate(t.Context(), system, id)); d.Active || d.ActiveSessions != 0 {
			t.Errorf("%+v", d)
		}
		refused(access, "session_expired")
		check = act()
		check(w.Deactivate(t.Context(), system, id))
		if err := w.SetOTP(t.Context(), system, id, true); code(err) != "invalid_user" {
			t.Errorf("codes of a closed account: %v", err)
		}
		check = act("user.reactivated by system on user ok")
		if d := check(w.Reactivate(t.Context(), system, id)); !d.Active {
			t.Errorf("%+v", d)
		}
		check = act()
		check(w.Reactivate(t.Context(), system, id))
		w.signIn(t, id)

		w.lock(t, id, "ann@example.com")
		if d, err := w.Show(t.Context(), id); err != nil || d.LockedFor != time.Minute {
			t.Errorf("locked for %v (%v)", d.LockedFor, err)
		}
		check = act("user.unlocked by system on user ok")
		if d := check(w.Unlock(t.Context(), system, id)); d.LockedFor != 0 {
			t.Errorf("%+v", d)
		}
		check = act()
		check(w.Unlock(t.Context(), system, id))

		check = act("otp.admin_toggled by system on user ok", "otp.admin_toggled by system on user ok", "otp.admin_toggled by system on user ok")
		noError(t, w.SetOTP(t.Context(), system, id, true))
		noError(t, w.SetOTP(t.Context(), system, id, true))
		if d, err := w.Show(t.Context(), id); err != nil || !d.EmailOTPEnabled {
			t.Errorf("%+v (%v)", d, err)
		}
		noError(t, w.SetOTP(t.Context(), system, id, false))
		check(w.Show(t.Context(), id))

		keys := 0
		w.Keys = func(context.Context, *db.Tx, time.Time, uuid.UUID) (int, error) { keys++; return 2, nil }
		access = w.signIn(t, id)
		before := len(w.events(t))
		ended, err := w.Delete(t.Context(), system, id)
		if err != nil || len(ended) != 2 || keys != 1 {
			t.Errorf("%d sessions and the keys of %d accounts ended (%v)", len(ended), keys, err)
		}
		if diff := cmp.Diff([]string{"session.revoked by system on user ok", "user.deleted by system on user ok"}, w.events(t)[before:]); diff != "" {
			t.Error(diff)
		}
		refused(access, "session_expired")
		for name, err := range map[string]error{
			"show": second(w.Show(t.Context(), id)), "role": second(w.SetRole(t.Context(), system, id, user.RoleUser)),
			"deactivate": second(w.Deactivate(t.Context(), system, id)), "unlock": second(w.Unlock(t.Context(), system, id)),
			"delete": second(w.Delete(t.Context(), system, id)), "codes": w.SetOTP(t.Context(), system, id, true),
		} {
			if code(err) != "invalid_user" {
				t.Errorf("%s of a deleted account: %v", name, err)
			}
		}
		if _, err := w.Create(t.Context(), system, directory.New{Email: "ann@example.com", Role: user.RoleUser, Password: good}); code(err) != "email_taken" {
			t.Errorf("its address: %v", err)
		}
		if c, err := w.erasure.ByAdmin(t.Context(), system, id); err != nil || c.Sessions != 0 {
			t.Errorf("erasing a deleted account: %+v, %v", c, err)
		}
		if _, err := w.erasure.ByAdmin(t.Context(), system, id); code(err) != "already_erased" {
			t.Errorf("twice: %v", err)
		}
		if _, err := w.Create(t.Context(), system, directory.New{Email: "ann@example.com", Role: user.RoleUser, Password: good}); err != nil {
			t.Errorf("the address of an erased account: %v", err)
		}
	})
}

func second[T any](_ T, err error) error { return err }

// A refused act leaves the confirmation unspent, and changes nothing.
func TestAnActIsAdmittedInItsOwnTransaction(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		boss := w.account(t, "boss@example.com", user.RoleAdmin)
		id := w.account(t, "ann@example.com", user.RoleUser)
		spent := audit.By{Type: "admin", ID: boss, Proof: func(context.Context, *db.Tx, time.Time) error { return fault.New(fault.ActionTokenInvalid) }}
		before := len(w.events(t))
		_, create := w.Create(t.Context(), spent, directory.New{Email: "new@example.com", Role: user.RoleUser})
		_, role := w.SetRole(t.Context(), spent, id, user.RoleAdmin)
		_, off := w.Deactivate(t.Context(), spent, id)
		_, on := w.Reactivate(t.Context(), spent, id)
		_, unlock := w.Unlock(t.Context(), spent, id)
		_, remove := w.Delete(t.Context(), spent, id)
		_, erase := w.erasure.ByAdmin(t.Context(), spent, id)
		for i, err := range []error{create, role, off, on, unlock, remove, erase, w.SetOTP(t.Context(), spent, id, true)} {
			if code(err) != "action_token_invalid" {
				t.Errorf("act %d: %v", i, err)
			}
		}
		if after := len(w.events(t)); after != before || w.admins(t) != 1 {
			t.Errorf("%d events, %d admins", after-before, w.admins(t))
		}
		if _, err := w.Named(t.Context(), "new@example.com"); code(err) != "invalid_user" {
			t.Errorf("the account was made: %v", err)
		}
	})
}

func TestMakingAccounts(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		with, err := w.Create(t.Context(), system, directory.New{Email: " Ann@Example.com", Role: user.RoleUser, Password: good, Verified: true})
		if err != nil || with.Email != "ann@example.com" || !with.PasswordSet || !with.EmailVerified || len(w.invited) != 0 {
			t.Errorf("%+v, %v, invited %v", with, err, w.invited)
		}
		without, err := w.Create(t.Context(), system, directory.New{Email: "bo@example.com", Role: user.RoleUser})
		if err != nil || without.PasswordSet || without.EmailVerified || !slices.Equal(w.invited, []string{"bo@example.com"}) {
			t.Errorf("%+v, %v, invited %v", without, err, w.invited)
		}
		for _, row := range []struct {
			new  directory.New
			want string
		}{
			{directory.New{Email: "ann@example.com", Role: user.RoleUser, Password: good}, "email_taken"},
			{directory.New{Email: "nobody", Role: user.RoleUser}, "validation_error"},
			{directory.New{Email: "cy@example.com", Role: "king"}, "validation_error"},
			{directory.New{Email: "cy@example.com", Role: user.RoleUser, Password: "weak"}, "validation_error"},
		} {
			if _, err := w.Create(t.Context(), system, row.new); code(err) != row.want {
				t.Errorf("%+v: %v, want %s", row.new, err, row.want)
			}
		}
		made, fresh, err := w.MakeAdmin(t.Context(), system, "cy@example.com", good)
		if err != nil || !fresh || made.Role != user.RoleAdmin || !made.EmailVerified {
			t.Errorf("%+v, %v, %v", made, fresh, err)
		}
		promoted, fresh, err := w.MakeAdmin(t.Context(), system, "ANN@example.com", "ignored")
		if err != nil || fresh || promoted.ID != with.ID || promoted.Role != user.RoleAdmin {
			t.Errorf("%+v, %v, %v", promoted, fresh, err)
		}
	})
}
