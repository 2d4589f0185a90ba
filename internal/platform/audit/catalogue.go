package audit

import "slices"

// Type is one kind of event.
type Type struct {
	Name    string
	Doc     string
	Webhook bool     // webhooks may subscribe to it
	History bool     // the person whose account it is sees it in the history
	Keys    []string // what its metadata may hold

	Explicit bool // webhooks get it only if they name it
	Unstored bool // sent to webhooks, but never a row of the log
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
	"user.role_changed", "user.deactivated", "user.reactivated", "user.unlocked",
	"otp.enabled", "otp.disabled", "otp.admin_toggled", "otp.verified", "otp.failed", "otp.expired", "otp.excessive_failures",
}

func event(name, doc string, webhook bool, keys ...string) Type {
	t := Type{Name: name, Doc: doc, Webhook: webhook, History: slices.Contains(history, name), Keys: keys}
	Catalogue = append(Catalogue, t)
	return t
}

// message is what webhooks get that is no row of the log.
func message(name, doc string, keys ...string) Type {
	t := Type{Name: name, Doc: doc, Webhook: true, Explicit: true, Unstored: true, Keys: keys}
	Catalogue = append(Catalogue, t)
	return t
}

// The catalogue.
var (
	SignupAccepted       = event("user.signup.accepted", "A sign-up was answered; created tells whether it made an account.", false, "provider", "created")
	UserCreated          = event("user.created", "An account was made.", true, "provider", "email_verified")
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
	SessionRevoked       = event("session.revoked", "Sessions were ended.", true, "reason", "provider", "session_id", "session_ids", "revoked_session_count", "filter", "matched_session_count")
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

	// Acts of operators.
	UserRoleChanged = event("user.role_changed", "An account got another role.", true, "old_role", "new_role")
	UserDeleted     = event("user.deleted", "An account was deleted; its address stays reserved.", true, "revoked_session_count", "revoked_api_key_count")
	UserDeactivated = event("user.deactivated", "An account was closed for the time being; its sessions ended.", true, "revoked_session_count")
	UserReactivated = event("user.reactivated", "A closed account was opened again.", true)
	UserUnlocked    = event("user.unlocked", "The lock after wrong passwords or codes was taken off an account.", false)
	OTPAdminToggled = event("otp.admin_toggled", "An operator switched mailed codes at sign-in on or off.", true, "email_otp_enabled")

	// Machines.
	APIKeyCreated       = event("api_key.created", "An API key was made.", true, "name", "service", "scope", "user_id")
	APIKeyRevoked       = event("api_key.revoked", "An API key was revoked.", true, "name", "service", "scope", "user_id")
	APIKeyRotated       = event("api_key.rotated", "An API key got a new secret; the old one is good for overlap_seconds more.", true, "name", "overlap_seconds")
	APIKeyUsed          = event("api_key.used", "API keys were introspected or listed; count is how often within a second.", false, "operation", "name", "service", "scope", "active", "result_count", "count")
	ClientCreated       = event("client.created", "A machine client was made.", true, "client_id", "scopes")
	ClientSecretRotated = event("client.secret_rotated", "A machine client got a new secret; the old one is good for overlap_seconds more.", true, "client_id", "overlap_seconds")
	ClientUpdated       = event("client.updated.success", "A machine client was changed.", false, "client_id", "scopes", "audiences", "is_active", "token_ttl_seconds")
	ClientDeleted       = event("client.deleted.success", "A machine client was deleted.", false, "client_id")
	ClientAuthenticated = event("client.authenticated", "A machine client got tokens; count is how often within a second.", false, "client_id", "scope", "count")
	ClientAuthFailure   = event("client.auth.failure", "A machine client was refused; count is how often within a second.", false, "client_id", "count")

	// Webhooks.
	WebhookCreated       = event("webhook.created.success", "A webhook was registered.", false, "name", "url", "events", "is_active")
	WebhookUpdated       = event("webhook.updated.success", "A webhook was changed.", false, "name", "url", "events", "is_active")
	WebhookDeleted       = event("webhook.deleted.success", "A webhook was deleted; what waited for it is abandoned.", false, "abandoned_delivery_count")
	WebhookSecretRotated = event("webhook.secret_rotated", "A webhook got a new secret; the old one signs too for overlap_seconds more.", false, "overlap_seconds")
	WebhookPinged        = event("webhook.pinged", "A test delivery was queued.", false, "delivery_id")
	WebhookRetryQueued   = event("webhook.retry.queued", "A delivery was queued again.", false, "endpoint_id")
	WebhookDelivered     = event("webhook.delivered", "A webhook took a delivery.", false, "delivery_id", "endpoint_id", "event_type", "attempt_count", "response_status")
	WebhookFailed        = event("webhook.failed", "A delivery was given up.", false, "delivery_id", "endpoint_id", "event_type", "attempt_count", "response_status")
	WebhookDisabled      = event("webhook.disabled", "A webhook was switched off because it had been failing for days.", true, "endpoint_id", "failing_since")
	WebhookTest          = message("webhook.test", "Sent by a ping only.", "endpoint_id")

	// Keys, the log itself, old data.
	SigningKeyRotated = event("signing_key.rotate.success", "Another key signs now; the one before verifies for rotation_overlap_seconds more.", true, "new_kid", "retiring_kid", "rotation_overlap_seconds")
	SigningKeyRevoked = event("signing_key.revoked", "A signing key was revoked: what it signed is refused.", true, "kid", "promoted_kid")
	SigningKeyRetired = event("signing_key.retired", "A signing key has gone out of use.", false, "kid")
	AuditExported     = event("audit.exported", "The log was exported.", false, "event_type", "actor_id", "target_id", "date_from", "date_to")
	RetentionPurged   = event("retention.purged", "Old data was deleted.", false, "audit_events", "sessions", "deliveries", "partitions", "before", "finished")
	AuditHead         = message("audit.head", "A signed head of the chain of the log: keep it elsewhere. Sent to those who name it.", "number", "last_pos", "hash", "signature", "kid")
)
