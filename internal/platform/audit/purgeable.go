package audit

import (
	"context"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// OldPartitions names what DropPartitions would drop.
func OldPartitions(ctx context.Context, d *db.DB, before time.Time) (old []string, err error) {
	defer fault.Wrap(&err, "audit.OldPartitions")
	old = []string{}
	if d.Engine() != db.Postgres {
		return old, nil
	}
	names, err := partitions(ctx, d.Read())
	for _, name := range names {
		if isOld(name, before) {
			old = append(old, name)
		}
	}
	return old, err
}

// isOld reports whether a partition holds a month that lies wholly before a time.
func isOld(partition string, before time.Time) bool {
	month := monthOf.FindStringSubmatch(partition)
	if month == nil {
		return false
	}
	from, err := time.Parse("200601", month[1])
	return err == nil && !from.AddDate(0, 1, 0).After(before)
}

// CountRows counts what PurgeRows would delete, up to a number.
func CountRows(ctx context.Context, d *db.DB, before time.Time, most int) (n int, err error) {
	defer fault.Wrap(&err, "audit.CountRows")
	query := `SELECT COUNT(*) FROM (SELECT 1 FROM audit_events WHERE created_at < $1 LIMIT $2) AS old`
	if d.Engine() == db.Postgres {
		query = `SELECT COUNT(*) FROM (SELECT 1 FROM audit_events_default WHERE created_at < $1 LIMIT $2) AS old`
	}
	err = d.Read().QueryRowContext(ctx, query, before, most).Scan(&n)
	return n, err
}

// CountEntries counts what PurgeEntries would delete if Raise were called with
// this time, up to a number.
func (c *Chain) CountEntries(ctx context.Context, keptFrom time.Time, most int) (n int, err error) {
	defer fault.Wrap(&err, "audit.CountEntries")
	last, found, err := lastHead(ctx, c.DB.Read())
	if err != nil || !found {
		return 0, err
	}
	floor := last.Floor
	if keptFrom.After(last.MadeAt) {
		keptFrom = last.MadeAt
	}
	if keptFrom.After(last.KeptFrom) {
		if floor, err = c.floor(ctx, last, keptFrom); err != nil {
			return 0, err
		}
	}
	err = c.DB.Read().QueryRowContext(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM audit_chain WHERE pos < $1 LIMIT $2) AS old`, floor, most).Scan(&n)
	return n, err
}

// InDefaultPartition counts the events that have no month of their own, up to a
// number: of them a purge deletes row by row. On SQLite there are none.
func InDefaultPartition(ctx context.Context, d *db.DB, most int) (n int, err error) {
	if d.Engine() != db.Postgres {
		return 0, nil
	}
	defer fault.Wrap(&err, "audit.InDefaultPartition")
	err = d.Read().QueryRowContext(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM audit_events_default WHERE created_at IS NOT NULL LIMIT $1) AS lost`, most).Scan(&n)
	return n, err
}
