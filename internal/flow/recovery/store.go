package recovery

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

const purpose = "reset_password"

// put makes this the account's only live link. It reports false if a newer link
// exists or this one was used.
func put(ctx context.Context, tx *db.Tx, id uuid.UUID, hash string, issued, expires time.Time) (newest bool, err error) {
	done, err := tx.ExecContext(ctx, `
		INSERT INTO email_tokens (user_id, purpose, token_hash, issued_at, expires_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (user_id, purpose) DO UPDATE
		SET token_hash = excluded.token_hash, issued_at = excluded.issued_at, expires_at = excluded.expires_at, used_at = NULL
		WHERE email_tokens.issued_at < excluded.issued_at
			OR (email_tokens.issued_at = excluded.issued_at AND email_tokens.used_at IS NULL)`,
		id, purpose, hash, issued, expires)
	if err != nil {
		return false, fmt.Errorf("store link: %w", err)
	}
	n, err := done.RowsAffected()
	return n == 1, err
}

// known reports whether a link was stored before: the job runs again.
func known(ctx context.Context, c db.Conn, hash string) (bool, error) {
	var n int
	err := c.QueryRowContext(ctx, `SELECT COUNT(*) FROM email_tokens WHERE token_hash = $1`, hash).Scan(&n)
	return n > 0, err
}

// find returns the active account of a live link, and the hash of its password,
// empty if it has none.
func find(ctx context.Context, c db.Conn, now time.Time, hash string) (u user.User, password string, found bool, err error) {
	err = c.QueryRowContext(ctx, `SELECT `+user.Columns+`, COALESCE(p.hash, '')
		FROM email_tokens t JOIN users u ON u.id = t.user_id LEFT JOIN passwords p ON p.user_id = u.id
		WHERE t.token_hash = $1 AND t.purpose = 'reset_password' AND t.used_at IS NULL AND t.expires_at > $2
			AND u.is_active AND u.deleted_at IS NULL`, hash, now).Scan(append(u.Targets(), &password)...)
	if errors.Is(err, sql.ErrNoRows) {
		return u, "", false, nil
	}
	if err != nil {
		return u, "", false, fmt.Errorf("find link: %w", err)
	}
	return u, password, true, nil
}

// spend uses a link up; the WHERE clause is the whole rule.
func spend(ctx context.Context, tx *db.Tx, now time.Time, hash string) (spent bool, err error) {
	done, err := tx.ExecContext(ctx, `UPDATE email_tokens SET used_at = $1
		WHERE token_hash = $2 AND purpose = $3 AND used_at IS NULL AND expires_at > $4`, now, hash, purpose, now)
	if err != nil {
		return false, fmt.Errorf("spend link: %w", err)
	}
	n, err := done.RowsAffected()
	return n == 1, err
}
