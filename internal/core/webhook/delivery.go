package webhook

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/cursor"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

const deliveryColumns = `id, endpoint_id, event_type, data, occurred_at, status, attempt_count, last_attempted_at, next_retry_at,
	COALESCE(response_status, 0), COALESCE(response_body, ''), created_at`

func scanDelivery(row interface{ Scan(...any) error }) (d Delivery, err error) {
	var last, next sql.NullTime
	err = row.Scan(&d.ID, &d.Endpoint, &d.Event, &d.Data, &d.Occurred, &d.Status, &d.Attempts, &last, &next, &d.ResponseStatus, &d.ResponseBody, &d.Created)
	d.Occurred, d.LastAttempted, d.NextRetry, d.Created = d.Occurred.UTC(), utc(last), utc(next), d.Created.UTC()
	return d, err
}

// Ping queues a test delivery. Fault: webhook_not_found, also for an endpoint
// that is switched off.
func (s *Service) Ping(ctx context.Context, by audit.By, id uuid.UUID) (d Delivery, err error) {
	defer fault.Wrap(&err, "webhook.Ping")
	data, err := json.Marshal(map[string]string{"endpoint_id": id.String()})
	if err != nil {
		return d, err
	}
	now := s.Clock.Now()
	d = Delivery{
		ID: uuid.Must(uuid.NewV7()), Endpoint: id, Event: audit.WebhookTest.Name, Data: string(data), Occurred: now, Status: Pending, Created: now,
	}
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := by.Admit(ctx, tx, now); err != nil {
			return err
		}
		e, err := s.lock(ctx, tx, id)
		if err != nil {
			return err
		}
		if !e.Active {
			return fault.New(fault.WebhookNotFound)
		}
		if err := queue(ctx, tx, now, []Delivery{d}, []uuid.NullUUID{{}}); err != nil {
			return err
		}
		event := of(by, audit.WebhookPinged, id)
		event.Metadata = map[string]any{"delivery_id": d.ID.String()}
		return audit.Record(ctx, tx, now, event)
	})
	return d, err
}

// Deliveries returns the deliveries to an endpoint, the newest first; an empty
// status means all. Faults: webhook_not_found, invalid_cursor.
func (s *Service) Deliveries(ctx context.Context, endpoint uuid.UUID, status Status, after string, limit int) (page cursor.Page[Delivery], err error) {
	defer fault.Wrap(&err, "webhook.Deliveries")
	query := []string{"deliveries", endpoint.String(), string(status)}
	from, err := cursor.Decode(after, query...)
	if err != nil {
		return page, err
	}
	if _, err := s.Find(ctx, endpoint); err != nil {
		return page, err
	}
	const below = `SELECT ` + deliveryColumns + ` FROM webhook_deliveries WHERE endpoint_id = $1 AND (created_at, id) < ($2, $3)`
	const newestFirst = ` ORDER BY created_at DESC, id DESC LIMIT $4`
	text, args := below+newestFirst, []any{endpoint, from.At, from.ID, limit + 1}
	if status != "" {
		text, args = below+` AND status = $5`+newestFirst, append(args, string(status))
	}
	rows, err := s.DB.Read().QueryContext(ctx, text, args...)
	if err != nil {
		return page, err
	}
	defer rows.Close()
	var list []Delivery
	for rows.Next() {
		d, err := scanDelivery(rows)
		if err != nil {
			return page, err
		}
		list = append(list, d)
	}
	return cursor.Cut(list, limit, func(d Delivery) cursor.Place { return cursor.Place{At: d.Created, ID: d.ID} }, query...), rows.Err()
}

// Delivery returns one delivery to an endpoint. Faults: webhook_not_found,
// delivery_not_found.
func (s *Service) Delivery(ctx context.Context, endpoint, id uuid.UUID) (d Delivery, err error) {
	defer fault.Wrap(&err, "webhook.Delivery")
	if _, err := s.Find(ctx, endpoint); err != nil {
		return d, err
	}
	d, err = scanDelivery(s.DB.Read().QueryRowContext(ctx, `SELECT `+deliveryColumns+` FROM webhook_deliveries WHERE id = $1 AND endpoint_id = $2`, id, endpoint))
	if errors.Is(err, sql.ErrNoRows) {
		return d, fault.New(fault.DeliveryNotFound)
	}
	return d, err
}

