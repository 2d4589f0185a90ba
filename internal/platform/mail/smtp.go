package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"regexp"
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

	timeout time.Duration // smtpTimeout, but for tests
}

// smtpTimeout bounds the whole conversation with the server.
const smtpTimeout = 20 * time.Second

func (s *SMTP) within() time.Duration {
	if s.timeout > 0 {
		return s.timeout
	}
	return smtpTimeout
}

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

	ctx, cancel := context.WithTimeout(ctx, s.within())
	defer cancel()
	client, err := s.client(ctx)
	if err != nil {
		return err
	}
	err = client.DialAndSendWithContext(ctx, message)
	if err != nil && !message.IsDelivered() { // else the server only hung up without a goodbye
		return errors.New("smtp: " + nameless(err.Error(), m.To))
	}
	return nil
}

// nameless takes an address out of what a server says: the log is no place for
// it.
func nameless(text, address string) string {
	return regexp.MustCompile(`(?i)`+regexp.QuoteMeta(address)).ReplaceAllLiteralString(text, "(recipient)")
}

// Greet connects, secures the connection and logs in, and sends nothing.
func (s *SMTP) Greet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.within())
	defer cancel()
	client, err := s.client(ctx)
	if err != nil {
		return err
	}
	if err := client.DialWithContext(ctx); err != nil {
		return fmt.Errorf("smtp: %w", err)
	}
	return client.Close()
}

// client makes a client whose connection ends with ctx at the latest: go-mail
// watches ctx only while it dials, and leaves a connection open that it could
// not secure.
func (s *SMTP) client(ctx context.Context) (*gomail.Client, error) {
	dial := (&net.Dialer{}).DialContext
	if s.TLS == "tls" {
		dial = (&tls.Dialer{Config: &tls.Config{ServerName: s.Host, MinVersion: tls.VersionTLS12}}).DialContext
	}
	tied := func(dialCtx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(dialCtx, network, address)
		if err == nil {
			context.AfterFunc(ctx, func() { conn.Close() })
		}
		return conn, err
	}
	client, err := gomail.NewClient(s.Host, append(s.options(), gomail.WithDialContextFunc(tied))...)
	if err != nil {
		return nil, fmt.Errorf("smtp: %w", err)
	}
	return client, nil
}

func (s *SMTP) options() []gomail.Option {
	o := []gomail.Option{gomail.WithPort(s.Port), gomail.WithTimeout(s.within())}
	switch {
	case s.TLS == "starttls":
		o = append(o, gomail.WithTLSPolicy(gomail.TLSMandatory))
	case s.TLS == "none":
		o = append(o, gomail.WithTLSPolicy(gomail.NoTLS))
	default: // tls too: client has dialled it, and the server offers no more
		o = append(o, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	}
	if s.Username != "" {
		o = append(o, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(s.Username), gomail.WithPassword(s.Password))
	}
	return o
}
