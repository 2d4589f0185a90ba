package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/flow/signin"
	"github.com/authsdk/authsdk/internal/flow/signup"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/mail"
	"github.com/authsdk/authsdk/internal/transport/web"
)

// API is what the routes call.
type API struct {
	Log      *slog.Logger
	Sessions *session.Service
	Signin   *signin.Service
	Signup   *signup.Service
	Keys     *keyring.Keyring
	Mailbox  *mail.Mailbox // nil outside development
	Ready    func(ctx context.Context) Readiness
	Service  string // title of the API description
	Docs     bool   // serve /docs and /openapi.json

	// MailboxPublic lets others than this machine read the mailbox.
	MailboxPublic bool
}

// Mount adds every route to the mux.
func (a *API) Mount(mux *web.Mux) {
	api := a.describe(mux)
	for _, r := range a.Routes() {
		a.mount(mux, api, r)
	}
	if a.Docs {
		a.mountDocs(mux, api)
	}
}

func (a *API) mount(mux *web.Mux, api huma.API, r Route) {
	op := r.operation(api)
	if r.register != nil {
		r.register(a, api, op)
		return
	}
	if r.document != nil {
		r.document(&op, api)
	} else {
		documentAnswer[struct{}](&op, api)
	}
	api.OpenAPI().AddOperation(&op)
	h := r.handler
	if r.Auth == Session {
		h = a.authenticate(h)
	}
	mux.Handle(r.Pattern, web.Handle(a.Log, h))
}

type identityKey struct{}

func withIdentity(ctx context.Context, id session.Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// identity is who is calling a route of Auth class Session.
func identity(ctx context.Context) session.Identity {
	id, _ := ctx.Value(identityKey{}).(session.Identity)
	return id
}

func (a *API) authenticate(next web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, err := a.Sessions.Check(r.Context(), bearer(r.Header.Get("Authorization")))
		if err != nil {
			return err
		}
		return next(w, r.WithContext(withIdentity(r.Context(), id)))
	}
}

type bearerKey struct{}

func bearerOf(ctx context.Context) string {
	token, _ := ctx.Value(bearerKey{}).(string)
	return token
}

// bearer returns the token of an Authorization header (RFC 6750 §2.1), empty if
// there is none. The scheme's case does not matter.
func bearer(header string) string {
	scheme, token, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// readJSON decodes a JSON body for plain handlers. An absent body leaves into
// as it is.
func readJSON(r *http.Request, into any) error {
	body, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return fault.New(fault.RequestTooLarge)
	case err != nil:
		return fault.New(fault.MalformedRequest).Because(err)
	}
	if body = bytes.TrimSpace(body); len(body) == 0 || string(body) == "null" {
		return nil
	}
	if !utf8.Valid(body) {
		return fault.New(fault.MalformedRequest)
	}
	err = json.Unmarshal(body, into)
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrongType):
		return fault.Invalid(wrongType.Field, "must be a "+wrongType.Type.String())
	case err != nil:
		return fault.New(fault.MalformedRequest).Because(err)
	}
	return nil
}

// isForm reports whether the body claims to be a form.
func isForm(r *http.Request) bool {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return kind == "application/x-www-form-urlencoded" || kind == "multipart/form-data"
}
