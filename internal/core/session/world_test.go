package session

import (
	"context"
	"errors"
	"flag"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/keyring"
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

// The state machine is cheap to try: unless the command line says otherwise,
// properties are tried twenty times as often as usual.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "2000"); err != nil {
		panic(err)
	}
	code := m.Run()
	for _, f := range slices.Backward(atEnd) {
		f()
	}
	os.Exit(code)
}

// each is dbtest.Each with one PostgreSQL database for the whole package: making
// one takes longer than most of these tests, and worlds do not meet.
func each(t *testing.T, test func(t *testing.T, d *db.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		if os.Getenv("AUTHD_TEST_SQLITE") == "off" {
			t.Skip("AUTHD_TEST_SQLITE=off")
		}
		test(t, dbtest.SQLite(t))
	})
	t.Run("postgres", func(t *testing.T) {
		if shared == nil {
			shared = dbtest.Postgres(outlived{t})
		}
		test(t, shared)
	})
}

var (
	shared *db.DB
	atEnd  []func()
)

// outlived is a test whose database outlives it.
type outlived struct{ testing.TB }

func (outlived) Cleanup(f func()) { atEnd = append(atEnd, f) }
func (outlived) Log(...any)       {}

// noon has as many digits as are stored.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 123_456_000, time.UTC)

var settings = Settings{RefreshTTL: 7 * 24 * time.Hour, AbsoluteTTL: 30 * 24 * time.Hour, ReuseGrace: grace}

const accessTTL = 15 * time.Minute

// world is a service with a clock that the test moves, and one account. Several
// may follow each other on one database.
type world struct {
	*Service
	t      *testing.T
	feed   *revocation.Feed
	clock  *clock.Clock
	jo     user.User
	before map[string]int // audit rows of the worlds before
}

func newWorld(t *testing.T, d *db.DB) *world {
	t.Helper()
	w := &world{t: t, clock: clock.Set(noon)}
	w.Service = &Service{db: d}
	w.change(`DELETE FROM revocations`)
	w.feed = w.newFeed(d)
	w.Service = w.service(d, w.feed, settings)
	w.jo = w.addUser()
	w.before = w.audited()
	return w
}

func (w *world) newFeed(d *db.DB) *revocation.Feed {
	w.t.Helper()
	feed, err := revocation.NewFeed(w.t.Context(), d, w.clock, dbtest.Log)
	if err != nil {
		w.t.Fatal(err)
	}
	return feed
}

// service is one more replica of it.
func (w *world) service(d *db.DB, feed *revocation.Feed, s Settings) *Service {
	w.t.Helper()
	keys, err := keyring.Load(w.t.Context(), d, secret.NewRing("signing keys", "test"), w.clock, dbtest.Log, keyring.Options{Algorithm: keyring.ES256, Feed: feed})
	if err != nil {
		w.t.Fatal(err)
	}
	limiter, err := limit.Open(w.t.Context(), "", dbtest.Log, w.clock)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(limiter.Close)
	tokens := token.NewIssuer(keys, w.clock, "https://auth.example.com", "auth-service", accessTTL)
	return New(d, w.clock, dbtest.Log, feed, tokens, ring, limiter, s)
}

func (w *world) addUser() user.User {
	w.t.Helper()
	id := uuid.Must(uuid.NewV7())
	u := user.User{ID: id, Email: id.String() + "@example.com", Role: user.RoleUser, Active: true, Epoch: 1}
	w.write(func(tx *db.Tx) error {
		_, err := user.Create(w.t.Context(), tx, w.clock.Now(), u)
		return err
	})
	return u
}

