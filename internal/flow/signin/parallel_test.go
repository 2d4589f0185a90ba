package signin_test

import (
	"context"
	"testing"

	"github.com/authsdk/authsdk/internal/flow/signin"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

// Attempts are charged before they are examined; those that are right must not
// lock each other out.
func TestManyRightSignInsAtOnceAllGetIn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newService(t, d)
		account(t, s, ann)
		got := race(func(int) error { _, err := login(t, s, home, good); return err })
		if got[""] != 32 {
			t.Errorf("they end so: %v", got)
		}
		if n := count(t, s, `SELECT COUNT(*) FROM lockouts WHERE failures > 0 OR pending > 0`); n > 0 {
			t.Errorf("%d counts say that somebody failed", n)
		}
	})
}

// An attacker who guesses in parallel gets no more looks than one after another.
func TestManyWrongSignInsAtOnceAreLocked(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newService(t, d)
		account(t, s, ann)
		got := race(func(int) error { _, err := login(t, s, home, "Wrong-Horse-7"); return err })
		if got["invalid_credentials"] != 4 || got["account_locked"] != 28 {
			t.Errorf("they end so: %v", got)
		}
		if n := count(t, s, `SELECT COUNT(*) FROM lockouts WHERE pending > 0`); n > 0 {
			t.Errorf("%d counts wait for ever", n)
		}
	})
}

// A guess counts and is recorded, whether or not its sender waits for the
// answer.
func TestWhoHangsUpGuessedAllTheSame(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newService(t, d)
		account(t, s, ann)
		change(t, s, `UPDATE passwords SET hash = $1`, slowHash(t))
		ctx, hangUp := context.WithCancel(from(t, away))
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			s.Login(ctx, signin.Input{Email: ann, Password: "Wrong-Horse-7"})
		}()
		eventually(t, "it is being examined", func() bool {
			return count(t, s, `SELECT COUNT(*) FROM lockouts WHERE failures = 1`) == 2
		})
		hangUp()
		<-answered
		if n := count(t, s, `SELECT COUNT(*) FROM lockouts WHERE failures = 1 AND pending = 0`); n != 2 {
			t.Errorf("%d counts of one failure that was examined, want 2", n)
		}
		if n := count(t, s, `SELECT COUNT(*) FROM audit_events WHERE event_type = 'user.login.failure'`); n != 1 {
			t.Errorf("%d failures recorded", n)
		}
	})
}

// slowHash takes so long to compare that one can hang up meanwhile.
func slowHash(t *testing.T) string {
	t.Helper()
	hash, err := hashing(128<<10).New(t.Context(), "password", good)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}
