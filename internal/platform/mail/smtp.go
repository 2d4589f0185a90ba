package mail

import (
	"context"
	"fmt"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// SMTP is a Sender through a mail server.
type SMTP struct {
	Host     string
	Port     int
	Username string // empty does not log in
	Password string
	TLS      string // starttls, tls, none, or opportunistic: STARTTLS if offered
	From     string
}

// smtpTimeout bounds the whole conversation with the server.
const smtpTimeout = 20 * time.Second

// Send implements Sender. The server must take the message over before it
// returns nil.
func (s *SMTP) Send(ctx context.Context, m Message) error {
	message := gomail.NewMsg()
	if err := message.From(s.From); err != nil {
		return fmt.Errorf("smtp: sender: %w", err)
	}
	if err := message.To(m.To); err != nil {
		return fmt.Errorf("smtp: recipient is not an address")
	}
	_, domain, _ := strings.Cut(s.From, "@")
	message.SetMessageIDWithValue(m.ID + "@" + strings.Trim(domain, "<> "))
	message.Subject(m.Subject)
	message.SetBodyString(gomail.TypeTextPlain, m.Text)
	message.AddAlternativeString(gomail.TypeTextHTML, m.HTML)

	client, err := gomail.NewClient(s.Host, s.options()...)
	if err != nil {
		return fmt.Errorf("smtp: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, smtpTimeout)
	defer cancel()
	if err := client.DialAndSendWithContext(ctx, message); err != nil {
		return fmt.Errorf("smtp: %w", err)
	}
	return nil
}

func (s *SMTP) options() []gomail.Option {
	o := []gomail.Option{gomail.WithPort(s.Port), gomail.WithTimeout(smtpTimeout)}
	switch {
	case s.TLS == "tls":
		o = append(o, gomail.WithSSL())
	case s.TLS == "starttls":
		o = append(o, gomail.WithTLSPolicy(gomail.TLSMandatory))
	case s.TLS == "none":
		o = append(o, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		o = append(o, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	}
	if s.Username != "" {
		o = append(o, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(s.Username), gomail.WithPassword(s.Password))
	}
	return o
}
