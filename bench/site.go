package main

import (
	"context"
	"database/sql"
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers "pgx"
	"golang.org/x/crypto/argon2"

	"github.com/authsdk/authsdk/internal/foundation/db/dbtest/engines"
)

const (
	sqliteEngine   = "SQLite"
	postgresEngine = "PostgreSQL"

	// password of every account, also of those that bench/seed makes.
	password = "Correct-Horse-7"

	people = 200 // who log in with a password
	crowds = 600 // who may all be in flight when the server is overloaded
	coded  = 400 // who are mailed a code as well: at most 20 an hour each
)

// lifted are the settings without the limits that one caller would meet. The
// rest is as authd ships, with a mail server; tokens live long enough to be
// prepared before they are measured.
var lifted = []string{
	"RATE_LIMIT__DEFAULT_REQUESTS_PER_MINUTE=100000000", "RATE_LIMIT__LOGIN_REQUESTS_PER_MINUTE=100000000", "RATE_LIMIT__TOKEN_REQUESTS_PER_MINUTE=100000000",
	"JWT__ACCESS_TOKEN_TTL_SECONDS=14400", "SIGNING_KEYS__ROTATION_OVERLAP_SECONDS=14400",
}

// services are the engines' servers, shared by all sites of a run.
type services struct {
	authd    string   // for commands, and the binary whose size is told
	server   []string // the command that serves
	sink     *sink
	postgres *engines.Server
	redis    *engines.Server
	made     int // databases
}

// A site is a database of its own and the authd that serves it.
type site struct {
	*process
	*services

	engine   string
	dir      string
	database string // its URL, absolute
	ceiling  string // that of a database for the ceilings beside it
	settings []string
	emails   []string // of accounts with a password; the first people of them are measured
	codes    []string // of accounts that are mailed a code, too

	first, again time.Duration    // start to ready
	sessions     []*session       // of the people, one each
	visits       int              // how often each of them has logged in
	asked        chan *challenged // who waits for a code
}

// newSite makes an empty database with the accounts of the measurements.
func (v *services) newSite(ctx context.Context, engine string) (*site, error) {
	s, err := v.emptySite(engine)
	if err != nil {
		return nil, err
	}
	if engine == postgresEngine {
		if s.database, err = v.createDatabase(ctx); err == nil {
			s.ceiling, err = v.createDatabase(ctx)
		}
		if err != nil {
			return nil, err
		}
		s.settings = append(s.settings, "DATABASE__URL="+s.database, "REDIS__URL="+v.redis.URL)
	} else {
		s.database = "sqlite://" + filepath.Join(s.dir, "authd.db")
		s.settings = append(s.settings, "DATABASE__URL="+s.database)
	}
	return s, s.fill(ctx)
}

func (v *services) emptySite(engine string) (*site, error) {
	dir, err := os.MkdirTemp("", "authd-bench-")
	if err != nil {
		return nil, err
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return nil, err
	}
	const tmpfs = 0x01021994
	if fs.Type == tmpfs {
		return nil, fmt.Errorf("%s is in memory, where a durable commit costs nothing: set TMPDIR to a folder on a disk", dir)
	}
	s := &site{services: v, engine: engine, dir: dir, asked: make(chan *challenged, coded), settings: append(append([]string{}, lifted...), v.sink.settings()...)}
	return s, nil
}

// startServices starts what the engines need; nil stands for all of them.
func startServices(authd string, needed []string) (v *services, err error) {
	if authd, err = filepath.Abs(authd); err != nil {
		return nil, err
	}
	if _, err := os.Stat(authd); err != nil {
		return nil, fmt.Errorf("there is no authd to measure: run make build, or name one with -authd (%w)", err)
	}
	v = &services{authd: authd, server: []string{authd, "serve", "--migrate"}}
	if v.sink, err = startSink(); err != nil {
		return nil, err
	}
	for _, engine := range needed {
		if engine != postgresEngine {
			continue
		}
		if v.postgres, err = engines.StartPostgres(engines.PostgresOptions{Durable: true}); err != nil {
			return nil, err
		}
		if v.redis, err = engines.StartRedis(); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (v *services) close() {
	if v.postgres != nil {
		v.postgres.Close()
	}
	if v.redis != nil {
		v.redis.Close()
	}
	v.sink.listener.Close()
}

func (v *services) createDatabase(ctx context.Context) (string, error) {
	v.made++
	return createDatabase(ctx, v.postgres.URL, fmt.Sprintf("bench_%d_%d", os.Getpid(), v.made))
}

func createDatabase(ctx context.Context, admin, name string) (string, error) {
	if err := execute(ctx, admin, "CREATE DATABASE "+name); err != nil {
		return "", err
	}
	u, err := url.Parse(admin)
	if err != nil {
		return "", err
	}
	u.Path = "/" + name
	return u.String(), nil
}

// execute runs a statement on a database beside authd.
func execute(ctx context.Context, databaseURL, statement string, args ...any) error {
	driver, source := "pgx", databaseURL
	if path, is := strings.CutPrefix(databaseURL, "sqlite://"); is {
		driver, source = "sqlite", "file:"+path+"?_pragma=busy_timeout(10000)"
	}
	d, err := sql.Open(driver, source)
	if err != nil {
		return err
	}
	defer d.Close()
	_, err = d.ExecContext(ctx, statement, args...)
	return err
}

// fill migrates the database and adds the accounts.
func (s *site) fill(ctx context.Context) error {
	if err := s.run(ctx, "migrate", "up"); err != nil {
		return err
	}
	return s.addAccounts(ctx)
}

func (s *site) addAccounts(ctx context.Context) error {
	salt := []byte("0123456789abcdef")
	b := base64.RawStdEncoding
	hash := "$argon2id$v=19$m=19456,t=2,p=1$" + b.EncodeToString(salt) + "$" + b.EncodeToString(argon2.IDKey([]byte(password), salt, 2, 19456, 1, 32))
	var file strings.Builder
	file.WriteString("email,hash,verified\n")
	add := func(kind string, n int) (emails []string) {
		for i := range n {
			email := fmt.Sprintf("%s%07d@bench.example.com", kind, i+1)
			emails = append(emails, email)
			fmt.Fprintf(&file, "%s,\"%s\",true\n", email, hash)
		}
		return emails
	}
	s.emails, s.codes = add("person", crowds), add("coded", coded)
	path := filepath.Join(s.dir, "accounts.csv")
	if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
		return err
	}
	if err := s.run(ctx, "user", "import", path); err != nil {
		return err
	}
	return execute(ctx, s.database, `UPDATE users SET email_otp_enabled = TRUE WHERE email_key >= $1 AND email_key < $2`, "coded0000000@bench.example.com", "coded9@bench.example.com")
}

// run runs authd to its end, on our core.
func (s *site) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, s.authd, args...)
	cmd.Dir, cmd.Env = s.dir, append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, s.settings...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("authd %s: %w: %.600s", strings.Join(args, " "), err, out)
	}
	return nil
}

// open starts authd twice, to see how long the first start and a later one take.
func (s *site) open(ctx context.Context) (err error) {
	if err := s.start(ctx); err != nil {
		return err
	}
	s.first = s.ready
	s.stop()
	err = s.start(ctx)
	s.again = s.ready
	return err
}

func (s *site) start(ctx context.Context) (err error) {
	s.process, err = serve(ctx, s.server, s.dir, s.settings...)
	return err
}

func (s *site) close() {
	if s.process != nil {
		s.stop()
	}
	os.RemoveAll(s.dir)
}
