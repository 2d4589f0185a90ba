package web

import (
	"log/slog"
	"net/http"
	"strings"

	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// Mux is http.ServeMux with our envelope for unknown paths and methods.
type Mux struct {
	log *slog.Logger
	mux *http.ServeMux
}

// NewMux makes an empty Mux.
func NewMux(log *slog.Logger) *Mux { return &Mux{log, http.NewServeMux()} }

// Handle registers a pattern such as "POST /auth/login".
func (m *Mux) Handle(pattern string, h http.Handler) {
	m.mux.Handle(pattern, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		SetRoute(r.Context(), pattern)
		h.ServeHTTP(w, r)
	}))
}

// ServeHTTP implements http.Handler.
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, pattern := m.mux.Handler(r)
	if pattern != "" {
		m.mux.ServeHTTP(w, r)
		return
	}
	if path := strings.TrimSuffix(r.URL.Path, "/"); path != r.URL.Path && path != "" && !strings.HasPrefix(path, "//") && m.knows(r, path) {
		http.Redirect(w, r, path, http.StatusTemporaryRedirect)
		return
	}
	// The standard handler knows 404 from 405 and what is allowed.
	probe := &probe{header: http.Header{}}
	h.ServeHTTP(probe, r)
	f := fault.New(fault.NotFound)
	if probe.status == http.StatusMethodNotAllowed {
		f = fault.New(fault.MethodNotAllowed)
		f.Allow = probe.header.Get("Allow")
	}
	WriteFault(w, r, m.log, f)
}

func (m *Mux) knows(r *http.Request, path string) bool {
	other := r.Clone(r.Context())
	other.URL.Path = path
	other.URL.RawPath = ""
	_, pattern := m.mux.Handler(other)
	return pattern != ""
}

type probe struct {
	header http.Header
	status int
}

func (p *probe) Header() http.Header         { return p.header }
func (p *probe) Write(b []byte) (int, error) { return len(b), nil }
func (p *probe) WriteHeader(status int)      { p.status = status }
