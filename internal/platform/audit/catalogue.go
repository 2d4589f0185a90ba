package audit

import "slices"

// Type is one kind of event.
type Type struct {
	Name    string
	Doc     string
	Webhook bool     // webhooks may subscribe to it
	Keys    []string // what its metadata may hold
}

func (t Type) allows(key string) bool { return slices.Contains(t.Keys, key) }

// Catalogue lists every event type; docs/reference/events.md is emitted from
// it.
var Catalogue []Type

func event(name, doc string, webhook bool, keys ...string) Type {
	t := Type{name, doc, webhook, keys}
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
	SessionCreated       = event("session.created", "A session began.", true, "provider")
	SessionRevoked       = event("session.revoked", "Sessions were ended.", true, "reason", "session_ids")
	SessionReuseDetected = event("session.reuse_detected", "A used refresh token came back: somebody else has a copy, so the session was ended.", false, "session_id", "generation")
	UserLogout           = event("user.logout", "Somebody signed out.", false, "provider", "session_id")
	TokenIssued          = event("token.issued", "Tokens were handed out.", false, "provider", "token_kind")
	TokenRefreshed       = event("token.refreshed", "A refresh token was used.", false, "provider", "session_id")
	TokenRefreshRetried  = event("token.refresh_retried", "A refresh token was used again after its answer was lost; the token handed out before is dead.", false, "session_id", "generation", "branch")
	SigningKeyCreated    = event("signing_key.created", "A signing key was made or imported.", false, "kid", "algorithm", "imported")
)
