package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

func refreshBody(token string) string { return fmt.Sprintf(`{"refresh_token":%q}`, token) }

func TestToken(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		s.verified(t, "ann@example.com")
		_, first := s.login(t, "ann@example.com")
		s.events(t)

		var second string
		t.Run("a refresh token is traded for new tokens", func(t *testing.T) {
			r := s.post("/auth/token", refreshBody(first))
			second = r.field(t, "refresh_token")
			r.want(t, http.StatusOK, fmt.Sprintf(`{"access_token":%q,"refresh_token":%q,"token_type":"bearer","expires_in":900}`,
				r.field(t, "access_token"), second))
			s.get("/auth/validate", bearer(r.field(t, "access_token"))...).want(t, http.StatusNoContent, "")
			s.recorded(t,
				`token.refreshed by ann@example.com {"provider":"password","session_id":"<id>"}`,
				`token.issued by ann@example.com {"provider":"password","token_kind":"refresh"}`)
		})
		t.Run("a second tab gets the same successor", func(t *testing.T) {
			if again := s.post("/auth/token", refreshBody(first)).field(t, "refresh_token"); again != second {
				t.Errorf("%s, want %s", again, second)
			}
			s.recorded(t)
		})
		t.Run("it is JSON whatever the content type says", func(t *testing.T) {
			s.post("/auth/token", refreshBody(first), "Content-Type", "text/plain").field(t, "refresh_token")
			s.post("/auth/token", refreshBody(first), "Content-Type", "").field(t, "refresh_token")
		})
		t.Run("but for forms, which are how services ask", func(t *testing.T) {
			s.post("/auth/token", "grant_type=client_credentials", "Content-Type", "multipart/form-data; boundary=x").refused(t, fault.UnsupportedMediaType)
		})
		for _, row := range []struct {
			name   string
			body   string
			code   fault.Code
			fields []fault.Field
			audit  []string
		}{
			{"garbage of the right shape is refused without a trace", refreshBody("rt_" + strings.Repeat("A", 80)), fault.SessionExpired, nil, nil},
			{"a token with one letter changed is refused", refreshBody(first[:len(first)-3] + "AAA"), fault.SessionExpired, nil, nil},
			{"a short token is malformed", refreshBody("rt_"), fault.ValidationError,
				[]fault.Field{{Field: "refresh_token", Message: "must be at least 16 characters long"}}, nil},
			{"a long token is malformed", refreshBody(strings.Repeat("a", 513)), fault.ValidationError,
				[]fault.Field{{Field: "refresh_token", Message: "must be at most 512 characters long"}}, nil},
			{"a number is no token", `{"refresh_token":12345678901234567890}`, fault.ValidationError,
				[]fault.Field{{Field: "refresh_token", Message: "must be text"}}, nil},
			{"no token is none", `{}`, fault.ValidationError, []fault.Field{{Field: "refresh_token", Message: "is required"}}, nil},
			{"a body is needed", "", fault.MalformedRequest, nil, nil},
			{"a body must be JSON", "refresh_token", fault.MalformedRequest, nil, nil},
			{"one JSON value, not two", refreshBody(first) + refreshBody(first), fault.MalformedRequest, nil, nil},
		} {
			t.Run(row.name, func(t *testing.T) {
				s.post("/auth/token", row.body).refused(t, row.code, row.fields...)
				s.recorded(t, row.audit...)
			})
		}
		t.Run("when the answer was lost, the same token works again later, a number of times", func(t *testing.T) {
			s.clock.Advance(time.Minute)
			for range 10 {
				s.post("/auth/token", refreshBody(first)).field(t, "refresh_token")
				s.clock.Advance(11 * time.Second)
			}
			s.events(t)
			r := s.post("/auth/token", refreshBody(first))
			r.refused(t, fault.RateLimited)
			if r.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		})
		t.Run("a token that two hold ends the session", func(t *testing.T) {
			s.post("/auth/token", refreshBody(second)).refused(t, fault.SessionExpired)
			s.recorded(t,
				`session.reuse_detected by ann@example.com on ann@example.com: refresh_reuse {"generation":1,"session_id":"<id>"}`,
				`session.revoked by the system on ann@example.com {"reason":"refresh_reuse","session_ids":["<id>"]}`)
			s.post("/auth/token", refreshBody(first)).refused(t, fault.SessionExpired)
			s.recorded(t, `token.refreshed by ann@example.com: session_expired {"provider":"password","session_id":"<id>"}`)
		})
	})
}

