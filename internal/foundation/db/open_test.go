package db_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

func TestTheURLChoosesTheEngine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "folder", "authd.db")
	tests := []struct {
		name, url string
		want      db.Engine
		wantErr   string
	}{
		{"a SQLite file in a folder that is not there yet", "sqlite://" + file, db.SQLite, ""},
		{"PostgreSQL", "postgres://u:p@127.0.0.1:1/d", db.Postgres, ""},
		{"PostgreSQL by its longer name", "postgresql://u:p@127.0.0.1:1/d", db.Postgres, ""},
		{"another database", "mysql://u:secret@host/d", "", "must start with sqlite:// or postgres://"},
		{"no URL", "authd.db", "", "must start with"},
		{"nothing", "", "", "must start with"},
		{"SQLite without a file", "sqlite://", "", "names no file"},
		{"PostgreSQL with a wrong port", "postgres://u:secret@host:port/d", "", "not valid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := db.Open(t.Context(), tt.url, db.Options{})
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) || strings.Contains(err.Error(), "secret") {
					t.Fatalf("got %v, want %q and no password", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if d.Engine() != tt.want || (d.Path() != "") != (tt.want == db.SQLite) || (d.Pool() != nil) != (tt.want == db.Postgres) {
				t.Errorf("engine %s, path %q, pool %v", d.Engine(), d.Path(), d.Pool())
			}
		})
	}
}

func TestAnyFileNameWillDo(t *testing.T) {
	for _, name := range []string{"a b.db", "100%.db", "what?.db", "part#1.db", "ключ.db", "a&_pragma=foreign_keys(0).db"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			if db.Exists("sqlite://" + path) {
				t.Error("it exists before it was opened")
			}
			d := dbtest.Open(t, "sqlite://"+path)
			write(t, d, `CREATE TABLE t (id BIGINT)`)
			if _, err := os.Stat(path); err != nil || !db.Exists("sqlite://"+path) {
				t.Errorf("the file is not where the URL says: %v", err)
			}
		})
	}
	if !db.Exists("postgres://127.0.0.1/d") {
		t.Error("PostgreSQL is not asked, so it exists")
	}
}

func TestSQLiteIsOpenedAsTheRulesNeedIt(t *testing.T) {
	d := dbtest.Open(t, "sqlite://"+filepath.Join(t.TempDir(), "authd.db"))
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "5000",
	} {
		var writer, reader string
		if err := d.Writer().QueryRow(`PRAGMA ` + pragma).Scan(&writer); err != nil {
			t.Fatal(err)
		}
		if err := d.Read().QueryRowContext(t.Context(), `PRAGMA `+pragma).Scan(&reader); err != nil {
			t.Fatal(err)
		}
		if writer != want || reader != want {
			t.Errorf("%s is %s for writers and %s for readers, want %s", pragma, writer, reader, want)
		}
	}
}

func TestOneProcessOwnsASQLiteFile(t *testing.T) {
	d := dbtest.SQLite(t)
	other := dbtest.Open(t, "sqlite://"+d.Path())
	release, err := d.Own()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Own(); !errors.Is(err, db.ErrInUse) {
		t.Errorf("a second owner gets %v, want ErrInUse", err)
	}
	release()
	release() // again does no harm
	again, err := other.Own()
	if err != nil {
		t.Fatalf("once it is released: %v", err)
	}
	again()
}

func TestAnyNumberOwnsPostgres(t *testing.T) {
	url := dbtest.EmptyPostgresURL(t)
	for range 2 {
		release, err := dbtest.Open(t, url).Own()
		if err != nil {
			t.Fatal(err)
		}
		defer release()
	}
}

func TestReadersSeeTheLastCommitWhileSomebodyWrites(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		scratch(t, d)
		write(t, d, `INSERT INTO scratch (id, n) VALUES (1, 1)`)
		err := d.Write(t.Context(), func(tx *db.Tx) error {
			if err := exec(t.Context(), `UPDATE scratch SET n = 2`)(tx); err != nil {
				return err
			}
			if n := count(t, d, `SELECT n FROM scratch`); n != 1 {
				t.Errorf("a reader sees %d before the commit", n)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := count(t, d, `SELECT n FROM scratch`); n != 2 {
			t.Errorf("a reader sees %d after the commit", n)
		}
	})
}

func TestValuesNumbersThePlaceholders(t *testing.T) {
	tests := []struct {
		rows, columns int
		want          string
	}{
		{1, 1, "($1)"},
		{1, 3, "($1, $2, $3)"},
		{3, 1, "($1), ($2), ($3)"},
		{2, 2, "($1, $2), ($3, $4)"},
		{2, 6, "($1, $2, $3, $4, $5, $6), ($7, $8, $9, $10, $11, $12)"},
	}
	for _, tt := range tests {
		if got := db.Values(tt.rows, tt.columns); got != tt.want {
			t.Errorf("Values(%d, %d) = %s, want %s", tt.rows, tt.columns, got, tt.want)
		}
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		scratch(t, d)
		write(t, d, `INSERT INTO scratch (id, n) VALUES `+db.Values(3, 2), 1, 10, 2, 20, 3, 30)
		if n := count(t, d, `SELECT COUNT(*) FROM scratch WHERE n = 10 * id`); n != 3 {
			t.Errorf("%d of 3 rows are as they were given", n)
		}
	})
}
