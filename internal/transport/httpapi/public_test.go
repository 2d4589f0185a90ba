package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/transport/httpapi"
)

func TestJWKS(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, _ := build(t, d)
		const target = "/.well-known/jwks.json"
		r := s.get(target)
		etag := r.header.Get("ETag")
		t.Run("the keys may be cached for a minute", func(t *testing.T) {
			var set struct {
				Keys []map[string]string `json:"keys"`
			}
			if err := json.Unmarshal([]byte(r.body), &set); err != nil || len(set.Keys) != 2 {
				t.Fatalf("%v: %s", err, r.body)
			}
			signs := false
			for _, k := range set.Keys {
				if k["alg"] != "ES256" || k["use"] != "sig" || k["d"] != "" {
					t.Errorf("%v", k)
				}
				signs = signs || k["kid"] == s.Keys.Active().KID
			}
			if !signs {
				t.Error("the key that signs is not published")
			}
			h := r.header
			if h.Get("Cache-Control") != "public, max-age=60" || h.Get("Pragma") != "" || h.Get("Content-Type") != "application/json" || etag == "" {
				t.Errorf("%v", h)
			}
		})
		for _, row := range []struct {
			name   string
			header string
			status int
		}{
			{"the same tag is not modified", etag, http.StatusNotModified},
			{"a proxy's weak tag is not", "W/" + etag, http.StatusNotModified},
			{"one of several is not", `"other", ` + etag, http.StatusNotModified},
			{"any is not", "*", http.StatusNotModified},
			{"another tag is", `"other"`, http.StatusOK},
		} {
			t.Run(row.name, func(t *testing.T) {
				r := s.get(target, "If-None-Match", row.header)
				if r.status != row.status || (r.body == "") != (row.status == http.StatusNotModified) || r.header.Get("ETag") != etag {
					t.Errorf("%d %v %s", r.status, r.header, r.body)
				}
			})
		}
	})
}

func TestHealth(t *testing.T) {
	s, _ := build(t, dbtest.SQLite(t))
	s.Ready = func(context.Context) httpapi.Readiness { panic("nobody may ask") }
	s.mount()
	t.Run("a living process says so and asks nobody", func(t *testing.T) {
		s.get("/health/live").want(t, http.StatusOK, `{"status":"live"}`)
	})
	for _, row := range []struct {
		name  string
		state httpapi.Readiness
		check func(*testing.T, reply)
	}{
		{"all works", httpapi.Readiness{}, func(t *testing.T, r reply) { r.want(t, http.StatusOK, `{"status":"ready"}`) }},
		{"redis is down, which only makes it slower", httpapi.Readiness{Degraded: []string{"redis"}}, func(t *testing.T, r reply) {
			r.want(t, http.StatusOK, `{"status":"ready","degraded":["redis"]}`)
		}},
		{"the database is down, which is named", httpapi.Readiness{Failing: []string{"database"}, Degraded: []string{"redis"}}, func(t *testing.T, r reply) {
			r.refused(t, fault.ServiceUnavailable, fault.Field{Field: "database", Message: "does not answer"})
			if r.header.Get("Retry-After") != "1" {
				t.Error(r.header)
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s.Ready = func(context.Context) httpapi.Readiness { return row.state }
			s.mount()
			row.check(t, s.get("/health/ready"))
		})
	}
}

func TestMailbox(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		s.signUp(t, "ann@example.com")
		s.signUp(t, "bob@example.com")

		t.Run("mails are shown with their links and tokens, and HTML as it is", func(t *testing.T) {
			r := s.get("/dev/mailbox/messages?to=ann@example.com")
			var out struct {
				Messages []struct {
					To     string
					HTML   string
					Links  []string
					Tokens []string
					Codes  []string
				}
			}
			if err := json.Unmarshal([]byte(r.body), &out); err != nil || len(out.Messages) != 1 {
				t.Fatalf("%v: %s", err, r.body)
			}
			m := out.Messages[0]
			if m.To != "ann@example.com" || len(m.Tokens) != 1 || len(m.Links) != 1 || m.Codes == nil || m.Links[0] != baseURL+"/verify-email?token="+m.Tokens[0] {
				t.Errorf("%+v", m)
			}
			if !strings.Contains(r.body, "<a href=") {
				t.Errorf("escaped: %s", r.body)
			}
			if page := s.get("/dev/mailbox").body; !strings.Contains(page, m.Links[0]) || !strings.Contains(page, "bob@example.com") {
				t.Error(page)
			}
		})
		t.Run("nobody has none", func(t *testing.T) {
			s.get("/dev/mailbox/messages?to=nobody@example.com").want(t, http.StatusOK, `{"messages":[]}`)
			s.get("/dev/mailbox/messages?to=%00").refused(t, fault.ValidationError, fault.Field{Field: "to", Message: "must be text"})
		})
		for _, row := range []struct {
			name   string
			peer   string
			host   string
			status int
		}{
			{"this machine by name", "127.0.0.1:1", "localhost:8000", 200},
			{"this machine by IPv4", "127.0.0.1:1", "127.0.0.1", 200},
			{"this machine by IPv6", "[::1]:1", "[::1]:8000", 200},
			{"this machine, IPv4 in IPv6", "[::ffff:127.0.0.1]:1", "localhost", 200},
			{"a web page that named this machine in its own DNS", "127.0.0.1:1", "evil.example:8000", 404},
			{"a name that only begins like ours", "127.0.0.1:1", "localhost.evil.example", 404},
			{"another machine", "192.0.2.7:1", "localhost:8000", 404},
			{"another machine by IPv6", "[2001:db8::1]:1", "localhost", 404},
			{"a peer that is no address", "@", "localhost", 404},
		} {
			t.Run(row.name, func(t *testing.T) {
				for _, target := range []string{"/dev/mailbox", "/dev/mailbox/messages"} {
					r := request("GET", target, "")
					r.RemoteAddr, r.Host = row.peer, row.host
					if got := s.send(r); got.status != row.status {
						t.Errorf("%s: status %d, want %d", target, got.status, row.status)
					}
				}
			})
		}
		t.Run("a public mailbox is open to all", func(t *testing.T) {
			s.MailboxPublic = true
			s.mount()
			r := request("GET", "/dev/mailbox/messages", "")
			r.RemoteAddr, r.Host = "192.0.2.7:1", "auth.example.com"
			if got := s.send(r); got.status != http.StatusOK {
				t.Error(got.status)
			}
		})
		t.Run("outside development there is none", func(t *testing.T) {
			s.Mailbox = nil
			s.mount()
			s.get("/dev/mailbox/messages").refused(t, fault.NotFound)
			s.get("/dev/mailbox").refused(t, fault.NotFound)
		})
	})
}

