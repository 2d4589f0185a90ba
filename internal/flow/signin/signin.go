// Package signin turns a proof of identity into a session: one policy, whatever
// the method.
package signin

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/metric"
	"github.com/authsdk/authsdk/internal/method/password"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/limit"
)

// Service signs people in.
type Service struct {
	DB        *db.DB
	Clock     *clock.Clock
	Sessions  *session.Service
	Passwords *password.Service
	Limiter   *limit.Limiter
	Metrics   *metric.Metrics // may be nil

	Service         string   // this service's own audience, which every token has
	Audiences       []string // what else a login may ask for; empty means any
	RequireVerified bool
	PerMinute       int // tries at one account from one network; 0 sets no limit
}

// Login checks a password and begins a session. The answer and the work are the
// same for an unknown address and a wrong password. Faults: validation_error,
// audience_not_allowed, invalid_credentials, email_not_verified,
// service_unavailable.
func (s *Service) Login(ctx context.Context, email, pass, audience string) (pair session.Pair, err error) {
	defer fault.Wrap(&err, "signin.Login")
	if email, err = user.ParseEmail("email", email); err != nil {
		return pair, err
	}
	audiences, err := s.audiences(audience)
	if err != nil {
		return pair, err
	}
	if err := s.limit(ctx, email); err != nil {
		return pair, err
	}
	u, hash, found, err := password.Find(ctx, s.DB.Read(), email)
	if err != nil {
		return pair, err
	}
	if !u.Active {
		hash = ""
	}
	right, better, err := s.Passwords.Verify(ctx, "password", hash, pass)
	if err != nil {
		return pair, err
	}
	if !right {
		actor := uuid.Nil
		if found && u.Active {
			actor = u.ID
		}
		return pair, s.refuse(ctx, actor, fault.InvalidCredentials)
	}
	if s.RequireVerified && !u.EmailVerified {
		return pair, s.refuse(ctx, u.ID, fault.EmailNotVerified)
	}
	started, pair, err := s.Sessions.Begin(u, password.Provider, audiences)
	if err != nil {
		return pair, err
	}
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if better != "" {
			if err := password.Replace(ctx, tx, u.ID, hash, better); err != nil {
				return err
			}
		}
		if err := s.Sessions.Save(ctx, tx, started); err != nil {
			return err
		}
		provider := map[string]any{"provider": password.Provider}
		return audit.Record(ctx, tx, started.AuthTime,
			audit.Event{Type: audit.LoginSuccess, Actor: u.ID, Metadata: provider},
			audit.Event{Type: audit.SessionCreated, Actor: u.ID, TargetType: "session", Target: started.ID, Metadata: provider},
			audit.Event{Type: audit.TokenIssued, Actor: u.ID, Metadata: map[string]any{"provider": password.Provider, "token_kind": "login"}})
	})
	if err == nil {
		s.Metrics.Login(password.Provider, "success")
	}
	return pair, err
}

// limit bounds the tries at one account from one network, whether or not the
// account exists. A stranger elsewhere does not use up its owner's budget.
func (s *Service) limit(ctx context.Context, email string) error {
	if s.PerMinute == 0 {
		return nil
	}
	rule := limit.Rule{Name: "login-account", Burst: s.PerMinute, Per: time.Minute}
	d := s.Limiter.Allow(ctx, rule, email+" "+network(audit.OriginOf(ctx).IP))
	if !d.Allowed {
		s.Metrics.Login(password.Provider, fault.RateLimited.Slug)
		return fault.Retry(fault.RateLimited, d.RetryAfter)
	}
	return nil
}

// network is the IPv4 /24 or IPv6 /48 that an address is in.
func network(ip string) string {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	bits := 24
	if a.Is6() {
		bits = 48
	}
	prefix, _ := a.Prefix(bits) // bits fit the kind of address
	return prefix.String()
}

func (s *Service) refuse(ctx context.Context, actor uuid.UUID, code fault.Code) error {
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		return audit.Record(ctx, tx, s.Clock.Now(), audit.Event{
			Type: audit.LoginFailure, Actor: actor, Failure: code.Slug, Metadata: map[string]any{"provider": password.Provider},
		})
	})
	if err != nil {
		return err
	}
	s.Metrics.Login(password.Provider, code.Slug)
	return fault.New(code)
}

// audiences checks what a login asks for: one name of 1 to 255 visible ASCII
// characters, or nothing.
func (s *Service) audiences(asked string) ([]string, error) {
	asked = strings.TrimSpace(asked)
	if asked == "" || asked == s.Service {
		return []string{}, nil
	}
	if len(asked) > 255 || strings.ContainsFunc(asked, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fault.Invalid("audience", "must be a name of at most 255 visible ASCII characters")
	}
	if len(s.Audiences) > 0 && !slices.Contains(s.Audiences, asked) {
		return nil, fault.New(fault.AudienceNotAllowed)
	}
	return []string{asked}, nil
}
