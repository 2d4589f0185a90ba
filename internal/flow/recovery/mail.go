package recovery

import (
	"context"
	"encoding/base64"
	"net/url"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/jobs"
	"github.com/authsdk/authsdk/internal/platform/mail"
)

// Job kinds.
const (
	ResetMail = "mail_reset_password"     // SendReset works it
	DoneMail  = "mail_password_was_reset" // SendDone works it
)

// resetJob carries the address, and where the request came from: who asks for a
// link is known only here, and the owner sees it in the history.
type resetJob struct {
	Email         string `json:"email"`
	IP            string `json:"ip,omitempty"`
	UserAgent     string `json:"user_agent,omitempty"`
	CorrelationID string `json:"correlation_id,omitempty"`
	Undone        bool   `json:"undone,omitempty"`  // nobody asked: MailLink
	Invited       bool   `json:"invited,omitempty"` // nobody asked: Invite
}

type doneJob struct {
	Email string `json:"email"`
}

// MailLink queues a link for the owner of an address that an account was given
// back to: its password was removed.
func (s *Service) MailLink(ctx context.Context, tx *db.Tx, email string) error {
	return s.Jobs.Enqueue(ctx, tx, ResetMail, resetJob{Email: email, Undone: true})
}

// Invite queues a link for the owner of an account that somebody else made.
func (s *Service) Invite(ctx context.Context, tx *db.Tx, email string) error {
	return s.Jobs.Enqueue(ctx, tx, ResetMail, resetJob{Email: email, Invited: true})
}

// SendReset works a ResetMail job. The link's token is made from the job's id,
// so a job that runs twice sends the same link, and a job older than the
// account's newest link sends none.
func (s *Service) SendReset(ctx context.Context, job jobs.Job) (err error) {
	defer fault.Wrap(&err, "recovery.SendReset")
	var in resetJob
	if err := job.Args(&in); err != nil {
		return err
	}
	ctx = audit.WithOrigin(ctx, audit.Origin{IP: in.IP, UserAgent: in.UserAgent, CorrelationID: in.CorrelationID})
	token := base64.RawURLEncoding.EncodeToString(s.Links.MAC([]byte(purpose + job.ID.String())))
	stored := false
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		stored, err = s.offer(ctx, tx, in, job, secret.Hash(token))
		return err
	})
	if err != nil || !stored {
		return err
	}
	template := "reset_password"
	switch {
	case in.Undone:
		template = "email_change_undone"
	case in.Invited:
		template = "invitation"
	}
	link := s.BaseURL + ResetPage + "?token=" + url.QueryEscape(token)
	return s.send(ctx, job, in.Email, template, mailData{in.Email, link, mail.Life(s.ResetTTL)})
}

// offer records that a link was asked for, and stores it if there is an account
// to reset. It looks the account up anew in the transaction, so that no link
// outlives a change of address or password beside it.
func (s *Service) offer(ctx context.Context, tx *db.Tx, in resetJob, job jobs.Job, hash string) (stored bool, err error) {
	now := s.Clock.Now()
	u, found, err := user.ByEmail(ctx, tx, in.Email)
	if err != nil {
		return false, err
	}
	if found {
		if u, found, err = user.Lock(ctx, tx, u.ID); err != nil {
			return false, err
		}
		found = found && u.Email == in.Email
	}
	requested := audit.Event{Type: audit.ResetRequested}
	if found {
		requested.Actor, requested.TargetType, requested.Target = u.ID, "user", u.ID
	}
	again, err := known(ctx, tx, hash)
	if err != nil {
		return false, err
	}
	if !in.Undone && !in.Invited && !again {
		if err := audit.Record(ctx, tx, now, requested); err != nil {
			return false, err
		}
	}
	if !found || !u.Active {
		return false, nil
	}
	return put(ctx, tx, u.ID, hash, job.EnqueuedAt, now.Add(s.ResetTTL))
}

// SendDone works a DoneMail job.
func (s *Service) SendDone(ctx context.Context, job jobs.Job) (err error) {
	defer fault.Wrap(&err, "recovery.SendDone")
	var in doneJob
	if err := job.Args(&in); err != nil {
		return err
	}
	return s.send(ctx, job, in.Email, "password_was_reset", mailData{Email: in.Email})
}

// mailData is what the templates show.
type mailData struct {
	Email string
	Link  string
	Life  string // how long the link works
}

func (s *Service) send(ctx context.Context, job jobs.Job, to, template string, data mailData) error {
	message := mail.Message{ID: job.ID.String(), To: to}
	if err := message.Fill(template, data); err != nil {
		return err
	}
	err := s.Mail.Send(ctx, message)
	s.Metrics.Mail(err)
	return err
}
