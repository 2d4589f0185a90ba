package authsdk

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestCSRF(t *testing.T) {
	authd := newFakeAuthd(t)
	token := authd.mint(userClaims())
	bearer := "Bearer " + token
	const (
		host    = "http://app.example.com"
		session = "__Host-auth_access="
		doubled = "; __Host-auth_csrf=abc"
	)
	cookies := session + token + doubled
	type header = map[string]string
	both := TokenSources("authorization", "cookie")
	cookieFirst := TokenSources("cookie", "authorization")

	for _, row := range []struct {
		name   string
		opts   []Option
		method string
		header header
		status int
	}{
		{"the cookie repeated in the header passes", nil, "POST", header{"Cookie": cookies, "X-CSRF-Token": "abc"}, 200},
		{"space around the header is trimmed", nil, "POST", header{"Cookie": cookies, "X-CSRF-Token": " abc "}, 200},
		{"no header is refused", nil, "POST", header{"Cookie": cookies}, 403},
		{"an empty header is refused", nil, "POST", header{"Cookie": cookies, "X-CSRF-Token": " "}, 403},
		{"another header is refused", nil, "POST", header{"Cookie": cookies, "X-CSRF-Token": "abd"}, 403},
		{"the beginning of it is refused", nil, "POST", header{"Cookie": cookies, "X-CSRF-Token": "ab"}, 403},
		{"other case is refused", nil, "POST", header{"Cookie": cookies, "X-CSRF-Token": "ABC"}, 403},
		{"bytes that are not ASCII are refused", nil, "POST", header{"Cookie": cookies, "X-CSRF-Token": "äbc\xff"}, 403},
		{"no cookie is refused", nil, "POST", header{"Cookie": session + token, "X-CSRF-Token": "abc"}, 403},
		{"an empty cookie with an empty header is refused", nil, "POST", header{"Cookie": session + token + "; __Host-auth_csrf=", "X-CSRF-Token": ""}, 403},
		{"PUT is refused without", nil, "PUT", header{"Cookie": cookies}, 403},
		{"PATCH is refused without", nil, "PATCH", header{"Cookie": cookies}, 403},
		{"DELETE is refused without", nil, "DELETE", header{"Cookie": cookies}, 403},
		{"a method of one's own is refused without", nil, "BREW", header{"Cookie": cookies}, 403},
		{"a method in lower case is refused without", nil, "get", header{"Cookie": cookies}, 403},
		{"GET passes without", nil, "GET", header{"Cookie": cookies, "Origin": "https://evil.example"}, 200},
		{"HEAD passes without", nil, "HEAD", header{"Cookie": cookies}, 200},
		{"OPTIONS passes without", nil, "OPTIONS", header{"Cookie": cookies}, 200},
		{"TRACE passes without", nil, "TRACE", header{"Cookie": cookies}, 200},

		{"a bearer needs no CSRF token", nil, "POST", header{"Authorization": bearer}, 200},
		{"nor beside cookies, if it is what counts", nil, "POST", header{"Authorization": bearer, "Cookie": cookies, "Origin": "https://evil.example"}, 200},
		{"a junk bearer does not skip the check", []Option{cookieFirst}, "POST", header{"Authorization": "Bearer x", "Cookie": cookies}, 403},
		{"a bearer does not skip it if the cookie counts", []Option{cookieFirst}, "POST", header{"Authorization": bearer, "Cookie": cookies}, 403},
		{"another scheme does not skip it", nil, "POST", header{"Authorization": "Basic eDp5", "Cookie": cookies}, 403},
		{"a bad token is refused as such", nil, "POST", header{"Cookie": session + "x" + doubled}, 401},

		{"the names can be set", []Option{CSRFCookieName("auth_csrf"), CSRFHeaderName("X-XSRF")}, "POST",
			header{"Cookie": session + token + "; auth_csrf=abc", "X-XSRF": "abc"}, 200},
		{"then the default cookie counts for nothing", []Option{CSRFCookieName("auth_csrf")}, "POST", header{"Cookie": cookies, "X-CSRF-Token": "abc"}, 403},
		{"and the default header, too", []Option{CSRFHeaderName("X-XSRF")}, "POST", header{"Cookie": cookies, "X-CSRF-Token": "abc"}, 403},
		{"the check can be switched off", []Option{WithoutCSRF()}, "POST", header{"Cookie": cookies, "Sec-Fetch-Site": "cross-site"}, 200},

		{"the service's own page passes", nil, "POST", header{"Cookie": cookies, "X-CSRF-Token": "abc", "Sec-Fetch-Site": "same-origin"}, 200},
		{"behind whatever proxy", nil, "POST", header{"Cookie": cookies, "X-CSRF-Token": "abc", "Sec-Fetch-Site": "same-origin", "Origin": "https://shop.example.com"}, 200},
		{"but not without the token", nil, "POST", header{"Cookie": cookies, "Sec-Fetch-Site": "same-origin", "Origin": host}, 403},
		{"a page of the same site is refused, token or not", nil, "POST", header{"Cookie": cookies, "X-CSRF-Token": "abc", "Sec-Fetch-Site": "same-site"}, 403},
		{"a page of another site is refused, token or not", nil, "POST", header{"Cookie": cookies, "X-CSRF-Token": "abc", "Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403},
		{"the own origin passes", nil, "POST", header{"Cookie": cookies, "X-CSRF-Token": "abc", "Origin": host}, 200},
		{"with https, too: a proxy may have ended TLS", nil, "POST", header{"Cookie": cookies, "X-CSRF-Token": "abc", "Origin": "https://app.example.com"}, 200},
		{"in any case and with its port", nil, "POST", header{"Cookie": cookies, "X-CSRF-Token": "abc", "Origin": "HTTP://APP.example.com:80"}, 200},
		{"another port is another origin", nil, "POST", header{"Cookie": cookies, "X-CSRF-Token": "abc", "Origin": host + ":8080"}, 403},
		{"another origin is refused, token or not", nil, "POST", header{"Cookie": cookies, "X-CSRF-Token": "abc", "Origin": "https://evil.example"}, 403},
		{"one that begins alike is refused", nil, "POST", header{"Cookie": cookies, "X-CSRF-Token": "abc", "Origin": host + ".evil.example"}, 403},
		{"the origin null is refused", nil, "POST", header{"Cookie": cookies, "X-CSRF-Token": "abc", "Origin": "null"}, 403},
		{"an origin that is none is refused", nil, "POST", header{"Cookie": cookies, "X-CSRF-Token": "abc", "Origin": "http://%zz"}, 403},
		{"an origin of the list passes", []Option{AllowedOrigins("https://Admin.example.com:443")}, "POST",
			header{"Cookie": cookies, "X-CSRF-Token": "abc", "Origin": "https://admin.example.com", "Sec-Fetch-Site": "same-site"}, 200},
		{"but not under another scheme", []Option{AllowedOrigins("https://admin.example.com")}, "POST",
			header{"Cookie": cookies, "X-CSRF-Token": "abc", "Origin": "http://admin.example.com"}, 403},
		{"nor without the token", []Option{AllowedOrigins("https://admin.example.com")}, "POST",
			header{"Cookie": cookies, "Origin": "https://admin.example.com"}, 403},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := httptest.NewRequest(row.method, host+"/", nil)
			for name, value := range row.header {
				r.Header.Set(name, value)
			}
			w := httptest.NewRecorder()
			authd.client(t, append([]Option{both}, row.opts...)...).RequireUser(whoami).ServeHTTP(w, r)
			if w.Code != row.status {
				t.Errorf("got %d %s, want %d", w.Code, w.Body, row.status)
			}
			if want := `{"detail":"Invalid CSRF token.","code":"invalid_csrf_token"}`; w.Code == 403 && w.Body.String() != want {
				t.Errorf("got %s, want %s", w.Body, want)
			}
		})
	}
}

