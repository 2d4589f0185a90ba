package httpapi

import (
	"context"
	"crypto/subtle"
	"log/slog"
	"time"

	"github.com/authsdk/authsdk/internal/core/client"
	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/core/webhook"
	"github.com/authsdk/authsdk/internal/flow/account"
	"github.com/authsdk/authsdk/internal/flow/confirm"
	"github.com/authsdk/authsdk/internal/flow/directory"
	"github.com/authsdk/authsdk/internal/flow/erasure"
	"github.com/authsdk/authsdk/internal/flow/machine"
	"github.com/authsdk/authsdk/internal/flow/recovery"
	"github.com/authsdk/authsdk/internal/flow/signin"
	"github.com/authsdk/authsdk/internal/flow/signup"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/method/apikey"
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
	Clients  *client.Service
	APIKeys  *apikey.Service
	Machines *machine.Service
	History  *audit.History
	Audit    *audit.Log
	Chain    *audit.Chain
	Users    *directory.Service
	Keys     *keyring.Keyring
	Webhooks *webhook.Service
	Mailbox  *mail.Mailbox // nil outside development
	Ready    func(ctx context.Context) Readiness
	Browser  web.Browser
	Service  string // title of the API description
	Docs     bool   // serve /docs and /openapi.json

	// RequireCaller has those who introspect show a credential of their own.
	RequireCaller bool

	// SharedAudience lets tokens that name other services too change accounts.
	SharedAudience bool

	// AdminKey is the bootstrap key of the admin API; empty outside development.
	AdminKey string

	// MailboxPublic lets others than this machine read the mailbox.
	MailboxPublic bool

	// HealthOnly serves /health/* and nothing else: a process without the role api.
	HealthOnly bool
}

// Mount adds every route to the mux.
func (a *API) Mount(mux *web.Mux) {
	description := a.build(mux.HandleAs)
	if a.Docs && !a.HealthOnly {
		a.mountDocs(mux, description)
	}
}

// actionTokenOf is the confirmation of a sensitive act that came with the
// request, empty if none did.
func actionTokenOf(ctx context.Context) string { return callerOf(ctx).actionToken }

type identityKey struct{}

// identity is who is calling a route of class Machine, Session, Account or Admin;
// empty for the bootstrap key.
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
	if r.Auth == Admin && a.AdminKey != "" && subtle.ConstantTimeCompare([]byte(c.adminKey), []byte(a.AdminKey)) == 1 {
		return context.WithValue(ctx, byKey{}, audit.By{Type: "admin"}), nil
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
	if (r.Auth == Account || r.Auth == Admin) && !a.SharedAudience && len(id.Claims.Audience) > 1 {
		return ctx, fault.New(fault.AudienceNotAllowed)
	}
	ctx = context.WithValue(ctx, identityKey{}, id)
	if r.Auth == Admin {
		return a.operate(ctx, r, id)
	}
	return ctx, nil
}

type byKey struct{}

// by is the admin who acts, with the proof that the route asked for.
func by(ctx context.Context) audit.By {
	b, _ := ctx.Value(byKey{}).(audit.By)
	return b
}

// operate lets admins on, with the proof that the act asks for.
func (a *API) operate(ctx context.Context, r Route, id session.Identity) (context.Context, error) {
	if id.Role != user.RoleAdmin {
		return ctx, fault.New(fault.InsufficientRole)
	}
	b := audit.By{Type: "admin", ID: id.User}
	if r.action != "" {
		c := callerOf(ctx)
		demand := stepup.Demand{Action: r.action, TokenOnly: r.fresh}
		if r.target != "" {
			demand.Target = c.parameter(r.target)
		}
		proof, err := a.StepUp.Prove(ctx, id, c.actionToken, demand)
		if err != nil {
			return ctx, err
		}
		b.Proof = func(ctx context.Context, tx *db.Tx, now time.Time) error { return proof.Spend(ctx, tx, now, demand) }
	}
	return context.WithValue(ctx, byKey{}, b), nil
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
