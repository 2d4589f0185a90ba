package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// in makes a confirmed account that is signed in.
func (s *service) in(t testing.TB, email string) (access, refresh string) {
	t.Helper()
	s.verified(t, email)
	return s.login(t, email)
}

// renewed refreshes: the account changed, and with it what tokens say.
func (s *service) renewed(t testing.TB, refresh string) (newAccess, newRefresh string) {
	t.Helper()
	r := s.post("/auth/token", fmt.Sprintf(`{"refresh_token":%q}`, refresh))
	return r.field(t, "access_token"), r.field(t, "refresh_token")
}

// jsonOf writes JSON of pairs, without those whose value is empty.
func jsonOf(pairs ...string) string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			m[pairs[i]] = pairs[i+1]
		}
	}
	b, _ := json.Marshal(m) // strings always encode
	return string(b)
}

// with are the headers of an access token and an action token, if there is one.
func with(access, actionToken string) []string {
	headers := bearer(access)
	if actionToken != "" {
		headers = append(headers, "X-Action-Token", actionToken)
	}
	return headers
}

// confirmed gets an action token by the code that is mailed.
func (s *service) confirmed(t testing.TB, access, email, action string) string {
	t.Helper()
	subject := "Verification code for " + action
	had := len(s.about(t, email, subject))
	if r := s.post("/auth/otp/request/action", jsonOf("action", action), bearer(access)...); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	code := s.newest(t, email, subject, had+1).Codes()[0]
	return s.post("/auth/otp/verify/action", jsonOf("action", action, "code", code), bearer(access)...).field(t, "action_token")
}

func (s *service) changePassword(access, current, next, actionToken string) reply {
	return s.post("/auth/password/change", jsonOf("current_password", current, "new_password", next), with(access, actionToken)...)
}

func (s *service) changeEmail(access, current, next, actionToken string) reply {
	return s.post("/auth/email/change", jsonOf("current_password", current, "new_email", next), with(access, actionToken)...)
}

const isChanged, isSent, isUndone = `{"changed":true}`, `{"sent":true}`, `{"undone":true}`

// stale is beyond the time in which a sign-in is proof enough.
const stale = 301 * time.Second

func TestMe(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		s.get("/auth/users/me").refused(t, fault.InvalidToken)
		signedUp := s.clock.Now()
		s.verified(t, "ann@example.com")
		s.clock.Advance(time.Minute)
		access, _ := s.login(t, "ann@example.com")
		id := identityOf(t, s, access)
		want := func(passwordSet bool) string {
			return fmt.Sprintf(`{"user_id":%q,"email":"ann@example.com","email_verified":true,"email_otp_enabled":false,"role":"user",
				"created_at":%q,"password_set":%v,"session_id":%q,"auth_time":%q}`,
				id.User, signedUp.UTC().Format(time.RFC3339), passwordSet, id.Session, s.clock.Now().UTC().Format(time.RFC3339))
		}
		s.get("/auth/users/me", bearer(access)...).want(t, http.StatusOK, want(true))
		s.exec(t, `DELETE FROM passwords WHERE user_id = $1`, id.User)
		s.get("/auth/users/me", bearer(access)...).want(t, http.StatusOK, want(false))

		t.Run("a token for another service, too, may look, but change nothing", func(t *testing.T) {
			s.verified(t, "bea@example.com")
			shared := s.post("/auth/login", jsonOf("email", "bea@example.com", "password", good, "audience", "orders-api")).field(t, "access_token")
			if r := s.get("/auth/users/me", bearer(shared)...); r.status != http.StatusOK {
				t.Errorf("%d %s", r.status, r.body)
			}
			s.changePassword(shared, good, better, "").refused(t, fault.AudienceNotAllowed)
			s.changeEmail(shared, good, "else@example.com", "").refused(t, fault.AudienceNotAllowed)
			s.post("/auth/otp/enable", "", bearer(shared)...).refused(t, fault.AudienceNotAllowed)
			s.post("/auth/otp/disable", "", bearer(shared)...).refused(t, fault.AudienceNotAllowed)
		})
	})
}

