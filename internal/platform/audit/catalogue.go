package audit

import "slices"

// Type is one kind of event.
type Type struct {
	Name    string
	Doc     string
	Webhook bool     // webhooks may subscribe to it
	History bool     // the person whose account it is sees it in the history
	Keys    []string // what its metadata may hold
}

func (t Type) allows(key string) bool { return slices.Contains(t.Keys, key) }

// Catalogue lists every event type; docs/reference/events.md is emitted from
// it.
var Catalogue []Type

// history names the events that a person sees of the own account.
var history = []string{
	"user.created", "user.login.success", "user.login.failure", "user.login.suspicious", "user.logout", "user.locked",
	"user.reauth.success", "user.reauth.failure",
	"user.email.verified", "user.email.change_requested", "user.email.changed", "user.email.change_undone",
	"user.password.reset.requested", "user.password.reset.completed", "user.password.changed",
	"session.created", "session.revoked", "session.reuse_detected",
	"otp.enabled", "otp.disabled", "otp.admin_toggled", "otp.verified", "otp.failed", "otp.expired", "otp.excessive_failures",
}

func event(name, doc string, webhook bool, keys ...string) Type {
	t := Type{name, doc, webhook, slices.Contains(history, name), keys}
	Catalogue = append(Catalogue, t)
	return t
}

// The catalogue.
var (
	SignupAccepted       = event("user.signup.accepted", "A sign-up was answered; created tells whether it made an account.", false, "provider", "created")
	UserCreated          = event("user.created", "An account was made.", true, "provider")
	EmailVerified        = event("user.email.verified", "A mailbox was confirmed, or a bad link was tried; password_replaced tells that the password is now that of the sign-up whose link it was.", true, "operation", "password_replaced")
	VerificationResent   = event("user.email.verification_resent", "A new confirmation mail was asked for.", false, "operation")
	LoginSuccess         = event("user.login.success", "Somebody signed in.", false, "provider")
	LoginFailure         = event("user.login.failure", "A sign-in was refused.", false, "provider")
	LoginOTPRequired     = event("user.login.otp_required", "The password was right; a code was mailed for the second step.", false, "provider")
	LoginSuspicious      = event("user.login.suspicious", "A sign-in came from a network or device the account was not used from, or after failures.", false, "provider", "new_ip", "new_user_agent", "prior_failures")
	UserLocked           = event("user.locked", "Too many wrong passwords or codes: refused for a while, from this network, or with distributed_attack from all networks the account was not used from.", true, "provider", "context", "action", "retry_after", "distributed_attack", "attempt_count")
	ReauthSuccess        = event("user.reauth.success", "Somebody signed in proved the password again.", false, "provider", "session_id")
	ReauthFailure        = event("user.reauth.failure", "A renewed proof was refused.", false, "provider", "session_id")
	SessionCreated       = event("session.created", "A session began.", true, "provider")
	SessionRevoked       = event("session.revoked", "Sessions were ended.", true, "reason", "session_id", "session_ids", "revoked_session_count")
	SessionReuseDetected = event("session.reuse_detected", "A used refresh token came back: somebody else has a copy, so the session was ended.", false, "session_id", "generation")
	UserLogout           = event("user.logout", "Somebody signed out.", false, "provider", "session_id")
	TokenIssued          = event("token.issued", "Tokens were handed out.", false, "provider", "token_kind")
	TokenRefreshed       = event("token.refreshed", "A refresh token was used.", false, "provider", "session_id")
	TokenRefreshRetried  = event("token.refresh_retried", "A refresh token was used again after its answer was lost; the token handed out before is dead.", false, "session_id", "generation", "branch")
	ResetRequested       = event("user.password.reset.requested", "A link to reset a password was asked for.", false)
	ResetCompleted       = event("user.password.reset.completed", "A password was set with a mailed link, or a bad link was tried.", false)
	PasswordChanged      = event("user.password.changed", "The password of an account was changed.", true, "reason")
	EmailChangeRequested = event("user.email.change_requested", "Another address was asked for; its mailbox must confirm.", false)
	EmailChanged         = event("user.email.changed", "The address of an account was changed, or a bad link was tried.", true, "operation")
	EmailChangeUndone    = event("user.email.change_undone", "The old mailbox took back a change of address; all sessions ended and the password was removed.", true, "operation")
	OTPSent              = event("otp.sent", "A code was mailed, or refused.", false, "context", "action")
	OTPVerified          = event("otp.verified", "A mailed code was right.", true, "context", "action")
	OTPFailed            = event("otp.failed", "A mailed code was wrong.", false, "context", "action")
	OTPExpired           = event("otp.expired", "A code was tried that is used up or too old.", false, "context", "action")
	OTPExcessiveFailures = event("otp.excessive_failures", "Too many wrong codes over several challenges: no more are mailed for a while.", false, "context", "action")
	OTPEnabled           = event("otp.enabled", "Sign-ins now ask for a mailed code.", true)
	OTPDisabled          = event("otp.disabled", "Sign-ins no longer ask for a mailed code.", true)
	StepUpRefused        = event("stepup.refused", "A sensitive act was refused for lack of a fresh proof.", false, "action", "session_id")
	ActionTokenConsumed  = event("action_token.consumed", "A service spent a confirmation.", false, "action", "session_id")
	UserErased           = event("user.erased", "An account and what says who it was were erased, or that was refused.", true, "deleted_identity_count", "revoked_session_count", "revoked_api_key_count")
	SigningKeyCreated    = event("signing_key.created", "A signing key was made or imported.", false, "kid", "algorithm", "imported")
)
