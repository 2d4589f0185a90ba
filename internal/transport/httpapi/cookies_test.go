package httpapi_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// A request that a cookie authenticates proves that a page of the session's own
// browser sent it.
func TestCookieAuthentication(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newBrowserAPI(t, d)
		s.signUp(t, "ann@example.com")
		s.Signin.RequireVerified = false
		b, other := s.tab(), s.tab()
		b.login(t, "ann@example.com")
		other.login(t, "ann@example.com")
		access := b.without().post("/auth/login", credentials("ann@example.com", good), transportHeader, "token").field(t, "access_token")
		s.events(t)

		stolen := b.without(csrfCookie)
		stolen.cookies[csrfCookie] = other.cookies[csrfCookie]
		moved := b.without(accessCookie)
		moved.cookies[accessCookie] = access

		for _, row := range []struct {
			name    string
			tab     *tab
			headers []string
			code    fault.Code
		}{
			{"without a CSRF cookie", b.without(csrfCookie), []string{csrfHeader, b.cookies[csrfCookie]}, fault.InvalidCSRFToken},
			{"without the header", b, []string{csrfHeader, ""}, fault.InvalidCSRFToken},
			{"with another value", b, []string{csrfHeader, other.cookies[csrfCookie]}, fault.InvalidCSRFToken},
			{"with the token of another session", stolen, nil, fault.InvalidCSRFToken},
			{"from another site", b, []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, fault.InvalidCSRFToken},
			{"with the token of a session that began without cookies", moved, nil, fault.InvalidCSRFToken},
			{"with a bearer token, too", b, bearer(access), fault.AmbiguousTransport},
			{"with a bearer token, called cookie transport", b, append(bearer(access), transportHeader, "cookie"), fault.AmbiguousTransport},
			{"with a bearer token and the refresh cookie only", b.without(accessCookie), bearer(access), fault.AmbiguousTransport},
			{"with the refresh cookie only", b.without(accessCookie), nil, fault.InvalidToken},
			{"with nothing", s.tab(), nil, fault.InvalidToken},
			{"with bytes that are no text", b, []string{"Cookie", accessCookie + "=\xff; " + csrfCookie + "=\xff", csrfHeader, "\xff"}, fault.InvalidToken},
			{"with a bad token in the access cookie", b, []string{"Cookie", accessCookie + "=a.b.c; " + csrfCookie + "=x", csrfHeader, "x"}, fault.InvalidToken},
		} {
			t.Run(row.name, func(t *testing.T) {
				r := row.tab.without().post("/auth/verify-email/resend", "", row.headers...)
				r.refused(t, row.code)
				r.sets(t)
				s.recorded(t)
			})
		}
		t.Run("the header means nothing: what counts is where the access token is", func(t *testing.T) {
			b.post("/auth/verify-email/resend", "", transportHeader, "token", csrfHeader, "").refused(t, fault.InvalidCSRFToken)
			b.post("/auth/verify-email/resend", "", transportHeader, "token").want(t, http.StatusOK, sent)
		})
		t.Run("a bearer token that the header calls so counts beside cookies", func(t *testing.T) {
			b.post("/auth/verify-email/resend", "", append(bearer(access), transportHeader, "token", csrfHeader, "", "Sec-Fetch-Site", "cross-site")...).
				want(t, http.StatusOK, sent)
		})
		t.Run("a bearer token needs no CSRF token", func(t *testing.T) {
			s.post("/auth/verify-email/resend", "", bearer(access)...).want(t, http.StatusOK, sent)
		})
		t.Run("reading with both is not ambiguous: the bearer token counts", func(t *testing.T) {
			b.send("GET", "/auth/sessions", "", bearer("nonsense")...).refused(t, fault.InvalidToken)
		})
	})
}

