// Package apikey owns API keys: long-lived secrets that a service shows instead
// of an access token, and that others introspect.
//
// SQL is the truth. A key that was read is kept in memory, with the answer to
// give, and used only while the revocation feed is near and names nothing newer.
//
//	format.go      what a key looks like
//	apikey.go      what an operator does to one
//	list.go        reading, for operators
//	introspect.go  reading, for those who check
package apikey

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/maypok86/otter/v2"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/lastuse"
	"github.com/authsdk/authsdk/internal/platform/limit"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

// TargetType is what audit events call a key.
const TargetType = "api_key"

// Key is one API key as its operator sees it.
type Key struct {
	ID        uuid.UUID
	UserID    uuid.UUID // whose key it is; uuid.Nil: nobody's
	Prefix    string    // the beginning of the current secret
	Name      string
	Service   string
	Scope     string // as given: separated by commas
	PerMinute int    // introspections a minute; 0 sets no limit
	Created   time.Time
	Expires   time.Time // zero: never
	Revoked   time.Time // zero: not revoked
	LastUsed  time.Time // zero: never
}

// New is what Create takes.
type New struct {
	Name      string
	Service   string
	Scope     string
	User      uuid.UUID  // uuid.Nil: nobody's
	Expires   *time.Time // nil: never
	PerMinute int        // 0: no limit
}

// Service is what the rest of the program calls.
type Service struct {
	db      *db.DB
	clock   *clock.Clock
	log     *slog.Logger
	feed    *revocation.Feed
	limiter *limit.Limiter
	cache   *otter.Cache[[sha256.Size]byte, *known]
	used    *lastuse.Times
}

// cacheFor is far below the time that a change stays in the feed.
const (
	cacheFor  = time.Minute
	cacheSize = 100_000

	toldFor = 10 * time.Minute
)

// NewService makes the service.
func NewService(d *db.DB, c *clock.Clock, log *slog.Logger, feed *revocation.Feed, limiter *limit.Limiter) *Service {
	return &Service{
		db: d, clock: c, log: log, feed: feed, limiter: limiter,
		cache: otter.Must(&otter.Options[[sha256.Size]byte, *known]{
			MaximumSize:      cacheSize,
			ExpiryCalculator: otter.ExpiryWriting[[sha256.Size]byte, *known](cacheFor),
		}),
		used: lastuse.New(d, c, log, "API keys", touch),
	}
}

// Run writes when keys were last used, until ctx ends.
func (s *Service) Run(ctx context.Context) { s.used.Run(ctx) }

// maxText is the longest name, service or scope; maxPerMinute the highest limit.
const (
	maxText      = 128
	maxPerMinute = 1_000_000
)

// complete checks what a key is to be and fills in what follows: the name is the
// service's if none is given, and the service what stands before the colon in the
// first scope, else the name. Faults: validation_error, invalid_api_key.
func (n New) complete() (New, error) {
	n.Name, n.Service, n.Scope = strings.TrimSpace(n.Name), strings.TrimSpace(n.Service), strings.TrimSpace(n.Scope)
	for _, text := range []struct{ field, value string }{{"name", n.Name}, {"service", n.Service}, {"scope", n.Scope}} {
		if utf8.RuneCountInString(text.value) > maxText {
			return n, fault.Invalid(text.field, fmt.Sprintf("must be at most %d characters long", maxText))
		}
	}
	if n.PerMinute < 0 || n.PerMinute > maxPerMinute {
		return n, fault.Invalid("rate_limit_per_minute", fmt.Sprintf("must be between 1 and %d", maxPerMinute))
	}
	if n.Expires != nil && (n.Expires.UTC().Year() < 1970 || n.Expires.UTC().Year() > 9999) {
		return n, fault.Invalid("expires_at", "must be a time from 1970 to 9999")
	}
	if n.Name == "" {
		n.Name = n.Service
	}
	if n.Name == "" || len(scopesOf(n.Scope)) == 0 {
		return n, fault.New(fault.InvalidAPIKey)
	}
	if n.Service == "" {
		first, _, prefixed := strings.Cut(scopesOf(n.Scope)[0], ":")
		if n.Service = strings.TrimSpace(first); !prefixed || n.Service == "" {
			n.Service = n.Name
		}
	}
	return n, nil
}

