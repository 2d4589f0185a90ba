// Command seed fills a migrated database with what a service of some size holds
// after 90 days, so that growth can be measured: authd must not have been started
// on it before.
//
//	authd migrate up
//	cd bench && go run ./seed -database postgres://…         fills it
//	cd bench && go run ./seed -database postgres://… -check  counts again
//
// Accounts are user0000001@example.com and so on, confirmed, all with the
// password of -password. The first 10,000 are known from 127.0.0.0/24 with a Go
// program; the last, one in 10,000, have 1,000 sessions each, the others about
// five.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"github.com/authsdk/authsdk/internal/flow/signup"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/method/password"
	"github.com/authsdk/authsdk/internal/platform/jobs"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "seed:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("seed", flag.ContinueOnError)
	url := flags.String("database", "", "postgres://… or sqlite://…, migrated and empty")
	users := flags.Int("users", 0, "accounts (PostgreSQL 1,000,000, SQLite 20,000)")
	sessions := flags.Int("sessions", 0, "sessions (five an account)")
	audit := flags.Int("audit", 0, "audit events (four a session)")
	pass := flags.String("password", "Correct-Horse-7", "the password of every account")
	check := flags.Bool("check", false, "count what is there instead; give the sizes it was filled with")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s := size{*users, *sessions, *audit}.orDefault(strings.HasPrefix(*url, "sqlite:"))
	if s.users < 1 || s.sessions < 1 || s.audit < 1 {
		return fmt.Errorf("-users, -sessions and -audit must be positive")
	}
	d, err := db.Open(ctx, *url, db.Options{MaxConns: 4})
	if err != nil {
		return fmt.Errorf("-database: %w", err)
	}
	defer d.Close()
	if *check {
		return verify(ctx, d, s, out)
	}
	if err := ready(ctx, d); err != nil {
		return err
	}
	hash, err := hashOf(ctx, *pass)
	if err != nil {
		return fmt.Errorf("-password: %w", err)
	}
	l := &log{out: out, start: time.Now()}
	w := &world{size: s, now: time.Now().UTC().Truncate(time.Microsecond), hash: hash}
	if d.Engine() == db.Postgres {
		err = fillPostgres(ctx, d, w, l)
	} else {
		err = fillSQLite(ctx, d, w, l)
	}
	if err != nil {
		return err
	}
	l.say("all", w.users+w.sessions+w.audit, l.start)
	return verify(ctx, d, s, out)
}

// size is how much there is.
type size struct{ users, sessions, audit int }

func (s size) orDefault(small bool) size {
	if s.users == 0 && small {
		s.users = 20_000
	}
	if s.users == 0 {
		s.users = 1_000_000
	}
	if s.sessions == 0 {
		s.sessions = 5 * s.users
	}
	if s.audit == 0 {
		s.audit = 4 * s.sessions
	}
	return s
}

// ready refuses what is not migrated, and what has rows already: two fillings
// would collide, and what a service lives on is not for us to change.
func ready(ctx context.Context, d *db.DB) error {
	pending, err := d.Pending(ctx)
	if err != nil {
		return err
	}
	queue, err := jobs.Pending(ctx, d)
	if err != nil {
		return err
	}
	if len(pending)+len(queue) > 0 {
		return fmt.Errorf("the database is not ready: run `authd migrate up`, then fill it")
	}
	for _, table := range []string{"users", "sessions", "audit_events", "audit_personal"} {
		var there bool
		if err := d.Read().QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM `+table+`)`).Scan(&there); err != nil {
			return err
		}
		if there {
			return fmt.Errorf("the database has %s already: give a freshly migrated one, on which authd was not started yet", table)
		}
	}
	return nil
}

// hashOf hashes as authd does when nothing is set.
func hashOf(ctx context.Context, pass string) (string, error) {
	s := &password.Service{Hasher: secret.NewHasher(secret.Cost{MemoryKiB: 19456, Iterations: 2, Parallelism: 1}, 1)}
	return s.New(ctx, "password", pass)
}

// verifyMail is the job that production has most of.
const verifyMail = signup.VerifyMail

// log tells what was done and how long it took.
type log struct {
	mu    sync.Mutex
	out   io.Writer
	start time.Time
}

func (l *log) say(what string, rows int, since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	took := time.Since(since)
	fmt.Fprintf(l.out, "%7.1fs  %-24s %11d rows in %6.1fs  (%.0f a second)\n",
		time.Since(l.start).Seconds(), what, rows, took.Seconds(), float64(rows)/max(took.Seconds(), 1e-3))
}