// identityOf is who a good access token belongs to.
func identityOf(t testing.TB, s *service, access string) session.Identity {
	t.Helper()
	return must(s.Sessions.Check(context.Background(), access))(t)
}

func TestChangePassword(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		opens := func(t *testing.T, email, pass string) {
			t.Helper()
			if r := s.post("/auth/login", credentials(email, pass)); r.status != http.StatusOK {
				t.Errorf("%d %s", r.status, r.body)
			}
		}
		t.Run("the current password changes it and ends the other sessions", func(t *testing.T) {
			access, refresh := s.in(t, "ann@example.com")
			other, otherRefresh := s.login(t, "ann@example.com")
			s.clock.Advance(stale)
			link := s.resetToken(t, "ann@example.com")
			s.worked(t)
			s.events(t)
			s.changePassword(access, good, better, "").want(t, http.StatusOK, isChanged)
			s.recorded(t, `user.password.changed by ann@example.com on ann@example.com {"reason":"password_change"}`,
				`session.revoked by ann@example.com on ann@example.com {"reason":"password_change","revoked_session_count":1,"session_ids":["<id>"]}`)
			s.get("/auth/validate", bearer(other)...).refused(t, fault.SessionExpired)
			s.post("/auth/token", jsonOf("refresh_token", otherRefresh)).refused(t, fault.SessionExpired)
			s.get("/auth/validate", bearer(access)...).refused(t, fault.TokenExpired)
			access, _ = s.renewed(t, refresh)
			s.get("/auth/validate", bearer(access)...).want(t, http.StatusNoContent, "")
			s.post("/auth/login", credentials("ann@example.com", good)).refused(t, fault.InvalidCredentials)
			opens(t, "ann@example.com", better)
			s.newest(t, "ann@example.com", "Your password has been changed", 1)
			s.reset(link, "Third-Password-9").refused(t, fault.InvalidResetToken)
		})
		t.Run("what is wrong with the new one changes nothing", func(t *testing.T) {
			access, _ := s.in(t, "bea@example.com")
			s.changePassword(access, good, "weak", "").refused(t, fault.ValidationError, fault.Field{Field: "new_password", Message: "must be at least 8 characters long"})
			s.changePassword(access, good, good, "").refused(t, fault.PasswordReused)
			s.changePassword(access, "", good, "").refused(t, fault.PasswordReused)
			opens(t, "bea@example.com", good)
		})
		t.Run("wrong current passwords are counted as at a sign-in", func(t *testing.T) {
			access, _ := s.in(t, "cyd@example.com")
			s.events(t)
			refused := func(code string) string {
				return fmt.Sprintf(`user.reauth.failure by cyd@example.com: %s {"provider":"password","session_id":"<id>"}`, code)
			}
			for range 4 {
				s.changePassword(access, "Wrong-Horse-7", better, "").refused(t, fault.InvalidCredentials, notThePassword)
				s.recorded(t, refused("invalid_credentials"))
			}
			s.changeEmail(access, "Wrong-Horse-7", "else@example.com", "").refused(t, fault.AccountLocked)
			s.recorded(t, `user.locked by cyd@example.com on cyd@example.com: account_locked {"attempt_count":5,"distributed_attack":false,"provider":"password","retry_after":60}`,
				refused("account_locked"))
			r := s.changePassword(access, good, better, "")
			r.refused(t, fault.AccountLocked)
			if r.header.Get("Retry-After") != "60" {
				t.Errorf("Retry-After %q", r.header.Get("Retry-After"))
			}
			s.recorded(t, refused("account_locked"))
			s.post("/auth/login", credentials("cyd@example.com", good)).refused(t, fault.AccountLocked)
			s.clock.Advance(time.Minute)
			s.changePassword(access, good, better, "").want(t, http.StatusOK, isChanged)
			opens(t, "cyd@example.com", better)
		})
		t.Run("a wrong one does not tell whether the new one is the one in use", func(t *testing.T) {
			access, _ := s.in(t, "dan@example.com")
			s.changePassword(access, "Wrong-Horse-7", good, "").refused(t, fault.InvalidCredentials, notThePassword)
		})
		t.Run("without the current one a fresh sign-in is asked for", func(t *testing.T) {
			access, refresh := s.in(t, "eve@example.com")
			s.clock.Advance(stale)
			r := s.changePassword(access, "", better, "")
			r.refused(t, fault.ReauthRequired)
			if r.header.Get("X-Reauth-Required") != "true" {
				t.Errorf("headers %v", r.header)
			}
			opens(t, "eve@example.com", good)
			access, _ = s.renewed(t, refresh)
			s.changePassword(access, "", better, s.confirmed(t, access, "eve@example.com", "change_password")).want(t, http.StatusOK, isChanged)
			opens(t, "eve@example.com", better)
			fresh := s.post("/auth/login", credentials("eve@example.com", better)).field(t, "access_token")
			s.changePassword(fresh, "", "Third-Password-9", "").want(t, http.StatusOK, isChanged)
		})
		t.Run("an account without one gets a first one", func(t *testing.T) {
			access, _ := s.in(t, "fay@example.com")
			s.exec(t, `DELETE FROM passwords WHERE user_id = $1`, identityOf(t, s, access).User)
			s.changePassword(access, good, better, "").refused(t, fault.InvalidCredentials, notThePassword)
			s.changePassword(access, "", better, "").want(t, http.StatusOK, isChanged)
			opens(t, "fay@example.com", better)
		})
		t.Run("an action token that is sent must be good, whatever else is", func(t *testing.T) {
			access, _ := s.in(t, "gus@example.com")
			s.changePassword(access, good, better, "nonsense").refused(t, fault.ActionTokenInvalid)
			s.changePassword(access, good, better, s.confirmed(t, access, "gus@example.com", "change_email")).refused(t, fault.ActionTokenInvalid)
			opens(t, "gus@example.com", good)
		})
		t.Run("with a second factor the password is not enough", func(t *testing.T) {
			access, refresh := s.in(t, "hal@example.com")
			s.post("/auth/otp/enable", "", bearer(access)...).want(t, http.StatusOK, `{"email_otp_enabled":true}`)
			access, _ = s.renewed(t, refresh)
			r := s.changePassword(access, good, better, "")
			r.refused(t, fault.OTPRequired)
			if r.header.Get("X-OTP-Required") != "true" || r.header.Get("X-OTP-Action") != "change_password" {
				t.Errorf("headers %v", r.header)
			}
			s.changeEmail(access, good, "else@example.com", "").refused(t, fault.OTPRequired)
			actionToken := s.confirmed(t, access, "hal@example.com", "change_password")
			s.changePassword(access, "Wrong-Horse-7", better, actionToken).refused(t, fault.InvalidCredentials, notThePassword)
			s.changePassword(access, good, better, actionToken).want(t, http.StatusOK, isChanged)
		})
		t.Run("an address that is not confirmed comes first", func(t *testing.T) {
			access, _ := s.unverified(t, "ida@example.com")
			s.changePassword(access, good, better, "").refused(t, fault.EmailNotVerified)
		})
		t.Run("one confirmation changes one password", func(t *testing.T) {
			ctx := context.Background()
			access, _ := s.in(t, "jim@example.com")
			actionToken := s.confirmed(t, access, "jim@example.com", "change_password")
			caller := identityOf(t, s, access)
			won := atOnce(t, 8, fault.ActionTokenInvalid, func(i int) error {
				for {
					err := s.Account.ChangePassword(ctx, caller, fmt.Sprintf("Racing-Horse-%d", i), given("", actionToken))
					if !fault.Has(err, fault.ServiceUnavailable) {
						return err
					}
				}
			})
			if won != 1 {
				t.Errorf("%d won", won)
			}
		})
		t.Run("of a change and a reset at once one wins: the link dies, or the session", func(t *testing.T) {
			ctx := context.Background()
			s.verified(t, "kim@example.com")
			pass := good
			for round := range 6 {
				caller := identityOf(t, s, s.post("/auth/login", credentials("kim@example.com", pass)).field(t, "access_token"))
				token := s.resetToken(t, "kim@example.com")
				byReset, byChange := fmt.Sprintf("Owner-Horse-%d", round), fmt.Sprintf("Thief-Horse-%d", round)
				done := make(chan error, 1)
				go func() { done <- s.Recovery.Reset(ctx, token, byReset) }()
				change := s.Account.ChangePassword(ctx, caller, byChange, given(pass, ""))
				reset := <-done
				switch {
				case reset == nil && (fault.Has(change, fault.SessionExpired) || fault.Has(change, fault.InvalidCredentials)):
					pass = byReset
				case change == nil && fault.Has(reset, fault.InvalidResetToken):
					pass = byChange
				default:
					t.Fatalf("reset: %v, change: %v", reset, change)
				}
			}
		})
	})
}

