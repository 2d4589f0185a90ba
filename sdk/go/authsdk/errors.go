package authsdk

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"
)

// Error is the only error type [Client.Verify] returns and the middleware
// answers with: the HTTP status and the body {"detail","code"} a caller should see.
//
//	401 invalid_token         missing, malformed, forged, or meant for somebody else
//	401 token_expired         a good token past its exp: refresh and try again
//	401 session_expired …     the auth service's own detail and code, passed through
//	403 insufficient_role     RequireRole
//	403 reauth_required       RequireFreshAuth
//	403 otp_required          RequireActionToken: no token came
//	403 action_token_invalid  RequireActionToken: of somebody or something else, expired or spent
//	403 invalid_csrf_token    a write by cookie that a page of ours did not send; see CSRFHeaderName
//	503 service_unavailable   the auth service could not be asked; RetryAfter is set
//
// Its text, and the error it wraps, also name the reason ("audience is not
// accepted"). That is meant for your log, not for the caller.
type Error struct {
	Status     int           // HTTP status
	Code       string        // machine-readable, stable
	Detail     string        // one sentence, safe to show
	RetryAfter time.Duration // 503 only, at least one second

	cause  error
	action string // otp_required only
}

func (e *Error) Error() string {
	text := "authsdk: " + strconv.Itoa(e.Status) + " " + e.Code
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

// Unwrap returns the reason, for errors.Is (context.Canceled and the like) and logs.
func (e *Error) Unwrap() error { return e.cause }

// reason is the cause of a refusal that was decided locally.
type reason string

func (r reason) Error() string { return string(r) }

// errNoToken tells a request without credentials from one with bad ones: RFC 6750
// section 3.1 wants no error attribute in the challenge of the former.
const errNoToken = reason("no token")

const (
	codeInvalidToken   = "invalid_token"
	detailInvalidToken = "Invalid token."
)

func invalid(why reason) *Error {
	return &Error{Status: http.StatusUnauthorized, Code: codeInvalidToken, Detail: detailInvalidToken, cause: why}
}

func expired() *Error {
	return &Error{Status: http.StatusUnauthorized, Code: "token_expired", Detail: "Token has expired.", cause: reason("exp has passed")}
}

func unavailable(cause error) *Error {
	return &Error{
		Status: http.StatusServiceUnavailable, Code: "service_unavailable", Detail: "Auth service unavailable.",
		RetryAfter: time.Second, cause: cause,
	}
}

func forbidden(code, detail string) *Error {
	return &Error{Status: http.StatusForbidden, Code: code, Detail: detail}
}

// asError finds the *Error in err. Anything else would be a mistake in this
// package; it fails closed, without blaming the token.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return unavailable(err)
}

// write answers with e. It is the only place that turns an Error into bytes.
func (e *Error) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	switch {
	case e.Status == http.StatusUnauthorized && errors.Is(e, errNoToken):
		h.Set("WWW-Authenticate", "Bearer")
	case e.Status == http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer error="invalid_token"`) // RFC 6750 section 3
	case e.Code == "reauth_required":
		h.Set("X-Reauth-Required", "true")
	case e.Code == "otp_required":
		h.Set("X-OTP-Required", "true")
		h.Set("X-OTP-Action", e.action)
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	w.WriteHeader(e.Status)
	body, _ := json.Marshal(struct { // two strings always encode
		Detail string `json:"detail"`
		Code   string `json:"code"`
	}{e.Detail, e.Code})
	w.Write(body)
}
