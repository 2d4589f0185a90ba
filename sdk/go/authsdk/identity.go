package authsdk

import (
	"context"
	"slices"
	"time"
)

// The two values of Identity.Type.
const (
	TypeUser    = "user"    // a person, from an access token
	TypeService = "service" // a machine client, from an m2m token
)

// Identity says who sent a request, as the token's claims have it. It is a
// value; changing it changes nobody else's.
type Identity struct {
	Type string // TypeUser or TypeService

	// Of users only.
	UserID          string    // claim "sub"
	Email           string    // never blank
	EmailVerified   bool      //
	EmailOTPEnabled bool      // the user has e-mail codes as second factor
	AuthTime        time.Time // when the user last proved who they are (OpenID Connect Core section 2)
	SessionID       string    // claim "sid"; empty if the server sends none

	// Of services only.
	ClientID string // claim "sub"

	// Of both.
	Role     string   // "admin", "user" or "service"; no hierarchy. A service's is always "service"
	Scopes   []string // claim "scopes" of users, "scope" (RFC 8693 section 4.2) of services
	Audience []string // claim "aud": every service the token is meant for
}

type identityKey struct{}

// established is what the context carries. The client is part of it because an
// identity accepted by one client (one audience) means nothing to another.
type established struct {
	by     *Client
	id     Identity
	token  string // that id was read from
	source string // where the token was: sourceHeader or sourceCookie
}

func (e established) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, identityKey{}, e)
}

// IdentityFrom returns the identity the middleware put into the context of a
// request, or the zero Identity (Type "") if it did not run.
func IdentityFrom(ctx context.Context) Identity {
	id, _ := LookupIdentity(ctx)
	return id
}

// LookupIdentity is [IdentityFrom] for handlers that also serve strangers: ok
// tells whether anybody was authenticated.
func LookupIdentity(ctx context.Context) (id Identity, ok bool) {
	e, ok := ctx.Value(identityKey{}).(established)
	e.id.Scopes = slices.Clone(e.id.Scopes)
	e.id.Audience = slices.Clone(e.id.Audience)
	return e.id, ok
}

// TransportFrom tells how the token of a request came: "authorization" or
// "cookie" (see [TokenSources]), or "" if the middleware did not run.
func TransportFrom(ctx context.Context) string {
	e, _ := ctx.Value(identityKey{}).(established)
	return e.source
}
