package otp

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// The budgets of one account over all its challenges of a context, an hour.
const (
	budgetFor   = time.Hour
	mostMails   = 20
	mostWrong   = 10 // one more blocks
	blockedFor  = 15 * time.Minute
	pruneBefore = time.Hour // challenges are kept this long after their end
)

func insert(ctx context.Context, tx *db.Tx, now time.Time, c Challenge) error {
	audiences, err := json.Marshal(append([]string{}, c.Audiences...))
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO otp_challenges (id, user_id, context, session_id, action, target, audiences, sends, failures, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, 1, 0, $8, $9)`,
		c.ID, c.User, c.Context, uuid.NullUUID{UUID: c.Session, Valid: c.Session != uuid.Nil}, text(c.Action), text(c.Target), string(audiences), now, c.Expires)
	if err != nil {
		return fmt.Errorf("insert: %w", err)
	}
	return nil
}

const columns = `id, user_id, context, COALESCE(action, ''), COALESCE(target, ''), audiences, sends, failures, expires_at, spent_at IS NOT NULL`

func scan(row *sql.Row) (c Challenge, found bool, err error) {
	var audiences string
	err = row.Scan(&c.ID, &c.User, &c.Context, &c.Action, &c.Target, &audiences, &c.sends, &c.failures, &c.Expires, &c.spent)
	if errors.Is(err, sql.ErrNoRows) {
		return c, false, nil
	}
	if err != nil {
		return c, false, fmt.Errorf("otp: read challenge: %w", err)
	}
	c.Expires = c.Expires.UTC()
	return c, true, json.Unmarshal([]byte(audiences), &c.Audiences)
}

// ByID returns the challenge of a sign-in, spent or not.
func ByID(ctx context.Context, c db.Conn, id uuid.UUID) (Challenge, bool, error) {
	return scan(c.QueryRowContext(ctx, `SELECT `+columns+` FROM otp_challenges WHERE id = $1 AND context = 'login'`, id))
}

// Pending returns the last challenge for an action that a session asked for,
// spent or not.
func Pending(ctx context.Context, c db.Conn, session uuid.UUID) (Challenge, bool, error) {
	ch, found, err := scan(c.QueryRowContext(ctx, `SELECT `+columns+` FROM otp_challenges
		WHERE session_id = $1 AND context = 'action' ORDER BY created_at DESC, id DESC LIMIT 1`, session))
	ch.Session = session
	return ch, found, err
}

func dropPending(ctx context.Context, tx *db.Tx, now time.Time, session uuid.UUID) error {
	_, err := tx.ExecContext(ctx, `UPDATE otp_challenges SET spent_at = $1 WHERE session_id = $2 AND spent_at IS NULL`, now, session)
	return err
}

// again counts another mail of a live challenge.
func again(ctx context.Context, tx *db.Tx, now time.Time, id uuid.UUID) (sends int, ok bool, err error) {
	err = tx.QueryRowContext(ctx, `UPDATE otp_challenges SET sends = sends + 1
		WHERE id = $1 AND spent_at IS NULL AND expires_at > $2 AND sends < $3 RETURNING sends`, id, now, mostSends).Scan(&sends)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return sends, err == nil, err
}

// guess counts a guess as wrong before anybody looks: the row is locked from
// here on, so parallel guesses take turns.
func guess(ctx context.Context, tx *db.Tx, now time.Time, id uuid.UUID, most int) (sends, failures int, ok bool, err error) {
	err = tx.QueryRowContext(ctx, `UPDATE otp_challenges SET failures = failures + 1
		WHERE id = $1 AND spent_at IS NULL AND expires_at > $2 AND failures < $3 RETURNING sends, failures`, id, now, most).Scan(&sends, &failures)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, 0, false, nil
	}
	return sends, failures, err == nil, err
}

// spend ends a challenge whose row guess has locked.
func spend(ctx context.Context, tx *db.Tx, now time.Time, id uuid.UUID) error {
	_, err := tx.ExecContext(ctx, `UPDATE otp_challenges SET spent_at = $1 WHERE id = $2`, now, id)
	return err
}

// takeMail counts a mail in the account's budget. Fault: otp_issuance_blocked.
func takeMail(ctx context.Context, tx *db.Tx, now time.Time, user uuid.UUID, of string) error {
	var mails int
	err := tx.QueryRowContext(ctx, `
		INSERT INTO otp_budgets (user_id, context, failures, mails, resets_at) VALUES ($1, $5, 0, 1, $2)
		ON CONFLICT (user_id, context) DO UPDATE SET
			mails = CASE WHEN otp_budgets.resets_at <= $3 THEN 1 ELSE otp_budgets.mails + 1 END,
			failures = CASE WHEN otp_budgets.resets_at <= $3 THEN 0 ELSE otp_budgets.failures END,
			resets_at = CASE WHEN otp_budgets.resets_at <= $3 THEN excluded.resets_at ELSE otp_budgets.resets_at END
		WHERE (otp_budgets.blocked_until IS NULL OR otp_budgets.blocked_until <= $3)
			AND (otp_budgets.resets_at <= $3 OR otp_budgets.mails < $4)
		RETURNING mails`, user, now.Add(budgetFor), now, mostMails, of).Scan(&mails)
	if !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	var resets time.Time
	var blocked sql.NullTime
	err = tx.QueryRowContext(ctx, `SELECT resets_at, blocked_until FROM otp_budgets WHERE user_id = $1 AND context = $2`, user, of).Scan(&resets, &blocked)
	if err != nil {
		return err
	}
	until := resets
	if blocked.Valid && blocked.Time.After(now) {
		until = blocked.Time
	}
	return fault.Retry(fault.OTPIssuanceBlocked, max(until.Sub(now), time.Second))
}

// failed counts a wrong guess in the account's budget. It reports true for the
// one that blocks further mails.
func failed(ctx context.Context, tx *db.Tx, now time.Time, user uuid.UUID, of string) (blocks bool, err error) {
	var failures int
	err = tx.QueryRowContext(ctx, `
		INSERT INTO otp_budgets (user_id, context, failures, mails, resets_at) VALUES ($1, $4, 1, 0, $2)
		ON CONFLICT (user_id, context) DO UPDATE SET
			failures = CASE WHEN otp_budgets.resets_at <= $3 THEN 1 ELSE otp_budgets.failures + 1 END,
			mails = CASE WHEN otp_budgets.resets_at <= $3 THEN 0 ELSE otp_budgets.mails END,
			resets_at = CASE WHEN otp_budgets.resets_at <= $3 THEN excluded.resets_at ELSE otp_budgets.resets_at END
		RETURNING failures`, user, now.Add(budgetFor), now, of).Scan(&failures)
	if err != nil || failures <= mostWrong {
		return false, err
	}
	done, err := tx.ExecContext(ctx, `UPDATE otp_budgets SET blocked_until = $1 WHERE user_id = $2 AND context = $4 AND (blocked_until IS NULL OR blocked_until <= $3)`,
		now.Add(blockedFor), user, now, of)
	if err != nil {
		return false, err
	}
	n, err := done.RowsAffected()
	return n == 1, err
}

// End ends the challenges of an account: the password that they began with is
// no longer good. What was guessed stays counted.
func End(ctx context.Context, tx *db.Tx, now time.Time, user uuid.UUID) error {
	_, err := tx.ExecContext(ctx, `UPDATE otp_challenges SET spent_at = $1 WHERE user_id = $2 AND spent_at IS NULL`, now, user)
	if err != nil {
		return fmt.Errorf("otp.End: %w", err)
	}
	return nil
}

// Forget deletes what is kept of an account: its second factor was switched
// off, or it is erased.
func Forget(ctx context.Context, tx *db.Tx, user uuid.UUID) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM otp_challenges WHERE user_id = $1`, user); err != nil {
		return fmt.Errorf("otp.Forget: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM otp_budgets WHERE user_id = $1`, user); err != nil {
		return fmt.Errorf("otp.Forget: %w", err)
	}
	return nil
}

