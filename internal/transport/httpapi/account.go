package httpapi

import (
	"context"

	"github.com/authsdk/authsdk/internal/flow/account"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// accountAPI is what people do with their own account.
type accountAPI struct{ account *account.Service }

func (a accountAPI) routes() []Route {
	stepUp := []fault.Code{fault.OTPRequired, fault.ReauthRequired, fault.ActionTokenInvalid}
	proof := append(stepUp, fault.InvalidCredentials, fault.AccountLocked)
	return []Route{
		query("GET /auth/users/me", "Show the caller's account", a.me).tag("Own account").auth(Session),
		endpoint("POST /auth/password/change", "Change the caller's password", a.changePassword,
			append(proof, fault.PasswordReused, fault.EmailNotVerified)...).tag("Own account").auth(Account),
		endpoint("POST /auth/email/change", "Ask for another address", a.changeEmail, proof...).tag("Own account").auth(Account),
		endpoint("POST /auth/email/change/confirm", "Confirm another address with the token of a link", a.confirmEmail,
			fault.InvalidEmailChange).tag("Own account"),
		endpoint("POST /auth/email/change/undo", "Take a change of address back with the token of a link", a.undoEmail,
			fault.InvalidEmailChange).tag("Own account"),
		query("POST /auth/otp/enable", "Ask for a mailed code at the caller's sign-ins", a.enableOTP,
			append(stepUp, fault.EmailNotVerified)...).tag("One-time codes").auth(Account),
		query("POST /auth/otp/disable", "Ask for a mailed code no longer", a.disableOTP, stepUp...).tag("One-time codes").auth(Account),
	}
}

type profile struct {
	UserID          string `json:"user_id" format:"uuid"`
	Email           string `json:"email"`
	EmailVerified   bool   `json:"email_verified"`
	EmailOTPEnabled bool   `json:"email_otp_enabled" doc:"Sign-ins ask for a mailed code."`
	Role            string `json:"role" enum:"user,admin,service"`
	CreatedAt       string `json:"created_at" format:"date-time"`
	PasswordSet     bool   `json:"password_set" doc:"False for an account that signs in otherwise."`
	SessionID       string `json:"session_id" format:"uuid" doc:"The session of this request."`
	AuthTime        string `json:"auth_time" format:"date-time" doc:"When the caller last proved who it is in this session."`
}

func (a accountAPI) me(ctx context.Context, _ struct{}) (profile, error) {
	p, err := a.account.Me(ctx, identity(ctx))
	return profile{
		UserID: p.ID.String(), Email: p.Email, EmailVerified: p.EmailVerified, EmailOTPEnabled: p.EmailOTPEnabled, Role: p.Role,
		CreatedAt: stamp(p.Created), PasswordSet: p.PasswordSet, SessionID: p.Session.String(), AuthTime: stamp(p.AuthTime),
	}, err
}

type passwordInput struct {
	CurrentPassword string `json:"current_password,omitempty" doc:"Enough alone while mailed codes at sign-in are off; with them on, an X-Action-Token for change_password is needed besides. Without it: that token or, codes being off, a sign-in in the last 300 s."`
	NewPassword     string `json:"new_password" doc:"As at sign-up, and not the one in use." example:"Correct-Horse-7"`
}

type changed struct {
	Changed bool `json:"changed"`
}

func (a accountAPI) changePassword(ctx context.Context, in passwordInput) (changed, error) {
	return changed{true}, a.account.ChangePassword(ctx, identity(ctx), in.NewPassword, given(ctx, in.CurrentPassword))
}

// given is what a request brings to prove that the caller is the owner.
func given(ctx context.Context, current string) account.Given {
	return account.Given{Password: current, ActionToken: actionTokenOf(ctx)}
}

type emailInput struct {
	NewEmail        string `json:"new_email" maxLength:"320" example:"new@example.com"`
	CurrentPassword string `json:"current_password,omitempty" doc:"Enough alone while mailed codes at sign-in are off; with them on, an X-Action-Token for change_email is needed besides. Without it: that token or, codes being off, a sign-in in the last 300 s."`
}

// changeEmail answers the same if the address is another account's.
func (a accountAPI) changeEmail(ctx context.Context, in emailInput) (sent, error) {
	return sent{true}, a.account.ChangeEmail(ctx, identity(ctx), in.NewEmail, given(ctx, in.CurrentPassword))
}

func (a accountAPI) confirmEmail(ctx context.Context, in verifyInput) (changed, error) {
	return changed{true}, a.account.ConfirmEmail(ctx, in.Token)
}

type undone struct {
	Undone bool `json:"undone"`
}

func (a accountAPI) undoEmail(ctx context.Context, in verifyInput) (undone, error) {
	return undone{true}, a.account.UndoEmail(ctx, in.Token)
}

type otpState struct {
	EmailOTPEnabled bool `json:"email_otp_enabled"`
}

func (a accountAPI) enableOTP(ctx context.Context, _ struct{}) (otpState, error) {
	return otpState{true}, a.account.SetOTP(ctx, identity(ctx), true, actionTokenOf(ctx))
}

func (a accountAPI) disableOTP(ctx context.Context, _ struct{}) (otpState, error) {
	return otpState{false}, a.account.SetOTP(ctx, identity(ctx), false, actionTokenOf(ctx))
}
