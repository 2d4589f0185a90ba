package e2e

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers "pgx"
	_ "modernc.org/sqlite"             // registers "sqlite"

	"github.com/authsdk/authsdk/e2e/authapi"
	"github.com/authsdk/authsdk/e2e/program"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

// patience is how long anything may take that should be quick.
const patience = 30 * time.Second

// quick lets the tests, who come from one address, ask as often as they like,
// and makes password hashing cost nothing.
var quick = []string{
	"RATE_LIMIT__DEFAULT_REQUESTS_PER_MINUTE=10000000", "RATE_LIMIT__LOGIN_REQUESTS_PER_MINUTE=10000000", "RATE_LIMIT__TOKEN_REQUESTS_PER_MINUTE=10000000",
	"PASSWORD__ARGON2_MEMORY_KIB=64", "PASSWORD__ARGON2_ITERATIONS=1",
}

// dear is the real cost of hashing.
var dear = []string{"PASSWORD__ARGON2_MEMORY_KIB=19456", "PASSWORD__ARGON2_ITERATIONS=2"}

// store is an empty database, and the folder its servers run in.
type store struct {
	engine string
	dir    string
	env    []string
	dsn    string // for database/sql
	binary string // in place of authdPath
}

func sqliteStore(t *testing.T) *store {
	dir := t.TempDir()
	return &store{engine: "sqlite", dir: dir, dsn: "file:" + filepath.Join(dir, "authd-data", "authd.db") + "?mode=ro&_pragma=busy_timeout(5000)"}
}

// postgresStore comes with a Redis. Its schema is there already: most tests
// need not wait for migrations.
func postgresStore(t *testing.T) *store { return postgresAt(t, dbtest.PostgresURL(t)) }

func postgresAt(t *testing.T, url string) *store {
	return &store{engine: "pgx", dir: t.TempDir(), dsn: url, env: []string{"DATABASE__URL=" + url, "REDIS__URL=" + dbtest.RedisURL(t)}}
}

// eachEngine runs test on an empty SQLite and on an empty PostgreSQL with Redis.
func eachEngine(t *testing.T, test func(t *testing.T, s *store)) {
	t.Helper()
	t.Run("on SQLite", func(t *testing.T) {
		t.Parallel()
		test(t, sqliteStore(t))
	})
	t.Run("on PostgreSQL and Redis", func(t *testing.T) {
		t.Parallel()
		test(t, postgresStore(t))
	})
}

// sql opens the database beside its server.
func (s *store) sql(t *testing.T) *sql.DB {
	t.Helper()
	d, err := sql.Open(s.engine, s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// count asks the database for one number.
func (s *store) count(t *testing.T, query string, args ...any) (n int) {
	t.Helper()
	if err := s.sql(t).QueryRow(query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// authd runs the binary to its end: a command, or a serve that should fail.
func (s *store) authd(t *testing.T, settings []string, args ...string) *program.Program {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p, err := program.Run(ctx, s.spec(settings, args...))
	if err != nil {
		t.Fatalf("authd %s: %v\n%s", strings.Join(args, " "), err, p.Output())
	}
	return p
}

func (s *store) spec(settings []string, args ...string) program.Spec {
	return program.Spec{Path: cmp.Or(s.binary, authdPath), Args: args, Dir: s.dir, Env: program.Minimal(slices.Concat(s.env, quick, settings)...)}
}

// server is a running authd and a client of it.
type server struct {
	*authapi.Client
	*store
	program *program.Program

	// mayFail lets it log errors: the test takes away what it needs.
	mayFail bool

	t        *testing.T
	address  string
	settings []string
	logs     strings.Builder // of the runs that have ended
}

// serve starts authd on the store and waits until it is ready. A later setting
// wins over an earlier one. It is stopped at the end of the test, which fails if
// it logged an error or a secret.
func (s *store) serve(t *testing.T, settings ...string) *server {
	t.Helper()
	v := s.launch(t, settings...)
	v.await()
	return v
}

// launch is serve without the waiting.
func (s *store) launch(t *testing.T, settings ...string) *server {
	t.Helper()
	address, err := program.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(address, ":")
	base := "http://" + address
	v := &server{
		Client: authapi.New(base, patience), store: s, t: t, address: address,
		settings: append([]string{"APP__PORT=" + port, "EMAIL__PUBLIC_BASE_URL=" + base}, settings...),
	}
	v.HTTP.Transport = watched{v.HTTP.Transport, s.engine}
	v.start()
	t.Cleanup(v.finish)
	return v
}

func (v *server) start() {
	v.t.Helper()
	p, err := program.Start(v.spec(v.settings, "serve", "--migrate"))
	if err != nil {
		v.t.Fatal(err)
	}
	v.program = p
}

func (v *server) await() {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), patience)
	defer cancel()
	if err := v.program.Await(ctx, v.Base+"/health/ready"); err != nil {
		v.t.Fatalf("authd is not ready: %v", err)
	}
}

// kill ends it as a crash would.
func (v *server) kill() {
	v.program.Kill()
	v.logs.WriteString(v.program.Output())
	v.HTTP.CloseIdleConnections()
}

// restart starts it again after kill, at the same address.
func (v *server) restart() {
	v.t.Helper()
	v.start()
	v.await()
}

// terminate sends SIGTERM, waits and returns the exit code.
func (v *server) terminate() int {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), patience)
	defer cancel()
	code, err := v.program.Terminate(ctx)
	if err != nil {
		v.t.Error(err)
	}
	return code
}

