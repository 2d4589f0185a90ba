package httpapi

import (
	"context"
	"net/http"
	"strings"

	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/flow/machine"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/transport/web"
)

// caller is what came with a request to say who sends it, and the way to hand
// him tokens.
type caller struct {
	bearer        string
	accessCookie  string // cookies are empty while browser sessions are off
	refreshCookie string
	cookie        bool   // cookie transport: the request chose it, or its access token came in a cookie
	csrf          string // in cookie transport the CSRF token, vetted but for the session it belongs to; else empty
	actionToken   string
	adminKey      string
	credential    machine.Credential       // of a service, for itself
	parameter     func(name string) string // of the path

	came     web.Credentials
	browser  web.Browser
	sessions *session.Service
	header   http.Header // of the answer
}

type callerKey struct{}

// withCaller reads the credentials of a request.
func (a *API) withCaller(w http.ResponseWriter, r *http.Request) context.Context {
	came := a.Browser.Read(r)
	c := &caller{
		bearer: came.Bearer, accessCookie: came.Access, refreshCookie: came.Refresh,
		actionToken: strings.TrimSpace(r.Header.Get("X-Action-Token")),
		adminKey:    r.Header.Get("X-Admin-API-Key"), parameter: r.PathValue,
		credential: credentialOf(r),
		came:       came, browser: a.Browser, sessions: a.Sessions, header: w.Header(),
	}
	c.choose(a.Browser.Cookies(came))
	return context.WithValue(r.Context(), callerKey{}, c)
}

// callerOf is who sent the request.
func callerOf(ctx context.Context) *caller { return ctx.Value(callerKey{}).(*caller) }

// choose sets the transport.
func (c *caller) choose(cookie bool) {
	c.cookie, c.csrf = cookie, ""
	if cookie {
		c.csrf = c.came.CSRF
	}
}

// guard is what a request that changes something must pass: one credential, and
// for cookies a CSRF token from a page of ours. Faults:
// ambiguous_authentication_transport, invalid_csrf_token.
func (c *caller) guard() error {
	switch {
	case c.came.Ambiguous():
		return fault.New(fault.AmbiguousTransport)
	case c.cookie && c.csrf == "":
		return fault.New(fault.InvalidCSRFToken)
	}
	return nil
}

// proof is the CSRF token for those who know the session.
func (c *caller) proof() session.CSRF { return session.CSRF{Cookie: c.cookie, Token: c.csrf} }

// Tokens is what every way in answers: in token transport the tokens (RFC 6749
// §5.1), in cookie transport that they are in cookies.
type Tokens struct {
	AccessToken  string `json:"access_token,omitempty" doc:"Token transport. A JWT (RFC 9068): send it as Authorization: Bearer."`
	RefreshToken string `json:"refresh_token,omitempty" doc:"Token transport. Opaque. Good once, at POST /auth/token."`
	TokenType    string `json:"token_type,omitempty" enum:"bearer" doc:"Token transport."`
	ExpiresIn    int    `json:"expires_in,omitempty" doc:"Token transport. Seconds the access token lives."`

	Authenticated    bool   `json:"authenticated,omitempty" doc:"Cookie transport. The tokens are in cookies."`
	SessionTransport string `json:"session_transport,omitempty" enum:"cookie" doc:"Cookie transport."`
}

var inCookies = Tokens{Authenticated: true, SessionTransport: "cookie"}

// setSession hands out the tokens of a session. It returns the body.
func (c *caller) setSession(p session.Pair) Tokens {
	if !c.cookie {
		return Tokens{AccessToken: p.Access, RefreshToken: p.Refresh, TokenType: "bearer", ExpiresIn: int(p.ExpiresIn.Seconds())}
	}
	c.browser.SetAccess(c.header, p.Access, p.ExpiresIn)
	c.browser.SetRefresh(c.header, p.Refresh, c.sessions.RefreshTTL())
	return inCookies
}

// setAccess hands out another access token of a session. It returns the body.
func (c *caller) setAccess(access string) Tokens {
	if !c.cookie {
		return Tokens{AccessToken: access}
	}
	c.browser.SetAccess(c.header, access, c.sessions.Lifetime())
	return inCookies
}

// clear deletes the cookies, if the session is in cookies.
func (c *caller) clear() {
	if c.cookie {
		c.browser.Clear(c.header)
	}
}
