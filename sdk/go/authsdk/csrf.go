package authsdk

import (
	"crypto/subtle"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// csrfRules protect requests that a cookie authenticates: browsers add cookies to
// whatever page of whatever site sends the request. Two things must hold. It
// comes from a page of our own, and that page can read the CSRF cookie: it repeats
// it in a header, which other sites can neither read nor set ("double submit").
type csrfRules struct {
	off            bool
	cookie, header string
	origins        []string // besides the request's own; normalized
}

// check lets through what changes nothing (RFC 9110 section 9.2.1).
func (c csrfRules) check(r *http.Request) *Error {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return nil
	}
	switch {
	case c.off:
		return nil
	case !c.isOwnPage(r):
		return invalidCSRF("the request comes from a page of another origin")
	case !c.isDoubled(r):
		return invalidCSRF("the CSRF header does not repeat the CSRF cookie")
	}
	return nil
}

// isOwnPage reads what browsers say of the page that sends a request. Sec-Fetch-Site
// holds behind any proxy; Origin is for browsers that do not send it, or not to
// plain HTTP. With neither, the double submit must do.
func (c csrfRules) isOwnPage(r *http.Request) bool {
	site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	switch {
	case site == "same-origin", site == "" && origin == "":
		return true
	case origin == "":
		return false
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false // "null", say
	}
	if slices.Contains(c.origins, normalOrigin(u.Scheme, u.Host)) {
		return true
	}
	// Whether the browser used TLS is known only if nothing ended it before us.
	return normalOrigin(u.Scheme, u.Host) == normalOrigin(u.Scheme, r.Host) && (r.TLS == nil || u.Scheme == "https")
}

func (c csrfRules) isDoubled(r *http.Request) bool {
	cookie, err := r.Cookie(c.cookie)
	if err != nil {
		return false
	}
	want, got := strings.TrimSpace(cookie.Value), strings.TrimSpace(r.Header.Get(c.header))
	return want != "" && subtle.ConstantTimeCompare([]byte(want), []byte(got)) == 1
}

// normalOrigin spells an origin as browsers do: lower case, no default port.
func normalOrigin(scheme, host string) string {
	scheme, host = strings.ToLower(scheme), strings.ToLower(host)
	switch scheme {
	case "http":
		host = strings.TrimSuffix(host, ":80")
	case "https":
		host = strings.TrimSuffix(host, ":443")
	}
	return scheme + "://" + host
}

func invalidCSRF(why reason) *Error {
	e := forbidden("invalid_csrf_token", "Invalid CSRF token.")
	e.cause = why
	return e
}
