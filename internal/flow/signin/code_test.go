package signin_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/flow/signin"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

// success is what every sign-in is recorded as.
var success = []string{"user.login.success", "session.created", "token.issued"}

func TestASignInWithACode(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newService(t, d)
		id := guardedAccount(t, s, ann)
		out, err := s.Login(from(t, home), signin.Input{Email: ann, Password: good, Audience: "orders-api", CSRF: "not for the first step"})
		if err != nil || out.Challenge == nil || out.Pair != (session.Pair{}) || out.Challenge.MaskedEmail != "a**@example.com" {
			t.Fatalf("%+v, %v", out, err)
		}
		if n := count(t, s, `SELECT COUNT(*) FROM sessions`); n != 0 {
			t.Errorf("%d sessions before the code", n)
		}
		if n := count(t, s, `SELECT failures FROM lockouts WHERE network = '*'`); n != 0 {
			t.Errorf("a right password is counted as %d failures", n)
		}
		if diff := cmp.Diff([]string{"user.login.otp_required", "otp.sent"}, recorded(t, s)); diff != "" {
			t.Error(diff)
		}
		forgetEvents(t, s)
		pair, err := s.VerifyCode(from(t, home), out.Challenge.Token, " "+mailed(t, s)+" ", "csrf")
		if err != nil {
			t.Fatal(err)
		}
		who := check(t, s, pair.Access)
		if diff := cmp.Diff([]string{"auth-service", "orders-api"}, []string(who.Claims.Audience)); diff != "" || who.User != id {
			t.Error(who.User, diff)
		}
		if _, err := s.Sessions.Rotate(t.Context(), pair.Refresh, session.CSRF{Cookie: true, Token: "csrf"}); err != nil {
			t.Errorf("the session is not bound to the CSRF token: %v", err)
		}
		if diff := cmp.Diff(append([]string{"otp.verified"}, append(success, "token.refreshed", "token.issued")...), recorded(t, s)); diff != "" {
			t.Error(diff)
		}
		if n := count(t, s, `SELECT COUNT(*) FROM sessions WHERE provider = 'password' AND csrf_hash = $1`, secret.Hash("csrf")); n != 1 {
			t.Error("the session's row is another")
		}
		if n := count(t, s, `SELECT COUNT(*) FROM seen WHERE user_id = $1`, id); n != 2 {
			t.Errorf("%d places remembered", n)
		}
		if _, err := s.VerifyCode(from(t, home), out.Challenge.Token, mailed(t, s), ""); slug(err) != "otp_expired" {
			t.Errorf("the same code again: %v", err)
		}
	})
}

// A code by mail proves nothing to somebody who has never confirmed the mailbox.
func TestWithoutAConfirmedMailboxThereIsNoSecondFactor(t *testing.T) {
	s := newService(t, dbtest.SQLite(t))
	s.RequireVerified = false
	guardedAccount(t, s, ann)
	change(t, s, `UPDATE users SET email_verified = FALSE`)
	mustLogin(t, s, home)
}

func TestWhatIsNoChallenge(t *testing.T) {
	rows := []struct {
		name   string
		change func(t *testing.T, s *signin.Service, token string) string
	}{
		{"rubbish", func(*testing.T, *signin.Service, string) string { return "rubbish" }},
		{"nothing", func(*testing.T, *signin.Service, string) string { return "" }},
		{"one that has expired", func(_ *testing.T, s *signin.Service, token string) string {
			s.Clock.Advance(s.Codes.TTL + time.Second)
			return token
		}},
		{"one that the database does not know", func(t *testing.T, s *signin.Service, token string) string {
			change(t, s, `DELETE FROM otp_challenges`)
			return token
		}},
		{"one of another account", func(t *testing.T, s *signin.Service, token string) string {
			bob := guardedAccount(t, s, "bob@example.com")
			change(t, s, `UPDATE otp_challenges SET user_id = $1`, bob)
			return token
		}},
		{"one of a deactivated account", func(t *testing.T, s *signin.Service, token string) string {
			change(t, s, `UPDATE users SET is_active = FALSE`)
			return token
		}},
		{"one of a deleted account", func(t *testing.T, s *signin.Service, token string) string {
			change(t, s, retire)
			return token
		}},
		{"one for an action", func(t *testing.T, s *signin.Service, token string) string {
			change(t, s, `UPDATE otp_challenges SET context = 'action'`)
			return token
		}},
		{"an access token", func(t *testing.T, s *signin.Service, token string) string {
			pair, err := s.VerifyCode(from(t, home), token, mailed(t, s), "")
			if err != nil {
				t.Fatal(err)
			}
			return pair.Access
		}},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				s := newService(t, d)
				change(t, s, retire) // of the rows before
				guardedAccount(t, s, ann)
				token := challenged(t, s, home)
				code := mailed(t, s)
				token = row.change(t, s, token)
				if pair, err := s.VerifyCode(from(t, home), token, code, ""); slug(err) != "invalid_token" || pair != (session.Pair{}) {
					t.Errorf("verify: %v", err)
				}
				if err := s.ResendCode(from(t, home), token); slug(err) != "invalid_token" {
					t.Errorf("resend: %v", err)
				}
			})
		}
	})
}

