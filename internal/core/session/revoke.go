package session

import (
	"context"
	"database/sql"
	"errors"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

// Reasons stored where the owner gives none.
const (
	ReasonSelfTargeted = "self_targeted"
	ReasonSelfOthers   = "self_revoke_others"
)

// RevokeOne ends another session of the caller. Faults:
// cannot_revoke_current_session, invalid_session, session_revoked.
func (s *Service) RevokeOne(ctx context.Context, by Identity, id uuid.UUID, reason string) (err error) {
	defer fault.Wrap(&err, "session.RevokeOne")
	if id == by.Session {
		return fault.New(fault.CannotRevokeCurrent)
	}
	now := s.clock.Now()
	return s.db.Write(ctx, func(tx *db.Tx) error {
		if err := ownedBy(ctx, tx, id, by.User); err != nil {
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
		return audit.Record(ctx, tx, now, audit.Event{
			Type: audit.SessionRevoked, Actor: by.User, TargetType: "user", Target: by.User,
			Metadata: map[string]any{"reason": reason, "session_id": id},
		})
	})
}

// ownedBy reports invalid_session unless the session is the user's. Sessions do
// not change hands.
func ownedBy(ctx context.Context, tx *db.Tx, id, userID uuid.UUID) error {
	var one int
	err := tx.QueryRowContext(ctx, `SELECT 1 FROM sessions WHERE id = $1 AND user_id = $2`, id, userID).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return fault.New(fault.InvalidSession)
	}
	return err
}

// RevokeOthers ends every session of the caller but the current one, and
// returns which. The user's epoch stays, and with it the current session's
// tokens: each ended session is named to the replicas.
func (s *Service) RevokeOthers(ctx context.Context, by Identity, reason string) (ended []uuid.UUID, err error) {
	defer fault.Wrap(&err, "session.RevokeOthers")
	now := s.clock.Now()
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if ended, err = EndAll(ctx, tx, now, by.User, by.Session, reason); err != nil {
			return err
		}
		entries := make([]revocation.Entry, len(ended))
		for i, id := range ended {
			entries[i] = s.entry(id, now)
		}
		if err := s.feed.Append(ctx, tx, now, entries...); err != nil {
			return err
		}
		return audit.Record(ctx, tx, now, audit.Event{
			Type: audit.SessionRevoked, Actor: by.User, TargetType: "user", Target: by.User,
			Metadata: map[string]any{"reason": reason, "session_ids": atMost(ended), "revoked_session_count": len(ended)},
		})
	})
	return ended, err
}
