package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db"
)

// batch is how many rows one transaction inserts.
const batch = 50_000

// fillSQLite loads by INSERT, a prepared statement a table.
func fillSQLite(ctx context.Context, d *db.DB, w *world, l *log) error {
	for _, c := range []copying{
		{table: "users", columns: userColumns, rows: w.accounts()},
		{table: "passwords", columns: passwordColumns, rows: w.passwords()},
		{table: "email_tokens", columns: linkColumns, rows: w.links()},
		{table: "seen", columns: seenColumns, rows: w.seen()},
		{table: "sessions", columns: sessionColumns, rows: w.signIns()},
		{table: "lockouts", columns: lockoutColumns, rows: w.lockouts()},
		{table: "otp_challenges", columns: challengeColumns, rows: w.challenges()},
		{table: "otp_budgets", columns: budgetColumns, rows: w.budgets()},
		{table: "action_tokens", columns: confirmationColumns, rows: w.confirmations()},
		{table: "email_changes", columns: changeColumns, rows: w.changes()},
		{table: "audit_events", columns: eventColumns, rows: w.events(0, w.audit)},
		{table: "audit_personal", columns: personalColumns, rows: w.personal(0, w.audit)},
	} {
		since := time.Now()
		n, err := insert(ctx, d, c)
		if err != nil {
			return fmt.Errorf("%s: %w", c.table, err)
		}
		l.say(c.table, n, since)
	}
	_, err := d.Writer().ExecContext(ctx, `ANALYZE`)
	return err
}

func insert(ctx context.Context, d *db.DB, c copying) (n int, err error) {
	query := fmt.Sprintf(`INSERT INTO %s (%s) VALUES %s`, c.table, c.columns, db.Values(1, 1+strings.Count(c.columns, ",")))
	tx, err := d.Writer().BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() { tx.Rollback() }() // the last one; nothing after a commit
	into, err := tx.PrepareContext(ctx, query)
	if err != nil {
		return 0, err
	}
	for row := range c.rows {
		if _, err := into.ExecContext(ctx, row...); err != nil {
			return n, err
		}
		if n++; n%batch != 0 {
			continue
		}
		if err := tx.Commit(); err != nil {
			return n, err
		}
		if tx, err = d.Writer().BeginTx(ctx, nil); err != nil {
			return n, err
		}
		if into, err = tx.PrepareContext(ctx, query); err != nil {
			return n, err
		}
	}
	return n, tx.Commit()
}
