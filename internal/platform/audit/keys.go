package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

// PublicKey verifies heads. In JSON it is a JWK (RFC 8037).
type PublicKey struct {
	KeyType string `json:"kty" enum:"OKP"`
	Curve   string `json:"crv" enum:"Ed25519"`
	Use     string `json:"use" enum:"sig"`
	KID     string `json:"kid"`
	X       string `json:"x"`
}

// KeySet is a JWK Set (RFC 7517 §5).
type KeySet struct {
	Keys []PublicKey `json:"keys"`
}

func publish(key ed25519.PublicKey) PublicKey {
	return PublicKey{"OKP", "Ed25519", "sig", kidOf(key), base64.RawURLEncoding.EncodeToString(key)}
}

// kidOf names a key by its own bytes, so that no other can take the name.
func kidOf(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// keysByID is for looking heads' keys up. It leaves out what is no key, and what
// has another's name.
func keysByID(list []PublicKey) map[string]ed25519.PublicKey {
	byID := map[string]ed25519.PublicKey{}
	for _, k := range list {
		raw, err := base64.RawURLEncoding.DecodeString(k.X)
		if err == nil && len(raw) == ed25519.PublicKeySize && k.Curve == "Ed25519" && k.KID == kidOf(raw) {
			byID[k.KID] = raw
		}
	}
	return byID
}

// storedKey is a row of audit_keys.
type storedKey struct {
	id      uuid.UUID
	kid     string
	public  []byte
	sealed  []byte
	current bool
}

func readKeys(ctx context.Context, c db.Conn) (list []storedKey, err error) {
	rows, err := c.QueryContext(ctx, `SELECT id, kid, public, private_sealed, is_current FROM audit_keys ORDER BY created_at, id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var k storedKey
		if err := rows.Scan(&k.id, &k.kid, &k.public, &k.sealed, &k.current); err != nil {
			return nil, err
		}
		list = append(list, k)
	}
	return list, rows.Err()
}

// open returns the private half if this service sealed it and it belongs to the
// public half: a row that somebody else wrote has none.
func (c *Chain) open(k storedKey) ed25519.PrivateKey {
	seed, err := c.KeySeal.Open(k.sealed, k.id.String())
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil
	}
	private := ed25519.NewKeyFromSeed(seed)
	if public := private.Public().(ed25519.PublicKey); !bytes.Equal(public, k.public) || k.kid != kidOf(public) {
		return nil
	}
	return private
}

// Keys lists the keys that verify heads: those that this service can open.
func (c *Chain) Keys(ctx context.Context) (list []PublicKey, err error) {
	defer fault.Wrap(&err, "audit.Keys")
	all, err := readKeys(ctx, c.DB.Read())
	for _, k := range all {
		if c.open(k) != nil {
			list = append(list, publish(k.public))
		}
	}
	return list, err
}

// Prepare makes the key and the first head if they are not there. It is called
// at every start.
func (c *Chain) Prepare(ctx context.Context) (err error) {
	defer fault.Wrap(&err, "audit.Prepare")
	if err := c.prepareKey(ctx); err != nil {
		return err
	}
	if _, found, err := lastHead(ctx, c.DB.Read()); err != nil || found {
		return err
	}
	now := c.Clock.Now()
	first := Head{Number: 0, FirstPos: 1, LastPos: 0, Root: Bytes(newFold()), Prev: make([]byte, sha256.Size), Floor: 1, KeptFrom: now, MadeAt: now}
	_, err = c.put(ctx, &first)
	return err
}

func (c *Chain) prepareKey(ctx context.Context) error {
	lost, found, err := c.takeKey(ctx)
	if err != nil || found {
		return err
	}
	if lost != uuid.Nil {
		c.Log.Error("the key that signs the audit log cannot be opened: was SIGNING_KEYS__ENCRYPTION_KEY replaced without keeping the old one in …_PREVIOUS? A new key signs from now on; heads before need the old public key (authd audit verify --keys)")
	}
	id, seed, now := uuid.Must(uuid.NewV7()), secret.Bytes(ed25519.SeedSize), c.Clock.Now()
	public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	sealed := c.KeySeal.Seal(seed, id.String())
	err = c.DB.Write(ctx, func(tx *db.Tx) error {
		return putKey(ctx, tx, lost, storedKey{id: id, kid: kidOf(public), public: public, sealed: sealed}, now)
	})
	if err != nil {
		return err
	}
	if _, found, err = c.takeKey(ctx); err == nil && !found {
		err = errors.New("another process signs the audit log with a key that this one cannot open: do all have the same SIGNING_KEYS__ENCRYPTION_KEY?")
	}
	return err
}

// putKey makes a key the current one, unless another process was faster.
func putKey(ctx context.Context, tx *db.Tx, lost uuid.UUID, k storedKey, now time.Time) error {
	if _, err := tx.ExecContext(ctx, `UPDATE audit_keys SET is_current = FALSE WHERE id = $1`, lost); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO audit_keys (id, kid, public, private_sealed, is_current, created_at)
		VALUES ($1, $2, $3, $4, TRUE, $5) ON CONFLICT DO NOTHING`, k.id, k.kid, k.public, k.sealed, now)
	return err
}

// takeKey remembers the current key; lost is one that does not open.
func (c *Chain) takeKey(ctx context.Context) (lost uuid.UUID, found bool, err error) {
	all, err := readKeys(ctx, c.DB.Read())
	if err != nil {
		return lost, false, err
	}
	for _, k := range all {
		if !k.current {
			continue
		}
		private := c.open(k)
		if private == nil {
			return k.id, false, nil
		}
		c.mu.Lock()
		c.signer, c.kid = private, k.kid
		c.mu.Unlock()
		return lost, true, nil
	}
	return lost, false, nil
}

func (c *Chain) key() (ed25519.PrivateKey, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.signer, c.kid
}
