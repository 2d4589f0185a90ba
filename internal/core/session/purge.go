package session

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// PurgeEnded deletes, of the next sessions behind after in the order of their
// ids, at most limit of them, those that ended before a time: by an act or by
// expiry. It returns the last one looked at, uuid.Nil at the end. Ids are in the
// order of creation, so what began later is not even read.
func PurgeEnded(ctx context.Context, tx *db.Tx, before time.Time, after uuid.UUID, limit int) (last uuid.UUID, n int, err error) {
	defer fault.Wrap(&err, "session.PurgeEnded")
	end := beginning(before)
	err = tx.QueryRowContext(ctx, `SELECT id FROM sessions WHERE id > $1 AND id < $2 ORDER BY id LIMIT 1 OFFSET $3`, after, end, limit-1).Scan(&last)
	switch {
	case err == nil:
		end = last
	case !errors.Is(err, sql.ErrNoRows):
		return uuid.Nil, 0, err
	}
	done, err := tx.ExecContext(ctx, `DELETE FROM sessions WHERE id > $1 AND id <= $2 AND (revoked_at < $3 OR expires_at < $3)`, after, end, before)
	if err != nil {
		return uuid.Nil, 0, err
	}
	deleted, err := done.RowsAffected()
	return last, int(deleted), err
}

// CountEnded counts what PurgeEnded would delete, up to a number.
func CountEnded(ctx context.Context, c db.Conn, before time.Time, most int) (n int, err error) {
	defer fault.Wrap(&err, "session.CountEnded")
	err = c.QueryRowContext(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM sessions WHERE id < $1 AND (revoked_at < $2 OR expires_at < $2) LIMIT $3) AS ended`,
		beginning(before), before, most).Scan(&n)
	return n, err
}

// beginning is the least id that a session of this moment can have (UUIDv7).
func beginning(at time.Time) (id uuid.UUID) {
	var millis [8]byte
	binary.BigEndian.PutUint64(millis[:], uint64(max(at.UnixMilli(), 0)))
	copy(id[:], millis[2:])
	id[6], id[8] = 7<<4, 1<<7
	return id
}
