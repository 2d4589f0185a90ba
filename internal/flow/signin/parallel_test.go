package signin_test

import (
	"testing"

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
