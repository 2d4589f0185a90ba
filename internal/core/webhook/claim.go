package webhook

import (
	"context"
	"maps"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
)

const (
	// leaseBeyond is how much longer than an attempt its lease lasts: more than
	// clocks of machines may differ.
	leaseBeyond = 60 * time.Second

	// perEndpoint is how many deliveries to one endpoint a process sends at once,
	// so that a slow one does not take the senders of the others.
	perEndpoint = 4

	// breakerAt is how many failures in a row open the breaker: then one delivery
	// at a time is tried.
	breakerAt = 5

	// claimReads bounds how many due deliveries are looked at in one claim.
	claimReads = 256
)

func (s *Service) leaseFor() time.Duration { return s.Timeout + leaseBeyond }

// task is a claimed delivery with what its endpoint says.
type task struct {
	Delivery
	lease     uuid.UUID
	url       string
	sealed    []byte
	oldSealed []byte // nil: no secret before signs
	failures  int64  // of the endpoint, in a row
	deadline  time.Time
}

// room is how many more deliveries this process may send, in all and by endpoint.
type room struct {
	free int
	work map[uuid.UUID]int
}

// full are the endpoints that get nothing more for now, for the claim to leave
// out, as one text.
func (r room) full() (ids string) {
	for id, n := range r.work {
		if n >= perEndpoint {
			ids += id.String() + " "
		}
	}
	return ids
}

// take makes room for one more, if it fits. A failing endpoint gets one at a
// time.
func (r *room) take(endpoint uuid.UUID, failures int64) bool {
	most := perEndpoint
	if failures >= breakerAt {
		most = 1
	}
	if r.free == 0 || r.work[endpoint] >= most {
		return false
	}
	r.free--
	r.work[endpoint]++
	return true
}

// openEndpoints are those that get deliveries now; $2 holds those to leave out.
const openEndpoints = ` FROM webhook_endpoints WHERE is_active AND deleted_at IS NULL AND (blocked_until IS NULL OR blocked_until <= $1)
	AND $2 NOT LIKE '%' || CAST(id AS TEXT) || '%'`

// due reports whether there is anything to claim: an idle worker writes nothing.
func (s *Service) due(ctx context.Context, now time.Time, full string) (found bool, err error) {
	err = s.DB.Read().QueryRowContext(ctx, `SELECT EXISTS (SELECT 1`+openEndpoints+`
		AND (SELECT d.id FROM webhook_deliveries d WHERE d.endpoint_id = webhook_endpoints.id AND d.due_at <= $1 ORDER BY d.due_at LIMIT 1) IS NOT NULL)`, now, full).Scan(&found)
	return found, err
}

// claim takes due deliveries, the oldest first, as many as there is room for: they
// are ours until the lease ends. What is left stays for others, or for later.
func (s *Service) claim(ctx context.Context, r room) (tasks []task, err error) {
	begin, now, full := time.Now(), s.Clock.Now(), r.full()
	if found, err := s.due(ctx, now, full); err != nil || !found {
		return nil, err
	}
	fence := uuid.New()
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		tasks = nil
		found, err := candidates(ctx, tx, now, full)
		if err != nil {
			return err
		}
		left := room{r.free, maps.Clone(r.work)}
		for _, t := range found {
			if !left.take(t.Endpoint, t.failures) {
				continue
			}
			_, err := tx.ExecContext(ctx, `UPDATE webhook_deliveries SET lease = $1, due_at = $2 WHERE id = $3`, fence, now.Add(s.leaseFor()), t.ID)
			if err != nil {
				return err
			}
			t.lease, t.deadline = fence, begin.Add(s.Timeout)
			tasks = append(tasks, t)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return tasks, nil
}

// candidates are due deliveries of open endpoints, a few of each. On PostgreSQL
// they are locked, and those that another worker looks at are left to it.
func candidates(ctx context.Context, tx *db.Tx, now time.Time, full string) (list []task, err error) {
	const columns = `SELECT d.id, e.id, d.event_type, d.data, d.occurred_at, d.attempt_count, e.failures, e.url, e.secret_sealed, CASE WHEN e.old_until > $1 THEN e.old_sealed END
		FROM (SELECT id, failures, url, secret_sealed, old_sealed, old_until` + openEndpoints + `) e`
	const oldest = ` ORDER BY d.due_at, d.id LIMIT $3`
	query := columns + ` CROSS JOIN webhook_deliveries d WHERE d.id IN (
		SELECT w.id FROM webhook_deliveries w WHERE w.endpoint_id = e.id AND w.due_at <= $1 ORDER BY w.due_at, w.id LIMIT 4)` + oldest
	if tx.Engine() == db.Postgres {
		query = columns + ` CROSS JOIN LATERAL (SELECT w.* FROM webhook_deliveries w WHERE w.endpoint_id = e.id AND w.due_at <= $1
			ORDER BY w.due_at, w.id LIMIT 4 FOR UPDATE OF w SKIP LOCKED) d` + oldest
	}
	rows, err := tx.QueryContext(ctx, query, now, full, claimReads)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var t task
		err := rows.Scan(&t.ID, &t.Endpoint, &t.Event, &t.Data, &t.Occurred, &t.Attempts, &t.failures, &t.url, &t.sealed, &t.oldSealed)
		if err != nil {
			return nil, err
		}
		t.Occurred = t.Occurred.UTC()
		list = append(list, t)
	}
	return list, rows.Err()
}
