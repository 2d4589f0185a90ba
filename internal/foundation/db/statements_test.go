package db

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
)

// connOf is one connection of a fresh SQLite database, and what it keeps.
func connOf(t *testing.T) (*sql.Conn, *keeper) {
	t.Helper()
	d, err := openKeeping("file:" + filepath.Join(t.TempDir(), "kept.db"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := d.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	var k *keeper
	if err := conn.Raw(func(c any) error { k = c.(*keeper); return nil }); err != nil {
		t.Fatal(err)
	}
	run(t, conn, `CREATE TABLE numbers (n INTEGER PRIMARY KEY)`)
	return conn, k
}

func run(t *testing.T, c *sql.Conn, query string, args ...any) {
	t.Helper()
	if _, err := c.ExecContext(context.Background(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func TestSQLiteKeepsStatements(t *testing.T) {
	conn, k := connOf(t)
	for n := range 3 {
		run(t, conn, `INSERT INTO numbers (n) VALUES ($1)`, n)
	}
	run(t, conn, `PRAGMA user_version = 1`)
	if len(k.statements) != 1 {
		t.Errorf("%d statements are kept, not the one that is worth it", len(k.statements))
	}

	if _, err := conn.ExecContext(t.Context(), `INSERT INTO numbers (n) VALUES ($1)`, 0); err == nil {
		t.Error("a second row of the same key")
	}
	run(t, conn, `INSERT INTO numbers (n) VALUES ($1)`, 3) // a failure is not kept

	// One text, read while it is being read.
	const query = `SELECT n FROM numbers WHERE n >= $1 ORDER BY n`
	outer, err := conn.QueryContext(t.Context(), query, 0)
	if err != nil {
		t.Fatal(err)
	}
	var seen []int
	for outer.Next() {
		var n, least int
		if err := outer.Scan(&n); err != nil {
			t.Fatal(err)
		}
		if err := conn.QueryRowContext(t.Context(), query, n).Scan(&least); err != nil || least != n {
			t.Errorf("from %d on the first is %d (%v)", n, least, err)
		}
		seen = append(seen, n)
	}
	if err := outer.Close(); err != nil || fmt.Sprint(seen) != "[0 1 2 3]" {
		t.Errorf("%v (%v)", seen, err)
	}
	if k.statements[query].busy {
		t.Error("rows were closed, and their statement is not free")
	}

	// The schema changes under what is kept.
	run(t, conn, `ALTER TABLE numbers ADD COLUMN name TEXT DEFAULT 'x'`)
	run(t, conn, `INSERT INTO numbers (n) VALUES ($1)`, 4)
	run(t, conn, `DROP TABLE numbers`)
	if _, err := conn.ExecContext(t.Context(), `INSERT INTO numbers (n) VALUES ($1)`, 5); err == nil {
		t.Error("a row went into a table that is gone")
	}
}

func TestSQLiteKeepsSoManyStatements(t *testing.T) {
	conn, k := connOf(t)
	for n := range keptMost + 10 {
		run(t, conn, fmt.Sprintf(`INSERT INTO numbers (n) VALUES (%d)`, n))
	}
	if len(k.statements) != keptMost {
		t.Errorf("%d are kept, at most %d should be", len(k.statements), keptMost)
	}
}
