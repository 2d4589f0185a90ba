// Package confirm lets somebody signed in confirm one act: a code is mailed, and
// whoever types it in gets an action token for that act.
package confirm

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/risk"
	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/method/otp"
)

// Service mails codes for acts and takes them.
type Service struct {
	DB     *db.DB
	Clock  *clock.Clock
	Codes  *otp.Service
	StepUp *stepup.Service
	Risk   *risk.Service
}

// maxTarget bounds what an act is on: an id, a number, an address.
const maxTarget = 254

// Request mails a code for an act, which may name what it is on. It returns how
// long the code works. Faults: validation_error, invalid_token,
// email_not_verified, otp_issuance_blocked.
func (s *Service) Request(ctx context.Context, caller session.Identity, action, target string) (life time.Duration, err error) {
	defer fault.Wrap(&err, "confirm.Request")
	if _, err := stepup.ParseAction("action", action); err != nil {
		return 0, err
	}
	if action == stepup.ChangeEmail && target != "" { // as the act will compare it
		target, err = user.ParseEmail("target", target)
	} else {
		target, err = parseTarget(target)
	}
	if err != nil {
		return 0, err
	}
	u, found, err := user.ByID(ctx, s.DB.Read(), caller.User)
	switch {
	case err != nil:
		return 0, err
	case !found || !u.Active:
		return 0, fault.New(fault.InvalidToken)
	case !u.EmailVerified:
		return 0, fault.New(fault.EmailNotVerified)
	}
	c := otp.Challenge{
		ID: uuid.Must(uuid.NewV7()), User: u.ID, Context: otp.Action, Session: caller.Session, Action: action, Target: target,
	}
	err = s.DB.Write(ctx, func(tx *db.Tx) error { return s.Codes.Issue(ctx, tx, s.Clock.Now(), u, &c) })
	if fault.Has(err, fault.OTPIssuanceBlocked) {
		if err := s.Codes.Blocked(ctx, c); err != nil {
			return 0, err
		}
	}
	return s.Codes.TTL, err
}

// parseTarget accepts visible characters: the target is shown in the mail.
func parseTarget(target string) (string, error) {
	target = strings.TrimSpace(target)
	if len(target) > maxTarget || strings.ContainsFunc(target, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 }) {
		return "", fault.Invalid("target", fmt.Sprintf("must be at most %d visible ASCII characters", maxTarget))
	}
	return target, nil
}

// Verify trades the mailed code for an action token. Faults: validation_error,
// account_locked, otp_expired, otp_action_mismatch, invalid_otp,
// otp_max_attempts_exceeded.
func (s *Service) Verify(ctx context.Context, caller session.Identity, code, action string) (actionToken string, err error) {
	defer fault.Wrap(&err, "confirm.Verify")
	if _, err := stepup.ParseAction("action", action); err != nil {
		return "", err
	}
	u, found, err := user.ByID(ctx, s.DB.Read(), caller.User)
	if err != nil {
		return "", err
	}
	if !found || !u.Active {
		return "", fault.New(fault.InvalidToken)
	}
	place, err := s.Risk.Look(ctx, u.ID)
	if err != nil {
		return "", err
	}
	c, found, err := otp.Pending(ctx, s.DB.Read(), caller.Session)
	if err != nil {
		return "", err
	}
	if !found {
		c = otp.Challenge{User: u.ID, Context: otp.Action, Action: action} // which Try finds expired
	}
	if c.Action != action && s.Codes.Live(c) { // costs no guess
		return "", fault.New(fault.OTPActionMismatch)
	}
	id := uuid.Must(uuid.NewV7())
	if s.Codes.Live(c) { // signing stays outside the transaction; right or not: its time must not tell
		if actionToken, err = s.StepUp.Sign(caller, id, action, c.Target); err != nil {
			return "", err
		}
	}
	var refusal error
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock.Now()
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
			locked, err := attempt.Failed(ctx, tx, now, risk.About{User: u.ID, Context: otp.Action, Action: action})
			if locked != nil && !fault.Has(refusal, fault.OTPMaxAttempts) {
				refusal = locked
			}
			return err
		case actionToken == "": // it was not live a moment ago
			return fault.Retry(fault.ServiceUnavailable, time.Second)
		}
		if err := s.Risk.Right(ctx, tx, attempt); err != nil {
			return err
		}
		return s.StepUp.Mint(ctx, tx, now, caller, id, action, c.Target)
	})
	if fault.Has(err, fault.AccountLocked) {
		if err := s.Codes.Locked(ctx, c); err != nil {
			return "", err
		}
	}
	if err != nil {
		return "", err
	}
	if refusal != nil {
		return "", refusal
	}
	return actionToken, nil
}
