package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// through sends a request through the whole chain to h and returns the answer
// and the lines that were logged.
func through(h http.Handler, r *http.Request) (*httptest.ResponseRecorder, []map[string]any) {
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	mux := NewMux(log)
	mux.Handle("GET /a/{b}", h)
	mux.Handle("POST /a/{b}", h)
	w := httptest.NewRecorder()
	func() {
		defer func() { recover() }() // what net/http does with http.ErrAbortHandler
		Wrap(mux, Edge{Log: log}.Chain()).ServeHTTP(w, r)
	}()
	var lines []map[string]any
	for dec := json.NewDecoder(&out); ; {
		var line map[string]any
		if dec.Decode(&line) != nil {
			return w, lines
		}
		lines = append(lines, line)
	}
}

func handler(f func(w http.ResponseWriter, r *http.Request)) http.Handler { return http.HandlerFunc(f) }

func TestCorrelationID(t *testing.T) {
	for _, row := range []struct {
		name string
		sent string
		kept bool
	}{
		{"one that is good is kept", "req-1_2.3:4/5", true},
		{"128 characters are good", strings.Repeat("a", 128), true},
		{"129 are not", strings.Repeat("a", 129), false},
		{"none is made", "", false},
		{"a space is not good", "a b", false},
		{"a line break would forge a log line", "a\nb", false},
		{"é is not good", "é", false},
		{"bytes that are no text are not good", "\xff", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/a/b", nil)
			r.Header.Set("X-Correlation-ID", row.sent)
			var inside string
			w, _ := through(handler(func(w http.ResponseWriter, r *http.Request) { inside = audit.OriginOf(r.Context()).CorrelationID }), r)
			got := w.Header().Get("X-Correlation-ID")
			if got == "" || got != inside || (got == row.sent) != row.kept {
				t.Errorf("%q inside, %q outside", inside, got)
			}
		})
	}
}

func TestOrigin(t *testing.T) {
	for _, row := range []struct {
		name, peer, agent string
		want              audit.Origin
	}{
		{"an IPv4 peer", "192.0.2.7:1234", "curl/8", audit.Origin{IP: "192.0.2.7", UserAgent: "curl/8"}},
		{"an IPv4 peer in IPv6", "[::ffff:192.0.2.7]:1234", "", audit.Origin{IP: "192.0.2.7"}},
		{"an IPv6 peer with a zone", "[fe80::1%eth0]:1234", "", audit.Origin{IP: "fe80::1"}},
		{"a peer that is no address", "@", "", audit.Origin{}},
		{"control characters and bad bytes are left out", "@", " a\x00b\xffc\td ", audit.Origin{UserAgent: "abcd"}},
		{"a long agent is cut between characters", "@", strings.Repeat("é", 600), audit.Origin{UserAgent: strings.Repeat("é", 512)}},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/a/b", nil)
			r.RemoteAddr = row.peer
			r.Header.Set("User-Agent", row.agent)
			var got audit.Origin
			through(handler(func(w http.ResponseWriter, r *http.Request) { got = audit.OriginOf(r.Context()) }), r)
			got.CorrelationID = ""
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestEveryAnswerIsSecured(t *testing.T) {
	for _, target := range []string{"/a/b", "/nothing", "/a/b/c/"} {
		w, _ := through(handler(func(http.ResponseWriter, *http.Request) {}), httptest.NewRequest("GET", target, nil))
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
			"Cache-Control": "no-store", "Pragma": "no-cache",
			"Content-Security-Policy":   "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
			"Strict-Transport-Security": "", // not over plain HTTP
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: %s: %q, want %q", target, name, got, want)
			}
		}
	}
}

func TestOverTLSBrowsersAreToldToStayThere(t *testing.T) {
	w := httptest.NewRecorder()
	Wrap(NewMux(quietLog), Edge{Log: quietLog, HTTPS: true}.Chain()).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if got := w.Header().Get("Strict-Transport-Security"); got != "max-age=63072000; includeSubDomains" {
		t.Error(got)
	}
}

func TestAccessLog(t *testing.T) {
	answer := func(status int) http.Handler {
		return handler(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) })
	}
	for _, row := range []struct {
		name   string
		target string
		h      http.Handler
		want   map[string]any
	}{
		{"a success, by pattern and without the path", "/a/s3cret?token=s3cret", answer(200), map[string]any{"level": "INFO", "route": "GET /a/{b}", "status_code": 200.0}},
		{"a refusal", "/a/b", answer(401), map[string]any{"level": "WARN", "route": "GET /a/{b}", "status_code": 401.0}},
		{"no route", "/s3cret", answer0, map[string]any{"level": "WARN", "route": "unmatched", "status_code": 404.0}},
		{"a quiet success", "/a/b", Quiet(answer(204)), map[string]any{"level": "DEBUG", "route": "GET /a/{b}", "status_code": 204.0}},
		{"a quiet refusal is not quiet", "/a/b", Quiet(answer(503)), map[string]any{"level": "WARN", "route": "GET /a/{b}", "status_code": 503.0}},
		{"an answer without a word is a 200", "/a/b", answer0, map[string]any{"level": "INFO", "route": "GET /a/{b}", "status_code": 200.0}},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", row.target, nil)
			r.Header.Set("Authorization", "Bearer s3cret")
			_, lines := through(row.h, r)
			if len(lines) != 1 {
				t.Fatalf("%d lines: %v", len(lines), lines)
			}
			row.want["msg"], row.want["method"], row.want["client_ip"] = "request_completed", "GET", "192.0.2.1"
			for name, want := range row.want {
				if lines[0][name] != want {
					t.Errorf("%s: %v, want %v", name, lines[0][name], want)
				}
			}
			if text := fmt.Sprint(lines); strings.Contains(text, "s3cret") {
				t.Error(text)
			}
		})
	}
}

