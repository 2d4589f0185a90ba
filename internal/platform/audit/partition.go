package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db"
)

// monthsAhead is how far partitions are made in advance.
const monthsAhead = 3

// EnsurePartitions makes the monthly partitions of the audit tables on
// PostgreSQL, this month's to three months ahead. It is run by migrate, at
// start and daily; where it fails the default partition takes the rows.
func EnsurePartitions(ctx context.Context, d *db.DB, now time.Time) error {
	if d.Engine() != db.Postgres {
		return nil
	}
	now = now.UTC()
	first := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	var failed []error
	for _, table := range []string{"audit_events", "audit_personal"} {
		for i := range monthsAhead + 1 {
			err := ensurePartition(ctx, d, table, first.AddDate(0, i, 0))
			failed = append(failed, err)
			if err != nil && db.IsUnavailable(err) {
				return errors.Join(failed...)
			}
		}
	}
	return errors.Join(failed...)
}

// ensurePartition makes one partition in a transaction of its own: a month that
// the default partition holds rows of cannot have one any more, and that must
// not cost the other months theirs.
func ensurePartition(ctx context.Context, d *db.DB, table string, from time.Time) error {
	const bound = "2006-01-02 15:04:05-07"
	month := from.Format("200601")
	err := d.Write(ctx, func(tx *db.Tx) error {
		// Replicas that start at once take turns.
		if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtext('audit partitions'))`); err != nil {
			return err
		}
		// Waiting for a lock here would make every login wait behind us.
		if _, err := tx.ExecContext(ctx, `SELECT set_config('lock_timeout', '500ms', TRUE)`); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, fmt.Sprintf(
			`CREATE TABLE IF NOT EXISTS %[1]s_%[2]s PARTITION OF %[1]s FOR VALUES FROM ('%[3]s') TO ('%[4]s')`,
			table, month, from.Format(bound), from.AddDate(0, 1, 0).Format(bound)))
		return err
	})
	if err != nil {
		return fmt.Errorf("audit: partition %s_%s: %w", table, month, err)
	}
	return nil
}
