package httpapi

import (
	"context"

	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/flow/signin"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/transport/web"
)

type signinAPI struct{ signin *signin.Service }

func (a signinAPI) routes() []Route {
	return []Route{
		endpoint("POST /auth/login", "Log in with e-mail and password", a.login,
			fault.InvalidCredentials, fault.EmailNotVerified, fault.AudienceNotAllowed).tag("Sessions").limit(web.Login),
	}
}

type loginInput struct {
	Email    string `json:"email" maxLength:"320" example:"you@example.com"`
	Password string `json:"password" example:"Correct-Horse-7"`
	Audience string `json:"audience,omitempty" maxLength:"255" doc:"The service the access token is for. Without it the token is good at this service only." example:"orders-api"`
}

// tokens is what every way in answers (RFC 6749 §5.1).
type tokens struct {
	AccessToken  string `json:"access_token" doc:"A JWT (RFC 9068): send it as Authorization: Bearer."`
	RefreshToken string `json:"refresh_token" doc:"Opaque. Good once, at POST /auth/token."`
	TokenType    string `json:"token_type" enum:"bearer"`
	ExpiresIn    int    `json:"expires_in" doc:"Seconds the access token lives."`
}

func tokensOf(p session.Pair) tokens {
	return tokens{p.Access, p.Refresh, "bearer", int(p.ExpiresIn.Seconds())}
}

func (a signinAPI) login(ctx context.Context, in loginInput) (tokens, error) {
	pair, err := a.signin.Login(ctx, in.Email, in.Password, in.Audience)
	return tokensOf(pair), err
}