func TestFilesAndDocs(t *testing.T) {
	s, _ := build(t, dbtest.SQLite(t))
	for _, row := range []struct {
		target string
		status int
		kind   string
	}{
		{"/static/style.css", 200, "text/css; charset=utf-8"},
		{"/static/nothing.css", 404, "application/json"},
		{"/static/", 404, "application/json"},
		{"/static/%2e%2e%2fstyle.css", 404, "application/json"},
		{"/static/%2e", 404, "application/json"},
		{"/static/%00", 404, "application/json"},
		{"/docs", 200, "text/html; charset=utf-8"},
		{"/docs/", 307, ""},
		{"/docs/start.js", 200, "text/javascript; charset=utf-8"},
		{"/docs/LICENSE", 200, "text/plain; charset=utf-8"},
		{"/docs/nothing", 404, "application/json"},
		{"/openapi.json", 200, "application/json"},
	} {
		t.Run(strings.ReplaceAll(row.target, "/", "|"), func(t *testing.T) {
			r := s.get(row.target)
			if r.status != row.status || r.header.Get("Content-Type") != row.kind {
				t.Errorf("%d %s, want %d %s", r.status, r.header.Get("Content-Type"), row.status, row.kind)
			}
			cached := strings.Contains(row.target, ".css") || strings.HasPrefix(row.target, "/docs/")
			if want := cached && r.status == 200; want != (r.header.Get("Cache-Control") == "public, max-age=3600") {
				t.Errorf("Cache-Control: %s", r.header.Get("Cache-Control"))
			}
		})
	}
	t.Run("docs can be left out", func(t *testing.T) {
		s.Docs = false
		s.mount()
		for _, target := range []string{"/docs", "/docs/start.js", "/openapi.json"} {
			s.get(target).refused(t, fault.NotFound)
		}
	})
	t.Run("the description in JSON names every route", func(t *testing.T) {
		s.Docs = true
		s.mount()
		var doc struct {
			OpenAPI string
			Paths   map[string]map[string]any
		}
		if err := json.Unmarshal([]byte(s.get("/openapi.json").body), &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1") {
			t.Fatal(doc.OpenAPI, err)
		}
		for _, r := range s.Routes() {
			method, path, _ := strings.Cut(r.Pattern, " ")
			if doc.Paths[path][strings.ToLower(method)] == nil {
				t.Error(fmt.Sprint(r.Pattern, " is missing"))
			}
		}
	})
}
