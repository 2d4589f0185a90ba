package stepup_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/core/token"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/platform/limit"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

// noon has as many digits as are stored.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 123_456_000, time.UTC)

const lifetime = 5 * time.Minute

// world is the service with a clock that the test moves.
type world struct {
	*stepup.Service
	t        *testing.T
	sessions *session.Service
}

func newWorld(t *testing.T, d *db.DB) *world {
	t.Helper()
	c := clock.Set(noon)
	keys, err := keyring.Load(t.Context(), d, secret.NewRing("signing-keys", "test"), c, dbtest.Log, keyring.Options{Algorithm: keyring.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	feed, err := revocation.NewFeed(t.Context(), d, c, dbtest.Log)
	if err != nil {
		t.Fatal(err)
	}
	limiter, err := limit.Open(t.Context(), "", dbtest.Log, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(limiter.Close)
	tokens := token.NewIssuer(keys, c, "https://auth.example.com", "auth-service", 15*time.Minute)
	return &world{
		Service:  &stepup.Service{DB: d, Clock: c, Tokens: tokens, Lifetime: lifetime},
		sessions: session.New(d, c, dbtest.Log, feed, tokens, secret.NewRing("refresh", "test"), limiter, session.Settings{RefreshTTL: time.Hour}),
		t:        t,
	}
}

// addUser makes an account; with codes it has a second factor.
func (w *world) addUser(codes bool) user.User {
	w.t.Helper()
	id := uuid.Must(uuid.NewV7())
	u := user.User{ID: id, Email: id.String() + "@example.com", Role: user.RoleUser, Active: true, EmailVerified: true, EmailOTPEnabled: codes, Epoch: 1}
	w.write(func(tx *db.Tx) error {
		_, err := user.Create(w.t.Context(), tx, w.Clock.Now(), u)
		return err
	})
	return u
}

// signIn begins a session now.
func (w *world) signIn(u user.User, audiences ...string) session.Identity {
	w.t.Helper()
	started, pair, err := w.sessions.Begin(u, session.Start{Provider: "password", Audiences: audiences})
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(func(tx *db.Tx) error {
		ok, err := w.sessions.Save(w.t.Context(), tx, started, u)
		if err == nil && !ok {
			err = errors.New("the account has changed")
		}
		return err
	})
	id, err := w.sessions.Check(w.t.Context(), pair.Access)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

// confirm makes an action token as a right code would.
func (w *world) confirm(caller session.Identity, action, target string) string {
	w.t.Helper()
	id := uuid.Must(uuid.NewV7())
	w.write(func(tx *db.Tx) error { return w.Mint(w.t.Context(), tx, w.Clock.Now(), caller, id, action, target) })
	signed, err := w.Sign(caller, id, action, target)
	if err != nil {
		w.t.Fatal(err)
	}
	return signed
}

// act does something that needs step-up and says how it ended: the fault's slug,
// or "" if it was done.
func (w *world) act(caller session.Identity, actionToken string, d stepup.Demand) error {
	p, err := w.Prove(w.t.Context(), caller, actionToken, d)
	if err != nil {
		return err
	}
	return w.DB.Write(w.t.Context(), func(tx *db.Tx) error { return p.Spend(w.t.Context(), tx, w.Clock.Now(), d) })
}

func (w *world) write(fn func(tx *db.Tx) error) {
	w.t.Helper()
	if err := w.DB.Write(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) change(statement string, args ...any) {
	w.t.Helper()
	w.write(func(tx *db.Tx) error {
		_, err := tx.ExecContext(w.t.Context(), statement, args...)
		return err
	})
}

func (w *world) count(query string, args ...any) (n int) {
	w.t.Helper()
	if err := w.DB.Read().QueryRowContext(w.t.Context(), query, args...).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
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
