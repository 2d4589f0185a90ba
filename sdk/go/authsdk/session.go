package authsdk

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// checkSession asks the auth service whether the session of a verified user token
// still lives. The server reads the bearer header only, so a token that came in a
// cookie goes out as one, too.
func (c *Client) checkSession(ctx context.Context, raw, correlationID string) error {
	answer, err := c.call(ctx, http.MethodGet, "/auth/validate", bearerHeader(raw, correlationID), nil)
	if err != nil {
		return unavailable(err)
	}
	switch answer.status {
	case http.StatusNoContent:
		return nil
	case http.StatusUnauthorized, http.StatusForbidden:
		return passOn(answer)
	}
	refusal := unavailable(errors.New("session check: status " + strconv.Itoa(answer.status)))
	if answer.status == http.StatusTooManyRequests {
		refusal.RetryAfter = retryAfter(answer.header.Get("Retry-After"))
	}
	return refusal
}

func bearerHeader(token, correlationID string) http.Header {
	header := http.Header{"Authorization": {"Bearer " + token}}
	if correlationID != "" {
		header.Set("X-Correlation-ID", correlationID)
	}
	return header
}

// passOn hands the server's refusal to the caller, as a 401. A body that is not
// the server's envelope comes from something in between and says nothing about
// the token.
func passOn(a answer) *Error {
	body, err := parseObject(a.body)
	if err != nil {
		return unavailable(errors.New("session check: status " + strconv.Itoa(a.status) + " without a JSON object"))
	}
	refusal := invalid(reason("session check: status " + strconv.Itoa(a.status)))
	if detail, _ := body.str("detail"); detail != "" && len(detail) <= 256 {
		refusal.Detail = detail
	}
	if code, _ := body.str("code"); code != "" && len(code) <= 64 {
		refusal.Code = code
	}
	return refusal
}

// retryAfter reads delta seconds (RFC 9110 section 10.2.3), from a second to an hour.
func retryAfter(header string) time.Duration {
	seconds, _ := strconv.Atoi(header) // 0 for a date, and we ask again soon
	return time.Duration(min(max(seconds, 1), 3600)) * time.Second
}

// correlationID returns the request's X-Correlation-ID if it is fit to be sent
// on: 1 to 128 characters of visible ASCII.
func correlationID(r *http.Request) string {
	id := r.Header.Get("X-Correlation-ID")
	if len(id) > 128 {
		return ""
	}
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' {
			return ""
		}
	}
	return id
}