// scopesOf splits a scope; repetitions stay.
func scopesOf(scope string) []string {
	list := []string{}
	for entry := range strings.SplitSeq(scope, ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			list = append(list, entry)
		}
	}
	return list
}

// Create makes a key, which is told only here. Faults: validation_error,
// invalid_api_key, invalid_user.
func (s *Service) Create(ctx context.Context, by audit.By, n New) (k Key, plain string, err error) {
	defer fault.Wrap(&err, "apikey.Create")
	if n, err = n.complete(); err != nil {
		return k, "", err
	}
	now := s.clock.Now()
	plain = Make()
	k = Key{
		ID: uuid.Must(uuid.NewV7()), UserID: n.User, Prefix: plain[:shownOf], Name: n.Name, Service: n.Service, Scope: n.Scope,
		PerMinute: n.PerMinute, Created: now,
	}
	if n.Expires != nil {
		k.Expires = n.Expires.UTC().Truncate(time.Microsecond)
	}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if err := by.Admit(ctx, tx, now); err != nil {
			return err
		}
		if k.UserID != uuid.Nil { // locked, so that who ends the account's keys meets this one
			if _, found, err := user.Lock(ctx, tx, k.UserID); err != nil {
				return err
			} else if !found {
				return fault.New(fault.InvalidUser)
			}
		}
		_, err := tx.ExecContext(ctx, `
			INSERT INTO api_keys (id, user_id, name, service, scope, rate_limit_per_minute, version, created_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			k.ID, uuid.NullUUID{UUID: k.UserID, Valid: k.UserID != uuid.Nil}, k.Name, k.Service, k.Scope,
			sql.NullInt64{Int64: int64(k.PerMinute), Valid: k.PerMinute > 0}, 1, now, sql.NullTime{Time: k.Expires, Valid: !k.Expires.IsZero()})
		if err != nil {
			return err
		}
		if err := insertSecret(ctx, tx, now, k.ID, plain); err != nil {
			return err
		}
		return audit.Record(ctx, tx, now, event(by, audit.APIKeyCreated, k, facts(k)))
	})
	return k, plain, err
}

// facts are the metadata of a key.
func facts(k Key) map[string]any {
	m := map[string]any{"name": k.Name, "service": k.Service, "scope": k.Scope}
	if k.UserID != uuid.Nil {
		m["user_id"] = k.UserID
	}
	return m
}

func event(by audit.By, t audit.Type, k Key, metadata map[string]any) audit.Event {
	e := by.Event(t)
	e.TargetType, e.Target, e.Metadata = TargetType, k.ID, metadata
	return e
}

func insertSecret(ctx context.Context, tx *db.Tx, now time.Time, id uuid.UUID, plain string) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO api_key_secrets (hash, key_id, prefix, created_at) VALUES ($1, $2, $3, $4)`,
		secret.Hash(plain), id, plain[:shownOf], now)
	return err
}

