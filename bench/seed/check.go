package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db"
)

// verify counts what is there: as many as were asked for, and nothing without
// what belongs to it.
func verify(ctx context.Context, d *db.DB, s size, out io.Writer) error {
	now := time.Now().UTC()
	for _, c := range []struct {
		what, query string
		least, most int
		args        []any
	}{
		{"accounts", `SELECT COUNT(*) FROM users WHERE email LIKE 'user%' AND email_verified`, s.users, s.users, nil},
		{"passwords of them", `SELECT COUNT(*) FROM users u JOIN passwords p ON p.user_id = u.id WHERE u.email LIKE 'user%'`, s.users, s.users, nil},
		{"sessions", `SELECT COUNT(*) FROM sessions s JOIN users u ON u.id = s.user_id`, s.sessions, maxInt, nil},
		// They run out one after another, so this holds for a day.
		{"live ones", `SELECT COUNT(*) FROM sessions WHERE revoked_at IS NULL AND expires_at > $1`, s.sessions * 15 / 100, s.sessions * 22 / 100, []any{now}},
		{"events", `SELECT COUNT(*) FROM audit_events`, s.audit, maxInt, nil},
		{"personal parts of them", `SELECT COUNT(*) FROM audit_personal`, s.audit, maxInt, nil},
	} {
		var n int
		if err := d.Read().QueryRowContext(ctx, c.query, c.args...).Scan(&n); err != nil {
			return fmt.Errorf("%s: %w", c.what, err)
		}
		fmt.Fprintf(out, "%11d %s\n", n, c.what)
		if n < c.least || n > c.most {
			return fmt.Errorf("%s: %d, expected %d or more", c.what, n, c.least)
		}
	}
	if d.Engine() != db.Postgres {
		return nil
	}
	var stray bool
	err := d.Read().QueryRowContext(ctx,
		`SELECT EXISTS (SELECT 1 FROM audit_events_default) OR EXISTS (SELECT 1 FROM audit_personal_default)`).Scan(&stray)
	if err == nil && stray {
		err = fmt.Errorf("events are in the default partition, so that their month cannot have one")
	}
	return err
}

const maxInt = int(^uint(0) >> 1)