func (v *server) finish() {
	v.kill()
	v.heard()
	logs := v.logs.String()
	for line := range strings.Lines(logs) {
		if !v.mayFail && (strings.Contains(line, `"level":"ERROR"`) || strings.Contains(line, "panic")) {
			v.t.Errorf("authd logged an error: %s", line)
		}
		if secrets.MatchString(line) {
			v.t.Errorf("authd logged a secret: %s", line)
		}
	}
	if v.t.Failed() {
		lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(logs), "\n"), func(line string) bool {
			return !strings.HasPrefix(line, "{") || strings.Contains(line, "request_completed") && strings.Contains(line, `"level":"INFO"`)
		})
		v.t.Logf("the end of its log:\n%s", strings.Join(lines[max(0, len(lines)-20):], "\n"))
	}
}

// password is that of every test account.
const password = "Staple-Battery-9"

// secrets must never be in a log: passwords, refresh tokens, JWTs.
var secrets = regexp.MustCompile(password + `|rt_[A-Za-z0-9_-]{20}|eyJ[A-Za-z0-9_-]{20}`)

// newEmail is an address that nobody has.
func newEmail() string { return strings.ToLower(rand.Text()[:12]) + "@example.com" }

// account makes an account with a confirmed address.
func (v *server) account() (email string) {
	v.t.Helper()
	email = newEmail()
	ctx, cancel := context.WithTimeout(v.t.Context(), patience)
	defer cancel()
	if _, err := v.Signup(ctx, email, password); err != nil {
		v.t.Fatal(err)
	}
	if _, err := v.Verify(ctx, v.mail(email, 1).Tokens[0]); err != nil {
		v.t.Fatal(err)
	}
	return email
}

// mail is the newest mail to an address, once there are n.
func (v *server) mail(to string, n int) authapi.Mail {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), patience)
	defer cancel()
	mail, err := v.AwaitMail(ctx, to, n)
	if err != nil {
		v.t.Fatal(err)
	}
	return mail
}

// login logs an account in.
func (v *server) login(email string) authapi.Tokens {
	v.t.Helper()
	tokens, err := v.Login(v.t.Context(), email, password, "")
	if err != nil {
		v.t.Fatal(err)
	}
	return tokens
}

// refresh trades a token in, which must work.
func (v *server) refresh(token string) authapi.Tokens {
	v.t.Helper()
	tokens, err := v.Refresh(v.t.Context(), token)
	if err != nil {
		v.t.Fatal(err)
	}
	return tokens
}

// refuses checks that an act was refused with this status and code.
func refuses(t *testing.T, err error, status int, code string) {
	t.Helper()
	refused, ok := err.(*authapi.Refused)
	if !ok || refused.Status != status || refused.Envelope().Code != code {
		t.Errorf("got %v, want %d %s", err, status, code)
	}
}

// claims reads an access token without checking it.
func claims(t *testing.T, access string) (header, payload map[string]any) {
	t.Helper()
	parts := strings.Split(access, ".")
	if len(parts) != 3 {
		t.Fatalf("the access token has %d parts", len(parts))
	}
	for i, into := range []*map[string]any{&header, &payload} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return header, payload
}

// await polls until ok, at most as long as limit, and returns how long it took.
func await(t *testing.T, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Since(begin) > limit {
			t.Fatalf("%s: not within %v", what, limit)
		}
		<-tick.C
	}
	return time.Since(begin)
}

// isEmpty fails the test if a folder holds anything.
func isEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("%s was made", e.Name())
	}
}

// median of durations, in milliseconds.
func median(d []time.Duration) string {
	slices.Sort(d)
	return fmt.Sprintf("median %.1f ms, longest %.1f ms of %d", ms(d[len(d)/2]), ms(d[len(d)-1]), len(d))
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
