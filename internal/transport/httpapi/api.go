package httpapi

import (
	"context"
	"log/slog"

	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/flow/account"
	"github.com/authsdk/authsdk/internal/flow/confirm"
	"github.com/authsdk/authsdk/internal/flow/erasure"
	"github.com/authsdk/authsdk/internal/flow/recovery"
	"github.com/authsdk/authsdk/internal/flow/signin"
	"github.com/authsdk/authsdk/internal/flow/signup"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/mail"
	"github.com/authsdk/authsdk/internal/transport/web"
)

// API is what the routes call.
type API struct {
	Log      *slog.Logger
	Sessions *session.Service
	Signin   *signin.Service
	Signup   *signup.Service
	Confirm  *confirm.Service
	Recovery *recovery.Service
	Account  *account.Service
	StepUp   *stepup.Service
	Erasure  *erasure.Service
	History  *audit.History
	Keys     *keyring.Keyring
	Mailbox  *mail.Mailbox // nil outside development
	Ready    func(ctx context.Context) Readiness
	Browser  web.Browser
	Service  string // title of the API description
	Docs     bool   // serve /docs and /openapi.json

	// SharedAudience lets tokens that name other services too change accounts.
	SharedAudience bool

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

// actionTokenOf is the confirmation of a sensitive act that came with the
// request, empty if none did.
func actionTokenOf(ctx context.Context) string { return callerOf(ctx).actionToken }

type identityKey struct{}

// identity is who is calling a route of class Machine, Session or Account.
func identity(ctx context.Context) session.Identity {
	id, _ := ctx.Value(identityKey{}).(session.Identity)
	return id
}

// authenticate lets a route for users know who is calling.
func (a *API) authenticate(ctx context.Context, r Route) (context.Context, error) {
	c := callerOf(ctx)
	access := c.bearer
	if r.Auth != Machine {
		c.choose(c.bearer == "" && c.accessCookie != "")
		if r.changes() {
			if err := c.guard(); err != nil {
				return ctx, err
			}
		}
		if c.cookie {
			access = c.accessCookie
		}
	}
	id, err := a.check(ctx, access, c.bearer != "")
	if err != nil {
		return ctx, err
	}
	if c.cookie && r.changes() {
		bound, err := a.Sessions.Bound(ctx, id, c.csrf)
		if err != nil {
			return ctx, err
		}
		if !bound {
			return ctx, fault.New(fault.InvalidCSRFToken)
		}
	}
	if r.Auth == Account && !a.SharedAudience && len(id.Claims.Audience) > 1 {
		return ctx, fault.New(fault.AudienceNotAllowed)
	}
	return context.WithValue(ctx, identityKey{}, id), nil
}

// check checks an access token. A bearer token that is refused is told in the
// WWW-Authenticate header, too.
func (a *API) check(ctx context.Context, access string, bearer bool) (session.Identity, error) {
	id, err := a.Sessions.Check(ctx, access)
	if err != nil && bearer && access != "" {
		err = web.TokenRefused{Err: err}
	}
	return id, err
}
