package db_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/platform/jobs"
)

func tables(t *testing.T, d *db.DB) []string {
	t.Helper()
	query := `SELECT name FROM sqlite_master WHERE type = 'table'`
	if d.Engine() == db.Postgres {
		query = `SELECT tablename FROM pg_tables WHERE schemaname = current_schema()`
	}
	rows, err := d.Read().QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// empty gives a database without tables on each engine.
func empty(t *testing.T, test func(t *testing.T, d *db.DB)) {
	t.Run("sqlite", func(t *testing.T) {
		if os.Getenv("AUTHD_TEST_SQLITE") == "off" {
			t.Skip("AUTHD_TEST_SQLITE=off")
		}
		test(t, dbtest.Open(t, "sqlite://"+filepath.Join(t.TempDir(), "authd.db")))
	})
	t.Run("postgres", func(t *testing.T) { test(t, dbtest.Open(t, dbtest.EmptyPostgresURL(t))) })
}

func TestMigrateMakesEverythingThatIsPending(t *testing.T) {
	empty(t, func(t *testing.T, d *db.DB) {
		all, err := d.Migrations()
		if err != nil || len(all) == 0 {
			t.Fatalf("%d migrations, %v", len(all), err)
		}
		pending, err := d.Pending(t.Context())
		if len(pending) != len(all) || err != nil {
			t.Errorf("an empty database lacks everything, not %d of %d: %v", len(pending), len(all), err)
		}
		ran := 0
		more := func(ctx context.Context) error { ran++; return nil }
		for range 2 { // the second finds nothing to do
			if err := d.Migrate(t.Context(), jobs.Migrate(d), more); err != nil {
				t.Fatal(err)
			}
		}
		if ran != 2 {
			t.Errorf("what comes after ran %d times, want once each time", ran)
		}
		if pending, err := d.Pending(t.Context()); err != nil || len(pending) > 0 {
			t.Errorf("still pending: %v, %v", pending, err)
		}
		if diff := cmp.Diff(tables(t, migrated(t, d.Engine())), tables(t, d)); diff != "" {
			t.Errorf("not the tables of other databases:\n%s", diff)
		}
	})
}

func migrated(t *testing.T, engine db.Engine) *db.DB {
	if engine == db.SQLite {
		return dbtest.SQLite(t)
	}
	return dbtest.Postgres(t)
}

func TestAFailureAfterTheMigrationsIsReported(t *testing.T) {
	empty(t, func(t *testing.T, d *db.DB) {
		err := d.Migrate(t.Context(), func(context.Context) error { return errRefused })
		if !errors.Is(err, errRefused) {
			t.Errorf("got %v", err)
		}
		if err := d.Migrate(t.Context()); err != nil { // the lock is free again
			t.Errorf("the next one: %v", err)
		}
	})
}

// Ten replicas that start at once, each with its own connections.
func TestTenMigrateOneEmptyPostgresAtOnce(t *testing.T) {
	url := dbtest.EmptyPostgresURL(t)
	var all sync.WaitGroup
	for range 10 {
		d := dbtest.Open(t, url)
		all.Go(func() {
			if err := d.Migrate(t.Context(), jobs.Migrate(d)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	d := dbtest.Open(t, url)
	if pending, err := d.Pending(t.Context()); err != nil || len(pending) > 0 {
		t.Errorf("still pending: %v, %v", pending, err)
	}
	if diff := cmp.Diff(tables(t, dbtest.Postgres(t)), tables(t, d)); diff != "" {
		t.Error(diff)
	}
	if n := count(t, d, `SELECT COUNT(*) - COUNT(DISTINCT version_id) FROM goose_db_version`); n != 0 {
		t.Errorf("%d migrations were recorded twice", n)
	}
}

// The lock must not need a second connection of the pool.
func TestMigrateWorksWithASingleConnection(t *testing.T) {
	d, err := db.Open(t.Context(), dbtest.EmptyPostgresURL(t), db.Options{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Migrate(t.Context(), jobs.Migrate(d)); err != nil {
		t.Error(err)
	}
}

func TestMigrateThatIsCancelledLeavesTheLockFree(t *testing.T) {
	url := dbtest.EmptyPostgresURL(t)
	first, second := dbtest.Open(t, url), dbtest.Open(t, url)
	ctx, cancel := context.WithCancel(t.Context())
	err := first.Migrate(ctx, func(ctx context.Context) error { cancel(); return ctx.Err() })
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if err := second.Migrate(t.Context(), jobs.Migrate(second)); err != nil {
		t.Error(err)
	}
}

func TestPendingOnlyReads(t *testing.T) {
	empty(t, func(t *testing.T, d *db.DB) {
		look := func() {
			t.Helper()
			if _, err := d.Pending(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := jobs.Pending(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		look()
		if list := tables(t, d); len(list) > 0 {
			t.Errorf("looking made %v", list)
		}
		if err := d.Migrate(t.Context(), jobs.Migrate(d)); err != nil {
			t.Fatal(err)
		}
		before := files(t, d)
		look()
		if diff := cmp.Diff(before, files(t, d)); diff != "" {
			t.Error("looking changed the file or its log")
		}
	})
}

// files is what stands on disk for SQLite, nothing for PostgreSQL.
func files(t *testing.T, d *db.DB) (contents []string) {
	t.Helper()
	if d.Engine() == db.Postgres {
		return nil
	}
	for _, name := range []string{d.Path(), d.Path() + "-wal"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		contents = append(contents, string(text))
	}
	return contents
}

func TestADatabaseThatIsNotThereYetLacksEverything(t *testing.T) {
	d, err := db.OpenEmpty()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	all, err := d.Migrations()
	if err != nil {
		t.Fatal(err)
	}
	pending, err := d.Pending(t.Context())
	if err != nil || len(pending) != len(all) {
		t.Fatalf("%d of %d pending, %v", len(pending), len(all), err)
	}
	for i, m := range pending { // with what records that it was applied
		if m.Name != all[i].Name || !strings.Contains(m.SQL, all[i].SQL) || !strings.Contains(m.SQL, "INSERT INTO goose_db_version") {
			t.Errorf("%s: %s", m.Name, m.SQL)
		}
	}
	queue, err := jobs.Pending(t.Context(), d)
	if err != nil || len(queue) == 0 {
		t.Errorf("the queue lacks %d, %v", len(queue), err)
	}
}

func TestMigrationsHoldTheTextThatIsRun(t *testing.T) {
	empty(t, func(t *testing.T, d *db.DB) {
		all, err := d.Migrations()
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range all {
			if m.Version != int64(i+1) || m.Name == "" {
				t.Errorf("place %d holds version %d, %q", i+1, m.Version, m.Name)
			}
			write(t, d, m.SQL) // as an operator runs what `authd migrate up --sql` prints
		}
	})
}
