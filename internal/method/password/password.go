// Package password is the proof by something one knows: the rules for
// passwords, and where their hashes are.
package password

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"golang.org/x/text/unicode/norm"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

// Provider is the name of this method in sessions and events.
const Provider = "password"

// Lengths in characters. A login accepts up to loginMax, so that a long wrong
// password is wrong rather than malformed.
const (
	minLength = 8
	maxLength = 128
	loginMax  = 256
)

// Service hashes and verifies.
type Service struct {
	Hasher *secret.Hasher
}

// New checks a password that somebody chooses and returns its hash. Faults:
// validation_error on the field, service_unavailable when too many hash.
func (s *Service) New(ctx context.Context, field, password string) (hash string, err error) {
	normal, err := normalise(field, password, maxLength)
	if err != nil {
		return "", err
	}
	if missing := missing(normal); missing != "" {
		return "", fault.Invalid(field, "must contain "+missing)
	}
	return s.Hasher.Hash(ctx, normal)
}

// Verify reports whether the password is the one behind hash. An empty hash
// costs the same and never matches. better is a new hash to store when the
// password is right and its hash was made at another cost.
func (s *Service) Verify(ctx context.Context, field, hash, password string) (ok bool, better string, err error) {
	normal, err := normalise(field, password, loginMax)
	if err != nil {
		return false, "", err
	}
	ok, err = s.Hasher.Verify(ctx, hash, normal)
	if err != nil || !ok || !s.Hasher.Outdated(hash) {
		return ok, "", err
	}
	better, err = s.Hasher.Hash(ctx, normal)
	return true, better, err
}

// normalise brings a password into Unicode NFC, so that two keyboards that
// write é differently agree, and checks its length and characters.
func normalise(field, password string, most int) (string, error) {
	if !utf8.ValidString(password) || strings.ContainsRune(password, 0) {
		return "", fault.Invalid(field, "must be text")
	}
	if len(password) > 4*loginMax {
		return "", fault.Invalid(field, fmt.Sprintf("must be at most %d characters long", most))
	}
	normal := norm.NFC.String(password)
	switch n := utf8.RuneCountInString(normal); {
	case n < minLength:
		return "", fault.Invalid(field, fmt.Sprintf("must be at least %d characters long", minLength))
	case n > most:
		return "", fault.Invalid(field, fmt.Sprintf("must be at most %d characters long", most))
	}
	return normal, nil
}

// missing names what a chosen password lacks: an upper-case letter, a digit or
// one of the 32 ASCII punctuation characters.
func missing(password string) string {
	var lacks []string
	if !strings.ContainsFunc(password, unicode.IsUpper) {
		lacks = append(lacks, "an uppercase letter")
	}
	if !strings.ContainsFunc(password, unicode.IsDigit) {
		lacks = append(lacks, "a number")
	}
	if !strings.ContainsAny(password, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") {
		lacks = append(lacks, "a special character")
	}
	return strings.Join(lacks, " and ")
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
