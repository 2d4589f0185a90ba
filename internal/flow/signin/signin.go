// Package signin turns a proof of identity into a session: one policy, whatever
// the method.
//
//	signin.go  the password, and what a right one leads to
//	code.go    the second step: a mailed code
//	reauth.go  proving the password again
//	finish.go  what every way in ends with
package signin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/risk"
	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/core/token"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/metric"
	"github.com/authsdk/authsdk/internal/method/otp"
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
	Codes     *otp.Service
	Tokens    *token.Issuer
	Risk      *risk.Service
	Limiter   *limit.Limiter
	Metrics   *metric.Metrics // may be nil

	Service         string   // this service's own audience, which every token has
	Audiences       []string // what else a login may ask for; empty means any
	RequireVerified bool
	PerMinute       int // tries at one account from one network; 0 sets no limit
}

// Input is what a login brings.
type Input struct {
	Email, Password string
	Audience        string // asked for; may be empty
	CSRF            string // for a session in cookies, else empty
}

// Outcome is a session, or the challenge of a second step.
type Outcome struct {
	Pair      session.Pair
	Challenge *Challenge
}

// Challenge says that a code was mailed, which VerifyCode takes with Token.
type Challenge struct {
	Token       string
	MaskedEmail string
}

// tries bounds how often an act is decided anew because the account changed
// beside it.
const tries = 3

// errChanged ends a transaction whose account is no longer what was read.
var errChanged = errors.New("the account changed")

// Login checks a password and begins a session, or asks for a mailed code. The
// answer and the work are the same for an unknown address and a wrong password.
// Faults: validation_error, audience_not_allowed, invalid_credentials,
// account_locked, email_not_verified, otp_issuance_blocked, service_unavailable.
func (s *Service) Login(ctx context.Context, in Input) (out Outcome, err error) {
	defer fault.Wrap(&err, "signin.Login")
	if in.Email, err = user.ParseEmail("email", in.Email); err != nil {
		return out, err
	}
	audiences, err := s.audiences(in.Audience)
	if err != nil {
		return out, err
	}
	if err := s.limit(ctx, in.Email); err != nil {
		return out, err
	}
	if err := s.Passwords.Hasher.Busy(); err != nil { // a flood is turned away before it costs a look
		return out, err
	}
	for range tries {
		if out, err = s.login(ctx, in, audiences); !errors.Is(err, errChanged) {
			return out, err
		}
	}
	return out, fault.Retry(fault.ServiceUnavailable, time.Second)
}

func (s *Service) login(ctx context.Context, in Input, audiences []string) (out Outcome, err error) {
	u, hash, found, err := password.Find(ctx, s.DB.Read(), in.Email)
	if err != nil {
		return out, err
	}
	if !found || !u.Active {
		u, hash = user.User{}, ""
	}
	place, err := s.Risk.Look(ctx, u.ID)
	if err != nil {
		return out, err
	}
	turn, err := s.Passwords.Reserve(place.Known) // before anything is written: a flood is turned away cheaply
	if err != nil {
		return out, err
	}
	defer turn.Leave()
	attempt, err := s.charge(ctx, in.Email, place)
	if fault.Has(err, fault.AccountLocked) {
		return out, s.refuse(ctx, u.ID, err, nil)
	}
	if err != nil {
		return out, err
	}
	right, better, err := s.Passwords.VerifyIn(ctx, turn, "password", hash, in.Password)
	if err != nil { // nothing was guessed
		return out, first(s.takeBack(ctx, attempt), err)
	}
	if !right {
		return out, s.wrong(ctx, u.ID, attempt)
	}
	if s.RequireVerified && !u.EmailVerified {
		return out, s.refuse(ctx, u.ID, fault.New(fault.EmailNotVerified), func(tx *db.Tx, now time.Time) error {
			return s.Risk.Right(ctx, tx, attempt)
		})
	}
	if better != "" {
		err = s.DB.Write(ctx, func(tx *db.Tx) error { return password.Replace(ctx, tx, u.ID, hash, better) })
	}
	switch {
	case err != nil:
	case stepup.HasSecondFactor(u):
		out.Challenge, err = s.challenge(ctx, u, attempt, audiences)
	default:
		from := session.Start{Provider: password.Provider, Audiences: audiences, CSRF: in.CSRF}
		out.Pair, err = s.finish(ctx, u, place, attempt, from)
	}
	if err != nil { // a right password is no failure, whatever came after
		return Outcome{}, first(s.takeBack(ctx, attempt), err)
	}
	return out, nil
}

