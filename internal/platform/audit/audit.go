// Package audit records what happened, in the transaction that made it happen.
//
// What says who somebody is (address, user agent) stands in a row of its own,
// audit_personal, and the event holds a salted hash of it: erasing a person
// deletes that row and breaks nothing.
package audit

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

// Event is one thing that happened.
type Event struct {
	Type       Type
	ActorType  string    // "user" if empty
	Actor      uuid.UUID // uuid.Nil if nobody is known
	TargetType string
	Target     uuid.UUID
	Failure    string         // the error code; empty means success
	Metadata   map[string]any // keys of the Type only
}

// Origin is where a request came from.
type Origin struct {
	IP            string // canonical, empty if unknown
	UserAgent     string
	CorrelationID string
}

type originKey struct{}

// WithOrigin lets everything recorded under ctx say where it came from.
func WithOrigin(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, originKey{}, o)
}

// OriginOf returns the origin of ctx, empty outside a request.
func OriginOf(ctx context.Context) Origin {
	o, _ := ctx.Value(originKey{}).(Origin)
	return o
}

// Record writes the events in the caller's transaction: the event, who it was
// apart, and what puts it into the chain and before webhooks (audit_outbox). On
// PostgreSQL that is one round trip.
func Record(ctx context.Context, tx *db.Tx, now time.Time, events ...Event) error {
	origin := OriginOf(ctx)
	var rows, personal, outbox []any
	for _, e := range events {
		metadata, err := e.encode()
		if err != nil {
			return err
		}
		data, err := e.payload()
		if err != nil {
			return err
		}
		salt := secret.Bytes(16)
		if e.ActorType == "" {
			e.ActorType = "user"
		}
		r := Row{
			ID: uuid.Must(uuid.NewV7()), At: now, Type: e.Type.Name, ActorType: e.ActorType, Actor: orNull(e.Actor), TargetType: text(e.TargetType), Target: orNull(e.Target),
			Success: e.Failure == "", Failure: text(e.Failure), CorrelationID: text(origin.CorrelationID), Metadata: metadata,
			PersonalHash: personalHash(salt, origin.IP, origin.UserAgent), History: e.Type.History,
		}
		rows = append(rows, r.ID, r.At, r.Type, r.ActorType, r.Actor, r.TargetType, r.Target,
			r.Success, r.Failure, r.CorrelationID, r.Metadata, r.PersonalHash, r.History)
		personal = append(personal, r.ID, now, salt, text(origin.IP), text(origin.UserAgent))
		outbox = append(outbox, r.ID, now, r.Type, r.Hash(), data)
	}
	const intoEvents = `INSERT INTO audit_events (id, created_at, event_type, actor_type, actor_id, target_type, target_id,
		success, failure_reason, correlation_id, metadata, personal_hash, history) VALUES `
	const intoPersonal = `INSERT INTO audit_personal (event_id, created_at, salt, ip_address, user_agent) VALUES `
	const intoOutbox = `INSERT INTO audit_outbox (event_id, created_at, event_type, row_hash, data) VALUES `
	n := len(events)
	if tx.Engine() == db.Postgres {
		query := `WITH events AS (` + intoEvents + db.Values(n, 13) + `), personal AS (` + intoPersonal + db.ValuesAfter(13, n, 5) + `) ` +
			intoOutbox + db.ValuesAfter(18, n, 5)
		if _, err := tx.ExecContext(ctx, query, slices.Concat(rows, personal, outbox)...); err != nil {
			return fmt.Errorf("audit: %w", err)
		}
		return nil
	}
	if _, err := tx.ExecContext(ctx, intoEvents+db.Values(n, 13), rows...); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if _, err := tx.ExecContext(ctx, intoPersonal+db.Values(n, 5), personal...); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if _, err := tx.ExecContext(ctx, intoOutbox+db.Values(n, 5), outbox...); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}

// personalHash is SHA-256(salt ‖ length-prefixed fields).
func personalHash(salt []byte, fields ...string) []byte {
	h := sha256.New()
	h.Write(salt)
	for _, f := range fields {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(f))))
		h.Write([]byte(f))
	}
	return h.Sum(nil)
}

func text(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }

func orNull(id uuid.UUID) uuid.NullUUID { return uuid.NullUUID{UUID: id, Valid: id != uuid.Nil} }
