package web

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/platform/audit"
)

const (
	correlationHeader = "X-Correlation-ID"
	maxUserAgent      = 1024

	// MaxBody bounds every request body.
	MaxBody = 64 << 10

	// RequestTimeout bounds the work of one request.
	RequestTimeout = 15 * time.Second
)

// Middleware wraps a handler.
type Middleware func(http.Handler) http.Handler

// Chain is what every request passes through, outermost first.
func Chain(log *slog.Logger) []Middleware {
	return []Middleware{
		origin,
		secure,
		accessLog(log),
		recoverPanic(log),
		bound,
	}
}

// Wrap puts the middleware around h, the first one outermost.
func Wrap(h http.Handler, chain []Middleware) http.Handler {
	for i := len(chain) - 1; i >= 0; i-- {
		h = chain[i](h)
	}
	return h
}

// origin names the request and says where it came from.
func origin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(correlationHeader)
		if !goodID(id) {
			id = uuid.NewString()
		}
		w.Header().Set(correlationHeader, id)
		ctx := audit.WithOrigin(r.Context(), audit.Origin{
			IP: peer(r.RemoteAddr), UserAgent: userAgent(r.UserAgent()), CorrelationID: id,
		})
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// goodID accepts what cannot harm a log: 1 to 128 letters, digits and -_.:/
func goodID(id string) bool {
	return id != "" && len(id) <= 128 && !strings.ContainsFunc(id, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.:/", r))
	})
}

func peer(remote string) string {
	address, err := netip.ParseAddrPort(remote)
	if err != nil {
		return ""
	}
	return address.Addr().Unmap().WithZone("").String()
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

// secure sets the headers that every answer carries. Handlers of public,
// cacheable or framable answers overwrite them.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'")
		h.Set("Cache-Control", "no-store")
		h.Set("Pragma", "no-cache")
		next.ServeHTTP(w, r)
	})
}

// bound limits the body and the time of a request.
func bound(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), RequestTimeout)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// recoverPanic answers a panic as an internal error, inside the layers above:
// the answer is logged and carries their headers.
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
				WriteFault(w, r, log, fmt.Errorf("panic: %v\n%s", value, debug.Stack()))
			}()
			next.ServeHTTP(w, r)
		})
	}
}

// accessLog writes a line a request: never a query, a header or a body.
func accessLog(log *slog.Logger) Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			start := time.Now()
			rec := &recorder{ResponseWriter: w, status: http.StatusOK}
			route := &routeName{}
			next.ServeHTTP(rec, r.WithContext(context.WithValue(r.Context(), routeKey{}, route)))
			level := slog.LevelInfo
			if rec.status >= 400 {
				level = slog.LevelWarn
			}
			if quietRoutes[route.name] && rec.status < 400 {
				level = slog.LevelDebug
			}
			if !log.Enabled(r.Context(), level) {
				return
			}
			origin := audit.OriginOf(r.Context())
			log.LogAttrs(r.Context(), level, "request_completed",
				slog.String("method", r.Method), slog.String("route", route.or("unmatched")), slog.Int("status_code", rec.status),
				slog.Float64("duration_ms", float64(time.Since(start).Microseconds())/1000),
				slog.String("client_ip", origin.IP), slog.String("user_agent", origin.UserAgent))
		})
	}
}

// quietRoutes are asked all the time by machines; their successes are only
// logged at DEBUG.
var quietRoutes = map[string]bool{
	"GET /health/live": true, "GET /health/ready": true, "GET /auth/validate": true, "GET /.well-known/jwks.json": true,
}

type routeKey struct{}

type routeName struct{ name string }

func (n *routeName) or(other string) string {
	if n.name == "" {
		return other
	}
	return n.name
}

// SetRoute names the matched route for the log: the template, never the path.
func SetRoute(ctx context.Context, name string) {
	if n, ok := ctx.Value(routeKey{}).(*routeName); ok {
		n.name = name
	}
}

type recorder struct {
	http.ResponseWriter
	status int
	wrote  bool
}

func (r *recorder) WriteHeader(status int) {
	if !r.wrote {
		r.status, r.wrote = status, true
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	r.wrote = true
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
