// Package keyring owns the signing keys: made at first start, sealed at rest,
// published as a JWKS (RFC 7517), replaced and revoked.
//
//	next      published, so that everybody knows it before it signs
//	active    signs; there is one
//	retiring  verifies what it signed, until its time is over by the clock
//	retired   out of use
//	revoked   out of use at once; the revocation feed names it, too
//
// make.go makes them, rotate.go moves them from one state to the next, tend.go
// does so when it is time, store.go is the SQL.
package keyring

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

const (
	reloadEvery    = 15 * time.Second       // without being told to
	lookEvery      = 250 * time.Millisecond // whether the feed tells to
	reloadCooldown = 900 * time.Millisecond // between reloads that key ids cause; of the second that is promised
	reloadWithin   = 2 * time.Second
)

// changed is what the feed calls the set of keys.
const changed = "signing_keys"

// Options of a keyring.
type Options struct {
	Algorithm  string // of a key that is made
	PrivatePEM string // imported as the first active key, if set
	PublicPEM  string // its public half: the text that the kid is made of

	// Feed says which keys are revoked. Without one (in tests) SQL does.
	Feed *revocation.Feed

	// TokenLife is how long a token that is signed now can be good.
	TokenLife func(ctx context.Context, c db.Conn) (time.Duration, error)

	Overlap time.Duration // for which a replaced key verifies, if TokenLife is not longer
	Every   time.Duration // after it another key signs; 0 is never
}

// Keyring holds the keys in memory.
type Keyring struct {
	db    *db.DB
	seal  *secret.Ring
	clock *clock.Clock
	log   *slog.Logger
	o     Options
	now   atomic.Pointer[snapshot]

	mu     sync.Mutex // one reload at a time, so that an older state never replaces a newer one
	tried  time.Time  // when the last reload began; monotonic
	asked  time.Time  // when the last reload ended that an unknown key id caused; monotonic
	failed error      // of the last reload
}

// snapshot is the keys as SQL had them. It never changes.
type snapshot struct {
	readAt   time.Time // monotonic
	version  int64     // of the keys, by the feed, before they were read
	position uint64    // of the feed then
	active   *Key
	keys     []*Key // published, by key id
	byKID    map[string]*Key
	jwks     []byte
	etag     string
}

// Load reads the keys and makes those that are missing: the first one, or what
// is imported as such, and the next. Any number of replicas may call it at once
// on an empty database: one key wins.
func Load(ctx context.Context, d *db.DB, seal *secret.Ring, c *clock.Clock, log *slog.Logger, o Options) (*Keyring, error) {
	k := &Keyring{db: d, seal: seal, clock: c, log: log, o: o}
	keys, err := published(ctx, d.Read())
	if err != nil {
		return nil, err
	}
	switch {
	case len(keys) == 0:
		if err := k.makeFirst(ctx); err != nil {
			return nil, fmt.Errorf("keyring: first key: %w", err)
		}
	case only(keys, Next) == nil:
		if err := k.makeNext(ctx, func(next *row) bool { return next != nil }); err != nil {
			return nil, fmt.Errorf("keyring: next key: %w", err)
		}
	}
	return k, k.Reload(ctx)
}

// Reload reads the keys from SQL.
func (k *Keyring) Reload(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.reload(ctx)
}

func (k *Keyring) reload(ctx context.Context) (err error) {
	k.tried = time.Now()
	defer func() { k.failed = err }()
	ctx, cancel := context.WithTimeout(ctx, reloadWithin)
	defer cancel()
	s := &snapshot{readAt: k.tried}
	s.version, s.position = k.told()
	rows, err := published(ctx, k.db.Read())
	if err != nil {
		return err
	}
	for _, r := range rows {
		var jwk jose.JSONWebKey
		if err := json.Unmarshal([]byte(r.jwk), &jwk); err != nil {
			return fmt.Errorf("keyring: key %s: %w", r.kid, err)
		}
		key := &Key{KID: r.kid, Algorithm: r.algorithm, Status: r.status, Retires: r.retires, Public: jwk.Key}
		if r.status == Active {
			if key.Private, err = k.private(r); err != nil {
				return err
			}
			s.active = key
		}
		s.keys = append(s.keys, key)
	}
	if s.active == nil {
		return errors.New("keyring: no signing key is active")
	}
	if err := s.publish(); err != nil {
		return err
	}
	k.now.Store(s)
	return nil
}

