package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db"
)

// Lease holds a name for one process at a time, until a time. What is held is in
// SQL, so a process that dies holds it no longer than that.
type Lease struct {
	name  string
	until time.Time
}

// Take takes the name, unless another holds it.
func Take(ctx context.Context, tx *db.Tx, name string, now time.Time, length time.Duration) (l Lease, taken bool, err error) {
	if _, err := tx.ExecContext(ctx, `INSERT INTO periodic (name, next_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, name, now); err != nil {
		return l, false, fmt.Errorf("jobs: take %s: %w", name, err)
	}
	l = Lease{name, now.Add(length)}
	taken, err = swap(ctx, tx, `UPDATE periodic SET next_at = $1 WHERE name = $2 AND next_at <= $3`, l.until, name, now)
	return l, taken, err
}

// Extend holds it for longer, in the transaction of what it protects. It is not
// held any more if it ran out and another took it.
func (l Lease) Extend(ctx context.Context, tx *db.Tx, now time.Time, length time.Duration) (_ Lease, held bool, err error) {
	next := Lease{l.name, now.Add(length)}
	held, err = swap(ctx, tx, `UPDATE periodic SET next_at = $1 WHERE name = $2 AND next_at = $3`, next.until, l.name, l.until)
	return next, held, err
}

// Release lets others take it now.
func (l Lease) Release(ctx context.Context, tx *db.Tx, now time.Time) error {
	_, err := swap(ctx, tx, `UPDATE periodic SET next_at = $1 WHERE name = $2 AND next_at = $3`, now, l.name, l.until)
	return err
}

func swap(ctx context.Context, tx *db.Tx, query string, args ...any) (bool, error) {
	done, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return false, fmt.Errorf("jobs: lease: %w", err)
	}
	n, err := done.RowsAffected()
	return n > 0, err
}
