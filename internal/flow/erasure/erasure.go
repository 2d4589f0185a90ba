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

	// Keys revokes the API keys of an account; nil where there are none.
	Keys func(ctx context.Context, tx *db.Tx, now time.Time, userID uuid.UUID) (revoked int, err error)
}

// Counts is what an erasure ended.
type Counts struct{ Sessions, Keys, Identities int }

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
		_, err = s.erase(ctx, tx, u, audit.Event{Actor: u.ID})
		return err
	})
	return s.recordLast(ctx, err, audit.Event{Actor: caller.User}, caller.User)
}

// ByAdmin erases an account, deleted or not. Faults: action_token_invalid,
// insufficient_role, invalid_user, already_erased, last_admin_protected.
func (s *Service) ByAdmin(ctx context.Context, by audit.By, id uuid.UUID) (c Counts, err error) {
	defer fault.Wrap(&err, "erasure.ByAdmin")
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock.Now()
		last, err := user.LastAdmin(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := by.Admit(ctx, tx, now); err != nil {
			return err
		}
		u, _, found, err := user.LockAny(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := user.StillAdmin(ctx, tx, by.ID); err != nil {
			return err
		}
		switch {
		case !found:
			return fault.New(fault.InvalidUser)
		case u.Erased():
			return fault.New(fault.AlreadyErased)
		case last:
			return fault.New(fault.LastAdminProtected)
		}
		c, err = s.erase(ctx, tx, u, by.Event(audit.UserErased))
		return err
	})
	return c, s.recordLast(ctx, err, by.Event(audit.UserErased), id)
}

// recordLast records that the last admin was to be erased. It returns the error
// that it was given.
func (s *Service) recordLast(ctx context.Context, refusal error, as audit.Event, id uuid.UUID) error {
	if !fault.Has(refusal, fault.LastAdminProtected) {
		return refusal
	}
	as.Type, as.TargetType, as.Target, as.Failure = audit.UserErased, "user", id, fault.LastAdminProtected.Slug
	if err := s.DB.Write(ctx, func(tx *db.Tx) error { return audit.Record(ctx, tx, s.Clock.Now(), as) }); err != nil {
		return err
	}
	return refusal
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
func (s *Service) erase(ctx context.Context, tx *db.Tx, u user.User, as audit.Event) (c Counts, err error) {
	now := s.Clock.Now()
	addresses, err := addressesOf(ctx, tx, now, u)
	if err != nil {
		return c, err
	}
	ended, err := session.EndAll(ctx, tx, now, u.ID, uuid.Nil, session.ReasonErased)
	if err != nil {
		return c, err
	}
	c.Sessions = len(ended)
	if s.Keys != nil {
		if c.Keys, err = s.Keys(ctx, tx, now, u.ID); err != nil {
			return c, err
		}
	}
	for _, address := range addresses {
		if err := s.Risk.Forget(ctx, tx, u.ID, address); err != nil {
			return c, err
		}
		if err := s.Jobs.Drop(ctx, tx, "email", address); err != nil {
			return c, err
		}
		if err := mail.Forget(ctx, tx, address); err != nil {
			return c, err
		}
	}
	for _, forget := range []func(context.Context, *db.Tx, uuid.UUID) error{
		session.Forget, password.Forget, otp.Forget, stepup.Forget, forgetLinks,
	} {
		if err := forget(ctx, tx, u.ID); err != nil {
			return c, err
		}
	}
	if _, err := s.Accounts.Erase(ctx, tx, now, u.ID); err != nil {
		return c, err
	}
	as.Type, as.TargetType, as.Target = audit.UserErased, "user", u.ID
	as.Metadata = map[string]any{"deleted_identity_count": c.Identities, "revoked_session_count": c.Sessions, "revoked_api_key_count": c.Keys}
	if err := audit.Record(ctx, tx, now, as); err != nil {
		return c, err
	}
	return c, s.Jobs.Enqueue(ctx, tx, ForgetEvents, forgetJob{u.ID})
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
		taken, err := user.Taken(ctx, tx, address)
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
