package httpapi

import (
	"context"

	"github.com/authsdk/authsdk/internal/flow/recovery"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// recoveryAPI is for people who do not know their password.
type recoveryAPI struct{ recovery *recovery.Service }

func (a recoveryAPI) routes() []Route {
	return []Route{
		endpoint("POST /auth/password/forgot", "Mail a link to choose a new password", a.forgot, fault.RateLimited).tag("Accounts"),
		query("GET /auth/password/reset", "See whether a link still works", a.check, fault.InvalidResetToken).tag("Accounts"),
		endpoint("POST /auth/password/reset", "Choose a new password with the token of a link", a.reset,
			fault.InvalidResetToken, fault.PasswordReused).tag("Accounts"),
	}
}

// forgot answers the same whether or not the address has an account.
func (a recoveryAPI) forgot(ctx context.Context, in addressInput) (sent, error) {
	return sent{true}, a.recovery.Forgot(ctx, in.Email)
}

type resetQuery struct {
	Token string `query:"token" required:"true" minLength:"16" maxLength:"512" doc:"From the link."`
}

type resetValid struct {
	Valid bool `json:"valid"`
}

func (a recoveryAPI) check(ctx context.Context, in resetQuery) (resetValid, error) {
	return resetValid{true}, a.recovery.CheckReset(ctx, in.Token)
}

type resetInput struct {
	Token       string `json:"token" minLength:"16" maxLength:"512" doc:"From the link."`
	NewPassword string `json:"new_password" doc:"As at sign-up, and not the one in use. One that is refused leaves the link alive." example:"Correct-Horse-7"`
}

type resetDone struct {
	Reset bool `json:"reset"`
}

func (a recoveryAPI) reset(ctx context.Context, in resetInput) (resetDone, error) {
	return resetDone{true}, a.recovery.Reset(ctx, in.Token, in.NewPassword)
}
