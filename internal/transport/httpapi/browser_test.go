package httpapi_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/transport/httpapi"
)

const (
	accessCookie  = "__Host-auth_access"
	refreshCookie = "__Host-auth_refresh"
	csrfCookie    = "__Host-auth_csrf"

	inCookies = `{"authenticated":true,"session_transport":"cookie"}`
)

// newBrowserAPI is newAPI with sessions in cookies.
func newBrowserAPI(t testing.TB, d *db.DB) *service {
	t.Helper()
	s := newAPI(t, d)
	s.Browser = browser
	s.mount()
	return s
}

// tab is a page in a browser: it keeps cookies, and its script repeats the CSRF
// cookie in the header.
type tab struct {
	s       *service
	cookies map[string]string
}

func (s *service) tab() *tab { return &tab{s, map[string]string{}} }

// without is the same browser with some cookies gone.
func (b *tab) without(names ...string) *tab {
	other := b.s.tab()
	for name, value := range b.cookies {
		if !slices.Contains(names, name) {
			other.cookies[name] = value
		}
	}
	return other
}

// send sends a request as the page does; headers come in pairs and win, an empty
// one is left out.
func (b *tab) send(method, target, body string, headers ...string) reply {
	r := request(method, target, body)
	var cookies []string
	for name, value := range b.cookies {
		cookies = append(cookies, name+"="+value)
	}
	given := append([]string{
		"Cookie", strings.Join(cookies, "; "), "Sec-Fetch-Site", "same-origin", csrfHeader, b.cookies[csrfCookie],
	}, headers...)
	for i := 0; i < len(given); i += 2 {
		r.Header.Set(given[i], given[i+1])
	}
	for name, values := range r.Header {
		if values[0] == "" {
			delete(r.Header, name)
		}
	}
	got := b.s.send(r)
	for _, c := range (&http.Response{Header: got.header}).Cookies() {
		if b.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	return got
}

func (b *tab) post(target, body string, headers ...string) reply {
	return b.send("POST", target, body, headers...)
}

// csrf gets a token.
func (b *tab) csrf(t testing.TB) string {
	t.Helper()
	return b.send("GET", "/auth/csrf", "").field(t, "csrf_token")
}

// login signs in with cookies.
func (b *tab) login(t testing.TB, email string) {
	t.Helper()
	b.csrf(t)
	b.post("/auth/login", credentials(email, good), transportHeader, "cookie").want(t, http.StatusOK, inCookies)
}

// sets compares the cookies that an answer sets, with their attributes.
func (r reply) sets(t testing.TB, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, r.header["Set-Cookie"]); diff != "" {
		t.Errorf("cookies (-want +got):\n%s", diff)
	}
}

// cleared are the cookies of an answer that signs a browser out.
var cleared = []string{
	accessCookie + "=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; HttpOnly; Secure; SameSite=Lax",
	refreshCookie + "=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; HttpOnly; Secure; SameSite=Lax",
	csrfCookie + "=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Secure; SameSite=Lax",
}