func TestOverTLSAPlainOriginIsAnother(t *testing.T) {
	authd := newFakeAuthd(t)
	h := authd.client(t, TokenSources("cookie")).RequireUser(whoami)
	for origin, status := range map[string]int{"https://app.example.com": 200, "http://app.example.com": 403} {
		r := httptest.NewRequest("POST", "https://app.example.com/", nil)
		r.TLS = &tls.ConnectionState{}
		r.Header.Set("Cookie", "__Host-auth_access="+authd.mint(userClaims())+"; __Host-auth_csrf=abc")
		r.Header.Set("X-CSRF-Token", "abc")
		r.Header.Set("Origin", origin)
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != status {
			t.Errorf("%s: got %d, want %d", origin, w.Code, status)
		}
	}
}

func TestEveryGuardChecksCSRF(t *testing.T) {
	authd := newFakeAuthd(t)
	c := authd.client(t, TokenSources("authorization", "cookie"))
	user := "__Host-auth_access=" + authd.mint(userClaims()) + "; __Host-auth_csrf=abc"
	service := "__Host-auth_access=" + authd.mint(serviceClaims()) + "; __Host-auth_csrf=abc"
	action := authd.mint(actionClaims())
	for _, row := range []struct {
		name    string
		handler http.Handler
		cookies string
	}{
		{"RequireUser", c.RequireUser(whoami), user},
		{"RequireUserFunc", c.RequireUserFunc(whoami), user},
		{"RequireService", c.RequireService(whoami), service},
		{"RequireAny", c.RequireAny(whoami), user},
		{"RequireRole", c.RequireRole("user")(whoami), user},
		{"RequireFreshAuth", c.RequireFreshAuth(time.Minute)(whoami), user},
		{"RequireActionToken", c.RequireActionToken("orders-api:refund")(whoami), user},
		{"Handler", c.Handler(whoami), user},
	} {
		t.Run(row.name, func(t *testing.T) {
			header := []string{"Cookie", row.cookies, "X-Action-Token", action}
			w := serve(row.handler, "POST", header...)
			var body struct{ Code string }
			json.Unmarshal(w.Body.Bytes(), &body)
			if w.Code != 403 || body.Code != "invalid_csrf_token" {
				t.Errorf("without CSRF token: got %d %s", w.Code, w.Body)
			}
			if w := serve(row.handler, "POST", append(header, "X-CSRF-Token", "abc")...); w.Code != 200 {
				t.Errorf("with CSRF token: got %d %s", w.Code, w.Body)
			}
		})
	}
}

