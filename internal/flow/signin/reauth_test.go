package signin_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/flow/signin"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

func TestProvingThePasswordAgain(t *testing.T) {
	lock := func(t *testing.T, s *signin.Service, _ session.Identity) {
		for range 5 {
			if _, err := login(t, s, home, wrong); err == nil {
				t.Error("a wrong password signs in")
			}
		}
		forgetEvents(t, s)
	}
	does := func(statement string) func(*testing.T, *signin.Service, session.Identity) {
		return func(t *testing.T, s *signin.Service, _ session.Identity) { change(t, s, statement) }
	}
	rows := []struct {
		name     string
		before   func(t *testing.T, s *signin.Service, who session.Identity)
		pass     string
		want     string
		recorded []string
	}{
		{"the right one", nil, good, "", []string{"user.reauth.success"}},
		{"a wrong one", nil, wrong, "invalid_credentials", []string{"user.reauth.failure: invalid_credentials"}},
		{"one that cannot be any", nil, "", "validation_error", nil},
		{"during a lock", lock, good, "account_locked", []string{"user.reauth.failure: account_locked"}},
		{"with a second factor", does(`UPDATE users SET email_otp_enabled = TRUE`), good, "otp_required", []string{"user.reauth.failure: otp_required"}},
		{"of an account without one", does(`DELETE FROM passwords`), good, "invalid_token", nil},
		{"of a deactivated account", does(`UPDATE users SET is_active = FALSE`), good, "invalid_token", nil},
		{"of a deleted account", does(`UPDATE users SET deleted_at = created_at`), good, "invalid_token", nil},
		{"of a session that is gone", does(`DELETE FROM sessions`), good, "invalid_token", nil},
		{"of a session that has ended", does(`UPDATE sessions SET revoked_at = created_at, revoke_reason = 'logout'`), good, "session_expired", nil},
		{"of a session that has expired", func(_ *testing.T, s *signin.Service, _ session.Identity) { s.Clock.Advance(24 * time.Hour) }, good, "session_expired", nil},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				s := newService(t, d)
				change(t, s, retire) // of the rows before
				change(t, s, `DELETE FROM lockouts`)
				account(t, s, ann)
				who := mustLogin(t, s, home)
				s.Clock.Advance(time.Hour)
				forgetEvents(t, s)
				if row.before != nil {
					row.before(t, s, who)
				}
				access, err := s.Reauth(from(t, home), who, row.pass)
				if got := slug(err); got != row.want || (access != "") != (err == nil) {
					t.Fatalf("%q (%v), want %q", got, err, row.want)
				}
				if diff := cmp.Diff(row.recorded, recorded(t, s)); diff != "" {
					t.Error(diff)
				}
				proved := count(t, s, `SELECT COUNT(*) FROM sessions WHERE id = $1 AND auth_time = $2`, who.Session, s.Clock.Now())
				if (proved == 1) != (err == nil) {
					t.Errorf("%d sessions say that they were proved just now", proved)
				}
				if row.want == "otp_required" {
					if diff := cmp.Diff(map[string]string{"X-OTP-Required": "true"}, fault.From(err).Header); diff != "" {
						t.Error(diff)
					}
				}
				if err == nil {
					again := check(t, s, access)
					if again.Session != who.Session || again.Claims.AuthTime != s.Clock.Now().Unix() {
						t.Errorf("the access token says %+v", again.Claims)
					}
				}
				failures := count(t, s, `SELECT COALESCE(MAX(failures), 0) FROM lockouts WHERE network <> '*'`)
				if want := map[string]int{"invalid_credentials": 1, "account_locked": 5}[row.want]; failures != want {
					t.Errorf("%d failures counted, want %d", failures, want)
				}
			})
		}
	})
}

func TestWrongPasswordsOfSomebodySignedInClimbTheSameLadder(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newService(t, d)
		account(t, s, ann)
		who := mustLogin(t, s, home)
		for range 2 {
			if _, err := login(t, s, home, wrong); slug(err) != refused {
				t.Error(err)
			}
		}
		forgetEvents(t, s)
		for i, want := range []string{refused, refused, "account_locked", "account_locked"} {
			_, err := s.Reauth(from(t, home), who, wrong)
			if f := fault.From(err); f.Code.Slug != want || want == "account_locked" && f.RetryAfter != time.Minute {
				t.Errorf("%d: %v, %v", i+1, err, f.RetryAfter)
			}
		}
		want := []string{"user.reauth.failure: invalid_credentials", "user.reauth.failure: invalid_credentials",
			"user.locked: account_locked", "user.reauth.failure: account_locked", "user.reauth.failure: account_locked"}
		if diff := cmp.Diff(want, recorded(t, s)); diff != "" {
			t.Error(diff)
		}
		s.Clock.Advance(time.Minute)
		if _, err := s.Reauth(from(t, home), who, good); err != nil {
			t.Errorf("after the lock: %v", err)
		}
		if _, err := login(t, s, home, wrong); slug(err) != refused {
			t.Errorf("a success is to clear the count: %v", err)
		}
	})
}

func TestASessionThatEndsWhileItsPasswordIsProved(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newService(t, d)
		id, _ := account(t, s, ann)
		who := mustLogin(t, s, home)
		var access string
		err := between(t, s, "lockouts", func() (err error) {
			access, err = s.Reauth(from(t, home), who, good)
			return err
		}, func(tx *db.Tx) error { return deactivate(t.Context(), tx, s.Clock.Now(), id) })
		if slug(err) != "session_expired" || access != "" {
			t.Errorf("%q, %v", access, err)
		}
		if n := count(t, s, `SELECT COALESCE(MAX(failures), 0) FROM lockouts`); n != 0 {
			t.Errorf("%d failures counted of a right password", n)
		}
	})
}