func TestBrowserSession(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newBrowserAPI(t, d)
		s.signUp(t, "ann@example.com")
		s.Signin.RequireVerified = false
		b := s.tab()
		session := func() []string {
			return []string{
				accessCookie + "=" + b.cookies[accessCookie] + "; Path=/; Max-Age=900; HttpOnly; Secure; SameSite=Lax",
				refreshCookie + "=" + b.cookies[refreshCookie] + "; Path=/; Max-Age=604800; HttpOnly; Secure; SameSite=Lax",
			}
		}
		s.events(t)

		var csrf string
		t.Run("the CSRF token is new each time, 32 random bytes, and a cookie that scripts can read", func(t *testing.T) {
			first := b.csrf(t)
			r := b.send("GET", "/auth/csrf", "")
			csrf = r.field(t, "csrf_token")
			if raw, err := base64.RawURLEncoding.DecodeString(csrf); err != nil || len(raw) != 32 || csrf == first {
				t.Errorf("%q after %q", csrf, first)
			}
			r.want(t, http.StatusOK, fmt.Sprintf(`{"csrf_token":%q}`, csrf))
			r.sets(t, csrfCookie+"="+csrf+"; Path=/; Secure; SameSite=Lax")
		})
		t.Run("signing in puts the tokens in cookies and nowhere else", func(t *testing.T) {
			r := b.post("/auth/login", credentials("ann@example.com", good), transportHeader, "cookie")
			r.want(t, http.StatusOK, inCookies)
			r.sets(t, session()...)
			s.recorded(t,
				`user.login.success by ann@example.com {"provider":"password"}`,
				`session.created by ann@example.com on a session {"provider":"password"}`,
				`token.issued by ann@example.com {"provider":"password","token_kind":"login"}`)
		})
		t.Run("the token of before is the session's: it needs no second one", func(t *testing.T) {
			if again := b.csrf(t); again != csrf {
				t.Errorf("%s, want %s", again, csrf)
			}
			b.post("/auth/verify-email/resend", "").want(t, http.StatusOK, sent)
		})
		t.Run("what is read needs no CSRF token, and no header", func(t *testing.T) {
			r := b.without(csrfCookie).send("GET", "/auth/sessions", "", "Sec-Fetch-Site", "cross-site")
			if r.status != http.StatusOK || strings.Count(r.body, `"is_current":true`) != 1 {
				t.Errorf("%d %s", r.status, r.body)
			}
		})
		t.Run("services are asked with bearer tokens only", func(t *testing.T) {
			r := b.send("GET", "/auth/validate", "")
			r.refused(t, fault.InvalidToken)
			s.get("/auth/validate", bearer(b.cookies[accessCookie])...).want(t, http.StatusNoContent, "")
		})
		t.Run("an expired access cookie is told as the token is", func(t *testing.T) {
			s.clock.Advance(accessTTL + time.Minute)
			r := b.post("/auth/verify-email/resend", "")
			r.refused(t, fault.TokenExpired)
			r.sets(t)
			if got := r.header.Get("WWW-Authenticate"); got != "Bearer" { // no bearer token came that could be bad
				t.Errorf("WWW-Authenticate: %q", got)
			}
		})
		t.Run("a refresh looks at no body", func(t *testing.T) {
			for _, body := range []string{"", "garbage \xff", "{}", refreshBody("rt_0123456789abcdef")} {
				before := b.cookies[refreshCookie]
				r := b.post("/auth/token", body, "Content-Type", "text/plain")
				r.want(t, http.StatusOK, inCookies)
				r.sets(t, session()...)
				if b.cookies[refreshCookie] == before {
					t.Error("the same refresh token")
				}
			}
			b.post("/auth/verify-email/resend", "").want(t, http.StatusOK, sent)
		})
		t.Run("a lost CSRF cookie is replaced: the new token is the session's, the old one is not", func(t *testing.T) {
			lost := b.without(csrfCookie)
			if token := lost.csrf(t); token == csrf {
				t.Error("the same token")
			}
			b.post("/auth/token", "").refused(t, fault.InvalidCSRFToken)
			lost.post("/auth/token", "").want(t, http.StatusOK, inCookies)
			b = lost
		})
		t.Run("signing out ends the session and deletes the cookies", func(t *testing.T) {
			s.events(t)
			old := b.without()
			r := b.post("/auth/logout", "")
			r.want(t, http.StatusNoContent, "")
			r.sets(t, cleared...)
			s.recorded(t, `user.logout by ann@example.com {"provider":"password","session_id":"<id>"}`, `session.revoked by ann@example.com on ann@example.com {"provider":"password","reason":"logout","session_id":"<id>"}`)
			if len(b.cookies) != 0 {
				t.Errorf("left: %v", b.cookies)
			}
			old.send("GET", "/auth/sessions", "").refused(t, fault.SessionExpired)
		})
	})
}