func TestACodeIsResent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newService(t, d)
		guardedAccount(t, s, ann)
		token := challenged(t, s, home)
		older := mailed(t, s)
		if err := s.ResendCode(from(t, home), token); err != nil {
			t.Fatal(err)
		}
		if _, err := s.VerifyCode(from(t, home), token, older, ""); slug(err) != "invalid_otp" {
			t.Errorf("the older code: %v", err)
		}
		if _, err := s.VerifyCode(from(t, home), token, mailed(t, s), ""); err != nil {
			t.Errorf("the newer code: %v", err)
		}
		if err := s.ResendCode(from(t, home), token); slug(err) != "otp_expired" {
			t.Errorf("after the sign-in: %v", err)
		}
	})
}

// Two challenges at once are two sign-ins: neither's code opens the other.
func TestACodeBelongsToItsChallenge(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newService(t, d)
		guardedAccount(t, s, ann)
		first := challenged(t, s, away) // by somebody who knows the password
		s.Clock.Advance(time.Second)
		second := challenged(t, s, home)
		code := mailed(t, s)
		if _, err := s.VerifyCode(from(t, away), first, code, ""); slug(err) != "invalid_otp" {
			t.Errorf("the code of another challenge: %v", err)
		}
		if _, err := s.VerifyCode(from(t, home), second, code, ""); err != nil {
			t.Error(err)
		}
	})
}

func TestWrongCodesClimbTheLadderOfPasswords(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newService(t, d)
		guardedAccount(t, s, ann)
		for range 2 {
			if _, err := login(t, s, away, wrong); slug(err) != refused {
				t.Error(err)
			}
		}
		token := challenged(t, s, away)
		forgetEvents(t, s)
		for i, want := range []string{"invalid_otp", "invalid_otp", "account_locked", "account_locked"} {
			_, err := s.VerifyCode(from(t, away), token, miss(t, s), "")
			if f := fault.From(err); f.Code.Slug != want || want == "account_locked" && f.RetryAfter != time.Minute {
				t.Errorf("code %d: %v, %v", i+1, err, f.RetryAfter)
			}
		}
		if _, err := s.VerifyCode(from(t, away), token, mailed(t, s), ""); slug(err) != "account_locked" {
			t.Errorf("the right code during the lock: %v", err)
		}
		if _, err := login(t, s, away, good); slug(err) != "account_locked" {
			t.Errorf("the right password during the lock: %v", err)
		}
		want := []string{"otp.failed: invalid_otp", "otp.failed: invalid_otp", "otp.failed: invalid_otp", "user.locked: account_locked",
			"otp.failed: account_locked", "otp.failed: account_locked", "user.login.failure: account_locked"}
		if diff := cmp.Diff(want, recorded(t, s)); diff != "" {
			t.Error(diff)
		}
		var metadata string
		err := d.Read().QueryRowContext(t.Context(), `SELECT CAST(metadata AS TEXT) FROM audit_events WHERE event_type = 'user.locked'`).Scan(&metadata)
		if err != nil || !strings.Contains(metadata, `login`) || !strings.Contains(metadata, `context`) {
			t.Errorf("%s, %v", metadata, err)
		}
		if n := count(t, s, `SELECT failures FROM otp_challenges`); n != 3 {
			t.Errorf("%d guesses counted at the challenge, want 3: what is locked is not looked at", n)
		}
		s.Clock.Advance(time.Minute)
		if _, err := s.VerifyCode(from(t, away), token, mailed(t, s), ""); err != nil {
			t.Errorf("the right code after the lock: %v", err)
		}
		if _, err := login(t, s, away, wrong); slug(err) != refused {
			t.Errorf("a success is to clear the count: %v", err)
		}
	})
}

