// Package keyring owns the signing keys: made at first start, sealed at rest,
// published as a JWKS (RFC 7517).
//
// States: next → active → retiring → retired, or revoked. One key is active;
// next, active and retiring keys are published and verify.
package keyring

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

const (
	reloadEvery    = 15 * time.Second
	reloadCooldown = time.Second // between reloads for unknown key ids
	reloadWithin   = 2 * time.Second
)

// Options choose the first key.
type Options struct {
	Algorithm  string // of a key that is made
	PrivatePEM string // imported as the first active key, if set
	PublicPEM  string // its public half: the text that the kid is made of
}

// Keyring holds the keys in memory.
type Keyring struct {
	db    *db.DB
	seal  *secret.Ring
	clock *clock.Clock
	log   *slog.Logger
	now   atomic.Pointer[snapshot]

	mu     sync.Mutex // one reload at a time, so that an older state never replaces a newer one
	asked  time.Time  // when an unknown key id last caused a reload
	failed error      // of the last reload
}

type snapshot struct {
	active *Key
	byKID  map[string]*Key
	jwks   []byte
	etag   string
}

// Load reads the keys and makes or imports the first one. Any number of
// replicas may call it at once on an empty database: one key wins.
func Load(ctx context.Context, d *db.DB, seal *secret.Ring, c *clock.Clock, log *slog.Logger, o Options) (*Keyring, error) {
	k := &Keyring{db: d, seal: seal, clock: c, log: log}
	keys, err := list(ctx, d.Read())
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		if err := k.makeFirst(ctx, o); err != nil {
			return nil, fmt.Errorf("keyring: first key: %w", err)
		}
	}
	return k, k.Reload(ctx)
}

func (k *Keyring) makeFirst(ctx context.Context, o Options) error {
	id := uuid.Must(uuid.NewV7())
	signer, err := generate(o.Algorithm)
	if o.PrivatePEM != "" {
		signer, err = parsePEM(o.PrivatePEM)
	}
	if err != nil {
		return err
	}
	algorithm, err := algorithmOf(signer.Public())
	if err != nil {
		return err
	}
	public := o.PublicPEM
	if public == "" {
		if public, err = publicPEM(signer.Public()); err != nil {
			return err
		}
	}
	key := Key{KID: kid(public), Algorithm: algorithm, Status: "active", Private: signer, Public: signer.Public()}
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return err
	}
	jwk, err := json.Marshal(key.JWK())
	if err != nil {
		return err
	}
	return k.db.Write(ctx, func(tx *db.Tx) error {
		now := k.clock.Now()
		created, err := insert(ctx, tx, now, row{
			id: id, kid: key.KID, algorithm: algorithm, status: key.Status,
			sealed: k.seal.Seal(der, id.String()), jwk: string(jwk),
		})
		if err != nil || !created {
			return err
		}
		return audit.Record(ctx, tx, now, audit.Event{
			Type: audit.SigningKeyCreated, ActorType: "system",
			Metadata: map[string]any{"kid": key.KID, "algorithm": algorithm, "imported": o.PrivatePEM != ""},
		})
	})
}

// Reload reads the keys from SQL.
func (k *Keyring) Reload(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.reload(ctx)
}

func (k *Keyring) reload(ctx context.Context) (err error) {
	defer func() { k.failed = err }()
	ctx, cancel := context.WithTimeout(ctx, reloadWithin)
	defer cancel()
	rows, err := list(ctx, k.db.Read())
	if err != nil {
		return err
	}
	s := &snapshot{byKID: map[string]*Key{}}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, r := range rows { // ordered by kid
		var jwk jose.JSONWebKey
		if err := json.Unmarshal([]byte(r.jwk), &jwk); err != nil {
			return fmt.Errorf("keyring: key %s: %w", r.kid, err)
		}
		key := &Key{KID: r.kid, Algorithm: r.algorithm, Status: r.status, Public: jwk.Key}
		if r.status == "active" {
			if key.Private, err = k.open(r); err != nil {
				return err
			}
			s.active = key
		}
		s.byKID[r.kid] = key
		set.Keys = append(set.Keys, key.JWK())
	}
	if s.active == nil {
		return fmt.Errorf("keyring: no signing key is active")
	}
	if s.jwks, err = json.Marshal(set); err != nil {
		return err
	}
	sum := sha256.Sum256(s.jwks)
	s.etag = `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	k.now.Store(s)
	return nil
}

// Run reloads now and then, so that keys made on another replica arrive.
func (k *Keyring) Run(ctx context.Context) {
	t := time.NewTicker(reloadEvery)
	defer t.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			err := k.Reload(ctx)
			if err != nil && !failing && ctx.Err() == nil {
				k.log.Warn("signing keys cannot be reloaded; the ones in memory stay in use", "error", err)
			}
			failing = err != nil
		}
	}
}

// Examine opens the active key and counts the published ones; it changes
// nothing.
func Examine(ctx context.Context, d *db.DB, seal *secret.Ring) (published int, err error) {
	k := &Keyring{db: d, seal: seal}
	rows, err := list(ctx, d.Read())
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	return len(rows), k.Reload(ctx)
}

// Active returns the key that signs.
func (k *Keyring) Active() *Key { return k.now.Load().active }

// Find returns a key that verifies. A key id that is not known reloads the
// keys, at most once a second; an error means that they could not be read, so
// that nobody can tell whether the key is good.
func (k *Keyring) Find(ctx context.Context, kid string) (key *Key, found bool, err error) {
	if key, found = k.now.Load().byKID[kid]; found {
		return key, true, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if key, found = k.now.Load().byKID[kid]; !found && time.Since(k.asked) >= reloadCooldown {
		_ = k.reload(context.WithoutCancel(ctx)) // others wait for it, whoever asked; it keeps its error
		k.asked = time.Now()                     // when it ended: those who waited do not ask again
		key, found = k.now.Load().byKID[kid]
	}
	if !found {
		return nil, false, k.failed
	}
	return key, true, nil
}

// JWKS returns the published key set and its entity tag.
func (k *Keyring) JWKS() (body []byte, etag string) {
	s := k.now.Load()
	return s.jwks, s.etag
}
