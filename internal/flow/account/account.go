// Package account is what people do with their own account: look at it, change
// password and address, switch mailed codes on and off.
//
//	account.go   who may: the current password, or a confirmation
//	password.go  another password
//	email.go     another address, and taking it back
//	otp.go       mailed codes at sign-in
//	mail.go      the jobs that mail
//	store.go     changes of address
package account

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/risk"
	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/metric"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/method/password"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/jobs"
	"github.com/authsdk/authsdk/internal/platform/limit"
	"github.com/authsdk/authsdk/internal/platform/mail"
)

// Service changes the accounts of those who are signed in.
type Service struct {
	DB        *db.DB
	Clock     *clock.Clock
	Jobs      *jobs.Queue
	Limiter   *limit.Limiter
	Metrics   *metric.Metrics // may be nil
	Mail      mail.Sender
	Accounts  *user.Accounts
	Passwords *password.Service
	Risk      *risk.Service
	StepUp    *stepup.Service
	Links     *secret.Ring // makes link tokens from job ids

	// MailReset queues a link to choose a new password.
	MailReset func(ctx context.Context, tx *db.Tx, email string) error

	BaseURL    string        // of the pages that mails link to
	ConfirmTTL time.Duration // of the link that confirms a new address
}

// Profile is what people see of their own account.
type Profile struct {
	user.User
	Created     time.Time
	PasswordSet bool
	Session     uuid.UUID
	AuthTime    time.Time // of the last proof in this session
}

// Me returns the caller's account, as it is now. Fault: session_expired.
func (s *Service) Me(ctx context.Context, caller session.Identity) (p Profile, err error) {
	defer fault.Wrap(&err, "account.Me")
	p, found, err := profile(ctx, s.DB.Read(), caller.Session)
	if err == nil && !found {
		err = fault.New(fault.SessionExpired)
	}
	return p, err
}

// Given is what comes with a change to prove that the caller is the owner.
type Given struct {
	Password    string // the current one; may be empty
	ActionToken string // may be empty
}

// self returns the caller's account, of which every decision here speaks.
// Fault: session_expired.
func self(ctx context.Context, c db.Conn, caller session.Identity) (user.User, error) {
	sess, u, found, err := session.Find(ctx, c, caller.Session)
	if err == nil && (!found || !u.Active || !sess.RevokedAt.IsZero()) {
		err = fault.New(fault.SessionExpired)
	}
	return u, err
}

// hold is self for an act: the account is locked, so that a reset or an erasure
// beside it comes before, and ends the session, or after. Fault:
// session_expired.
func hold(ctx context.Context, tx *db.Tx, caller session.Identity) (user.User, error) {
	if _, _, err := user.Lock(ctx, tx, caller.User); err != nil {
		return user.User{}, err
	}
	return self(ctx, tx, caller)
}

// stepUp asks for the confirmation of an act, unless the current password is
// enough: it comes along, and there is no second factor. A confirmation that is
// sent must be good in any case.
func (s *Service) stepUp(ctx context.Context, caller session.Identity, u user.User, given Given, d stepup.Demand) (stepup.Proof, error) {
	if given.Password != "" && given.ActionToken == "" && !stepup.HasSecondFactor(u) {
		return stepup.Proof{}, nil
	}
	return s.StepUp.Prove(ctx, caller, given.ActionToken, d)
}

// checkPassword examines the current password, charged as at a sign-in. Faults:
// validation_error, account_locked, invalid_credentials, service_unavailable.
func (s *Service) checkPassword(ctx context.Context, caller session.Identity, u user.User, hash, given string) error {
	place, err := s.Risk.Look(ctx, u.ID)
	if err != nil {
		return err
	}
	turn, err := s.Passwords.Reserve(true) // before anything is written
	if err != nil {
		return err
	}
	defer turn.Leave()
	var attempt risk.Attempt
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		attempt, err = s.Risk.Charge(ctx, tx, s.Clock.Now(), u.Email, place)
		return err
	})
	if fault.Has(err, fault.AccountLocked) {
		why := err
		return first(s.DB.Write(ctx, func(tx *db.Tx) error { return refused(ctx, tx, s.Clock.Now(), caller, why) }), why)
	}
	if err != nil {
		return err
	}
	right, _, err := s.Passwords.VerifyIn(ctx, turn, "current_password", hash, given)
	if err != nil { // nothing was guessed
		settle, done := db.Settle(ctx)
		defer done()
		return first(s.DB.Write(settle, func(tx *db.Tx) error { return s.Risk.Right(settle, tx, attempt) }), err)
	}
	ctx, done := db.Settle(ctx) // who hangs up now guessed all the same
	defer done()
	var why error
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock.Now()
		if right {
			return first(s.Risk.Clear(ctx, tx, attempt), s.Risk.Remember(ctx, tx, now, u.ID, place))
		}
		locked, err := attempt.Failed(ctx, tx, now, risk.About{User: u.ID, Provider: password.Provider})
		if err != nil {
			return err
		}
		if why = wrongPassword(); locked != nil {
			why = locked
		}
		return refused(ctx, tx, now, caller, why)
	})
	return first(err, why)
}

// wrongPassword names the field: there is no address to be wrong.
func wrongPassword() error {
	f := fault.New(fault.InvalidCredentials)
	f.Fields = []fault.Field{{Field: "current_password", Message: "is not the password of this account"}}
	return f
}

// refused records that the current password was not accepted.
func refused(ctx context.Context, tx *db.Tx, now time.Time, caller session.Identity, why error) error {
	return audit.Record(ctx, tx, now, audit.Event{
		Type: audit.ReauthFailure, Actor: caller.User, Failure: fault.From(why).Code.Slug,
		Metadata: map[string]any{"provider": password.Provider, "session_id": caller.Session},
	})
}

// about is an event of somebody's own account.
func about(t audit.Type, id uuid.UUID, metadata map[string]any) audit.Event {
	return audit.Event{Type: t, Actor: id, TargetType: "user", Target: id, Metadata: metadata}
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
