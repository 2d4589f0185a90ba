package account

import (
	"context"
	"encoding/base64"
	"net/url"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/platform/jobs"
	"github.com/authsdk/authsdk/internal/platform/mail"
)

// Job kinds.
const (
	PasswordMail = "mail_password_changed" // SendPasswordChanged works it
	ChangeMail   = "mail_email_change"     // SendChange works it
	ChangedMail  = "mail_email_changed"    // SendChanged works it
)

type passwordJob struct {
	Email string `json:"email"`
}

// changeJob is a mail to one of the two addresses of a change.
type changeJob struct {
	Email  string    `json:"email"`
	Change uuid.UUID `json:"change"`
}

// SendPasswordChanged works a PasswordMail job.
func (s *Service) SendPasswordChanged(ctx context.Context, job jobs.Job) (err error) {
	defer fault.Wrap(&err, "account.SendPasswordChanged")
	var in passwordJob
	if err := job.Args(&in); err != nil {
		return err
	}
	return s.send(ctx, job, "password_changed", mailData{Email: in.Email})
}

// SendChange works a ChangeMail job: the new mailbox receives the link that
// confirms, or, if the address is somebody's, word of it.
func (s *Service) SendChange(ctx context.Context, job jobs.Job) (err error) {
	defer fault.Wrap(&err, "account.SendChange")
	var in changeJob
	if err := job.Args(&in); err != nil {
		return err
	}
	now := s.Clock.Now()
	of, found, err := pending(ctx, s.DB.Read(), now, in.Change)
	if err != nil || !found {
		return err
	}
	if _, found, err = user.ByEmail(ctx, s.DB.Read(), in.Email); err != nil {
		return err
	}
	kept, err := user.Kept(ctx, s.DB.Read(), now, in.Email, of)
	if err != nil {
		return err
	}
	if found || kept {
		return s.send(ctx, job, "email_change_taken", mailData{Email: in.Email})
	}
	link, token := s.link(ConfirmPage, "change_email", job)
	stored := false
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		stored, err = offer(ctx, tx, in.Change, secret.Hash(token))
		return err
	})
	if err != nil || !stored {
		return err
	}
	return s.send(ctx, job, "confirm_email_change", mailData{in.Email, link, mail.Life(s.ConfirmTTL)})
}

// SendChanged works a ChangedMail job: the old mailbox receives the link that
// undoes.
func (s *Service) SendChanged(ctx context.Context, job jobs.Job) (err error) {
	defer fault.Wrap(&err, "account.SendChanged")
	var in changeJob
	if err := job.Args(&in); err != nil {
		return err
	}
	link, token := s.link(UndoPage, "undo_email_change", job)
	stored := false
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		stored, err = offerUndo(ctx, tx, s.Clock.Now(), in.Change, secret.Hash(token))
		return err
	})
	if err != nil || !stored {
		return err
	}
	return s.send(ctx, job, "email_changed", mailData{in.Email, link, mail.Life(undoFor)})
}

// link makes the token of a link from the job's id, so that a job that runs
// twice sends the same link.
func (s *Service) link(page, purpose string, job jobs.Job) (link, token string) {
	token = base64.RawURLEncoding.EncodeToString(s.Links.MAC([]byte(purpose + job.ID.String())))
	return s.BaseURL + page + "?token=" + url.QueryEscape(token), token
}

// mailData is what the templates show, to the address that it names.
type mailData struct {
	Email string
	Link  string
	Life  string // how long the link works
}

func (s *Service) send(ctx context.Context, job jobs.Job, template string, data mailData) error {
	message := mail.Message{ID: job.ID.String(), To: data.Email}
	if err := message.Fill(template, data); err != nil {
		return err
	}
	err := s.Mail.Send(ctx, message)
	s.Metrics.Mail(err)
	return err
}
