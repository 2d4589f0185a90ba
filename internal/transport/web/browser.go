package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/authsdk/authsdk/internal/foundation/secret"
)

// Browser is how browsers keep sessions: which cookies, whether a request wants
// them, and whether those that came with it were sent by a page of ours. Off, it
// reads no cookie and sets none.
type Browser struct {
	Enabled         bool
	Infer           bool // a session cookie asks for cookies, without the header
	TransportHeader string
	CSRFHeader      string
	Origins         []string // whose pages may use the cookies, as PageOrigin writes them

	Access, Refresh, CSRF Cookie

	Domain   string // empty: this host only
	SameSite string // lax, strict or none
	Secure   bool
}

// Credentials are what came with a request to say who is calling.
type Credentials struct {
	Bearer     string // of the Authorization header
	Access     string // of the access cookie
	Refresh    string // of the refresh cookie
	CSRFCookie string

	CSRF  string // what CSRF cookie and header agree on, if a page of ours sent it
	Asked string // "cookie" or "token", by the transport header; else empty
}

// Read takes the credentials from a request.
func (b Browser) Read(r *http.Request) Credentials {
	c := Credentials{Bearer: Bearer(r)}
	if !b.Enabled {
		return c
	}
	c.Access, c.Refresh, c.CSRFCookie = b.Access.of(r), b.Refresh.of(r), b.CSRF.of(r)
	switch asked := strings.ToLower(strings.TrimSpace(r.Header.Get(b.TransportHeader))); asked {
	case "cookie", "token":
		c.Asked = asked
	}
	if repeated := r.Header.Get(b.CSRFHeader); secret.Equal([]byte(c.CSRFCookie), []byte(repeated)) && b.ours(r) {
		c.CSRF = c.CSRFCookie
	}
	return c
}

// Bearer returns the token of the Authorization header (RFC 6750 §2.1), empty if
// there is none. The scheme's case does not matter.
func Bearer(r *http.Request) string {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// session reports whether a session cookie came. A CSRF cookie is none.
func (c Credentials) session() bool { return c.Access != "" || c.Refresh != "" }

// Ambiguous reports whether a bearer token and a session cookie came together,
// and the request does not say that the bearer token counts.
func (c Credentials) Ambiguous() bool { return c.Bearer != "" && c.session() && c.Asked != "token" }

// Cookies reports whether a request wants its tokens in cookies: as its header
// says, else if a session cookie came.
func (b Browser) Cookies(c Credentials) bool {
	if c.Asked != "" {
		return c.Asked == "cookie"
	}
	return b.Infer && c.session()
}

// ours reports whether a page sent the request that may use the cookies, as far
// as the browser tells. Sec-Fetch-Site holds behind any proxy; Origin is for
// browsers that do not send it, and for pages of other origins of ours. With
// neither, the CSRF token must do.
func (b Browser) ours(r *http.Request) bool {
	site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	switch {
	case site == "same-origin":
		return true
	case origin == "":
		return site == ""
	}
	return slices.Contains(b.Origins, origin)
}

// PageOrigin is the origin of an address as browsers send it (RFC 6454 §6.2): in
// small letters, without the port that the scheme implies.
func PageOrigin(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return ""
	}
	host := strings.ToLower(u.Host)
	switch u.Scheme {
	case "http":
		host = strings.TrimSuffix(host, ":80")
	case "https":
		host = strings.TrimSuffix(host, ":443")
	}
	return u.Scheme + "://" + host
}
