package signup

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/method/password"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/jobs"
	"github.com/authsdk/authsdk/internal/platform/mail"
)

// VerifyPage is the page that confirmation mails link to.
const VerifyPage = "/verify-email"

const purposeVerify = "verify_email"

// VerifyEmail spends the token of a confirmation link. Fault:
// invalid_verify_token, whatever is wrong with it.
func (s *Service) VerifyEmail(ctx context.Context, token string) (err error) {
	defer fault.Wrap(&err, "signup.VerifyEmail")
	spent := false
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock.Now()
		verified := audit.Event{Type: audit.EmailVerified, Metadata: map[string]any{"operation": "verify"}}
		id, hash, ok, err := spendToken(ctx, tx, now, secret.Hash(strings.TrimSpace(token)))
		if err != nil {
			return err
		}
		spent = ok
		if !ok {
			verified.Failure = fault.InvalidVerifyToken.Slug
			return audit.Record(ctx, tx, now, verified)
		}
		first, err := s.Accounts.SetVerified(ctx, tx, now, id)
		if err != nil {
			return err
		}
		if !first { // confirmed otherwise while the link was being stored: its password is an older one
			hash = ""
		}
		replaced, err := settlePassword(ctx, tx, now, id, hash)
		if err != nil {
			return err
		}
		if replaced {
			verified.Metadata["password_replaced"] = true
		}
		verified.Actor, verified.TargetType, verified.Target = id, "user", id
		return audit.Record(ctx, tx, now, verified)
	})
	if err == nil && !spent {
		return fault.New(fault.InvalidVerifyToken)
	}
	return err
}

// settlePassword makes the password of the confirmed sign-up the account's. If
// somebody else had signed the address up first, theirs is gone, and so are the
// sessions they began.
func settlePassword(ctx context.Context, tx *db.Tx, now time.Time, id uuid.UUID, hash string) (replaced bool, err error) {
	if hash == "" {
		return false, nil
	}
	current, err := password.HashOf(ctx, tx, id)
	if err != nil || current == hash {
		return false, err
	}
	if err := password.Save(ctx, tx, now, id, hash); err != nil {
		return false, err
	}
	_, err = session.EndAll(ctx, tx, now, id, uuid.Nil, session.ReasonPasswordReplaced)
	return true, err
}

// SendVerification works a VerifyMail job. The link's token is made from the
// job's id, so a job that runs twice sends the same link, and a job older than
// the account's newest link sends none.
func (s *Service) SendVerification(ctx context.Context, job jobs.Job) (err error) {
	defer fault.Wrap(&err, "signup.SendVerification")
	var in verifyJob
	if err := job.Args(&in); err != nil {
		return err
	}
	u, found, err := user.ByEmail(ctx, s.DB.Read(), in.Email)
	if err != nil || !found {
		return err
	}
	message := mail.Message{ID: job.ID.String(), To: u.Email}
	data := mailData{Email: u.Email, Life: mail.Life(s.VerifyTTL)}
	if !u.EmailVerified {
		token := base64.RawURLEncoding.EncodeToString(s.Links.MAC([]byte(purposeVerify + job.ID.String())))
		newest, err := s.storeLink(ctx, link{
			user: u.ID, token: secret.Hash(token), password: in.Hash, keep: in.Reason == resend,
			issued: job.EnqueuedAt, expires: s.Clock.Now().Add(s.VerifyTTL),
		})
		if err != nil || !newest {
			return err
		}
		data.Link = s.BaseURL + VerifyPage + "?token=" + url.QueryEscape(token)
	}
	switch {
	case in.Reason == taken:
		err = message.Fill("account_exists", data)
	case u.EmailVerified:
		return nil // confirmed meanwhile
	default:
		err = message.Fill("verify_email", data)
	}
	if err != nil {
		return err
	}
	err = s.Mail.Send(ctx, message)
	s.Metrics.Mail(err)
	return err
}

// mailData is what the templates show. Link is empty for a confirmed account.
type mailData struct {
	Email string
	Link  string
	Life  string // how long the link works
}

// link is a confirmation link: hashes of its token and of the password that
// confirming it settles. keep leaves the password of the link before.
type link struct {
	user            uuid.UUID
	token, password string
	keep            bool
	issued, expires time.Time
}

func (s *Service) storeLink(ctx context.Context, l link) (newest bool, err error) {
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		newest, err = putToken(ctx, tx, l)
		return err
	})
	return newest, err
}

// putToken makes this the account's only live link. It reports false if a newer
// link exists or this one was used.
func putToken(ctx context.Context, tx *db.Tx, l link) (newest bool, err error) {
	done, err := tx.ExecContext(ctx, `
		INSERT INTO email_tokens (user_id, purpose, token_hash, password_hash, issued_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (user_id, purpose) DO UPDATE
		SET token_hash = excluded.token_hash, issued_at = excluded.issued_at, expires_at = excluded.expires_at, used_at = NULL,
			password_hash = CASE WHEN CAST($7 AS BOOLEAN) THEN email_tokens.password_hash ELSE excluded.password_hash END
		WHERE email_tokens.issued_at < excluded.issued_at
			OR (email_tokens.issued_at = excluded.issued_at AND email_tokens.used_at IS NULL)`,
		l.user, purposeVerify, l.token, sql.NullString{String: l.password, Valid: l.password != ""}, l.issued, l.expires, l.keep)
	if err != nil {
		return false, fmt.Errorf("store link: %w", err)
	}
	n, err := done.RowsAffected()
	return n == 1, err
}

// spendToken uses a link up; the WHERE clause is the whole rule.
func spendToken(ctx context.Context, tx *db.Tx, now time.Time, token string) (id uuid.UUID, password string, ok bool, err error) {
	err = tx.QueryRowContext(ctx, `
		UPDATE email_tokens SET used_at = $1
		WHERE token_hash = $2 AND purpose = $3 AND used_at IS NULL AND expires_at > $4 RETURNING user_id, COALESCE(password_hash, '')`,
		now, token, purposeVerify, now).Scan(&id, &password)
	if errors.Is(err, sql.ErrNoRows) {
		return id, "", false, nil
	}
	return id, password, err == nil, err
}
