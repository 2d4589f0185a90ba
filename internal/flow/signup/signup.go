// Package signup makes accounts and confirms their mailboxes.
//
// No answer tells whether an address has an account: each act writes the same
// kind of rows and enqueues one job that carries the address. The worker looks
// the account up and decides what to mail.
package signup

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

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

// Service makes and confirms accounts.
type Service struct {
	DB        *db.DB
	Clock     *clock.Clock
	Jobs      *jobs.Queue
	Limiter   *limit.Limiter
	Metrics   *metric.Metrics // may be nil
	Mail      mail.Sender
	Accounts  *user.Accounts
	Passwords *password.Service
	Links     *secret.Ring // makes link tokens from job ids

	BaseURL   string        // of the pages that mails link to
	VerifyTTL time.Duration // of a confirmation link
}

// VerifyMail is the job kind that SendVerification works.
const VerifyMail = "mail_verify_email"

// verifyJob is what such a job carries. Hash is of the password of the sign-up
// that the mail is about: confirming its link makes that the account's.
type verifyJob struct {
	Email  string `json:"email"`
	Reason string `json:"reason"`
	Hash   string `json:"hash,omitempty"`
}

// Why a confirmation mail is due.
const (
	created = "created" // a sign-up made the account
	taken   = "taken"   // a sign-up found the address taken
	resend  = "resend"  // somebody asked for another mail

	resendMine = "resend_mine" // who is signed in asked for another mail
)

// Signup makes an account, or does not if the address is taken; the answer is
// the same. Faults: validation_error, service_unavailable.
func (s *Service) Signup(ctx context.Context, email, pass string) (err error) {
	defer fault.Wrap(&err, "signup.Signup")
	if email, err = user.ParseEmail("email", email); err != nil {
		return err
	}
	hash, err := s.Passwords.New(ctx, "password", pass)
	if err != nil {
		return err
	}
	// Whoever signs the same address up again and again mails it no more; the
	// answer does not tell.
	mayMail := s.Limiter.Allow(ctx, signupByEmail, email).Allowed
	u := user.User{ID: uuid.Must(uuid.NewV7()), Email: email, Role: user.RoleUser, Active: true}
	for range tries {
		if err = s.accept(ctx, u, hash, mayMail); !errors.Is(err, errTaken) {
			return err
		}
	}
	return fault.Retry(fault.ServiceUnavailable, time.Second)
}

// tries bounds how often a sign-up is decided anew because another of the same
// address was faster.
const tries = 3

// errTaken ends a transaction whose address is no longer free.
var errTaken = errors.New("the address was taken meanwhile")

func (s *Service) accept(ctx context.Context, u user.User, hash string, mayMail bool) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock.Now()
		free, err := isFree(ctx, tx, now, u.Email)
		if err != nil {
			return err
		}
		job := verifyJob{u.Email, taken, hash}
		accepted := audit.Event{Type: audit.SignupAccepted, Metadata: map[string]any{"provider": password.Provider, "created": free}}
		if free {
			job.Reason = created
			accepted.Actor, accepted.TargetType, accepted.Target = u.ID, "user", u.ID
		}
		if err := audit.Record(ctx, tx, now, accepted); err != nil {
			return err
		}
		if free || mayMail {
			if err := s.Jobs.Enqueue(ctx, tx, VerifyMail, job); err != nil {
				return err
			}
		}
		tx.AfterCommit(func() { s.Metrics.Signup(job.Reason) })
		return create(ctx, tx, now, u, hash, free)
	})
}

func isFree(ctx context.Context, tx *db.Tx, now time.Time, email string) (bool, error) {
	taken, err := user.Taken(ctx, tx, email)
	if err != nil {
		return false, err
	}
	kept, err := user.Kept(ctx, tx, now, email, uuid.Nil)
	return !taken && !kept, err
}

// create makes the account. If the address is not free it makes one of an address
// that nobody has and undoes it, last of all, so that the time of a sign-up does
// not tell.
func create(ctx context.Context, tx *db.Tx, now time.Time, u user.User, hash string, free bool) error {
	query := `RELEASE SAVEPOINT account`
	if !free {
		query = `ROLLBACK TO SAVEPOINT account`
		u.Email = u.ID.String() + "@taken.invalid"
	}
	if _, err := tx.ExecContext(ctx, `SAVEPOINT account`); err != nil {
		return err
	}
	made, err := user.Create(ctx, tx, now, u)
	if err != nil {
		return err
	}
	if !made {
		return errTaken
	}
	if err := password.Save(ctx, tx, now, u.ID, hash); err != nil {
		return err
	}
	err = audit.Record(ctx, tx, now, audit.Event{
		Type: audit.UserCreated, Actor: u.ID, TargetType: "user", Target: u.ID, Metadata: map[string]any{"provider": password.Provider},
	})
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, query)
	return err
}

// signupByEmail bounds the mails to an address that is taken.
var signupByEmail = limit.Rule{Name: "signup-email", Burst: 3, Per: time.Hour}

// Resend rules: per account when signed in, per address otherwise.
var (
	resendByUser  = limit.Rule{Name: "verify-resend-user", Burst: 3, Per: time.Hour}
	resendByEmail = limit.Rule{Name: "verify-resend-email", Burst: 3, Per: time.Hour}
)

// Resend mails a signed-in user another confirmation link; older ones die.
// Faults: invalid_token, already_verified, rate_limited.
func (s *Service) Resend(ctx context.Context, id uuid.UUID) (err error) {
	defer fault.Wrap(&err, "signup.Resend")
	u, found, err := user.ByID(ctx, s.DB.Read(), id)
	if err != nil {
		return err
	}
	resent := audit.Event{Type: audit.VerificationResent, Actor: id, TargetType: "user", Target: id, Metadata: map[string]any{"operation": "resend"}}
	refuse := func(f *fault.Fault) error {
		resent.Failure = f.Code.Slug
		if err := s.DB.Write(ctx, func(tx *db.Tx) error { return audit.Record(ctx, tx, s.Clock.Now(), resent) }); err != nil {
			return err
		}
		return f
	}
	switch {
	case !found || !u.Active:
		return fault.New(fault.InvalidToken)
	case u.EmailVerified:
		return refuse(fault.New(fault.AlreadyVerified))
	}
	if d := s.Limiter.Allow(ctx, resendByUser, id.String()); !d.Allowed {
		return refuse(fault.Retry(fault.RateLimited, d.RetryAfter))
	}
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := audit.Record(ctx, tx, s.Clock.Now(), resent); err != nil {
			return err
		}
		return s.Jobs.Enqueue(ctx, tx, VerifyMail, verifyJob{u.Email, resendMine, ""})
	})
}

// RequestResend mails another confirmation link to an address, if it has an
// unconfirmed account; the answer is the same in any case. Faults:
// validation_error, rate_limited.
func (s *Service) RequestResend(ctx context.Context, email string) (err error) {
	defer fault.Wrap(&err, "signup.RequestResend")
	if email, err = user.ParseEmail("email", email); err != nil {
		return err
	}
	if d := s.Limiter.Allow(ctx, resendByEmail, email); !d.Allowed {
		return fault.Retry(fault.RateLimited, d.RetryAfter)
	}
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		err := audit.Record(ctx, tx, s.Clock.Now(), audit.Event{
			Type: audit.VerificationResent, Metadata: map[string]any{"operation": "resend_request"},
		})
		if err != nil {
			return err
		}
		return s.Jobs.Enqueue(ctx, tx, VerifyMail, verifyJob{email, resend, ""})
	})
}
