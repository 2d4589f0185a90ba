package authsdk

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// whoami answers with the identity it finds.
var whoami = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	id, ok := LookupIdentity(r.Context())
	json.NewEncoder(w).Encode(fields{"found": ok, "id": id.UserID + id.ClientID})
})

func serve(h http.Handler, method string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/", nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestGuards(t *testing.T) {
	authd := newFakeAuthd(t)
	c := authd.client(t)
	user := "Bearer " + authd.mint(userClaims())
	admin := "Bearer " + authd.mint(userClaims().with(fields{"role": "admin"}))
	service := "Bearer " + authd.mint(serviceClaims())
	aged := func(age time.Duration) string {
		return "Bearer " + authd.mint(userClaims().with(fields{"auth_time": epoch.Add(-age).Unix()}))
	}
	fresh := c.RequireFreshAuth(5 * time.Minute)(whoami)
	admins := c.RequireRole("admin")(whoami)

	for _, row := range []struct {
		name    string
		handler http.Handler
		bearer  string
		status  int
		code    string
	}{
		{"RequireUser lets a user through", c.RequireUser(whoami), user, 200, ""},
		{"RequireUserFunc, too", c.RequireUserFunc(whoami), user, 200, ""},
		{"RequireUser refuses a service", c.RequireUser(whoami), service, 401, "invalid_token"},
		{"RequireUser refuses a stranger", c.RequireUser(whoami), "", 401, "invalid_token"},
		{"RequireService lets a service through", c.RequireService(whoami), service, 200, ""},
		{"RequireService refuses a user", c.RequireService(whoami), user, 401, "invalid_token"},
		{"RequireAny lets a user through", c.RequireAny(whoami), user, 200, ""},
		{"RequireAny lets a service through", c.RequireAny(whoami), service, 200, ""},
		{"RequireAny refuses a stranger", c.RequireAny(whoami), "", 401, "invalid_token"},
		{"Handler refuses a stranger", c.Handler(whoami), "", 401, "invalid_token"},

		{"RequireRole alone authenticates", admins, admin, 200, ""},
		{"RequireRole alone refuses a stranger", admins, "", 401, "invalid_token"},
		{"RequireRole refuses another role", admins, user, 403, "insufficient_role"},
		{"RequireRole knows no hierarchy", c.RequireRole("user")(whoami), admin, 403, "insufficient_role"},
		{"RequireRole accepts one of several", c.RequireRole("user", "admin")(whoami), admin, 200, ""},
		{"RequireRole of nothing refuses all", c.RequireRole()(whoami), admin, 403, "insufficient_role"},
		{"RequireRole service lets a service through", c.RequireRole("service")(whoami), service, 200, ""},

		{"RequireFreshAuth lets a fresh user through", fresh, user, 200, ""},
		{"RequireFreshAuth alone refuses a stranger", fresh, "", 401, "invalid_token"},
		{"RequireFreshAuth accepts the very limit", fresh, aged(5 * time.Minute), 200, ""},
		{"RequireFreshAuth refuses a second more", fresh, aged(5*time.Minute + time.Second), 403, "reauth_required"},
		{"RequireFreshAuth accepts the future", fresh, aged(-time.Hour), 200, ""},
		{"RequireFreshAuth refuses a service", fresh, service, 401, "invalid_token"},

		{"guards add up", c.RequireUser(c.RequireRole("admin")(fresh)), admin, 200, ""},
		{"RequireRole before RequireFreshAuth has its say", c.RequireRole("admin")(fresh), aged(time.Hour), 403, "insufficient_role"},
		{"RequireUser inside RequireAny refuses a service", c.RequireAny(c.RequireUser(whoami)), service, 401, "invalid_token"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := serve(row.handler, "GET", "Authorization", row.bearer)
			var body struct{ Code string }
			json.Unmarshal(w.Body.Bytes(), &body)
			if w.Code != row.status || body.Code != row.code {
				t.Errorf("got %d %s, want %d %q", w.Code, w.Body, row.status, row.code)
			}
		})
	}
}