var answer0 = handler(func(http.ResponseWriter, *http.Request) {})

func TestPanics(t *testing.T) {
	t.Run("a panic is an internal error, logged once with its cause and told to nobody", func(t *testing.T) {
		w, lines := through(handler(func(http.ResponseWriter, *http.Request) { panic("s3cret") }), httptest.NewRequest("GET", "/a/b", nil))
		if w.Code != 500 || strings.Contains(w.Body.String(), "s3cret") || !strings.Contains(w.Body.String(), `"internal_server_error"`) || w.Header().Get("X-Frame-Options") == "" {
			t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
		}
		if len(lines) != 2 || lines[0]["level"] != "ERROR" || !strings.Contains(fmt.Sprint(lines[0]["error"]), "s3cret") || lines[1]["status_code"] != 500.0 {
			t.Error(lines)
		}
	})
	t.Run("an answer that had begun is cut off", func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		mux := NewMux(log)
		mux.Handle("GET /", handler(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"half":`)
			http.NewResponseController(w).Flush()
			panic("in the middle")
		}))
		srv := httptest.NewServer(Wrap(mux, Edge{Log: log}.Chain()))
		defer srv.Close()
		r, err := http.Get(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if body, err := io.ReadAll(r.Body); err == nil {
			t.Errorf("the client took this for the whole: %s", body)
		}
	})
}

func TestBounds(t *testing.T) {
	t.Run("a body over 64 KiB is not read to its end", func(t *testing.T) {
		var err error
		var deadline bool
		through(handler(func(w http.ResponseWriter, r *http.Request) {
			_, err = io.ReadAll(r.Body)
			_, deadline = r.Context().Deadline()
		}), httptest.NewRequest("POST", "/a/b", strings.NewReader(strings.Repeat("a", MaxBody+1))))
		if !fault.Has(BodyFault(err), fault.RequestTooLarge) || !deadline {
			t.Errorf("%v, deadline %v", err, deadline)
		}
	})
	t.Run("a body that breaks off is malformed", func(t *testing.T) {
		if err := BodyFault(io.ErrUnexpectedEOF); !fault.Has(err, fault.MalformedRequest) {
			t.Error(err)
		}
	})
}

func TestExplain(t *testing.T) {
	gone, hangUp := context.WithCancel(context.Background())
	hangUp()
	for _, row := range []struct {
		name   string
		ctx    context.Context
		err    error
		status int
		header http.Header
		body   Envelope
		level  string // of the line that is logged
	}{
		{"a fault is what it says", t.Context(), fault.Invalid("a", "must be b"), 422, http.Header{},
			Envelope{Detail: "Some fields are not valid.", Code: "validation_error", Errors: []fault.Field{{Field: "a", Message: "must be b"}}}, ""},
		{"with its context around it", t.Context(), fmt.Errorf("signup.Signup: %w", fault.New(fault.AlreadyVerified)), 400, http.Header{},
			Envelope{Detail: "Email is already verified.", Code: "already_verified"}, ""},
		{"the time to wait is rounded up", t.Context(), fault.Retry(fault.RateLimited, 1100*time.Millisecond), 429, http.Header{"Retry-After": {"2"}, "Ratelimit-Remaining": {"0"}},
			Envelope{Detail: "Rate limit exceeded.", Code: "rate_limited"}, ""},
		{"a 401 names the scheme", t.Context(), fault.New(fault.InvalidToken), 401, http.Header{"Www-Authenticate": {"Bearer"}},
			Envelope{Detail: "Invalid token.", Code: "invalid_token"}, ""},
		{"and the reason, if a token came", t.Context(), TokenRefused{Err: fault.New(fault.TokenExpired)}, 401, http.Header{"Www-Authenticate": {`Bearer error="invalid_token"`}},
			Envelope{Detail: "Token has expired.", Code: "token_expired"}, ""},
		{"any other error is internal and stays here", t.Context(), errors.New("s3cret"), 500, http.Header{},
			Envelope{Detail: "Internal server error.", Code: "internal_server_error"}, "ERROR"},
		{"an outage asks to come back", t.Context(), fmt.Errorf("read: %w", context.DeadlineExceeded), 503, http.Header{"Retry-After": {"1"}},
			Envelope{Detail: fault.ServiceUnavailable.Detail, Code: "service_unavailable"}, "WARN"},
		{"who hung up is no news", gone, errors.New("anything"), 503, http.Header{"Retry-After": {"1"}},
			Envelope{Detail: fault.ServiceUnavailable.Detail, Code: "service_unavailable"}, "DEBUG"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out bytes.Buffer
			log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
			status, header, body := Explain(row.ctx, log, row.err)
			if status != row.status {
				t.Errorf("status %d, want %d", status, row.status)
			}
			if diff := cmp.Diff(row.header, header); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(row.body, body); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			if row.level == "" && out.Len() > 0 || !strings.Contains(out.String(), "level="+row.level) && row.level != "" {
				t.Errorf("logged %q, want %s", &out, row.level)
			}
		})
	}
}

func TestJSONIsWrittenAsItIs(t *testing.T) {
	w := httptest.NewRecorder()
	WriteJSON(w, 200, map[string]string{"html": "<a href=\"x\">&</a>"})
	if got := strings.TrimSpace(w.Body.String()); got != `{"html":"<a href=\"x\">&</a>"}` {
		t.Error(got)
	}
}
