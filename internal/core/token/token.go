// Package token mints and verifies access tokens: JWTs of RFC 9068, signed with
// the keyring's active key.
package token

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"
	"unsafe"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
	"github.com/maypok86/otter/v2"

	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// Leeway is how far the clocks of two machines may differ.
const Leeway = 30 * time.Second

// maxLength bounds what is parsed at all.
const maxLength = 8 << 10

// Claims of an access token. Times are Unix seconds.
type Claims struct {
	Issuer          string   `json:"iss"`
	Subject         string   `json:"sub"`
	Audience        Audience `json:"aud"`
	ID              string   `json:"jti"`
	IssuedAt        int64    `json:"iat"`
	ExpiresAt       int64    `json:"exp"`
	Type            string   `json:"type"`
	ClientID        string   `json:"client_id"`
	SessionID       string   `json:"sid"`
	Epoch           int64    `json:"epoch"`
	Role            string   `json:"role"`
	Email           string   `json:"email"`
	EmailVerified   bool     `json:"email_verified"`
	EmailOTPEnabled bool     `json:"email_otp_enabled"`
	AuthTime        int64    `json:"auth_time"`
	Scopes          []string `json:"scopes"`

	KeyID string `json:"-"` // of the key that signed it
}

// Audience is one string on the wire when it has one value (RFC 7519 §4.1.3).
type Audience []string

// MarshalJSON implements json.Marshaler.
func (a Audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *Audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = Audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// TypeAccess is the type claim of a user's access token.
const TypeAccess = "access"

// Issuer mints and verifies. Make one with NewIssuer.
type Issuer struct {
	Keys     *keyring.Keyring
	Clock    *clock.Clock
	URL      string        // the iss claim: the public base URL
	Service  string        // this service's own audience
	Lifetime time.Duration // of an access token

	seen     *otter.Cache[[sha256.Size]byte, *Claims] // whose signature was good, by the token's hash
	machines *otter.Cache[[sha256.Size]byte, *MachineClaims]
}

// seenSize bounds the memory of the cache: about 1 KB a token.
const seenSize = 20_000

// NewIssuer makes an issuer.
func NewIssuer(keys *keyring.Keyring, c *clock.Clock, url, service string, lifetime time.Duration) *Issuer {
	return &Issuer{
		Keys: keys, Clock: c, URL: url, Service: service, Lifetime: lifetime,
		seen:     otter.Must(&otter.Options[[sha256.Size]byte, *Claims]{MaximumSize: seenSize}),
		machines: otter.Must(&otter.Options[[sha256.Size]byte, *MachineClaims]{MaximumSize: seenSize}),
	}
}

// Access signs an access token; it fills in what the issuer decides: iss, jti,
// iat, exp, type, client_id, and its own audience ahead of those asked for.
func (i *Issuer) Access(c Claims) (string, error) {
	now := i.Clock.Now()
	c.Issuer = i.URL
	c.ID = uuid.NewString()
	c.IssuedAt = now.Unix()
	c.ExpiresAt = now.Add(i.Lifetime).Unix()
	c.Type = TypeAccess
	c.ClientID = i.Service
	c.Audience = compose(i.Service, c.Audience)
	if c.Scopes == nil {
		c.Scopes = []string{}
	}
	return i.sign("at+jwt", c)
}

// sign makes a JWT of claims, with the active key.
func (i *Issuer) sign(typ jose.ContentType, claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	key, err := i.Keys.Signing()
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: jose.JSONWebKey{Key: key.Private, KeyID: key.KID}},
		(&jose.SignerOptions{}).WithType(typ))
	if err != nil {
		return "", fmt.Errorf("token: signer: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("token: sign: %w", err)
	}
	return signed.CompactSerialize()
}

// compose puts our own audience ahead of those asked for, each once.
func compose(own string, asked Audience) Audience {
	all := Audience{own}
	for _, a := range asked {
		if a != "" && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// Verify checks signature, time, type and that the token is for this service.
// Faults: invalid_token, token_expired. The claims of an expired token are
// returned beside its fault: signing out does not need a live one. Callers share
// the claims and must not change them.
func (i *Issuer) Verify(ctx context.Context, raw string) (*Claims, error) {
	c, err := i.signed(ctx, raw)
	if err != nil {
		return nil, err
	}
	now := i.Clock.Now()
	switch {
	case c.Type != TypeAccess, c.ID == "", c.Subject == "", c.SessionID == "",
		!slices.Contains(c.Audience, i.Service),
		time.Unix(c.IssuedAt, 0).After(now.Add(Leeway)):
		return nil, fault.New(fault.InvalidToken)
	case now.After(time.Unix(c.ExpiresAt, 0).Add(Leeway)):
		return c, fault.New(fault.TokenExpired)
	}
	return c, nil
}

// signed returns the claims of a token with a good signature. The signature of
// one that was seen before is not computed again, but its key must still be one
// that verifies.
func (i *Issuer) signed(ctx context.Context, raw string) (*Claims, error) {
	if len(raw) > maxLength {
		return nil, fault.New(fault.InvalidToken)
	}
	hash := sha256.Sum256(unsafe.Slice(unsafe.StringData(raw), len(raw))) // not copied: this is all that most requests do
	if c, ok := i.seen.GetIfPresent(hash); ok {
		if _, found, err := i.Keys.Find(ctx, c.KeyID); err != nil || found {
			return c, err
		}
	}
	c := &Claims{}
	kid, err := i.open(ctx, raw, c)
	if err != nil {
		return nil, err
	}
	c.KeyID = kid
	i.seen.Set(hash, c)
	return c, nil
}

// open checks the signature of a JWT and reads its claims. Fault: invalid_token.
func (i *Issuer) open(ctx context.Context, raw string, claims any) (kid string, err error) {
	invalid := fault.New(fault.InvalidToken)
	if raw == "" || len(raw) > maxLength {
		return "", invalid
	}
	signed, ok := parse(raw)
	if !ok {
		return "", invalid
	}
	key, found, err := i.Keys.Find(ctx, signed.KeyID)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	if !found || !signed.signedBy(key) {
		return "", invalid
	}
	if err := json.Unmarshal(signed.payload, claims); err != nil {
		return "", invalid.Because(err)
	}
	return key.KID, nil
}
