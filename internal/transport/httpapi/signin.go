package httpapi

import (
	"context"

	"github.com/authsdk/authsdk/internal/flow/signin"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/transport/web"
)

type signinAPI struct{ signin *signin.Service }

func (a signinAPI) routes() []Route {
	return []Route{
		endpoint("POST /auth/login", "Log in with e-mail and password", a.login,
			fault.InvalidCredentials, fault.AccountLocked, fault.EmailNotVerified, fault.AudienceNotAllowed, fault.OTPIssuanceBlocked).tag("Sessions").limit(web.Login).either(),
	}
}

type loginInput struct {
	Email    string `json:"email" maxLength:"320" example:"you@example.com"`
	Password string `json:"password" example:"Correct-Horse-7"`
	Audience string `json:"audience,omitempty" maxLength:"255" doc:"The service the access token is for. Without it the token is good at this service only." example:"orders-api"`
}

// loginOutput is a session, or the question for a code.
type loginOutput struct {
	Tokens
	OTPRequired    bool   `json:"otp_required,omitempty" doc:"The password was right; a code was mailed. Send it to POST /auth/otp/verify/login."`
	ChallengeToken string `json:"challenge_token,omitempty" doc:"With otp_required: send it with the code."`
	MaskedEmail    string `json:"masked_email,omitempty" doc:"With otp_required: where the code went." example:"y**@example.com"`
}

func (a signinAPI) login(ctx context.Context, in loginInput) (loginOutput, error) {
	c := callerOf(ctx)
	if err := c.guard(); err != nil {
		return loginOutput{}, err
	}
	outcome, err := a.signin.Login(ctx, signin.Input{Email: in.Email, Password: in.Password, Audience: in.Audience, CSRF: c.csrf})
	if err != nil {
		return loginOutput{}, err
	}
	if challenge := outcome.Challenge; challenge != nil {
		return loginOutput{OTPRequired: true, ChallengeToken: challenge.Token, MaskedEmail: challenge.MaskedEmail}, nil
	}
	return loginOutput{Tokens: c.setSession(outcome.Pair)}, nil
}
