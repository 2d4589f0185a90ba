package signin_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/core/risk"
	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/token"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/flow/signin"
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
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

const (
	good = "Correct-Horse-7"
	ann  = "ann@example.com"
	home = "198.51.100.1"
	away = "203.0.113.7"
)

func hashing(memory uint32) *password.Service {
	return &password.Service{Hasher: secret.NewHasher(secret.Cost{MemoryKiB: memory, Iterations: 1, Parallelism: 1}, 2)}
}

func newService(t *testing.T, d *db.DB) *signin.Service {
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
	keys, err := keyring.Load(ctx, d, secret.NewRing("signing-keys", "test"), c, dbtest.Log, keyring.Options{Algorithm: keyring.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	queue, err := jobs.New(d, dbtest.Log)
	if err != nil {
		t.Fatal(err)
	}
	queue.Handle(map[string]jobs.Handler{otp.CodeMail: nil}) // it is not worked
	tokens := token.NewIssuer(keys, c, "https://auth.example.com", "auth-service", time.Minute)
	return &signin.Service{
		DB: d, Clock: c, Passwords: hashing(8), Service: "auth-service", RequireVerified: true, Tokens: tokens,
		Sessions: session.New(d, c, dbtest.Log, feed, tokens, secret.NewRing("refresh-token", "test"), limiter, session.Settings{RefreshTTL: 24 * time.Hour}),
		Risk:     &risk.Service{DB: d, Clock: c, Ring: secret.NewRing("lockouts", "test")},
		Codes:    &otp.Service{DB: d, Clock: c, Jobs: queue, Codes: secret.NewRing("otp-codes", "test"), Length: 6, TTL: 10 * time.Minute, MaxAttempts: 5},
	}
}

// retire takes the accounts of the rows before, and their addresses, out of the way.
const retire = `UPDATE users SET deleted_at = created_at, email = CAST(id AS TEXT), email_key = CAST(id AS TEXT)`

// account adds a confirmed account with a password; hash is how it is stored.
func account(t *testing.T, s *signin.Service, email string) (id uuid.UUID, hash string) {
	t.Helper()
	ctx := context.Background()
	hash, err := s.Passwords.New(ctx, "password", good)
	if err != nil {
		t.Fatal(err)
	}
	id = uuid.Must(uuid.NewV7())
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock.Now()
		if _, err := user.Create(ctx, tx, now, user.User{ID: id, Email: email, Role: user.RoleUser, Active: true, EmailVerified: true}); err != nil {
			return err
		}
		return password.Save(ctx, tx, now, id, hash)
	})
	if err != nil {
		t.Fatal(err)
	}
	return id, hash
}

// guardedAccount adds one with a second factor.
func guardedAccount(t *testing.T, s *signin.Service, email string) (id uuid.UUID) {
	t.Helper()
	id, _ = account(t, s, email)
	change(t, s, `UPDATE users SET email_otp_enabled = TRUE WHERE id = $1`, id)
	return id
}

func change(t *testing.T, s *signin.Service, statement string, args ...any) {
	t.Helper()
	err := s.DB.Write(t.Context(), func(tx *db.Tx) error {
		_, err := tx.ExecContext(t.Context(), statement, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, s *signin.Service, query string, args ...any) (n int) {
	t.Helper()
	if err := s.DB.Read().QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// recorded is every event but those of keys in its order, failures as
// "type: reason".
func recorded(t *testing.T, s *signin.Service) (events []string) {
	t.Helper()
	rows, err := s.DB.Read().QueryContext(t.Context(), `SELECT event_type, COALESCE(failure_reason, '') FROM audit_events
		WHERE event_type <> 'signing_key.created' ORDER BY created_at, id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name, failure string
		if err := rows.Scan(&name, &failure); err != nil {
			t.Fatal(err)
		}
		if failure != "" {
			name += ": " + failure
		}
		events = append(events, name)
	}
	return events
}

// forgetEvents lets recorded tell of what follows only.
func forgetEvents(t *testing.T, s *signin.Service) {
	t.Helper()
	change(t, s, `DELETE FROM audit_personal`)
	change(t, s, `DELETE FROM audit_events`)
}

func from(t *testing.T, ip string) context.Context {
	return audit.WithOrigin(t.Context(), audit.Origin{IP: ip, UserAgent: "curl/8.9.1"})
}

// login with a password from an address.
func login(t *testing.T, s *signin.Service, ip, pass string) (signin.Outcome, error) {
	return s.Login(from(t, ip), signin.Input{Email: ann, Password: pass})
}

// mustLogin has Ann signed in.
func mustLogin(t *testing.T, s *signin.Service, ip string) session.Identity {
	t.Helper()
	out, err := login(t, s, ip, good)
	if err != nil || out.Challenge != nil {
		t.Fatalf("%+v, %v", out.Challenge, err)
	}
	return check(t, s, out.Pair.Access)
}

func check(t *testing.T, s *signin.Service, access string) session.Identity {
	t.Helper()
	id, err := s.Sessions.Check(t.Context(), access)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// challenged is the token of the challenge that a right password leads to.
func challenged(t *testing.T, s *signin.Service, ip string) string {
	t.Helper()
	out, err := login(t, s, ip, good)
	if err != nil || out.Challenge == nil || out.Pair != (session.Pair{}) {
		t.Fatalf("%+v, %v", out, err)
	}
	return out.Challenge.Token
}

// mailed is the code of the last mail of the last challenge, made as package otp
// makes it.
func mailed(t *testing.T, s *signin.Service) string {
	t.Helper()
	var id uuid.UUID
	var sends int
	err := s.DB.Read().QueryRowContext(t.Context(), `SELECT id, sends FROM otp_challenges ORDER BY created_at DESC, id DESC LIMIT 1`).Scan(&id, &sends)
	if err != nil {
		t.Fatal(err)
	}
	return s.Codes.Codes.Digits(append([]byte{byte(sends >> 8), byte(sends)}, id[:]...), s.Codes.Length)
}

// miss is a code that was not mailed.
func miss(t *testing.T, s *signin.Service) string {
	t.Helper()
	if mailed(t, s) == "000000" {
		return "000001"
	}
	return "000000"
}

// between runs an act, and changes the database when the act has read what it
// needs and is about to count its attempt.
func between(t *testing.T, s *signin.Service, table string, act func() error, change func(tx *db.Tx) error) error {
	t.Helper()
	done := make(chan error, 1)
	before := s.DB.Writer().Stats().WaitCount
	err := s.DB.Write(t.Context(), func(tx *db.Tx) error {
		if tx.Engine() == db.Postgres {
			if _, err := tx.ExecContext(t.Context(), `LOCK TABLE `+table+` IN EXCLUSIVE MODE`); err != nil {
				return err
			}
		}
		go func() { done <- act() }()
		eventually(t, "the act waits", func() bool {
			if tx.Engine() == db.SQLite {
				return s.DB.Writer().Stats().WaitCount > before
			}
			return count(t, s, `SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) > 0
		})
		return change(tx)
	})
	if err != nil {
		t.Fatal(err)
	}
	return <-done
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

// race runs an act many times at once and counts how each ended.
func race(act func(i int) error) map[string]int {
	const racers = 32
	ends := make([]string, racers)
	start := make(chan struct{})
	var running sync.WaitGroup
	for i := range racers {
		running.Go(func() {
			<-start
			ends[i] = slug(act(i))
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

// elsewhere is an address in a /24 of its own for each i.
func elsewhere(i int) string { return fmt.Sprintf("10.0.%d.1", i) }

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
