package risk

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// noon has as many digits as are stored.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 123_456_000, time.UTC)

const (
	ann    = "ann@example.com"
	home4  = "198.51.100.1"
	away   = "203.0.113.7"
	chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
)

// world is the service with a clock that the test moves, and Ann's account, which
// several worlds on one database share.
type world struct {
	*Service
	t  *testing.T
	id uuid.UUID
}

func newWorld(t *testing.T, d *db.DB) *world {
	t.Helper()
	w := &world{t: t, id: uuid.Must(uuid.NewV7())}
	w.Service = &Service{DB: d, Clock: clock.Set(noon), Ring: secret.NewRing("lockouts", "test")}
	w.write(func(tx *db.Tx) error {
		created, err := user.Create(t.Context(), tx, noon, user.User{ID: w.id, Email: ann, Role: user.RoleUser, Active: true})
		if err != nil || created {
			return err
		}
		u, _, err := user.ByEmail(t.Context(), tx, ann)
		w.id = u.ID
		return err
	})
	return w
}

func (w *world) write(fn func(tx *db.Tx) error) {
	w.t.Helper()
	if err := w.DB.Write(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) from(ip string) context.Context { return w.by(ip, "") }

func (w *world) by(ip, userAgent string) context.Context {
	return audit.WithOrigin(w.t.Context(), audit.Origin{IP: ip, UserAgent: userAgent})
}

// look at Ann's account.
func (w *world) look(ctx context.Context) Place {
	w.t.Helper()
	p, err := w.Look(ctx, w.id)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// use the account from somewhere, so that it is known from there.
func (w *world) use(ip, userAgent string) Suspicion {
	w.t.Helper()
	ctx := w.by(ip, userAgent)
	p := w.look(ctx)
	w.write(func(tx *db.Tx) error { return w.Remember(ctx, tx, w.Clock.Now(), w.id, p) })
	return p.Suspicion(0)
}

// charge an attempt; locked is how long to wait if it is refused, else 0.
func (w *world) charge(ctx context.Context, email string, p Place) (a Attempt, locked time.Duration, err error) {
	err = w.DB.Write(ctx, func(tx *db.Tx) (err error) {
		a, err = w.Charge(ctx, tx, w.Clock.Now(), email, p)
		return err
	})
	if fault.Has(err, fault.AccountLocked) {
		return a, fault.From(err).RetryAfter, nil
	}
	return a, 0, err
}

// wrong makes a wrong attempt at Ann's account and says how it ends: "counted",
// "locks for …" or "locked for …".
func (w *world) wrong(ip string) string {
	w.t.Helper()
	ctx := w.from(ip)
	a, locked, err := w.charge(ctx, ann, w.look(ctx))
	if err != nil {
		w.t.Fatal(err)
	}
	if locked > 0 {
		return fmt.Sprint("locked for ", locked)
	}
	said := "counted"
	w.write(func(tx *db.Tx) error {
		why, err := a.Failed(ctx, tx, w.Clock.Now(), About{User: w.id, Provider: "password"})
		if why != nil {
			said = fmt.Sprint("locks for ", fault.From(why).RetryAfter)
		}
		return err
	})
	return said
}

// right makes a right attempt at Ann's account, which ends in that way.
func (w *world) right(ip string, end func(context.Context, *db.Tx, Attempt) error) (failuresBefore int) {
	w.t.Helper()
	ctx := w.from(ip)
	a, locked, err := w.charge(ctx, ann, w.look(ctx))
	if err != nil || locked > 0 {
		w.t.Fatalf("refused for %v, %v", locked, err)
	}
	w.write(func(tx *db.Tx) error { return end(ctx, tx, a) })
	return a.Failures()
}

// say fails the test unless the attempts from an address end like this.
func (w *world) say(ip string, want ...string) {
	w.t.Helper()
	for i, want := range want {
		if got := w.wrong(ip); got != want {
			w.t.Errorf("attempt %d from %s is %s, want %s", i+1, ip, got, want)
		}
	}
}

// times repeats a word.
func times(n int, word string) []string {
	words := make([]string, n)
	for i := range words {
		words[i] = word
	}
	return words
}

func (w *world) count(query string, args ...any) (n int) {
	w.t.Helper()
	if err := w.DB.Read().QueryRowContext(w.t.Context(), query, args...).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}