func TestLoginTransport(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newBrowserAPI(t, d)
		s.verified(t, "ann@example.com")
		signedIn := s.tab()
		signedIn.login(t, "ann@example.com")
		csrfOnly := s.tab()
		csrfOnly.csrf(t)

		for _, row := range []struct {
			name    string
			tab     *tab
			headers []string
			code    fault.Code // zero: tokens in the body if want is empty
			want    string
		}{
			{"nothing is token transport", s.tab(), nil, fault.Code{}, ""},
			{"a stray CSRF cookie and header do not switch", csrfOnly, nil, fault.Code{}, ""},
			{"the header chooses cookies", csrfOnly, []string{transportHeader, " Cookie "}, fault.Code{}, inCookies},
			{"a session cookie chooses cookies", signedIn, nil, fault.Code{}, inCookies},
			{"an explicit token header is token transport", signedIn, []string{transportHeader, "token"}, fault.Code{}, ""},
			{"even with a bearer token", signedIn, []string{transportHeader, "TOKEN", "Authorization", "Bearer x"}, fault.Code{}, ""},
			{"a bearer token with a session cookie is ambiguous", signedIn, []string{"Authorization", "Bearer x"}, fault.AmbiguousTransport, ""},
			{"so it is with the cookie header", signedIn, []string{"Authorization", "Bearer x", transportHeader, "cookie"}, fault.AmbiguousTransport, ""},
			{"a bearer token alone is not", s.tab(), []string{"Authorization", "Bearer x"}, fault.Code{}, ""},
			{"nor with a CSRF cookie", csrfOnly, []string{"Authorization", "Bearer x"}, fault.Code{}, ""},
			{"cookies need the CSRF cookie", s.tab(), []string{transportHeader, "cookie", csrfHeader, "x"}, fault.InvalidCSRFToken, ""},
			{"and the CSRF header", csrfOnly, []string{transportHeader, "cookie", csrfHeader, ""}, fault.InvalidCSRFToken, ""},
			{"and that they agree", csrfOnly, []string{transportHeader, "cookie", csrfHeader, "x"}, fault.InvalidCSRFToken, ""},
			{"and a page of ours", csrfOnly, []string{transportHeader, "cookie", "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, fault.InvalidCSRFToken, ""},
			{"such as one on the list", csrfOnly, []string{transportHeader, "cookie", "Sec-Fetch-Site", "cross-site", "Origin", "https://app.example.com"}, fault.Code{}, inCookies},
			{"or one of a client that tells neither", csrfOnly, []string{transportHeader, "cookie", "Sec-Fetch-Site", ""}, fault.Code{}, inCookies},
			{"bytes that are no text are a wrong token", csrfOnly, []string{transportHeader, "cookie", csrfHeader, "\xff\xfe"}, fault.InvalidCSRFToken, ""},
			{"and no transport", csrfOnly, []string{transportHeader, "\xff\xfe"}, fault.Code{}, ""},
		} {
			t.Run(row.name, func(t *testing.T) {
				s.clock.Advance(time.Minute)
				s.events(t)
				r := row.tab.without().post("/auth/login", credentials("ann@example.com", good), row.headers...)
				switch {
				case row.code.Status != 0:
					r.refused(t, row.code)
					s.recorded(t)
					r.sets(t)
				case row.want != "":
					r.want(t, http.StatusOK, row.want)
				default:
					if r.field(t, "access_token") == "" || strings.Contains(r.body, "session_transport") {
						t.Error(r.body)
					}
					r.sets(t)
				}
			})
		}
		t.Run("what is malformed is told first", func(t *testing.T) {
			signedIn.post("/auth/login", "{}", csrfHeader, "").refused(t, fault.ValidationError,
				fault.Field{Field: "email", Message: "is required"}, fault.Field{Field: "password", Message: "is required"})
		})
		t.Run("a wrong password sets no cookie", func(t *testing.T) {
			r := csrfOnly.post("/auth/login", credentials("ann@example.com", "Wrong-Horse-7"), transportHeader, "cookie")
			r.refused(t, fault.InvalidCredentials)
			r.sets(t)
		})
		t.Run("a second step sets none either, in both transports", func(t *testing.T) {
			write(t, d, `UPDATE users SET email_otp_enabled = TRUE WHERE email_key = 'ann@example.com'`)
			for _, transport := range []string{"cookie", "token"} {
				r := csrfOnly.post("/auth/login", credentials("ann@example.com", good), transportHeader, transport)
				r.want(t, http.StatusOK, fmt.Sprintf(`{"otp_required":true,"challenge_token":%q,"masked_email":"a**@example.com"}`, r.field(t, "challenge_token")))
				r.sets(t)
			}
		})
	})
}

