package apikey

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/limit"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

// What an introspection says of a key that is not good.
const (
	Invalid = "invalid_api_key"
	Revoked = "revoked_api_key"
	Expired = "expired_api_key"
)

// Outcome is what an introspection found out.
type Outcome struct {
	Key    uuid.UUID // uuid.Nil if there is no such key
	Owner  uuid.UUID // uuid.Nil if it is nobody's
	Code   string    // why it is not good; empty if it is
	Body   []byte    // the answer, as JSON: shared, not to be changed
	Source string    // format, cache or sql: where it comes from
}

// known is a key as it was read, with the answers to give.
type known struct {
	id, owner  uuid.UUID
	subject    string // in the feed: its id
	changed    string // in the feed: its version
	ownerID    string // in the feed
	version    int64
	ownerEpoch int64
	until      time.Time // zero: its secret is the current one
	expires    time.Time // zero: never
	revoked    bool
	ownerless  bool // its owner is deleted or closed
	perMinute  int
	valid      []byte
}

// refusals are the answers for keys that are not good.
var refusals = map[string][]byte{
	Invalid: []byte(`{"valid":false,"code":"` + Invalid + `"}`),
	Revoked: []byte(`{"valid":false,"code":"` + Revoked + `"}`),
	Expired: []byte(`{"valid":false,"code":"` + Expired + `"}`),
}

// missRule bounds how fast one address may try keys that do not exist.
var missRule = limit.Rule{Name: "introspect-miss", Burst: 60, Per: time.Minute}

// Introspect tells whether a key is good right now. Fault: rate_limited, by the
// key's own limit or by too many tries of keys that do not exist.
func (s *Service) Introspect(ctx context.Context, key string) (o Outcome, err error) {
	defer fault.Wrap(&err, "apikey.Introspect")
	if !Valid(key) {
		return Outcome{Code: Invalid, Body: refusals[Invalid], Source: "format"}, nil
	}
	hash := sha256.Sum256(append(make([]byte, 0, 128), key...)) // on the stack
	k, source, err := s.known(ctx, hash)
	if err != nil {
		return o, err
	}
	now := s.clock.Now()
	if k == nil || !k.until.IsZero() && !k.until.After(now) {
		// Asked only for those: who introspects for many must not meet it.
		if d := s.limiter.Allow(ctx, missRule, audit.OriginOf(ctx).IP); !d.Allowed {
			return o, fault.Retry(fault.RateLimited, d.RetryAfter)
		}
		return Outcome{Code: Invalid, Body: refusals[Invalid], Source: source}, nil
	}
	o = Outcome{Key: k.id, Owner: k.owner, Source: source}
	switch {
	case k.revoked:
		o.Code = Revoked
	case !k.expires.IsZero() && !k.expires.After(now):
		o.Code = Expired
	case k.ownerless:
		o.Code = Revoked
	}
	if o.Code != "" {
		o.Body = refusals[o.Code]
		return o, nil
	}
	if k.perMinute > 0 {
		rule := limit.Rule{Name: "api-key", Burst: k.perMinute, Per: time.Minute}
		if d := s.limiter.Allow(ctx, rule, k.subject); !d.Allowed {
			return o, fault.Retry(fault.RateLimited, d.RetryAfter)
		}
	}
	o.Body = k.valid
	s.used.See(k.id)
	return o, nil
}

// lookWithin bounds a look into SQL: who asks gets service_unavailable instead
// of waiting for a database that may be cut off.
const lookWithin = 2 * time.Second

// known returns a key from the cache, or from SQL when the cache may not be
// asked, does not know it, or knows an older state than the feed. It is nil if
// there is none. What was read while the feed moved is not kept.
func (s *Service) known(ctx context.Context, hash [sha256.Size]byte) (k *known, source string, err error) {
	fresh := s.feed.Fresh()
	if fresh {
		if k, ok := s.cache.GetIfPresent(hash); ok && !s.outdated(k) {
			return k, "cache", nil
		}
	}
	position := s.feed.Position()
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	k, err = load(ctx, s.db.Read(), hash)
	if err != nil || k == nil {
		return nil, "sql", err
	}
	if fresh && s.feed.Position() == position {
		s.cache.Set(hash, k)
	}
	return k, "sql", nil
}

// outdated reports whether the feed names something newer than what was read.
func (s *Service) outdated(k *known) bool {
	return !k.revoked && s.feed.Revoked(revocation.APIKey, k.subject) ||
		s.feed.Epoch(revocation.Changed, k.changed) > k.version ||
		k.ownerID != "" && s.feed.Epoch(revocation.User, k.ownerID) > k.ownerEpoch
}

// load reads a key by the hash of a secret, with its owner.
func load(ctx context.Context, c db.Conn, hash [sha256.Size]byte) (*known, error) {
	k := &known{}
	var owner uuid.NullUUID
	var service, scope string
	var perMinute, ownerEpoch sql.NullInt64
	var active sql.NullBool
	var until, expires, revoked, deleted sql.NullTime
	err := c.QueryRowContext(ctx, `
		SELECT k.id, k.user_id, k.service, k.scope, k.rate_limit_per_minute, k.version, k.expires_at, k.revoked_at, s.expires_at,
			u.epoch, u.is_active, u.deleted_at
		FROM api_key_secrets s JOIN api_keys k ON k.id = s.key_id LEFT JOIN users u ON u.id = k.user_id
		WHERE s.hash = $1`, hex.EncodeToString(hash[:])).
		Scan(&k.id, &owner, &service, &scope, &perMinute, &k.version, &expires, &revoked, &until, &ownerEpoch, &active, &deleted)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	k.subject = k.id.String()
	k.changed = changedName(k.subject)
	k.until, k.expires, k.revoked, k.perMinute = utc(until), utc(expires), revoked.Valid, int(perMinute.Int64)
	if owner.Valid {
		k.owner, k.ownerID, k.ownerEpoch = owner.UUID, owner.UUID.String(), ownerEpoch.Int64
		k.ownerless = !active.Bool || deleted.Valid
	}
	k.valid, err = answer(k, service, scope)
	return k, err
}

// answer is what an introspection of a good key says.
func answer(k *known, service, scope string) ([]byte, error) {
	a := struct {
		Valid   bool      `json:"valid"`
		UserID  *string   `json:"user_id"`
		Scopes  []string  `json:"scopes"`
		KeyID   uuid.UUID `json:"key_id"`
		Expires *string   `json:"expires_at"`
		Service string    `json:"service,omitempty"`
	}{Valid: true, Scopes: scopesOf(scope), KeyID: k.id, Service: service}
	if k.ownerID != "" {
		a.UserID = &k.ownerID
	}
	if !k.expires.IsZero() {
		text := Stamp(k.expires)
		a.Expires = &text
	}
	body, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("the answer for key %s: %w", k.id, err)
	}
	return body, nil
}

// Stamp writes a time as clients of the service before this one know it of keys:
// with +00:00 and not Z.
func Stamp(t time.Time) string {
	if t.Nanosecond() == 0 {
		return t.UTC().Format("2006-01-02T15:04:05+00:00")
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000+00:00")
}
