package httpapi

import (
	"context"
	"net/http"

	"github.com/authsdk/authsdk/internal/flow/signup"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

type signupAPI struct{ signup *signup.Service }

func (a signupAPI) routes() []Route {
	return []Route{
		endpoint("POST /auth/signup", "Sign up with e-mail and password", a.sign).tag("Accounts").success(http.StatusCreated),
		query("GET /auth/verify-email", "Confirm an address with the token of a link", a.verifyLink, fault.InvalidVerifyToken).tag("Accounts"),
		endpoint("POST /auth/verify-email", "Confirm an address with the token of a link", a.verify, fault.InvalidVerifyToken).tag("Accounts"),
		query("POST /auth/verify-email/resend", "Mail me another link", a.resend, fault.AlreadyVerified, fault.RateLimited).tag("Accounts").auth(Session),
		endpoint("POST /auth/verify-email/resend/request", "Mail another link to an address", a.requestResend, fault.RateLimited).tag("Accounts"),
	}
}

type signupInput struct {
	Email    string `json:"email" maxLength:"320" doc:"Compared without regard to case." example:"you@example.com"`
	Password string `json:"password" doc:"8 to 128 characters with an uppercase letter, a number and a special character." example:"Correct-Horse-7"`
}

type accepted struct {
	Accepted bool `json:"accepted" doc:"Always true: the answer does not tell whether the address has an account. A mail does."`
}

// sign answers the same for a new and a taken address.
func (a signupAPI) sign(ctx context.Context, in signupInput) (accepted, error) {
	return accepted{true}, a.signup.Signup(ctx, in.Email, in.Password)
}

type verifyQuery struct {
	Token string `query:"token" required:"true" minLength:"16" maxLength:"512" doc:"From the link."`
}

type verifyInput struct {
	Token string `json:"token" minLength:"16" maxLength:"512" doc:"From the link."`
}

type verified struct {
	Verified bool `json:"verified"`
}

func (a signupAPI) verifyLink(ctx context.Context, in verifyQuery) (verified, error) {
	return verified{true}, a.signup.VerifyEmail(ctx, in.Token)
}

func (a signupAPI) verify(ctx context.Context, in verifyInput) (verified, error) {
	return verified{true}, a.signup.VerifyEmail(ctx, in.Token)
}

type sent struct {
	Sent bool `json:"sent"`
}

func (a signupAPI) resend(ctx context.Context, _ struct{}) (sent, error) {
	return sent{true}, a.signup.Resend(ctx, identity(ctx).User)
}

type addressInput struct {
	Email string `json:"email" maxLength:"320"`
}

// requestResend answers the same whether or not the address has an account.
func (a signupAPI) requestResend(ctx context.Context, in addressInput) (sent, error) {
	return sent{true}, a.signup.RequestResend(ctx, in.Email)
}
