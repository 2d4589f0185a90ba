package httpapi

import (
	"net/http"
	"time"

	"github.com/authsdk/authsdk/internal/platform/mail"
	"github.com/authsdk/authsdk/internal/transport/web"
)

type mailboxAPI struct {
	mailbox *mail.Mailbox
	local   func(web.Handler) web.Handler
}

func (a mailboxAPI) routes() []Route {
	return []Route{
		plain("GET /dev/mailbox/messages", "Mails sent in development, newest first; ?to= for one recipient", a.local(a.messages), documentAnswer[mailboxOutput]).tag("Development"),
	}
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

func (a mailboxAPI) messages(w http.ResponseWriter, r *http.Request) error {
	list, err := a.mailbox.List(r.Context(), r.URL.Query().Get("to"))
	if err != nil {
		return err
	}
	out := mailboxOutput{Messages: []mailboxMessage{}}
	for _, m := range list {
		out.Messages = append(out.Messages, mailboxMessage{
			m.ID.String(), m.From, m.To, m.Subject, m.Text, m.HTML, m.Links(), m.Tokens(), m.Codes(), m.CreatedAt,
		})
	}
	web.WriteJSON(w, http.StatusOK, out)
	return nil
}
