// Package pages is the face for people: plain HTML that works without
// JavaScript.
package pages

import (
	"bytes"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"

	"github.com/authsdk/authsdk/internal/flow/account"
	"github.com/authsdk/authsdk/internal/flow/recovery"
	"github.com/authsdk/authsdk/internal/flow/signup"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/mail"
	"github.com/authsdk/authsdk/internal/transport/web"
	"github.com/authsdk/authsdk/ui"
)

var templates = template.Must(template.ParseFS(ui.Files, "pages/*.html"))

// policy allows our own style sheet and forms, nothing else.
const policy = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"

// Pages is what the pages call.
type Pages struct {
	Log           *slog.Logger
	Signup        *signup.Service
	Recovery      *recovery.Service
	Account       *account.Service
	Mailbox       *mail.Mailbox // nil outside development
	MailboxPublic bool
	Docs          bool // /docs is served
}

// Mount adds every page to the mux.
func (p *Pages) Mount(mux *web.Mux) {
	handle := func(pattern string, h web.Handler) { mux.Handle(pattern, p.page(h)) }
	handle("GET /{$}", p.home)
	handle("GET "+recovery.ResetPage, p.resetForm)
	handle("POST "+recovery.ResetPage, p.reset)
	for path, c := range p.clicks() {
		handle("GET "+path, p.ask(c))
		handle("POST "+path, p.press(c))
	}
	if p.Mailbox != nil {
		handle("GET /dev/mailbox", web.LocalOnly(p.MailboxPublic)(p.mailbox))
	}
	mux.Handle("GET /static/{file}", web.Quiet(web.Handle(p.Log, web.Files(ui.Static("pages")))))
}

// page adapts a Handler whose errors people read.
func (p *Pages) page(h web.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil {
			return
		}
		status, header, body := web.Explain(r.Context(), p.Log, err)
		for name, values := range header {
			w.Header()[name] = values
		}
		if err := p.render(w, status, "error.html", body); err != nil {
			web.WriteFault(w, r, p.Log, err)
		}
	})
}

func (p *Pages) render(w http.ResponseWriter, status int, name string, data any) error {
	var page bytes.Buffer
	if err := templates.ExecuteTemplate(&page, name, data); err != nil {
		return fmt.Errorf("pages: %w", err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", policy)
	w.WriteHeader(status)
	page.WriteTo(w) // a failed write has nobody left to tell
	return nil
}

// home tells who comes by with a browser where to go.
func (p *Pages) home(w http.ResponseWriter, r *http.Request) error {
	return p.render(w, http.StatusOK, "home.html", struct{ Docs, Mailbox bool }{p.Docs, p.Mailbox != nil})
}

func (p *Pages) mailbox(w http.ResponseWriter, r *http.Request) error {
	to := r.URL.Query().Get("to")
	if !web.IsText(to) {
		return fault.Invalid("to", "must be text")
	}
	list, err := p.Mailbox.List(r.Context(), to)
	if err != nil {
		return err
	}
	return p.render(w, http.StatusOK, "mailbox.html", list)
}
