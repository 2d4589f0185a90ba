package fault

import "net/http"

// Code is one row of the catalogue: what clients match on, the status it is
// sent with, and the sentence for people.
type Code struct {
	Slug   string
	Status int
	Detail string
}

// Catalogue lists every code in the order below. Append only: clients rely on
// slugs and statuses.
var Catalogue []Code

func code(slug string, status int, detail string) Code {
	c := Code{slug, status, detail}
	Catalogue = append(Catalogue, c)
	return c
}

// The catalogue.
var (
	// The edge.
	MalformedRequest     = code("malformed_request", http.StatusBadRequest, "The request body is not valid JSON.")
	ValidationError      = code("validation_error", http.StatusUnprocessableEntity, "Some fields are not valid.")
	UnsupportedMediaType = code("unsupported_media_type", http.StatusUnsupportedMediaType, "Send the body as application/json.")
	RequestTooLarge      = code("request_too_large", http.StatusRequestEntityTooLarge, "The request body is too large.")
	NotFound             = code("not_found", http.StatusNotFound, "Not Found")
	MethodNotAllowed     = code("method_not_allowed", http.StatusMethodNotAllowed, "Method Not Allowed")
	RateLimited          = code("rate_limited", http.StatusTooManyRequests, "Rate limit exceeded.")
	ServiceUnavailable   = code("service_unavailable", http.StatusServiceUnavailable, "The service cannot answer right now. Try again shortly.")
	InternalServerError  = code("internal_server_error", http.StatusInternalServerError, "Internal server error.")

	// Tokens and sessions.
	InvalidToken   = code("invalid_token", http.StatusUnauthorized, "Invalid token.")
	TokenExpired   = code("token_expired", http.StatusUnauthorized, "Token has expired.")
	SessionExpired = code("session_expired", http.StatusUnauthorized, "Session expired.")

	// Sign-in and accounts.
	InvalidCredentials = code("invalid_credentials", http.StatusUnauthorized, "Invalid email or password.")
	EmailNotVerified   = code("email_not_verified", http.StatusBadRequest, "Email is not verified.")
	AlreadyVerified    = code("already_verified", http.StatusBadRequest, "Email is already verified.")
	InvalidVerifyToken = code("invalid_verify_token", http.StatusBadRequest, "Invalid verification token.")
	InvalidHost        = code("invalid_host", http.StatusBadRequest, "This host is not served here.")
	AudienceNotAllowed = code("audience_not_allowed", http.StatusForbidden, "This audience is not allowed.")

	// Lockout, recovery, changes of an account.
	AccountLocked      = code("account_locked", http.StatusUnauthorized, "Account temporarily locked.")
	InvalidResetToken  = code("invalid_reset_token", http.StatusBadRequest, "Invalid reset token.")
	PasswordReused     = code("password_reused", http.StatusBadRequest, "This is the password in use: choose another.")
	InvalidEmailChange = code("invalid_email_change", http.StatusBadRequest, "Invalid e-mail change token.")
	InvalidUser        = code("invalid_user", http.StatusNotFound, "User not found.")
	AlreadyErased      = code("already_erased", http.StatusConflict, "User already erased.")
	LastAdminProtected = code("last_admin_protected", http.StatusConflict, "This is the last admin: make another one first.")

	// One-time codes and step-up.
	InvalidOTP         = code("invalid_otp", http.StatusUnauthorized, "Invalid OTP.")
	OTPExpired         = code("otp_expired", http.StatusUnauthorized, "OTP expired.")
	OTPMaxAttempts     = code("otp_max_attempts_exceeded", http.StatusUnauthorized, "OTP attempts exceeded.")
	OTPActionMismatch  = code("otp_action_mismatch", http.StatusUnauthorized, "OTP action mismatch.")
	OTPIssuanceBlocked = code("otp_issuance_blocked", http.StatusTooManyRequests, "OTP issuance temporarily blocked.")
	OTPRequired        = code("otp_required", http.StatusForbidden, "OTP required.")
	ReauthRequired     = code("reauth_required", http.StatusForbidden, "Re-authentication required.")
	ActionTokenInvalid = code("action_token_invalid", http.StatusForbidden, "Invalid action token.")
	InsufficientRole   = code("insufficient_role", http.StatusForbidden, "Insufficient role.")

	// Browser sessions.
	InvalidCSRFToken   = code("invalid_csrf_token", http.StatusForbidden, "Invalid CSRF token.")
	AmbiguousTransport = code("ambiguous_authentication_transport", http.StatusBadRequest, "Conflicting authentication transports.")

	// Own sessions and history.
	CannotRevokeCurrent = code("cannot_revoke_current_session", http.StatusBadRequest, "Use logout to end the current session.")
	InvalidSession      = code("invalid_session", http.StatusNotFound, "Session not found.")
	SessionRevoked      = code("session_revoked", http.StatusConflict, "Session already revoked.")
	InvalidCursor       = code("invalid_cursor", http.StatusUnprocessableEntity, "Invalid cursor.")

	// The operator's side.
	EmailTaken         = code("email_taken", http.StatusConflict, "This address has an account.")
	InvalidWebhookURL  = code("invalid_webhook_url", http.StatusBadRequest, "This address cannot be a webhook: use a public http or https URL.")
	WebhookNotFound    = code("webhook_not_found", http.StatusNotFound, "Webhook not found.")
	DeliveryNotFound   = code("delivery_not_found", http.StatusNotFound, "Delivery not found.")
	ClientNotFound     = code("client_not_found", http.StatusNotFound, "Client not found.")
	APIKeyNotFound     = code("api_key_not_found", http.StatusNotFound, "API key not found.")
	SigningKeyNotFound = code("signing_key_not_found", http.StatusNotFound, "Signing key not found.")
	APIKeyRevoked      = code("api_key_revoked", http.StatusConflict, "This API key is revoked: make another one.")
	InvalidAPIKey      = code("invalid_api_key", http.StatusBadRequest, "Invalid API key.")
	InvalidScope       = code("invalid_scope", http.StatusBadRequest, "Invalid scope.")
	RotationTooSoon    = code("rotation_too_soon", http.StatusConflict, "The next signing key was published a moment ago: wait, then rotate.")
)
