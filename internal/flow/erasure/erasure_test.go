package erasure_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/core/risk"
	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/core/token"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/flow/erasure"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/method/otp"
	"github.com/authsdk/authsdk/internal/method/password"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/jobs"
	"github.com/authsdk/authsdk/internal/platform/limit"
	"github.com/authsdk/authsdk/internal/platform/mail"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

const (
	address = "traceable@example.com"
	former  = "formerly-traceable@example.com"
	from    = "203.0.113.77"
	browser = "TraceableBrowser/1.0"
)

// world is the flow with the parts that leave traces of a person. Its queue is
// not started: jobs wait until the test works them.
type world struct {
	*erasure.Service
	sessions *session.Service
	codes    *otp.Service
	ctx      context.Context // of a request by the person
}

func newWorld(t *testing.T, d *db.DB) *world {
	t.Helper()
	c := clock.Set(time.Now())
	limiter, err := limit.Open(t.Context(), "", dbtest.Log, c)
	noError(t, err)
	feed, err := revocation.NewFeed(t.Context(), d, c, dbtest.Log)
	noError(t, err)
	queue, err := jobs.New(d, dbtest.Log)
	noError(t, err)
	idle := func(context.Context, jobs.Job) error { return nil }
	queue.Handle(map[string]jobs.Handler{erasure.ForgetEvents: idle, otp.CodeMail: idle})
	keys, err := keyring.Load(t.Context(), d, secret.NewRing("signing-keys", "test"), c, dbtest.Log, keyring.Options{Algorithm: keyring.EdDSA})
	noError(t, err)
	tokens := token.NewIssuer(keys, c, "https://auth.example.com", "auth-service", time.Minute)
	return &world{
		Service: &erasure.Service{
			DB: d, Clock: c, Jobs: queue, Accounts: &user.Accounts{Feed: feed, TokenLife: time.Hour},
			StepUp: &stepup.Service{DB: d, Clock: c, Tokens: tokens, Lifetime: time.Minute},
			Risk:   &risk.Service{DB: d, Clock: c, Ring: secret.NewRing("lockouts", "test")},
		},
		sessions: session.New(d, c, dbtest.Log, feed, tokens, secret.NewRing("refresh-token", "test"), limiter, session.Settings{RefreshTTL: time.Hour}),
		codes:    &otp.Service{DB: d, Clock: c, Jobs: queue, Codes: secret.NewRing("otp-codes", "test"), Length: 6, TTL: time.Minute, MaxAttempts: 5},
		ctx:      audit.WithOrigin(t.Context(), audit.Origin{IP: from, UserAgent: browser}),
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) write(t *testing.T, act func(tx *db.Tx) error) {
	t.Helper()
	noError(t, w.DB.Write(w.ctx, act))
}

// person adds an account with a session.
func (w *world) person(t *testing.T, email, role string) (user.User, session.Identity) {
	t.Helper()
	u := user.User{ID: uuid.Must(uuid.NewV7()), Email: email, Role: role, Active: true, EmailVerified: true}
	w.write(t, func(tx *db.Tx) error {
		if created, err := user.Create(w.ctx, tx, w.Clock.Now(), u); err != nil || !created {
			return fmt.Errorf("created %v: %w", created, err)
		}
		return password.Save(w.ctx, tx, w.Clock.Now(), u.ID, "a hash")
	})
	return u, w.signIn(t, u)
}

func (w *world) signIn(t *testing.T, u user.User) session.Identity {
	t.Helper()
	started, pair, err := w.sessions.Begin(u, session.Start{Provider: "password", CSRF: "token"})
	noError(t, err)
	w.write(t, func(tx *db.Tx) error {
		_, err := w.sessions.Save(w.ctx, tx, started, u)
		return err
	})
	id, err := w.sessions.Check(w.ctx, pair.Access)
	noError(t, err)
	return id
}

// confirm gives an action token for an act.
func (w *world) confirm(t *testing.T, caller session.Identity, action string) string {
	t.Helper()
	id := uuid.Must(uuid.NewV7())
	w.write(t, func(tx *db.Tx) error { return w.StepUp.Mint(w.ctx, tx, w.Clock.Now(), caller, id, action, "") })
	signed, err := w.StepUp.Sign(caller, id, action, "")
	noError(t, err)
	return signed
}

// erase erases and works the job that this leaves.
func (w *world) erase(t *testing.T, caller session.Identity) error {
	t.Helper()
	if err := w.Self(w.ctx, caller, w.confirm(t, caller, stepup.EraseAccount)); err != nil {
		return err
	}
	return audit.Forget(w.ctx, w.DB, caller.User)
}

func TestNothingSaysAnyMoreWhoAnErasedPersonWas(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		u, id := w.person(t, address, user.RoleUser)
		place, err := w.Risk.Look(w.ctx, u.ID)
		noError(t, err)
		box := &mail.Mailbox{DB: d, Clock: w.Clock, From: "auth@example.com"}
		noError(t, box.Send(w.ctx, mail.Message{ID: "1", To: address, Subject: "Hello", Text: address}))
		w.write(t, func(tx *db.Tx) error { // everything else that may wait somewhere
			now := w.Clock.Now()
			if _, err := w.Risk.Charge(w.ctx, tx, now, address, place); err != nil {
				return err
			}
			if err := w.Risk.Remember(w.ctx, tx, now, u.ID, place); err != nil {
				return err
			}
			if err := w.codes.Issue(w.ctx, tx, now, u, &otp.Challenge{ID: uuid.Must(uuid.NewV7()), Context: otp.Action, Session: id.Session, Action: "erase_account"}); err != nil {
				return err
			}
			if _, err := tx.ExecContext(w.ctx, `INSERT INTO email_tokens (user_id, purpose, token_hash, issued_at, expires_at) VALUES ($1, 'verify_email', 'x', $2, $3)`,
				u.ID, now, now); err != nil {
				return err
			}
			if _, err := tx.ExecContext(w.ctx, `INSERT INTO email_changes (id, user_id, old_email, new_email, issued_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)`,
				uuid.New(), u.ID, former, address, now, now); err != nil {
				return err
			}
			return audit.Record(w.ctx, tx, now, audit.Event{Type: audit.LoginSuccess, Actor: u.ID})
		})
		other, _ := w.person(t, "other@example.com", user.RoleUser)
		if trace := w.find(t, address); trace == "" {
			t.Fatal("the search finds nothing even before")
		}

		noError(t, w.erase(t, id))

		for _, secret := range []string{address, former} {
			if trace := w.find(t, secret); trace != "" {
				t.Errorf("%s is still in %s", secret, trace)
			}
		}
		for _, table := range []string{"passwords", "email_tokens", "email_changes", "seen", "otp_challenges", "otp_budgets", "action_tokens"} {
			if n := w.count(t, table+` WHERE user_id = $1`, u.ID); n > 0 {
				t.Errorf("%s still has %d rows of the account", table, n)
			}
		}
		if n := w.count(t, `lockouts`); n > 0 {
			t.Errorf("%d counts of failures are left", n)
		}
		if n := w.count(t, `sessions WHERE user_id = $1 AND (ip_address IS NOT NULL OR user_agent IS NOT NULL OR csrf_hash IS NOT NULL OR revoked_at IS NULL)`, u.ID); n > 0 {
			t.Errorf("%d sessions live or say where they were used", n)
		}
		if n := w.count(t, `audit_personal p JOIN audit_events e ON e.id = p.event_id WHERE e.actor_id = $1`, u.ID); n > 0 {
			t.Errorf("%d audit events still have a personal part", n)
		}
		if n := w.count(t, `audit_events WHERE actor_id = $1 AND personal_hash IS NOT NULL`, u.ID); n < 2 {
			t.Errorf("%d audit events are left; they stay, with the hash of what is gone", n)
		}
		if n := w.count(t, `sessions WHERE user_id = $1 AND ip_address = $2`, other.ID, from); n != 1 {
			t.Error("another person's session was touched")
		}
	})
}