// publish makes of the keys what others ask for.
func (s *snapshot) publish() (err error) {
	s.byKID = map[string]*Key{}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, key := range s.keys {
		s.byKID[key.KID] = key
		set.Keys = append(set.Keys, key.JWK())
	}
	if s.jwks, err = json.Marshal(set); err != nil {
		return err
	}
	sum := sha256.Sum256(s.jwks)
	s.etag = `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	return nil
}

// private opens a key, unless it is open already: then a replica that does not
// have the newest encryption key yet goes on.
func (k *Keyring) private(r row) (crypto.Signer, error) {
	if s := k.now.Load(); s != nil && s.active.KID == r.kid {
		return s.active.Private, nil
	}
	return k.open(r)
}

// told is what the feed has told: the newest change of the keys, and whatever
// else.
func (k *Keyring) told() (version int64, position uint64) {
	if k.o.Feed == nil {
		return 0, 0
	}
	return k.o.Feed.Epoch(revocation.Changed, changed), k.o.Feed.Position()
}

// Run reloads when the feed says that the keys have changed, and now and then
// without being told.
func (k *Keyring) Run(ctx context.Context) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			if !k.isDue() {
				continue
			}
			err := k.Reload(ctx)
			if err != nil && !failing && ctx.Err() == nil {
				k.log.Warn("signing keys cannot be reloaded; the ones in memory stay in use", "error", err)
			}
			failing = err != nil
		}
	}
}

func (k *Keyring) isDue() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	since, s := time.Since(k.tried), k.now.Load()
	version, _ := k.told()
	return since >= reloadEvery || since >= reloadCooldown && k.failed != nil || version > s.version && k.failed == nil
}

// Active returns the key that signs, as it was read last.
func (k *Keyring) Active() *Key { return k.now.Load().active }

// Signing returns the key that signs now. One that the feed names signs no
// more: its successor is read first, and the error means that it could not be.
func (k *Keyring) Signing() (*Key, error) {
	if key := k.Active(); !k.revoked(key.KID) {
		return key, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	_, position := k.told()
	isNews := k.failed == nil && position != k.now.Load().position
	if k.revoked(k.Active().KID) && (isNews || time.Since(k.tried) >= reloadCooldown) {
		_ = k.reload(context.Background()) // it keeps its error; others wait for it, whoever asked
	}
	switch key := k.Active(); {
	case !k.revoked(key.KID):
		return key, nil
	case k.failed != nil:
		return nil, k.failed
	}
	return nil, fault.Retry(fault.ServiceUnavailable, time.Second).Because(errors.New("keyring: the active key is revoked, its successor is not here yet"))
}

// Find returns a key that verifies. A key id that is not known reloads the
// keys, at most about once a second; an error means that they could not be read,
// so that nobody can tell whether the key is good. The same holds for keys that
// are known, while the feed is more than a second behind.
func (k *Keyring) Find(ctx context.Context, kid string) (key *Key, found bool, err error) {
	s := k.now.Load()
	if key, found = s.byKID[kid]; !found {
		return k.lookFor(ctx, kid)
	}
	if k.isGone(key) {
		return nil, false, nil
	}
	if k.o.Feed == nil || k.o.Feed.Fresh() || time.Since(s.readAt) < reloadCooldown {
		return key, true, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.tried) >= reloadCooldown {
		_ = k.reload(context.WithoutCancel(ctx)) // others wait for it, whoever asked; it keeps its error
	}
	return k.known(kid)
}

// lookFor reads the keys once more for a key id that nobody knows here, but not
// in the cool-down: keys are published long before they sign, and whoever makes
// ids up must neither cost reads nor hold connections by waiting.
func (k *Keyring) lookFor(ctx context.Context, kid string) (key *Key, found bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if key, found, err = k.known(kid); !found && time.Since(k.asked) >= reloadCooldown {
		_ = k.reload(context.WithoutCancel(ctx)) // others wait for it, whoever asked; it keeps its error
		k.asked = time.Now()                     // when it ended: those who waited do not ask again
		key, found, err = k.known(kid)
	}
	return key, found, err
}

// known is what the keys as they are now say. The caller holds mu.
func (k *Keyring) known(kid string) (key *Key, found bool, err error) {
	key, found = k.now.Load().byKID[kid]
	if found && k.isGone(key) {
		return nil, false, nil
	}
	if k.failed != nil {
		return nil, false, k.failed
	}
	return key, found, nil
}

// isGone reports whether a key that was published verifies no more.
func (k *Keyring) isGone(key *Key) bool {
	return k.revoked(key.KID) || !key.Retires.IsZero() && !key.Retires.After(k.clock.Now())
}

func (k *Keyring) revoked(kid string) bool {
	return k.o.Feed != nil && k.o.Feed.Revoked(revocation.Key, kid)
}

// JWKS returns the published key set and its entity tag, without the keys whose
// time has ended since they were read.
func (k *Keyring) JWKS() (body []byte, etag string) {
	s := k.now.Load()
	if !slices.ContainsFunc(s.keys, k.isGone) {
		return s.jwks, s.etag
	}
	left := &snapshot{keys: slices.DeleteFunc(slices.Clone(s.keys), k.isGone)}
	if err := left.publish(); err != nil { // what could be published with them can be without
		return s.jwks, s.etag
	}
	return left.jwks, left.etag
}
