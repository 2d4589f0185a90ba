package web

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

const app = "https://app.example.com"

// secured checks the headers that every answer carries, whatever it is, and
// those that only services do without.
func secured(t *testing.T, h http.Header, https, service bool) {
	t.Helper()
	want := map[string]string{
		"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
		"Cache-Control": "no-store", "Pragma": "no-cache",
		"Content-Security-Policy":   "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
		"Strict-Transport-Security": "",
	}
	if https {
		want["Strict-Transport-Security"] = "max-age=63072000; includeSubDomains"
	}
	if service {
		want["Referrer-Policy"], want["Pragma"] = "", ""
	}
	for name, value := range want {
		if got := h.Values(name); strings.Join(got, "|") != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
	if h.Get(correlationHeader) == "" {
		t.Error("no correlation id")
	}
	if h.Get("Server") != "" || h.Get("X-Powered-By") != "" {
		t.Error("it tells what it runs on")
	}
}

// shop has a route for every kind of answer, each behind the whole edge.
func shop(t *testing.T, https bool, origins ...string) http.Handler {
	t.Helper()
	mux := NewMux(quietLog)
	mux.Gate = &Gate{Hosts: Hosts{"auth.example.com"}, Limiter: counting(t), Limits: Limits{Default: 100, Login: 1, Token: 1}}
	for pattern, status := range map[string]int{"GET /good": 200, "POST /good": 204, "GET /malformed": 400, "GET /refused": 401, "GET /forbidden": 403, "GET /broken": 500} {
		mux.Handle(pattern, handler(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) }))
	}
	mux.Handle("GET /panics", handler(func(http.ResponseWriter, *http.Request) { panic("now") }))
	mux.HandleAs(Policy{Class: Machine}, "GET /checked", handler(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	mux.HandleAs(Policy{Class: Login}, "GET /scarce", handler(func(http.ResponseWriter, *http.Request) {}))
	return Wrap(mux, Edge{Log: quietLog, HTTPS: https, Origins: origins}.Chain())
}

// ask sends a request with headers in pairs.
func ask(h http.Handler, method, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.Host = "auth.example.com"
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestEveryKindOfAnswerIsSecured(t *testing.T) {
	for _, https := range []bool{false, true} {
		h := shop(t, https, app)
		ask(h, "GET", "/scarce")
		for _, row := range []struct {
			name, method, path string
			headers            []string
			status             int
		}{
			{"a success", "GET", "/good", nil, 200},
			{"a success without a body", "POST", "/good", nil, 204},
			{"HEAD", "HEAD", "/good", nil, 200},
			{"a malformed request", "GET", "/malformed", nil, 400},
			{"a refusal", "GET", "/refused", nil, 401},
			{"a prohibition", "GET", "/forbidden", nil, 403},
			{"an unknown path", "GET", "/nothing", nil, 404},
			{"another method", "DELETE", "/good", nil, 405},
			{"too many requests", "GET", "/scarce", nil, 429},
			{"a failure", "GET", "/broken", nil, 500},
			{"a panic", "GET", "/panics", nil, 500},
			{"a slash too many", "GET", "/good/", nil, 307},
			{"a path that is cleaned", "GET", "//good", nil, 307},
			{"another host", "GET", "/good", []string{"Host", "evil.example"}, 400},
			{"a preflight", "OPTIONS", "/good", []string{"Origin", app, "Access-Control-Request-Method", "POST"}, 204},
			{"a preflight of another origin", "OPTIONS", "/good", []string{"Origin", "https://evil.example", "Access-Control-Request-Method", "POST"}, 405},
			{"OPTIONS", "OPTIONS", "/good", nil, 405},
			{"a service's check", "GET", "/checked", nil, 204},
		} {
			t.Run(row.name, func(t *testing.T) {
				w := ask(h, row.method, row.path, row.headers...)
				if w.Code != row.status {
					t.Errorf("%d, want %d", w.Code, row.status)
				}
				secured(t, w.Header(), https, strings.HasPrefix(row.name, "a service") || row.name == "a preflight")
			})
		}
	}
}

func TestCORS(t *testing.T) {
	h := shop(t, true, app, "https://Admin.Example.com:8443")
	ask(h, "GET", "/scarce")
	preflight := []string{"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization"}
	for _, row := range []struct {
		name, method, path string
		headers            []string
		status             int
		allowed            string // Access-Control-Allow-Origin
		methods            bool   // the answer to a preflight
	}{
		{"a listed origin reads the answer", "GET", "/good", []string{"Origin", app}, 200, app, false},
		{"and a refusal", "GET", "/refused", []string{"Origin", app}, 401, app, false},
		{"and when to come back", "GET", "/scarce", []string{"Origin", app}, 429, app, false},
		{"and a failure", "GET", "/panics", []string{"Origin", app}, 500, app, false},
		{"and an unknown path", "GET", "/nothing", []string{"Origin", app}, 404, app, false},
		{"browsers write origins in lower case", "GET", "/good", []string{"Origin", "https://admin.example.com:8443"}, 200, "https://admin.example.com:8443", false},
		{"it may send what it asks for", "OPTIONS", "/good", append([]string{"Origin", app}, preflight...), 204, app, true},
		{"to any path", "OPTIONS", "/nothing", append([]string{"Origin", app}, preflight...), 204, app, true},
		{"OPTIONS that is no preflight is a method like others", "OPTIONS", "/good", []string{"Origin", app}, 405, app, false},
		{"another origin gets no leave", "GET", "/good", []string{"Origin", "https://evil.example"}, 200, "", false},
		{"nor to send", "OPTIONS", "/good", append([]string{"Origin", "https://evil.example"}, preflight...), 405, "", false},
		{"nor does another scheme", "GET", "/good", []string{"Origin", "http://app.example.com"}, 200, "", false},
		{"nor another port", "GET", "/good", []string{"Origin", app + ":8443"}, 200, "", false},
		{"nor a subdomain", "GET", "/good", []string{"Origin", "https://a.app.example.com"}, 200, "", false},
		{"nor one that begins like it", "GET", "/good", []string{"Origin", app + ".evil.example"}, 200, "", false},
		{"nor null", "GET", "/good", []string{"Origin", "null"}, 200, "", false},
		{"nor a star", "GET", "/good", []string{"Origin", "*"}, 200, "", false},
		{"nor nothing", "GET", "/good", []string{"Origin", ""}, 200, "", false},
		{"what is no page has no origin", "GET", "/good", nil, 200, "", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := ask(h, row.method, row.path, row.headers...)
			if w.Code != row.status {
				t.Errorf("%d, want %d", w.Code, row.status)
			}
			got := w.Header()
			if strings.Join(got.Values("Access-Control-Allow-Origin"), "|") != row.allowed {
				t.Errorf("allowed: %q, want %q", got.Values("Access-Control-Allow-Origin"), row.allowed)
			}
			if got.Values("Access-Control-Allow-Credentials") != nil {
				t.Error("cookies would cross origins")
			}
			if !slices.Contains(got.Values("Vary"), "Origin") {
				t.Errorf("a cache would mix origins up: Vary: %q", got.Values("Vary"))
			}
			if methods := got.Get("Access-Control-Allow-Methods") != ""; methods != row.methods {
				t.Errorf("methods: %q", got.Get("Access-Control-Allow-Methods"))
			}
			if row.methods && (!strings.Contains(got.Get("Access-Control-Allow-Headers"), "Authorization") || w.Body.Len() > 0) {
				t.Errorf("headers %q, body %s", got.Get("Access-Control-Allow-Headers"), w.Body)
			}
			if exposed := got.Get("Access-Control-Expose-Headers"); (row.allowed != "") != strings.Contains(exposed, "Retry-After") {
				t.Errorf("exposed: %q", exposed)
			}
		})
	}
}

func TestWithoutOriginsThereIsNoCORS(t *testing.T) {
	w := ask(shop(t, true), "OPTIONS", "/good", "Origin", app, "Access-Control-Request-Method", "POST")
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("%d", w.Code)
	}
	for name := range w.Header() {
		if strings.HasPrefix(name, "Access-Control-") || name == "Vary" {
			t.Errorf("%s: %q", name, w.Header().Values(name))
		}
	}
}
