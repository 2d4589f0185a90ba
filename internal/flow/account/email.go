package account

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/method/otp"
	"github.com/authsdk/authsdk/internal/method/password"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/limit"
)

// Pages that mails link to.
const (
	ConfirmPage = "/confirm-email-change"
	UndoPage    = "/undo-email-change"
)

// undoFor is how long the old mailbox can take a change back.
const undoFor = 72 * time.Hour

// changesByUser bounds the mails to addresses that somebody names.
var changesByUser = limit.Rule{Name: "email-change-user", Burst: 3, Per: time.Hour}

// ChangeEmail mails a link to a new address; whoever reads it there confirms. An
// older change that nobody confirmed is forgotten. The answer and the rows are
// the same if the address is another account's: the worker tells its owner.
// Faults: session_expired, validation_error, rate_limited, and those of a proof,
// as in ChangePassword.
func (s *Service) ChangeEmail(ctx context.Context, caller session.Identity, newEmail string, given Given) (err error) {
	defer fault.Wrap(&err, "account.ChangeEmail")
	if newEmail, err = user.ParseEmail("new_email", newEmail); err != nil {
		return err
	}
	u, err := self(ctx, s.DB.Read(), caller)
	if err != nil {
		return err
	}
	if newEmail == u.Email {
		return fault.Invalid("new_email", "is your address already")
	}
	demand := stepup.Demand{Action: stepup.ChangeEmail, Target: newEmail}
	proof, err := s.stepUp(ctx, caller, u, given, demand)
	if err != nil {
		return err
	}
	if given.Password != "" {
		hash, err := password.HashOf(ctx, s.DB.Read(), u.ID)
		if err != nil {
			return err
		}
		if err := s.checkPassword(ctx, caller, u, hash, given.Password); err != nil {
			return err
		}
	}
	if d := s.Limiter.Allow(ctx, changesByUser, u.ID.String()); !d.Allowed {
		return fault.Retry(fault.RateLimited, d.RetryAfter)
	}
	id := uuid.Must(uuid.NewV7())
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock.Now()
		u, err := hold(ctx, tx, caller)
		if err != nil {
			return err
		}
		if err := proof.Spend(ctx, tx, now, demand); err != nil {
			return err
		}
		if err := user.DropEmailChange(ctx, tx, u.ID); err != nil {
			return err
		}
		if err := insert(ctx, tx, now, change{id: id, user: u.ID, old: u.Email, new: newEmail, expires: now.Add(s.ConfirmTTL)}); err != nil {
			return err
		}
		if err := audit.Record(ctx, tx, now, about(audit.EmailChangeRequested, u.ID, nil)); err != nil {
			return err
		}
		return s.Jobs.Enqueue(ctx, tx, ChangeMail, changeJob{newEmail, id})
	})
}

// What a mailed link does with a change of address.
const (
	confirming = "confirm"
	undoing    = "undo"
)

// errNot ends a transaction whose link does not work after all.
var errNot = errors.New("this change cannot be made")

// ConfirmEmail uses the link up that the new mailbox received: the account has
// the new address. Sessions stay, and learn it at the next refresh. The old
// mailbox is told, and can undo it if it had ever been confirmed. Fault:
// invalid_email_change.
func (s *Service) ConfirmEmail(ctx context.Context, token string) (err error) {
	defer fault.Wrap(&err, "account.ConfirmEmail")
	return s.followed(ctx, confirming, token, func(tx *db.Tx, now time.Time, u user.User, link string) error {
		c, spent, err := confirm(ctx, tx, now, link, now.Add(undoFor), u.EmailVerified)
		if err != nil {
			return err
		}
		if !spent || c.old != u.Email {
			return errNot
		}
		if err := s.settle(ctx, tx, now, u.ID, c.new); err != nil {
			return err
		}
		if err := audit.Record(ctx, tx, now, about(audit.EmailChanged, u.ID, map[string]any{"operation": confirming})); err != nil {
			return err
		}
		if !u.EmailVerified {
			return nil
		}
		return s.Jobs.Enqueue(ctx, tx, ChangedMail, changeJob{c.old, c.id})
	})
}

