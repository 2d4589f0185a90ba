package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

func TestMigrateLooksBeforeItTouches(t *testing.T) {
	for _, row := range []struct {
		says  string
		store func(t *testing.T) *store
	}{
		{"on SQLite", sqliteStore},
		{"on PostgreSQL", func(t *testing.T) *store { return postgresAt(t, dbtest.EmptyPostgresURL(t)) }},
	} {
		t.Run(row.says, func(t *testing.T) {
			t.Parallel()
			s := row.store(t)
			untouched := func(after string) {
				t.Helper()
				isEmpty(t, s.dir)
				if s.engine == "pgx" {
					if n := s.count(t, `SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public'`); n != 0 {
						t.Errorf("%s made %d tables", after, n)
					}
				}
			}
			run := func(want string, args ...string) string {
				t.Helper()
				p := s.authd(t, nil, args...)
				if p.ExitCode() != 0 || !strings.Contains(p.Stdout.String(), want) || p.Stderr.String() != "" {
					t.Errorf("authd %s: exit code %d, and it does not say %q:\n%s", strings.Join(args, " "), p.ExitCode(), want, p.Output())
				}
				return p.Stdout.String()
			}

			run("0001_main.sql", "migrate", "status")
			untouched("migrate status")
			sql := run("CREATE TABLE users", "migrate", "up", "--sql")
			untouched("migrate up --sql")
			if !strings.Contains(sql, "river_job") {
				t.Error("the SQL lacks the queue's tables")
			}
			run("The database is up to date (", "migrate", "up")
			run("The database is up to date (0 applied)", "migrate", "up")
			run("The database is up to date.\n", "migrate", "status")
			if sql := run("", "migrate", "up", "--sql"); sql != "" {
				t.Errorf("nothing is pending, but migrate up --sql prints %s", sql)
			}

			p := s.launch(t)
			p.await()
			if out := p.program.Output(); strings.Contains(out, "database migrated") {
				t.Error("serve migrated again")
			}
			p.login(p.account())
		})
	}
}

func TestConfigCheckListsEveryProblemAtOnce(t *testing.T) {
	s := sqliteStore(t)
	good := s.authd(t, nil, "config", "check")
	if good.ExitCode() != 0 || !strings.Contains(good.Stdout.String(), "The configuration is good (development), read from the environment; there is no .env here.") {
		t.Errorf("the defaults: exit code %d\n%s", good.ExitCode(), good.Output())
	}
	bad := s.authd(t, []string{
		"APP__PORT=eighty", "DATABASE__URL=mysql://root:hunter2@db/x", "REDIS__URL=http://redis", "JWT__ALGORITHM=HS256",
		"EMAIL__PUBLIC_BASE_URL=auth.example.com", "APP__LOG_LEVEL=loud", "SESSION_SECURITY__REFRESH_REUSE_GRACE_SECONDS=-1",
	}, "config", "check")
	if bad.ExitCode() != 1 {
		t.Errorf("exit code %d", bad.ExitCode())
	}
	for _, want := range []string{
		"7 problems", "APP__PORT", "DATABASE__URL", "REDIS__URL", "JWT__ALGORITHM", "EMAIL__PUBLIC_BASE_URL", "APP__LOG_LEVEL", "SESSION_SECURITY__REFRESH_REUSE_GRACE_SECONDS",
	} {
		if !strings.Contains(bad.Stderr.String(), want) {
			t.Errorf("it does not name %s:\n%s", want, bad.Stderr)
		}
	}
	if strings.Contains(bad.Output(), "hunter2") {
		t.Error("it shows a password")
	}
	isEmpty(t, s.dir)
}

