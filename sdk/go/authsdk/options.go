package authsdk

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Option configures a [Client]; see [New].
type Option func(*settings) error

type settings struct {
	allOf, anyOf []string
	issuer       string
	leeway       time.Duration
	sources      []string
	cookie       string
	csrf         csrfRules
	http         *http.Client
	onRefusal    func(*http.Request, *Error)
	now          func() time.Time
	pause        func() time.Duration // before the one retry of a failed connection
}

// Audience names the service being protected: a token is accepted only if its
// "aud" claim (RFC 7519 section 4.1.3) holds every name given. Names are
// case-sensitive.
func Audience(names ...string) Option {
	return func(s *settings) (err error) {
		s.allOf, err = appendNames(s.allOf, "Audience", names)
		return err
	}
}

// AnyAudience accepts a token whose "aud" claim holds at least one of the names.
// Given together with [Audience], both must hold.
func AnyAudience(names ...string) Option {
	return func(s *settings) (err error) {
		s.anyOf, err = appendNames(s.anyOf, "AnyAudience", names)
		return err
	}
}

func appendNames(list []string, option string, names []string) ([]string, error) {
	for _, name := range names {
		name = strings.TrimSpace(name)
		if name == "" {
			return nil, fmt.Errorf("authsdk: %s: a name is blank", option)
		}
		list = append(list, name)
	}
	return list, nil
}

// Issuer demands that the "iss" claim equals url exactly (RFC 9068 section 4).
// Unset, the claim is not looked at: older servers send none.
func Issuer(url string) Option {
	return func(s *settings) error {
		if s.issuer = strings.TrimSpace(url); s.issuer == "" {
			return errors.New("authsdk: Issuer: the URL is blank")
		}
		return nil
	}
}

// Leeway is how far the clocks of server and service may be apart when exp, nbf
// and iat are compared. The default is 30 seconds.
func Leeway(d time.Duration) Option {
	return func(s *settings) error {
		if d < 0 {
			return errors.New("authsdk: Leeway: must not be negative")
		}
		s.leeway = d
		return nil
	}
}

// TokenSources lists where to look for a token, in order of precedence:
// "authorization" (the Authorization header) and "cookie" (see
// [AccessCookieName]). The first source that has one decides; a bad token there
// never falls through to the next. The default is "authorization" alone.
//
// Browsers send cookies by themselves, whatever page asks. So every guard refuses
// what a cookie authenticates, unless it is GET, HEAD, OPTIONS or TRACE, with 403
// invalid_csrf_token: it must come from a page of the service's own origin (see
// [AllowedOrigins]) and repeat the CSRF cookie in a header (see [CSRFHeaderName]).
// Handlers of those four methods must change nothing.
func TokenSources(sources ...string) Option {
	return func(s *settings) error {
		var list []string
		for _, source := range sources {
			source = strings.ToLower(strings.TrimSpace(source))
			if source != sourceHeader && source != sourceCookie {
				return fmt.Errorf("authsdk: TokenSources: %q is neither %q nor %q", source, sourceHeader, sourceCookie)
			}
			if !slices.Contains(list, source) {
				list = append(list, source)
			}
		}
		if len(list) > 0 {
			s.sources = list
		}
		return nil
	}
}

// AccessCookieName is the cookie that [TokenSources] "cookie" reads. The default
// is "__Host-auth_access"; plain-HTTP development servers set "auth_access".
func AccessCookieName(name string) Option {
	return func(s *settings) error {
		if s.cookie = strings.TrimSpace(name); s.cookie == "" {
			return errors.New("authsdk: AccessCookieName: the name is blank")
		}
		return nil
	}
}

// CSRFCookieName is the cookie that authd gives to the pages of a browser session
// to read. The default is "__Host-auth_csrf"; plain-HTTP development servers set
// "auth_csrf".
func CSRFCookieName(name string) Option {
	return func(s *settings) error {
		if s.csrf.cookie = strings.TrimSpace(name); s.csrf.cookie == "" {
			return errors.New("authsdk: CSRFCookieName: the name is blank")
		}
		return nil
	}
}

// CSRFHeaderName is the header in which a page must repeat the CSRF cookie. The
// default is "X-CSRF-Token".
func CSRFHeaderName(name string) Option {
	return func(s *settings) error {
		if s.csrf.header = strings.TrimSpace(name); s.csrf.header == "" {
			return errors.New("authsdk: CSRFHeaderName: the name is blank")
		}
		return nil
	}
}

// AllowedOrigins are those whose pages may write with cookies, such as
// "https://app.example.com", besides the service's own: the one that the Host
// header names. They are needed if a proxy changes that header, or if pages of
// another host of the same site call.
func AllowedOrigins(origins ...string) Option {
	return func(s *settings) error {
		for _, origin := range origins {
			u, err := url.Parse(strings.TrimSpace(origin))
			if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.String() != u.Scheme+"://"+u.Host {
				return fmt.Errorf("authsdk: AllowedOrigins: %q is no origin such as %q", origin, "https://app.example.com")
			}
			s.csrf.origins = append(s.csrf.origins, normalOrigin(u.Scheme, u.Host))
		}
		return nil
	}
}

// WithoutCSRF lets writes by cookie through unchecked. Then any site that a
// signed-in user visits can act in the user's name. It is only for services that
// check by themselves.
func WithoutCSRF() Option {
	return func(s *settings) error {
		s.csrf.off = true
		return nil
	}
}

// HTTPClient replaces the client the auth service is called with, say for a
// private CA or instrumentation. A copy is used, with redirects and cookies off;
// each call still ends after five seconds.
func HTTPClient(c *http.Client) Option {
	return func(s *settings) error {
		if c == nil {
			return errors.New("authsdk: HTTPClient: the client is nil")
		}
		s.http = c
		return nil
	}
}

// OnRefusal is called for each request the middleware refuses, before the answer
// is written: the place for a log line or a counter. The Error's text names the
// reason, which the caller is not told. It must be safe for concurrent use.
func OnRefusal(f func(*http.Request, *Error)) Option {
	return func(s *settings) error {
		s.onRefusal = f
		return nil
	}
}

func withClock(now func() time.Time) Option {
	return func(s *settings) error {
		s.now = now
		return nil
	}
}

// parseBaseURL returns the base without trailing slashes, so that paths can be
// appended. A path prefix ("https://app.example.com/_auth") is kept.
func parseBaseURL(raw string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(raw))
	switch {
	case err != nil:
		return "", fmt.Errorf("authsdk: base URL: %w", err)
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return "", fmt.Errorf("authsdk: base URL %q must be an absolute http or https URL", u.Redacted())
	case u.User != nil, u.RawQuery != "", u.ForceQuery, u.Fragment != "":
		return "", fmt.Errorf("authsdk: base URL %q must have no user, query or fragment", u.Redacted())
	}
	return strings.TrimRight(u.String(), "/"), nil
}
