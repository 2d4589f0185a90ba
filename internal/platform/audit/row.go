package audit

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
)

// rawColumns are those of audit_events. eventColumns take them from e, with the
// personal part: by subqueries, which no planner turns into a join of the tables.
const (
	rawColumns = `id, created_at, event_type, actor_type, actor_id, target_type, target_id, success, failure_reason, correlation_id, metadata, personal_hash, history`

	personalOf   = ` FROM audit_personal p WHERE p.created_at = e.created_at AND p.event_id = e.id)`
	eventColumns = `e.id, e.created_at, e.event_type, e.actor_type, e.actor_id, e.target_type, e.target_id, e.success, e.failure_reason,
		e.correlation_id, e.metadata, e.personal_hash, e.history,
		(SELECT p.salt` + personalOf + `, (SELECT p.ip_address` + personalOf + `, (SELECT p.user_agent` + personalOf
)

// stored is an event with its personal part.
type stored struct {
	Row
	salt          []byte // nil: the personal part is not there
	ip, userAgent sql.NullString
}

// columns are where eventColumns are scanned to; there reports whether there was
// a row, of a join.
func (r *stored) columns() (to []any, there func() bool) {
	var id uuid.NullUUID
	var at sql.NullTime
	var kind, actorType sql.NullString
	var success, history sql.NullBool
	to = []any{&id, &at, &kind, &actorType, &r.Actor, &r.TargetType, &r.Target, &success, &r.Failure,
		&r.CorrelationID, &r.Metadata, &r.PersonalHash, &history, &r.salt, &r.ip, &r.userAgent}
	return to, func() bool {
		r.ID, r.At, r.Type, r.ActorType, r.Success, r.History = id.UUID, at.Time.UTC(), kind.String, actorType.String, success.Bool, history.Bool
		return id.Valid
	}
}

func scanStored(rows *sql.Rows) (r stored, err error) {
	to, there := r.columns()
	err = rows.Scan(to...)
	there()
	return r, err
}

// personalFits reports whether the personal part is the one that was recorded.
func (r stored) personalFits() bool {
	return bytes.Equal(r.PersonalHash, personalHash(r.salt, r.ip.String, r.userAgent.String))
}

// erased reports whether the personal part was there and is gone.
func (r stored) erased() bool { return len(r.PersonalHash) > 0 && r.salt == nil }

// readRows runs a query for eventColumns.
func readRows(ctx context.Context, c db.Conn, query string, args ...any) (list []stored, err error) {
	rows, err := c.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		r, err := scanStored(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, rows.Err()
}

// Entry is an event as operators see it.
type Entry struct {
	ID            uuid.UUID
	At            time.Time
	Type          string
	ActorType     string
	Actor         uuid.UUID // uuid.Nil: nobody is known
	TargetType    string
	Target        uuid.UUID
	Success       bool
	Failure       string
	CorrelationID string
	Metadata      map[string]any // numbers are json.Number
	IP            string
	UserAgent     string
	Erased        bool // the personal part was there and is gone
}

func (r stored) entry() (e Entry, err error) {
	e = Entry{
		ID: r.ID, At: r.At, Type: r.Type, ActorType: r.ActorType, Actor: r.Actor.UUID, TargetType: r.TargetType.String, Target: r.Target.UUID,
		Success: r.Success, Failure: r.Failure.String, CorrelationID: r.CorrelationID.String, IP: r.ip.String, UserAgent: r.userAgent.String,
		Erased: r.erased(),
	}
	if r.Metadata.Valid {
		d := json.NewDecoder(bytes.NewReader([]byte(r.Metadata.String)))
		d.UseNumber()
		if err := d.Decode(&e.Metadata); err != nil {
			return e, fmt.Errorf("metadata of %s: %w", r.ID, err)
		}
	}
	return e, nil
}

func entries(list []stored) ([]Entry, error) {
	out := make([]Entry, 0, len(list))
	for _, r := range list {
		e, err := r.entry()
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

func textOrNil(s sql.NullString) *string {
	if !s.Valid {
		return nil
	}
	return &s.String
}
