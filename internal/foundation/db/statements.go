package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"
)

// SQLite reads a statement again each time it runs, which costs more than many
// of ours do; pgx keeps those of PostgreSQL. So each SQLite connection keeps the
// statements that it has read.

// keptMost bounds them. There are fewer in the program; texts that are made at
// run time (rows of VALUES) are the rest.
const keptMost = 256

// openKeeping is sql.Open for SQLite, with connections that keep statements.
func openKeeping(dsn string) (*sql.DB, error) {
	d, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	defer d.Close() // it only names the driver
	return sql.OpenDB(keeping{d.Driver(), dsn}), nil
}

// keeping is a driver.Connector.
type keeping struct {
	driver driver.Driver
	dsn    string
}

func (k keeping) Driver() driver.Driver { return k.driver }

func (k keeping) Connect(context.Context) (driver.Conn, error) {
	conn, err := k.driver.Open(k.dsn)
	if err != nil {
		return nil, err
	}
	able, ok := conn.(ableConn)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("the SQLite driver lacks what a connection needs")
	}
	return &keeper{able, map[string]*kept{}}, nil
}

// ableConn is what the driver's connections can do.
type ableConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// keeper is a connection that keeps statements. database/sql uses a connection
// from one goroutine at a time.
type keeper struct {
	ableConn
	statements map[string]*kept
}

// kept is a statement, in use while its rows are read.
type kept struct {
	ableStmt
	busy bool
}

type ableStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// statement returns a statement that is free to run, nil if the text is to be
// run without keeping it.
func (k *keeper) statement(ctx context.Context, query string) (*kept, error) {
	s, known := k.statements[query]
	switch {
	case known && s.busy:
		return nil, nil
	case known:
		return s, nil
	case len(k.statements) >= keptMost || !keepable(query):
		return nil, nil
	}
	prepared, err := k.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	able, ok := prepared.(ableStmt)
	if !ok {
		return nil, prepared.Close()
	}
	s = &kept{ableStmt: able}
	k.statements[query] = s
	return s, nil
}

// keepable leaves out scripts, settings and what changes the schema.
func keepable(query string) bool {
	words := strings.Fields(query)
	if len(words) == 0 || strings.Contains(query, ";") {
		return false
	}
	return slices.Contains([]string{"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}, strings.ToUpper(words[0]))
}

// ExecContext implements driver.ExecerContext.
func (k *keeper) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	s, err := k.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return k.ableConn.ExecContext(ctx, query, args)
	}
	return s.ExecContext(ctx, args)
}

// QueryContext implements driver.QueryerContext.
func (k *keeper) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := k.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return k.ableConn.QueryContext(ctx, query, args)
	}
	rows, err := s.QueryContext(ctx, args)
	if err != nil {
		return nil, err
	}
	s.busy = true
	return &keptRows{rows, s}, nil
}

// Close ends the statements, too.
func (k *keeper) Close() error {
	for _, s := range k.statements {
		s.Close()
	}
	return k.ableConn.Close()
}

// keptRows free their statement when they have been read.
type keptRows struct {
	driver.Rows
	of *kept
}

func (r *keptRows) Close() error {
	err := r.Rows.Close()
	r.of.busy = false
	return err
}