func TestCookieRefresh(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newBrowserAPI(t, d)
		s.verified(t, "ann@example.com")
		b, other := s.tab(), s.tab()
		b.login(t, "ann@example.com")
		other.login(t, "ann@example.com")
		_, token := s.login(t, "ann@example.com")
		s.events(t)

		stolen := b.without(csrfCookie)
		stolen.cookies[csrfCookie] = other.cookies[csrfCookie]
		unbound := b.without(refreshCookie)
		unbound.cookies[refreshCookie] = token
		for _, row := range []struct {
			name    string
			tab     *tab
			headers []string
			code    fault.Code
		}{
			{"without the CSRF header", b, []string{csrfHeader, ""}, fault.InvalidCSRFToken},
			{"with the CSRF token of another session", stolen, nil, fault.InvalidCSRFToken},
			{"with a refresh token that was given to no browser", unbound, nil, fault.InvalidCSRFToken},
			{"from another site", b, []string{"Sec-Fetch-Site", "cross-site"}, fault.InvalidCSRFToken},
			{"with a bearer token", b, []string{"Authorization", "Bearer x"}, fault.AmbiguousTransport},
			{"without the refresh cookie", b.without(refreshCookie), nil, fault.SessionExpired},
			{"with garbage in it", b.without(refreshCookie), []string{"Cookie", refreshCookie + "=rt_garbage; " + csrfCookie + "=x", csrfHeader, "x"}, fault.SessionExpired},
		} {
			t.Run(row.name, func(t *testing.T) {
				r := row.tab.without().post("/auth/token", "", row.headers...)
				r.refused(t, row.code)
				r.sets(t) // it may come late, when another tab has signed in again
				s.recorded(t)
			})
		}
		t.Run("none of that touched the session", func(t *testing.T) {
			b.post("/auth/token", "").want(t, http.StatusOK, inCookies)
		})
		t.Run("token transport beside cookies needs its body", func(t *testing.T) {
			r := b.post("/auth/token", refreshBody(token), transportHeader, "token")
			token = r.field(t, "refresh_token")
			r.sets(t)
			b.post("/auth/token", "", transportHeader, "token").refused(t, fault.MalformedRequest)
			b.post("/auth/token", refreshBody(token), transportHeader, "token", "Authorization", "Bearer x").field(t, "access_token")
		})
		t.Run("forms are not for browsers", func(t *testing.T) {
			b.post("/auth/token", "grant_type=client_credentials", "Content-Type", "multipart/form-data; boundary=x").refused(t, fault.UnsupportedMediaType)
			if r := b.post("/auth/token", "grant_type=client_credentials", "Content-Type", "application/x-www-form-urlencoded"); r.status != 401 || r.header.Get("Set-Cookie") != "" {
				t.Errorf("%d %v", r.status, r.header)
			}
		})
		t.Run("a session that has too many refreshes keeps its cookies", func(t *testing.T) {
			spent := other.without()
			s.clock.Advance(time.Minute)
			other.post("/auth/token", "")
			s.clock.Advance(11 * time.Second)
			for range 10 {
				spent.without().post("/auth/token", "").want(t, http.StatusOK, inCookies)
				s.clock.Advance(11 * time.Second)
			}
			r := spent.post("/auth/token", "")
			r.refused(t, fault.RateLimited)
			r.sets(t)
		})
		t.Run("a stolen cookie ends the session", func(t *testing.T) {
			r := other.post("/auth/token", "") // its successor died when the old one was tried again
			r.refused(t, fault.SessionExpired)
			r.sets(t)
		})
	})
}

