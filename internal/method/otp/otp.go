// Package otp is the proof by a mailbox: a numeric code that is mailed and
// typed in again.
//
// A challenge is one row; it is good once, for a few guesses and a few mails,
// however often the code is sent again. Guesses and mails are counted over all
// challenges of an account, too. No code is stored: it is made from the
// challenge's id and the number of the mail with a key that is not in the
// database.
//
//	otp.go    challenges: issue, send again, try
//	store.go  their rows and budgets
//	mail.go   the job that mails a code
package otp

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/metric"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/jobs"
	"github.com/authsdk/authsdk/internal/platform/mail"
)

// Service issues and tries codes.
type Service struct {
	DB      *db.DB
	Clock   *clock.Clock
	Jobs    *jobs.Queue
	Mail    mail.Sender
	Metrics *metric.Metrics // may be nil
	Codes   *secret.Ring    // makes codes

	Length      int           // digits of a code
	TTL         time.Duration // of a challenge
	MaxAttempts int           // wrong guesses that kill a challenge
}

// What a code is for.
const (
	Login  = "login"
	Action = "action"
)

// mostSends is how often one challenge's code is mailed: once and three times
// more.
const mostSends = 4

// Challenge is what a code stands for.
type Challenge struct {
	ID        uuid.UUID
	User      uuid.UUID
	Context   string    // Login or Action
	Session   uuid.UUID // Action: whose it is
	Action    string
	Target    string
	Audiences []string // Login: what was asked for

	Expires  time.Time
	sends    int
	failures int
	spent    bool
}

// metadata of its events.
func (c Challenge) metadata() map[string]any {
	m := map[string]any{"context": c.Context}
	if c.Action != "" {
		m["action"] = c.Action
	}
	return m
}

func (c Challenge) event(t audit.Type, failure string) audit.Event {
	return audit.Event{Type: t, Actor: c.User, Failure: failure, Metadata: c.metadata()}
}

// Issue stores a challenge and queues its mail, in the caller's transaction. A
// challenge for an action replaces the session's last one. Fault:
// otp_issuance_blocked, which Blocked records once the transaction is gone.
func (s *Service) Issue(ctx context.Context, tx *db.Tx, now time.Time, u user.User, c *Challenge) (err error) {
	defer fault.Wrap(&err, "otp.Issue")
	if err := takeMail(ctx, tx, now, u.ID, c.Context); err != nil {
		return err
	}
	if c.Context == Action {
		if err := dropPending(ctx, tx, now, c.Session); err != nil {
			return err
		}
	}
	c.User, c.Expires, c.sends = u.ID, now.Add(s.TTL), 1
	if err := insert(ctx, tx, now, *c); err != nil {
		return err
	}
	if err := audit.Record(ctx, tx, now, c.event(audit.OTPSent, "")); err != nil {
		return err
	}
	return s.enqueue(ctx, tx, u.Email, *c)
}

// Blocked records that no code was mailed.
func (s *Service) Blocked(ctx context.Context, c Challenge) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		return audit.Record(ctx, tx, s.Clock.Now(), c.event(audit.OTPSent, fault.OTPIssuanceBlocked.Slug))
	})
}

// Resend mails another code for a challenge; the one before is dead, the guesses
// made stay counted. Faults: otp_expired, rate_limited, otp_issuance_blocked.
func (s *Service) Resend(ctx context.Context, c Challenge, u user.User) (err error) {
	defer fault.Wrap(&err, "otp.Resend")
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock.Now()
		if !c.live(now) {
			return fault.New(fault.OTPExpired)
		}
		sends, ok, err := again(ctx, tx, now, c.ID)
		switch {
		case err != nil:
			return err
		case !ok && c.sends >= mostSends:
			return fault.Retry(fault.RateLimited, c.Expires.Sub(now))
		case !ok:
			return fault.New(fault.OTPExpired)
		}
		if err := takeMail(ctx, tx, now, u.ID, c.Context); err != nil {
			return err
		}
		c.sends = sends
		if err := audit.Record(ctx, tx, now, c.event(audit.OTPSent, "")); err != nil {
			return err
		}
		return s.enqueue(ctx, tx, u.Email, c)
	})
	if fault.Has(err, fault.OTPIssuanceBlocked) {
		if err := s.Blocked(ctx, c); err != nil {
			return err
		}
	}
	return err
}

func (c Challenge) live(now time.Time) bool { return !c.spent && c.Expires.After(now) }

// Live reports whether a challenge can still be met.
func (s *Service) Live(c Challenge) bool { return c.live(s.Clock.Now()) }

// Try counts a guess, and spends the challenge if it is right, in the caller's
// transaction, which must be committed in either case. refusal says why it is
// not right: otp_expired, invalid_otp, otp_max_attempts_exceeded.
func (s *Service) Try(ctx context.Context, tx *db.Tx, now time.Time, c Challenge, code string) (refusal, err error) {
	defer fault.Wrap(&err, "otp.Try")
	sends, failures, ok, err := guess(ctx, tx, now, c.ID, s.MaxAttempts)
	if err != nil {
		return nil, err
	}
	if !ok {
		return fault.New(fault.OTPExpired), audit.Record(ctx, tx, now, c.event(audit.OTPExpired, fault.OTPExpired.Slug))
	}
	if s.match(c.ID, sends, strings.TrimSpace(code)) {
		if err := spend(ctx, tx, now, c.ID); err != nil {
			return nil, err
		}
		return nil, audit.Record(ctx, tx, now, c.event(audit.OTPVerified, ""))
	}
	events := []audit.Event{c.event(audit.OTPFailed, fault.InvalidOTP.Slug)}
	why := fault.New(fault.InvalidOTP)
	if failures >= s.MaxAttempts {
		why = fault.New(fault.OTPMaxAttempts)
		events[0].Failure = fault.OTPMaxAttempts.Slug
		if err := spend(ctx, tx, now, c.ID); err != nil {
			return nil, err
		}
	}
	blocked, err := failed(ctx, tx, now, c.User, c.Context)
	if err != nil {
		return nil, err
	}
	if blocked {
		events = append(events, c.event(audit.OTPExcessiveFailures, fault.OTPIssuanceBlocked.Slug))
	}
	return why, audit.Record(ctx, tx, now, events...)
}

// Locked records that a code was not looked at.
func (s *Service) Locked(ctx context.Context, c Challenge) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		return audit.Record(ctx, tx, s.Clock.Now(), c.event(audit.OTPFailed, fault.AccountLocked.Slug))
	})
}

// Mask hides an address from onlookers: j***@example.com.
func Mask(email string) string {
	local, domain, _ := strings.Cut(email, "@")
	runes := []rune(local)
	return string(runes[:1]) + strings.Repeat("*", len(runes)-1) + "@" + domain
}

// place is what a code is made from: one mail of one challenge.
func place(id uuid.UUID, send int) []byte {
	return append([]byte{byte(send >> 8), byte(send)}, id[:]...)
}

func (s *Service) code(id uuid.UUID, send int) string {
	return s.Codes.Digits(place(id, send), s.Length)
}

func (s *Service) match(id uuid.UUID, send int, code string) bool {
	return s.Codes.MatchDigits(place(id, send), s.Length, code)
}
