package signin

import (
	"context"

	"github.com/authsdk/authsdk/internal/core/risk"
	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// finish begins the session of a proved identity. errChanged means that the
// account is no longer what u says.
func (s *Service) finish(ctx context.Context, u user.User, place risk.Place, a risk.Attempt, from session.Start) (session.Pair, error) {
	suspicion := place.Suspicion(a.Failures())
	from.Suspicious = suspicion.Reasons()
	started, pair, err := s.Sessions.Begin(u, from)
	if err != nil {
		return pair, err
	}
	err = s.DB.Write(ctx, func(tx *db.Tx) error { return s.save(ctx, tx, u, place, a, started, suspicion) })
	if err != nil {
		return session.Pair{}, err
	}
	s.Metrics.Login(from.Provider, "success")
	return pair, nil
}

// save is the part of finish inside the transaction.
func (s *Service) save(ctx context.Context, tx *db.Tx, u user.User, place risk.Place, a risk.Attempt, started session.Session, why risk.Suspicion) error {
	saved, err := s.Sessions.Save(ctx, tx, started, u)
	if err != nil {
		return err
	}
	if !saved {
		return errChanged
	}
	if err := s.Risk.Clear(ctx, tx, a); err != nil {
		return err
	}
	if err := s.Risk.Remember(ctx, tx, started.AuthTime, u.ID, place); err != nil {
		return err
	}
	provider := map[string]any{"provider": started.Provider}
	events := []audit.Event{{Type: audit.LoginSuccess, Actor: u.ID, Metadata: provider}}
	if len(started.Suspicious) > 0 {
		events = append(events, audit.Event{Type: audit.LoginSuspicious, Actor: u.ID, Metadata: map[string]any{
			"provider": started.Provider, "new_ip": why.NewIP, "new_user_agent": why.NewUserAgent, "prior_failures": why.PriorFailures}})
	}
	return audit.Record(ctx, tx, s.Clock.Now(), append(events,
		audit.Event{Type: audit.SessionCreated, Actor: u.ID, TargetType: "session", Target: started.ID, Metadata: provider},
		audit.Event{Type: audit.TokenIssued, Actor: u.ID, Metadata: map[string]any{"provider": started.Provider, "token_kind": "login"}})...)
}