// UndoEmail uses the link up that the old mailbox received: the account has the
// old address again, no sessions and no password, since whoever changed the
// address may know it. A link to choose a new one is mailed. Later changes
// cannot be undone any more: that would give the account away again. Fault:
// invalid_email_change.
func (s *Service) UndoEmail(ctx context.Context, token string) (err error) {
	defer fault.Wrap(&err, "account.UndoEmail")
	return s.followed(ctx, undoing, token, func(tx *db.Tx, now time.Time, u user.User, link string) error {
		old, spent, err := undo(ctx, tx, now, u.ID, link)
		if err != nil {
			return err
		}
		if !spent {
			return errNot
		}
		if err := s.settle(ctx, tx, now, u.ID, old); err != nil {
			return err
		}
		if err := password.Forget(ctx, tx, u.ID); err != nil {
			return err
		}
		ended, err := endSessions(ctx, tx, now, u.ID, uuid.Nil, session.ReasonEmailUndone)
		if err != nil {
			return err
		}
		if err := audit.Record(ctx, tx, now, about(audit.EmailChangeUndone, u.ID, map[string]any{"operation": undoing}), ended); err != nil {
			return err
		}
		return s.MailReset(ctx, tx, old)
	})
}

// followed runs what a mailed link does, on the locked account that it is of,
// and records it if it does nothing.
func (s *Service) followed(ctx context.Context, operation, token string, act func(tx *db.Tx, now time.Time, u user.User, link string) error) error {
	link := secret.Hash(strings.TrimSpace(token))
	id, found, err := owner(ctx, s.DB.Read(), link)
	if err != nil {
		return err
	}
	if found {
		err = s.DB.Write(ctx, func(tx *db.Tx) error {
			u, found, err := user.Lock(ctx, tx, id)
			if err != nil {
				return err
			}
			if !found || !u.Active {
				return errNot
			}
			return act(tx, s.Clock.Now(), u, link)
		})
		if !errors.Is(err, errNot) {
			return err
		}
	}
	event := audit.Event{Type: audit.EmailChanged, Failure: fault.InvalidEmailChange.Slug, Metadata: map[string]any{"operation": operation}}
	if operation == undoing {
		event.Type = audit.EmailChangeUndone
	}
	err = s.DB.Write(ctx, func(tx *db.Tx) error { return audit.Record(ctx, tx, s.Clock.Now(), event) })
	return first(err, fault.New(fault.InvalidEmailChange))
}

// settle gives an account an address whose mailbox was proved. What was mailed
// to the other one is worth nothing from now on. errNot if somebody else has the
// address or may take it back.
func (s *Service) settle(ctx context.Context, tx *db.Tx, now time.Time, id uuid.UUID, email string) error {
	if _, err := s.Accounts.SetEmail(ctx, tx, now, id, email); db.IsConflict(err) {
		return errNot
	} else if err != nil {
		return err
	}
	// After the change, which waits for those beside it: what they keep shows.
	kept, err := user.Kept(ctx, tx, now, email, id)
	if err != nil {
		return err
	}
	if kept {
		return errNot
	}
	return first(user.EndLinks(ctx, tx, now, id), otp.Forget(ctx, tx, id))
}

// endSessions ends the sessions of an account but one, and returns the event.
func endSessions(ctx context.Context, tx *db.Tx, now time.Time, id, keep uuid.UUID, reason string) (audit.Event, error) {
	ended, err := session.EndAll(ctx, tx, now, id, keep, reason)
	return about(audit.SessionRevoked, id, map[string]any{
		"reason": reason, "session_ids": ended, "revoked_session_count": len(ended),
	}), err
}
