package db_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest/engines"
)

// wantUnavailable fails unless err says that the same request may succeed
// later, however deep it is wrapped.
func wantUnavailable(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if !db.IsUnavailable(fmt.Errorf("act: %w", err)) {
		t.Errorf("not IsUnavailable: %v", err)
	}
	if db.IsConflict(err) {
		t.Errorf("IsConflict: %v", err)
	}
}

func read(ctx context.Context, d *db.DB) error {
	var n int
	return d.Read().QueryRowContext(ctx, `SELECT 1`).Scan(&n)
}

func TestAnUnreachablePostgresIsUnavailable(t *testing.T) {
	d := dbtest.Open(t, "postgres://nobody@127.0.0.1:1/nothing?sslmode=disable")
	for name, act := range map[string]func() error{
		"reading": func() error { return read(t.Context(), d) },
		"writing": func() error { return d.Write(t.Context(), func(*db.Tx) error { return nil }) },
		"asking":  func() error { return d.Ping(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) { wantUnavailable(t, act()) })
	}
	if err := d.Migrate(t.Context()); err == nil {
		t.Error("Migrate succeeded")
	}
}

// A server of its own, because this test stops it.
func TestPostgresGoesAwayAndComesBack(t *testing.T) {
	t.Parallel()
	if os.Getenv(engines.PostgresVariable) == "off" {
		t.Skip("PostgreSQL is left out")
	}
	server, err := engines.StartPostgres(engines.PostgresOptions{Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	d := dbtest.Open(t, server.URL)
	scratch(t, d)
	for name, end := range map[string]func() error{"stopped in order": server.Stop, "killed": server.Kill} {
		t.Run(name, func(t *testing.T) {
			err := d.Write(t.Context(), func(tx *db.Tx) error {
				if _, err := tx.ExecContext(t.Context(), `INSERT INTO scratch (id, n) VALUES (1, 1)`); err != nil {
					return err
				}
				if err := end(); err != nil {
					t.Fatal(err)
				}
				_, err := tx.ExecContext(t.Context(), `UPDATE scratch SET n = 2`)
				return err
			})
			wantUnavailable(t, err) // in the middle of a transaction
			wantUnavailable(t, read(t.Context(), d))
			wantUnavailable(t, d.Write(t.Context(), func(*db.Tx) error { return nil }))
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
			if n := count(t, d, `SELECT COUNT(*) FROM scratch`); n != 0 {
				t.Errorf("%d rows of an act that failed", n)
			}
		})
	}
}

func TestAPoolWithoutAFreeConnectionIsUnavailable(t *testing.T) {
	url := dbtest.EmptyPostgresURL(t)
	d, err := db.Open(t.Context(), url, db.Options{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	err = d.Write(t.Context(), func(*db.Tx) error {
		gone, cancel := context.WithTimeout(t.Context(), 1)
		defer cancel()
		return read(gone, d)
	})
	wantUnavailable(t, err)
}

func TestAReadOnlyPostgresIsUnavailable(t *testing.T) {
	raw := dbtest.EmptyPostgresURL(t)
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("default_transaction_read_only", "on") // as a standby is
	u.RawQuery = q.Encode()
	d := dbtest.Open(t, u.String())
	wantUnavailable(t, d.Write(t.Context(), exec(t.Context(), `CREATE TABLE t (id BIGINT)`)))
}

func TestSQLiteReadsDoNotWrite(t *testing.T) {
	d := dbtest.SQLite(t)
	_, err := d.Read().ExecContext(t.Context(), `DELETE FROM users`)
	wantUnavailable(t, err)
	var id string
	err = d.Read().QueryRowContext(t.Context(), `INSERT INTO periodic (name, next_at) VALUES ('x', 'y') RETURNING name`).Scan(&id)
	wantUnavailable(t, err)
	if n := count(t, d, `SELECT COUNT(*) FROM periodic`); n != 0 {
		t.Errorf("%d rows were written", n)
	}
}

func TestASQLiteThatCannotWriteIsUnavailable(t *testing.T) {
	// One statement that the only writer connection runs before the act.
	for name, spoil := range map[string]string{
		"the disk is full": `PRAGMA max_page_count = 1`, // SQLite takes it as the size there is
		"read-only":        `PRAGMA query_only = 1`,
	} {
		t.Run(name, func(t *testing.T) {
			d := dbtest.SQLite(t)
			write(t, d, `CREATE TABLE heap (filler TEXT NOT NULL)`)
			if _, err := d.Writer().ExecContext(t.Context(), spoil); err != nil {
				t.Fatal(err)
			}
			wantUnavailable(t, d.Write(t.Context(), exec(t.Context(), `INSERT INTO heap VALUES ($1)`, strings.Repeat("x", 1<<20))))
			if n := count(t, d, `SELECT COUNT(*) FROM heap`); n != 0 {
				t.Errorf("%d rows of an act that failed", n)
			}
		})
	}
}

func TestASQLiteFileWithoutPermissionToWriteIsUnavailable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write every file")
	}
	path := dbtest.SQLite(t).Path()
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if err := os.Chmod(name, 0o400); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	d, err := db.Open(t.Context(), "sqlite://"+path, db.Options{})
	if err == nil {
		defer d.Close()
		err = d.Write(t.Context(), exec(t.Context(), `DELETE FROM users`))
	}
	wantUnavailable(t, err)
}

func TestASQLiteHeldByAnotherProcessIsUnavailable(t *testing.T) {
	d := dbtest.SQLite(t)
	other := dbtest.Open(t, "sqlite://"+d.Path())
	if _, err := other.Writer().ExecContext(t.Context(), `PRAGMA busy_timeout = 1`); err != nil {
		t.Fatal(err)
	}
	err := d.Write(t.Context(), func(*db.Tx) error {
		return other.Write(t.Context(), func(*db.Tx) error { return nil })
	})
	wantUnavailable(t, err)
}

func TestASQLiteFileThatCannotBeOpenedIsUnavailable(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "authd.db")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := db.Open(t.Context(), "sqlite://"+folder, db.Options{})
	wantUnavailable(t, err)
}

func TestOtherErrorsAreNotUnavailability(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "authd.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("not a database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, corrupt := db.Open(t.Context(), "sqlite://"+garbage, db.Options{})
	if corrupt == nil {
		t.Error("a file of another kind was opened")
	}
	for _, err := range []error{nil, errRefused, context.Canceled, corrupt} {
		if db.IsUnavailable(err) {
			t.Errorf("IsUnavailable(%v)", err)
		}
	}
}
