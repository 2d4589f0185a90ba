package audit

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
)

// placed is an entry of the chain and the event that it is of.
type placed struct {
	entry
	stored
	there  bool  // the event
	unread error // a value is not one of its column
}

// Each entry's event is found by itself: as a join, PostgreSQL might read every
// partition for a page.
const (
	placedColumns = `SELECT c.pos, c.event_id, c.created_at, c.row_hash, c.mac, ` + eventColumns + ` FROM audit_chain c LEFT JOIN `
	placedBetween = ` WHERE c.pos > $1 AND c.pos <= $2 ORDER BY c.pos LIMIT $3`

	placedOnSQLite   = placedColumns + `audit_events e ON e.created_at = c.created_at AND e.id = c.event_id` + placedBetween
	placedOnPostgres = placedColumns + `LATERAL (SELECT ` + rawColumns + ` FROM audit_events a
		WHERE a.created_at = c.created_at AND a.id = c.event_id LIMIT 1) e ON TRUE` + placedBetween
)

// readPlaced returns the entries after a place up to another with their events.
func readPlaced(ctx context.Context, d *db.DB, after, to int64, limit int) (list []placed, err error) {
	query := placedOnSQLite
	if d.Engine() == db.Postgres {
		query = placedOnPostgres
	}
	rows, err := d.Read().QueryContext(ctx, query, after, to, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var p placed
		columns, there := p.stored.columns()
		p.unread = rows.Scan(append([]any{&p.pos, &p.id, &p.at, &p.hash, &p.mac}, columns...)...)
		p.at, p.there = p.at.UTC(), there()
		list = append(list, p)
	}
	return list, rows.Err()
}

// roamer is an event and where it stands.
type roamer struct {
	place
	kind  string
	pos   int64 // 0: it has no place
	waits bool  // for one
}

// readRoamers returns the events after one of them. Place and waiting are asked
// for in one statement: an event that gets its place meanwhile has the one or the
// other.
func readRoamers(ctx context.Context, c db.Conn, at time.Time, id uuid.UUID, limit int) (list []roamer, err error) {
	rows, err := c.QueryContext(ctx, `SELECT e.id, e.created_at, e.event_type,
			COALESCE((SELECT c.pos FROM audit_chain c WHERE c.event_id = e.id AND c.created_at = e.created_at), 0),
			(SELECT o.event_id FROM audit_outbox o WHERE o.event_id = e.id AND o.created_at = e.created_at) IS NOT NULL
		FROM audit_events e WHERE e.created_at >= $1 AND (e.created_at, e.id) > ($1, $2) ORDER BY e.created_at, e.id LIMIT $3`, at, id, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r roamer
		if err := rows.Scan(&r.id, &r.at, &r.kind, &r.pos, &r.waits); err != nil {
			return nil, err
		}
		r.at = r.at.UTC()
		list = append(list, r)
	}
	return list, rows.Err()
}
