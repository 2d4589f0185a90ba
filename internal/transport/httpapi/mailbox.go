package httpapi

import (
	"context"
	"time"

	"github.com/authsdk/authsdk/internal/platform/mail"
)

type mailboxAPI struct{ mailbox *mail.Mailbox }

func (a mailboxAPI) routes() []Route {
	return []Route{
		query("GET /dev/mailbox/messages", "Mails sent in development, newest first", a.messages).tag("Development").auth(Local),
	}
}

type mailboxQuery struct {
	To string `query:"to" maxLength:"320" doc:"Mails to this recipient only."`
}

type mailboxOutput struct {
	Messages []mailboxMessage `json:"messages"`
}

type mailboxMessage struct {
	ID        string    `json:"id"`
	From      string    `json:"from"`
	To        string    `json:"to"`
	Subject   string    `json:"subject"`
	Text      string    `json:"text"`
	HTML      string    `json:"html"`
	Links     []string  `json:"links" doc:"The links in the text."`
	Tokens    []string  `json:"tokens" doc:"The token of each link that has one."`
	Codes     []string  `json:"codes" doc:"The one-time codes in the text."`
	CreatedAt time.Time `json:"created_at"`
}

func (a mailboxAPI) messages(ctx context.Context, in mailboxQuery) (mailboxOutput, error) {
	list, err := a.mailbox.List(ctx, in.To)
	out := mailboxOutput{Messages: []mailboxMessage{}}
	for _, m := range list {
		out.Messages = append(out.Messages, mailboxMessage{
			m.ID.String(), m.From, m.To, m.Subject, m.Text, m.HTML, m.Links(), m.Tokens(), m.Codes(), m.CreatedAt,
		})
	}
	return out, err
}
