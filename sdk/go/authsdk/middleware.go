package authsdk

import (
	"net/http"
	"slices"
	"time"
)

// RequireUser lets requests of signed-in users through to next, which finds the
// user by [IdentityFrom]. All others get 401, or 503; see [Error].
func (c *Client) RequireUser(next http.Handler) http.Handler {
	return c.guard(TypeUser, nil, next)
}

// RequireUserFunc is [Client.RequireUser] for a function.
func (c *Client) RequireUserFunc(next http.HandlerFunc) http.Handler {
	return c.RequireUser(next)
}

// RequireService lets machine clients (m2m tokens) through and nobody else.
func (c *Client) RequireService(next http.Handler) http.Handler {
	return c.guard(TypeService, nil, next)
}

// RequireAny lets users and machine clients through.
func (c *Client) RequireAny(next http.Handler) http.Handler {
	return c.guard("", nil, next)
}

// Handler is [Client.RequireAny] for a whole mux. CORS preflights pass without an
// identity, because browsers send them without credentials (Fetch standard,
// section 3.2.2). Guards inside do not verify the token again.
func (c *Client) Handler(next http.Handler) http.Handler {
	guarded := c.RequireAny(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			next.ServeHTTP(w, r)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// RequireRole lets users and machine clients through whose role is one of those
// given; others get 403 insufficient_role. There is no hierarchy: "admin" does
// not imply "user". It authenticates by itself, so it needs no guard around it.
func (c *Client) RequireRole(roles ...string) func(http.Handler) http.Handler {
	check := func(_ *http.Request, e established) *Error {
		if !slices.Contains(roles, e.id.Role) {
			return forbidden("insufficient_role", "Insufficient role")
		}
		return nil
	}
	return func(next http.Handler) http.Handler { return c.guard("", check, next) }
}

// RequireFreshAuth lets users through who proved who they are at most maxAge ago
// (whole seconds); others get 403 reauth_required and X-Reauth-Required: true.
// It authenticates by itself, so it needs no guard around it.
func (c *Client) RequireFreshAuth(maxAge time.Duration) func(http.Handler) http.Handler {
	check := func(_ *http.Request, e established) *Error {
		if c.now().Truncate(time.Second).Sub(e.id.AuthTime) > maxAge {
			return forbidden("reauth_required", "Re-authentication required")
		}
		return nil
	}
	return func(next http.Handler) http.Handler { return c.guard(TypeUser, check, next) }
}

// guard authenticates unless a guard further out has, then applies its own check.
// want is the identity type asked for, or "".
func (c *Client) guard(want string, check func(*http.Request, established) *Error, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e, err := c.authenticate(r, want)
		if err == nil && check != nil {
			if refusal := check(r, e); refusal != nil {
				err = refusal
			}
		}
		if err != nil {
			c.refuse(w, r, asError(err))
			return
		}
		next.ServeHTTP(w, r.WithContext(e.in(r.Context())))
	})
}

// authenticate says who sent a request. That a browser was not tricked into
// sending it is part of the answer; see csrfRules.
func (c *Client) authenticate(r *http.Request, want string) (established, error) {
	ctx := r.Context()
	if e, ok := ctx.Value(identityKey{}).(established); ok && e.by == c {
		return e, checkType(e.id, want)
	}
	token, source := c.extract(r)
	id, err := c.verify(ctx, token, want, correlationID(r))
	if err != nil {
		return established{}, err
	}
	if source == sourceCookie {
		if refusal := c.csrf.check(r); refusal != nil {
			return established{}, refusal
		}
	}
	return established{c, id, token, source}, nil
}

func (c *Client) refuse(w http.ResponseWriter, r *http.Request, e *Error) {
	if c.onRefusal != nil {
		c.onRefusal(r, e)
	}
	e.write(w)
}