func (w *world) write(fn func(tx *db.Tx) error) {
	w.t.Helper()
	if err := w.db.Write(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// change does to the database what this package does not know of.
func (w *world) change(statement string, args ...any) {
	w.t.Helper()
	w.write(func(tx *db.Tx) error {
		_, err := tx.ExecContext(w.t.Context(), statement, args...)
		return err
	})
}

// signIn begins and stores a session.
func (w *world) signIn(audiences ...string) (Session, Pair) {
	w.t.Helper()
	return w.signInFrom(w.t.Context(), w.Service, audiences...)
}

func (w *world) signInFrom(ctx context.Context, s *Service, audiences ...string) (Session, Pair) {
	w.t.Helper()
	started, pair, err := s.Begin(w.jo, Start{Provider: "password", Audiences: audiences})
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(func(tx *db.Tx) error { return saved(s.Save(ctx, tx, started, w.jo)) })
	return started, pair
}

// confirm raises the user's epoch in the way the program does.
func (w *world) confirm() {
	w.t.Helper()
	accounts := &user.Accounts{Feed: w.feed, TokenLife: TokenMemory(accessTTL)}
	w.write(func(tx *db.Tx) error {
		_, err := accounts.SetVerified(w.t.Context(), tx, w.clock.Now(), w.jo.ID)
		return err
	})
}

// revoke appends an entry to the feed and does nothing else.
func (w *world) revoke(kind revocation.Kind, subject string, epoch int64) {
	w.t.Helper()
	now := w.clock.Now()
	w.write(func(tx *db.Tx) error {
		return w.feed.Append(w.t.Context(), tx, now, revocation.Entry{Kind: kind, Subject: subject, Epoch: epoch, Expires: now.Add(time.Hour)})
	})
}

// logout signs out; code is the fault's slug, or "".
func (w *world) logout(access, refresh string) (code string) {
	w.t.Helper()
	return slug(w.Logout(w.t.Context(), access, refresh, CSRF{}))
}

// mint signs an access token that Begin would not make.
func (w *world) mint(subject, session string) string {
	w.t.Helper()
	raw, err := w.tokens.Access(token.Claims{Subject: subject, SessionID: session, Epoch: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	return raw
}

// rotate uses a refresh token; code is the fault's slug, or "".
func (w *world) rotate(refresh string) (pair Pair, code string) {
	w.t.Helper()
	pair, err := w.Rotate(w.t.Context(), refresh, CSRF{})
	if err != nil && pair != (Pair{}) {
		w.t.Error("tokens came with an error")
	}
	return pair, slug(err)
}

func (w *world) mustRotate(refresh string) Pair {
	w.t.Helper()
	pair, code := w.rotate(refresh)
	if code != "" {
		w.t.Fatalf("refresh: %s", code)
	}
	return pair
}

func (w *world) check(access string) (code string) {
	w.t.Helper()
	_, err := w.Check(w.t.Context(), access)
	return slug(err)
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

// claims is what an access token says, good or not.
func (w *world) claims(access string) *token.Claims {
	w.t.Helper()
	c, err := w.tokens.Verify(w.t.Context(), access)
	if err != nil && !fault.Has(err, fault.TokenExpired) {
		w.t.Fatal(err)
	}
	return c
}

// audited counts the audit rows of this world by type; failures as
// "type: reason".
func (w *world) audited() map[string]int {
	w.t.Helper()
	rows, err := w.db.Read().QueryContext(w.t.Context(), `SELECT event_type, COALESCE(failure_reason, ''), COUNT(*) FROM audit_events GROUP BY 1, 2`)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	counts := map[string]int{}
	for rows.Next() {
		var name, failure string
		var n int
		if err := rows.Scan(&name, &failure, &n); err != nil {
			w.t.Fatal(err)
		}
		if failure != "" {
			name += ": " + failure
		}
		if n -= w.before[name]; n > 0 && name != "signing_key.created" {
			counts[name] = n
		}
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	return counts
}

// ended is why a session ended; "" if it has not.
func (w *world) ended(id uuid.UUID) (reason string) {
	w.t.Helper()
	err := w.db.Read().QueryRowContext(w.t.Context(), `SELECT COALESCE(revoke_reason, '') FROM sessions WHERE id = $1`, id).Scan(&reason)
	if err != nil {
		w.t.Fatal(err)
	}
	return reason
}

// entries counts what the feed's table says of a session.
func (w *world) entries(id uuid.UUID) (n int) {
	w.t.Helper()
	err := w.db.Read().QueryRowContext(w.t.Context(), `SELECT COUNT(*) FROM revocations WHERE kind = 'session' AND subject = $1`, id.String()).Scan(&n)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) lastSeen(id uuid.UUID) (at time.Time) {
	w.t.Helper()
	if err := w.db.Read().QueryRowContext(w.t.Context(), `SELECT last_seen_at FROM sessions WHERE id = $1`, id).Scan(&at); err != nil {
		w.t.Fatal(err)
	}
	return at
}

// replica is another process's handle on the same database.
func replica(t *testing.T, d *db.DB) *db.DB {
	t.Helper()
	if d.Engine() == db.SQLite {
		return dbtest.Open(t, "sqlite://"+d.Path())
	}
	return dbtest.Open(t, d.Pool().Config().ConnString())
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for !holds() {
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// saved makes an account that changed an error.
func saved(ok bool, err error) error {
	if err == nil && !ok {
		return errors.New("the account has changed")
	}
	return err
}