func write(t testing.TB, d *db.DB, statement string) {
	t.Helper()
	err := d.Write(context.Background(), func(tx *db.Tx) error {
		_, err := tx.ExecContext(context.Background(), statement)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Whoever has a token that other services see, too, cannot change an account.
func TestTokensForOtherServicesChangeNoAccount(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newBrowserAPI(t, d)
		s.verified(t, "ann@example.com")
		b := s.tab()
		b.csrf(t)
		body := fmt.Sprintf(`{"email":"ann@example.com","password":%q,"audience":"orders-api"}`, good)
		shared := bearer(s.post("/auth/login", body).field(t, "access_token"))
		b.post("/auth/login", body, transportHeader, "cookie").want(t, http.StatusOK, inCookies)

		s.post("/auth/users/me/erase", "", shared...).refused(t, fault.AudienceNotAllowed)
		b.post("/auth/users/me/erase", "").refused(t, fault.AudienceNotAllowed)
		b.post("/auth/users/me/erase", "", csrfHeader, "").refused(t, fault.InvalidCSRFToken)
		t.Run("but look at it", func(t *testing.T) {
			if r := s.get("/auth/sessions", shared...); r.status != http.StatusOK {
				t.Errorf("%d %s", r.status, r.body)
			}
			s.get("/auth/validate", shared...).want(t, http.StatusNoContent, "")
		})
		t.Run("unless the operator wants the old rule", func(t *testing.T) {
			s.SharedAudience = true
			if r := s.post("/auth/users/me/erase", "", shared...); r.status != 403 || strings.Contains(r.body, fault.AudienceNotAllowed.Slug) {
				t.Errorf("%d %s", r.status, r.body)
			}
		})
	})
}

// No route that takes cookies does anything for another site.
func TestEveryRouteThatTakesCookiesIsGuarded(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newBrowserAPI(t, d)
		s.verified(t, "ann@example.com")
		b := s.tab()
		b.login(t, "ann@example.com")
		bodies := map[string]string{ // what would be right
			"POST /auth/login":               credentials("ann@example.com", good),
			"POST /auth/logout":              "",
			"POST /auth/token":               "",
			"POST /auth/otp/verify/login":    `{"challenge_token":"0123456789abcdef","code":"123456"}`,
			"POST /auth/otp/request/action":  `{"action":"erase_account"}`,
			"POST /auth/otp/verify/action":   `{"action":"erase_account","code":"123456"}`,
			"POST /auth/otp/consume/action":  `{"action":"a:b","action_token":"0123456789abcdef"}`,
			"POST /auth/reauth":              `{"password":"` + good + `"}`,
			"POST /auth/password/change":     `{"current_password":"` + good + `","new_password":"Other-Horse-8"}`,
			"POST /auth/email/change":        `{"new_email":"new@example.com"}`,
			"DELETE /auth/sessions":          "",
			"POST /auth/verify-email/resend": "",

			"POST /admin/users":                                     `{"email":"new@example.com"}`,
			"PATCH /admin/users/{user_id}":                          `{"role":"admin"}`,
			"POST /admin/clients":                                   `{"name":"a","scopes":["orders:read"]}`,
			"PATCH /admin/clients/{client_id}":                      `{"name":"b"}`,
			"POST /auth/apikeys":                                    `{"name":"a","scope":"orders:read"}`,
			"POST /admin/api-keys":                                  `{"name":"a","scope":"orders:read"}`,
			"POST /admin/webhooks":                                  `{"name":"a","url":"https://example.com/"}`,
			"PATCH /admin/webhooks/{id}":                            `{"name":"b"}`,
			"POST /webhooks":                                        `{"name":"a","url":"https://example.com/"}`,
			"PATCH /admin/users/{user_id}/otp":                      `{"email_otp_enabled":true}`,
			"POST /admin/users/{user_id}/sessions/revoke-by-filter": `{"is_suspicious":true}`,
		}
		guarded := 0
		for _, r := range s.Routes() {
			if !slices.Contains(r.Codes(), fault.InvalidCSRFToken) {
				continue
			}
			guarded++
			ours := at(r, "")
			for _, headers := range [][]string{{csrfHeader, ""}, {"Sec-Fetch-Site", "cross-site"}, {"Cookie", accessCookie + "=" + b.cookies[accessCookie]}} {
				got := b.without().send(ours.Method, ours.URL.Path, bodies[r.Pattern], headers...)
				if got.status != http.StatusForbidden || got.field(t, "code") != fault.InvalidCSRFToken.Slug {
					t.Errorf("%s with %q: %d %s (if it says what is wrong with the body: add the right one above)", r.Pattern, headers, got.status, got.body)
				}
			}
			got := b.without().send(ours.Method, ours.URL.Path, bodies[r.Pattern], "Authorization", "Bearer x")
			if got.status != http.StatusBadRequest || got.field(t, "code") != fault.AmbiguousTransport.Slug {
				t.Errorf("%s with two credentials: %d %s", r.Pattern, got.status, got.body)
			}
		}
		if guarded < 5 {
			t.Fatalf("only %d routes", guarded)
		}
		b.post("/auth/token", "").want(t, http.StatusOK, inCookies)
	})
}

