package web

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/metric"
	"github.com/authsdk/authsdk/internal/foundation/trace"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

const (
	correlationHeader = "X-Correlation-Id" // X-Correlation-ID, as net/http writes it: no look-up has to change it
	maxUserAgent      = 1024

	// MaxBody bounds every request body.
	MaxBody = 64 << 10

	// RequestTimeout bounds the work of one request; Mux sees to it.
	RequestTimeout = 15 * time.Second
)

// Middleware wraps a handler.
type Middleware func(http.Handler) http.Handler

// Edge is what surrounds every route.
type Edge struct {
	Log     *slog.Logger
	Metrics *metric.Metrics // may be nil
	Proxies Proxies
	Origins []string // whose pages may call the API with a bearer token
	HTTPS   bool     // people reach this service over TLS
}

// Chain is what every request passes through, outermost first.
func (e Edge) Chain() []Middleware {
	return []Middleware{
		e.observe,
		secure(e.HTTPS),
		recoverPanic(e.Log),
		cors(e.Origins),
	}
}

// Wrap puts the middleware around h, the first one outermost.
func Wrap(h http.Handler, chain []Middleware) http.Handler {
	for i := len(chain) - 1; i >= 0; i-- {
		h = chain[i](h)
	}
	return h
}

// goodID accepts what cannot harm a log: 1 to 128 letters, digits and -_.:/
func goodID(id string) bool {
	return id != "" && len(id) <= 128 && !strings.ContainsFunc(id, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.:/", r))
	})
}

// newID makes a UUID that names a request. Nothing depends on its being hard to
// guess.
func newID() string {
	var id uuid.UUID
	binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	id[6] = id[6]&0x0f | 0x40 // version 4
	id[8] = id[8]&0x3f | 0x80 // RFC 9562
	return id.String()
}

// userAgent makes the header storable: valid text, no control characters,
// bounded.
func userAgent(ua string) string {
	ua = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return -1
		}
		return r
	}, strings.ToValidUTF8(ua, ""))
	ua = strings.TrimSpace(ua)
	if len(ua) > maxUserAgent {
		ua = strings.ToValidUTF8(ua[:maxUserAgent], "")
	}
	return ua
}

// secure sets the headers that every answer carries; the mux adds those for
// browsers. Pages and cacheable answers overwrite them.
func secure(https bool) Middleware {
	type header struct {
		name   string
		values []string // shared by all answers: Set and Add never change a slice of capacity 1
	}
	fixed := []header{
		{"X-Content-Type-Options", []string{"nosniff"}},
		{"X-Frame-Options", []string{"DENY"}},
		{"Content-Security-Policy", []string{"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"}},
		{"Cache-Control", []string{"no-store"}},
	}
	if https {
		fixed = append(fixed, header{"Strict-Transport-Security", []string{"max-age=63072000; includeSubDomains"}})
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			for _, f := range fixed {
				h[f.name] = f.values
			}
			next.ServeHTTP(w, r)
		})
	}
}

// recoverPanic answers a panic as an internal error, inside the layers above:
// the answer is logged and carries their headers. An answer that has begun is
// cut off, so that nobody takes half of it for the whole.
func recoverPanic(log *slog.Logger) Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				value := recover()
				if value == nil {
					return
				}
				if value == http.ErrAbortHandler {
					panic(value)
				}
				err := fmt.Errorf("panic: %v\n%s", value, debug.Stack())
				if rec, ok := w.(*recorder); ok && rec.status != 0 {
					Explain(r.Context(), log, err) // to the log only
					panic(http.ErrAbortHandler)
				}
				WriteFault(w, r, log, err)
			}()
			next.ServeHTTP(w, r)
		})
	}
}

// observe is the outermost layer. It names the request, says where it came from,
// bounds its body, and logs, counts and traces it: never a path, a
// query, a header or a body. All that rides on the context is put there at once,
// since every change of it copies the request.
func (e Edge) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := r.Header.Get(correlationHeader)
		if !goodID(id) {
			id = newID()
		}
		w.Header()[correlationHeader] = []string{id}
		origin := audit.Origin{IP: e.Proxies.clientIP(r), UserAgent: userAgent(r.UserAgent()), CorrelationID: id}
		matched := &match{route: "unmatched"}
		ctx, span := trace.StartRequest(r.Context(), r)
		ctx = context.WithValue(audit.WithOrigin(ctx, origin), matchKey{}, matched)
		rec := &recorder{ResponseWriter: w}
		r = r.WithContext(ctx)
		if r.Body != http.NoBody {
			r.Body = http.MaxBytesReader(rec, r.Body, MaxBody)
		}
		defer func() { // in a panic, too
			status := rec.status
			if status == 0 {
				status = http.StatusOK
			}
			took := time.Since(start)
			method := knownMethod(r.Method)
			e.Metrics.Request(method, matched.template(), status, took)
			span.EndRequest(method, matched.template(), status)
			level := slog.LevelInfo
			switch {
			case status >= 400:
				level = slog.LevelWarn
			case matched.quiet:
				level = slog.LevelDebug
			}
			if !e.Log.Enabled(ctx, level) {
				return
			}
			e.Log.LogAttrs(ctx, level, "request_completed",
				slog.String("method", method), slog.String("route", matched.route), slog.Int("status_code", status),
				slog.Float64("duration_ms", float64(took.Microseconds())/1000),
				slog.String("client_ip", origin.IP), slog.String("user_agent", origin.UserAgent))
		}()
		next.ServeHTTP(rec, r)
	})
}

// match is what the mux tells the access log of a request.
type match struct {
	route string // the pattern, never the path
	quiet bool
}

// template is the pattern without its method.
func (m *match) template() string {
	if _, path, ok := strings.Cut(m.route, " "); ok {
		return path
	}
	return m.route
}

// knownMethod keeps what clients invent out of labels and logs.
func knownMethod(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return method
	}
	return "other"
}

type matchKey struct{}

// Quiet has the successes of a route logged at DEBUG only: machines ask for it
// all the time.
func Quiet(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m, ok := r.Context().Value(matchKey{}).(*match); ok {
			m.quiet = true
		}
		next.ServeHTTP(w, r)
	})
}

// recorder remembers the status of an answer; 0 means that it has not begun.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
