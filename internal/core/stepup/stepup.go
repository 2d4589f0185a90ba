// Package stepup asks for a fresh proof before a sensitive act: a confirmation
// of that one act (an action token), or for people without a second factor a
// recent sign-in.
//
// An act calls Prove first and Proof.Spend inside its own transaction, so that
// one confirmation is good for one act.
package stepup

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/token"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// Acts of this service. The admin ones are served by the admin API.
const (
	RoleChange       = "role_change"
	DeleteUser       = "delete_user"
	RevokeSessions   = "revoke_sessions"
	RotateSigningKey = "rotate_signing_key"
	EraseAccount     = "erase_account"
	AdminEraseUser   = "admin_erase_user"
	EnableOTP        = "enable_otp"
	DisableOTP       = "disable_otp"
	ChangePassword   = "change_password"
	ChangeEmail      = "change_email"
	ManageUsers      = "manage_users"
	ManageOTP        = "manage_otp"
	ManageAPIKeys    = "manage_api_keys"
	ManageClients    = "manage_clients"
	ManageWebhooks   = "manage_webhooks"
	ManageProviders  = "manage_providers"
	RevokeSigningKey = "revoke_signing_key"
	ExportAudit      = "export_audit"
)

// Actions lists them.
var Actions = []string{
	RoleChange, DeleteUser, RevokeSessions, RotateSigningKey, EraseAccount, AdminEraseUser, EnableOTP, DisableOTP,
	ChangePassword, ChangeEmail, ManageUsers, ManageOTP, ManageAPIKeys, ManageClients, ManageWebhooks, ManageProviders,
	RevokeSigningKey, ExportAudit,
}

// serviceAction is an act of another service; what stands before the colon is
// its audience.
var serviceAction = regexp.MustCompile(`^[a-z0-9-]+:[a-z0-9_.-]{1,48}$`)

// ParseAction checks the name of an act and tells whose it is: audience is empty
// for this service. Fault: validation_error.
func ParseAction(field, action string) (audience string, err error) {
	switch {
	case slices.Contains(Actions, action):
		return "", nil
	case len(action) <= 255 && serviceAction.MatchString(action):
		audience, _, _ = strings.Cut(action, ":")
		return audience, nil
	}
	return "", fault.Invalid(field, "must be an action of this service, or service:name for one of another")
}

// freshFor is how recent a sign-in must be that passes without a confirmation.
const freshFor = 300 * time.Second

// Service proves and spends.
type Service struct {
	DB     *db.DB
	Clock  *clock.Clock
	Tokens *token.Issuer

	Lifetime time.Duration // of an action token
}

// Demand is what an act asks for.
type Demand struct {
	Action    string
	Target    string // what the act is on: a token that names a target must name this one
	TokenOnly bool   // a recent sign-in is not enough
}

// Proof lets one act through. The zero Proof is a recent sign-in.
type Proof struct {
	confirmation
}

// confirmation is what a row of action_tokens must say.
type confirmation struct {
	id, user, session uuid.UUID
	action            string
}

// Prove decides whether a caller may do a sensitive act, from what SQL says of
// account and session. An action token that is sent must be good. Faults:
// action_token_invalid, otp_required, reauth_required, session_expired.
func (s *Service) Prove(ctx context.Context, caller session.Identity, actionToken string, d Demand) (p Proof, err error) {
	defer fault.Wrap(&err, "stepup.Prove")
	if actionToken != "" {
		c, id, userID, err := s.Tokens.VerifyOnce(ctx, token.TypeAction, actionToken)
		bad := err != nil && fault.Has(err, fault.InvalidToken)
		if err != nil && !bad {
			return p, err
		}
		if bad || userID != caller.User || c.SessionID != caller.Session.String() || c.Action != d.Action ||
			c.Target != "" && c.Target != d.Target || !slices.Contains(c.Audience, s.Tokens.Service) {
			return p, s.refuse(ctx, caller, d, fault.ActionTokenInvalid)
		}
		var unspent int // Spend decides; but a spent one must not even ask what the act says
		err = s.DB.Read().QueryRowContext(ctx, `SELECT COUNT(*) FROM action_tokens WHERE id = $1 AND spent_at IS NULL AND expires_at > $2`,
			id, s.Clock.Now()).Scan(&unspent)
		if err != nil {
			return p, err
		}
		if unspent == 0 {
			return p, s.refuse(ctx, caller, d, fault.ActionTokenInvalid)
		}
		return Proof{confirmation{id, caller.User, caller.Session, d.Action}}, nil
	}
	if d.TokenOnly {
		return p, s.refuse(ctx, caller, d, fault.ActionTokenInvalid)
	}
	sess, u, found, err := session.Find(ctx, s.DB.Read(), caller.Session)
	switch {
	case err != nil:
		return p, err
	case !found || !u.Active || !sess.RevokedAt.IsZero():
		return p, fault.New(fault.SessionExpired)
	case HasSecondFactor(u):
		return p, s.refuse(ctx, caller, d, fault.OTPRequired)
	case s.Clock.Now().Sub(sess.AuthTime) > freshFor:
		return p, s.refuse(ctx, caller, d, fault.ReauthRequired)
	}
	return p, nil
}

