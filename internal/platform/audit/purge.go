package audit

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// Of old events PostgreSQL drops whole months; rows are deleted where there are
// none: on SQLite, and in the partition that takes what no other does. A purge
// calls Chain.Raise first, so that what is gone is known to be purged.

// dropTries bounds how often a partition's lock is asked for. Waiting longer
// would make every login wait behind the purge; the next one tries again.
const dropTries = 5

var monthOf = regexp.MustCompile(`^audit_(?:events|personal)_(\d{6})$`)

// DropPartitions drops the months of the audit tables that lie wholly before a
// time, and names them. On SQLite there are none.
func DropPartitions(ctx context.Context, d *db.DB, before time.Time) (dropped []string, err error) {
	defer fault.Wrap(&err, "audit.DropPartitions")
	if d.Engine() != db.Postgres {
		return nil, nil
	}
	names, err := partitions(ctx, d.Read())
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		month := monthOf.FindStringSubmatch(name)
		if month == nil {
			continue
		}
		from, err := time.Parse("200601", month[1])
		if err != nil || from.AddDate(0, 1, 0).After(before) {
			continue
		}
		if err := dropPartition(ctx, d, name); err != nil {
			return dropped, err
		}
		dropped = append(dropped, name)
	}
	return dropped, nil
}

func partitions(ctx context.Context, c db.Conn) (names []string, err error) {
	rows, err := c.QueryContext(ctx, `SELECT child.relname FROM pg_inherits i
		JOIN pg_class child ON child.oid = i.inhrelid JOIN pg_class parent ON parent.oid = i.inhparent
		WHERE parent.relname IN ('audit_events', 'audit_personal') AND pg_table_is_visible(parent.oid) ORDER BY child.relname`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

func dropPartition(ctx context.Context, d *db.DB, name string) (err error) {
	for range dropTries {
		err = d.Write(ctx, func(tx *db.Tx) error {
			if _, err := tx.ExecContext(ctx, `SELECT set_config('lock_timeout', '500ms', TRUE)`); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, `DROP TABLE IF EXISTS `+name)
			return err
		})
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("drop %s: %w", name, err)
	}
	return nil
}

// PurgeRows deletes the oldest events before a time, and what stands apart of
// them, at most limit; n is how many events there were.
func PurgeRows(ctx context.Context, tx *db.Tx, before time.Time, limit int) (n int, err error) {
	defer fault.Wrap(&err, "audit.PurgeRows")
	events, personal := `DELETE FROM audit_events WHERE (created_at, id) IN
			(SELECT created_at, id FROM audit_events WHERE created_at < $1 ORDER BY created_at, id LIMIT $2)`,
		`DELETE FROM audit_personal WHERE (created_at, event_id) IN
			(SELECT created_at, event_id FROM audit_personal WHERE created_at < $1 ORDER BY created_at, event_id LIMIT $2)`
	if tx.Engine() == db.Postgres {
		events, personal = `DELETE FROM audit_events_default WHERE (created_at, id) IN
				(SELECT created_at, id FROM audit_events_default WHERE created_at < $1 ORDER BY created_at, id LIMIT $2)`,
			`DELETE FROM audit_personal_default WHERE (created_at, event_id) IN
				(SELECT created_at, event_id FROM audit_personal_default WHERE created_at < $1 ORDER BY created_at, event_id LIMIT $2)`
	}
	// Events are never fewer than their personal parts, so both end together.
	if _, err := purge(ctx, tx, personal, before, limit); err != nil {
		return 0, err
	}
	return purge(ctx, tx, events, before, limit)
}

// PurgeEntries deletes entries of the chain below a floor, at most limit.
func PurgeEntries(ctx context.Context, tx *db.Tx, floor int64, limit int) (n int, err error) {
	defer fault.Wrap(&err, "audit.PurgeEntries")
	return purge(ctx, tx, `DELETE FROM audit_chain WHERE pos IN (SELECT pos FROM audit_chain WHERE pos < $1 ORDER BY pos LIMIT $2)`, floor, limit)
}

func purge(ctx context.Context, tx *db.Tx, query string, below any, limit int) (int, error) {
	result, err := tx.ExecContext(ctx, query, below, limit)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}
