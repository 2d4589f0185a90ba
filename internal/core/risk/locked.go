package risk

import (
	"context"
	"database/sql"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// An account is locked while some network is: whoever comes from elsewhere may
// still get in. Only what was counted since the account was made says whose
// it is.

// LockedOf tells which of some accounts are locked, and until when.
func (s *Service) LockedOf(ctx context.Context, c db.Conn, now time.Time, ids []uuid.UUID) (until map[uuid.UUID]time.Time, err error) {
	defer fault.Wrap(&err, "risk.LockedOf")
	if len(ids) == 0 {
		return nil, nil
	}
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = id
	}
	return readLocked(now)(c.QueryContext(ctx, `SELECT user_id, locked_until FROM lockouts WHERE user_id IN (`+db.Values(len(ids), 1)+`)`, args...))
}

// lockedMost bounds how many locked accounts are told at once.
const lockedMost = 10_000

// Locked tells which accounts are locked, and until when.
func (s *Service) Locked(ctx context.Context, c db.Conn, now time.Time) (until map[uuid.UUID]time.Time, err error) {
	defer fault.Wrap(&err, "risk.Locked")
	return readLocked(now)(c.QueryContext(ctx, `SELECT user_id, locked_until FROM lockouts
		WHERE user_id IS NOT NULL AND locked_until > $1 ORDER BY user_id DESC LIMIT $2`, now, lockedMost))
}

// readLocked keeps the latest lock of each account.
func readLocked(now time.Time) func(*sql.Rows, error) (map[uuid.UUID]time.Time, error) {
	return func(rows *sql.Rows, err error) (map[uuid.UUID]time.Time, error) {
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		until := map[uuid.UUID]time.Time{}
		for rows.Next() {
			var id uuid.UUID
			var at time.Time
			if err := rows.Scan(&id, &at); err != nil {
				return nil, err
			}
			if at = at.UTC(); at.After(now) && at.After(until[id]) {
				until[id] = at
			}
		}
		return until, rows.Err()
	}
}

// Unlock forgets every failure counted at an account, and those at its address
// that were counted before it was there. It reports whether there were any.
func (s *Service) Unlock(ctx context.Context, tx *db.Tx, id uuid.UUID, email string) (found bool, err error) {
	defer fault.Wrap(&err, "risk.Unlock")
	counted, err := tx.ExecContext(ctx, `DELETE FROM lockouts WHERE user_id = $1`, id)
	if err != nil {
		return false, err
	}
	before, err := tx.ExecContext(ctx, `DELETE FROM lockouts WHERE account = $1`, s.account(email))
	if err != nil {
		return false, err
	}
	for _, done := range []sql.Result{counted, before} {
		n, err := done.RowsAffected()
		if err != nil {
			return false, err
		}
		found = found || n > 0
	}
	return found, nil
}