// Retry queues a delivery again, whatever its status, with the same id and body.
// If a sender is at work it loses its lease, and the delivery waits for the
// lease to end, so that no two attempts overlap. Fault: delivery_not_found, also for a
// delivery to an endpoint that is switched off or deleted.
func (s *Service) Retry(ctx context.Context, by audit.By, id uuid.UUID) (err error) {
	defer fault.Wrap(&err, "webhook.Retry")
	now, nobody := s.Clock.Now(), uuid.New()
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := by.Admit(ctx, tx, now); err != nil {
			return err
		}
		var endpoint uuid.UUID
		err := tx.QueryRowContext(ctx, `SELECT endpoint_id FROM webhook_deliveries WHERE id = $1`, id).Scan(&endpoint)
		if errors.Is(err, sql.ErrNoRows) {
			return fault.New(fault.DeliveryNotFound)
		}
		if err != nil {
			return err
		}
		e, err := s.lock(ctx, tx, endpoint)
		if fault.Has(err, fault.WebhookNotFound) || err == nil && !e.Active {
			return fault.New(fault.DeliveryNotFound)
		}
		if err != nil {
			return err
		}
		held, end, err := lease(ctx, tx, id)
		if err != nil {
			return err
		}
		due, fence := now, uuid.NullUUID{}
		switch {
		case held && end.IsZero(): // abandoned under the hands of a sender
			due, fence = now.Add(s.leaseFor()), uuid.NullUUID{UUID: nobody, Valid: true}
		case held && end.After(now):
			due, fence = end, uuid.NullUUID{UUID: nobody, Valid: true}
		}
		_, err = tx.ExecContext(ctx, `UPDATE webhook_deliveries SET status = 'pending', attempt_count = 0, due_at = $1, lease = $2,
			last_attempted_at = NULL, next_retry_at = NULL, response_status = NULL, response_body = NULL WHERE id = $3`, due, fence, id)
		if err != nil {
			return err
		}
		event := by.Event(audit.WebhookRetryQueued)
		event.TargetType, event.Target = "webhook_delivery", id
		event.Metadata = map[string]any{"endpoint_id": endpoint.String()}
		return audit.Record(ctx, tx, now, event)
	})
}

// lease tells whether somebody may be sending a delivery, and until when that
// one keeps it: zero if it was abandoned meanwhile. It locks the row.
func lease(ctx context.Context, tx *db.Tx, id uuid.UUID) (held bool, end time.Time, err error) {
	if tx.Engine() == db.Postgres {
		if _, err := tx.ExecContext(ctx, `SELECT 1 FROM webhook_deliveries WHERE id = $1 FOR NO KEY UPDATE`, id); err != nil {
			return false, end, err
		}
	}
	var holder uuid.NullUUID
	var due sql.NullTime
	err = tx.QueryRowContext(ctx, `SELECT lease, due_at FROM webhook_deliveries WHERE id = $1`, id).Scan(&holder, &due)
	return holder.Valid, utc(due), err
}

// PurgeDeliveries deletes deliveries that were made before and are done with, at
// most limit of them, and returns how many.
func PurgeDeliveries(ctx context.Context, tx *db.Tx, before time.Time, limit int) (n int, err error) {
	defer fault.Wrap(&err, "webhook.PurgeDeliveries")
	result, err := tx.ExecContext(ctx, `DELETE FROM webhook_deliveries WHERE id IN (
		SELECT id FROM webhook_deliveries WHERE created_at < $1 AND status IN ('delivered', 'abandoned') ORDER BY created_at, id LIMIT $2)`, before, limit)
	if err != nil {
		return 0, err
	}
	deleted, err := result.RowsAffected()
	return int(deleted), err
}

// Prune forgets secrets that sign no more.
func Prune(ctx context.Context, d *db.DB, now time.Time) (err error) {
	defer fault.Wrap(&err, "webhook.Prune")
	return d.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE webhook_endpoints SET old_sealed = NULL, old_until = NULL WHERE old_until <= $1`, now)
		return err
	})
}

// CountDeliveries counts what PurgeDeliveries would delete, up to a number.
func CountDeliveries(ctx context.Context, c db.Conn, before time.Time, most int) (n int, err error) {
	defer fault.Wrap(&err, "webhook.CountDeliveries")
	err = c.QueryRowContext(ctx, `SELECT COUNT(*) FROM (
		SELECT 1 FROM webhook_deliveries WHERE created_at < $1 AND status IN ('delivered', 'abandoned') LIMIT $2) AS old`, before, most).Scan(&n)
	return n, err
}
