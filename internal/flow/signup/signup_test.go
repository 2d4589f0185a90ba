package signup_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/flow/signup"
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

const good = "Correct-Horse-7"

// world is the flow with a queue that hands its jobs over instead of working
// them, so that a test decides when, in which order and how often they run.
type world struct {
	*signup.Service
	jobs   chan jobs.Job
	outbox outbox
	rest   <-chan time.Time // on PostgreSQL only one enqueue in 5 ms wakes the workers
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
	w := &world{jobs: make(chan jobs.Job, 100), rest: time.After(0)}
	w.Service = &signup.Service{
		DB: d, Clock: c, Jobs: queue, Limiter: limiter, Mail: &w.outbox,
		Accounts:  &user.Accounts{Feed: feed, TokenLife: time.Hour},
		Passwords: &password.Service{Hasher: secret.NewHasher(secret.Cost{MemoryKiB: 8, Iterations: 1, Parallelism: 1}, 2)},
		Links:     secret.NewRing("mail-links", "test"), BaseURL: "https://auth.example.com", VerifyTTL: time.Hour,
	}
	queue.Handle(map[string]jobs.Handler{signup.VerifyMail: func(_ context.Context, job jobs.Job) error {
		w.jobs <- job
		return nil
	}})
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

func (w *world) signUp(t *testing.T, email string) jobs.Job {
	t.Helper()
	return w.job(t, func() error { return w.Signup(context.Background(), email, good) })
}

func (w *world) resend(t *testing.T, email string) jobs.Job {
	t.Helper()
	return w.job(t, func() error { return w.RequestResend(context.Background(), email) })
}

// run works a job and returns the mails that it sent.
func (w *world) run(t *testing.T, job jobs.Job) []mail.Message {
	t.Helper()
	w.outbox.sent = nil
	if err := w.SendVerification(context.Background(), job); err != nil {
		t.Fatal(err)
	}
	return w.outbox.sent
}

// linkToken is the token of the only mail's link.
func linkToken(t *testing.T, mails []mail.Message) string {
	t.Helper()
	if len(mails) != 1 {
		t.Fatalf("%d mails, want 1", len(mails))
	}
	for line := range strings.Lines(mails[0].Text) {
		if u, err := url.Parse(strings.TrimSpace(line)); err == nil && u.Scheme == "https" {
			if u.Host != "auth.example.com" || u.Path != signup.VerifyPage {
				t.Errorf("the mail links to %s", u)
			}
			return u.Query().Get("token")
		}
	}
	t.Fatalf("no link in %s", mails[0].Text)
	return ""
}

func none(t *testing.T, why string, mails []mail.Message) {
	t.Helper()
	if len(mails) > 0 {
		t.Errorf("%s, and yet a mail was sent: %+v", why, mails[0])
	}
}

func TestSendVerification(t *testing.T) {
	ctx := context.Background()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)

		t.Run("a job that runs twice sends the same mail", func(t *testing.T) {
			job := w.signUp(t, "twice@example.com")
			first, second := w.run(t, job), w.run(t, job)
			if diff := cmp.Diff(first, second); diff != "" {
				t.Errorf("-first +second:\n%s", diff)
			}
			if first[0].To != "twice@example.com" || first[0].ID != job.ID.String() || first[0].Subject != "Verify your email" {
				t.Errorf("%+v", first[0])
			}
			if err := w.VerifyEmail(ctx, linkToken(t, second)); err != nil {
				t.Fatal(err)
			}
			none(t, "the link was used", w.run(t, job))
		})
		t.Run("a job that failed sends the same link later", func(t *testing.T) {
			job := w.signUp(t, "later@example.com")
			w.outbox.down = errors.New("the mail server is down")
			if err := w.SendVerification(ctx, job); !errors.Is(err, w.outbox.down) {
				t.Fatalf("%v: the job would not be tried again", err)
			}
			w.outbox.down = nil
			token := linkToken(t, w.run(t, job))
			w.run(t, job)
			if err := w.VerifyEmail(ctx, token); err != nil {
				t.Error(err)
			}
		})
		t.Run("a job that is older than the newest link sends none", func(t *testing.T) {
			older, newer := w.signUp(t, "order@example.com"), w.resend(t, "order@example.com")
			token := linkToken(t, w.run(t, newer))
			none(t, "a newer link exists", w.run(t, older))
			if err := w.VerifyEmail(ctx, token); err != nil {
				t.Error(err)
			}
			none(t, "the address is confirmed", w.run(t, w.resend(t, "order@example.com")))
		})
		t.Run("a newer link kills the older one", func(t *testing.T) {
			older := linkToken(t, w.run(t, w.signUp(t, "kills@example.com")))
			newer := linkToken(t, w.run(t, w.resend(t, "kills@example.com")))
			if err := w.VerifyEmail(ctx, older); !fault.Has(err, fault.InvalidVerifyToken) {
				t.Errorf("the older link: %v", err)
			}
			if err := w.VerifyEmail(ctx, newer); err != nil {
				t.Errorf("the newer link: %v", err)
			}
		})
		t.Run("an address without an account gets nothing", func(t *testing.T) {
			none(t, "nobody has it", w.run(t, w.resend(t, "nobody@example.com")))
		})
		t.Run("an account that was deleted meanwhile gets nothing", func(t *testing.T) {
			job := w.signUp(t, "gone@example.com")
			err := d.Write(ctx, func(tx *db.Tx) error {
				_, err := tx.ExecContext(ctx, `UPDATE users SET deleted_at = $1 WHERE email_key = $2`, w.Clock.Now(), "gone@example.com")
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			none(t, "the account is gone", w.run(t, job))
		})
		t.Run("a taken address is told so, with a link until it is confirmed", func(t *testing.T) {
			w.run(t, w.signUp(t, "taken@example.com"))
			mails := w.run(t, w.signUp(t, "taken@example.com"))
			if mails[0].Subject != "You already have an account" {
				t.Errorf("subject %q", mails[0].Subject)
			}
			if err := w.VerifyEmail(ctx, linkToken(t, mails)); err != nil {
				t.Fatal(err)
			}
			mails = w.run(t, w.signUp(t, "taken@example.com"))
			if len(mails) != 1 || strings.Contains(mails[0].Text, "https://") {
				t.Errorf("%+v", mails)
			}
		})
		t.Run("a job that nobody can read fails", func(t *testing.T) {
			if err := w.SendVerification(ctx, jobs.Job{}); err == nil {
				t.Error("no error")
			}
		})
	})
}

