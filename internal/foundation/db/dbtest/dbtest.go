// Package dbtest gives a test a fresh, migrated database on each engine.
//
// Real databases only: a SQLite file copied from a migrated template, and a
// PostgreSQL database made from a migrated template database on the server of
// package engines.
package dbtest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest/engines"
	"github.com/authsdk/authsdk/internal/platform/jobs"
)

// Log is a logger for tests that keeps quiet.
var Log = slog.New(slog.NewTextHandler(io.Discard, nil))

// Each runs test on SQLite and on PostgreSQL, each with a database of its own.
func Each(t *testing.T, test func(t *testing.T, d *db.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		if os.Getenv("AUTHD_TEST_SQLITE") == "off" {
			t.Skip("AUTHD_TEST_SQLITE=off: pure Go SQLite is very slow under the race detector (make race)")
		}
		test(t, SQLite(t))
	})
	t.Run("postgres", func(t *testing.T) { test(t, Postgres(t)) })
}

// Open opens a URL for the length of the test.
func Open(t testing.TB, url string) *db.DB {
	t.Helper()
	d, err := db.Open(context.Background(), url, db.Options{MaxConns: 16})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// SQLite gives a fresh migrated SQLite database.
func SQLite(t testing.TB) *db.DB {
	t.Helper()
	template, err := sqliteTemplate()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "authd.db")
	if err := os.WriteFile(path, template, 0o600); err != nil {
		t.Fatal(err)
	}
	return Open(t, "sqlite://"+path)
}

// Postgres gives a fresh migrated PostgreSQL database.
func Postgres(t testing.TB) *db.DB {
	t.Helper()
	return Open(t, PostgresURL(t))
}

// PostgresURL makes a fresh migrated PostgreSQL database and returns its URL.
func PostgresURL(t testing.TB) string {
	t.Helper()
	admin := adminURL(t)
	template, err := postgresTemplate(admin)
	if err != nil {
		t.Fatal(err)
	}
	return createFrom(t, admin, template)
}

// EmptyPostgresURL makes an empty PostgreSQL database and returns its URL.
func EmptyPostgresURL(t testing.TB) string {
	t.Helper()
	return createFrom(t, adminURL(t), "template0")
}

// RedisURL gives the Redis server of the tests.
func RedisURL(t testing.TB) string {
	t.Helper()
	u, err := engines.Redis()
	leftOut(t, err)
	return u
}

func adminURL(t testing.TB) string {
	t.Helper()
	u, err := engines.Postgres()
	leftOut(t, err)
	return u
}

// leftOut skips when the engine was left out on purpose; engines refuses that
// in CI.
func leftOut(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, engines.ErrLeftOut) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func createFrom(t testing.TB, admin, template string) string {
	t.Helper()
	name := "t_" + uuid.NewString()[:13]
	if err := exec(admin, fmt.Sprintf(`CREATE DATABASE "%s" TEMPLATE "%s"`, name, template)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := exec(admin, fmt.Sprintf(`DROP DATABASE IF EXISTS "%s" WITH (FORCE)`, name)); err != nil {
			t.Log(err)
		}
	})
	return withDatabase(admin, name)
}

var sqliteTemplate = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "authd-template")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "authd.db")
	if err := migrate("sqlite://" + path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

var (
	templateOnce sync.Once
	templateName string
	templateErr  error
)

// postgresTemplate makes the template database once for all test binaries that
// share the server; its name carries the migrations' hash.
func postgresTemplate(admin string) (string, error) {
	templateOnce.Do(func() { templateName, templateErr = makeTemplate(admin) })
	return templateName, templateErr
}

func makeTemplate(admin string) (name string, err error) {
	ctx := context.Background()
	if name, err = schemaName(ctx, admin); err != nil {
		return "", err
	}
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock(hashtext($1))`, name); err != nil {
		return "", err
	}
	var n int
	if err := conn.QueryRow(ctx, `SELECT COUNT(*) FROM pg_database WHERE datname = $1`, name).Scan(&n); err != nil || n > 0 {
		return name, err
	}
	making := name + "_making"
	if _, err := conn.Exec(ctx, fmt.Sprintf(`DROP DATABASE IF EXISTS "%s" WITH (FORCE)`, making)); err != nil {
		return "", err
	}
	if _, err := conn.Exec(ctx, fmt.Sprintf(`CREATE DATABASE "%s" TEMPLATE template0`, making)); err != nil {
		return "", err
	}
	if err := migrate(withDatabase(admin, making)); err != nil {
		return "", err
	}
	_, err = conn.Exec(ctx, fmt.Sprintf(`ALTER DATABASE "%s" RENAME TO "%s"`, making, name))
	return name, err
}

func schemaName(ctx context.Context, admin string) (string, error) {
	d, err := db.Open(ctx, admin, db.Options{})
	if err != nil {
		return "", err
	}
	defer d.Close()
	steps, err := d.Migrations()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, s := range steps {
		io.WriteString(h, s.SQL)
	}
	return fmt.Sprintf("authd_template_%x", h.Sum(nil)[:6]), nil
}

func migrate(url string) error {
	ctx := context.Background()
	d, err := db.Open(ctx, url, db.Options{})
	if err != nil {
		return err
	}
	if err := d.Migrate(ctx, jobs.Migrate(d)); err != nil {
		d.Close()
		return err
	}
	return d.Close() // checkpoints SQLite's log into the file
}

func withDatabase(admin, name string) string {
	u, err := url.Parse(admin)
	if err != nil {
		return admin
	}
	u.Path = "/" + name
	return u.String()
}

func exec(admin, statement string) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}