// Whatever stands in the headers that say who is calling, no answer is one that
// the route does not declare, and without the session's own CSRF token nothing is
// done for a cookie.
func FuzzBrowser(f *testing.F) {
	s := fuzzed(f)
	s.Browser = browser
	s.mount()
	s.post("/auth/signup", credentials("ann@example.com", good))
	s.Signin.RequireVerified = false
	b := s.tab()
	b.login(f, "ann@example.com")
	session := accessCookie + "=" + b.cookies[accessCookie] + "; " + refreshCookie + "=" + b.cookies[refreshCookie] + "; "
	bad := []string{"", "x", "\xff\xfe", "\x00", "é", " ", "\"", strings.Repeat("a", 9000)}
	for _, value := range bad {
		f.Add("", session+csrfCookie+"="+value, "cookie", value, "same-origin", "")
		f.Add("Bearer "+value, value, value, value, value, value)
		f.Add("", accessCookie+"="+value+"; "+refreshCookie+"="+value+"; "+csrfCookie+"=c", "", "c", "", "https://app.example.com")
	}
	f.Add("Bearer x", session, "token", "c", "cross-site", "null")
	var routes []httpapi.Route
	for _, r := range s.Routes() {
		if r.Pattern != "POST /auth/signup" && r.Auth != httpapi.Local {
			routes = append(routes, r)
		}
	}
	f.Fuzz(func(t *testing.T, authorization, cookie, transport, csrf, site, origin string) {
		if strings.Contains(cookie, b.cookies[csrfCookie]) {
			t.Skip("it is the browser itself")
		}
		for _, r := range routes {
			req := at(r, credentials("ann@example.com", "Wrong-Horse-7"))
			for name, value := range map[string]string{
				"Authorization": authorization, "Cookie": cookie, transportHeader: transport, "X-Csrf-Token": csrf, "Sec-Fetch-Site": site, "Origin": origin,
			} {
				req.Header[name] = []string{value}
			}
			got := s.send(req)
			keeps(t, r.Pattern, r, got)
			if got.status == r.Status && slices.Contains(r.Codes(), fault.InvalidCSRFToken) {
				t.Errorf("%s: done: %s", r.Pattern, got.body)
			}
		}
	})
}
