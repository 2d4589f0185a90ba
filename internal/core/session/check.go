package session

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/token"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

// live is what the cache knows of a session that was live when read.
type live struct {
	user    uuid.UUID
	epoch   int64
	expires time.Time
	csrf    string
	role    string
}

// Identity is who a good access token belongs to.
type Identity struct {
	User    uuid.UUID
	Session uuid.UUID
	Claims  *token.Claims
	Role    string // of the account, as SQL says: a change raises the epoch, which ends what is cached

	CSRFHash string // of the CSRF token that a cookie session is bound to
}

// Check tells whether an access token is good right now. Faults: invalid_token,
// token_expired, session_expired.
func (s *Service) Check(ctx context.Context, access string) (id Identity, err error) {
	defer fault.Wrap(&err, "session.Check")
	claims, err := s.tokens.Verify(ctx, access)
	if err != nil {
		return id, err
	}
	id.Claims = claims
	if id.User, err = uuid.Parse(claims.Subject); err != nil {
		return id, fault.New(fault.InvalidToken)
	}
	if id.Session, err = uuid.Parse(claims.SessionID); err != nil {
		return id, fault.New(fault.InvalidToken)
	}
	switch {
	case s.feed.Revoked(revocation.Session, claims.SessionID):
		s.Metrics.Check("revocations")
		return id, fault.New(fault.SessionExpired)
	case s.feed.Epoch(revocation.User, claims.Subject) > claims.Epoch:
		s.Metrics.Check("revocations")
		return id, s.outdated(ctx, id.Session)
	}
	state, err := s.state(ctx, id.Session, claims.Epoch)
	if err != nil {
		return id, err
	}
	switch {
	case state.user != id.User:
		return id, fault.New(fault.InvalidToken)
	case state.epoch > claims.Epoch:
		return id, fault.New(fault.TokenExpired) // its session lives
	}
	id.CSRFHash, id.Role = state.csrf, state.role
	s.see(id.Session)
	return id, nil
}

// outdated tells why a token of a lower epoch is refused: its session has ended,
// or what it says is no longer so and a refresh brings a better one.
func (s *Service) outdated(ctx context.Context, id uuid.UUID) error {
	sess, u, found, err := s.look(ctx, id, s.feed.Fresh())
	switch {
	case err != nil:
		return err
	case !found || !u.Active || !sess.RevokedAt.IsZero():
		return fault.New(fault.SessionExpired)
	}
	return fault.New(fault.TokenExpired)
}

// How long a look into SQL may take: less while the tail is out of date. Whoever
// asks then gets service_unavailable instead of waiting for a database that may
// be cut off.
const (
	lookLongest = 10 * time.Second
	lookWithin  = time.Second
)

func (s *Service) look(ctx context.Context, id uuid.UUID, fresh bool) (Session, user.User, bool, error) {
	within := lookLongest
	if !fresh { // SQL did not answer the tail either: better no answer soon than one late
		within = lookWithin
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return load(ctx, s.db.Read(), id)
}

// state returns a live session from the cache, or from SQL when the cache may
// not be asked, does not know it, or knows an older state than the token's.
func (s *Service) state(ctx context.Context, id uuid.UUID, epoch int64) (live, error) {
	fresh := s.feed.Fresh()
	now := s.clock.Now()
	if fresh {
		if state, ok := s.cache.GetIfPresent(id); ok && state.expires.After(now) && state.epoch >= epoch {
			s.Metrics.Check("cache")
			return state, nil
		}
	}
	s.Metrics.Check("sql")
	position := s.feed.Position()
	sess, u, found, err := s.look(ctx, id, fresh)
	if err != nil {
		return live{}, err
	}
	if !found || !sess.RevokedAt.IsZero() || !sess.Expires.After(now) || !u.Active {
		return live{}, fault.New(fault.SessionExpired)
	}
	state := live{sess.UserID, u.Epoch, sess.Expires, sess.CSRFHash, u.Role}
	if fresh && s.feed.Position() == position { // else it may be out of date already
		s.cache.Set(id, state)
	}
	return state, nil
}

// seenEvery is how precise last_seen_at is, seenMost how many sessions wait to
// be written before the rest is dropped: it is a courtesy, not a record.
const (
	seenEvery = 60 * time.Second
	seenFlush = 10 * time.Second
	seenMost  = 50_000
	seenBatch = 200
)

func (s *Service) see(id uuid.UUID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, waiting := s.seen[id]; !waiting && len(s.seen) < seenMost {
		s.seen[id] = s.clock.Now()
	}
}

// Run writes last_seen_at in batches until ctx ends, and once more then.
func (s *Service) Run(ctx context.Context) {
	t := time.NewTicker(seenFlush)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			s.Flush(last)
			return
		case <-t.C:
			s.Flush(ctx)
		}
	}
}

// Flush writes the last_seen_at that wait, in id order, so that replicas do not
// block each other, and in small transactions, so that nobody waits long.
func (s *Service) Flush(ctx context.Context) {
	s.mu.Lock()
	batch := s.seen
	s.seen = map[uuid.UUID]time.Time{}
	s.mu.Unlock()
	ids := slices.SortedFunc(maps.Keys(batch), func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	for part := range slices.Chunk(ids, seenBatch) {
		err := s.db.Write(ctx, func(tx *db.Tx) error {
			for _, id := range part {
				if err := touch(ctx, tx, id, batch[id].Add(-seenEvery), batch[id]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			if ctx.Err() == nil {
				s.log.Warn("last seen could not be written", "sessions", len(batch), "error", err)
			}
			return
		}
	}
}