// Rotate gives a key another secret, told only here. The old one is good for
// overlap longer. Faults: api_key_not_found, api_key_revoked, validation_error.
func (s *Service) Rotate(ctx context.Context, by audit.By, id uuid.UUID, overlap time.Duration) (k Key, plain string, err error) {
	defer fault.Wrap(&err, "apikey.Rotate")
	if overlap < 0 || overlap > maxOverlap {
		return k, "", fault.Invalid("overlap_seconds", fmt.Sprintf("must be between 0 and %d", int(maxOverlap.Seconds())))
	}
	plain = Make()
	now := s.clock.Now()
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if err := by.Admit(ctx, tx, now); err != nil {
			return err
		}
		if k, err = lock(ctx, tx, id); err != nil {
			return err
		}
		if !k.Revoked.IsZero() {
			return fault.New(fault.APIKeyRevoked)
		}
		// One that overlaps from an earlier rotation ends now: at most two are good.
		if _, err := tx.ExecContext(ctx, `DELETE FROM api_key_secrets WHERE key_id = $1 AND expires_at IS NOT NULL`, id); err != nil {
			return err
		}
		if overlap > 0 {
			_, err = tx.ExecContext(ctx, `UPDATE api_key_secrets SET expires_at = $1 WHERE key_id = $2`, now.Add(overlap), id)
		} else {
			_, err = tx.ExecContext(ctx, `DELETE FROM api_key_secrets WHERE key_id = $1`, id)
		}
		if err != nil {
			return err
		}
		if err := insertSecret(ctx, tx, now, id, plain); err != nil {
			return err
		}
		k.Prefix = plain[:shownOf]
		var version int64
		err := tx.QueryRowContext(ctx, `UPDATE api_keys SET version = version + 1 WHERE id = $1 RETURNING version`, id).Scan(&version)
		if err != nil {
			return err
		}
		err = s.feed.Append(ctx, tx, now, revocation.Entry{Kind: revocation.Changed, Subject: changedName(id.String()), Epoch: version, Expires: now.Add(toldFor)})
		if err != nil {
			return err
		}
		return audit.Record(ctx, tx, now, event(by, audit.APIKeyRotated, k, map[string]any{"name": k.Name, "overlap_seconds": int(overlap.Seconds())}))
	})
	return k, plain, err
}

// maxOverlap is how long an old secret may stay good beside a new one.
const maxOverlap = 30 * 24 * time.Hour

// Revoke ends a key for good. Again it changes nothing. Fault:
// api_key_not_found.
func (s *Service) Revoke(ctx context.Context, by audit.By, id uuid.UUID) (k Key, err error) {
	defer fault.Wrap(&err, "apikey.Revoke")
	now := s.clock.Now()
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if err := by.Admit(ctx, tx, now); err != nil {
			return err
		}
		if k, err = lock(ctx, tx, id); err != nil || !k.Revoked.IsZero() {
			return err
		}
		k.Revoked = now
		if _, err := tx.ExecContext(ctx, `UPDATE api_keys SET revoked_at = $1, version = version + 1 WHERE id = $2`, now, id); err != nil {
			return err
		}
		if err := s.feed.Append(ctx, tx, now, revoked(id, now)); err != nil {
			return err
		}
		return audit.Record(ctx, tx, now, event(by, audit.APIKeyRevoked, k, facts(k)))
	})
	return k, err
}

// revoked is what the feed tells of a key that has ended.
func revoked(id uuid.UUID, now time.Time) revocation.Entry {
	return revocation.Entry{Kind: revocation.APIKey, Subject: id.String(), Expires: now.Add(toldFor)}
}

// RevokeOf ends every key of a user, in the transaction that ends the account.
func RevokeOf(ctx context.Context, tx *db.Tx, feed *revocation.Feed, now time.Time, userID uuid.UUID) (n int, err error) {
	defer fault.Wrap(&err, "apikey.RevokeOf")
	rows, err := tx.QueryContext(ctx, `
		UPDATE api_keys SET revoked_at = $1, version = version + 1 WHERE user_id = $2 AND revoked_at IS NULL RETURNING id`, now, userID)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	var told []revocation.Entry
	for rows.Next() {
		var id uuid.UUID
		if err := rows.Scan(&id); err != nil {
			return 0, err
		}
		told = append(told, revoked(id, now))
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return 0, err
	}
	return len(told), feed.Append(ctx, tx, now, told...)
}

// changedName is the subject under which the feed tells changes of a key.
func changedName(id string) string { return "api_key:" + id }

// Prune deletes secrets that overlapped with their successors and are past it.
func Prune(ctx context.Context, d *db.DB, now time.Time) error {
	return d.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM api_key_secrets WHERE expires_at < $1`, now)
		return err
	})
}

// touch is a lastuse.Touch.
func touch(ctx context.Context, tx *db.Tx, id uuid.UUID, older, at time.Time) error {
	_, err := tx.ExecContext(ctx, `UPDATE api_keys SET last_used_at = $1 WHERE id = $2 AND (last_used_at IS NULL OR last_used_at < $3)`, at, id, older)
	return err
}
