package session

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

// Reasons stored where an admin gives none.
const (
	ReasonAdminTargeted = "admin_targeted"
	ReasonAdminAll      = "admin_revoke_all"
	ReasonAdminFiltered = "admin_filtered_revoke"

	ReasonAdminDelete = "admin_delete"
	ReasonDeactivated = "deactivated"
)

// End ends a session of a user. Faults: invalid_user, invalid_session,
// session_revoked.
func (s *Service) End(ctx context.Context, by audit.By, userID, id uuid.UUID, reason string) (err error) {
	defer fault.Wrap(&err, "session.End")
	return s.db.Write(ctx, func(tx *db.Tx) error {
		now := s.clock.Now()
		if err := admit(ctx, tx, now, by, userID); err != nil {
			return err
		}
		if err := ownedBy(ctx, tx, id, userID); err != nil {
			return err
		}
		ended, err := end(ctx, tx, id, now, reason)
		if err != nil {
			return err
		}
		if !ended {
			return fault.New(fault.SessionRevoked)
		}
		if err := s.feed.Append(ctx, tx, now, s.entry(id, now)); err != nil {
			return err
		}
		return audit.Record(ctx, tx, now, about(by, userID, map[string]any{"reason": reason, "session_id": id}))
	})
}

// admit lets an admin act on the sessions of a live account, which waits until
// the transaction ends.
func admit(ctx context.Context, tx *db.Tx, now time.Time, by audit.By, userID uuid.UUID) error {
	if err := by.Admit(ctx, tx, now); err != nil {
		return err
	}
	_, found, err := user.Lock(ctx, tx, userID)
	if err == nil && !found {
		return fault.New(fault.InvalidUser)
	}
	return err
}

// Ended is the event that says that sessions of a user were ended.
func Ended(by audit.By, userID uuid.UUID, reason string, ended []uuid.UUID) audit.Event {
	return about(by, userID, map[string]any{"reason": reason, "session_ids": atMost(ended), "revoked_session_count": len(ended)})
}

func about(by audit.By, userID uuid.UUID, metadata map[string]any) audit.Event {
	e := by.Event(audit.SessionRevoked)
	e.TargetType, e.Target, e.Metadata = "user", userID, metadata
	return e
}

// idsMost bounds the ids that one event names.
const idsMost = 1000

func atMost(ids []uuid.UUID) []uuid.UUID { return ids[:min(len(ids), idsMost)] }

// EndAllOf ends every session of a user and returns which. Fault: invalid_user.
func (s *Service) EndAllOf(ctx context.Context, by audit.By, userID uuid.UUID, reason string) (ended []uuid.UUID, err error) {
	defer fault.Wrap(&err, "session.EndAllOf")
	accounts := &user.Accounts{Feed: s.feed, TokenLife: TokenMemory(s.tokens.Lifetime)}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		now := s.clock.Now()
		if err := admit(ctx, tx, now, by, userID); err != nil {
			return err
		}
		if ended, err = EndAll(ctx, tx, now, userID, uuid.Nil, reason); err != nil {
			return err
		}
		if err := accounts.EndTokens(ctx, tx, now, userID); err != nil {
			return err
		}
		return audit.Record(ctx, tx, now, Ended(by, userID, reason, ended))
	})
	return ended, err
}

// Match is which live sessions of a user are meant: those that fit in every
// way that is given. The ends of a time belong to it.
type Match struct {
	Suspicious                    *bool
	CreatedAfter, CreatedBefore   time.Time // zero: any
	LastSeenAfter, LastSeenBefore time.Time
	IP                            string // canonical; empty: any
	UserAgent                     string // a part, in any case; empty: any
}

func (m Match) fits(l Listed) bool {
	within := func(t, after, before time.Time) bool {
		return (after.IsZero() || !t.Before(after)) && (before.IsZero() || !t.After(before))
	}
	return (m.Suspicious == nil || l.Flagged == *m.Suspicious) &&
		within(l.Created, m.CreatedAfter, m.CreatedBefore) && within(l.LastSeen, m.LastSeenAfter, m.LastSeenBefore) &&
		(m.IP == "" || l.IP == m.IP) && strings.Contains(strings.ToLower(l.UserAgent), strings.ToLower(m.UserAgent))
}

// given is what the audit log keeps of it. Of addresses and browsers it keeps
// that they were given: they are the person's, and metadata outlives an erasure.
func (m Match) given() map[string]any {
	given := map[string]any{}
	if m.Suspicious != nil {
		given["is_suspicious"] = *m.Suspicious
	}
	for name, t := range map[string]time.Time{
		"created_after": m.CreatedAfter, "created_before": m.CreatedBefore,
		"last_seen_after": m.LastSeenAfter, "last_seen_before": m.LastSeenBefore,
	} {
		if !t.IsZero() {
			given[name] = t.UTC().Format(time.RFC3339Nano)
		}
	}
	if m.IP != "" {
		given["ip_address"] = true
	}
	if m.UserAgent != "" {
		given["user_agent_contains"] = true
	}
	return given
}

// EndMatching ends those live sessions of a user that match, and returns which.
// A dry run only tells which it would end, and leaves the confirmation unspent.
// Fault: invalid_user.
func (s *Service) EndMatching(ctx context.Context, by audit.By, userID uuid.UUID, m Match, dry bool, reason string) (matched []uuid.UUID, err error) {
	defer fault.Wrap(&err, "session.EndMatching")
	if dry {
		if err := s.isUser(ctx, userID); err != nil {
			return nil, err
		}
		return matching(ctx, s.db.Read(), s.clock.Now(), userID, m)
	}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		now := s.clock.Now()
		if err := admit(ctx, tx, now, by, userID); err != nil {
			return err
		}
		found, err := matching(ctx, tx, now, userID, m)
		if err != nil {
			return err
		}
		matched = []uuid.UUID{}
		var entries []revocation.Entry
		for _, id := range found {
			ended, err := end(ctx, tx, id, now, reason)
			if err != nil {
				return err
			}
			if ended { // else its owner was faster
				matched, entries = append(matched, id), append(entries, s.entry(id, now))
			}
		}
		if err := s.feed.Append(ctx, tx, now, entries...); err != nil {
			return err
		}
		return audit.Record(ctx, tx, now, about(by, userID, map[string]any{
			"reason": reason, "filter": m.given(), "matched_session_count": len(matched),
			"session_ids": atMost(matched), "revoked_session_count": len(matched),
		}))
	})
	return matched, err
}

// matching lists the live sessions that match, the newest first.
func matching(ctx context.Context, c db.Conn, now time.Time, userID uuid.UUID, m Match) (ids []uuid.UUID, err error) {
	rows, err := c.QueryContext(ctx, `
		SELECT id, created_at, last_seen_at, expires_at, revoked_at, revoke_reason, ip_address, user_agent, is_suspicious, suspicious_reasons
		FROM sessions WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 ORDER BY created_at DESC, id DESC`, userID, now)
	if err != nil {
		return nil, fmt.Errorf("live sessions: %w", err)
	}
	list, err := readListed(rows)
	ids = []uuid.UUID{}
	for _, l := range list {
		if m.fits(l) {
			ids = append(ids, l.ID)
		}
	}
	return ids, err
}