func TestLogout(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		s.verified(t, "ann@example.com")
		access, refresh := s.login(t, "ann@example.com")
		otherAccess, otherRefresh := s.login(t, "ann@example.com")
		s.events(t)

		for _, row := range []struct {
			name    string
			body    string
			headers []string
			code    fault.Code
			fields  []fault.Field
		}{
			{"without any token nothing can be ended", "", nil, fault.InvalidToken, nil},
			{"null is no body", "null", nil, fault.InvalidToken, nil},
			{"an access token alone is not enough", "", bearer(access), fault.InvalidToken, nil},
			{"a body without a token is malformed", "{}", nil, fault.ValidationError, []fault.Field{{Field: "refresh_token", Message: "is required"}}},
			{"a short token is malformed", refreshBody("rt_"), nil, fault.ValidationError,
				[]fault.Field{{Field: "refresh_token", Message: "must be at least 16 characters long"}}},
			{"garbage is refused", refreshBody(strings.Repeat("a", 40)), nil, fault.InvalidToken, nil},
			{"tokens of two sessions are refused", refreshBody(refresh), bearer(otherAccess), fault.InvalidToken, nil},
			{"a bad access token is refused, not ignored", refreshBody(refresh), bearer("nonsense"), fault.InvalidToken, nil},
			{"a form is not JSON", "refresh_token=" + refresh, []string{"Content-Type", "application/x-www-form-urlencoded"}, fault.UnsupportedMediaType, nil},
		} {
			t.Run(row.name, func(t *testing.T) {
				s.post("/auth/logout", row.body, row.headers...).refused(t, row.code, row.fields...)
				s.recorded(t)
			})
		}
		t.Run("the refresh token alone ends the session", func(t *testing.T) {
			s.post("/auth/logout", refreshBody(refresh)).want(t, http.StatusNoContent, "")
			s.recorded(t, `user.logout by ann@example.com {"provider":"password","session_id":"<id>"}`, `session.revoked by ann@example.com on ann@example.com {"provider":"password","reason":"logout","session_id":"<id>"}`)
			s.get("/auth/validate", bearer(access)...).refused(t, fault.SessionExpired)
			s.post("/auth/token", refreshBody(refresh)).refused(t, fault.SessionExpired)
			s.events(t)
		})
		t.Run("ending it again is no error and no event", func(t *testing.T) {
			s.post("/auth/logout", refreshBody(refresh)).want(t, http.StatusNoContent, "")
			s.recorded(t)
		})
		t.Run("both tokens of one session end it, the access token expired or not", func(t *testing.T) {
			s.clock.Advance(time.Hour)
			s.post("/auth/logout", refreshBody(otherRefresh), bearer(otherAccess)...).want(t, http.StatusNoContent, "")
			s.recorded(t, `user.logout by ann@example.com {"provider":"password","session_id":"<id>"}`, `session.revoked by ann@example.com on ann@example.com {"provider":"password","reason":"logout","session_id":"<id>"}`)
		})
	})
}

func TestValidate(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		s.verified(t, "ann@example.com")
		access, refresh := s.login(t, "ann@example.com")
		early, _ := s.unverified(t, "new@example.com")
		s.events(t)

		for _, row := range []struct {
			name      string
			header    string
			code      fault.Code // zero: 204
			challenge string
		}{
			{"a good token", "Bearer " + access, fault.Code{}, ""},
			{"the scheme in small letters, more spaces", "bearer   " + access + " ", fault.Code{}, ""},
			{"no header", "", fault.InvalidToken, "Bearer"},
			{"another scheme", "Basic " + access, fault.InvalidToken, "Bearer"},
			{"no scheme", access, fault.InvalidToken, "Bearer"},
			{"no token", "Bearer ", fault.InvalidToken, "Bearer"},
			{"a token that was changed", "Bearer " + access[:len(access)-10] + "AAAAAAAAAA", fault.InvalidToken, `Bearer error="invalid_token"`},
			{"a refresh token", "Bearer " + refresh, fault.InvalidToken, `Bearer error="invalid_token"`},
			{"two tokens", "Bearer " + access + " " + access, fault.InvalidToken, `Bearer error="invalid_token"`},
			{"bytes that are no text", "Bearer \xff\xfe", fault.InvalidToken, `Bearer error="invalid_token"`},
		} {
			t.Run(row.name, func(t *testing.T) {
				r := s.get("/auth/validate", "Authorization", row.header)
				if row.code.Status == 0 {
					r.want(t, http.StatusNoContent, "")
				} else {
					r.refused(t, row.code)
				}
				if got := r.header.Get("WWW-Authenticate"); got != row.challenge {
					t.Errorf("WWW-Authenticate: %q, want %q", got, row.challenge)
				}
			})
		}
		t.Run("a token that says the old thing has expired", func(t *testing.T) {
			newest := s.mails(t, "new@example.com", 1)[0].Tokens()[0]
			s.get("/auth/verify-email?token="+newest).want(t, http.StatusOK, `{"verified":true}`)
			s.get("/auth/validate", bearer(early)...).refused(t, fault.TokenExpired)
		})
		t.Run("a token of somebody who was deactivated has no session", func(t *testing.T) {
			access, _ := s.login(t, "new@example.com")
			deactivate(t, d, "new@example.com")
			s.get("/auth/validate", bearer(access)...).refused(t, fault.SessionExpired)
		})
		t.Run("a token older than its life and the leeway has expired", func(t *testing.T) {
			s.clock.Advance(accessTTL + 30*time.Second)
			s.get("/auth/validate", bearer(access)...).want(t, http.StatusNoContent, "")
			s.clock.Advance(time.Second)
			r := s.get("/auth/validate", bearer(access)...)
			r.refused(t, fault.TokenExpired)
			if r.header.Get("WWW-Authenticate") != `Bearer error="invalid_token"` {
				t.Error(r.header)
			}
		})
	})
}
