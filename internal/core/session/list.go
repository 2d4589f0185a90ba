package session

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/cursor"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// Status is which sessions a list shows.
type Status string

// The statuses. A session that ran out is as good as revoked.
const (
	Active  Status = "active"
	Revoked Status = "revoked"
	All     Status = "all"
)

// Listed is a session as its owner sees it.
type Listed struct {
	ID         uuid.UUID
	Created    time.Time
	LastSeen   time.Time
	Expires    time.Time
	RevokedAt  time.Time // zero: not revoked
	Reason     string    // why it was revoked, if anybody said
	IP         string    // of the sign-in, empty if unknown
	UserAgent  string    // of the sign-in
	Flagged    bool      // the sign-in stood out
	Suspicious []string  // why
}

// The lists begin at an index on (user_id, created_at, id) and stop at their
// limit, however many sessions there are.
const (
	listAll = `
		SELECT id, created_at, last_seen_at, expires_at, revoked_at, revoke_reason, ip_address, user_agent, is_suspicious, suspicious_reasons
		FROM sessions WHERE user_id = $1 AND (created_at, id) < ($2, $3)`
	listActive  = listAll + ` AND revoked_at IS NULL AND expires_at > $5`
	listRevoked = listAll + ` AND (revoked_at IS NOT NULL OR expires_at <= $5)`

	newestFirst = ` ORDER BY created_at DESC, id DESC LIMIT $4`
)

// List returns a user's sessions, the newest first; after is the cursor of the
// page before. Fault: invalid_cursor.
func (s *Service) List(ctx context.Context, userID uuid.UUID, status Status, after string, limit int) (page cursor.Page[Listed], err error) {
	defer fault.Wrap(&err, "session.List")
	query := []string{"sessions", userID.String(), string(status)}
	from, err := cursor.Decode(after, query...)
	if err != nil {
		return page, err
	}
	text := listAll + newestFirst
	args := []any{userID, from.At, from.ID, limit + 1}
	switch status {
	case Active:
		text, args = listActive+newestFirst, append(args, s.clock.Now())
	case Revoked:
		text, args = listRevoked+newestFirst, append(args, s.clock.Now())
	}
	rows, err := s.db.Read().QueryContext(ctx, text, args...)
	if err != nil {
		return page, err
	}
	defer rows.Close()
	list := []Listed{}
	for rows.Next() {
		l, err := scanListed(rows)
		if err != nil {
			return page, err
		}
		list = append(list, l)
	}
	place := func(l Listed) cursor.Place { return cursor.Place{At: l.Created, ID: l.ID} }
	return cursor.Cut(list, limit, place, query...), rows.Err()
}

// scanListed reads the columns of a session, and more after them.
func scanListed(rows *sql.Rows, more ...any) (l Listed, err error) {
	var revoked sql.NullTime
	var reason, ip, userAgent sql.NullString
	var suspicious string
	err = rows.Scan(append([]any{&l.ID, &l.Created, &l.LastSeen, &l.Expires, &revoked, &reason, &ip, &userAgent, &l.Flagged, &suspicious}, more...)...)
	if err != nil {
		return l, err
	}
	l.Created, l.LastSeen, l.Expires, l.RevokedAt = l.Created.UTC(), l.LastSeen.UTC(), l.Expires.UTC(), utc(revoked)
	l.Reason, l.IP, l.UserAgent = reason.String, ip.String, userAgent.String
	if err := json.Unmarshal([]byte(suspicious), &l.Suspicious); err != nil {
		return l, fmt.Errorf("suspicious reasons of %s: %w", l.ID, err)
	}
	return l, nil
}
