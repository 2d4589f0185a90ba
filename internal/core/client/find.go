package client

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

	"github.com/authsdk/authsdk/internal/foundation/cursor"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

// columns is what scan takes.
const columns = `c.id, c.client_id, c.name, c.scopes, c.audiences, c.is_active, c.token_ttl_seconds, c.longest_ttl_seconds,
	c.epoch, c.version, c.created_at, c.updated_at, c.last_used_at,
	(SELECT s.prefix FROM client_secrets s WHERE s.client = c.id AND s.expires_at IS NULL)`

type scanner interface{ Scan(into ...any) error }

func scan(row scanner, more ...any) (c Client, err error) {
	var scopes, audiences string
	var ttl, longest int64
	var used sql.NullTime
	var prefix sql.NullString
	err = row.Scan(append([]any{&c.ID, &c.ClientID, &c.Name, &scopes, &audiences, &c.Active, &ttl, &longest,
		&c.Epoch, &c.version, &c.Created, &c.Updated, &used, &prefix}, more...)...)
	if err != nil {
		return c, err
	}
	c.TTL, c.longest = time.Duration(ttl)*time.Second, time.Duration(longest)*time.Second
	c.Created, c.Updated, c.SecretPrefix = c.Created.UTC(), c.Updated.UTC(), prefix.String
	if used.Valid {
		c.LastUsed = used.Time.UTC()
	}
	if err := errors.Join(json.Unmarshal([]byte(scopes), &c.Scopes), json.Unmarshal([]byte(audiences), &c.Audiences)); err != nil {
		return c, fmt.Errorf("lists of client %s: %w", c.ID, err)
	}
	return c, nil
}

// lock keeps every other change of the client waiting and returns it as it is
// then. Fault: client_not_found.
func lock(ctx context.Context, tx *db.Tx, id uuid.UUID) (Client, error) {
	query := `SELECT ` + columns + ` FROM clients c WHERE c.id = $1 AND c.deleted_at IS NULL`
	if tx.Engine() == db.Postgres {
		query = `SELECT ` + columns + ` FROM clients c WHERE c.id = $1 AND c.deleted_at IS NULL FOR NO KEY UPDATE`
	}
	return found(scan(tx.QueryRowContext(ctx, query, id)))
}

// Find returns a client by the id of its row. Fault: client_not_found.
func (s *Service) Find(ctx context.Context, id uuid.UUID) (c Client, err error) {
	defer fault.Wrap(&err, "client.Find")
	return found(scan(s.db.Read().QueryRowContext(ctx, `SELECT `+columns+` FROM clients c WHERE c.id = $1 AND c.deleted_at IS NULL`, id)))
}

func found(c Client, err error) (Client, error) {
	if errors.Is(err, sql.ErrNoRows) {
		return c, fault.New(fault.ClientNotFound)
	}
	return c, err
}

// The list begins at the index on (created_at, id) and stops at its limit.
const (
	listAll = `SELECT ` + columns + ` FROM clients c WHERE c.deleted_at IS NULL AND (c.created_at, c.id) < ($1, $2)`
	newest  = ` ORDER BY c.created_at DESC, c.id DESC LIMIT $3`
)

// List returns the clients, the newest first; active nil: all of them; after is
// the cursor of the page before. Fault: invalid_cursor.
func (s *Service) List(ctx context.Context, active *bool, after string, limit int) (page cursor.Page[Client], err error) {
	defer fault.Wrap(&err, "client.List")
	query := []string{"clients", "all"}
	text := listAll + newest
	if active != nil && *active {
		query[1], text = "active", listAll+` AND c.is_active`+newest
	} else if active != nil {
		query[1], text = "inactive", listAll+` AND NOT c.is_active`+newest
	}
	from, err := cursor.Decode(after, query...)
	if err != nil {
		return page, err
	}
	rows, err := s.db.Read().QueryContext(ctx, text, from.At, from.ID, limit+1)
	if err != nil {
		return page, err
	}
	defer rows.Close()
	var list []Client
	for rows.Next() {
		c, err := scan(rows)
		if err != nil {
			return page, err
		}
		list = append(list, c)
	}
	place := func(c Client) cursor.Place { return cursor.Place{At: c.Created, ID: c.ID} }
	return cursor.Cut(list, limit, place, query...), rows.Err()
}

// known is a client with what proves it.
type known struct {
	Client
	changed string // its subject in the feed
	secrets []proof
}