func TestErrorAnswers(t *testing.T) {
	authd := newFakeAuthd(t)
	c := authd.client(t)
	down := newFakeAuthd(t)
	down.Close()
	user := "Bearer " + authd.mint(userClaims().with(fields{"auth_time": 1}))
	old := "Bearer " + authd.mint(userClaims().with(fields{"exp": 1}))

	for _, row := range []struct {
		name    string
		handler http.Handler
		bearer  string
		status  int
		body    string
		header  map[string]string
	}{
		{"no token", c.RequireUser(whoami), "", 401, `{"detail":"Invalid token.","code":"invalid_token"}`,
			map[string]string{"WWW-Authenticate": "Bearer"}},
		{"a bad token", c.RequireUser(whoami), "Bearer x", 401, `{"detail":"Invalid token.","code":"invalid_token"}`,
			map[string]string{"WWW-Authenticate": `Bearer error="invalid_token"`}},
		{"an expired token", c.RequireUser(whoami), old, 401, `{"detail":"Token has expired.","code":"token_expired"}`,
			map[string]string{"WWW-Authenticate": `Bearer error="invalid_token"`}},
		{"the wrong role", c.RequireRole("admin")(whoami), user, 403, `{"detail":"Insufficient role","code":"insufficient_role"}`, nil},
		{"a login of long ago", c.RequireFreshAuth(time.Minute)(whoami), user, 403, `{"detail":"Re-authentication required","code":"reauth_required"}`,
			map[string]string{"X-Reauth-Required": "true"}},
		{"an outage", down.client(t).RequireUser(whoami), user, 503, `{"detail":"Auth service unavailable.","code":"service_unavailable"}`,
			map[string]string{"Retry-After": "1"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := serve(row.handler, "GET", "Authorization", row.bearer)
			if w.Code != row.status || w.Body.String() != row.body {
				t.Errorf("got  %d %s\nwant %d %s", w.Code, w.Body, row.status, row.body)
			}
			want := map[string]string{
				"Content-Type": "application/json", "Cache-Control": "no-store",
				"WWW-Authenticate": "", "Retry-After": "", "X-Reauth-Required": "",
			}
			for name, value := range row.header {
				want[name] = value
			}
			for name, value := range want {
				if got := w.Header().Get(name); got != value {
					t.Errorf("%s: got %q, want %q", name, got, value)
				}
			}
		})
	}
}

func TestTokenSources(t *testing.T) {
	authd := newFakeAuthd(t)
	header := authd.mint(userClaims().with(fields{"sub": "from-header"}))
	cookie := authd.mint(userClaims().with(fields{"sub": "from-cookie"}))
	headerFirst := TokenSources("authorization", "cookie")
	cookieFirst := TokenSources(" Cookie ", "AUTHORIZATION", "cookie")
	const name = "__Host-auth_access="

	for _, row := range []struct {
		name           string
		opts           []Option
		bearer, cookie string
		id             string // empty: refused
	}{
		{"the header is read", nil, "Bearer " + header, "", "from-header"},
		{"the scheme may be in any case", nil, "bEARER " + header, "", "from-header"},
		{"space around the token is trimmed", nil, "Bearer   " + header + "  ", "", "from-header"},
		{"another scheme is no token", nil, "Basic " + header, "", ""},
		{"a scheme that is not ASCII is no token", nil, "Beárer " + header, "", ""},
		{"a token without scheme is no token", nil, header, "", ""},
		{"cookies are ignored unless asked for", nil, "", name + cookie, ""},
		{"an empty list is the default", []Option{TokenSources()}, "", name + cookie, ""},
		{"the cookie is read if asked for", []Option{headerFirst}, "", name + cookie, "from-cookie"},
		{"header before cookie", []Option{headerFirst}, "Bearer " + header, name + cookie, "from-header"},
		{"cookie before header", []Option{cookieFirst}, "Bearer " + header, name + cookie, "from-cookie"},
		{"a bad header never falls through to a good cookie", []Option{headerFirst}, "Bearer x", name + cookie, ""},
		{"a bad cookie never falls through to a good header", []Option{cookieFirst}, "Bearer " + header, name + "x", ""},
		{"another scheme does fall through", []Option{headerFirst}, "Basic eDp5", name + cookie, "from-cookie"},
		{"an empty bearer does fall through", []Option{headerFirst}, "Bearer ", name + cookie, "from-cookie"},
		{"an empty cookie does fall through", []Option{cookieFirst}, "Bearer " + header, name, "from-header"},
		{"the cookie's name can be set", []Option{cookieFirst, AccessCookieName("auth_access")}, "", "auth_access=" + cookie, "from-cookie"},
		{"then the default name is ignored", []Option{cookieFirst, AccessCookieName("auth_access")}, "", name + cookie, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := serve(authd.client(t, row.opts...).RequireUser(whoami), "GET", "Authorization", row.bearer, "Cookie", row.cookie)
			var body struct{ ID string }
			json.Unmarshal(w.Body.Bytes(), &body)
			if body.ID != row.id || (w.Code == 200) != (row.id != "") {
				t.Errorf("got %d %s, want %q", w.Code, w.Body, row.id)
			}
			if row.id == "from-cookie" && authd.lastValidated.Get("Authorization") != "Bearer "+cookie {
				t.Error("the cookie's token was not forwarded as a bearer")
			}
		})
	}
}

