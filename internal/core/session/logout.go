package session

import (
	"context"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// Logout ends the session of a refresh token, which alone is enough. If an
// access token comes with it, expired or not, it must be of the same session.
// Signing out again is no error. Faults: invalid_token, invalid_csrf_token.
func (s *Service) Logout(ctx context.Context, access, refresh string, csrf CSRF) (err error) {
	defer fault.Wrap(&err, "session.Logout")
	t, ok := decodeRefresh(s.refresh, refresh)
	if !ok {
		return fault.New(fault.InvalidToken)
	}
	if access != "" {
		claims, err := s.tokens.Verify(ctx, access)
		if err != nil && !fault.Has(err, fault.TokenExpired) {
			return err
		}
		if claims.SessionID != t.session.String() {
			return fault.New(fault.InvalidToken)
		}
	}
	sess, _, found, err := load(ctx, s.db.Read(), t.session)
	if err != nil {
		return err
	}
	if !found {
		return fault.New(fault.InvalidToken)
	}
	if err := csrf.check(sess); err != nil {
		return err
	}
	now := s.clock.Now()
	return s.db.Write(ctx, func(tx *db.Tx) error {
		ended, err := end(ctx, tx, sess.ID, now, ReasonLogout)
		if err != nil || !ended {
			return err
		}
		if err := s.feed.Append(ctx, tx, now, s.entry(sess.ID, now)); err != nil {
			return err
		}
		return audit.Record(ctx, tx, now, audit.Event{
			Type: audit.UserLogout, Actor: sess.UserID, Metadata: map[string]any{"provider": sess.Provider, "session_id": sess.ID},
		}, audit.Event{
			Type: audit.SessionRevoked, Actor: sess.UserID, TargetType: "user", Target: sess.UserID,
			Metadata: map[string]any{"reason": ReasonLogout, "provider": sess.Provider, "session_id": sess.ID},
		})
	})
}
