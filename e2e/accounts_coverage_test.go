package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// recorder remembers what was asked and how it was answered.
type recorder struct {
	next http.RoundTripper
	*coverage
}

type coverage struct {
	mu   sync.Mutex
	seen map[string]bool // "POST /auth/login invalid_credentials"; "… ok" for a success
}

func (v *server) remember() *coverage {
	c := &coverage{seen: map[string]bool{}}
	v.HTTP.Transport = &recorder{v.HTTP.Transport, c}
	return c
}

// RoundTrip implements http.RoundTripper.
func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := r.next.RoundTrip(req)
	if err != nil {
		return res, err
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	res.Body = io.NopCloser(bytes.NewReader(body))
	code := "ok"
	if res.StatusCode >= 400 {
		var e struct{ Code string }
		json.Unmarshal(body, &e) // what is no envelope has no code
		code = e.Code
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[req.Method+" "+req.URL.Path+" "+code] = true
	return res, err
}

// operation is one endpoint as the API describes it.
type operation struct {
	pattern string
	codes   []string
	user    bool // needs an access token
	cookie  bool // which may be in a cookie
	body    bool
}

// request is one for this operation.
func (o operation) request(session string) string {
	return strings.Replace(o.pattern, "{session_id}", session, 1)
}

// operations of the auth core.
func (v *server) operations() (list []operation) {
	v.t.Helper()
	var description struct {
		Paths map[string]map[string]struct {
			Security    []map[string][]string
			RequestBody *struct{}
			Responses   map[string]struct{ Description string }
		}
	}
	body := v.do("GET", "/openapi.json", nil).Body
	if err := json.Unmarshal(body, &description); err != nil {
		v.t.Fatal(err)
	}
	operators.mu.Lock()
	operators.description = body
	operators.mu.Unlock()
	for path, methods := range description.Paths {
		if ofOperators(path) || !strings.HasPrefix(path, "/auth/") && !strings.HasPrefix(path, "/.well-known/") {
			continue
		}
		for method, op := range methods {
			o := operation{pattern: strings.ToUpper(method) + " " + path, user: len(op.Security) > 0, cookie: len(op.Security) > 1, body: op.RequestBody != nil}
			for status, response := range op.Responses {
				if status >= "400" {
					o.codes = append(o.codes, strings.Split(response.Description, ", ")...)
				}
			}
			list = append(list, o)
		}
	}
	if len(list) < 28 {
		v.t.Fatalf("the API description has %d operations", len(list))
	}
	slices.SortFunc(list, func(a, b operation) int { return strings.Compare(a.pattern, b.pattern) })
	return list
}

// elsewhere are codes whose tests need more than a client: a host list, limits,
// a failing database.
var elsewhere = []string{"internal_server_error", "service_unavailable", "invalid_host", "rate_limited"}

// onlyInRaces are answered only if something happens between two steps of one
// request: before it, and the caller's session has ended.
var onlyInRaces = []string{"POST /auth/users/me/erase invalid_user", "POST /auth/users/me/erase already_erased"}

// complete fails the test for every success and every refusal that the API
// description names and nobody saw.
func (c *coverage) complete(t *testing.T, v *server) {
	for _, o := range v.on(t).operations() {
		for _, code := range append([]string{"ok"}, o.codes...) {
			if slices.Contains(elsewhere, code) || slices.Contains(onlyInRaces, o.pattern+" "+code) {
				continue
			}
			before, after, _ := strings.Cut(o.pattern+" "+code, "{session_id}")
			met := false
			for seen := range c.seen {
				met = met || seen == before || after != "" && strings.HasPrefix(seen, before) && strings.HasSuffix(seen, after)
			}
			if !met {
				t.Errorf("nothing was answered %s %s", o.pattern, code)
			}
		}
	}
}

// sample is a body that each operation accepts.
func (p *person) sample(o operation) any {
	long := strings.Repeat("x", 43)
	return map[string]any{
		"POST /auth/login":                       p.creds(password),
		"POST /auth/token":                       in{"refresh_token": long},
		"POST /auth/logout":                      in{"refresh_token": long},
		"POST /auth/signup":                      p.creds(password),
		"POST /auth/verify-email":                in{"token": long},
		"POST /auth/verify-email/resend/request": in{"email": p.email},
		"POST /auth/password/forgot":             in{"email": p.email},
		"POST /auth/password/reset":              in{"token": long, "new_password": password},
		"POST /auth/password/change":             in{"new_password": password},
		"POST /auth/email/change":                in{"new_email": newEmail()},
		"POST /auth/email/change/confirm":        in{"token": long},
		"POST /auth/email/change/undo":           in{"token": long},
		"POST /auth/reauth":                      in{"password": password},
		"POST /auth/otp/verify/login":            in{"challenge_token": long, "code": "123456"},
		"POST /auth/otp/resend/login":            in{"challenge_token": long},
		"POST /auth/otp/request/action":          in{"action": "orders-api:refund"},
		"POST /auth/otp/verify/action":           in{"action": "orders-api:refund", "code": "123456"},
		"POST /auth/otp/consume/action":          in{"action_token": long, "action": "orders-api:refund"},
	}[o.pattern]
}

// narrow are the operations that a token which names other services must not do.
var narrow = []string{
	"POST /auth/password/change", "POST /auth/email/change", "POST /auth/otp/enable", "POST /auth/otp/disable", "POST /auth/users/me/erase",
}

const nobodys = "00000000-0000-4000-8000-000000000000"

func walkCallers(p *person) {
	ended := p.another("ended")
	ended.answer("POST /auth/logout", in{"refresh_token": ended.tokens.Refresh}, `204`)
	old := p.on(p.t).person().secure()
	shared := p.on(p.t).person()
	shared.use(shared.answer("POST /auth/login", in{"email": shared.email, "password": password, "audience": "orders-api"}, tokensAnswer), "shared")
	ended.dies(ended.tokens.Access, "session_expired")
	old.dies(old.tokens.Access, "token_expired")
	p.enter("here")
	for _, o := range p.operations() {
		if !o.user {
			continue
		}
		request, body := o.request(nobodys), p.sample(o)
		p.ask(request, body, `401 invalid_token`)
		p.with("Authorization", "Basic "+p.tokens.Access).ask(request, body, `401 invalid_token`)
		a := p.with("Authorization", "Bearer "+flip(p.tokens.Access)).ask(request, body, `401 invalid_token`)
		if a.Header.Get("WWW-Authenticate") != `Bearer error="invalid_token"` {
			p.t.Errorf("%s: WWW-Authenticate %q", o.pattern, a.Header.Get("WWW-Authenticate"))
		}
		p.with("Authorization", "Bearer "+p.tokens.Refresh).ask(request, body, `401 invalid_token`)
		ended.signed(request, body, `401 session_expired`)
		old.signed(request, body, `401 token_expired`)
		if slices.Contains(narrow, o.pattern) {
			shared.signed(request, body, `403 audience_not_allowed`)
			continue
		}
		method, path, _ := strings.Cut(request, " ")
		a = shared.do(method, path, body, append(shared.header, "Authorization", "Bearer "+shared.tokens.Access)...)
		if code := a.Envelope().Code; code == "audience_not_allowed" || code == "invalid_token" || a.Status >= 500 {
			p.t.Errorf("%s with a shared token is answered %s", o.pattern, a)
		}
	}
}

func walkInput(p *person) {
	p.enter("here")
	q := p.with("Authorization", "Bearer "+p.tokens.Access)
	for _, o := range p.operations() {
		if !o.body {
			continue
		}
		request := o.request(nobodys)
		q.ask(request, "{", `400 malformed_request`)
		q.ask(request, `{"email":"`+strings.Repeat("x", 70_000)+`"}`, `413 request_too_large`)
		form := "application/x-www-form-urlencoded"
		if o.pattern == "POST /auth/token" { // services send it forms
			form = "multipart/form-data; boundary=x"
		}
		q.with("Content-Type", form).ask(request, "a=b", `415 unsupported_media_type`)
		q.ask(request, "[1]", `422 validation_error body`)
		p.ask(request, "[1]", `422 validation_error body`) // whoever asks
	}
}

// TestSharedTokensMayDoAllIfTheSettingSaysSo: for old clients.
func TestSharedTokensMayDoAllIfTheSettingSaysSo(t *testing.T) {
	t.Parallel()
	p := sqliteStore(t).serve(t, anywhere, "AUTH__ACCEPT_SHARED_AUDIENCE=true").person()
	p.use(p.answer("POST /auth/login", in{"email": p.email, "password": password, "audience": "orders-api"}, tokensAnswer), "here")
	p.signed("POST /auth/password/change", in{"current_password": password, "new_password": password + "2"}, `200 {"changed":true}`,
		`user.password.changed ok me>user me {"reason":"password_change"}`, revoked("password_change", ``, 0))
}