// HasSecondFactor reports whether an account's password alone is not enough.
func HasSecondFactor(u user.User) bool { return u.EmailOTPEnabled && u.EmailVerified }

// Required is otp_required, or another code, with the headers that say for
// which act.
func Required(code fault.Code, action string) *fault.Fault {
	f := fault.New(code)
	f.Header = map[string]string{"X-OTP-Required": "true", "X-OTP-Action": action}
	if code == fault.ReauthRequired {
		f.Header = map[string]string{"X-Reauth-Required": "true"}
	}
	return f
}

func (s *Service) refuse(ctx context.Context, caller session.Identity, d Demand, code fault.Code) error {
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		return audit.Record(ctx, tx, s.Clock.Now(), audit.Event{
			Type: audit.StepUpRefused, Actor: caller.User, Failure: code.Slug,
			Metadata: map[string]any{"action": d.Action, "session_id": caller.Session},
		})
	})
	if err != nil {
		return err
	}
	return Required(code, d.Action)
}

// Spend uses the proof up in the transaction of the act. Fault:
// action_token_invalid if another act was faster.
func (p Proof) Spend(ctx context.Context, tx *db.Tx, now time.Time, d Demand) error {
	if p.id == uuid.Nil {
		return nil
	}
	spent, err := spend(ctx, tx, now, p.confirmation)
	if err == nil && !spent {
		return Required(fault.ActionTokenInvalid, d.Action)
	}
	return err
}

// Mint stores a confirmation and returns the claims to sign, outside the
// transaction, with Sign. audiences are those of the caller's access token.
func (s *Service) Mint(ctx context.Context, tx *db.Tx, now time.Time, caller session.Identity, id uuid.UUID, action, target string) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO action_tokens (id, user_id, session_id, action, target, expires_at) VALUES ($1, $2, $3, $4, $5, $6)`,
		id, caller.User, caller.Session, action, sql.NullString{String: target, Valid: target != ""}, now.Add(s.Lifetime))
	if err != nil {
		return fmt.Errorf("stepup.Mint: %w", err)
	}
	return nil
}

// Sign makes the token of a confirmation. One for another service's act names
// that service alone.
func (s *Service) Sign(caller session.Identity, id uuid.UUID, action, target string) (string, error) {
	audience := slices.Clone(caller.Claims.Audience)
	if of, _, other := strings.Cut(action, ":"); other {
		audience = token.Audience{of}
	}
	return s.Tokens.Action(token.Once{
		ID: id.String(), Subject: caller.User.String(), Audience: audience, SessionID: caller.Session.String(), Action: action, Target: target,
	}, s.Clock.Now().Add(s.Lifetime))
}

// Consume spends a confirmation on behalf of another service, which calls with
// the access token of the person it acts for. The target must be the token's:
// one that names none confirms nothing that has one. Fault: action_token_invalid.
func (s *Service) Consume(ctx context.Context, caller session.Identity, actionToken, action, target string) (err error) {
	defer fault.Wrap(&err, "stepup.Consume")
	invalid := Required(fault.ActionTokenInvalid, action)
	c, id, userID, err := s.Tokens.VerifyOnce(ctx, token.TypeAction, actionToken)
	switch {
	case fault.Has(err, fault.InvalidToken):
		return invalid
	case err != nil:
		return err
	case userID != caller.User, c.SessionID != caller.Session.String(), c.Action != action, c.Target != target:
		return invalid
	}
	spent := false
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock.Now()
		if spent, err = spend(ctx, tx, now, confirmation{id, caller.User, caller.Session, action}); err != nil || !spent {
			return err
		}
		return audit.Record(ctx, tx, now, audit.Event{
			Type: audit.ActionTokenConsumed, Actor: caller.User, Metadata: map[string]any{"action": action, "session_id": caller.Session},
		})
	})
	if err == nil && !spent {
		return invalid
	}
	return err
}

// spend uses a confirmation up; the WHERE clause is the whole rule. The row must
// say what the token says: a signature alone confirms nothing.
func spend(ctx context.Context, tx *db.Tx, now time.Time, c confirmation) (spent bool, err error) {
	done, err := tx.ExecContext(ctx, `
		UPDATE action_tokens SET spent_at = $1
		WHERE id = $2 AND user_id = $3 AND session_id = $4 AND action = $5 AND spent_at IS NULL AND expires_at > $6`,
		now, c.id, c.user, c.session, c.action, now)
	if err != nil {
		return false, fmt.Errorf("stepup: spend: %w", err)
	}
	n, err := done.RowsAffected()
	return n == 1, err
}

// Forget deletes the confirmations of an account.
func Forget(ctx context.Context, tx *db.Tx, userID uuid.UUID) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM action_tokens WHERE user_id = $1`, userID); err != nil {
		return fmt.Errorf("stepup.Forget: %w", err)
	}
	return nil
}

// Prune deletes confirmations that can no longer be used.
func Prune(ctx context.Context, d *db.DB, now time.Time) error {
	return d.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM action_tokens WHERE expires_at < $1`, now)
		return err
	})
}
