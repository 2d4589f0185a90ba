package session

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/limit"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

// retryRule bounds how often a session may say that it lost an answer.
var retryRule = limit.Rule{Name: "refresh-retry", Burst: 10, Per: time.Hour}

// refreshRule bounds how often a session refreshes at all.
func (s *Service) refreshRule() limit.Rule {
	return limit.Rule{Name: "refresh-session", Burst: s.settings.RefreshPerMinute, Per: time.Minute}
}

// rotateTries bounds how often a request that lost a race looks again. Each
// loss means that another request won, so more than a few is an attack.
const rotateTries = 8

// Rotate spends a refresh token and returns its successor. Faults:
// session_expired, rate_limited, invalid_csrf_token.
func (s *Service) Rotate(ctx context.Context, presented string, csrf CSRF) (pair Pair, err error) {
	defer fault.Wrap(&err, "session.Rotate")
	t, ok := decodeRefresh(s.refresh, presented)
	if !ok {
		s.Metrics.Refresh("refused")
		return Pair{}, fault.New(fault.SessionExpired)
	}
	if s.settings.RefreshPerMinute > 0 {
		if d := s.limiter.Allow(ctx, s.refreshRule(), t.session.String()); !d.Allowed {
			s.Metrics.Refresh("limited")
			return Pair{}, fault.Retry(fault.RateLimited, d.RetryAfter)
		}
	}
	if pair, done, err := s.rotateLive(ctx, t, csrf); done || err != nil {
		return pair, err
	}
	var access string
	var signedFor int64 = -1
	for range rotateTries {
		sess, u, found, err := load(ctx, s.db.Read(), t.session)
		if err != nil {
			return Pair{}, err
		}
		now := s.clock.Now()
		if !found || !sess.RevokedAt.IsZero() || !sess.Expires.After(now) || !u.Active {
			return Pair{}, s.refuse(ctx, t, found && !sess.ownerless, sess)
		}
		if err := csrf.check(sess); err != nil {
			return Pair{}, err
		}
		what, next := decide(sess.rotation, t, now, s.settings.ReuseGrace)
		switch what {
		case theft:
			return Pair{}, s.endStolen(ctx, sess, t)
		case retry:
			if d := s.limiter.Allow(ctx, retryRule, sess.ID.String()); !d.Allowed {
				s.Metrics.Refresh("limited")
				return Pair{}, fault.Retry(fault.RateLimited, d.RetryAfter)
			}
		}
		if signedFor != u.Epoch { // signing is the dear part: once, unless the claims changed
			if access, err = s.access(sess, u); err != nil {
				return Pair{}, err
			}
			signedFor = u.Epoch
		}
		if what == echo {
			s.Metrics.Refresh(what.String())
			return s.pair(sess, access), nil
		}
		done, err := s.move(ctx, sess, u, what, next, now)
		if err != nil {
			return Pair{}, err
		}
		if done {
			sess.rotation = next
			s.Metrics.Refresh(what.String())
			return s.pair(sess, access), nil
		}
	}
	return Pair{}, fault.Retry(fault.ServiceUnavailable, time.Second)
}

// rotateLive spends the current refresh token of a live session, which most
// are, without looking first. Everything else is not done: it takes a look.
// SQLite has no round trips to save.
func (s *Service) rotateLive(ctx context.Context, t refreshToken, csrf CSRF) (pair Pair, done bool, err error) {
	if s.db.Engine() != db.Postgres || csrf.Cookie && csrf.Token == "" {
		return pair, false, nil
	}
	var sess Session
	var u user.User
	err = s.db.Write(ctx, func(tx *db.Tx) (err error) {
		now := s.clock.Now()
		sess, u, done, err = advanceLive(ctx, tx, t, hashOf(csrf.Token), now, s.settings.RefreshTTL)
		if err != nil || !done {
			return err
		}
		return audit.Record(ctx, tx, now, moved(sess, u, rotate)...)
	})
	if err != nil || !done {
		return pair, false, err
	}
	access, err := s.access(sess, u)
	if err != nil {
		return pair, false, err
	}
	s.Metrics.Refresh(rotate.String())
	return s.pair(sess, access), true, nil
}

func (s *Service) move(ctx context.Context, sess Session, u user.User, what verdict, next rotation, now time.Time) (done bool, err error) {
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if done, err = advance(ctx, tx, sess.ID, sess.rotation, next, s.slide(sess, now), now); err != nil || !done {
			return err
		}
		after := sess
		after.rotation = next
		return audit.Record(ctx, tx, now, moved(after, u, what)...)
	})
	return done, err
}

// moved is what is recorded of a session that has been refreshed.
func moved(sess Session, u user.User, what verdict) []audit.Event {
	refreshed := audit.Event{Type: audit.TokenRefreshed, Actor: u.ID, Metadata: map[string]any{"provider": sess.Provider, "session_id": sess.ID}}
	if what == retry {
		refreshed = audit.Event{Type: audit.TokenRefreshRetried, Actor: u.ID, Metadata: map[string]any{
			"session_id": sess.ID, "generation": sess.rotation.generation, "branch": sess.rotation.branch}}
	}
	return []audit.Event{refreshed,
		{Type: audit.TokenIssued, Actor: u.ID, Metadata: map[string]any{"provider": sess.Provider, "token_kind": "refresh"}}}
}

// refuse records that a token of a dead session was tried; of an account that is
// gone it is not said whose it was.
func (s *Service) refuse(ctx context.Context, t refreshToken, known bool, sess Session) error {
	event := audit.Event{Type: audit.TokenRefreshed, Failure: fault.SessionExpired.Slug}
	if known {
		event.Actor = sess.UserID
		event.Metadata = map[string]any{"provider": sess.Provider, "session_id": t.session}
	}
	now := s.clock.Now()
	if err := s.db.Write(ctx, func(tx *db.Tx) error { return audit.Record(ctx, tx, now, event) }); err != nil {
		return err
	}
	s.Metrics.Refresh("refused")
	return fault.New(fault.SessionExpired)
}

// endStolen ends a session whose refresh token has two holders.
func (s *Service) endStolen(ctx context.Context, sess Session, t refreshToken) error {
	now := s.clock.Now()
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		ended, err := end(ctx, tx, sess.ID, now, ReasonRefreshReuse)
		if err != nil || !ended {
			return err
		}
		if err := s.feed.Append(ctx, tx, now, s.entry(sess.ID, now)); err != nil {
			return err
		}
		return audit.Record(ctx, tx, now,
			audit.Event{Type: audit.SessionReuseDetected, Actor: sess.UserID, TargetType: "user", Target: sess.UserID,
				Failure: ReasonRefreshReuse, Metadata: map[string]any{"session_id": sess.ID, "generation": t.generation}},
			audit.Event{Type: audit.SessionRevoked, ActorType: "system", TargetType: "user", Target: sess.UserID,
				Metadata: map[string]any{"reason": ReasonRefreshReuse, "session_ids": []uuid.UUID{sess.ID}}})
	})
	if err != nil {
		return err
	}
	s.Metrics.Refresh(theft.String())
	s.log.WarnContext(ctx, "a used refresh token came back; the session was ended", "session", sess.ID, "user", sess.UserID)
	return fault.New(fault.SessionExpired)
}

func (s *Service) entry(id uuid.UUID, now time.Time) revocation.Entry {
	return revocation.Entry{Kind: revocation.Session, Subject: id.String(), Expires: now.Add(TokenMemory(s.tokens.Lifetime))}
}