func TestSetOTP(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		set := func(access, what, actionToken string) reply {
			return s.post("/auth/otp/"+what, "", with(access, actionToken)...)
		}
		access, refresh := s.in(t, "ann@example.com")
		s.events(t)
		t.Run("a fresh sign-in switches it on, once", func(t *testing.T) {
			set(access, "enable", "").want(t, http.StatusOK, `{"email_otp_enabled":true}`)
			s.recorded(t, `otp.enabled by ann@example.com on ann@example.com`)
			s.get("/auth/validate", bearer(access)...).refused(t, fault.TokenExpired) // what it says is no longer so
			access, refresh = s.renewed(t, refresh)
			s.events(t)
			set(access, "enable", s.confirmed(t, access, "ann@example.com", "enable_otp")).want(t, http.StatusOK, `{"email_otp_enabled":true}`)
			for _, line := range s.events(t) {
				if strings.HasPrefix(line, "otp.enabled") {
					t.Error("nothing changed, and yet it is recorded")
				}
			}
			if r := s.get("/auth/users/me", bearer(access)...); !strings.Contains(r.body, `"email_otp_enabled":true`) {
				t.Errorf("%d %s", r.status, r.body)
			}
		})
		t.Run("off takes a code, however fresh the sign-in", func(t *testing.T) {
			r := set(access, "disable", "")
			r.refused(t, fault.OTPRequired)
			if r.header.Get("X-OTP-Action") != "disable_otp" {
				t.Errorf("headers %v", r.header)
			}
			actionToken := s.confirmed(t, access, "ann@example.com", "disable_otp")
			s.events(t)
			set(access, "enable", actionToken).refused(t, fault.ActionTokenInvalid)
			s.events(t)
			set(access, "disable", actionToken).want(t, http.StatusOK, `{"email_otp_enabled":false}`)
			s.recorded(t, `otp.disabled by ann@example.com on ann@example.com`)
			if n := s.count(t, `SELECT COUNT(*) FROM otp_challenges`) + s.count(t, `SELECT COUNT(*) FROM otp_budgets`); n > 0 {
				t.Errorf("%d rows of codes are left", n)
			}
			access, _ = s.renewed(t, refresh)
			set(access, "disable", actionToken).refused(t, fault.ActionTokenInvalid) // it is spent
			s.confirmed(t, access, "ann@example.com", "erase_account")
			set(access, "disable", "").want(t, http.StatusOK, `{"email_otp_enabled":false}`)
			if n := s.count(t, `SELECT COUNT(*) FROM otp_budgets`); n != 1 {
				t.Error("what is off already, switched off, forgives guesses")
			}
		})
		t.Run("an old sign-in is not enough", func(t *testing.T) {
			s.clock.Advance(stale)
			set(access, "enable", "").refused(t, fault.ReauthRequired)
			set(access, "disable", "").refused(t, fault.ReauthRequired)
		})
		t.Run("an address that is not confirmed receives no codes", func(t *testing.T) {
			access, _ := s.unverified(t, "bea@example.com")
			set(access, "enable", "").refused(t, fault.EmailNotVerified)
			set(access, "disable", "").want(t, http.StatusOK, `{"email_otp_enabled":false}`)
		})
	})
}

var notThePassword = fault.Field{Field: "current_password", Message: "is not the password of this account"}
