package audit

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// forgetBatch is how many events one transaction of Forget looks at.
const forgetBatch = 200

// Forget deletes the personal part (address, user agent) of every event that a
// user caused. The events stay, and so does the hash of what is gone. It works
// in small transactions and may be run again.
func Forget(ctx context.Context, d *db.DB, userID uuid.UUID) (err error) {
	defer fault.Wrap(&err, "audit.Forget")
	var at time.Time
	var id uuid.UUID
	for {
		events, err := eventsOf(ctx, d.Read(), userID, at, id)
		if err != nil || len(events) == 0 {
			return err
		}
		err = d.Write(ctx, func(tx *db.Tx) error {
			for _, e := range events {
				_, err := tx.ExecContext(ctx, `DELETE FROM audit_personal WHERE created_at = $1 AND event_id = $2`, e.at, e.id)
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		last := events[len(events)-1]
		at, id = last.at, last.id
	}
}

type place struct {
	at time.Time
	id uuid.UUID
}

// eventsOf lists the next events that a user caused, oldest first.
func eventsOf(ctx context.Context, c db.Conn, userID uuid.UUID, after time.Time, id uuid.UUID) (list []place, err error) {
	rows, err := c.QueryContext(ctx, `SELECT created_at, id FROM audit_events
		WHERE actor_id = $1 AND (created_at, id) > ($2, $3) ORDER BY created_at, id LIMIT $4`, userID, after, id, forgetBatch)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var p place
		if err := rows.Scan(&p.at, &p.id); err != nil {
			return nil, err
		}
		p.at = p.at.UTC()
		list = append(list, p)
	}
	return list, rows.Err()
}
