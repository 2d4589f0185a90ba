package httpapi

import (
	"context"
	"net/http"

	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/transport/web"
)

type sessionAPI struct{ sessions *session.Service }

func (a sessionAPI) routes() []Route {
	return []Route{
		endpoint("POST /auth/token", "Trade a refresh token for new tokens", a.refresh, fault.SessionExpired, fault.RateLimited).
			tag("Sessions").limit(web.Token).formTo(a.clientCredentials),
		command("POST /auth/logout", "End a session", a.logout, fault.InvalidToken).tag("Sessions").optionalBody(),
		plain("GET /auth/validate", "Tell whether an access token is good right now", a.validate, answersNothing).
			tag("Services").auth(Session).success(http.StatusNoContent).quiet().limit(web.Machine).anyHost(),
	}
}

type refreshInput struct {
	RefreshToken string `json:"refresh_token" minLength:"16" maxLength:"512"`
}

func (a sessionAPI) refresh(ctx context.Context, in refreshInput) (tokens, error) {
	pair, err := a.sessions.Rotate(ctx, in.RefreshToken)
	return tokensOf(pair), err
}

// clientCredentials is how services get tokens (RFC 6749 §4.4): not yet.
func (a sessionAPI) clientCredentials(http.ResponseWriter, *http.Request) error {
	return fault.New(fault.UnsupportedMediaType)
}

// logout needs no live access token: the refresh token alone is enough.
func (a sessionAPI) logout(ctx context.Context, in refreshInput) error {
	if in.RefreshToken == "" {
		return fault.New(fault.InvalidToken)
	}
	return a.sessions.Logout(ctx, bearerOf(ctx), in.RefreshToken)
}

func (a sessionAPI) validate(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}
