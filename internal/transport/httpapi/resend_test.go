package httpapi_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

const sent = `{"sent":true}`

func TestResend(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		access, _ := s.unverified(t, "ann@example.com")
		old := s.mails(t, "ann@example.com", 1)[0].Tokens()[0]
		resend := func(body string) reply { return s.post("/auth/verify-email/resend", body, bearer(access)...) }
		s.events(t)

		t.Run("nobody may ask without a token", func(t *testing.T) {
			s.post("/auth/verify-email/resend", "").refused(t, fault.InvalidToken)
			s.recorded(t)
		})
		t.Run("it takes no body, and does not look at one", func(t *testing.T) {
			for i, body := range []string{"", "null", "{"} {
				resend(body).want(t, http.StatusOK, sent)
				s.recorded(t, `user.email.verification_resent by ann@example.com on ann@example.com {"operation":"resend"}`)
				s.mails(t, "ann@example.com", i+2)
			}
		})
		t.Run("the fourth time within an hour is refused, with the time to wait", func(t *testing.T) {
			r := resend("")
			r.refused(t, fault.RateLimited)
			if wait := r.header.Get("Retry-After"); wait != "1200" { // a third of an hour for each
				t.Errorf("Retry-After: %s", wait)
			}
			s.recorded(t, `user.email.verification_resent by ann@example.com on ann@example.com: rate_limited {"operation":"resend"}`)
		})
		t.Run("older links have died", func(t *testing.T) {
			s.get("/auth/verify-email?token="+old).refused(t, fault.InvalidVerifyToken)
		})
		t.Run("the newest works", func(t *testing.T) {
			newest := s.mails(t, "ann@example.com", 4)[0].Tokens()[0]
			s.get("/auth/verify-email?token="+newest).want(t, http.StatusOK, `{"verified":true}`)
			s.events(t)
		})
		t.Run("the access token from before has expired; who has a new one is told that all is done", func(t *testing.T) {
			resend("").refused(t, fault.TokenExpired)
			access, _ = s.login(t, "ann@example.com")
			s.events(t)
			resend("").refused(t, fault.AlreadyVerified)
			s.recorded(t, `user.email.verification_resent by ann@example.com on ann@example.com: already_verified {"operation":"resend"}`)
		})
	})
}

func TestResendRequest(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		s.signUp(t, "unconfirmed@example.com")
		s.verified(t, "confirmed@example.com")
		request := func(email string) reply {
			return s.post("/auth/verify-email/resend/request", fmt.Sprintf(`{"email":%q}`, email))
		}
		s.events(t)
		for _, row := range []struct {
			name  string
			email string
			mails int
		}{
			{"an address that waits for its confirmation gets a mail", "unconfirmed@example.com", 2},
			{"one that is confirmed gets none", "confirmed@example.com", 1},
			{"one without an account gets none", "nobody@example.com", 0},
		} {
			t.Run(row.name, func(t *testing.T) {
				request(row.email).want(t, http.StatusOK, sent)
				s.recorded(t, `user.email.verification_resent {"operation":"resend_request"}`)
				s.settled(t)
				s.mails(t, row.email, row.mails)
			})
		}
		t.Run("the fourth time within an hour is refused, whoever it is", func(t *testing.T) {
			for _, email := range []string{"unconfirmed@example.com", "confirmed@example.com", "nobody@example.com"} {
				request(email).want(t, http.StatusOK, sent)
				request(email).want(t, http.StatusOK, sent)
				r := request(email)
				r.refused(t, fault.RateLimited)
				if r.header.Get("Retry-After") != "1200" {
					t.Errorf("Retry-After: %s", r.header.Get("Retry-After"))
				}
			}
			s.clock.Advance(20 * time.Minute)
			request("nobody@example.com").want(t, http.StatusOK, sent)
		})
		t.Run("the address must be one", func(t *testing.T) {
			request("nobody").refused(t, fault.ValidationError, fault.Field{Field: "email", Message: "must be an e-mail address"})
		})
	})
}
