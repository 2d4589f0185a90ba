package authsdk

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Client verifies the tokens of one auth service for one audience. Make one for
// the life of the program and share it; it is safe for concurrent use.
type Client struct {
	base      string // of the auth service, without trailing slash
	http      *http.Client
	ownHTTP   bool
	pause     func() time.Duration
	now       func() time.Time
	sources   []string
	cookie    string
	csrf      csrfRules
	rules     rules
	keys      *keyCache
	onRefusal func(*http.Request, *Error)
	cancel    context.CancelFunc // of a fetch under way
}

// New returns a client for the auth service at baseURL, which may have a path
// prefix ("https://app.example.com/_auth"). An audience is required; see
// [Audience] and [AnyAudience]. New does not call the service: the first request
// does.
func New(baseURL string, opts ...Option) (*Client, error) {
	base, err := parseBaseURL(baseURL)
	if err != nil {
		return nil, err
	}
	s := settings{
		leeway:  30 * time.Second,
		sources: []string{sourceHeader},
		cookie:  "__Host-auth_access",
		csrf:    csrfRules{cookie: "__Host-auth_csrf", header: "X-CSRF-Token"},
		now:     time.Now,
		pause:   jitter,
	}
	for _, opt := range opts {
		if err := opt(&s); err != nil {
			return nil, err
		}
	}
	if len(s.allOf) == 0 && len(s.anyOf) == 0 {
		return nil, errors.New(`authsdk: an audience is required: authsdk.New(url, authsdk.Audience("orders-api"))`)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Client{
		base:      base,
		http:      newHTTPClient(s.http),
		ownHTTP:   s.http == nil,
		pause:     s.pause,
		now:       s.now,
		sources:   s.sources,
		cookie:    s.cookie,
		csrf:      s.csrf,
		rules:     rules{s.allOf, s.anyOf, s.issuer, s.leeway},
		onRefusal: s.onRefusal,
		cancel:    cancel,
	}
	c.keys = &keyCache{fetch: c.fetchKeys, now: s.now, ctx: ctx}
	return c, nil
}

// Close ends a key fetch under way and closes idle connections (not those of a
// client given by [HTTPClient]). Afterwards tokens are refused with 503 as soon
// as they need the auth service.
func (c *Client) Close() {
	c.cancel()
	if c.ownHTTP {
		c.http.CloseIdleConnections()
	}
}

// Verify checks a token that did not come by HTTP header, say from a message
// queue, exactly as the middleware does: user tokens include the session check.
// It accepts users and services; look at Identity.Type. The error is an [*Error].
func (c *Client) Verify(ctx context.Context, token string) (Identity, error) {
	return c.verify(ctx, token, "", "")
}

// verify takes a token all the way. want is the identity type asked for, or "".
func (c *Client) verify(ctx context.Context, raw, want, correlationID string) (Identity, error) {
	id, err := c.verifyLocal(ctx, raw)
	if err != nil {
		return Identity{}, err
	}
	if err := checkType(id, want); err != nil {
		return Identity{}, err
	}
	if id.Type == TypeUser {
		if err := c.checkSession(ctx, raw, correlationID); err != nil {
			return Identity{}, err
		}
	}
	return id, nil
}

// verifyLocal is everything but the session check.
func (c *Client) verifyLocal(ctx context.Context, raw string) (Identity, error) {
	t, err := parseToken(raw)
	if err != nil {
		return Identity{}, err
	}
	keyErr := c.checkSignature(ctx, t)
	if keyErr != nil && keyErr.Status == http.StatusUnauthorized {
		return Identity{}, keyErr
	}
	// Without keys, a token that would be refused anyway is still refused as such:
	// its holder need not come back when the auth service does.
	id, err := c.rules.identify(t.claims, c.now())
	if err != nil {
		return Identity{}, err
	}
	if keyErr != nil {
		return Identity{}, keyErr
	}
	return id, nil
}

// verifyClaims is for tokens that identify nobody: the same checks, but for what
// the claims say beyond those of every token.
func (c *Client) verifyClaims(ctx context.Context, raw string) (claims object, hasExpired bool, err error) {
	t, err := parseToken(raw)
	if err != nil {
		return nil, false, err
	}
	_, hasExpired, err = c.rules.check(t.claims, c.now())
	if err != nil {
		return nil, false, err
	}
	if err := c.checkSignature(ctx, t); err != nil {
		return nil, false, err
	}
	return t.claims, hasExpired, nil
}

// checkSignature fetches keys only if the token names one we do not know, or if
// the one we know does not fit (the server may have replaced it under the same
// name). Any other bad token costs no fetch.
func (c *Client) checkSignature(ctx context.Context, t token) *Error {
	set, err := c.keys.current(ctx)
	if err != nil {
		return unavailable(err)
	}
	why := set.refusal(t)
	if why == unknownKey || why == badSignature {
		newer, err := c.keys.refresh(ctx, set)
		switch {
		case newer != set:
			why = newer.refusal(t)
		case err != nil && why == unknownKey: // who can tell, without the service
			return unavailable(err)
		}
	}
	if why != "" {
		return invalid(why)
	}
	return nil
}

func checkType(id Identity, want string) error {
	if want != "" && id.Type != want {
		return invalid(reason("a " + id.Type + "'s token, want a " + want + "'s"))
	}
	return nil
}
