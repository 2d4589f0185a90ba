package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

func TestAProcessDoesWhatItsRolesSay(t *testing.T) {
	t.Parallel()
	s := postgresStore(t)
	api := s.serve(t, `APP__ROLES=["api"]`)
	email := newEmail()
	if _, err := api.Signup(t.Context(), email, password); err != nil {
		t.Fatal(err)
	}
	if n := s.count(t, `SELECT COUNT(*) FROM river_job WHERE kind = 'verify_mail' OR kind LIKE '%mail%'`); n != 1 {
		t.Fatalf("%d jobs of mail, want 1", n)
	}
	// The api answers many requests, and its job stays: nobody works it.
	for range 20 {
		if status := api.do("GET", "/health/ready", nil).Status; status != http.StatusOK {
			t.Fatalf("the api is not ready: %d", status)
		}
	}
	if n := s.count(t, `SELECT COUNT(*) FROM river_job WHERE state <> 'available'`); n != 0 {
		t.Errorf("%d jobs are worked without a worker", n)
	}
	if n := s.count(t, `SELECT COUNT(*) FROM mailbox`); n != 0 {
		t.Errorf("%d mails are sent without a worker", n)
	}

	worker := s.serve(t, `APP__ROLES=["worker"]`, "EMAIL__PUBLIC_BASE_URL="+api.Base)
	mail := api.mail(email, 1)
	if _, err := api.Verify(t.Context(), mail.Tokens[0]); err != nil {
		t.Fatal(err)
	}
	access := api.login(email).Access
	if _, err := api.Validate(t.Context(), access); err != nil {
		t.Error(err)
	}
	await(t, patience, "the worker gives the events their places", func() bool {
		return s.count(t, `SELECT COUNT(*) FROM audit_outbox`) == 0 && s.count(t, `SELECT COUNT(*) FROM audit_chain`) > 0
	})

	for _, path := range []string{"/health/live", "/health/ready", "/metrics"} {
		if status := get(t, worker.Base+path); status != http.StatusOK {
			t.Errorf("worker: GET %s is answered %d", path, status)
		}
	}
	for _, path := range []string{"/", "/docs", "/openapi.json", "/dev/mailbox", "/.well-known/jwks.json", "/auth/sessions", "/admin/users", "/reset-password"} {
		if status := get(t, worker.Base+path); status != http.StatusNotFound {
			t.Errorf("worker: GET %s is answered %d, want 404", path, status)
		}
	}
	if code := worker.terminate(); code != 0 {
		t.Errorf("the worker ends with %d", code)
	}
}

func get(t *testing.T, url string) int {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

func TestRolesThatCannotBeAreRefused(t *testing.T) {
	t.Parallel()
	sqlite := sqliteStore(t)
	for _, row := range []struct {
		says     string
		settings []string
		args     []string
		want     string
	}{
		{"one role on SQLite", nil, []string{"serve", "--roles", "api"}, "SQLite has one process: leave out --roles"},
		{"one role on SQLite, in the environment", []string{`APP__ROLES=["worker"]`}, []string{"serve"}, "SQLite has one process: leave out --roles"},
		{"a role that is none", nil, []string{"serve", "--roles", "api,cook"}, "the roles of a process are api and worker"},
	} {
		t.Run(row.says, func(t *testing.T) {
			p := sqlite.authd(t, append([]string{"APP__PORT=0"}, row.settings...), row.args...)
			if p.ExitCode() != 1 || !strings.Contains(p.Stderr.String(), row.want) {
				t.Errorf("exit code %d, and it does not say %q:\n%s", p.ExitCode(), row.want, p.Output())
			}
		})
	}
	// The flag wins over the environment.
	t.Run("both roles by flag", func(t *testing.T) {
		p := sqlite.authd(t, []string{"APP__PORT=0", `APP__ROLES=["worker"]`, "DATABASE__URL=sqlite:///dev/null/none.db"}, "serve", "--roles", "api,worker")
		if strings.Contains(p.Stderr.String(), "SQLite has one process") {
			t.Errorf("the flag does not win:\n%s", p.Output())
		}
	})
}

func TestPurgeDeletesWhatIsTooOldBesideARunningServer(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, s *store) {
		settings := []string{"RETENTION__SESSION_LOG_RETENTION_DAYS=30", "RETENTION__AUDIT_LOG_RETENTION_DAYS=90"}
		v := s.serve(t, settings...)
		email := v.account()
		old, young := v.login(email), v.login(email)
		ids := make([]string, 2)
		for i, tokens := range []string{old.Access, young.Access} {
			_, payload := claims(t, tokens)
			ids[i], _ = payload["sid"].(string)
		}
		// The first session is from a year ago, which its id says, too.
		s.change(t, `UPDATE sessions SET id = '01000000-0000-7000-8000-000000000001', expires_at = $1 WHERE id = $2`, time.Now().UTC().AddDate(-1, 0, 0), ids[0])

		type counts struct {
			DryRun   bool `json:"dry_run"`
			Sessions int  `json:"sessions"`
			Finished bool `json:"finished"`
		}
		purge := func(args ...string) (n counts) {
			t.Helper()
			p := s.authd(t, append(v.settings, settings...), append([]string{"purge", "--json"}, args...)...)
			if p.ExitCode() != 0 || p.Stderr.String() != "" {
				t.Fatalf("exit code %d\n%s", p.ExitCode(), p.Output())
			}
			if err := json.Unmarshal([]byte(p.Stdout.String()), &n); err != nil {
				t.Fatalf("%v: %s", err, p.Stdout.String())
			}
			return n
		}
		if n := purge("--dry-run"); n != (counts{true, 1, true}) {
			t.Errorf("a dry run counts %+v", n)
		}
		if n := s.count(t, `SELECT COUNT(*) FROM sessions`); n != 2 {
			t.Errorf("%d sessions after a dry run", n)
		}
		if n := purge(); n != (counts{false, 1, true}) {
			t.Errorf("the purge deletes %+v", n)
		}
		if n := s.count(t, `SELECT COUNT(*) FROM sessions WHERE id = $1`, ids[1]); n != 1 {
			t.Error("the session that lives is gone")
		}
		if _, err := v.Validate(t.Context(), young.Access); err != nil {
			t.Error(err)
		}
		if n := s.count(t, `SELECT COUNT(*) FROM audit_events WHERE event_type = 'retention.purged' AND actor_type = 'system'`); n != 1 {
			t.Errorf("%d purges are recorded", n)
		}
		if p := s.authd(t, append(v.settings, settings...), "purge"); p.ExitCode() != 0 || !strings.Contains(p.Stdout.String(), "Ended sessions: 0.") {
			t.Errorf("exit code %d\n%s", p.ExitCode(), p.Output())
		}
	})
}

// Every command that acts says what to do when there is no database yet.
func TestCommandsThatActWantADatabaseThatIsReady(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*store{"SQLite": sqliteStore(t), "PostgreSQL": postgresAt(t, dbtest.EmptyPostgresURL(t))} {
		for _, args := range [][]string{
			{"purge"}, {"purge", "--dry-run"}, {"admin", "create", "jo@example.com"}, {"user", "list"}, {"keys", "list"}, {"client", "list"},
			{"apikey", "list"}, {"webhook", "list"}, {"audit", "list"},
		} {
			p := s.authd(t, nil, args...)
			if p.ExitCode() != 1 || !strings.Contains(p.Stderr.String(), "authd migrate up") {
				t.Errorf("%s: authd %s: exit code %d\n%s", name, strings.Join(args, " "), p.ExitCode(), p.Output())
			}
		}
	}
}
