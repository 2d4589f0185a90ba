package web

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHosts(t *testing.T) {
	listed := Hosts{"auth.example.com", "*.apps.example.com", "Login.Example.org", "192.0.2.1", "[2001:db8::1]", "2001:db8::2"}
	for _, row := range []struct {
		name  string
		hosts Hosts
		host  string
		want  bool
	}{
		{"a listed name", listed, "auth.example.com", true},
		{"with a port", listed, "auth.example.com:8443", true},
		{"in capitals", listed, "AUTH.Example.COM", true},
		{"listed in capitals", listed, "login.example.org", true},
		{"with the dot of the root", listed, "auth.example.com.", true},
		{"with that dot and a port", listed, "auth.example.com.:443", true},
		{"another name", listed, "evil.example", false},
		{"a name that ends like it", listed, "evil-auth.example.com", false},
		{"a name that begins like it", listed, "auth.example.com.evil.example", false},
		{"a name in front of the port", listed, "evil.example:auth.example.com", false},
		{"a user in front", listed, "evil.example@auth.example.com", false},
		{"two dots at the end", listed, "auth.example.com..", false},
		{"nothing", listed, "", false},
		{"a dot", listed, ".", false},
		{"a port alone", listed, ":443", false},

		{"a subdomain", listed, "a.apps.example.com", true},
		{"a subdomain of one", listed, "b.a.apps.example.com:80", true},
		{"a subdomain in capitals", listed, "A.APPS.EXAMPLE.COM", true},
		{"the domain itself is no subdomain", listed, "apps.example.com", false},
		{"nor is an empty label", listed, ".apps.example.com", false},
		{"nor is what only ends like it", listed, "evilapps.example.com", false},
		{"a star is no name", listed, "*.apps.example.com.evil.example", false},

		{"an IPv4 address", listed, "192.0.2.1:80", true},
		{"another one", listed, "192.0.2.10", false},
		{"an IPv6 address", listed, "[2001:db8::1]", true},
		{"an IPv6 address with a port", listed, "[2001:db8::1]:8000", true},
		{"an IPv6 address listed without brackets", listed, "[2001:db8::2]", true},
		{"that one with a port", listed, "[2001:db8::2]:8000", true},
		{"another IPv6 address", listed, "[2001:db8::3]:8000", false},

		{"an empty list allows all", nil, "evil.example", true},
		{"even nothing", nil, "", true},
		{"a star allows all", Hosts{"*"}, "evil.example:1", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := row.hosts.allow(row.host); got != row.want {
				t.Errorf("%q: %t", row.host, got)
			}
		})
	}
}

// What is allowed is a listed name, or ends in a listed domain.
func FuzzHosts(f *testing.F) {
	for _, host := range []string{"auth.example.com", "a.apps.example.com:80", "[::1]:80", "[::1", "]", ":", "a:b:c", "\x00.apps.example.com", "."} {
		f.Add(host)
	}
	listed := Hosts{"auth.example.com", "*.apps.example.com", "[::1]"}
	f.Fuzz(func(t *testing.T, host string) {
		if !listed.allow(host) {
			return
		}
		lower := strings.ToLower(host)
		if !strings.HasPrefix(lower, "auth.example.com") && !strings.HasPrefix(lower, "[::1]") && !strings.HasPrefix(lower, "::1") && !strings.Contains(lower, ".apps.example.com") {
			t.Errorf("%q is allowed", host)
		}
	})
}

func TestAHostThatIsNotListedIsRefusedEverywhereButForMachines(t *testing.T) {
	mux := NewMux(quietLog)
	mux.Gate = &Gate{Hosts: Hosts{"auth.example.com"}, Limiter: counting(t), Limits: Limits{Default: 100, Login: 100, Token: 100}}
	ok := handler(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleAs(Policy{Class: Login}, "POST /auth/login", ok)
	mux.Handle("GET /page", ok)
	mux.HandleAs(Policy{AnyHost: true, Class: Free}, "GET /health/live", ok)
	mux.HandleAs(Policy{AnyHost: true, Class: Machine}, "GET /.well-known/jwks.json", ok)
	mux.HandleAs(Policy{AnyHost: true, Class: Machine}, "GET /auth/validate", ok)
	h := Wrap(mux, Edge{Log: quietLog}.Chain())
	for _, row := range []struct {
		name, method, path, host string
		status                   int
	}{
		{"an API route by its name", "POST", "/auth/login", "auth.example.com", 204},
		{"an API route by another name", "POST", "/auth/login", "evil.example", 400},
		{"a page by another name", "GET", "/page", "evil.example", 400},
		{"a page without a name", "GET", "/page", "", 400},
		{"HEAD by another name", "HEAD", "/page", "evil.example", 400},
		{"an unknown path by another name", "GET", "/nothing", "evil.example", 400},
		{"another method by another name", "PUT", "/page", "evil.example", 400},
		{"a slash too many by another name", "GET", "/page/", "evil.example", 400},
		{"a path that would be cleaned, by another name", "GET", "//page", "evil.example", 400},
		{"a probe by an address", "GET", "/health/live", "10.0.0.7:8000", 204},
		{"the keys by a name inside the cluster", "GET", "/.well-known/jwks.json", "authd.svc", 204},
		{"a check by a name inside the cluster", "GET", "/auth/validate", "authd.svc", 204},
		{"another method on an exempt path is not exempt", "POST", "/auth/validate", "authd.svc", 400},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := httptest.NewRequest(row.method, row.path, nil)
			r.Host = row.host
			r.Header.Set(correlationHeader, "req-1")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != row.status {
				t.Fatalf("%d, want %d: %s", w.Code, row.status, w.Body)
			}
			if row.status != 400 {
				return
			}
			var body Envelope
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Fatal(err)
			}
			if body.Code != "invalid_host" || body.Detail == "" || body.RequestID != "req-1" || w.Header().Get(correlationHeader) != "req-1" {
				t.Errorf("%+v, %v", body, w.Header())
			}
			if strings.Contains(w.Body.String(), "evil") {
				t.Error("the host comes back")
			}
			secured(t, w.Header(), false, false)
		})
	}
}
