package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/cursor"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// History shows people what happened to their accounts: the events whose Type
// says so.
type History struct{ DB *db.DB }

// Past is an event as the person sees it whose account it is.
type Past struct {
	ID        uuid.UUID
	Type      string
	At        time.Time
	IP        string // empty if unknown, erased, or somebody else's
	UserAgent string // likewise
	Success   bool
	Failure   string
	Metadata  map[string]any
}

// Each half begins at a partial index, of what the person did and of what was
// done to the account, and stops at the limit; what is both is one row of the
// UNION. Who else acted is not told: the personal part is read only where nobody
// else is the actor. created_at stands alone too, so that PostgreSQL passes by
// the partitions above the cursor and those too old.
const (
	pastColumns = `id, created_at, event_type, actor_id, success, failure_reason, metadata`
	pastBelow   = ` AND history AND created_at <= $2 AND created_at >= $5 AND (created_at, id) < ($2, $3) ORDER BY created_at DESC, id DESC LIMIT $4`
	pastEvents  = `
		SELECT e.id, e.created_at, e.event_type, e.success, e.failure_reason, e.metadata, p.ip_address, p.user_agent
		FROM (
			SELECT * FROM (SELECT ` + pastColumns + ` FROM audit_events WHERE actor_id = $1` + pastBelow + `) did
			UNION
			SELECT * FROM (SELECT ` + pastColumns + ` FROM audit_events WHERE target_id = $1` + pastBelow + `) met
			ORDER BY created_at DESC, id DESC LIMIT $4
		) e
		LEFT JOIN audit_personal p ON p.created_at = e.created_at AND p.event_id = e.id AND (e.actor_id IS NULL OR e.actor_id = $1)
		ORDER BY e.created_at DESC, e.id DESC`
)

// List returns the events in which a person is actor or target, the newest
// first; after is the cursor of the page before. Fault: invalid_cursor.
func (h *History) List(ctx context.Context, person uuid.UUID, after string, limit int) (page cursor.Page[Past], err error) {
	defer fault.Wrap(&err, "audit.History")
	query := []string{"history", person.String()}
	from, err := cursor.Decode(after, query...)
	if err != nil {
		return page, err
	}
	var list []Past
	if h.DB.Engine() == db.Postgres { // the last weeks, in one partition or two of the many, often fill a page
		list, err = h.read(ctx, person, from, recent(from.At, time.Now()), limit+1)
	}
	if err == nil && len(list) <= limit {
		list, err = h.read(ctx, person, from, time.Time{}, limit+1)
	}
	place := func(p Past) cursor.Place { return cursor.Place{At: p.At, ID: p.ID} }
	return cursor.Cut(list, limit, place, query...), err
}

// recent is where the last weeks below a place begin.
func recent(at, now time.Time) time.Time {
	if at.After(now) { // the first page
		at = now
	}
	return at.AddDate(0, 0, -21)
}

func (h *History) read(ctx context.Context, person uuid.UUID, from cursor.Place, since time.Time, limit int) ([]Past, error) {
	rows, err := h.DB.Read().QueryContext(ctx, pastEvents, person, from.At, from.ID, limit, since)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []Past{}
	for rows.Next() {
		p, err := scanPast(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, rows.Err()
}

func scanPast(rows *sql.Rows) (p Past, err error) {
	var failure, metadata, ip, userAgent sql.NullString
	if err = rows.Scan(&p.ID, &p.At, &p.Type, &p.Success, &failure, &metadata, &ip, &userAgent); err != nil {
		return p, err
	}
	p.At, p.Failure, p.IP, p.UserAgent = p.At.UTC(), failure.String, ip.String, userAgent.String
	if metadata.Valid {
		if err := json.Unmarshal([]byte(metadata.String), &p.Metadata); err != nil {
			return p, fmt.Errorf("metadata of %s: %w", p.ID, err)
		}
	}
	return p, nil
}
