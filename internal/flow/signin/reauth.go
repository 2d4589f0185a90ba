package signin

import (
	"context"
	"time"

	"github.com/authsdk/authsdk/internal/core/risk"
	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/method/password"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// Reauth checks the password of somebody signed in again and returns an access
// token that says so. Faults: validation_error, invalid_token, otp_required,
// account_locked, invalid_credentials, session_expired.
func (s *Service) Reauth(ctx context.Context, caller session.Identity, pass string) (access string, err error) {
	defer fault.Wrap(&err, "signin.Reauth")
	sess, u, found, err := session.Find(ctx, s.DB.Read(), caller.Session)
	if err != nil {
		return "", err
	}
	if !found || !u.Active {
		return "", fault.New(fault.InvalidToken)
	}
	refuse := func(tx *db.Tx, now time.Time, why error) error {
		return audit.Record(ctx, tx, now, audit.Event{Type: audit.ReauthFailure, Actor: u.ID, Failure: fault.From(why).Code.Slug, Metadata: about(sess)})
	}
	if stepup.HasSecondFactor(u) { // a password alone proves too little
		why := fault.New(fault.OTPRequired)
		why.Header = map[string]string{"X-OTP-Required": "true"}
		return "", first(s.DB.Write(ctx, func(tx *db.Tx) error { return refuse(tx, s.Clock.Now(), why) }), why)
	}
	hash, err := password.HashOf(ctx, s.DB.Read(), u.ID)
	if err != nil {
		return "", err
	}
	if hash == "" {
		return "", fault.New(fault.InvalidToken)
	}
	place, err := s.Risk.Look(ctx, u.ID)
	if err != nil {
		return "", err
	}
	turn, err := s.Passwords.Reserve(true)
	if err != nil {
		return "", err
	}
	defer turn.Leave()
	attempt, err := s.charge(ctx, u.Email, place)
	if fault.Has(err, fault.AccountLocked) {
		why := err
		return "", first(s.DB.Write(ctx, func(tx *db.Tx) error { return refuse(tx, s.Clock.Now(), why) }), why)
	}
	if err != nil {
		return "", err
	}
	right, better, err := s.Passwords.VerifyIn(ctx, turn, "password", hash, pass)
	if err != nil {
		return "", first(s.takeBack(ctx, attempt), err)
	}
	if !right {
		ctx, done := db.Settle(ctx) // who hangs up now guessed all the same
		defer done()
		why := error(fault.New(fault.InvalidCredentials))
		err := s.DB.Write(ctx, func(tx *db.Tx) error {
			now := s.Clock.Now()
			locked, err := attempt.Failed(ctx, tx, now, risk.About{User: u.ID, Provider: password.Provider})
			if err != nil {
				return err
			}
			if locked != nil {
				why = locked
			}
			return refuse(tx, now, why)
		})
		return "", first(err, why)
	}
	access, err = s.reprove(ctx, sess, u, place, attempt, hash, better)
	if err != nil { // a right password is no failure, whatever came after
		return "", first(s.takeBack(ctx, attempt), err)
	}
	return access, nil
}

// reprove stores that the password was right just now.
func (s *Service) reprove(ctx context.Context, sess session.Session, u user.User, place risk.Place, a risk.Attempt, hash, better string) (access string, err error) {
	sess.AuthTime = s.Clock.Now()
	if access, err = s.Sessions.Renew(sess, u); err != nil {
		return "", err
	}
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		now := sess.AuthTime
		live, err := session.Reprove(ctx, tx, sess.ID, now)
		if err != nil {
			return err
		}
		if !live {
			return fault.New(fault.SessionExpired)
		}
		if better != "" {
			if err := password.Replace(ctx, tx, u.ID, hash, better); err != nil {
				return err
			}
		}
		if err := s.Risk.Clear(ctx, tx, a); err != nil {
			return err
		}
		if err := s.Risk.Remember(ctx, tx, now, u.ID, place); err != nil {
			return err
		}
		return audit.Record(ctx, tx, now, audit.Event{Type: audit.ReauthSuccess, Actor: u.ID, Metadata: about(sess)})
	})
	return access, err
}

// about is the metadata of its events.
func about(sess session.Session) map[string]any {
	return map[string]any{"provider": password.Provider, "session_id": sess.ID}
}
