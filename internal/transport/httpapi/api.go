package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/flow/signin"
	"github.com/authsdk/authsdk/internal/flow/signup"
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
	description := a.build(mux.HandleAs)
	if a.Docs {
		a.mountDocs(mux, description)
	}
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

type bearerKey struct{}

func withBearer(r *http.Request) context.Context {
	return context.WithValue(r.Context(), bearerKey{}, bearer(r.Header.Get("Authorization")))
}

// bearerOf is the access token that came with the request, empty if none did.
func bearerOf(ctx context.Context) string {
	token, _ := ctx.Value(bearerKey{}).(string)
	return token
}

type identityKey struct{}

// identity is who is calling a route of class Session.
func identity(ctx context.Context) session.Identity {
	id, _ := ctx.Value(identityKey{}).(session.Identity)
	return id
}

// authenticate lets a route of class Session know who is calling.
func (a *API) authenticate(ctx context.Context) (context.Context, error) {
	token := bearerOf(ctx)
	id, err := a.Sessions.Check(ctx, token)
	if err != nil {
		if token != "" {
			err = web.TokenRefused{Err: err}
		}
		return ctx, err
	}
	return context.WithValue(ctx, identityKey{}, id), nil
}
