// Package session owns sessions: begin, refresh, check, end.
//
// SQL is the truth. A check verifies the token, asks the in-memory set of
// revocations, and then an in-process cache; when the set is over a second old
// the cache is passed by.
package session

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/maypok86/otter/v2"

	"github.com/authsdk/authsdk/internal/core/token"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/metric"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/limit"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

// Reasons a session ended, stored and reported.
const (
	ReasonLogout       = "logout"
	ReasonRefreshReuse = "refresh_reuse"

	ReasonPasswordReplaced = "password_replaced"
	ReasonPasswordReset    = "password_reset"
	ReasonPasswordChange   = "password_change"
	ReasonEmailUndone      = "email_change_undone"
	ReasonErased           = "erased"
)

// Settings of sessions.
type Settings struct {
	RefreshTTL  time.Duration // a session unused for this long has ended
	AbsoluteTTL time.Duration // however used, it ends after this; 0 means never
	ReuseGrace  time.Duration // in which a used refresh token echoes

	RefreshPerMinute int // refreshes of one session; 0 sets no limit
}

// Service is what the rest of the program calls.
type Service struct {
	Metrics *metric.Metrics // may be nil

	db       *db.DB
	clock    *clock.Clock
	log      *slog.Logger
	feed     *revocation.Feed
	tokens   *token.Issuer
	refresh  *secret.Ring
	limiter  *limit.Limiter
	settings Settings
	cache    *otter.Cache[uuid.UUID, live]

	mu   sync.Mutex
	seen map[uuid.UUID]time.Time // last seen, to be flushed
}

// cacheFor is far below the time that a revocation stays in the set, so a
// cached session never outlives the entry that ends it.
const (
	cacheFor  = time.Minute
	cacheSize = 100_000
)

// New makes the service.
func New(d *db.DB, c *clock.Clock, log *slog.Logger, feed *revocation.Feed, tokens *token.Issuer, refresh *secret.Ring, limiter *limit.Limiter, s Settings) *Service {
	return &Service{
		db: d, clock: c, log: log, feed: feed, tokens: tokens, refresh: refresh, limiter: limiter, settings: s,
		seen: map[uuid.UUID]time.Time{},
		cache: otter.Must(&otter.Options[uuid.UUID, live]{
			MaximumSize:      cacheSize,
			ExpiryCalculator: otter.ExpiryWriting[uuid.UUID, live](cacheFor),
		}),
	}
}

// Pair is what a client receives.
type Pair struct {
	Access    string
	Refresh   string
	ExpiresIn time.Duration // of the access token
}

// Session is one sign-in of one user.
type Session struct {
	ID        uuid.UUID
	UserID    uuid.UUID
	Provider  string
	Audiences []string // asked for beyond this service's own
	AuthTime  time.Time
	Expires   time.Time
	Absolute  time.Time // zero: never
	RevokedAt time.Time // zero: not revoked

	CSRFHash   string   // of the CSRF token that a cookie session is bound to, else empty
	Suspicious []string // why the sign-in stands out; empty if it does not

	rotation  rotation
	ownerless bool // the account is deleted
}

// Start is what a way in knows of a session that it begins.
type Start struct {
	Provider   string
	Audiences  []string
	CSRF       string // the CSRF token that came with it; empty for bearer tokens
	Suspicious []string
}

// Begin makes a session and its first tokens in memory, so that signing stays
// outside the transaction that Save is part of.
func (s *Service) Begin(u user.User, from Start) (Session, Pair, error) {
	now := s.clock.Now()
	started := Session{
		ID: uuid.Must(uuid.NewV7()), UserID: u.ID, Provider: from.Provider, Audiences: from.Audiences,
		CSRFHash: hashOf(from.CSRF), Suspicious: from.Suspicious,
		AuthTime: now, rotation: rotation{at: now},
	}
	if s.settings.AbsoluteTTL > 0 {
		started.Absolute = now.Add(s.settings.AbsoluteTTL)
	}
	started.Expires = s.slide(started, now)
	access, err := s.access(started, u)
	return started, s.pair(started, access), err
}

// Save stores what Begin made, unless the account has changed since u was read
// or is gone: then it reports false, and the caller decides anew. The lock on
// the account keeps an erasure or a reset that runs beside it from missing the
// new session.
func (s *Service) Save(ctx context.Context, tx *db.Tx, started Session, u user.User) (saved bool, err error) {
	same, err := user.Hold(ctx, tx, u)
	if err != nil || !same {
		return false, err
	}
	return true, insert(ctx, tx, started, audit.OriginOf(ctx))
}

// Renew signs another access token for a session whose user was just proved
// again.
func (s *Service) Renew(sess Session, u user.User) (access string, err error) {
	return s.access(sess, u)
}

// Lifetime of an access token.
func (s *Service) Lifetime() time.Duration { return s.tokens.Lifetime }

// RefreshTTL is how long a session lives unused.
func (s *Service) RefreshTTL() time.Duration { return s.settings.RefreshTTL }

// slide is when a session used now ends.
func (s *Service) slide(sess Session, now time.Time) time.Time {
	end := now.Add(s.settings.RefreshTTL)
	if !sess.Absolute.IsZero() && sess.Absolute.Before(end) {
		return sess.Absolute
	}
	return end
}

func (s *Service) access(sess Session, u user.User) (string, error) {
	return s.tokens.Access(token.Claims{
		Subject: u.ID.String(), Audience: sess.Audiences, SessionID: sess.ID.String(), Epoch: u.Epoch,
		Role: u.Role, Email: u.Email, EmailVerified: u.EmailVerified, EmailOTPEnabled: u.EmailOTPEnabled,
		AuthTime: sess.AuthTime.Unix(),
	})
}

func (s *Service) pair(sess Session, access string) Pair {
	return Pair{
		Access:    access,
		Refresh:   encodeRefresh(s.refresh, refreshToken{sess.ID, sess.rotation.generation, sess.rotation.branch}),
		ExpiresIn: s.tokens.Lifetime,
	}
}

// TokenMemory is how long a revocation is remembered: until no access token
// that it forbids can be valid.
func TokenMemory(accessTTL time.Duration) time.Duration {
	return accessTTL + token.Leeway + time.Minute
}
