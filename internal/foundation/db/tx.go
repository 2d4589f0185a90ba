package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/authsdk/authsdk/internal/foundation/trace"
)

// Tx is a transaction. A function that takes one is part of its caller's act.
type Tx struct {
	*sql.Tx
	engine Engine
	after  []func()
}

// Engine tells which database this is, for the few statements that have two
// texts.
func (tx *Tx) Engine() Engine { return tx.engine }

// AfterCommit runs fn once the transaction is durable. It is for waking
// workers and caches; whatever must not be lost is a row.
func (tx *Tx) AfterCommit(fn func()) { tx.after = append(tx.after, fn) }

// writeTries bounds how often a transaction that lost a race inside PostgreSQL
// is run again.
const writeTries = 5

// Write runs fn in a transaction and commits it. fn may run more than once
// (PostgreSQL serialization failures and deadlocks are retried), so it changes
// nothing but the database; it must not hash, mail or call out.
func (d *DB) Write(ctx context.Context, fn func(tx *Tx) error) (err error) {
	ctx, span := trace.Start(ctx, "db.Write")
	defer func() { span.End(err) }()
	for try := 1; ; try++ {
		err = d.writeOnce(ctx, fn)
		if err == nil || try == writeTries || !isRetryable(err) {
			return err
		}
	}
}

func (d *DB) writeOnce(ctx context.Context, fn func(tx *Tx) error) error {
	sqlTx, err := d.writer.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer sqlTx.Rollback() // a no-op after Commit
	tx := &Tx{Tx: sqlTx, engine: d.engine}
	if err := fn(tx); err != nil {
		return err
	}
	if err := sqlTx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	for _, f := range tx.after {
		f()
	}
	return nil
}

// settleFor is how long what must be recorded may take once its caller is gone.
const settleFor = 5 * time.Second

// Settle returns a context for what must be recorded even if the caller hangs
// up now.
func Settle(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), settleFor)
}

// IsConflict reports whether err is a broken unique constraint.
func IsConflict(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "23505"
	}
	var lite *sqlite.Error
	return errors.As(err, &lite) &&
		(lite.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || lite.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
}

func isRetryable(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01")
}

// IsUnavailable reports whether err means that the database cannot be used
// right now (unreachable, restarting, full, read-only, too busy), so that the
// same request may succeed later.
func IsUnavailable(err error) bool {
	if err == nil {
		return false
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, driver.ErrBadConn) {
		return true
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code[:2] {
		case "08", "25", "40", "53", "57", "58": // connection, read-only, rollback, resources, shutdown, I/O
			return true
		}
		return false
	}
	var connect *pgconn.ConnectError
	var network net.Error
	if errors.As(err, &connect) || errors.As(err, &network) {
		return true
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		switch lite.Code() & 0xff {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR,
			sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN:
			return true
		}
		return false
	}
	// pgx and net report a connection that was cut with plain errors.
	text := err.Error()
	return strings.Contains(text, "conn closed") || strings.Contains(text, "unexpected EOF") ||
		strings.Contains(text, "closed pool") || strings.Contains(text, "connection reset")
}
