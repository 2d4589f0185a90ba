// Package db opens the database and runs transactions on it.
//
// One SQL text runs on SQLite and PostgreSQL, through database/sql. The rules
// that make it so:
//
//   - $1, $2 …; a repeated $n has one type.
//   - Times are made in Go by clock (UTC, microseconds), never by SQL.
//   - Stored JSON is never compared, hashed or signed: PostgreSQL re-spaces it.
//   - One-time things are spent by a guarded UPDATE … RETURNING.
//   - Never hash, mail or call out inside Write: SQLite has one writer.
package db

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // registers "sqlite"
)

// Engine is the kind of database.
type Engine string

// The engines.
const (
	SQLite   Engine = "sqlite"
	Postgres Engine = "postgres"
)

// Conn runs statements. A *Tx is one, and so is what DB.Read returns.
type Conn interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// DB is an open database.
type DB struct {
	engine Engine
	path   string // SQLite: the file
	reader *sql.DB
	writer *sql.DB
	pool   *pgxpool.Pool // PostgreSQL only
}

// Options bound the connections to PostgreSQL.
type Options struct {
	MaxConns    int
	MaxIdleTime time.Duration // a connection older than this is replaced
}

// Open opens sqlite://path/to/file or postgres://…; it does not migrate.
// A SQLite path is relative to the working directory (sqlite:///abs/path is
// absolute) and its folder is made if missing. PostgreSQL is not contacted
// until the first statement.
func Open(ctx context.Context, rawURL string, o Options) (*DB, error) {
	switch scheme, rest, _ := strings.Cut(rawURL, "://"); scheme {
	case "sqlite":
		return openSQLite(rest)
	case "postgres", "postgresql":
		return openPostgres(ctx, rawURL, o)
	default:
		return nil, fmt.Errorf("database URL must start with sqlite:// or postgres://")
	}
}

// openSQLite opens one writer connection and a pool of readers on the file.
// synchronous=FULL, so that an acknowledged write survives a power loss.
func openSQLite(path string) (*DB, error) {
	if path == "" {
		return nil, fmt.Errorf("the database URL names no file: use sqlite://authd-data/authd.db")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the database folder: %w", err)
	}
	// Made here, so that nobody else may read it; its log takes over the mode.
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = file.Close()
	}
	if err != nil && !os.IsPermission(err) { // a file that may only be read is opened all the same
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	open := func(conns int, more ...string) (*sql.DB, error) {
		q := url.Values{"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"}}
		q.Set("_txlock", "immediate")
		q.Set("_time_format", "sqlite")
		q.Set("_timezone", "UTC") // text sorts as time only in one zone
		q.Set("_texttotime", "1")
		q["_pragma"] = append(q["_pragma"], more...)
		d, err := openKeeping("file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode())
		if err != nil {
			return nil, err
		}
		d.SetMaxOpenConns(conns)
		d.SetMaxIdleConns(conns)
		return d, nil
	}
	writer, err := open(1)
	if err != nil {
		return nil, err
	}
	// The writer goes first: it turns WAL on, which a read-only handle cannot.
	if err := writer.Ping(); err != nil {
		writer.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	reader, err := open(max(4, runtime.GOMAXPROCS(0)), "query_only(1)")
	if err != nil {
		writer.Close()
		return nil, err
	}
	return &DB{engine: SQLite, path: path, reader: reader, writer: writer}, nil
}

// OpenEmpty gives an empty SQLite database in memory, for commands that tell
// what a database that is not there yet would lack.
func OpenEmpty() (*DB, error) {
	d, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, err
	}
	d.SetMaxOpenConns(1)
	return &DB{engine: SQLite, reader: d, writer: d}, nil
}

func openPostgres(ctx context.Context, rawURL string, o Options) (*DB, error) {
	cfg, err := pgxpool.ParseConfig(rawURL)
	if err != nil {
		return nil, fmt.Errorf("the database URL is not valid") // the cause may hold the password
	}
	if o.MaxConns > 0 {
		cfg.MaxConns = int32(o.MaxConns)
	}
	if o.MaxIdleTime > 0 {
		cfg.MaxConnLifetime = o.MaxIdleTime
		cfg.MaxConnLifetimeJitter = o.MaxIdleTime / 10
	}
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = 3 * time.Second
	}
	cfg.ConnConfig.RuntimeParams["timezone"] = "UTC"
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "authd"
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open PostgreSQL: %w", err)
	}
	d := stdlib.OpenDBFromPool(pool)
	return &DB{engine: Postgres, reader: d, writer: d, pool: pool}, nil
}

// Engine tells which database this is.
func (d *DB) Engine() Engine { return d.engine }

// Read runs single statements outside a transaction. On SQLite it refuses to
// write.
func (d *DB) Read() Conn { return d.reader }

// Writer is the pool that jobs shares, so that SQLite has one writer in all.
func (d *DB) Writer() *sql.DB { return d.writer }

// Pool is the native PostgreSQL pool, for LISTEN; nil on SQLite.
func (d *DB) Pool() *pgxpool.Pool { return d.pool }

// Path is the SQLite file; empty on PostgreSQL.
func (d *DB) Path() string { return d.path }

// Ping reports whether the database answers.
func (d *DB) Ping(ctx context.Context) error {
	var one int
	return d.reader.QueryRowContext(ctx, `SELECT 1`).Scan(&one)
}

// Busy is how many connections are in use and how many there may be.
func (d *DB) Busy() (inUse, most int) {
	if d.pool != nil {
		s := d.pool.Stat()
		return int(s.AcquiredConns()), int(s.MaxConns())
	}
	r, w := d.reader.Stats(), d.writer.Stats()
	return r.InUse + w.InUse, r.MaxOpenConnections + w.MaxOpenConnections
}

// Close closes every connection.
func (d *DB) Close() error {
	err := d.reader.Close()
	if d.writer != d.reader {
		if werr := d.writer.Close(); err == nil {
			err = werr
		}
	}
	if d.pool != nil {
		d.pool.Close()
	}
	return err
}
