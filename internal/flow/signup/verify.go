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

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
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
		id, ok, err := spendToken(ctx, tx, now, secret.Hash(strings.TrimSpace(token)))
		if err != nil {
			return err
		}
		spent = ok
		if !ok {
			verified.Failure = fault.InvalidVerifyToken.Slug
			return audit.Record(ctx, tx, now, verified)
		}
		if _, err := s.Accounts.SetVerified(ctx, tx, now, id); err != nil {
			return err
		}
		verified.Actor, verified.TargetType, verified.Target = id, "user", id
		return audit.Record(ctx, tx, now, verified)
	})
	if err == nil && !spent {
		return fault.New(fault.InvalidVerifyToken)
	}
	return err
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
	data := mailData{Email: u.Email, Life: inWords(s.VerifyTTL)}
	if !u.EmailVerified {
		token := base64.RawURLEncoding.EncodeToString(s.Links.MAC([]byte(purposeVerify + job.ID.String())))
		newest, err := s.storeLink(ctx, u.ID, token, job.EnqueuedAt)
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

// inWords says a duration as people do: 24 hours, 30 minutes.
func inWords(d time.Duration) string {
	n, unit := int(d.Hours()), "hour"
	if d < time.Hour || d%time.Hour != 0 {
		n, unit = max(int(d.Minutes()), 1), "minute"
	}
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s", n, unit)
}

func (s *Service) storeLink(ctx context.Context, id uuid.UUID, token string, issued time.Time) (newest bool, err error) {
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		newest, err = putToken(ctx, tx, id, secret.Hash(token), issued, s.Clock.Now().Add(s.VerifyTTL))
		return err
	})
	return newest, err
}

// putToken makes this the account's only live link. It reports false if a newer
// link exists or this one was used.
func putToken(ctx context.Context, tx *db.Tx, id uuid.UUID, hash string, issued, expires time.Time) (newest bool, err error) {
	done, err := tx.ExecContext(ctx, `
		INSERT INTO email_tokens (user_id, purpose, token_hash, issued_at, expires_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (user_id, purpose) DO UPDATE
		SET token_hash = excluded.token_hash, issued_at = excluded.issued_at, expires_at = excluded.expires_at, used_at = NULL
		WHERE email_tokens.issued_at < excluded.issued_at
			OR (email_tokens.token_hash = excluded.token_hash AND email_tokens.used_at IS NULL)`,
		id, purposeVerify, hash, issued, expires)
	if err != nil {
		return false, fmt.Errorf("store link: %w", err)
	}
	n, err := done.RowsAffected()
	return n == 1, err
}

// spendToken uses a link up; the WHERE clause is the whole rule.
func spendToken(ctx context.Context, tx *db.Tx, now time.Time, hash string) (id uuid.UUID, ok bool, err error) {
	err = tx.QueryRowContext(ctx, `
		UPDATE email_tokens SET used_at = $1
		WHERE token_hash = $2 AND purpose = $3 AND used_at IS NULL AND expires_at > $4 RETURNING user_id`,
		now, hash, purposeVerify, now).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return id, false, nil
	}
	return id, err == nil, err
}
