// Package pages is the face for people: plain HTML that works without
// JavaScript.
package pages

import (
	"bytes"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"

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
	Mailbox       *mail.Mailbox // nil outside development
	MailboxPublic bool
}

// Mount adds every page to the mux.
func (p *Pages) Mount(mux *web.Mux) {
	handle := func(pattern string, h web.Handler) { mux.Handle(pattern, web.Handle(p.Log, h)) }
	handle("GET "+signup.VerifyPage, p.verifyForm)
	handle("POST "+signup.VerifyPage, p.verify)
	if p.Mailbox != nil {
		handle("GET /dev/mailbox", web.LocalOnly(p.MailboxPublic)(p.mailbox))
	}
	style := http.StripPrefix("/static/", http.FileServerFS(ui.Static("pages")))
	mux.Handle("GET /static/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Header().Del("Pragma")
		style.ServeHTTP(w, r)
	}))
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

// verifyForm asks for one click: mail scanners open links, and would use the
// token up.
func (p *Pages) verifyForm(w http.ResponseWriter, r *http.Request) error {
	token := r.URL.Query().Get("token")
	if token == "" {
		return p.render(w, http.StatusBadRequest, "verify_failed.html", nil)
	}
	return p.render(w, http.StatusOK, "verify.html", struct{ Token string }{token})
}

func (p *Pages) verify(w http.ResponseWriter, r *http.Request) error {
	err := p.Signup.VerifyEmail(r.Context(), r.PostFormValue("token"))
	switch {
	case fault.Has(err, fault.InvalidVerifyToken):
		return p.render(w, http.StatusBadRequest, "verify_failed.html", nil)
	case err != nil:
		return err
	}
	return p.render(w, http.StatusOK, "verified.html", nil)
}

func (p *Pages) mailbox(w http.ResponseWriter, r *http.Request) error {
	list, err := p.Mailbox.List(r.Context(), r.URL.Query().Get("to"))
	if err != nil {
		return err
	}
	return p.render(w, http.StatusOK, "mailbox.html", list)
}
