package httpapi

import (
	"context"
	"net/http"

	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/transport/web"
)

type sessionAPI struct {
	sessions *session.Service
	grant    web.Handler // of tokens for services
}

func (a sessionAPI) routes() []Route {
	return []Route{
		endpoint("POST /auth/token", "Trade a refresh token for new tokens", a.refresh, fault.SessionExpired, fault.RateLimited).
			tag("Sessions").limit(web.Token).formTo(a.grant).cookieTo(a.refreshCookie),
		command("POST /auth/logout", "End a session", a.logout, fault.InvalidToken).tag("Sessions").optionalBody().either(),
		plain("GET /auth/validate", "Tell whether an access token is good right now", a.validate, answersNothing).
			tag("Services").auth(Machine).success(http.StatusNoContent).quiet().limit(web.Machine).anyHost(),
	}
}

type refreshInput struct {
	RefreshToken string `json:"refresh_token" minLength:"16" maxLength:"512" doc:"Not needed in cookie transport."`
}

func (a sessionAPI) refresh(ctx context.Context, in refreshInput) (Tokens, error) {
	pair, err := a.sessions.Rotate(ctx, in.RefreshToken, session.CSRF{})
	if err != nil {
		return Tokens{}, err
	}
	return callerOf(ctx).setSession(pair), nil
}

// refreshCookie is refresh for browsers. A refusal leaves the cookies: it may
// come late, when another tab has signed in again.
func (a sessionAPI) refreshCookie(w http.ResponseWriter, r *http.Request) error {
	c := callerOf(r.Context())
	if err := c.guard(); err != nil {
		return err
	}
	pair, err := a.sessions.Rotate(r.Context(), c.refreshCookie, c.proof())
	if err != nil {
		return err
	}
	web.WriteJSON(w, http.StatusOK, c.setSession(pair))
	return nil
}

// logout needs no live access token: the refresh token alone is enough. Whatever
// comes of it, a browser forgets its cookies, unless another site made it ask.
func (a sessionAPI) logout(ctx context.Context, in refreshInput) error {
	c := callerOf(ctx)
	access, refresh := c.bearer, in.RefreshToken
	if c.cookie {
		if err := c.guard(); err != nil {
			return err
		}
		access, refresh = c.accessCookie, c.refreshCookie
	}
	err := a.sessions.Logout(ctx, access, refresh, c.proof())
	if !fault.Has(err, fault.InvalidCSRFToken) {
		c.clear()
	}
	return err
}

func (a sessionAPI) validate(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}