// find names a table and column that holds a text.
func (w *world) find(t *testing.T, text string) string {
	t.Helper()
	query := `SELECT m.name, p.name FROM sqlite_master m JOIN pragma_table_info(m.name) p WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'`
	if w.DB.Engine() == db.Postgres {
		query = `SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema() AND table_name NOT LIKE 'pg_%'`
	}
	rows, err := w.DB.Read().QueryContext(t.Context(), query)
	noError(t, err)
	var places [][2]string
	for rows.Next() {
		var p [2]string
		noError(t, rows.Scan(&p[0], &p[1]))
		places = append(places, p)
	}
	noError(t, rows.Err())
	rows.Close()
	for _, p := range places {
		where := fmt.Sprintf(`"%s" WHERE CAST("%s" AS TEXT) LIKE '%%%s%%'`, p[0], p[1], text)
		if w.count(t, where) > 0 {
			return strings.Join(p[:], ".")
		}
	}
	return ""
}

func (w *world) count(t *testing.T, what string, args ...any) (n int) {
	t.Helper()
	noError(t, w.DB.Read().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM `+what, args...).Scan(&n))
	return n
}

func TestErasureTakesTheConfirmationForIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		_, id := w.person(t, address, user.RoleUser)
		for name, token := range map[string]string{"none": "", "for another act": w.confirm(t, id, stepup.DisableOTP), "garbage": "garbage"} {
			if err := w.Self(w.ctx, id, token); !fault.Has(err, fault.ActionTokenInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := w.count(t, `audit_events WHERE event_type = 'stepup.refused' AND actor_id = $1`, id.User); n != 3 {
			t.Errorf("%d refusals were recorded", n)
		}
		noError(t, w.erase(t, id))
		if err := w.erase(t, id); !fault.Has(err, fault.AlreadyErased) {
			t.Errorf("once more: %v", err)
		}
		if n := w.count(t, `audit_events WHERE event_type = 'user.erased' AND target_id = $1 AND success`, id.User); n != 1 {
			t.Errorf("%d erasures were recorded", n)
		}
	})
}

func TestAnAddressIsFreeAfterItsErasure(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		_, id := w.person(t, address, user.RoleUser)
		noError(t, w.erase(t, id))
		w.person(t, address, user.RoleUser) // fails the test if it cannot be made
	})
}

func TestTheLastAdminStaysHoweverManyGoAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		var admins []session.Identity
		var tokens []string
		for i := range 8 {
			_, id := w.person(t, fmt.Sprintf("admin%d@example.com", i), user.RoleAdmin)
			admins, tokens = append(admins, id), append(tokens, w.confirm(t, id, stepup.EraseAccount))
		}
		errs := make([]error, len(admins))
		var racing sync.WaitGroup
		for i, id := range admins {
			racing.Go(func() { errs[i] = w.Self(w.ctx, id, tokens[i]) })
		}
		racing.Wait()
		refused := 0
		for _, err := range errs {
			if fault.Has(err, fault.LastAdminProtected) {
				refused++
			} else {
				noError(t, err)
			}
		}
		if left := w.count(t, `users WHERE role = 'admin' AND deleted_at IS NULL`); left != 1 || refused != 1 {
			t.Errorf("%d admins are left, %d were refused", left, refused)
		}
		if n := w.count(t, `audit_events WHERE event_type = 'user.erased' AND failure_reason = 'last_admin_protected'`); n != 1 {
			t.Errorf("%d refusals were recorded", n)
		}
	})
}

func TestNoSessionSurvivesAnErasureBesideSignIns(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		u, id := w.person(t, address, user.RoleUser)
		token := w.confirm(t, id, stepup.EraseAccount)
		var racing sync.WaitGroup
		for range 16 {
			racing.Go(func() {
				started, _, err := w.sessions.Begin(u, session.Start{Provider: "password"})
				if err != nil {
					t.Error(err)
				}
				err = d.Write(w.ctx, func(tx *db.Tx) error {
					_, err := w.sessions.Save(w.ctx, tx, started, u)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		racing.Go(func() {
			if err := w.Self(w.ctx, id, token); err != nil {
				t.Error(err)
			}
		})
		racing.Wait()
		if n := w.count(t, `sessions WHERE user_id = $1 AND revoked_at IS NULL`, u.ID); n != 0 {
			t.Errorf("%d sessions survived", n)
		}
	})
}
