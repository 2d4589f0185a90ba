package account_test

import (
	"context"
	"errors"
	"strings"
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
	"github.com/authsdk/authsdk/internal/flow/account"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/method/password"
	"github.com/authsdk/authsdk/internal/platform/jobs"
	"github.com/authsdk/authsdk/internal/platform/limit"
	"github.com/authsdk/authsdk/internal/platform/mail"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

// world is the flow with a queue that hands its jobs over instead of working
// them, so that a test decides when, in which order and how often they run.
type world struct {
	*account.Service
	sessions *session.Service
	jobs     chan jobs.Job
	outbox   outbox
	rest     <-chan time.Time // on PostgreSQL only one enqueue in 5 ms wakes the workers
}

// outbox is a mail server that keeps what it is given, or refuses it.
type outbox struct {
	sent []mail.Message
	down error
}

func (o *outbox) Send(_ context.Context, m mail.Message) error {
	if o.down == nil {
		o.sent = append(o.sent, m)
	}
	return o.down
}

func newWorld(t *testing.T, d *db.DB) *world {
	t.Helper()
	ctx := context.Background()
	c := clock.Set(time.Now())
	limiter, err := limit.Open(ctx, "", dbtest.Log, c)
	if err != nil {
		t.Fatal(err)
	}
	feed, err := revocation.NewFeed(ctx, d, c, dbtest.Log)
	if err != nil {
		t.Fatal(err)
	}
	queue, err := jobs.New(d, dbtest.Log)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := keyring.Load(ctx, d, secret.NewRing("signing-keys", "test"), c, dbtest.Log, keyring.Options{Algorithm: keyring.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	tokens := token.NewIssuer(keys, c, "https://auth.example.com", "auth-service", time.Minute)
	w := &world{jobs: make(chan jobs.Job, 100), rest: time.After(0)}
	w.sessions = session.New(d, c, dbtest.Log, feed, tokens, secret.NewRing("refresh-token", "test"), limiter, session.Settings{RefreshTTL: time.Hour})
	w.Service = &account.Service{
		DB: d, Clock: c, Jobs: queue, Limiter: limiter, Mail: &w.outbox,
		Accounts:  &user.Accounts{Feed: feed, TokenLife: time.Hour},
		Passwords: &password.Service{Hasher: secret.NewHasher(secret.Cost{MemoryKiB: 8, Iterations: 1, Parallelism: 1}, 2)},
		Risk:      &risk.Service{DB: d, Clock: c, Ring: secret.NewRing("lockouts", "test")},
		StepUp:    &stepup.Service{DB: d, Clock: c, Tokens: tokens, Lifetime: time.Minute},
		Links:     secret.NewRing("mail-links", "test"), BaseURL: "https://auth.example.com", ConfirmTTL: time.Hour,
		MailReset: func(context.Context, *db.Tx, string) error { return nil },
	}
	hand := func(_ context.Context, job jobs.Job) error {
		w.jobs <- job
		return nil
	}
	queue.Handle(map[string]jobs.Handler{account.ChangeMail: hand, account.ChangedMail: hand, account.PasswordMail: hand})
	if err := queue.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if err := queue.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return w
}

// job does something and returns the job that it enqueued.
func (w *world) job(t *testing.T, act func() error) jobs.Job {
	t.Helper()
	<-w.rest
	defer func() { w.rest = time.After(7 * time.Millisecond) }()
	if err := act(); err != nil {
		t.Fatal(err)
	}
	select {
	case job := <-w.jobs:
		return job
	case <-time.After(10 * time.Second):
		t.Fatal("no job after 10 s")
		panic("unreachable")
	}
}

// in makes an account that has just signed in.
func (w *world) in(t *testing.T, email string) session.Identity {
	t.Helper()
	ctx := context.Background()
	u := user.User{ID: uuid.Must(uuid.NewV7()), Email: email, Role: user.RoleUser, Active: true, EmailVerified: true}
	started, _, err := w.sessions.Begin(u, session.Start{Provider: password.Provider, Audiences: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	err = w.DB.Write(ctx, func(tx *db.Tx) error {
		if _, err := user.Create(ctx, tx, w.Clock.Now(), u); err != nil {
			return err
		}
		_, err := w.sessions.Save(ctx, tx, started, u)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return session.Identity{User: u.ID, Session: started.ID}
}

// ask asks for another address.
func (w *world) ask(t *testing.T, who session.Identity, email string) jobs.Job {
	t.Helper()
	return w.job(t, func() error { return w.ChangeEmail(context.Background(), who, email, account.Given{}) })
}

// sent works a job and returns the mails that it sent.
func (w *world) sent(t *testing.T, job jobs.Job) []mail.Message {
	t.Helper()
	w.outbox.sent = nil
	work := map[string]jobs.Handler{account.ChangeMail: w.SendChange, account.ChangedMail: w.SendChanged, account.PasswordMail: w.SendPasswordChanged}
	if err := work[job.Kind](context.Background(), job); err != nil {
		t.Fatal(err)
	}
	return w.outbox.sent
}

func linkToken(t *testing.T, mails []mail.Message, page string) string {
	t.Helper()
	if len(mails) != 1 {
		t.Fatalf("%d mails, want 1", len(mails))
	}
	tokens := (mail.Stored{Message: mails[0]}).Tokens()
	if len(tokens) != 1 || !strings.Contains(mails[0].Text, "https://auth.example.com"+page+"?token=") {
		t.Fatalf("no link to %s in %s", page, mails[0].Text)
	}
	return tokens[0]
}

func none(t *testing.T, why string, mails []mail.Message) {
	t.Helper()
	if len(mails) > 0 {
		t.Errorf("%s, and yet a mail was sent: %+v", why, mails[0])
	}
}

func TestMailsOfAChangeOfAddress(t *testing.T) {
	ctx := context.Background()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		t.Run("jobs that run twice send the same mail", func(t *testing.T) {
			job := w.ask(t, w.in(t, "twice@example.com"), "twice2@example.com")
			first, second := w.sent(t, job), w.sent(t, job)
			if diff := cmp.Diff(first, second); diff != "" {
				t.Errorf("-first +second:\n%s", diff)
			}
			if first[0].To != "twice2@example.com" || first[0].ID != job.ID.String() {
				t.Errorf("%+v", first[0])
			}
			token := linkToken(t, second, account.ConfirmPage)
			told := w.job(t, func() error { return w.ConfirmEmail(ctx, token) })
			none(t, "the link was used", w.sent(t, job))

			first, second = w.sent(t, told), w.sent(t, told)
			if diff := cmp.Diff(first, second); diff != "" || first[0].To != "twice@example.com" {
				t.Errorf("to %s, -first +second:\n%s", first[0].To, diff)
			}
			if err := w.UndoEmail(ctx, linkToken(t, second, account.UndoPage)); err != nil {
				t.Fatal(err)
			}
			none(t, "it was undone", w.sent(t, told))
		})
		t.Run("a job that failed sends the same link later", func(t *testing.T) {
			job := w.ask(t, w.in(t, "later@example.com"), "later2@example.com")
			w.outbox.down = errors.New("the mail server is down")
			if err := w.SendChange(ctx, job); !errors.Is(err, w.outbox.down) {
				t.Fatalf("%v: the job would not be tried again", err)
			}
			w.outbox.down = nil
			token := linkToken(t, w.sent(t, job), account.ConfirmPage)
			w.job(t, func() error { return w.ConfirmEmail(ctx, token) })
		})
		t.Run("a change that was replaced, or is too old, sends none", func(t *testing.T) {
			who := w.in(t, "order@example.com")
			older, newer := w.ask(t, who, "order2@example.com"), w.ask(t, who, "order3@example.com")
			none(t, "a newer change was asked for", w.sent(t, older))
			w.Clock.Advance(time.Hour)
			none(t, "an hour passed", w.sent(t, newer))
		})
		t.Run("an address that somebody may take back is taken", func(t *testing.T) {
			job := w.ask(t, w.in(t, "kept@example.com"), "kept2@example.com")
			told := w.job(t, func() error { return w.ConfirmEmail(ctx, linkToken(t, w.sent(t, job), account.ConfirmPage)) })
			mails := w.sent(t, w.ask(t, w.in(t, "other@example.com"), "kept@example.com"))
			if len(mails) != 1 || mails[0].Subject != "Somebody asked to use your email" {
				t.Errorf("%+v", mails)
			}
			w.Clock.Advance(72 * time.Hour)
			none(t, "72 hours passed", w.sent(t, told))
		})
		t.Run("an address whose owner leaves after the mail can still not be confirmed while it is kept", func(t *testing.T) {
			leaving, waiting := w.in(t, "leaving@example.com"), w.in(t, "waiting@example.com")
			w.write(t, `UPDATE users SET email_key = 'hidden@example.com' WHERE id = $1`, leaving.User)
			token := linkToken(t, w.sent(t, w.ask(t, waiting, "leaving@example.com")), account.ConfirmPage)
			w.write(t, `UPDATE users SET email_key = 'leaving@example.com' WHERE id = $1`, leaving.User)
			if err := w.ConfirmEmail(ctx, token); !fault.Has(err, fault.InvalidEmailChange) {
				t.Errorf("it is another account's: %v", err)
			}
			gone := linkToken(t, w.sent(t, w.ask(t, leaving, "gone@example.com")), account.ConfirmPage)
			w.job(t, func() error { return w.ConfirmEmail(ctx, gone) })
			if err := w.ConfirmEmail(ctx, token); !fault.Has(err, fault.InvalidEmailChange) {
				t.Errorf("its owner may take it back: %v", err)
			}
		})
		t.Run("a change of an address that the account no longer has cannot be confirmed", func(t *testing.T) {
			who := w.in(t, "was@example.com")
			token := linkToken(t, w.sent(t, w.ask(t, who, "wanted@example.com")), account.ConfirmPage)
			w.write(t, `UPDATE users SET email = 'is@example.com', email_key = 'is@example.com' WHERE id = $1`, who.User)
			if err := w.ConfirmEmail(ctx, token); !fault.Has(err, fault.InvalidEmailChange) {
				t.Errorf("%v", err)
			}
		})
		t.Run("jobs that nobody can read fail", func(t *testing.T) {
			for _, work := range []jobs.Handler{w.SendChange, w.SendChanged, w.SendPasswordChanged} {
				if work(ctx, jobs.Job{}) == nil {
					t.Error("no error")
				}
			}
		})
	})
}

func (w *world) write(t *testing.T, query string, args ...any) {
	t.Helper()
	err := w.DB.Write(context.Background(), func(tx *db.Tx) error {
		_, err := tx.ExecContext(context.Background(), query, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestASessionThatEndedChangesNothing(t *testing.T) {
	ctx := context.Background()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		for _, row := range []struct{ name, query string }{
			{"the session was revoked", `UPDATE sessions SET revoked_at = created_at WHERE user_id = $1`},
			{"the account was switched off", `UPDATE users SET is_active = FALSE WHERE id = $1`},
			{"the account was deleted", `UPDATE users SET deleted_at = created_at WHERE id = $1`},
		} {
			t.Run(row.name, func(t *testing.T) {
				who := w.in(t, strings.ReplaceAll(row.name, " ", "-")+"@example.com")
				w.write(t, row.query, who.User)
				for act, err := range map[string]error{
					"password": w.ChangePassword(ctx, who, "Correct-Horse-7", account.Given{}),
					"email":    w.ChangeEmail(ctx, who, "else@example.com", account.Given{}),
					"otp":      w.SetOTP(ctx, who, true, ""),
				} {
					if !fault.Has(err, fault.SessionExpired) {
						t.Errorf("%s: %v", act, err)
					}
				}
			})
		}
	})
}
