package mail

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
)

// Mailbox is a Sender for development: messages are rows, shown on a page.
type Mailbox struct {
	DB    *db.DB
	Clock *clock.Clock
	From  string
}

// Stored is a message in the mailbox.
type Stored struct {
	ID        uuid.UUID
	From      string
	CreatedAt time.Time
	Message
}

// Send implements Sender. A message that is there already is not added again.
func (b *Mailbox) Send(ctx context.Context, m Message) error {
	return b.DB.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, `
			INSERT INTO mailbox (id, message_id, recipient, sender, subject, text_body, html_body, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (message_id) DO NOTHING`,
			uuid.Must(uuid.NewV7()), m.ID, m.To, b.From, m.Subject, m.Text, m.HTML, b.Clock.Now())
		if err != nil {
			return fmt.Errorf("mailbox: %w", err)
		}
		return nil
	})
}

// Forget deletes what the mailbox holds for an address.
func Forget(ctx context.Context, tx *db.Tx, address string) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM mailbox WHERE recipient = $1`, address); err != nil {
		return fmt.Errorf("mailbox: %w", err)
	}
	return nil
}

// listMost bounds a listing; a mailbox is for looking, not for keeping.
const listMost = 200

// List returns the newest messages first, of one recipient if to is not empty.
func (b *Mailbox) List(ctx context.Context, to string) ([]Stored, error) {
	rows, err := b.DB.Read().QueryContext(ctx, `
		SELECT id, message_id, recipient, sender, subject, text_body, html_body, created_at FROM mailbox
		WHERE CAST($1 AS TEXT) = '' OR recipient = $2 ORDER BY created_at DESC, id DESC LIMIT $3`, to, to, listMost)
	if err != nil {
		return nil, fmt.Errorf("mailbox: %w", err)
	}
	defer rows.Close()
	list := []Stored{}
	for rows.Next() {
		var m Stored
		if err := rows.Scan(&m.ID, &m.Message.ID, &m.To, &m.From, &m.Subject, &m.Text, &m.HTML, &m.CreatedAt); err != nil {
			return nil, fmt.Errorf("mailbox: %w", err)
		}
		m.CreatedAt = m.CreatedAt.UTC()
		list = append(list, m)
	}
	return list, rows.Err()
}

var (
	linkPattern = regexp.MustCompile(`https?://[^\s<>"]+`)
	codePattern = regexp.MustCompile(`(?m)^\s*(\d{4,12})\s*$`)
)

// Links returns the links in the text, in order.
func (m Stored) Links() []string { return found(linkPattern.FindAllString(m.Text, -1)) }

// Codes returns the one-time codes in the text: numbers that stand alone on a
// line.
func (m Stored) Codes() []string {
	codes := codePattern.FindAllString(m.Text, -1)
	for i := range codes {
		codes[i] = strings.TrimSpace(codes[i])
	}
	return found(codes)
}

// found makes an empty list rather than none, and drops repeats.
func found(list []string) []string {
	once := []string{}
	for _, s := range list {
		if !slices.Contains(once, s) {
			once = append(once, s)
		}
	}
	return once
}

// Tokens returns the token parameter of each link that has one.
func (m Stored) Tokens() []string {
	var tokens []string
	for _, link := range m.Links() {
		if u, err := url.Parse(link); err == nil && u.Query().Get("token") != "" {
			tokens = append(tokens, u.Query().Get("token"))
		}
	}
	return found(tokens)
}