type proof struct {
	hash  [sha256.Size]byte
	until time.Time // zero: for good
}

// has compares in constant time, whichever secret it is.
func (k *known) has(plain string, now time.Time) bool {
	sum := sha256.Sum256([]byte(plain))
	right := false
	for _, p := range k.secrets {
		if secret.Equal(sum[:], p.hash[:]) && (p.until.IsZero() || p.until.After(now)) {
			right = true
		}
	}
	return right
}

// Authenticate returns the client that has this secret; ok is false if there is
// none, or if it is not active.
func (s *Service) Authenticate(ctx context.Context, clientID, plain string) (c Client, ok bool, err error) {
	defer fault.Wrap(&err, "client.Authenticate")
	k, err := s.known(ctx, clientID)
	if err != nil || k == nil {
		return c, false, err
	}
	if right := k.has(plain, s.clock.Now()); !right || !k.Active {
		return c, false, nil
	}
	s.used.See(k.ID)
	return k.Client, true, nil
}

// Current returns a client by what it calls itself, for who checks its tokens;
// ok is false if there is none, or if it is not active.
func (s *Service) Current(ctx context.Context, clientID string) (c Client, ok bool, err error) {
	defer fault.Wrap(&err, "client.Current")
	k, err := s.known(ctx, clientID)
	if err != nil || k == nil || !k.Active {
		return c, false, err
	}
	return k.Client, true, nil
}

// lookWithin bounds a look into SQL: who asks gets service_unavailable instead
// of waiting for a database that may be cut off.
const lookWithin = 2 * time.Second

// known returns a client from the cache, or from SQL when the cache may not be
// asked, does not know it, or knows an older state than the feed. It is nil if
// there is none. What was read while the feed moved is not kept.
func (s *Service) known(ctx context.Context, clientID string) (*known, error) {
	fresh := s.feed.Fresh()
	if fresh {
		if k, ok := s.cache.GetIfPresent(clientID); ok &&
			s.feed.Epoch(revocation.Changed, k.changed) <= k.version && s.feed.Epoch(revocation.Client, clientID) <= k.Epoch {
			return k, nil
		}
	}
	position := s.feed.Position()
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	k, err := load(ctx, s.db.Read(), clientID)
	if err != nil || k == nil {
		return nil, err
	}
	if fresh && s.feed.Position() == position {
		s.cache.Set(clientID, k)
	}
	return k, nil
}

// load reads a client and its secrets at one moment: a row for each secret.
func load(ctx context.Context, c db.Conn, clientID string) (k *known, err error) {
	rows, err := c.QueryContext(ctx, `
		SELECT `+columns+`, p.hash, p.expires_at FROM clients c LEFT JOIN client_secrets p ON p.client = c.id
		WHERE c.client_id = $1 AND c.deleted_at IS NULL`, clientID)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var hash sql.NullString
		var until sql.NullTime
		client, err := scan(rows, &hash, &until)
		if err != nil {
			return nil, err
		}
		if k == nil {
			k = &known{Client: client, changed: changedName(clientID)}
		}
		var p proof
		if sum, err := hex.DecodeString(hash.String); err != nil || copy(p.hash[:], sum) != sha256.Size {
			continue // no secret, or none of ours
		}
		if until.Valid {
			p.until = until.Time
		}
		k.secrets = append(k.secrets, p)
	}
	return k, rows.Err()
}

// LongestTTL is how long a token of any client may live: a signing key must
// verify that long.
func LongestTTL(ctx context.Context, c db.Conn) (time.Duration, error) {
	var seconds int64
	if err := c.QueryRowContext(ctx, `SELECT COALESCE(MAX(longest_ttl_seconds), 0) FROM clients`).Scan(&seconds); err != nil {
		return 0, fmt.Errorf("client.LongestTTL: %w", err)
	}
	return time.Duration(seconds) * time.Second, nil
}

// Prune deletes secrets that overlapped with their successors and are past it.
func Prune(ctx context.Context, d *db.DB, now time.Time) error {
	return d.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM client_secrets WHERE expires_at < $1`, now)
		return err
	})
}

// touch is a lastuse.Touch.
func touch(ctx context.Context, tx *db.Tx, id uuid.UUID, older, at time.Time) error {
	_, err := tx.ExecContext(ctx, `UPDATE clients SET last_used_at = $1 WHERE id = $2 AND (last_used_at IS NULL OR last_used_at < $3)`, at, id, older)
	return err
}