// After the last guess the challenge is dead, which says more than the lock does.
func TestTheLastWrongCodeSaysThatTheChallengeIsDead(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newService(t, d)
		guardedAccount(t, s, ann)
		token := challenged(t, s, away)
		for i, want := range []string{"invalid_otp", "invalid_otp", "invalid_otp", "invalid_otp", "otp_max_attempts_exceeded", "account_locked"} {
			if _, err := s.VerifyCode(from(t, away), token, miss(t, s), ""); slug(err) != want {
				t.Errorf("code %d: %v, want %s", i+1, err, want)
			}
		}
		if n := count(t, s, `SELECT COUNT(*) FROM audit_events WHERE event_type = 'user.locked'`); n != 1 {
			t.Errorf("%d locks recorded", n)
		}
		s.Clock.Advance(time.Minute)
		if _, err := s.VerifyCode(from(t, away), token, mailed(t, s), ""); slug(err) != "otp_expired" {
			t.Errorf("the right code: %v", err)
		}
		if n := count(t, s, `SELECT failures FROM lockouts WHERE network = '203.0.113.0/24'`); n != 5 {
			t.Errorf("%d failures: a code for a dead challenge is none", n)
		}
	})
}

func TestNoMoreCodesThanTheBudget(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newService(t, d)
		guardedAccount(t, s, ann)
		for range 20 {
			challenged(t, s, home)
		}
		forgetEvents(t, s)
		out, err := login(t, s, home, good)
		if f := fault.From(err); f.Code.Slug != "otp_issuance_blocked" || f.RetryAfter != time.Hour || out.Challenge != nil {
			t.Errorf("%v, %v", err, f.RetryAfter)
		}
		if diff := cmp.Diff([]string{"otp.sent: otp_issuance_blocked"}, recorded(t, s)); diff != "" {
			t.Error(diff)
		}
		if n := count(t, s, `SELECT MAX(failures) FROM lockouts`); n != 0 {
			t.Errorf("a right password is counted as %d failures", n)
		}
	})
}

func TestOfManyRightCodesAtOnceOneSignsIn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newService(t, d)
		guardedAccount(t, s, ann)
		token := challenged(t, s, home)
		code := mailed(t, s)
		got := race(func(i int) error { _, err := s.VerifyCode(from(t, elsewhere(i)), token, code, ""); return err })
		if diff := cmp.Diff(map[string]int{"": 1, "otp_expired": 31}, got); diff != "" {
			t.Error(diff)
		}
		if n := count(t, s, `SELECT COUNT(*) FROM sessions`); n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
}

func TestOfManyWrongCodesAtOnceFiveAreLookedAt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newService(t, d)
		guardedAccount(t, s, ann)
		token := challenged(t, s, home)
		code := miss(t, s)
		got := race(func(i int) error { _, err := s.VerifyCode(from(t, elsewhere(i)), token, code, ""); return err })
		if diff := cmp.Diff(map[string]int{"invalid_otp": 4, "otp_max_attempts_exceeded": 1, "otp_expired": 27}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestASignInWithACodeThatStandsOut(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newService(t, d)
		guardedAccount(t, s, ann)
		if _, err := s.VerifyCode(from(t, home), challenged(t, s, home), mailed(t, s), ""); err != nil {
			t.Fatal(err)
		}
		if n := count(t, s, `SELECT COUNT(*) FROM sessions WHERE is_suspicious`); n != 0 {
			t.Error("the first sign-in stands out")
		}
		s.Clock.Advance(time.Second)
		token := challenged(t, s, away)
		for range 3 {
			if _, err := s.VerifyCode(from(t, away), token, miss(t, s), ""); slug(err) != "invalid_otp" {
				t.Error(err)
			}
		}
		forgetEvents(t, s)
		if _, err := s.VerifyCode(from(t, away), token, mailed(t, s), ""); err != nil {
			t.Fatal(err)
		}
		if n := count(t, s, `SELECT COUNT(*) FROM sessions WHERE is_suspicious AND suspicious_reasons = '["new_ip","prior_failures"]'`); n != 1 {
			t.Error("the session does not say why it stands out")
		}
		want := []string{"otp.verified", "user.login.success", "user.login.suspicious", "session.created", "token.issued"}
		if diff := cmp.Diff(want, recorded(t, s)); diff != "" {
			t.Error(diff)
		}
	})
}