func TestTransportFrom(t *testing.T) {
	authd := newFakeAuthd(t)
	c := authd.client(t, TokenSources("cookie", "authorization"))
	got := ""
	h := c.Handler(c.RequireUserFunc(func(_ http.ResponseWriter, r *http.Request) { got = TransportFrom(r.Context()) }))
	for want, header := range map[string][]string{
		"authorization": {"Authorization", "Bearer " + authd.mint(userClaims())},
		"cookie":        {"Cookie", "__Host-auth_access=" + authd.mint(userClaims())},
	} {
		if serve(h, "GET", header...); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := TransportFrom(t.Context()); got != "" {
		t.Errorf("a transport out of nowhere: %q", got)
	}
}

func TestOnRefusalLearnsWhichHalfOfCSRFFailed(t *testing.T) {
	authd := newFakeAuthd(t)
	var got []string
	h := authd.client(t, TokenSources("cookie"), OnRefusal(func(_ *http.Request, e *Error) { got = append(got, e.Error()) })).RequireUser(whoami)
	cookies := "__Host-auth_access=" + authd.mint(userClaims()) + "; __Host-auth_csrf=abc"
	serve(h, "POST", "Cookie", cookies)
	serve(h, "POST", "Cookie", cookies, "X-CSRF-Token", "abc", "Origin", "https://evil.example")
	want := []string{
		"authsdk: 403 invalid_csrf_token: the CSRF header does not repeat the CSRF cookie",
		"authsdk: 403 invalid_csrf_token: the request comes from a page of another origin",
	}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %q, want %q", got, want)
	}
}