func TestCookieLogout(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newBrowserAPI(t, d)
		s.verified(t, "ann@example.com")
		b, other := s.tab(), s.tab()
		b.login(t, "ann@example.com")
		other.login(t, "ann@example.com")
		s.events(t)

		stolen := b.without(csrfCookie)
		stolen.cookies[csrfCookie] = other.cookies[csrfCookie]
		mixed := b.without(accessCookie)
		mixed.cookies[accessCookie] = other.cookies[accessCookie]
		for _, row := range []struct {
			name    string
			tab     *tab
			body    string
			headers []string
			code    fault.Code
			fields  []fault.Field
			cleared []string
		}{
			{"without the CSRF header", b, "", []string{csrfHeader, ""}, fault.InvalidCSRFToken, nil, nil},
			{"with the CSRF token of another session", stolen, "", nil, fault.InvalidCSRFToken, nil, nil},
			{"from another site", b, "", []string{"Sec-Fetch-Site", "cross-site"}, fault.InvalidCSRFToken, nil, nil},
			{"with a bearer token", b, "", []string{"Authorization", "Bearer x"}, fault.AmbiguousTransport, nil, nil},
			{"with a body that is malformed", b, "{}", nil, fault.ValidationError, []fault.Field{{Field: "refresh_token", Message: "is required"}}, nil},
			{"with neither cookie", b.without(accessCookie, refreshCookie), "", []string{transportHeader, "cookie"}, fault.InvalidToken, nil, cleared},
			{"with the access cookie only", b.without(refreshCookie), "", nil, fault.InvalidToken, nil, cleared},
			{"with garbage in the refresh cookie", b, "", []string{"Cookie", refreshCookie + "=rt_x; " + csrfCookie + "=x", csrfHeader, "x"}, fault.InvalidToken, nil, cleared},
			{"with cookies of two sessions", mixed, "", nil, fault.InvalidToken, nil, cleared},
		} {
			t.Run(row.name, func(t *testing.T) {
				r := row.tab.without().post("/auth/logout", row.body, row.headers...)
				r.refused(t, row.code, row.fields...)
				r.sets(t, row.cleared...)
				s.recorded(t)
			})
		}
		t.Run("none of that ended a session", func(t *testing.T) {
			b.send("GET", "/auth/sessions", "").want(t, http.StatusOK, b.send("GET", "/auth/sessions", "").body)
			other.post("/auth/token", "").want(t, http.StatusOK, inCookies)
		})
		t.Run("the refresh cookie alone ends the session", func(t *testing.T) {
			b.without(accessCookie).post("/auth/logout", "").want(t, http.StatusNoContent, "")
			s.recorded(t,
				`token.refreshed by ann@example.com {"provider":"password","session_id":"<id>"}`,
				`token.issued by ann@example.com {"provider":"password","token_kind":"refresh"}`,
				`user.logout by ann@example.com {"provider":"password","session_id":"<id>"}`, `session.revoked by ann@example.com on ann@example.com {"provider":"password","reason":"logout","session_id":"<id>"}`)
		})
		t.Run("again it is no error and no event, and the cookies go", func(t *testing.T) {
			r := b.post("/auth/logout", "")
			r.want(t, http.StatusNoContent, "")
			r.sets(t, cleared...)
			s.recorded(t)
		})
		t.Run("an expired access cookie does not matter", func(t *testing.T) {
			s.clock.Advance(time.Hour)
			r := other.post("/auth/logout", "null")
			r.want(t, http.StatusNoContent, "")
			r.sets(t, cleared...)
			s.recorded(t, `user.logout by ann@example.com {"provider":"password","session_id":"<id>"}`, `session.revoked by ann@example.com on ann@example.com {"provider":"password","reason":"logout","session_id":"<id>"}`)
		})
		t.Run("token transport sets no cookies, beside cookies either", func(t *testing.T) {
			third := s.tab()
			third.login(t, "ann@example.com")
			access, refresh := s.login(t, "ann@example.com")
			s.events(t)
			r := third.post("/auth/logout", refreshBody(refresh), append(bearer(access), transportHeader, "token")...)
			r.want(t, http.StatusNoContent, "")
			r.sets(t)
			third.post("/auth/token", "").want(t, http.StatusOK, inCookies)
		})
	})
}

// A CSRF token for a session that is over, or was never, is one for the next.
func TestCSRFTokenWithoutASession(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newBrowserAPI(t, d)
		s.verified(t, "ann@example.com")
		b := s.tab()
		b.login(t, "ann@example.com")
		over := b.without()
		b.post("/auth/logout", "").want(t, http.StatusNoContent, "")
		before := over.cookies[csrfCookie]
		if over.csrf(t) == before {
			t.Error("the token of a session that is over")
		}
		over.cookies[refreshCookie] = "garbage"
		over.csrf(t)
		over.login(t, "ann@example.com")
		over.post("/auth/token", "").want(t, http.StatusOK, inCookies)
	})
}

func TestSwitchedOffCookiesAreNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newBrowserAPI(t, d)
		s.verified(t, "ann@example.com")
		b := s.tab()
		b.login(t, "ann@example.com")
		s.Browser.Enabled = false
		s.mount()
		r := b.send("GET", "/auth/csrf", "")
		r.refused(t, fault.NotFound)
		r.sets(t)
		r = b.post("/auth/login", credentials("ann@example.com", good), transportHeader, "cookie", "Authorization", "Bearer x")
		r.sets(t)
		b.post("/auth/token", refreshBody(r.field(t, "refresh_token"))).field(t, "access_token")
		b.post("/auth/token", "").refused(t, fault.MalformedRequest)
		b.post("/auth/logout", "", transportHeader, "cookie").refused(t, fault.InvalidToken)
		b.send("GET", "/auth/sessions", "").refused(t, fault.InvalidToken)
	})
}
