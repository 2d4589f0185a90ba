package httpapi

import (
	"context"

	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/flow/confirm"
	"github.com/authsdk/authsdk/internal/flow/signin"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/transport/web"
)

type otpAPI struct {
	signin  *signin.Service
	confirm *confirm.Service
	stepup  *stepup.Service
}

func (a otpAPI) routes() []Route {
	guesses := []fault.Code{fault.AccountLocked, fault.OTPExpired, fault.InvalidOTP, fault.OTPMaxAttempts}
	return []Route{
		endpoint("POST /auth/otp/verify/login", "Complete a login with the mailed code", a.verifyLogin,
			append(guesses, fault.InvalidToken)...).tag("One-time codes").limit(web.Login).either(),
		endpoint("POST /auth/otp/resend/login", "Mail the code of a login again", a.resendLogin,
			fault.InvalidToken, fault.OTPExpired, fault.OTPIssuanceBlocked, fault.RateLimited).tag("One-time codes").limit(web.Login),
		endpoint("POST /auth/otp/request/action", "Mail a code that confirms one act", a.requestAction,
			fault.EmailNotVerified, fault.OTPIssuanceBlocked).tag("One-time codes").auth(Session),
		endpoint("POST /auth/otp/verify/action", "Trade the code for an action token", a.verifyAction,
			append(guesses, fault.OTPActionMismatch)...).tag("One-time codes").auth(Session),
		command("POST /auth/otp/consume/action", "Spend an action token on behalf of a service", a.consume,
			fault.ActionTokenInvalid).tag("Services").auth(Machine).limit(web.Machine).anyHost(),
		endpoint("POST /auth/reauth", "Prove the password again", a.reauth,
			fault.InvalidCredentials, fault.AccountLocked, fault.OTPRequired).tag("Sessions").auth(Session).limit(web.Login).cookies(),
	}
}

type verifyLoginInput struct {
	ChallengeToken string `json:"challenge_token" minLength:"16" maxLength:"8192" doc:"From the login."`
	Code           string `json:"code" minLength:"4" maxLength:"12" example:"123456"`
}

func (a otpAPI) verifyLogin(ctx context.Context, in verifyLoginInput) (Tokens, error) {
	c := callerOf(ctx)
	if err := c.guard(); err != nil {
		return Tokens{}, err
	}
	pair, err := a.signin.VerifyCode(ctx, in.ChallengeToken, in.Code, c.csrf)
	if err != nil {
		return Tokens{}, err
	}
	return c.setSession(pair), nil
}

type challengeInput struct {
	ChallengeToken string `json:"challenge_token" minLength:"16" maxLength:"8192" doc:"From the login."`
}

func (a otpAPI) resendLogin(ctx context.Context, in challengeInput) (sent, error) {
	return sent{true}, a.signin.ResendCode(ctx, in.ChallengeToken)
}

type actionInput struct {
	Action string `json:"action" maxLength:"255" doc:"An act of this service, or service:name for one of another service." example:"orders-api:refund"`
	Target string `json:"target,omitempty" maxLength:"254" doc:"What the act is on. The token is then good for that only." example:"order-17"`
}

type actionSent struct {
	Sent      bool   `json:"sent"`
	Action    string `json:"action"`
	ExpiresIn int    `json:"expires_in" doc:"Seconds the code works."`
}

func (a otpAPI) requestAction(ctx context.Context, in actionInput) (actionSent, error) {
	life, err := a.confirm.Request(ctx, identity(ctx), in.Action, in.Target)
	return actionSent{true, in.Action, int(life.Seconds())}, err
}

type verifyActionInput struct {
	Code   string `json:"code" minLength:"4" maxLength:"12" example:"123456"`
	Action string `json:"action" maxLength:"255" example:"orders-api:refund"`
}

type actionToken struct {
	ActionToken string `json:"action_token" doc:"Good once, for this act: send it as X-Action-Token."`
	ExpiresIn   int    `json:"expires_in" doc:"Seconds the token works."`
}

func (a otpAPI) verifyAction(ctx context.Context, in verifyActionInput) (actionToken, error) {
	token, err := a.confirm.Verify(ctx, identity(ctx), in.Code, in.Action)
	return actionToken{token, int(a.stepup.Lifetime.Seconds())}, err
}

type consumeInput struct {
	ActionToken string `json:"action_token" minLength:"16" maxLength:"8192"`
	Action      string `json:"action" maxLength:"255" example:"orders-api:refund"`
	Target      string `json:"target,omitempty" maxLength:"254"`
}

// consume is called by a service with the access token of who is calling it.
func (a otpAPI) consume(ctx context.Context, in consumeInput) error {
	return a.stepup.Consume(ctx, identity(ctx), in.ActionToken, in.Action, in.Target)
}

type reauthInput struct {
	Password string `json:"password"`
}

// reauth answers where the access token came from: in the body, or in a cookie.
func (a otpAPI) reauth(ctx context.Context, in reauthInput) (Tokens, error) {
	access, err := a.signin.Reauth(ctx, identity(ctx), in.Password)
	if err != nil {
		return Tokens{}, err
	}
	return callerOf(ctx).setAccess(access), nil
}
