package recovery_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/risk"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/flow/recovery"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/method/password"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/jobs"
	"github.com/authsdk/authsdk/internal/platform/limit"
	"github.com/authsdk/authsdk/internal/platform/mail"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

const good = "Correct-Horse-7"

// world is the flow with a queue that hands its jobs over instead of working
// them, so that a test decides when, in which order and how often they run.
type world struct {
	*recovery.Service
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
	w.Service = &recovery.Service{
		DB: d, Clock: c, Jobs: queue, Limiter: limiter, Mail: &w.outbox,
		Accounts:  &user.Accounts{Feed: feed, TokenLife: time.Hour},
		Passwords: &password.Service{Hasher: secret.NewHasher(secret.Cost{MemoryKiB: 8, Iterations: 1, Parallelism: 1}, 2)},
		Risk:      &risk.Service{DB: d, Clock: c, Ring: secret.NewRing("lockouts", "test")},
		Links:     secret.NewRing("mail-links", "test"), BaseURL: "https://auth.example.com", ResetTTL: time.Hour,
	}
	hand := func(_ context.Context, job jobs.Job) error {
		w.jobs <- job
		return nil
	}
	queue.Handle(map[string]jobs.Handler{recovery.ResetMail: hand, recovery.DoneMail: hand})
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

// forgot asks for a link, as often as a test likes.
func (w *world) forgot(t *testing.T, email string) jobs.Job {
	t.Helper()
	w.Clock.Advance(time.Minute)
	return w.job(t, func() error { return w.Forgot(context.Background(), email) })
}

// run works a job and returns the mails that it sent.
func (w *world) run(t *testing.T, job jobs.Job) []mail.Message {
	t.Helper()
	w.outbox.sent = nil
	if err := w.SendReset(context.Background(), job); err != nil {
		t.Fatal(err)
	}
	return w.outbox.sent
}

func (w *world) account(t *testing.T, email string) uuid.UUID {
	t.Helper()
	id := uuid.Must(uuid.NewV7())
	w.write(t, func(tx *db.Tx) error {
		_, err := user.Create(context.Background(), tx, w.Clock.Now(), user.User{ID: id, Email: email, Role: user.RoleUser, Active: true})
		return err
	})
	return id
}

func (w *world) write(t *testing.T, act func(tx *db.Tx) error) {
	t.Helper()
	if err := w.DB.Write(context.Background(), act); err != nil {
		t.Fatal(err)
	}
}

// requests is how often the audit log says that a link was asked for, for an
// account.
func (w *world) requests(t *testing.T, id uuid.UUID) (n int) {
	t.Helper()
	err := w.DB.Read().QueryRowContext(context.Background(),
		`SELECT COUNT(*) FROM audit_events WHERE event_type = 'user.password.reset.requested' AND actor_id = $1`, id).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func linkToken(t *testing.T, mails []mail.Message) string {
	t.Helper()
	if len(mails) != 1 {
		t.Fatalf("%d mails, want 1", len(mails))
	}
	tokens := (mail.Stored{Message: mails[0]}).Tokens()
	if len(tokens) != 1 || !strings.Contains(mails[0].Text, "https://auth.example.com/reset-password?token=") {
		t.Fatalf("no link in %s", mails[0].Text)
	}
	return tokens[0]
}

func none(t *testing.T, why string, mails []mail.Message) {
	t.Helper()
	if len(mails) > 0 {
		t.Errorf("%s, and yet a mail was sent: %+v", why, mails[0])
	}
}

func TestSendReset(t *testing.T) {
	ctx := context.Background()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		t.Run("a job that runs twice sends the same mail and is recorded once", func(t *testing.T) {
			id := w.account(t, "twice@example.com")
			job := w.forgot(t, "twice@example.com")
			first, second := w.run(t, job), w.run(t, job)
			if diff := cmp.Diff(first, second); diff != "" {
				t.Errorf("-first +second:\n%s", diff)
			}
			if first[0].To != "twice@example.com" || first[0].ID != job.ID.String() || first[0].Subject != "Reset your password" {
				t.Errorf("%+v", first[0])
			}
			if n := w.requests(t, id); n != 1 {
				t.Errorf("recorded %d times", n)
			}
			if err := w.Reset(ctx, linkToken(t, second), good); err != nil {
				t.Fatal(err)
			}
			<-w.jobs // that it was reset
			none(t, "the link was used", w.run(t, job))
		})
		t.Run("a job that failed sends the same link later", func(t *testing.T) {
			w.account(t, "later@example.com")
			job := w.forgot(t, "later@example.com")
			w.outbox.down = errors.New("the mail server is down")
			if err := w.SendReset(ctx, job); !errors.Is(err, w.outbox.down) {
				t.Fatalf("%v: the job would not be tried again", err)
			}
			w.outbox.down = nil
			if err := w.CheckReset(ctx, linkToken(t, w.run(t, job))); err != nil {
				t.Error(err)
			}
		})
		t.Run("a job that is older than the newest link sends none", func(t *testing.T) {
			w.account(t, "order@example.com")
			older, newer := w.forgot(t, "order@example.com"), w.forgot(t, "order@example.com")
			token := linkToken(t, w.run(t, newer))
			none(t, "a newer link exists", w.run(t, older))
			if err := w.CheckReset(ctx, token); err != nil {
				t.Error(err)
			}
		})
		t.Run("an account that has another address meanwhile is not offered", func(t *testing.T) {
			id := w.account(t, "moved@example.com")
			job := w.forgot(t, "moved@example.com")
			w.write(t, func(tx *db.Tx) error {
				_, err := w.Accounts.SetEmail(ctx, tx, w.Clock.Now(), id, "elsewhere@example.com")
				return err
			})
			none(t, "the address is nobody's", w.run(t, job))
			if n := w.requests(t, id); n != 0 {
				t.Errorf("recorded %d times", n)
			}
		})
		t.Run("an address without an account gets nothing", func(t *testing.T) {
			none(t, "nobody has it", w.run(t, w.forgot(t, "nobody@example.com")))
		})
		t.Run("it is recorded where the request came from, not where the worker is", func(t *testing.T) {
			id := w.account(t, "from@example.com")
			w.Clock.Advance(time.Minute)
			asked := audit.WithOrigin(ctx, audit.Origin{IP: "192.0.2.7", UserAgent: "Thief/1.0", CorrelationID: "c-1"})
			w.run(t, w.job(t, func() error { return w.Forgot(asked, "from@example.com") }))
			var ip, agent, correlation string
			err := d.Read().QueryRowContext(ctx, `SELECT p.ip_address, p.user_agent, e.correlation_id
				FROM audit_events e JOIN audit_personal p ON p.event_id = e.id WHERE e.actor_id = $1`, id).Scan(&ip, &agent, &correlation)
			if err != nil || ip != "192.0.2.7" || agent != "Thief/1.0" || correlation != "c-1" {
				t.Errorf("%s %s %s: %v", ip, agent, correlation, err)
			}
		})
		t.Run("jobs that nobody can read fail", func(t *testing.T) {
			if w.SendReset(ctx, jobs.Job{}) == nil || w.SendDone(ctx, jobs.Job{}) == nil {
				t.Error("no error")
			}
		})
	})
}

func TestAnAccountThatChangesBesideAReset(t *testing.T) {
	ctx := context.Background()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		id := w.account(t, "ann@example.com")
		token := linkToken(t, w.run(t, w.forgot(t, "ann@example.com")))
		w.write(t, func(tx *db.Tx) error { return user.EndLinks(ctx, tx, w.Clock.Now(), id) })
		if err := w.Reset(ctx, token, good); !fault.Has(err, fault.InvalidResetToken) {
			t.Errorf("the links of the account ended, and yet: %v", err)
		}
		hash, err := password.HashOf(ctx, d.Read(), id)
		if err != nil || hash != "" {
			t.Errorf("a password was set: %v", err)
		}
	})
}
