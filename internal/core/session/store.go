package session

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

func insert(ctx context.Context, tx *db.Tx, s Session, from audit.Origin) error {
	audiences, err := json.Marshal(s.Audiences)
	if err != nil {
		return err
	}
	reasons, err := json.Marshal(append([]string{}, s.Suspicious...))
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO sessions (id, user_id, provider, audiences, auth_time, created_at, absolute_expires_at, expires_at,
			generation, branch, prev_branch, rotated_at, last_seen_at, ip_address, user_agent,
			is_suspicious, suspicious_reasons, csrf_hash)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)`,
		s.ID, s.UserID, s.Provider, string(audiences), s.AuthTime, s.AuthTime, orNull(s.Absolute), s.Expires,
		s.rotation.generation, s.rotation.branch, s.rotation.previous, s.rotation.at, s.AuthTime,
		cut(from.IP, 45), cut(from.UserAgent, 512),
		len(s.Suspicious) > 0, string(reasons), sql.NullString{String: s.CSRFHash, Valid: s.CSRFHash != ""})
	if err != nil {
		return fmt.Errorf("session: insert: %w", err)
	}
	return nil
}

// columns of the tables aliased s and u, of a session with its user.
const columns = `s.id, s.user_id, s.provider, s.audiences, s.auth_time, s.absolute_expires_at, s.expires_at, s.revoked_at,
	s.generation, s.branch, s.prev_branch, s.rotated_at, COALESCE(s.csrf_hash, ''), u.deleted_at IS NOT NULL, ` + user.Columns

// Find returns a session with its user, deleted or not: Active is false then.
func Find(ctx context.Context, c db.Conn, id uuid.UUID) (s Session, u user.User, found bool, err error) {
	return load(ctx, c, id)
}

// load reads a session with its user, deleted or not.
func load(ctx context.Context, c db.Conn, id uuid.UUID) (s Session, u user.User, found bool, err error) {
	return scan(c.QueryRowContext(ctx, `SELECT `+columns+` FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.id = $1`, id))
}

// scan reads columns.
func scan(row *sql.Row) (s Session, u user.User, found bool, err error) {
	var audiences string
	var absolute, revoked sql.NullTime
	var deleted bool
	err = row.Scan(append([]any{
		&s.ID, &s.UserID, &s.Provider, &audiences, &s.AuthTime, &absolute, &s.Expires, &revoked,
		&s.rotation.generation, &s.rotation.branch, &s.rotation.previous, &s.rotation.at, &s.CSRFHash, &deleted}, u.Targets()...)...)
	if errors.Is(err, sql.ErrNoRows) {
		return s, u, false, nil
	}
	if err != nil {
		return s, u, false, fmt.Errorf("session: load: %w", err)
	}
	s.AuthTime, s.Expires, s.rotation.at = s.AuthTime.UTC(), s.Expires.UTC(), s.rotation.at.UTC()
	s.Absolute, s.RevokedAt = utc(absolute), utc(revoked)
	u.Active, s.ownerless = u.Active && !deleted, deleted
	if err := json.Unmarshal([]byte(audiences), &s.Audiences); err != nil {
		return s, u, false, fmt.Errorf("session: audiences of %s: %w", s.ID, err)
	}
	return s, u, true, nil
}

// advance moves the refresh state from one value to the next. It reports false
// if another request moved it first or the session has ended.
func advance(ctx context.Context, tx *db.Tx, id uuid.UUID, from, to rotation, expires, now time.Time) (moved bool, err error) {
	done, err := tx.ExecContext(ctx, `
		UPDATE sessions SET generation = $1, branch = $2, prev_branch = $3, rotated_at = $4, expires_at = $5, last_seen_at = $6
		WHERE id = $7 AND generation = $8 AND branch = $9 AND revoked_at IS NULL`,
		to.generation, to.branch, to.previous, to.at, expires, now, id, from.generation, from.branch)
	if err != nil {
		return false, fmt.Errorf("session: advance: %w", err)
	}
	n, err := done.RowsAffected()
	return n == 1, err
}

// advanceLive is load, decide and advance in one statement, for the refresh
// token that is good now: it finds nothing unless the session and its user live
// and the token is the current one. PostgreSQL only.
func advanceLive(ctx context.Context, tx *db.Tx, t refreshToken, csrfHash string, now time.Time, ttl time.Duration) (s Session, u user.User, found bool, err error) {
	return scan(tx.QueryRowContext(ctx, `
		WITH s AS (UPDATE sessions SET generation = generation + 1, branch = 0, prev_branch = branch, rotated_at = $1, last_seen_at = $1,
			expires_at = LEAST($2, absolute_expires_at)
			WHERE id = $3 AND generation = $4 AND branch = $5 AND revoked_at IS NULL AND expires_at > $1
			AND ($6 = '' OR csrf_hash = $6)
			AND EXISTS (SELECT 1 FROM users WHERE id = user_id AND is_active AND deleted_at IS NULL)
			RETURNING *)
		SELECT `+columns+` FROM s JOIN users u ON u.id = s.user_id`,
		now, now.Add(ttl), t.session, t.generation, t.branch, csrfHash))
}

// end revokes a session that is not revoked yet; the first reason stays.
func end(ctx context.Context, tx *db.Tx, id uuid.UUID, now time.Time, reason string) (ended bool, err error) {
	done, err := tx.ExecContext(ctx,
		`UPDATE sessions SET revoked_at = $1, revoke_reason = $2 WHERE id = $3 AND revoked_at IS NULL`, now, reason, id)
	if err != nil {
		return false, fmt.Errorf("session: end: %w", err)
	}
	n, err := done.RowsAffected()
	return n == 1, err
}

// EndAll revokes every session of a user but the one to keep (uuid.Nil keeps
// none) and returns which. The caller raises the user's epoch, which refuses the
// access tokens.
func EndAll(ctx context.Context, tx *db.Tx, now time.Time, userID, keep uuid.UUID, reason string) (ended []uuid.UUID, err error) {
	defer fault.Wrap(&err, "session.EndAll")
	rows, err := tx.QueryContext(ctx, `
		UPDATE sessions SET revoked_at = $1, revoke_reason = $2
		WHERE user_id = $3 AND id <> $4 AND revoked_at IS NULL RETURNING id`, now, reason, userID, keep)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	ended = []uuid.UUID{}
	for rows.Next() {
		var id uuid.UUID
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ended = append(ended, id)
	}
	return ended, rows.Err()
}

// Forget takes out of an account's sessions, ended or not, what says where they
// were used.
func Forget(ctx context.Context, tx *db.Tx, userID uuid.UUID) error {
	_, err := tx.ExecContext(ctx,
		`UPDATE sessions SET ip_address = NULL, user_agent = NULL, csrf_hash = NULL WHERE user_id = $1`, userID)
	if err != nil {
		return fmt.Errorf("session.Forget: %w", err)
	}
	return nil
}

// Reprove moves the time of the last proof of a live session; it reports false
// if the session has ended.
func Reprove(ctx context.Context, tx *db.Tx, id uuid.UUID, now time.Time) (live bool, err error) {
	done, err := tx.ExecContext(ctx,
		`UPDATE sessions SET auth_time = $1 WHERE id = $2 AND revoked_at IS NULL AND expires_at > $3`, now, id, now)
	if err != nil {
		return false, fmt.Errorf("session.Reprove: %w", err)
	}
	n, err := done.RowsAffected()
	return n == 1, err
}

// bind makes a CSRF token the session's.
func bind(ctx context.Context, tx *db.Tx, id uuid.UUID, hash string) error {
	_, err := tx.ExecContext(ctx, `UPDATE sessions SET csrf_hash = $1 WHERE id = $2 AND revoked_at IS NULL`, hash, id)
	return err
}

// touch moves last_seen_at to at, unless it is later than old already.
func touch(ctx context.Context, tx *db.Tx, id uuid.UUID, old, at time.Time) error {
	_, err := tx.ExecContext(ctx, `UPDATE sessions SET last_seen_at = $1 WHERE id = $2 AND last_seen_at <= $3`, at, id, old)
	return err
}

func orNull(t time.Time) sql.NullTime { return sql.NullTime{Time: t, Valid: !t.IsZero()} }

func utc(t sql.NullTime) time.Time {
	if !t.Valid {
		return time.Time{}
	}
	return t.Time.UTC()
}

// cut shortens to n bytes at a rune boundary; empty is NULL.
func cut(s string, n int) sql.NullString {
	if len(s) > n {
		for n > 0 && s[n]&0xc0 == 0x80 {
			n--
		}
		s = s[:n]
	}
	return sql.NullString{String: s, Valid: s != ""}
}
