package token

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// The type claims of tokens that are good once, at one place.
const (
	TypeChallenge = "otp_challenge" // the first step of a sign-in is done
	TypeAction    = "action_token"  // one act is confirmed
)

// Once are the claims of such a token. Its id is that of a row in SQL, which
// says whether it is spent.
type Once struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  Audience `json:"aud"`
	ID        string   `json:"jti"`
	IssuedAt  int64    `json:"iat"`
	ExpiresAt int64    `json:"exp"`
	Type      string   `json:"type"`
	SessionID string   `json:"sid,omitempty"`    // action tokens
	Action    string   `json:"action,omitempty"` // action tokens
	Target    string   `json:"target,omitempty"` // action tokens: what the act is on
}

// Challenge signs the token that a mailed code completes.
func (i *Issuer) Challenge(id, userID uuid.UUID, audiences []string, expires time.Time) (string, error) {
	return i.once(Once{
		Type: TypeChallenge, ID: id.String(), Subject: userID.String(), Audience: compose(i.Service, audiences), ExpiresAt: expires.Unix(),
	})
}

// Action signs the confirmation of one act; audience is whose act it is.
func (i *Issuer) Action(c Once, expires time.Time) (string, error) {
	c.Type, c.ExpiresAt = TypeAction, expires.Unix()
	return i.once(c)
}

func (i *Issuer) once(c Once) (string, error) {
	c.Issuer, c.IssuedAt = i.URL, i.Clock.Now().Unix()
	return i.sign("JWT", c)
}

// VerifyOnce checks signature, time and type. It does not know whether the
// token is spent. Fault: invalid_token.
func (i *Issuer) VerifyOnce(ctx context.Context, kind, raw string) (c Once, id, userID uuid.UUID, err error) {
	invalid := fault.New(fault.InvalidToken)
	if _, err = i.open(ctx, raw, &c); err != nil {
		return c, id, userID, err
	}
	now := i.Clock.Now()
	if c.Type != kind || len(c.Audience) == 0 || slices.Contains(c.Audience, "") ||
		time.Unix(c.IssuedAt, 0).After(now.Add(Leeway)) || now.After(time.Unix(c.ExpiresAt, 0)) {
		return c, id, userID, invalid
	}
	if id, err = uuid.Parse(c.ID); err != nil {
		return c, id, userID, invalid
	}
	if userID, err = uuid.Parse(c.Subject); err != nil {
		return c, id, userID, invalid
	}
	return c, id, userID, nil
}
