// Package revocation tells every replica what is no longer to be trusted.
//
// A revocation is a row of an append-only table, written in the transaction
// that revokes. Each replica tails that table into memory: every 250 ms, and at
// once when PostgreSQL notifies it. A check first asks this set, so a session
// ended on one replica is refused by all within a second, with or without
// Redis.
package revocation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db"
)

// Kind says what an entry revokes.
type Kind string

// The kinds. Session, Key and APIKey end what they name; User and Client end what
// was issued before their epoch; Changed ends what caches have of a lower version.
const (
	Session Kind = "session"
	User    Kind = "user"
	Client  Kind = "client"
	Key     Kind = "key"
	APIKey  Kind = "api_key"
	Changed Kind = "changed" // a row that caches hold: "client:<client_id>", "api_key:<id>"
)

// Entry is one revocation.
type Entry struct {
	Kind    Kind
	Subject string // session, user, client or API key id; kid
	Epoch   int64  // for User and Client: older tokens are refused; for Changed the version
	// Expires is when nothing that the entry forbids can be valid any more:
	// the longest token life of its kind, plus leeway, plus a minute.
	Expires time.Time
}

// appendBatch is how many entries one statement writes.
const appendBatch = 500

// Append writes entries in the caller's transaction. This process refuses what
// they name as soon as the transaction commits.
func (f *Feed) Append(ctx context.Context, tx *db.Tx, now time.Time, entries ...Entry) error {
	if len(entries) == 0 {
		return nil
	}
	const into = `INSERT INTO revocations (kind, subject, epoch, created_at, expires_at) VALUES `
	for batch := range slices.Chunk(entries, appendBatch) {
		var rows []any
		for _, e := range batch {
			rows = append(rows, string(e.Kind), e.Subject, e.Epoch, now, e.Expires)
		}
		if _, err := tx.ExecContext(ctx, into+db.Values(len(batch), 5), rows...); err != nil {
			return fmt.Errorf("revocation: %w", err)
		}
	}
	if tx.Engine() == db.Postgres {
		if _, err := tx.ExecContext(ctx, `SELECT pg_notify('authd_revocations', '')`); err != nil {
			return fmt.Errorf("revocation: notify: %w", err)
		}
	}
	tx.AfterCommit(func() { f.apply(entries) })
	return nil
}

// Prune deletes entries that can no longer matter.
func Prune(ctx context.Context, d *db.DB, now time.Time) error {
	return d.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM revocations WHERE expires_at < $1`, now)
		return err
	})
}
