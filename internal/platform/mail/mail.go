// Package mail sends messages: by SMTP, or in development into a mailbox that
// anybody on the machine can read.
package mail

import (
	"context"
	"embed"
	"fmt"
	htmltemplate "html/template"
	"io/fs"
	"strings"
	texttemplate "text/template"
)

// Message is one mail to one person.
type Message struct {
	ID      string // stable: the same message sent twice has the same Message-ID
	To      string
	Subject string
	Text    string
	HTML    string
}

// Sender delivers a message or says why it could not. Sending the same message
// again is harmless.
type Sender interface {
	Send(ctx context.Context, m Message) error
}

//go:embed messages
var files embed.FS

var texts, pages = parse()

func parse() (*texttemplate.Template, *htmltemplate.Template) {
	messages, err := fs.Sub(files, "messages")
	if err != nil {
		panic(err)
	}
	return texttemplate.Must(texttemplate.ParseFS(messages, "*.subject", "*.txt")),
		htmltemplate.Must(htmltemplate.ParseFS(messages, "*.html"))
}

// Fill writes the message from its templates: messages/NAME.subject, .txt and
// .html.
func (m *Message) Fill(name string, data any) error {
	var subject, text, html strings.Builder
	if err := texts.ExecuteTemplate(&subject, name+".subject", data); err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	if err := texts.ExecuteTemplate(&text, name+".txt", data); err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	if err := pages.ExecuteTemplate(&html, name+".html", data); err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	m.Subject, m.Text, m.HTML = strings.TrimSpace(subject.String()), text.String(), html.String()
	return nil
}
