package otp

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/platform/jobs"
	"github.com/authsdk/authsdk/internal/platform/mail"
)

// noon has as many digits as are stored.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 123_456_000, time.UTC)

const (
	ttl     = 10 * time.Minute
	racers  = 32
	invalid = "invalid_otp"
	expired = "otp_expired"
	dead    = "otp_max_attempts_exceeded"
)

// world is the service with a clock that the test moves, Ann's account, and a
// queue that hands its jobs over once it is started.
type world struct {
	*Service
	t      *testing.T
	ann    user.User
	jobs   chan jobs.Job
	outbox outbox
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
	queue, err := jobs.New(d, dbtest.Log)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, jobs: make(chan jobs.Job, 100)}
	queue.Handle(map[string]jobs.Handler{CodeMail: func(_ context.Context, job jobs.Job) error {
		w.jobs <- job
		return nil
	}})
	w.Service = &Service{
		DB: d, Clock: clock.Set(noon), Jobs: queue, Mail: &w.outbox, Codes: secret.NewRing("otp-codes", "test"),
		Length: 6, TTL: ttl, MaxAttempts: 5,
	}
	w.ann = w.addUser("ann@example.com")
	return w
}

func (w *world) addUser(email string) user.User {
	w.t.Helper()
	u := user.User{ID: uuid.Must(uuid.NewV7()), Email: email, Role: user.RoleUser, Active: true, EmailVerified: true, EmailOTPEnabled: true}
	w.write(func(tx *db.Tx) error {
		_, err := user.Create(w.t.Context(), tx, noon, u)
		return err
	})
	return u
}

func (w *world) write(fn func(tx *db.Tx) error) {
	w.t.Helper()
	if err := w.DB.Write(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// issue mails Ann a code for a sign-in.
func (w *world) issue() Challenge {
	w.t.Helper()
	c, err := w.tryIssue(w.ann, Challenge{Context: Login, Audiences: []string{"orders-api"}})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// ask mails Ann a code for an action in a session.
func (w *world) ask(session uuid.UUID, action string) Challenge {
	w.t.Helper()
	c, err := w.tryIssue(w.ann, Challenge{Context: Action, Session: session, Action: action, Target: "order 7"})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) tryIssue(u user.User, c Challenge) (Challenge, error) {
	c.ID = uuid.Must(uuid.NewV7())
	err := w.DB.Write(w.t.Context(), func(tx *db.Tx) error { return w.Issue(w.t.Context(), tx, w.Clock.Now(), u, &c) })
	return c, err
}

// again is the challenge as it is stored.
func (w *world) again(c Challenge) Challenge {
	w.t.Helper()
	got, found, err := scan(w.DB.Read().QueryRowContext(w.t.Context(), `SELECT `+columns+` FROM otp_challenges WHERE id = $1`, c.ID))
	if err != nil || !found {
		w.t.Fatalf("%t, %v", found, err)
	}
	return got
}

// try makes a guess and says how it ends: the refusal's slug, or "".
func (w *world) try(c Challenge, code string) string {
	w.t.Helper()
	var refusal error
	err := w.DB.Write(w.t.Context(), func(tx *db.Tx) (err error) {
		refusal, err = w.Try(w.t.Context(), tx, w.Clock.Now(), c, code)
		return err
	})
	if err != nil {
		w.t.Error(err)
		return err.Error()
	}
	return slug(refusal)
}

// codeOf is the code that was mailed last.
func (w *world) codeOf(c Challenge) string { return w.code(c.ID, w.again(c).sends) }

// wrongFor is the i-th code that is not the right one.
func (w *world) wrongFor(c Challenge, i int) string {
	w.t.Helper()
	for n, right := 0, w.codeOf(c); ; n++ {
		if code := fmt.Sprintf("%06d", n); code != right {
			if i == 0 {
				return code
			}
			i--
		}
	}
}

// race makes guesses at once and counts how they end.
func (w *world) race(guess func(i int) string) map[string]int {
	ends := make([]string, racers)
	start := make(chan struct{})
	var running sync.WaitGroup
	for i := range racers {
		running.Go(func() {
			<-start
			ends[i] = guess(i)
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

func (w *world) count(query string, args ...any) (n int) {
	w.t.Helper()
	if err := w.DB.Read().QueryRowContext(w.t.Context(), query, args...).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// recorded counts the events of a type; failure may be empty.
func (w *world) recorded(name, failure string) int {
	w.t.Helper()
	return w.count(`SELECT COUNT(*) FROM audit_events WHERE event_type = $1 AND COALESCE(failure_reason, '') = $2`, name, failure)
}

// slug is the code of a fault, "" for no error, and for any other its text.
func slug(err error) string {
	if err == nil {
		return ""
	}
	if f := fault.From(err); f.Code.Slug != fault.InternalServerError.Slug {
		return f.Code.Slug
	}
	return err.Error()
}
