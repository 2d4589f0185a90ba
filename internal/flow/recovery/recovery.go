// Package recovery lets somebody who reads the mailbox of an account choose a
// new password for it.
//
//	recovery.go  ask for a link, look at it, use it
//	mail.go      the jobs that mail
//	store.go     links
package recovery

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/risk"
	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/metric"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/method/otp"
	"github.com/authsdk/authsdk/internal/method/password"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/jobs"
	"github.com/authsdk/authsdk/internal/platform/limit"
	"github.com/authsdk/authsdk/internal/platform/mail"
)

// Service mails links and takes them.
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
	Links     *secret.Ring // makes link tokens from job ids

	BaseURL  string        // of the pages that mails link to
	ResetTTL time.Duration // of a link
}

// ResetPage is the page that mails link to.
const ResetPage = "/reset-password"

// byEmail bounds the mails to an address, whether or not it has an account.
var byEmail = limit.Rule{Name: "reset-request-email", Burst: 1, Per: time.Minute}

// Forgot mails a link to an address, if it has an account. All it does is
// enqueue one job, whatever the address: the worker looks the account up and
// records who asked. Faults: validation_error, rate_limited.
func (s *Service) Forgot(ctx context.Context, email string) (err error) {
	defer fault.Wrap(&err, "recovery.Forgot")
	if email, err = user.ParseEmail("email", email); err != nil {
		return err
	}
	if d := s.Limiter.Allow(ctx, byEmail, email); !d.Allowed {
		return fault.Retry(fault.RateLimited, d.RetryAfter)
	}
	from := audit.OriginOf(ctx)
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		return s.Jobs.Enqueue(ctx, tx, ResetMail, resetJob{
			Email: email, IP: from.IP, UserAgent: from.UserAgent, CorrelationID: from.CorrelationID,
		})
	})
}

// CheckReset tells whether a link still works. Fault: invalid_reset_token.
func (s *Service) CheckReset(ctx context.Context, token string) (err error) {
	defer fault.Wrap(&err, "recovery.CheckReset")
	_, _, found, err := find(ctx, s.DB.Read(), s.Clock.Now(), hashOf(token))
	if err == nil && !found {
		return fault.New(fault.InvalidResetToken)
	}
	return err
}

// Reset uses a link up: the account has the new password, a confirmed address
// and no sessions. A password that is refused leaves the link alive. Faults:
// invalid_reset_token, validation_error, password_reused, service_unavailable.
func (s *Service) Reset(ctx context.Context, token, newPassword string) (err error) {
	defer fault.Wrap(&err, "recovery.Reset")
	link := hashOf(token)
	u, current, found, err := find(ctx, s.DB.Read(), s.Clock.Now(), link)
	if err != nil {
		return err
	}
	if !found {
		return s.refuse(ctx, fault.InvalidResetToken)
	}
	hash, err := s.Passwords.New(ctx, "new_password", newPassword)
	if err != nil {
		return err
	}
	if current != "" {
		same, _, err := s.Passwords.Verify(ctx, "new_password", current, newPassword, true)
		if err != nil {
			return err
		}
		if same {
			return s.refuse(ctx, fault.PasswordReused)
		}
	}
	spent := false
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		spent, err = s.reset(ctx, tx, s.Clock.Now(), u.ID, link, hash)
		return err
	})
	if err == nil && !spent {
		return s.refuse(ctx, fault.InvalidResetToken) // somebody was faster
	}
	return err
}

// reset is the part of Reset inside the transaction. It reports false if the
// link was used meanwhile or the account is not what it was.
func (s *Service) reset(ctx context.Context, tx *db.Tx, now time.Time, id uuid.UUID, link, hash string) (done bool, err error) {
	u, found, err := user.Lock(ctx, tx, id)
	if err != nil || !found || !u.Active {
		return false, err
	}
	if spent, err := spend(ctx, tx, now, link); err != nil || !spent {
		return false, err
	}
	if err := password.Save(ctx, tx, now, id, hash); err != nil {
		return false, err
	}
	raised, err := s.Accounts.SetVerified(ctx, tx, now, id) // whoever has the link reads the mailbox
	if err == nil && !raised {
		err = s.Accounts.EndTokens(ctx, tx, now, id)
	}
	if err != nil {
		return false, err
	}
	ended, err := session.EndAll(ctx, tx, now, id, uuid.Nil, session.ReasonPasswordReset)
	if err != nil {
		return false, err
	}
	if err := s.Risk.ClearAll(ctx, tx, u.Email); err != nil {
		return false, err
	}
	// The link of an older sign-up would bring its password back, and that of a
	// change of address would take the account away.
	if err := user.EndLinks(ctx, tx, now, id); err != nil {
		return false, err
	}
	if err := otp.Forget(ctx, tx, id); err != nil { // begun with the old password; and the mailbox is proved
		return false, err
	}
	about := func(t audit.Type, metadata map[string]any) audit.Event {
		return audit.Event{Type: t, Actor: id, TargetType: "user", Target: id, Metadata: metadata}
	}
	err = audit.Record(ctx, tx, now, about(audit.ResetCompleted, nil),
		about(audit.PasswordChanged, map[string]any{"reason": session.ReasonPasswordReset}),
		about(audit.SessionRevoked, map[string]any{
			"reason": session.ReasonPasswordReset, "session_ids": ended, "revoked_session_count": len(ended),
		}))
	if err != nil {
		return false, err
	}
	return true, s.Jobs.Enqueue(ctx, tx, DoneMail, doneJob{u.Email})
}

// refuse records that a reset failed, without naming anybody: who tried it has
// proved nothing.
func (s *Service) refuse(ctx context.Context, code fault.Code) error {
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		return audit.Record(ctx, tx, s.Clock.Now(), audit.Event{Type: audit.ResetCompleted, Failure: code.Slug})
	})
	if err != nil {
		return err
	}
	return fault.New(code)
}

// hashOf is how a link's token is stored.
func hashOf(token string) string { return secret.Hash(strings.TrimSpace(token)) }
