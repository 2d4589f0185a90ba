package authsdk

import (
	"net/http"
	"strings"
)

const (
	sourceHeader = "authorization"
	sourceCookie = "cookie"
)

// extract returns the token of the first source that has one, and which that is;
// or neither.
func (c *Client) extract(r *http.Request) (token, source string) {
	for _, source := range c.sources {
		switch source {
		case sourceHeader:
			token = bearer(r.Header.Get("Authorization"))
		case sourceCookie:
			if cookie, err := r.Cookie(c.cookie); err == nil {
				token = strings.TrimSpace(cookie.Value)
			}
		}
		if token != "" {
			return token, source
		}
	}
	return "", ""
}

// bearer returns the token of an Authorization header (RFC 6750 section 2.1), or
// "" for another scheme, which counts as no token at all.
func bearer(header string) string {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
