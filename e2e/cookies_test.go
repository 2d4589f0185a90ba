package e2e

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/e2e/authapi"
)

// tab is a page of a browser: cookies go with every request, and what changes
// something repeats the CSRF cookie, as docs/guides/browser-apps.md says.
type tab struct {
	*person
	jar map[string]string
}

const (
	cookieAnswer = `200 {"authenticated":true,"session_transport":"cookie"}`
	csrfHeader   = "X-CSRF-Token"
	transport    = "X-Auth-Session-Transport"
)

// open is a page that has fetched a CSRF token.
func (p *person) open() *tab {
	p.t.Helper()
	b := &tab{p, map[string]string{}}
	b.send("GET /auth/csrf", nil, `200 {"csrf_token":"<csrf>"}; cookies auth_csrf`)
	return b
}

// cookies is the Cookie header.
func (b *tab) cookies() string {
	var list []string
	for name, value := range b.jar {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return strings.Join(list, "; ")
}

// send is ask with the cookies, and keeps those of the answer. more wins over
// what a page sends by itself; an empty value sends nothing.
func (b *tab) send(request string, body any, want string, rows ...string) {
	b.t.Helper()
	b.sendWith(nil, request, body, want, rows...)
}

func (b *tab) sendWith(more []string, request string, body any, want string, rows ...string) authapi.Answer {
	b.t.Helper()
	header := map[string]string{"Cookie": b.cookies()}
	if !strings.HasPrefix(request, "GET ") {
		header[csrfHeader], header[transport] = b.jar["auth_csrf"], "cookie"
	}
	for i := 0; i < len(more); i += 2 {
		header[more[i]] = more[i+1]
	}
	p := b.person
	for name, value := range header {
		if value != "" {
			p = p.with(name, value)
		}
	}
	a := p.ask(request, body, want, rows...)
	for _, cookie := range (&http.Response{Header: a.Header}).Cookies() {
		if b.jar[cookie.Name] = cookie.Value; cookie.MaxAge < 0 {
			delete(b.jar, cookie.Name)
		}
	}
	if access := b.jar["auth_access"]; access != "" {
		_, c := claims(b.t, access)
		if sid := c["sid"].(string); b.names[sid] == "" {
			b.names[sid] = "new"
		}
	}
	return a
}

// sid of the session in the cookies.
func (b *tab) sid() string {
	_, c := claims(b.t, b.jar["auth_access"])
	return c["sid"].(string)
}

// signIn logs in; the rows' session has no name yet.
func (b *tab) signIn(name string) {
	b.t.Helper()
	b.sendWith(nil, "POST /auth/login", b.creds(password), cookieAnswer+`; cookies auth_access auth_refresh`,
		rowSuccess, `session.created ok me>session <uuid> `+byPassword, rowIssued)
	b.names[b.sid()] = name
}

func walkCookies(p *person) {
	const (
		login   = "POST /auth/login"
		badCSRF = `403 invalid_csrf_token`
		both    = `400 ambiguous_authentication_transport`
	)
	b := p.open()
	for _, more := range [][]string{
		{csrfHeader, ""}, {csrfHeader, strings.Repeat("x", 43)}, {"Cookie", ""},
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"},
	} {
		b.sendWith(more, login, p.creds(password), badCSRF)
	}
	b.signIn("first")
	for _, more := range [][]string{{"Sec-Fetch-Site", "same-origin"}, {"Origin", p.Base}, {"Sec-Fetch-Site", "same-origin", "Origin", "https://evil.example"}} {
		c := p.open()
		c.sendWith(more, login, p.creds(password), cookieAnswer+`; cookies auth_access auth_refresh`,
			rowSuccess, `session.created ok me>session <uuid> `+byPassword, rowIssued)
	}

	// A stray CSRF token does not choose cookies, a session cookie does.
	stray := p.open()
	stray.sendWith([]string{transport, ""}, login, p.creds(password), tokensAnswer, rowSuccess, `session.created ok me>session new `+byPassword, rowIssued)
	b.sendWith([]string{transport, ""}, "POST /auth/token", nil, cookieAnswer+`; cookies auth_access auth_refresh`,
		`token.refreshed ok me {"provider":"password","session_id":"first"}`, refreshIssued)
	b.sendWith([]string{transport, "TOKEN"}, "POST /auth/token", nil, `400 malformed_request`)
	b.sendWith([]string{transport, "banana", csrfHeader, ""}, "POST /auth/token", nil, badCSRF)

	// One credential, unless the header says that the bearer token counts.
	p.enter("bearer")
	bearer := []string{"Authorization", "Bearer " + p.tokens.Access}
	b.sendWith(append(bearer, transport, ""), login, p.creds(password), both)
	b.sendWith(append(bearer, transport, "cookie"), login, p.creds(password), both)
	b.sendWith(append(bearer, transport, "token"), login, p.creds(password), tokensAnswer, rowSuccess, `session.created ok me>session new `+byPassword, rowIssued)
	b.sendWith(bearer, "GET /auth/users/me", nil, p.me("<me>", "false", "true")) // a GET changes nothing: the bearer token wins
	b.sendWith(append(bearer, transport, "token"), "POST /auth/reauth", in{"password": password}, `200 {"access_token":"<jwt>"}`,
		`user.reauth.success ok me {"provider":"password","session_id":"bearer"}`)

	// Use.
	b.send("GET /auth/users/me", nil, strings.Replace(p.me("<me>", "false", "true"), `"bearer"`, `"first"`, 1))
	b.send("GET /auth/validate", nil, `401 invalid_token`) // services pass on bearer tokens
	b.send("POST /auth/reauth", in{"password": password}, cookieAnswer+`; cookies auth_access`,
		`user.reauth.success ok me {"provider":"password","session_id":"first"}`)
	other := p.open()
	other.signIn("second")
	b.sendWith([]string{csrfHeader, other.jar["auth_csrf"], "Cookie", strings.Replace(b.cookies(), b.jar["auth_csrf"], other.jar["auth_csrf"], 1)},
		"POST /auth/reauth", in{"password": password}, badCSRF) // a good pair, of another session
	for _, o := range p.operations() {
		request, body := o.request(nobodys), p.sample(o)
		if !slices.Contains(o.codes, "invalid_csrf_token") {
			continue
		}
		b.sendWith([]string{csrfHeader, ""}, request, body, badCSRF)
		b.sendWith([]string{"Origin", "https://evil.example"}, request, body, badCSRF)
		b.sendWith(append(bearer, transport, ""), request, body, both)
	}

	for _, o := range p.operations() {
		if method, path, _ := strings.Cut(o.pattern, " "); o.cookie && method == "GET" {
			if a := p.do(method, path, nil, "Cookie", b.cookies()); a.Status != 200 {
				p.t.Errorf("%s with cookies is answered %s", o.pattern, a)
			}
		}
	}

	// The token of the session is given again, also when the cookie was lost.
	before := b.jar["auth_csrf"]
	b.send("GET /auth/csrf", nil, `200 {"csrf_token":"<csrf>"}; cookies auth_csrf`)
	if b.jar["auth_csrf"] != before {
		p.t.Error("the session's CSRF token was replaced")
	}
	delete(b.jar, "auth_csrf")
	b.send("GET /auth/csrf", nil, `200 {"csrf_token":"<csrf>"}; cookies auth_csrf`)

	// The access cookie lapses first.
	delete(b.jar, "auth_access")
	b.send("GET /auth/users/me", nil, `401 invalid_token`)
	b.send("POST /auth/token", "this is not looked at", cookieAnswer+`; cookies auth_access auth_refresh`,
		`token.refreshed ok me {"provider":"password","session_id":"first"}`, refreshIssued)
	b.send("DELETE /auth/sessions/"+other.sid(), nil, `200 {"session_id":"second","revoke_reason":"self_targeted"}`,
		`session.revoked ok me>user me {"reason":"self_targeted","session_id":"second"}`)
	other.dies(other.jar["auth_access"], "session_expired")

	// Signing out needs the refresh cookie alone, and cookies go whatever comes of it.
	delete(b.jar, "auth_access")
	b.sendWith([]string{csrfHeader, strings.Repeat("x", 43)}, "POST /auth/logout", nil, badCSRF)
	gone := `; cookies -auth_access -auth_refresh -auth_csrf`
	sid := nameOf(b.names, "first")
	b.send("POST /auth/logout", nil, `204`+gone, `user.logout ok me {"provider":"password","session_id":"first"}`, signedOut("first"))
	p.ended(sid, "logout")
	if len(b.jar) > 0 {
		p.t.Errorf("cookies are left: %v", b.jar)
	}
	stale := &tab{p, maps.Clone(other.jar)}
	stale.send("POST /auth/logout", nil, `204`+gone)
	other.send("POST /auth/token", nil, `401 session_expired`, `token.refreshed session_expired me {"provider":"password","session_id":"second"}`)
	c := p.open()
	c.jar["auth_refresh"] = "rt_" + strings.Repeat("x", 80)
	c.send("POST /auth/logout", nil, `401 invalid_token`+gone)
	c = p.open()
	c.send("POST /auth/token", nil, `401 session_expired`)

	d := p.open()
	d.signIn("last")
	p.tokens.Access = d.jar["auth_access"]
	d.sendWith([]string{"X-Action-Token", p.confirm("erase_account", "")}, "POST /auth/users/me/erase", nil,
		`200 {"erased":true,"user_id":"me","remains":["the account's id and role, and that and when it was erased",`+
			`"its sessions, without address and browser","its audit events, without address and browser"]}`+gone,
		`user.erased ok me>user me {"deleted_identity_count":0,"revoked_api_key_count":0,"revoked_session_count":`+"7}")
}

func nameOf(names map[string]string, name string) string {
	for value, n := range names {
		if n == name {
			return value
		}
	}
	return ""
}

func walkCookieCode(p *person) {
	p.secure()
	b := p.open()
	const asked = `200 {"otp_required":true,"challenge_token":"<jwt>","masked_email":"`
	p.ask("POST /auth/login", p.creds(wrongPassword), `401 invalid_credentials`, rowWrong)
	a := b.sendWith(nil, "POST /auth/login", p.creds(password), asked+masked(p.email)+`"}`, rowAsked, rowSent) // sets no cookies
	body := in{"challenge_token": challengeOf(p, a), "code": p.code(loginMail)}
	b.sendWith([]string{csrfHeader, ""}, verifyCode, body, `403 invalid_csrf_token`)
	b.send(verifyCode, body, cookieAnswer+`; cookies auth_access auth_refresh`, rowRight, rowSuccess, `session.created ok me>session <uuid> `+byPassword, rowIssued)
	b.send("POST /auth/reauth", in{"password": password}, `403 otp_required; X-OTP-Required: true`,
		`user.reauth.failure otp_required me {"provider":"password","session_id":"new"}`) // the CSRF token of the sign-in is the session's
}

// TestCookiesHaveTheirAttributes compares the whole text of Set-Cookie, also of
// what deletes: browsers ignore a deletion with other attributes.
func TestCookiesHaveTheirAttributes(t *testing.T) {
	const gone = "Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; "
	for _, row := range []struct {
		says          string
		settings      []string
		access, rest  string // name and attributes, without Max-Age
		refresh, csrf string
	}{
		{"plain", inCookies, "auth_access=*; Path=/; AGE", "SameSite=Lax", "auth_refresh=*; Path=/auth; AGE", "auth_csrf=*; Path=/; AGE"},
		{"as browsers want it over HTTPS", []string{"BROWSER_SESSIONS__ENABLED=true", "BROWSER_SESSIONS__SECURE_ONLY=true"},
			"__Host-auth_access=*; Path=/; AGE", "Secure; SameSite=Lax", "__Host-auth_refresh=*; Path=/; AGE", "__Host-auth_csrf=*; Path=/; AGE"},
		{"strict, for a domain", append(slices.Clone(inCookies), "BROWSER_SESSIONS__SAME_SITE=strict", "BROWSER_SESSIONS__COOKIE_DOMAIN=example.com"),
			"auth_access=*; Path=/; Domain=example.com; AGE", "SameSite=Strict", "auth_refresh=*; Path=/auth; Domain=example.com; AGE", "auth_csrf=*; Path=/; Domain=example.com; AGE"},
	} {
		t.Run(row.says, func(t *testing.T) {
			t.Parallel()
			v := sqliteStore(t).serve(t, row.settings...)
			access := strings.Replace(row.access, "AGE", "Max-Age=900; HttpOnly; ", 1) + row.rest
			refresh := strings.Replace(row.refresh, "AGE", "Max-Age=604800; HttpOnly; ", 1) + row.rest
			csrf := strings.Replace(row.csrf, "AGE", "", 1) + row.rest
			deleted := func(cookie, more string) string {
				return strings.Replace(strings.Replace(cookie, "=*", "=", 1), "AGE", gone+more, 1) + row.rest
			}
			is := func(h http.Header, want ...string) (cookies []string) {
				t.Helper()
				var got []string
				for _, line := range h.Values("Set-Cookie") {
					name, rest, _ := strings.Cut(line, "=")
					value, rest, _ := strings.Cut(rest, ";")
					cookies = append(cookies, name+"="+value)
					if value != "" {
						value = "*"
					}
					got = append(got, name+"="+value+";"+rest)
				}
				if !slices.Equal(got, want) {
					t.Errorf("cookies\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
				}
				return cookies
			}
			email := v.account()
			jar := is(v.do("GET", "/auth/csrf", nil).Header, csrf)
			_, token, _ := strings.Cut(jar[0], "=")
			page := []string{transport, "cookie", csrfHeader, token, "Cookie", jar[0]}
			jar = append(jar, is(v.do("POST", "/auth/login", in{"email": email, "password": password}, page...).Header, access, refresh)...)
			page[len(page)-1] = strings.Join(jar, "; ")
			is(v.do("POST", "/auth/reauth", in{"password": password}, page...).Header, access)
			jar = append(jar[:1], is(v.do("POST", "/auth/token", nil, page...).Header, access, refresh)...)
			page[len(page)-1] = strings.Join(jar, "; ")
			is(v.do("POST", "/auth/logout", nil, page...).Header, deleted(row.access, "HttpOnly; "), deleted(row.refresh, "HttpOnly; "), deleted(row.csrf, ""))
		})
	}
}
