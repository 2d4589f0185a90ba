package apikey

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/cursor"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// columns is what scan takes.
const columns = `k.id, k.user_id, k.name, k.service, k.scope, k.rate_limit_per_minute, k.created_at, k.expires_at, k.revoked_at, k.last_used_at,
	(SELECT s.prefix FROM api_key_secrets s WHERE s.key_id = k.id AND s.expires_at IS NULL)`

type scanner interface{ Scan(into ...any) error }

func scan(row scanner) (k Key, err error) {
	var owner uuid.NullUUID
	var perMinute sql.NullInt64
	var expires, revoked, used sql.NullTime
	var shown sql.NullString
	err = row.Scan(&k.ID, &owner, &k.Name, &k.Service, &k.Scope, &perMinute, &k.Created, &expires, &revoked, &used, &shown)
	if errors.Is(err, sql.ErrNoRows) {
		return k, fault.New(fault.APIKeyNotFound)
	}
	k.UserID, k.PerMinute, k.Prefix = owner.UUID, int(perMinute.Int64), shown.String
	k.Created, k.Expires, k.Revoked, k.LastUsed = k.Created.UTC(), utc(expires), utc(revoked), utc(used)
	return k, err
}

// utc is zero for a time that is not set.
func utc(t sql.NullTime) time.Time {
	if !t.Valid {
		return time.Time{}
	}
	return t.Time.UTC()
}

// lock keeps every other change of the key waiting and returns it as it is then.
// Fault: api_key_not_found.
func lock(ctx context.Context, tx *db.Tx, id uuid.UUID) (Key, error) {
	query := `SELECT ` + columns + ` FROM api_keys k WHERE k.id = $1`
	if tx.Engine() == db.Postgres {
		query = `SELECT ` + columns + ` FROM api_keys k WHERE k.id = $1 FOR NO KEY UPDATE`
	}
	return scan(tx.QueryRowContext(ctx, query, id))
}

// Find returns a key. Fault: api_key_not_found.
func (s *Service) Find(ctx context.Context, id uuid.UUID) (k Key, err error) {
	defer fault.Wrap(&err, "apikey.Find")
	return scan(s.db.Read().QueryRowContext(ctx, `SELECT `+columns+` FROM api_keys k WHERE k.id = $1`, id))
}

// Filter says which keys a list shows. Texts must be equal; empty ones do not
// filter.
type Filter struct {
	User    uuid.UUID
	Name    string
	Service string
	Scope   string
	Active  *bool // neither revoked nor expired; false: one of them
}

// The lists begin at an index that ends in (created_at, id).
const (
	listAll     = `SELECT ` + columns + ` FROM api_keys k WHERE (k.created_at, k.id) < ($1, $2)`
	listOfUser  = listAll + ` AND k.user_id = $9`
	listOfScope = listAll + ` AND k.scope = $9`

	// which is 1 for active keys, 2 for the others, 0 for all.
	narrowed = ` AND ($4 = '' OR k.name = $4) AND ($5 = '' OR k.service = $5) AND ($6 = '' OR k.scope = $6)
		AND ($7 = 0 OR ($7 = 1) = (k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $8)))
		ORDER BY k.created_at DESC, k.id DESC LIMIT $3`
)

// List returns keys, the newest first; after is the cursor of the page before.
// Fault: invalid_cursor.
func (s *Service) List(ctx context.Context, f Filter, after string, limit int) (page cursor.Page[Key], err error) {
	defer fault.Wrap(&err, "apikey.List")
	which := 0
	if f.Active != nil {
		which = 2
		if *f.Active {
			which = 1
		}
	}
	query := []string{"api keys", f.User.String(), f.Name, f.Service, f.Scope, string(rune('0' + which))}
	from, err := cursor.Decode(after, query...)
	if err != nil {
		return page, err
	}
	text := listAll + narrowed
	args := []any{from.At, from.ID, limit + 1, f.Name, f.Service, f.Scope, which, s.clock.Now()}
	switch {
	case f.User != uuid.Nil:
		text, args = listOfUser+narrowed, append(args, f.User)
	case f.Scope != "":
		text, args = listOfScope+narrowed, append(args, f.Scope)
	}
	rows, err := s.db.Read().QueryContext(ctx, text, args...)
	if err != nil {
		return page, err
	}
	defer rows.Close()
	var list []Key
	for rows.Next() {
		k, err := scan(rows)
		if err != nil {
			return page, err
		}
		list = append(list, k)
	}
	place := func(k Key) cursor.Place { return cursor.Place{At: k.Created, ID: k.ID} }
	return cursor.Cut(list, limit, place, query...), rows.Err()
}
