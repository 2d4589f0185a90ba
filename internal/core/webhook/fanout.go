package webhook

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// subscriber is an active endpoint and what it asked for.
type subscriber struct {
	id      uuid.UUID
	events  []string
	created time.Time // what happened before is not for it
}

// wants reports whether an endpoint is sent an event of this type.
func (s subscriber) wants(t audit.Type) bool {
	if len(s.events) == 0 {
		return !t.Explicit
	}
	return slices.Contains(s.events, t.Name)
}

func subscribers(ctx context.Context, tx *db.Tx) (list []subscriber, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT id, events, created_at FROM webhook_endpoints WHERE is_active AND deleted_at IS NULL`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s subscriber
		var events string
		if err := rows.Scan(&s.id, &events, &s.created); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(events), &s.events); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, rows.Err()
}

// FanOut makes a delivery of each event for each endpoint that wants it, in the
// transaction that takes the events into the chain. Doing it again makes none.
func (s *Service) FanOut(ctx context.Context, tx *db.Tx, now time.Time, events []audit.Outgoing) (err error) {
	defer fault.Wrap(&err, "webhook.FanOut")
	if len(events) == 0 {
		return nil
	}
	to, err := subscribers(ctx, tx)
	if err != nil || len(to) == 0 {
		return err
	}
	var list []Delivery
	var of []uuid.NullUUID
	for _, e := range events {
		kind, known := typeOf(e.Type)
		if !known || !kind.Webhook {
			continue
		}
		for _, endpoint := range to {
			if endpoint.wants(kind) && !e.At.Before(endpoint.created) {
				list = append(list, Delivery{ID: uuid.Must(uuid.NewV7()), Endpoint: endpoint.id, Event: e.Type, Data: e.Data, Occurred: e.At})
				of = append(of, uuid.NullUUID{UUID: e.EventID, Valid: true})
			}
		}
	}
	return queue(ctx, tx, now, list, of)
}

// Announce tells a new head of the audit chain to those who name the event, in
// the head's transaction.
func (s *Service) Announce(ctx context.Context, tx *db.Tx, h audit.Head) (err error) {
	defer fault.Wrap(&err, "webhook.Announce")
	to, err := subscribers(ctx, tx)
	if err != nil || len(to) == 0 {
		return err
	}
	data, err := json.Marshal(map[string]any{"number": h.Number, "last_pos": h.LastPos, "hash": h.Hash, "signature": h.Signature, "kid": h.KID})
	if err != nil {
		return err
	}
	var list []Delivery
	for _, endpoint := range to {
		if endpoint.wants(audit.AuditHead) {
			list = append(list, Delivery{ID: uuid.Must(uuid.NewV7()), Endpoint: endpoint.id, Event: audit.AuditHead.Name, Data: string(data), Occurred: h.MadeAt})
		}
	}
	return queue(ctx, tx, s.Clock.Now(), list, make([]uuid.NullUUID, len(list)))
}

func typeOf(name string) (audit.Type, bool) {
	i := slices.IndexFunc(audit.Catalogue, func(t audit.Type) bool { return t.Name == name })
	if i < 0 {
		return audit.Type{}, false
	}
	return audit.Catalogue[i], true
}

// queueRows is how many deliveries one statement inserts.
const queueRows = 500

// queue inserts deliveries that are due now. of holds the audit event of each;
// for an endpoint that has the event already nothing is inserted.
func queue(ctx context.Context, tx *db.Tx, now time.Time, list []Delivery, of []uuid.NullUUID) error {
	for begin := 0; begin < len(list); begin += queueRows {
		end := min(begin+queueRows, len(list))
		var args []any
		for i, d := range list[begin:end] {
			args = append(args, d.ID, d.Endpoint, of[begin+i], d.Event, d.Data, d.Occurred, string(Pending), 0, now, now)
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO webhook_deliveries
			(id, endpoint_id, event_id, event_type, data, occurred_at, status, attempt_count, due_at, created_at) VALUES `+db.Values(end-begin, 10)+`
			ON CONFLICT (endpoint_id, event_id) WHERE event_id IS NOT NULL DO NOTHING`, args...)
		if err != nil {
			return err
		}
	}
	return nil
}

// sweepRows is how many deliveries one transaction of sweep abandons.
const sweepRows = 1000

// sweep abandons what waits for endpoints that are switched off or deleted: what
// came beside that act, or is too much for it.
func (s *Service) sweep(ctx context.Context) (err error) {
	defer fault.Wrap(&err, "webhook.sweep")
	for {
		var id uuid.UUID
		err := s.DB.Read().QueryRowContext(ctx, `SELECT id FROM webhook_endpoints WHERE NOT (is_active AND deleted_at IS NULL)
			AND (SELECT d.id FROM webhook_deliveries d WHERE d.endpoint_id = webhook_endpoints.id AND d.due_at IS NOT NULL LIMIT 1) IS NOT NULL LIMIT 1`).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		err = s.DB.Write(ctx, func(tx *db.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE webhook_deliveries SET status = 'abandoned', due_at = NULL, next_retry_at = NULL WHERE id IN (
				SELECT id FROM webhook_deliveries WHERE endpoint_id = $1 AND due_at IS NOT NULL LIMIT $2)
				AND NOT EXISTS (SELECT 1 FROM webhook_endpoints WHERE id = $1 AND is_active AND deleted_at IS NULL)`, id, sweepRows)
			return err
		})
		if err != nil {
			return err
		}
	}
}