func TestASignUpOfATakenAddressLeavesNothingBehind(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		left := func() (n [4]int) {
			t.Helper()
			for i, query := range []string{
				`SELECT COUNT(*) FROM users`, `SELECT COUNT(*) FROM passwords`,
				`SELECT COUNT(*) FROM audit_events WHERE event_type = 'user.created'`,
				`SELECT COUNT(*) FROM audit_events WHERE event_type = 'user.signup.accepted'`,
			} {
				if err := d.Read().QueryRowContext(t.Context(), query).Scan(&n[i]); err != nil {
					t.Fatal(err)
				}
			}
			return n
		}
		w.signUp(t, "ann@example.com")
		w.signUp(t, "ann@example.com")
		if got, want := left(), [4]int{1, 1, 1, 2}; got != want {
			t.Errorf("accounts, passwords, accounts and sign-ups in the audit log are %v, want %v", got, want)
		}
	})
}

func TestOfManyAtOnceOneWins(t *testing.T) {
	ctx := context.Background()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		count := func(t *testing.T, query string) (n int) {
			t.Helper()
			if err := d.Read().QueryRowContext(ctx, query).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		const many = 8
		t.Run("many sign-ups with one address make one account", func(t *testing.T) {
			for err := range atOnce(many, func() error { return w.Signup(ctx, "race@example.com", good) }) {
				if err != nil {
					t.Error(err)
				}
			}
			if n := count(t, `SELECT COUNT(*) FROM users`); n != 1 {
				t.Errorf("%d accounts", n)
			}
			if n := count(t, `SELECT COUNT(*) FROM audit_events WHERE event_type = 'user.created'`); n != 1 {
				t.Errorf("%d accounts in the audit log", n)
			}
		})
		t.Run("many clicks on one link confirm once", func(t *testing.T) {
			var newest jobs.Job
			// Not as many as sign-ups: the mails to one address are limited.
			mails := count(t, `SELECT COUNT(*) FROM river_job WHERE kind = 'mail_verify_email'`)
			if mails < 3 || mails > 4 {
				t.Errorf("%d mails, want 3, or 4 if the one that made the account was over the limit", mails)
			}
			for range mails {
				if job := <-w.jobs; job.EnqueuedAt.After(newest.EnqueuedAt) {
					newest = job
				}
			}
			token := linkToken(t, w.run(t, newest))
			won := 0
			for err := range atOnce(many, func() error { return w.VerifyEmail(ctx, token) }) {
				switch {
				case err == nil:
					won++
				case !fault.Has(err, fault.InvalidVerifyToken):
					t.Error(err)
				}
			}
			if won != 1 {
				t.Errorf("%d won", won)
			}
			if n := count(t, `SELECT COUNT(*) FROM audit_events WHERE event_type = 'user.email.verified' AND success`); n != 1 {
				t.Errorf("%d confirmations in the audit log", n)
			}
		})
	})
}

// atOnce runs act n times at once and returns the errors when all are done.
func atOnce(n int, act func() error) <-chan error {
	errs := make(chan error, n)
	var all sync.WaitGroup
	for range n {
		all.Go(func() { errs <- act() })
	}
	all.Wait()
	close(errs)
	return errs
}