// first returns the first error: what failed on the way to telling a refusal
// goes before the refusal.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Attempts beside each other count as failures until they are examined, so that
// several right ones at once look like a lock for a moment.
const (
	undecidedFor   = time.Second // how long an attempt waits for those before it
	undecidedEvery = 25 * time.Millisecond
)

// charge counts an attempt before it is examined. Fault: account_locked.
func (s *Service) charge(ctx context.Context, email string, place risk.Place) (a risk.Attempt, err error) {
	for range undecidedFor / undecidedEvery {
		err = s.DB.Write(ctx, func(tx *db.Tx) error {
			a, err = s.Risk.Charge(ctx, tx, s.Clock.Now(), email, place)
			return err
		})
		if !a.Undecided || !fault.Has(err, fault.AccountLocked) {
			break
		}
		select {
		case <-ctx.Done():
			return a, ctx.Err()
		case <-time.After(undecidedEvery):
		}
	}
	return a, err
}

func (s *Service) takeBack(ctx context.Context, a risk.Attempt) error {
	ctx, done := db.Settle(ctx)
	defer done()
	return s.DB.Write(ctx, func(tx *db.Tx) error { return s.Risk.Right(ctx, tx, a) })
}

// wrong records a wrong password, also of who hangs up before the answer.
func (s *Service) wrong(ctx context.Context, id uuid.UUID, a risk.Attempt) error {
	ctx, done := db.Settle(ctx)
	defer done()
	why := error(fault.New(fault.InvalidCredentials))
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock.Now()
		locked, err := a.Failed(ctx, tx, now, risk.About{User: id, Provider: password.Provider})
		if err != nil {
			return err
		}
		if locked != nil {
			why = locked
		}
		return audit.Record(ctx, tx, now, failure(id, why))
	})
	if err != nil {
		return err
	}
	s.Metrics.Login(password.Provider, fault.From(why).Code.Slug)
	return why
}

// refuse records why a login ends, in one transaction with what else it changes.
func (s *Service) refuse(ctx context.Context, id uuid.UUID, why error, also func(tx *db.Tx, now time.Time) error) error {
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock.Now()
		if also != nil {
			if err := also(tx, now); err != nil {
				return err
			}
		}
		return audit.Record(ctx, tx, now, failure(id, why))
	})
	if err != nil {
		return err
	}
	s.Metrics.Login(password.Provider, fault.From(why).Code.Slug)
	return why
}

func failure(id uuid.UUID, why error) audit.Event {
	return audit.Event{
		Type: audit.LoginFailure, Actor: id, Failure: fault.From(why).Code.Slug, Metadata: map[string]any{"provider": password.Provider},
	}
}

// limit bounds the tries at one account from one network, whether or not the
// account exists. A stranger elsewhere does not use up its owner's budget.
func (s *Service) limit(ctx context.Context, email string) error {
	if s.PerMinute == 0 {
		return nil
	}
	rule := limit.Rule{Name: "login-account", Burst: s.PerMinute, Per: time.Minute}
	d := s.Limiter.Allow(ctx, rule, email+" "+risk.Network(audit.OriginOf(ctx).IP))
	if !d.Allowed {
		s.Metrics.Login(password.Provider, fault.RateLimited.Slug)
		return fault.Retry(fault.RateLimited, d.RetryAfter)
	}
	return nil
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
