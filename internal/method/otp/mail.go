package otp

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/jobs"
	"github.com/authsdk/authsdk/internal/platform/mail"
)

// CodeMail is the job kind that SendCode works.
const CodeMail = "mail_otp"

// codeJob names one mail of one challenge; the code itself is not in the queue.
type codeJob struct {
	Email     string    `json:"email"`
	Challenge uuid.UUID `json:"challenge"`
	Send      int       `json:"send"`
}

func (s *Service) enqueue(ctx context.Context, tx *db.Tx, email string, c Challenge) error {
	return s.Jobs.Enqueue(ctx, tx, CodeMail, codeJob{email, c.ID, c.sends})
}

// SendCode works a CodeMail job. What was used up, replaced or is too old
// meanwhile is not mailed.
func (s *Service) SendCode(ctx context.Context, job jobs.Job) (err error) {
	defer fault.Wrap(&err, "otp.SendCode")
	var in codeJob
	if err := job.Args(&in); err != nil {
		return err
	}
	c, found, err := scan(s.DB.Read().QueryRowContext(ctx, `SELECT `+columns+` FROM otp_challenges WHERE id = $1`, in.Challenge))
	now := s.Clock.Now()
	if err != nil || !found || !c.live(now) || c.sends != in.Send {
		return err
	}
	message := mail.Message{ID: job.ID.String(), To: in.Email}
	data := struct{ Code, Action, Target, Life string }{s.code(c.ID, c.sends), c.Action, c.Target, minutes(c.Expires.Sub(now))}
	if err := message.Fill("otp_"+c.Context, data); err != nil {
		return err
	}
	err = s.Mail.Send(ctx, message)
	s.Metrics.Mail(err)
	return err
}

// minutes says how long a code works, in whole minutes, at least one.
func minutes(d time.Duration) string {
	n := max(int((d+30*time.Second)/time.Minute), 1)
	if n == 1 {
		return "1 minute"
	}
	return fmt.Sprintf("%d minutes", n)
}
