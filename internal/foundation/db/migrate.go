package db

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/gofrs/flock"
	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"
)

//go:embed migrations
var migrations embed.FS

// migrateLock is the PostgreSQL advisory lock that only one migrating process
// holds; the number is "authd" in ASCII.
const migrateLock = 0x6175746864

// ErrInUse is returned when another process owns the SQLite file.
var ErrInUse = errors.New("another authd is using this database: stop it first")

// Migration is one step of the schema.
type Migration struct {
	Version int64
	Name    string
	SQL     string
}

// Own takes the SQLite file for this process until release is called, so that
// two servers never share it. On PostgreSQL it does nothing.
func (d *DB) Own() (release func(), err error) {
	if d.engine != SQLite {
		return func() {}, nil
	}
	lock := flock.New(d.path+".lock", flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s.lock: %w", d.path, err)
	}
	if !ok {
		return nil, ErrInUse
	}
	return func() { lock.Unlock() }, nil
}

// Migrate brings the schema up to date and then runs more (other libraries'
// schemas), all under one lock: any number of processes may call it at once.
// On SQLite the caller holds Own.
func (d *DB) Migrate(ctx context.Context, more ...func(context.Context) error) error {
	if d.engine == Postgres {
		// Not one of the pool's, which may have no second for the work itself.
		conn, err := pgx.ConnectConfig(ctx, d.pool.Config().ConnConfig)
		if err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		defer conn.Close(context.WithoutCancel(ctx)) // gives the lock back
		if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1)`, int64(migrateLock)); err != nil {
			return fmt.Errorf("migrate: lock: %w", err)
		}
	}
	dir, err := fs.Sub(migrations, "migrations/"+string(d.engine))
	if err != nil {
		return err
	}
	dialect := goose.DialectPostgres
	if d.engine == SQLite {
		dialect = goose.DialectSQLite3
	}
	p, err := goose.NewProvider(dialect, d.writer, dir)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	for _, f := range more {
		if err := f(ctx); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
	}
	return nil
}

var upSection = regexp.MustCompile(`(?s)-- \+goose Up\n(.*?)(-- \+goose Down|\z)`)
var gooseMark = regexp.MustCompile(`(?m)^-- \+goose .*\n`)

// Migrations lists every step of this engine, oldest first.
func (d *DB) Migrations() ([]Migration, error) {
	dir := "migrations/" + string(d.engine)
	files, err := migrations.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []Migration
	for _, f := range files {
		text, err := migrations.ReadFile(dir + "/" + f.Name())
		if err != nil {
			return nil, err
		}
		number, _, _ := strings.Cut(f.Name(), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("migration %s has no number", f.Name())
		}
		up := upSection.FindSubmatch(text)
		if up == nil {
			return nil, fmt.Errorf("migration %s has no Up section", f.Name())
		}
		list = append(list, Migration{version, f.Name(), gooseMark.ReplaceAllString(string(up[1]), "")})
	}
	return list, nil
}

// Pending lists the steps this database has not seen. It only reads.
func (d *DB) Pending(ctx context.Context) ([]Migration, error) {
	all, err := d.Migrations()
	if err != nil {
		return nil, err
	}
	there, err := d.HasTable(ctx, "goose_db_version")
	if err != nil || !there {
		return all, err
	}
	var at int64
	err = d.reader.QueryRowContext(ctx, `SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&at)
	if err != nil {
		return nil, err
	}
	var pending []Migration
	for _, m := range all {
		if m.Version > at {
			pending = append(pending, m)
		}
	}
	return pending, nil
}

// HasTable reports whether the table exists.
func (d *DB) HasTable(ctx context.Context, name string) (bool, error) {
	var n int
	var err error
	if d.engine == Postgres {
		err = d.reader.QueryRowContext(ctx, `SELECT COUNT(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = $1`, name).Scan(&n)
	} else {
		err = d.reader.QueryRowContext(ctx, `SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = $1`, name).Scan(&n)
	}
	return n > 0, err
}

// Exists reports whether a SQLite URL's file is there, so that commands which
// only look do not make it. It is true for PostgreSQL.
func Exists(rawURL string) bool {
	path, ok := strings.CutPrefix(rawURL, "sqlite://")
	if !ok {
		return true
	}
	_, err := os.Stat(path)
	return err == nil
}
