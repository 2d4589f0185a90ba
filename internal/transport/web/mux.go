package web

import (
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// Mux is http.ServeMux with our envelope for unknown paths and methods. A path
// with one slash too many at its end is redirected to the path without.
type Mux struct {
	log *slog.Logger
	mux *http.ServeMux
}

// NewMux makes an empty Mux.
func NewMux(log *slog.Logger) *Mux { return &Mux{log, http.NewServeMux()} }

// Handle registers a pattern such as "POST /auth/login".
func (m *Mux) Handle(pattern string, h http.Handler) {
	m.mux.Handle(pattern, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if matched, ok := r.Context().Value(matchKey{}).(*match); ok {
			matched.route = pattern
		}
		h.ServeHTTP(w, r)
	}))
}

// ServeHTTP implements http.Handler.
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	found, allow := m.look(r)
	switch {
	case found:
		m.mux.ServeHTTP(w, r)
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

// look reports whether a route is registered for the request, and if not, which
// methods are for its path.
func (m *Mux) look(r *http.Request) (found bool, allow string) {
	h, pattern := m.mux.Handler(r)
	if pattern != "" {
		return true, ""
	}
	// Only the standard handler knows 404 from 405 and what is allowed.
	p := probe{}
	h.ServeHTTP(p, r)
	return false, http.Header(p).Get("Allow")
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
	found, allow := m.look(shorter)
	return shorter.URL.String(), found || allow != ""
}

// probe is a ResponseWriter that keeps the headers.
type probe http.Header

func (p probe) Header() http.Header         { return http.Header(p) }
func (p probe) Write(b []byte) (int, error) { return len(b), nil }
func (p probe) WriteHeader(int)             {}
