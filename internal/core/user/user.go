// Package user owns accounts.
//
// An account's epoch rises when what its tokens say of it changes (verified,
// role, e-mail, one-time codes): tokens of a lower epoch answer token_expired,
// so that clients refresh and learn the new facts.
package user

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

// Roles.
const (
	RoleUser  = "user"
	RoleAdmin = "admin"
)

// User is a live account.
type User struct {
	ID              uuid.UUID
	Email           string
	Role            string
	Active          bool
	EmailVerified   bool
	EmailOTPEnabled bool
	Epoch           int64
}

// Columns is what Targets takes, in its order, of the table aliased u.
const Columns = `u.id, u.email, u.role, u.is_active, u.email_verified, u.email_otp_enabled, u.epoch`

// Targets is where Scan puts Columns.
func (u *User) Targets() []any {
	return []any{&u.ID, &u.Email, &u.Role, &u.Active, &u.EmailVerified, &u.EmailOTPEnabled, &u.Epoch}
}

// ByID returns a live account; found is false if there is none.
func ByID(ctx context.Context, c db.Conn, id uuid.UUID) (u User, found bool, err error) {
	err = c.QueryRowContext(ctx, `SELECT `+Columns+` FROM users u WHERE u.id = $1 AND u.deleted_at IS NULL`, id).Scan(u.Targets()...)
	return u, err == nil, noRows(err)
}

// ByEmail returns the live account with this address (in ParseEmail's form).
func ByEmail(ctx context.Context, c db.Conn, email string) (u User, found bool, err error) {
	err = c.QueryRowContext(ctx, `SELECT `+Columns+` FROM users u WHERE u.email_key = $1 AND u.deleted_at IS NULL`, email).Scan(u.Targets()...)
	return u, err == nil, noRows(err)
}

// Taken reports whether an address is an account's, also a deleted one's: that
// keeps it until it is erased.
func Taken(ctx context.Context, c db.Conn, email string) (taken bool, err error) {
	var n int
	err = c.QueryRowContext(ctx, `SELECT COUNT(*) FROM users WHERE email_key = $1`, email).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("user.Taken: %w", err)
	}
	return n > 0, nil
}

