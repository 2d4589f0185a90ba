package e2e

import (
	"encoding/json"

	"net/http"
	"regexp"
	"strings"
)

// outside finds what a page would load from other machines.
var outside = regexp.MustCompile(`(<link[^>]+href|src|action)="(https?:)?//`)

func describing(v *server) {
	t := v.t
	for path, want := range map[string]string{"/health/live": `200 {"status":"live"}`, "/health/ready": `200 {"status":"ready"}`} {
		if a := v.do("GET", path, nil); a.String() != want {
			t.Errorf("%s answers %s", path, a)
		}
	}
	var description struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]any
	}
	a := v.do("GET", "/openapi.json", nil)
	if err := json.Unmarshal(a.Body, &description); err != nil || !strings.HasPrefix(description.OpenAPI, "3.1") {
		t.Fatalf("/openapi.json: %d, version %q, %v", a.Status, description.OpenAPI, err)
	}
	for path, methods := range map[string][]string{
		"/auth/signup": {"post"}, "/auth/verify-email": {"get", "post"}, "/auth/verify-email/resend": {"post"},
		"/auth/verify-email/resend/request": {"post"}, "/auth/login": {"post"}, "/auth/token": {"post"},
		"/auth/logout": {"post"}, "/auth/validate": {"get"}, "/.well-known/jwks.json": {"get"},
		"/health/live": {"get"}, "/health/ready": {"get"},
	} {
		for _, method := range methods {
			if description.Paths[path][method] == nil {
				t.Errorf("/openapi.json does not describe %s %s", method, path)
			}
		}
	}
	page := v.do("GET", "/docs", nil)
	if page.Status != http.StatusOK || outside.Match(page.Body) {
		t.Errorf("/docs answers %s", page)
	}
	for _, link := range regexp.MustCompile(`(?:src|href)="(/[^"]+)"`).FindAllStringSubmatch(string(page.Body), -1) {
		if a := v.do("GET", link[1], nil); a.Status != http.StatusOK || len(a.Body) == 0 {
			t.Errorf("/docs needs %s, which answers %d", link[1], a.Status)
		}
	}
}

func showingMail(v *server) {
	t := v.t
	v.account()
	for _, path := range []string{"/dev/mailbox", "/dev/mailbox/messages", "/dev/mailbox/messages?to=" + newEmail()} {
		if a := v.do("GET", path, nil); a.Status != http.StatusOK || outside.Match(a.Body) {
			t.Errorf("%s answers %s", path, a)
		}
		for _, host := range []string{"auth.example.com", "localhost.example.com", "127.0.0.1.example.com:80"} {
			if a := v.do("GET", path, nil, "Host", host); a.Status != http.StatusNotFound {
				t.Errorf("%s answers Host %s with %d", path, host, a.Status)
			}
		}
	}
	if a := v.do("GET", "/dev/mailbox/messages?to="+newEmail(), nil); a.String() != `200 {"messages":[]}` {
		t.Errorf("an empty mailbox answers %s", a)
	}
}

func carryingHeaders(v *server) {
	t := v.t
	tokens := v.login(v.account())
	for _, request := range []struct {
		method, path string
		body         any
	}{
		{"POST", "/auth/signup", map[string]string{"email": newEmail(), "password": password}},
		{"POST", "/auth/signup", map[string]string{}},
		{"POST", "/auth/login", map[string]string{"email": newEmail(), "password": password}},
		{"POST", "/auth/token", map[string]string{"refresh_token": tokens.Refresh}},
		{"POST", "/auth/logout", map[string]string{"refresh_token": tokens.Refresh}},
		{"GET", "/auth/validate", nil},
		{"GET", "/auth/verify-email?token=" + strings.Repeat("x", 20), nil},
		{"GET", "/health/live", nil},
		{"GET", "/nowhere", nil},
		{"DELETE", "/auth/login", nil},
	} {
		a := v.do(request.method, request.path, request.body, "X-Correlation-ID", "tabs-and:spaces/not.here_1")
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Correlation-ID": "tabs-and:spaces/not.here_1",
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
		} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s %s: %s is %q, not %q", request.method, request.path, name, got, want)
			}
		}
		if e := a.Envelope(); a.Status >= 400 && (e.RequestID != "tabs-and:spaces/not.here_1" || e.Detail == "" || e.Code == "") {
			t.Errorf("%s %s: %s", request.method, request.path, a)
		}
	}
	for _, bad := range []string{"with space", strings.Repeat("x", 129), "<script>", "ü"} {
		a := v.do("GET", "/nowhere", nil, "X-Correlation-ID", bad)
		if id := a.Header.Get("X-Correlation-ID"); id == bad || len(id) != 36 || a.Envelope().RequestID != id {
			t.Errorf("the correlation id %q became %q", bad, id)
		}
	}
}

func unknown(v *server) {
	t := v.t
	for _, row := range []struct {
		says, method, path string
		status             int
		code, allow        string
	}{
		{"a path that is not there", "GET", "/nowhere", http.StatusNotFound, "not_found", ""},
		{"one below a path that is", "GET", "/auth/login/x", http.StatusNotFound, "not_found", ""},
		{"the wrong method", "GET", "/auth/login", http.StatusMethodNotAllowed, "method_not_allowed", "POST"},
		{"the wrong one of two", "PUT", "/auth/verify-email", http.StatusMethodNotAllowed, "method_not_allowed", "GET, HEAD, POST"},
		{"a method of one's own", "BREW", "/auth/token", http.StatusMethodNotAllowed, "method_not_allowed", "POST"},
	} {
		a := v.do(row.method, row.path, nil)
		if a.Status != row.status || a.Envelope().Code != row.code || a.Header.Get("Allow") != row.allow {
			t.Errorf("%s: %s, Allow %q", row.says, a, a.Header.Get("Allow"))
		}
	}
	if a := v.do("POST", "/auth/login/", map[string]string{}); a.Status != http.StatusTemporaryRedirect || a.Header.Get("Location") != "/auth/login" {
		t.Errorf("a trailing slash is answered %d to %q", a.Status, a.Header.Get("Location"))
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// flip changes a character in the middle of the last part of a token.
func flip(token string) string {
	b := []byte(token)
	i := len(b) - 20
	if b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}