// production is a good configuration of a production server.
var production = []string{
	"APP__ENVIRONMENT=production", "APP__HOST=127.0.0.1", `APP__ALLOWED_HOSTS=["auth.example.com"]`, `AUTH__AUDIENCES=["orders-api"]`,
	"EMAIL__PUBLIC_BASE_URL=https://auth.example.com", "EMAIL__SMTP_HOST=127.0.0.1", "EMAIL__EMAIL_FROM=auth@example.com",
	"SIGNING_KEYS__ENCRYPTION_KEY=c9LmQ2fZr4Xs8VbN1tYk6HwPe3Ju7Gd5", "SESSION_SECURITY__REFRESH_TOKEN_HASH_KEY=Tz5Rk8Wq1Nv4Bc7Mx2Lp9Hj6Fd3Gs0Ay",
	"WEBHOOK__SECRET_ENCRYPTION_KEY=u7Yt4Re1Wq9Op6Il3Kj8Hg5Fd2Sa0Zx7",
}

func TestProductionRefusesWhatIsOnlyForDevelopment(t *testing.T) {
	for _, row := range []struct {
		says     string
		settings []string
		want     []string
	}{
		{"with nothing set", production[:1], []string{
			"SIGNING_KEYS__ENCRYPTION_KEY is not set", "SESSION_SECURITY__REFRESH_TOKEN_HASH_KEY is not set", "APP__ALLOWED_HOSTS is empty",
			"EMAIL__SMTP_HOST is not set", "EMAIL__PUBLIC_BASE_URL must start with https://",
		}},
		{"with sample secrets", []string{
			"SIGNING_KEYS__ENCRYPTION_KEY=local-dev-signing-key-encryption-key", "SESSION_SECURITY__REFRESH_TOKEN_HASH_KEY=replace-me-with-32-characters-or-more",
		}, []string{"SIGNING_KEYS__ENCRYPTION_KEY is a sample value", "SESSION_SECURITY__REFRESH_TOKEN_HASH_KEY is a sample value"}},
		{"with short and equal secrets", []string{
			"SIGNING_KEYS__ENCRYPTION_KEY=short", "WEBHOOK__SECRET_ENCRYPTION_KEY=Tz5Rk8Wq1Nv4Bc7Mx2Lp9Hj6Fd3Gs0Ay",
		}, []string{"SIGNING_KEYS__ENCRYPTION_KEY is shorter than 32 characters", "WEBHOOK__SECRET_ENCRYPTION_KEY is the same as SESSION_SECURITY__REFRESH_TOKEN_HASH_KEY"}},
		{"with the bootstrap key and a public mailbox", []string{"ADMIN_API_KEY=" + strings.Repeat("k3Y", 16), "DEV__MAILBOX_PUBLIC=true"},
			[]string{"ADMIN_API_KEY is for development only", "DEV__MAILBOX_PUBLIC is for development only"}},
	} {
		t.Run(row.says, func(t *testing.T) {
			s := sqliteStore(t)
			settings := append(append([]string{"APP__PORT=0"}, production...), row.settings...)
			if len(row.settings) == 1 {
				settings = append([]string{"APP__PORT=0"}, row.settings...)
			}
			p := s.authd(t, settings, "serve")
			if p.ExitCode() != 1 {
				t.Errorf("exit code %d", p.ExitCode())
			}
			for _, want := range row.want {
				if !strings.Contains(p.Stderr.String(), want) {
					t.Errorf("it does not say %q:\n%s", want, p.Stderr)
				}
			}
			isEmpty(t, s.dir)
		})
	}
}

func TestProductionHasNoDevelopmentPages(t *testing.T) {
	s := sqliteStore(t)
	v := s.serve(t, production...)
	for _, path := range []string{"/dev/mailbox", "/dev/mailbox/messages", "/docs", "/openapi.json"} {
		if a := v.do("GET", path, nil, "Host", "auth.example.com"); a.Status != http.StatusNotFound {
			t.Errorf("%s answers %d", path, a.Status)
		}
	}
	if a := v.do("GET", "/auth/validate", nil, "Host", "auth.example.com"); a.Status != http.StatusUnauthorized {
		t.Errorf("/auth/validate answers %s", a)
	}
	out := v.program.Output()
	for _, no := range []string{"shown only this once", "Try it", "development secrets"} {
		if strings.Contains(out, no) {
			t.Errorf("it says %q:\n%s", no, out)
		}
	}
	if n := s.count(t, `SELECT COUNT(*) FROM users`); n != 0 {
		t.Errorf("it made %d users", n)
	}
}