func TestHandlerLetsPreflightsPass(t *testing.T) {
	authd := newFakeAuthd(t)
	c := authd.client(t)
	h := c.Handler(whoami)
	if w := serve(h, "OPTIONS", "Access-Control-Request-Method", "PUT"); w.Code != 200 || w.Body.String() != `{"found":false,"id":""}`+"\n" {
		t.Errorf("preflight: got %d %s", w.Code, w.Body)
	}
	if w := serve(h, "OPTIONS"); w.Code != 401 {
		t.Errorf("OPTIONS that is no preflight: got %d, want 401", w.Code)
	}
	if w := serve(h, "GET", "Access-Control-Request-Method", "PUT"); w.Code != 401 {
		t.Errorf("GET: got %d, want 401", w.Code)
	}
	if w := serve(c.RequireUser(whoami), "OPTIONS", "Access-Control-Request-Method", "PUT"); w.Code != 401 {
		t.Errorf("preflight at RequireUser: got %d, want 401", w.Code)
	}
}

func TestInnerGuardsDoNotVerifyAgain(t *testing.T) {
	authd := newFakeAuthd(t)
	c, other := authd.client(t), authd.client(t, Audience("payroll-api"))
	bearer := "Bearer " + authd.mint(userClaims())
	if w := serve(c.Handler(c.RequireUser(c.RequireRole("user")(whoami))), "GET", "Authorization", bearer); w.Code != 200 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if authd.validations != 1 {
		t.Errorf("%d session checks, want 1", authd.validations)
	}
	if w := serve(c.Handler(other.RequireUser(whoami)), "GET", "Authorization", bearer); w.Code != 401 {
		t.Errorf("another client's identity was trusted: %d", w.Code)
	}
}

func TestIdentityIsACopy(t *testing.T) {
	authd := newFakeAuthd(t)
	h := authd.client(t).RequireUser(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		IdentityFrom(r.Context()).Scopes[0] = "root"
		if got := IdentityFrom(r.Context()).Scopes[0]; got != "orders:read" {
			t.Errorf("a handler changed the scopes of the next to %q", got)
		}
	}))
	serve(h, "GET", "Authorization", "Bearer "+authd.mint(userClaims()))
	if id, ok := LookupIdentity(t.Context()); ok || id.Type != "" {
		t.Errorf("an identity out of nowhere: %+v", id)
	}
}

func TestOnRefusalLearnsTheReason(t *testing.T) {
	authd := newFakeAuthd(t)
	var got []string
	c := authd.client(t, OnRefusal(func(_ *http.Request, e *Error) { got = append(got, e.Error()) }))
	serve(c.RequireUser(whoami), "GET", "Authorization", "Bearer "+authd.mint(userClaims().with(fields{"aud": "x"})))
	serve(c.RequireUser(whoami), "GET", "Authorization", "Bearer "+authd.mint(userClaims()))
	want := "authsdk: 401 invalid_token: aud does not name this service"
	if len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
