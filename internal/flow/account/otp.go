package account

import (
	"context"

	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/method/otp"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// SetOTP switches mailed codes at sign-in on or off; what is so already stays
// so. Faults: session_expired, email_not_verified, otp_required,
// reauth_required, action_token_invalid.
func (s *Service) SetOTP(ctx context.Context, caller session.Identity, on bool, actionToken string) (err error) {
	defer fault.Wrap(&err, "account.SetOTP")
	demand := stepup.Demand{Action: stepup.DisableOTP}
	if on {
		demand.Action = stepup.EnableOTP
	}
	proof, err := s.StepUp.Prove(ctx, caller, actionToken, demand)
	if err != nil {
		return err
	}
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock.Now()
		u, err := hold(ctx, tx, caller)
		if err != nil {
			return err
		}
		if on && !u.EmailVerified {
			return fault.New(fault.EmailNotVerified)
		}
		if err := proof.Spend(ctx, tx, now, demand); err != nil {
			return err
		}
		changed, err := s.Accounts.SetOTP(ctx, tx, now, u.ID, on)
		if err != nil || !changed {
			return err
		}
		if !on { // only then: else who has a password could have guesses forgiven
			if err := otp.Forget(ctx, tx, u.ID); err != nil {
				return err
			}
		}
		event := audit.OTPDisabled
		if on {
			event = audit.OTPEnabled
		}
		return audit.Record(ctx, tx, now, about(event, u.ID, nil))
	})
}
