package account

import (
	"context"

	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/method/otp"
	"github.com/authsdk/authsdk/internal/method/password"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// ChangePassword sets a new password, or a first one, and ends every other
// session. The caller's stays, but its access token does not: the client
// refreshes. Faults: session_expired, email_not_verified, validation_error,
// password_reused, and those of a proof: invalid_credentials, account_locked,
// otp_required, reauth_required, action_token_invalid, service_unavailable.
func (s *Service) ChangePassword(ctx context.Context, caller session.Identity, newPassword string, given Given) (err error) {
	defer fault.Wrap(&err, "account.ChangePassword")
	u, err := self(ctx, s.DB.Read(), caller)
	if err != nil {
		return err
	}
	// Until then the password is that of the sign-up which the mailbox confirms,
	// and whoever signed the address up first need not own it.
	if !u.EmailVerified {
		return fault.New(fault.EmailNotVerified)
	}
	demand := stepup.Demand{Action: stepup.ChangePassword}
	proof, err := s.stepUp(ctx, caller, u, given, demand)
	if err != nil {
		return err
	}
	current, err := password.HashOf(ctx, s.DB.Read(), u.ID)
	if err != nil {
		return err
	}
	hash, err := s.Passwords.New(ctx, "new_password", newPassword)
	if err != nil {
		return err
	}
	if given.Password != "" {
		if err := s.checkPassword(ctx, caller, u, current, given.Password); err != nil {
			return err
		}
	}
	// Last: before a proof the answer would be a guess that nobody counts.
	if current != "" {
		same, _, err := s.Passwords.Verify(ctx, "new_password", current, newPassword, true)
		if err != nil {
			return err
		}
		if same {
			return fault.New(fault.PasswordReused)
		}
	}
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock.Now()
		u, err := hold(ctx, tx, caller)
		if err != nil {
			return err
		}
		if err := proof.Spend(ctx, tx, now, demand); err != nil {
			return err
		}
		if err := password.Save(ctx, tx, now, u.ID, hash); err != nil {
			return err
		}
		ended, err := endSessions(ctx, tx, now, u.ID, caller.Session, session.ReasonPasswordChange)
		if err != nil {
			return err
		}
		if err := first(s.Accounts.EndTokens(ctx, tx, now, u.ID), user.EndLinks(ctx, tx, now, u.ID), otp.End(ctx, tx, now, u.ID)); err != nil {
			return err
		}
		err = audit.Record(ctx, tx, now, about(audit.PasswordChanged, u.ID, map[string]any{"reason": session.ReasonPasswordChange}), ended)
		if err != nil {
			return err
		}
		return s.Jobs.Enqueue(ctx, tx, PasswordMail, passwordJob{u.Email})
	})
}
