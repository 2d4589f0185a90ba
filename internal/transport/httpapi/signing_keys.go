package httpapi

import (
	"context"
	"time"

	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// signingKeyAPI is what operators do with the keys that keyringAPI publishes.
type signingKeyAPI struct{ keys *keyring.Keyring }

func (a signingKeyAPI) routes() []Route {
	return []Route{
		query("GET /admin/signing-keys", "List the signing keys, newest first", a.list).tag("Administration").auth(Admin),
		endpoint("POST /admin/signing-keys/rotate", "Let the next key sign", a.rotate, fault.RotationTooSoon).
			tag("Administration").auth(Admin).stepUp(stepup.RotateSigningKey, "").optionalBody(),
		query("POST /admin/signing-keys/{kid}/revoke", "Put a signing key out of use at once", a.revoke, fault.SigningKeyNotFound).
			tag("Administration").auth(Admin).stepUp(stepup.RevokeSigningKey, "kid"),
	}
}

type signingKeys struct {
	Data []signingKeyItem `json:"data"`
}

type signingKeyItem struct {
	KeyID       string  `json:"kid"`
	Algorithm   string  `json:"algorithm" enum:"RS256,ES256,EdDSA"`
	Status      string  `json:"status" enum:"next,active,retiring,retired,revoked"`
	CreatedAt   string  `json:"created_at" format:"date-time"`
	PublishedAt string  `json:"published_at" format:"date-time" doc:"Since when it is in the JWKS."`
	ActivatedAt *string `json:"activated_at" format:"date-time" doc:"When it began to sign."`
	RetiresAt   *string `json:"retires_at" format:"date-time" doc:"When a replaced key stops to verify."`
	RetiredAt   *string `json:"retired_at" format:"date-time" doc:"When it was retired or revoked."`
}

func (a signingKeyAPI) list(ctx context.Context, _ struct{}) (signingKeys, error) {
	keys, err := a.keys.Keys(ctx)
	out := signingKeys{Data: []signingKeyItem{}}
	for _, k := range keys {
		out.Data = append(out.Data, signingKeyItem{
			KeyID: k.KID, Algorithm: k.Algorithm, Status: k.Status, CreatedAt: stamp(k.Created), PublishedAt: stamp(k.Published),
			ActivatedAt: orNull(stamp(k.Activated)), RetiresAt: orNull(stamp(k.Retires)), RetiredAt: orNull(stamp(k.Retired)),
		})
	}
	return out, err
}

type rotateInput struct {
	Overlap *int `json:"overlap_seconds,omitempty" nullable:"true" minimum:"0" maximum:"2592000" doc:"How long the key that signs now still verifies, at least; the setting's time if absent. It is never shorter than a token lives."`
}

type rotated struct {
	New      string `json:"new_kid" doc:"Signs now."`
	Retiring string `json:"retiring_kid" doc:"Signed until now."`
	Overlap  int    `json:"rotation_overlap_seconds" doc:"How long it still verifies."`
}

func (a signingKeyAPI) rotate(ctx context.Context, in rotateInput) (rotated, error) {
	var overlap *time.Duration
	if in.Overlap != nil {
		d := time.Duration(*in.Overlap) * time.Second
		overlap = &d
	}
	r, err := a.keys.Rotate(ctx, by(ctx), overlap)
	return rotated{r.New, r.Retiring, int(r.Overlap / time.Second)}, err
}

type signingKeyPath struct {
	KeyID string `path:"kid" minLength:"1" maxLength:"128"`
}

type revokedKey struct {
	Revoked string `json:"revoked_kid"`
	Active  string `json:"active_kid" doc:"Signs now."`
}

func (a signingKeyAPI) revoke(ctx context.Context, in signingKeyPath) (revokedKey, error) {
	active, err := a.keys.Revoke(ctx, by(ctx), in.KeyID)
	return revokedKey{in.KeyID, active}, err
}
