package web

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// Mux is http.ServeMux with our envelope for unknown paths and methods. A path
// with one slash too many at its end is redirected to the path without.
type Mux struct {
	Gate *Gate // nil admits everything

	log      *slog.Logger
	mux      *http.ServeMux
	policies map[string]Policy // by pattern
}

// NewMux makes an empty Mux.
func NewMux(log *slog.Logger) *Mux {
	return &Mux{log: log, mux: http.NewServeMux(), policies: map[string]Policy{}}
}

// Handle registers a pattern such as "POST /auth/login", with the zero Policy.
func (m *Mux) Handle(pattern string, h http.Handler) { m.HandleAs(Policy{}, pattern, h) }

// HandleAs registers a pattern with a policy.
func (m *Mux) HandleAs(policy Policy, pattern string, h http.Handler) {
	m.policies[pattern] = policy
	m.mux.Handle(pattern, h)
}

// For browsers and their caches of old.
var noReferrer, noCache = []string{"no-referrer"}, []string{"no-cache"}

// ServeHTTP implements http.Handler.
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, pattern, allow := m.look(r)
	if matched, ok := r.Context().Value(matchKey{}).(*match); ok && pattern != "" {
		matched.route = pattern
	}
	policy := m.policies[pattern]
	if policy.Class != Machine {
		h := w.Header() // capacity 1: Set and Add never change what is shared
		h["Referrer-Policy"], h["Pragma"] = noReferrer, noCache
	}
	if err := m.Gate.admit(w, r, pattern, policy); err != nil {
		WriteFault(w, r, m.log, err)
		return
	}
	// What services read is answered from memory, and bounds its own looks into SQL.
	if policy.Class != Machine || r.Method != http.MethodGet {
		ctx, cancel := context.WithTimeout(r.Context(), RequestTimeout)
		defer cancel()
		r = r.WithContext(ctx)
	}
	switch {
	case strings.Contains(pattern, "{"):
		m.mux.ServeHTTP(w, r) // which alone sets the path values
	case pattern != "":
		h.ServeHTTP(w, r)
	case allow != "":
		f := fault.New(fault.MethodNotAllowed)
		f.Allow = allow
		WriteFault(w, r, m.log, f)
	default:
		if shorter, ok := m.withoutSlash(r); ok {
			w.Header().Set("Location", shorter)
			w.WriteHeader(http.StatusTemporaryRedirect)
			return
		}
		WriteFault(w, r, m.log, fault.New(fault.NotFound))
	}
}

// look returns the handler and the pattern registered for the request, or if
// there is none, which methods are for its path.
func (m *Mux) look(r *http.Request) (h http.Handler, pattern, allow string) {
	h, pattern = m.mux.Handler(r)
	if pattern != "" {
		return h, pattern, ""
	}
	// Only the standard handler knows 404 from 405 and what is allowed.
	p := probe{}
	h.ServeHTTP(p, r)
	return nil, "", http.Header(p).Get("Allow")
}

// withoutSlash returns where a path that ends in a slash is known without it.
// What it returns is a path on this host: it never starts with two slashes.
func (m *Mux) withoutSlash(r *http.Request) (string, bool) {
	path, ok := strings.CutSuffix(r.URL.Path, "/")
	if !ok || path == "" || strings.HasPrefix(path, "//") {
		return "", false
	}
	shorter := r.Clone(r.Context())
	shorter.URL = &url.URL{Path: path, RawPath: strings.TrimSuffix(r.URL.RawPath, "/"), RawQuery: r.URL.RawQuery}
	_, pattern, allow := m.look(shorter)
	return shorter.URL.String(), pattern != "" || allow != ""
}

// probe is a ResponseWriter that keeps the headers.
type probe http.Header

func (p probe) Header() http.Header         { return http.Header(p) }
func (p probe) Write(b []byte) (int, error) { return len(b), nil }
func (p probe) WriteHeader(int)             {}
