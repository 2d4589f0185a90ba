package account

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/db"
)

// profile reads a session's account.
func profile(ctx context.Context, c db.Conn, id uuid.UUID) (p Profile, found bool, err error) {
	err = c.QueryRowContext(ctx, `SELECT `+user.Columns+`, u.created_at, p.user_id IS NOT NULL, s.id, s.auth_time
		FROM sessions s JOIN users u ON u.id = s.user_id LEFT JOIN passwords p ON p.user_id = u.id
		WHERE s.id = $1 AND u.deleted_at IS NULL`, id).Scan(append(p.Targets(), &p.Created, &p.PasswordSet, &p.Session, &p.AuthTime)...)
	if errors.Is(err, sql.ErrNoRows) {
		return p, false, nil
	}
	if err != nil {
		return p, false, fmt.Errorf("read profile: %w", err)
	}
	p.Created, p.AuthTime = p.Created.UTC(), p.AuthTime.UTC()
	return p, true, nil
}

// change is a change of address that was asked for.
type change struct {
	id, user uuid.UUID
	old, new string
	expires  time.Time
}

func insert(ctx context.Context, tx *db.Tx, now time.Time, c change) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO email_changes (id, user_id, old_email, new_email, issued_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)`,
		c.id, c.user, c.old, c.new, now, c.expires)
	if err != nil {
		return fmt.Errorf("store change: %w", err)
	}
	return nil
}

// pending returns whose a change is that can still be confirmed.
func pending(ctx context.Context, c db.Conn, now time.Time, id uuid.UUID) (of uuid.UUID, found bool, err error) {
	err = c.QueryRowContext(ctx, `SELECT user_id FROM email_changes WHERE id = $1 AND confirmed_at IS NULL AND expires_at > $2`,
		id, now).Scan(&of)
	if errors.Is(err, sql.ErrNoRows) {
		return of, false, nil
	}
	return of, err == nil, err
}

// offer stores the link that confirms a change; it reports false if nobody may
// confirm it any more.
func offer(ctx context.Context, tx *db.Tx, id uuid.UUID, link string) (stored bool, err error) {
	return one(tx.ExecContext(ctx, `UPDATE email_changes SET token_hash = $1 WHERE id = $2 AND confirmed_at IS NULL`, link, id))
}

// offerUndo stores the link that undoes a change, and returns how long it works;
// it reports false if nobody may undo it any more.
func offerUndo(ctx context.Context, tx *db.Tx, now time.Time, id uuid.UUID, link string) (stored bool, err error) {
	return one(tx.ExecContext(ctx,
		`UPDATE email_changes SET undo_hash = $1 WHERE id = $2 AND undone_at IS NULL AND undo_until > $3`, link, id, now))
}

// owner returns whose link this is, whether or not it still works.
func owner(ctx context.Context, c db.Conn, link string) (id uuid.UUID, found bool, err error) {
	err = c.QueryRowContext(ctx, `SELECT user_id FROM email_changes WHERE token_hash = $1 OR undo_hash = $2`, link, link).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return id, false, nil
	}
	return id, err == nil, err
}

// confirm uses the link of the new mailbox up; the WHERE clause is the whole
// rule. Until undoUntil the old address is kept, if it is worth that.
func confirm(ctx context.Context, tx *db.Tx, now time.Time, link string, undoUntil time.Time, keep bool) (c change, spent bool, err error) {
	err = tx.QueryRowContext(ctx, `UPDATE email_changes SET confirmed_at = $1, undo_until = $2
		WHERE token_hash = $3 AND confirmed_at IS NULL AND expires_at > $4 RETURNING id, user_id, old_email, new_email`,
		now, sql.NullTime{Time: undoUntil, Valid: keep}, link, now).Scan(&c.id, &c.user, &c.old, &c.new)
	if errors.Is(err, sql.ErrNoRows) {
		return c, false, nil
	}
	return c, err == nil, err
}

// undo uses the link of the old mailbox up, with those of later changes, and
// returns the address.
func undo(ctx context.Context, tx *db.Tx, now time.Time, id uuid.UUID, link string) (old string, spent bool, err error) {
	var confirmed time.Time
	err = tx.QueryRowContext(ctx, `UPDATE email_changes SET undone_at = $1
		WHERE undo_hash = $2 AND undone_at IS NULL AND undo_until > $3 RETURNING old_email, confirmed_at`, now, link, now).Scan(&old, &confirmed)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	_, err = tx.ExecContext(ctx, `UPDATE email_changes SET undone_at = $1 WHERE user_id = $2 AND confirmed_at >= $3 AND undone_at IS NULL`,
		now, id, confirmed)
	return old, err == nil, err
}

// Prune deletes changes of address that can no longer be confirmed or undone.
func Prune(ctx context.Context, d *db.DB, now time.Time) error {
	return d.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM email_changes WHERE expires_at < $1 AND (undo_until IS NULL OR undo_until < $2)`, now, now)
		return err
	})
}

// one reports whether a statement changed its row.
func one(done sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := done.RowsAffected()
	return n == 1, err
}
