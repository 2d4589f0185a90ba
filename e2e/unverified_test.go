package e2e

import (
	"net/http"
	"testing"
	"time"
)

func TestWhereUnverifiedUsersMayLogInTheirTokensFollowTheirState(t *testing.T) {
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t, "AUTH__REQUIRE_VERIFIED_EMAIL_FOR_PASSWORD_LOGIN=false")
		email := newEmail()
		if _, err := v.Signup(t.Context(), email, password); err != nil {
			t.Fatal(err)
		}
		link := v.mail(email, 1).Tokens[0]
		tokens := v.login(email)
		if _, c := claims(t, tokens.Access); c["email_verified"] != false {
			t.Errorf("email_verified is %v before", c["email_verified"])
		}

		for i := range 4 {
			a := v.do("POST", "/auth/verify-email/resend", nil, "Authorization", "Bearer "+tokens.Access)
			switch {
			case i < 3 && a.String() != `200 {"sent":true}`:
				t.Errorf("resend %d is answered %s", i+1, a)
			case i < 3:
				link = v.mail(email, i+2).Tokens[0]
			case a.Status != http.StatusTooManyRequests || a.Envelope().Code != "rate_limited" || a.Header.Get("Retry-After") == "":
				t.Errorf("the fourth resend is answered %s, Retry-After %q", a, a.Header.Get("Retry-After"))
			}
		}

		if _, err := v.Verify(t.Context(), link); err != nil {
			t.Fatal(err)
		}
		await(t, time.Second, "the old token is refused, so that the client refreshes", func() bool {
			a := v.do("GET", "/auth/validate", nil, "Authorization", "Bearer "+tokens.Access)
			return a.Status == http.StatusUnauthorized && a.Envelope().Code == "token_expired"
		})
		fresh := v.refresh(tokens.Refresh)
		if _, err := v.Validate(t.Context(), fresh.Access); err != nil {
			t.Error(err)
		}
		if _, c := claims(t, fresh.Access); c["email_verified"] != true {
			t.Errorf("email_verified is %v after", c["email_verified"])
		}
	})
}