// Create adds an account, unless one has the address, or somebody may still take
// it back: then created is false and nothing changes.
func Create(ctx context.Context, tx *db.Tx, now time.Time, u User) (created bool, err error) {
	done, err := tx.ExecContext(ctx, `
		INSERT INTO users (id, email, email_key, role, is_active, email_verified, email_otp_enabled, epoch, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (email_key) DO NOTHING`,
		u.ID, u.Email, u.Email, u.Role, u.Active, u.EmailVerified, u.EmailOTPEnabled, u.Epoch, now, now)
	if err != nil {
		return false, fmt.Errorf("user.Create: %w", err)
	}
	n, err := done.RowsAffected()
	if err != nil {
		return false, err
	}
	// Afterwards, because the row above waits for whoever is leaving the address.
	kept, err := Kept(ctx, tx, now, u.Email, u.ID)
	if err != nil || !kept || n == 0 {
		return n == 1 && err == nil, err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM users WHERE id = $1`, u.ID); err != nil {
		return false, fmt.Errorf("user.Create: %w", err)
	}
	return false, nil
}

// Kept reports whether an address was another account's until lately, so that
// its old owner may still take it back.
func Kept(ctx context.Context, c db.Conn, now time.Time, email string, but uuid.UUID) (kept bool, err error) {
	var n int
	err = c.QueryRowContext(ctx, `
		SELECT COUNT(*) FROM email_changes WHERE old_email = $1 AND undo_until > $2 AND undone_at IS NULL AND user_id <> $3`,
		email, now, but).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("user.Kept: %w", err)
	}
	return n > 0, nil
}

// Hold locks an account until the transaction ends, so that an act which ends
// its sessions waits. It reports false if the account changed since u was read.
func Hold(ctx context.Context, tx *db.Tx, u User) (same bool, err error) {
	query := `SELECT COUNT(*) FROM users WHERE id = $1 AND epoch = $2 AND is_active AND deleted_at IS NULL`
	if tx.Engine() == db.Postgres { // SQLite has one writer
		query = `SELECT COUNT(*) FROM (SELECT id FROM users WHERE id = $1 AND epoch = $2 AND is_active AND deleted_at IS NULL FOR SHARE) held`
	}
	var n int
	if err := tx.QueryRowContext(ctx, query, u.ID, u.Epoch).Scan(&n); err != nil {
		return false, fmt.Errorf("user.Hold: %w", err)
	}
	return n == 1, nil
}

// Lock keeps every other act on the account waiting until the transaction ends,
// and returns it as it is then.
func Lock(ctx context.Context, tx *db.Tx, id uuid.UUID) (u User, found bool, err error) {
	query := `SELECT ` + Columns + ` FROM users u WHERE u.id = $1 AND u.deleted_at IS NULL`
	if tx.Engine() == db.Postgres {
		query = `SELECT ` + Columns + ` FROM users u WHERE u.id = $1 AND u.deleted_at IS NULL FOR NO KEY UPDATE`
	}
	err = tx.QueryRowContext(ctx, query, id).Scan(u.Targets()...)
	return u, err == nil, noRows(err)
}

// AnyAdmin reports whether a live, active admin exists.
func AnyAdmin(ctx context.Context, c db.Conn) (bool, error) {
	var n int
	err := c.QueryRowContext(ctx, `SELECT COUNT(*) FROM users WHERE role = 'admin' AND is_active AND deleted_at IS NULL`).Scan(&n)
	return n > 0, err
}

// Accounts changes what tokens say of a user.
type Accounts struct {
	Feed *revocation.Feed
	// TokenLife is how long a token that says the old thing can live.
	TokenLife time.Duration
}

// SetVerified marks the address confirmed and raises the epoch. It reports
// false if it was confirmed already.
func (a *Accounts) SetVerified(ctx context.Context, tx *db.Tx, now time.Time, id uuid.UUID) (changed bool, err error) {
	defer fault.Wrap(&err, "user.SetVerified")
	return a.raised(ctx, tx, now, id, tx.QueryRowContext(ctx, `
		UPDATE users SET email_verified = TRUE, epoch = epoch + 1, updated_at = $1
		WHERE id = $2 AND NOT email_verified AND deleted_at IS NULL RETURNING epoch`, now, id))
}

// SetOTP switches mailed codes at sign-in and raises the epoch. It reports
// false if nothing changed.
func (a *Accounts) SetOTP(ctx context.Context, tx *db.Tx, now time.Time, id uuid.UUID, on bool) (changed bool, err error) {
	defer fault.Wrap(&err, "user.SetOTP")
	return a.raised(ctx, tx, now, id, tx.QueryRowContext(ctx, `
		UPDATE users SET email_otp_enabled = $1, epoch = epoch + 1, updated_at = $2
		WHERE id = $3 AND email_otp_enabled <> $4 AND deleted_at IS NULL RETURNING epoch`, on, now, id, on))
}

// SetEmail gives an account a confirmed address and raises the epoch. An address
// that is another account's is an error for which db.IsConflict is true.
func (a *Accounts) SetEmail(ctx context.Context, tx *db.Tx, now time.Time, id uuid.UUID, email string) (changed bool, err error) {
	defer fault.Wrap(&err, "user.SetEmail")
	return a.raised(ctx, tx, now, id, tx.QueryRowContext(ctx, `
		UPDATE users SET email = $1, email_key = $2, email_verified = TRUE, epoch = epoch + 1, updated_at = $3
		WHERE id = $4 AND deleted_at IS NULL RETURNING epoch`, email, email, now, id))
}

// EndTokens raises the epoch: access tokens issued before are refused, and
// whoever still has a session refreshes.
func (a *Accounts) EndTokens(ctx context.Context, tx *db.Tx, now time.Time, id uuid.UUID) (err error) {
	defer fault.Wrap(&err, "user.EndTokens")
	_, err = a.raised(ctx, tx, now, id, tx.QueryRowContext(ctx,
		`UPDATE users SET epoch = epoch + 1, updated_at = $1 WHERE id = $2 RETURNING epoch`, now, id))
	return err
}

// Erase takes out of an account, deleted or not, what says whose it is, and ends
// it. It reports false if it is erased.
func (a *Accounts) Erase(ctx context.Context, tx *db.Tx, now time.Time, id uuid.UUID) (changed bool, err error) {
	defer fault.Wrap(&err, "user.Erase")
	gone := "deleted_" + id.String() + erasedDomain
	return a.raised(ctx, tx, now, id, tx.QueryRowContext(ctx, `
		UPDATE users SET email = $1, email_key = $2, is_active = FALSE, email_verified = FALSE, email_otp_enabled = FALSE,
			epoch = epoch + 1, updated_at = $3, deleted_at = COALESCE(deleted_at, $4)
		WHERE id = $5 AND email <> $6 RETURNING epoch`, gone, gone, now, now, id, gone))
}

// erasedDomain is that of the placeholder address of an erased account.
const erasedDomain = "@erased.invalid"

// Erased reports whether what says whose it is was taken out of the account.
func (u User) Erased() bool { return strings.HasSuffix(u.Email, erasedDomain) }

// Erased reports whether an account was erased, rather than never there.
func Erased(ctx context.Context, c db.Conn, id uuid.UUID) (erased bool, err error) {
	var email string
	err = c.QueryRowContext(ctx, `SELECT email FROM users WHERE id = $1 AND deleted_at IS NOT NULL`, id).Scan(&email)
	return strings.HasSuffix(email, erasedDomain), noRows(err)
}

// LastAdmin reports whether an account is the only admin left. Acts that could
// make it so take turns from here on.
func LastAdmin(ctx context.Context, tx *db.Tx, id uuid.UUID) (last bool, err error) {
	defer fault.Wrap(&err, "user.LastAdmin")
	if tx.Engine() == db.Postgres {
		if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtext('admins'))`); err != nil {
			return false, err
		}
	}
	var admin, others int
	err = tx.QueryRowContext(ctx, `
		SELECT COALESCE(SUM(CASE WHEN id = $1 THEN 1 ELSE 0 END), 0), COALESCE(SUM(CASE WHEN id <> $2 THEN 1 ELSE 0 END), 0)
		FROM users WHERE role = 'admin' AND is_active AND deleted_at IS NULL`, id, id).Scan(&admin, &others)
	return admin > 0 && others == 0, err
}

// raised tells every replica of the epoch that an UPDATE returned.
func (a *Accounts) raised(ctx context.Context, tx *db.Tx, now time.Time, id uuid.UUID, updated *sql.Row) (changed bool, err error) {
	var epoch int64
	err = updated.Scan(&epoch)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, a.Feed.Append(ctx, tx, now, revocation.Entry{
		Kind: revocation.User, Subject: id.String(), Epoch: epoch, Expires: now.Add(a.TokenLife),
	})
}

func noRows(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}
