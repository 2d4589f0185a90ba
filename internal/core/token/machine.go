package token

import (
	"context"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// TypeMachine is the type claim of a machine client's access token.
const TypeMachine = "m2m"

// RoleMachine is the role that every machine client has.
const RoleMachine = "service"

// MachineClaims are those of a machine client's access token.
type MachineClaims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  Audience `json:"aud"`
	ID        string   `json:"jti"`
	IssuedAt  int64    `json:"iat"`
	ExpiresAt int64    `json:"exp"`
	Type      string   `json:"type"`
	ClientID  string   `json:"client_id"`
	Epoch     int64    `json:"epoch"`
	Role      string   `json:"role"`
	Scope     string   `json:"scope"`

	KeyID string `json:"-"` // of the key that signed it
}

// Machine signs an access token for a machine client. It fills in what the
// issuer decides; what it takes of c is ClientID, Audience, Epoch and Scope.
func (i *Issuer) Machine(c MachineClaims, life time.Duration) (string, error) {
	now := i.Clock.Now()
	c.Issuer, c.Subject, c.Role, c.Type = i.URL, c.ClientID, RoleMachine, TypeMachine
	c.ID = uuid.NewString()
	c.IssuedAt, c.ExpiresAt = now.Unix(), now.Add(life).Unix()
	c.Audience = compose(i.Service, c.Audience)
	return i.sign("at+jwt", c)
}

// VerifyMachine checks signature, time, type and that the token is for this
// service. It does not know whether the client still is as the token says. Fault:
// invalid_token. Callers share the claims and must not change them.
func (i *Issuer) VerifyMachine(ctx context.Context, raw string) (*MachineClaims, error) {
	invalid := fault.New(fault.InvalidToken)
	hash := sha256.Sum256([]byte(raw))
	c, seen := i.machines.GetIfPresent(hash)
	if seen { // then its signature is good, if its key still is
		_, found, err := i.Keys.Find(ctx, c.KeyID)
		if err != nil {
			return nil, err
		}
		seen = found
	}
	if !seen {
		c = &MachineClaims{}
		kid, err := i.open(ctx, raw, c)
		if err != nil {
			return nil, err
		}
		c.KeyID = kid
		i.machines.Set(hash, c)
	}
	now := i.Clock.Now()
	if c.Type != TypeMachine || c.ID == "" || c.ClientID == "" || c.Subject != c.ClientID || !slices.Contains(c.Audience, i.Service) ||
		time.Unix(c.IssuedAt, 0).After(now.Add(Leeway)) || now.After(time.Unix(c.ExpiresAt, 0).Add(Leeway)) {
		return nil, invalid
	}
	return c, nil
}