// Prune deletes challenges that ended a while ago.
func Prune(ctx context.Context, d *db.DB, now time.Time) error {
	return d.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM otp_challenges WHERE expires_at < $1`, now.Add(-pruneBefore))
		return err
	})
}

// PruneBudgets forgets the counts that have begun anew meanwhile and block
// nobody, in batches by account.
func PruneBudgets(ctx context.Context, d *db.DB, now time.Time) error {
	const batch = 1_000 // accounts
	last, next := uuid.Nil, uuid.Nil
	for done := false; !done; last = next {
		err := d.Write(ctx, func(tx *db.Tx) error {
			err := tx.QueryRowContext(ctx, `SELECT user_id FROM otp_budgets WHERE user_id > $1 ORDER BY user_id LIMIT 1 OFFSET $2`, last, batch-1).Scan(&next)
			if done = errors.Is(err, sql.ErrNoRows); done {
				next = uuid.Max
			} else if err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, `DELETE FROM otp_budgets WHERE user_id > $1 AND user_id <= $2
				AND resets_at <= $3 AND (blocked_until IS NULL OR blocked_until <= $3)`, last, next, now)
			return err
		})
		if err != nil {
			return fmt.Errorf("otp: prune budgets: %w", err)
		}
	}
	return nil
}

func text(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }
