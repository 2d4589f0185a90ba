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
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
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

// Create adds an account, unless a live one has the address: then created is
// false and nothing changes.
func Create(ctx context.Context, tx *db.Tx, now time.Time, u User) (created bool, err error) {
	done, err := tx.ExecContext(ctx, `
		INSERT INTO users (id, email, email_key, role, is_active, email_verified, email_otp_enabled, epoch, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (email_key) WHERE deleted_at IS NULL DO NOTHING`,
		u.ID, u.Email, u.Email, u.Role, u.Active, u.EmailVerified, u.EmailOTPEnabled, u.Epoch, now, now)
	if err != nil {
		return false, fmt.Errorf("user.Create: %w", err)
	}
	n, err := done.RowsAffected()
	return n == 1, err
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
	var epoch int64
	err = tx.QueryRowContext(ctx, `
		UPDATE users SET email_verified = TRUE, epoch = epoch + 1, updated_at = $1
		WHERE id = $2 AND NOT email_verified AND deleted_at IS NULL RETURNING epoch`, now, id).Scan(&epoch)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("user.SetVerified: %w", err)
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
