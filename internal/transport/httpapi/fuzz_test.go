package httpapi_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/transport/httpapi"
)

// No input makes a panic, a 5xx or an answer that the route does not declare.
// PostgreSQL is the stricter engine about text; a run without a server that all
// its processes share takes SQLite.
func fuzzed(f *testing.F) *service {
	f.Helper()
	var d *db.DB
	if url := os.Getenv("AUTHD_TEST_POSTGRES_URL"); url != "" && url != "off" {
		d = dbtest.Postgres(f)
	} else {
		d = dbtest.SQLite(f)
	}
	s, _ := build(f, d)
	return s
}

func FuzzJSONBody(f *testing.F) {
	s := fuzzed(f)
	routes := s.Routes()
	for i, r := range routes {
		for _, body := range []string{
			`{"email":"ann@example.com","password":"Correct-Horse-7","audience":"orders-api"}`, `{"token":"0123456789abcdef"}`,
			`{"refresh_token":"rt_0123456789abcdef"}`, `{"email":"a\u0000@example.com","EMAIL":1}`, "null", "[[[[", "{\"a\":1e999}", "\xff",
		} {
			f.Add(uint(i), body, "application/json", r.Pattern)
		}
	}
	f.Fuzz(func(t *testing.T, route uint, body, contentType, query string) {
		r := routes[route%uint(len(routes))]
		req := at(r, body, "Content-Type", contentType)
		req.URL.RawQuery = query
		keeps(t, r.Pattern, r, s.send(req))
	})
}

func FuzzAuthorization(f *testing.F) {
	s := fuzzed(f)
	for _, header := range []string{"", "Bearer", "Bearer ", "bearer a.b.c", "Bearer eyJhbGciOiJub25lIn0.e30.", "Basic YTpi", "\xff", "Bearer \x00"} {
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		for _, r := range s.Routes() {
			if (r.Auth == httpapi.Public || r.Auth == httpapi.Local) && r.Pattern != "POST /auth/logout" {
				continue
			}
			got := s.send(at(r, refreshBody("rt_0123456789abcdef"), "Authorization", header))
			if got.status != 401 && got.status != 422 { // what is malformed is told to anybody
				t.Errorf("%s: %d %s", r.Pattern, got.status, got.body)
			}
			keeps(t, r.Pattern, r, got)
		}
	})
}

func FuzzCorrelationID(f *testing.F) {
	s := fuzzed(f)
	for _, id := range []string{"", "req-1", "a b", "\xff", "é", strings.Repeat("a", 129), "a\r\nb"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		got := s.get("/auth/validate", "X-Correlation-ID", id)
		var body struct {
			RequestID string `json:"request_id"`
		}
		if err := json.Unmarshal([]byte(got.body), &body); err != nil || got.status != 401 {
			t.Fatalf("%v: %d %s", err, got.status, got.body)
		}
		answered := got.header.Get("X-Correlation-ID")
		if answered != body.RequestID || len(answered) > 128 || strings.ContainsAny(answered, " \r\n\"\\") {
			t.Errorf("%q in the header, %q in the body", answered, body.RequestID)
		}
		if answered != id && uuid.Validate(answered) != nil {
			t.Errorf("%q became %q", id, answered)
		}
	})
}

func FuzzRefreshToken(f *testing.F) {
	s := fuzzed(f)
	s.post("/auth/signup", credentials("ann@example.com", good))
	s.Signin.RequireVerified = false
	_, genuine := s.login(f, "ann@example.com")
	for _, token := range []string{genuine, "", "rt_", genuine[:len(genuine)-1], strings.ToUpper(genuine), genuine + "=", "rt_" + strings.Repeat("A", 82), "\x00\xff"} {
		f.Add(token)
	}
	var token httpapi.Route
	for _, r := range s.Routes() {
		if r.Pattern == "POST /auth/token" {
			token = r
		}
	}
	f.Fuzz(func(t *testing.T, presented string) {
		body, err := json.Marshal(map[string]string{"refresh_token": presented})
		if err != nil {
			t.Skip(err)
		}
		got := s.post("/auth/token", string(body))
		keeps(t, "POST /auth/token", token, got)
		if (got.status == 200) != (presented == genuine) {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
}
