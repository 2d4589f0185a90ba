package session

import (
	"context"
	"database/sql"
	"strings"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/cursor"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// ListOf is List for an admin. Faults: invalid_user, invalid_cursor.
func (s *Service) ListOf(ctx context.Context, userID uuid.UUID, status Status, after string, limit int) (page cursor.Page[Listed], err error) {
	defer fault.Wrap(&err, "session.ListOf")
	if err := s.isUser(ctx, userID); err != nil {
		return page, err
	}
	return s.List(ctx, userID, status, after, limit)
}

func (s *Service) isUser(ctx context.Context, id uuid.UUID) error {
	_, found, err := user.ByID(ctx, s.db.Read(), id)
	if err == nil && !found {
		return fault.New(fault.InvalidUser)
	}
	return err
}

// One returns a session of a user, ended or not. Faults: invalid_user,
// invalid_session.
func (s *Service) One(ctx context.Context, userID, id uuid.UUID) (l Listed, err error) {
	defer fault.Wrap(&err, "session.One")
	if err := s.isUser(ctx, userID); err != nil {
		return l, err
	}
	rows, err := s.db.Read().QueryContext(ctx, `
		SELECT id, created_at, last_seen_at, expires_at, revoked_at, revoke_reason, ip_address, user_agent, is_suspicious, suspicious_reasons
		FROM sessions WHERE id = $1 AND user_id = $2`, id, userID)
	if err != nil {
		return l, err
	}
	list, err := readListed(rows)
	if err == nil && len(list) == 0 {
		return l, fault.New(fault.InvalidSession)
	}
	if err != nil {
		return l, err
	}
	return list[0], nil
}

func readListed(rows *sql.Rows) (list []Listed, err error) {
	defer rows.Close()
	for rows.Next() {
		l, err := scanListed(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, l)
	}
	return list, rows.Err()
}

// CountActive is how many sessions of a user are live.
func (s *Service) CountActive(ctx context.Context, userID uuid.UUID) (n int, err error) {
	err = s.db.Read().QueryRowContext(ctx, `SELECT COUNT(*) FROM sessions WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2`,
		userID, s.clock.Now()).Scan(&n)
	return n, err
}

// Suspect is a live session whose sign-in stood out, with its owner.
type Suspect struct {
	Listed
	UserID      uuid.UUID
	Email, Role string
}

// Filter is whose sessions are shown; empty: anybody's.
type Filter struct{ Email, Role string }

// The list begins at an index that holds suspicious sessions only.
const suspicious = `
	SELECT s.id, s.created_at, s.last_seen_at, s.expires_at, s.revoked_at, s.revoke_reason, s.ip_address, s.user_agent, s.is_suspicious, s.suspicious_reasons,
		u.id, u.email, u.role
	FROM sessions s JOIN users u ON u.id = s.user_id
	WHERE s.is_suspicious AND s.revoked_at IS NULL AND (s.created_at, s.id) < ($1, $2) AND s.expires_at > $3
		AND u.deleted_at IS NULL AND ($4 = '' OR u.role = $4) AND u.email_key LIKE $5 ESCAPE '!'
	ORDER BY s.created_at DESC, s.id DESC LIMIT $6`

// Suspicious returns the live sessions that stand out, the newest first. Fault:
// invalid_cursor.
func (s *Service) Suspicious(ctx context.Context, f Filter, after string, limit int) (page cursor.Page[Suspect], err error) {
	defer fault.Wrap(&err, "session.Suspicious")
	f.Email, f.Role = user.Fold(f.Email), strings.TrimSpace(f.Role)
	query := []string{"suspicious", f.Email, f.Role}
	from, err := cursor.Decode(after, query...)
	if err != nil {
		return page, err
	}
	rows, err := s.db.Read().QueryContext(ctx, suspicious, from.At, from.ID, s.clock.Now(), f.Role, "%"+user.Escape(f.Email)+"%", limit+1)
	if err != nil {
		return page, err
	}
	defer rows.Close()
	var list []Suspect
	for rows.Next() {
		var found Suspect
		if found.Listed, err = scanListed(rows, &found.UserID, &found.Email, &found.Role); err != nil {
			return page, err
		}
		list = append(list, found)
	}
	place := func(f Suspect) cursor.Place { return cursor.Place{At: f.Created, ID: f.ID} }
	return cursor.Cut(list, limit, place, query...), rows.Err()
}
