// Package erasure takes out of the service what says who somebody was (GDPR
// art. 17). The account's row stays as a tombstone, so that nothing that names
// its id breaks; sessions and audit events stay without their personal part.
package erasure

import (
	"context"
	"fmt"
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
	"github.com/authsdk/authsdk/internal/method/password"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/jobs"
	"github.com/authsdk/authsdk/internal/platform/mail"
)

// Service erases accounts.
type Service struct {
	DB       *db.DB
	Clock    *clock.Clock
	Jobs     *jobs.Queue
	Accounts *user.Accounts
	StepUp   *stepup.Service
	Risk     *risk.Service
}

// ForgetEvents is the job kind that erases the personal part of audit events:
// there may be too many for the transaction of the erasure.
const ForgetEvents = "erase_audit_personal"

type forgetJob struct {
	User uuid.UUID `json:"user"`
}

// Remains says what is kept of an erased account, for the answer and the guide.
var Remains = []string{
	"the account's id and role, and that and when it was erased",
	"its sessions, without address and browser",
	"its audit events, without address and browser",
}

// Self erases the caller's own account, which always takes an action token for
// it. Faults: action_token_invalid, invalid_user, already_erased,
// last_admin_protected.
func (s *Service) Self(ctx context.Context, caller session.Identity, actionToken string) (err error) {
	defer fault.Wrap(&err, "erasure.Self")
	demand := stepup.Demand{Action: stepup.EraseAccount, TokenOnly: true}
	proof, err := s.StepUp.Prove(ctx, caller, actionToken, demand)
	if err != nil {
		return err
	}
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock.Now()
		last, err := user.LastAdmin(ctx, tx, caller.User)
		if err != nil {
			return err
		}
		u, found, err := user.Lock(ctx, tx, caller.User)
		switch {
		case err != nil:
			return err
		case !found:
			return s.absent(ctx, tx, caller.User)
		case last:
			return fault.New(fault.LastAdminProtected)
		}
		if err := proof.Spend(ctx, tx, now, demand); err != nil {
			return err
		}
		return s.erase(ctx, tx, u, audit.Event{Actor: u.ID})
	})
	if fault.Has(err, fault.LastAdminProtected) {
		refused := audit.Event{Type: audit.UserErased, Actor: caller.User, TargetType: "user", Target: caller.User, Failure: fault.LastAdminProtected.Slug}
		if err := s.DB.Write(ctx, func(tx *db.Tx) error { return audit.Record(ctx, tx, s.Clock.Now(), refused) }); err != nil {
			return err
		}
	}
	return err
}

func (s *Service) absent(ctx context.Context, tx *db.Tx, id uuid.UUID) error {
	erased, err := user.Erased(ctx, tx, id)
	if err == nil && erased {
		return fault.New(fault.AlreadyErased)
	}
	if err != nil {
		return err
	}
	return fault.New(fault.InvalidUser)
}

// erase is the whole act, in one transaction but for the audit events. as says
// who did it.
func (s *Service) erase(ctx context.Context, tx *db.Tx, u user.User, as audit.Event) error {
	now := s.Clock.Now()
	addresses, err := addressesOf(ctx, tx, now, u)
	if err != nil {
		return err
	}
	ended, err := session.EndAll(ctx, tx, now, u.ID, uuid.Nil, session.ReasonErased)
	if err != nil {
		return err
	}
	for _, address := range addresses {
		if err := s.Risk.Forget(ctx, tx, u.ID, address); err != nil {
			return err
		}
		if err := s.Jobs.Drop(ctx, tx, "email", address); err != nil {
			return err
		}
		if err := mail.Forget(ctx, tx, address); err != nil {
			return err
		}
	}
	for _, forget := range []func(context.Context, *db.Tx, uuid.UUID) error{
		session.Forget, password.Forget, otp.Forget, stepup.Forget, forgetLinks,
	} {
		if err := forget(ctx, tx, u.ID); err != nil {
			return err
		}
	}
	if _, err := s.Accounts.Erase(ctx, tx, now, u.ID); err != nil {
		return err
	}
	as.Type, as.TargetType, as.Target = audit.UserErased, "user", u.ID
	as.Metadata = map[string]any{"deleted_identity_count": 0, "revoked_session_count": len(ended), "revoked_api_key_count": 0}
	if err := audit.Record(ctx, tx, now, as); err != nil {
		return err
	}
	return s.Jobs.Enqueue(ctx, tx, ForgetEvents, forgetJob{u.ID})
}

// Forget works a ForgetEvents job.
func (s *Service) Forget(ctx context.Context, job jobs.Job) error {
	var in forgetJob
	if err := job.Args(&in); err != nil {
		return err
	}
	return audit.Forget(ctx, s.DB, in.User)
}

// addressesOf is every address under which something of an account may wait. Of
// those that it only named, or left, somebody else's are not among them.
func addressesOf(ctx context.Context, tx *db.Tx, now time.Time, u user.User) ([]string, error) {
	var list []string
	rows, err := tx.QueryContext(ctx, `SELECT old_email, new_email FROM email_changes WHERE user_id = $1`, u.ID)
	if err != nil {
		return nil, fmt.Errorf("addresses: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var before, after string
		if err := rows.Scan(&before, &after); err != nil {
			return nil, fmt.Errorf("addresses: %w", err)
		}
		list = append(list, before, after)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("addresses: %w", err)
	}
	own := []string{u.Email}
	for _, address := range list {
		_, taken, err := user.ByEmail(ctx, tx, address)
		if err != nil {
			return nil, err
		}
		kept, err := user.Kept(ctx, tx, now, address, u.ID)
		if err != nil {
			return nil, err
		}
		if !taken && !kept {
			own = append(own, address)
		}
	}
	return own, nil
}

// forgetLinks deletes what links in mails stand for.
func forgetLinks(ctx context.Context, tx *db.Tx, id uuid.UUID) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM email_tokens WHERE user_id = $1`, id); err != nil {
		return fmt.Errorf("links: %w", err)
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM email_changes WHERE user_id = $1`, id)
	return err
}
