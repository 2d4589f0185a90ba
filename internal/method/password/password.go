// Package password is the proof by something one knows: the rules for
// passwords, and where their hashes are.
package password

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

// Provider is the name of this method in sessions and events.
const Provider = "password"

// Service hashes and verifies.
type Service struct {
	Hasher *secret.Hasher
	Policy Policy
	Known  *DenyList // passwords that nobody may choose; nil refuses none
}

// New checks a password that somebody chooses and returns its hash. Faults:
// validation_error on the field, service_unavailable when too many hash.
func (s *Service) New(ctx context.Context, field, password string) (hash string, err error) {
	policy := s.policy()
	normal, err := normalise(field, password, policy.MinLength, policy.MaxLength)
	if err != nil {
		return "", err
	}
	if missing := policy.missing(normal); missing != "" {
		return "", fault.Invalid(field, "must contain "+missing)
	}
	if s.Known.has(normal) {
		return "", fault.Invalid(field, "is on a list of known passwords: choose another")
	}
	return s.Hasher.Hash(ctx, normal)
}

// Reserve takes a turn at the hasher for VerifyIn, or refuses with
// service_unavailable. known says that the account is used from where the
// request comes: such requests are served first.
func (s *Service) Reserve(known bool) (*secret.Turn, error) { return s.Hasher.Reserve(known) }

// Verify is Reserve and VerifyIn.
func (s *Service) Verify(ctx context.Context, field, hash, password string, known bool) (ok bool, better string, err error) {
	turn, err := s.Reserve(known)
	if err != nil {
		return false, "", err
	}
	return s.VerifyIn(ctx, turn, field, hash, password)
}

// VerifyIn reports whether the password is the one behind hash, and ends the
// turn. An empty hash costs the same and never matches. better is a new hash to
// store when the password is right and its hash was made at another cost, or by
// bcrypt, and there is room to make one.
func (s *Service) VerifyIn(ctx context.Context, turn *secret.Turn, field, hash, password string) (ok bool, better string, err error) {
	defer turn.Leave()
	normal, err := normalise(field, password, min(loginMin, s.policy().MinLength), loginMax)
	if err != nil {
		return false, "", err
	}
	candidate := normal
	if secret.IsBcrypt(hash) {
		candidate = password // whoever made the hash did not normalise
	}
	ok, err = turn.Verify(ctx, hash, candidate)
	if err != nil || !ok || !s.Hasher.Outdated(hash) {
		return ok, "", err
	}
	if secret.IsBcrypt(hash) && len(password) > secret.BcryptMost {
		return true, "", nil // a slip in the part that bcrypt never read must not become the password
	}
	better, err = s.Hasher.Hash(ctx, normal)
	if fault.Has(err, fault.ServiceUnavailable) {
		return true, "", nil // another time
	}
	return true, better, err
}

// Find returns the live account with this address and its password hash, empty
// if it has none. One query, whether or not the account exists.
func Find(ctx context.Context, c db.Conn, email string) (u user.User, hash string, found bool, err error) {
	err = c.QueryRowContext(ctx, `SELECT `+user.Columns+`, COALESCE(p.hash, '')
		FROM users u LEFT JOIN passwords p ON p.user_id = u.id
		WHERE u.email_key = $1 AND u.deleted_at IS NULL`, email).Scan(append(u.Targets(), &hash)...)
	if errors.Is(err, sql.ErrNoRows) {
		return u, "", false, nil
	}
	if err != nil {
		return u, "", false, fmt.Errorf("password.Find: %w", err)
	}
	return u, hash, true, nil
}

// HashOf returns the password hash of an account, empty if it has none.
func HashOf(ctx context.Context, c db.Conn, userID uuid.UUID) (hash string, err error) {
	err = c.QueryRowContext(ctx, `SELECT hash FROM passwords WHERE user_id = $1`, userID).Scan(&hash)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return hash, err
}

// Save sets the password of an account.
func Save(ctx context.Context, tx *db.Tx, now time.Time, userID uuid.UUID, hash string) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO passwords (user_id, hash, changed_at) VALUES ($1, $2, $3)
		ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, changed_at = excluded.changed_at`, userID, hash, now)
	if err != nil {
		return fmt.Errorf("password.Save: %w", err)
	}
	return nil
}

// Replace stores a better hash of the same password, unless the password has
// changed meanwhile.
func Replace(ctx context.Context, tx *db.Tx, userID uuid.UUID, old, better string) error {
	_, err := tx.ExecContext(ctx, `UPDATE passwords SET hash = $1 WHERE user_id = $2 AND hash = $3`, better, userID, old)
	return err
}

// Forget deletes the password of an account.
func Forget(ctx context.Context, tx *db.Tx, userID uuid.UUID) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM passwords WHERE user_id = $1`, userID); err != nil {
		return fmt.Errorf("password.Forget: %w", err)
	}
	return nil
}
