package signin

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/risk"
	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/token"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/method/otp"
	"github.com/authsdk/authsdk/internal/method/password"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// challenge mails a code to who knew the password. The failures before stay
// counted until the code is right, too.
func (s *Service) challenge(ctx context.Context, u user.User, a risk.Attempt, audiences []string) (*Challenge, error) {
	c := otp.Challenge{ID: uuid.Must(uuid.NewV7()), User: u.ID, Context: otp.Login, Audiences: audiences}
	signed, err := s.Tokens.Challenge(c.ID, u.ID, audiences, s.Clock.Now().Add(s.Codes.TTL))
	if err != nil {
		return nil, err
	}
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock.Now()
		same, err := user.Hold(ctx, tx, u)
		if err != nil {
			return err
		}
		if !same {
			return errChanged
		}
		if err := s.Risk.Right(ctx, tx, a); err != nil {
			return err
		}
		required := audit.Event{Type: audit.LoginOTPRequired, Actor: u.ID, Metadata: map[string]any{"provider": password.Provider}}
		if err := audit.Record(ctx, tx, now, required); err != nil {
			return err
		}
		return s.Codes.Issue(ctx, tx, now, u, &c)
	})
	if fault.Has(err, fault.OTPIssuanceBlocked) {
		err = first(s.Codes.Blocked(ctx, c), err)
	}
	if err != nil {
		s.counted(err)
		return nil, err
	}
	s.Metrics.Login(password.Provider, "otp_required")
	return &Challenge{signed, otp.Mask(u.Email)}, nil
}

// counted puts a refusal into the figures; what is tried anew is none.
func (s *Service) counted(err error) {
	if !errors.Is(err, errChanged) {
		s.Metrics.Login(password.Provider, fault.From(err).Code.Slug)
	}
}

// open returns the challenge and account that a challenge token stands for.
// Fault: invalid_token.
func (s *Service) open(ctx context.Context, challengeToken string) (c otp.Challenge, u user.User, err error) {
	invalid := fault.New(fault.InvalidToken)
	claims, id, userID, err := s.Tokens.VerifyOnce(ctx, token.TypeChallenge, challengeToken)
	if err != nil {
		return c, u, err
	}
	c, found, err := otp.ByID(ctx, s.DB.Read(), id)
	switch {
	case err != nil:
		return c, u, err
	case !found || c.User != userID || !slices.Contains(claims.Audience, s.Service):
		return c, u, invalid
	}
	u, found, err = user.ByID(ctx, s.DB.Read(), userID)
	if err == nil && (!found || !u.Active) {
		err = invalid
	}
	return c, u, err
}

// VerifyCode completes a sign-in with the mailed code. Faults: invalid_token,
// account_locked, otp_expired, invalid_otp, otp_max_attempts_exceeded.
func (s *Service) VerifyCode(ctx context.Context, challengeToken, code, csrf string) (pair session.Pair, err error) {
	defer fault.Wrap(&err, "signin.VerifyCode")
	for range tries {
		if pair, err = s.verifyCode(ctx, challengeToken, code, csrf); !errors.Is(err, errChanged) {
			return pair, err
		}
	}
	return pair, fault.Retry(fault.ServiceUnavailable, time.Second)
}

func (s *Service) verifyCode(ctx context.Context, challengeToken, code, csrf string) (pair session.Pair, err error) {
	c, u, err := s.open(ctx, challengeToken)
	if err != nil {
		return pair, err
	}
	place, err := s.Risk.Look(ctx, u.ID)
	if err != nil {
		return pair, err
	}
	failures, err := s.Risk.Failures(ctx, s.DB.Read(), s.Clock.Now(), u.Email, place)
	if err != nil {
		return pair, err
	}
	suspicion := place.Suspicion(failures)
	var started session.Session
	if s.Codes.Live(c) { // signing stays outside the transaction; right or not: its time must not tell, least of all a locked guesser
		from := session.Start{Provider: password.Provider, Audiences: c.Audiences, CSRF: csrf, Suspicious: suspicion.Reasons()}
		if started, pair, err = s.Sessions.Begin(u, from); err != nil {
			return pair, err
		}
	}
	var refusal error
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock.Now()
		same, err := user.Hold(ctx, tx, u) // first, as an erasure and a reset do
		if err != nil {
			return err
		}
		if !same {
			return errChanged
		}
		attempt, err := s.Risk.Charge(ctx, tx, now, u.Email, place)
		if err != nil {
			return err
		}
		if refusal, err = s.Codes.Try(ctx, tx, now, c, code); err != nil {
			return err
		}
		switch {
		case fault.Has(refusal, fault.OTPExpired):
			return s.Risk.Right(ctx, tx, attempt)
		case refusal != nil:
			locked, err := attempt.Failed(ctx, tx, now, risk.About{User: u.ID, Provider: password.Provider, Context: otp.Login})
			if locked != nil && !fault.Has(refusal, fault.OTPMaxAttempts) {
				refusal = locked
			}
			return err
		case started.ID == uuid.Nil: // it was not live a moment ago
			return errChanged
		}
		return s.save(ctx, tx, u, place, attempt, started, suspicion)
	})
	if fault.Has(err, fault.AccountLocked) {
		err = first(s.Codes.Locked(ctx, c), err)
	}
	if err == nil {
		err = refusal
	}
	if err != nil {
		s.counted(err)
		return session.Pair{}, err
	}
	s.Metrics.Login(password.Provider, "success")
	return pair, nil
}

// ResendCode mails another code for a challenge. Faults: invalid_token,
// otp_expired, rate_limited, otp_issuance_blocked.
func (s *Service) ResendCode(ctx context.Context, challengeToken string) (err error) {
	defer fault.Wrap(&err, "signin.ResendCode")
	c, u, err := s.open(ctx, challengeToken)
	if err != nil {
		return err
	}
	return s.Codes.Resend(ctx, c, u)
}
