package webhook

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// waits are those after the first, second, … failed attempt. After the attempt
// that follows the last wait a delivery is given up.
var waits = []time.Duration{time.Minute, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour}

// jitter spreads a wait by a tenth, so that what failed together does not come
// back together.
func jitter(wait time.Duration) time.Duration {
	return time.Duration(float64(wait) * (0.9 + 0.2*rand.Float64())).Truncate(time.Microsecond)
}

const (
	breakerLeast = time.Minute
	breakerMost  = 10 * time.Minute

	// disableAfter is how long an endpoint may fail before it is switched off.
	disableAfter = 3 * 24 * time.Hour
)

// blockFor is how long an endpoint with so many failures in a row gets nothing.
func blockFor(failures int64) time.Duration {
	if failures < breakerAt {
		return 0
	}
	wait := breakerLeast
	for range failures - breakerAt {
		if wait *= 2; wait >= breakerMost {
			return breakerMost
		}
	}
	return wait
}

// errLost tells that the lease ended, or somebody wanted the delivery otherwise.
var errLost = errors.New("the lease was lost")

// settle writes what an attempt came to, if the delivery is still ours, and what
// follows for the endpoint. outcome is for the metrics; disabled tells that the
// endpoint was switched off.
func (s *Service) settle(ctx context.Context, t task, r result) (outcome string, disabled bool, err error) {
	defer fault.Wrap(&err, "webhook.settle")
	now := s.Clock.Now()
	attempts := t.Attempts + 1
	var wait time.Duration
	switch {
	case r.ok():
		outcome = string(Delivered)
	case r.unsafe:
		outcome, attempts = string(Abandoned), t.Attempts
	case attempts > int64(len(waits)):
		outcome = string(Abandoned)
	default:
		outcome, wait = string(Failed), max(jitter(waits[attempts-1]), r.wait)
	}
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		disabled = false
		var events []audit.Event
		// The endpoint first, as whoever changes it does: no deadlocks.
		switch {
		case r.ok():
			if err := forgetFailures(ctx, tx, t.Endpoint); err != nil {
				return err
			}
		case !r.unsafe:
			off, err := countFailure(ctx, tx, t.Endpoint, now)
			if err != nil {
				return err
			}
			if off != nil {
				disabled = true
				events = append(events, *off)
			}
		}
		status := sql.NullInt64{Int64: r.status, Valid: r.status != 0}
		var done sql.Result
		var err error
		if wait > 0 {
			next := now.Add(wait)
			done, err = tx.ExecContext(ctx, `UPDATE webhook_deliveries SET status = 'failed', attempt_count = $1, due_at = $2, next_retry_at = $3, lease = NULL,
				last_attempted_at = $4, response_status = $5, response_body = $6 WHERE id = $7 AND lease = $8 AND due_at IS NOT NULL`,
				attempts, next, next, now, status, r.text, t.ID, t.lease)
		} else {
			done, err = tx.ExecContext(ctx, `UPDATE webhook_deliveries SET status = $1, attempt_count = $2, due_at = NULL, next_retry_at = NULL, lease = NULL,
				last_attempted_at = $3, response_status = $4, response_body = $5 WHERE id = $6 AND lease = $7 AND due_at IS NOT NULL`,
				outcome, attempts, now, status, r.text, t.ID, t.lease)
			events = append(events, told(t, r, attempts))
		}
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			return errLost
		}
		if len(events) == 0 {
			return nil
		}
		return audit.Record(ctx, tx, now, events...)
	})
	return outcome, disabled, err
}

// told is the audit event of a delivery that is done with.
func told(t task, r result, attempts int64) audit.Event {
	e := audit.Event{
		Type: audit.WebhookDelivered, ActorType: "system", TargetType: "webhook_delivery", Target: t.ID,
		Metadata: map[string]any{
			"delivery_id": t.ID.String(), "endpoint_id": t.Endpoint.String(), "event_type": t.Event, "attempt_count": attempts,
		},
	}
	if r.status != 0 {
		e.Metadata["response_status"] = r.status
	}
	switch {
	case r.ok():
	case r.unsafe:
		e.Type, e.Failure = audit.WebhookFailed, fault.InvalidWebhookURL.Slug
	default:
		e.Type, e.Failure = audit.WebhookFailed, "delivery_abandoned"
	}
	return e
}

// countFailure counts one more failure of an endpoint, opens its breaker, and
// switches it off if it has been failing for days: off is then the event.
func countFailure(ctx context.Context, tx *db.Tx, id uuid.UUID, now time.Time) (off *audit.Event, err error) {
	var failures int64
	var active bool
	var since sql.NullTime
	err = tx.QueryRowContext(ctx, `UPDATE webhook_endpoints SET failures = failures + 1, failing_since = COALESCE(failing_since, $1)
		WHERE id = $2 AND deleted_at IS NULL RETURNING failures, is_active, failing_since`, now, id).Scan(&failures, &active, &since)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if wait := blockFor(failures); wait > 0 {
		if _, err := tx.ExecContext(ctx, `UPDATE webhook_endpoints SET blocked_until = $1 WHERE id = $2`, now.Add(wait), id); err != nil {
			return nil, err
		}
	}
	if !active || now.Before(utc(since).Add(disableAfter)) {
		return nil, nil
	}
	if _, err := tx.ExecContext(ctx, `UPDATE webhook_endpoints SET is_active = $1, disabled_why = $2, updated_at = $3 WHERE id = $4`, false, DisabledFailing, now, id); err != nil {
		return nil, err
	}
	return &audit.Event{
		Type: audit.WebhookDisabled, ActorType: "system", TargetType: "webhook_endpoint", Target: id,
		Metadata: map[string]any{"endpoint_id": id.String(), "failing_since": stamp(utc(since))},
	}, nil
}
