package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsdk/authsdk/e2e/authapi"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

func TestSIGTERMLetsRequestsFinish(t *testing.T) {
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t, dear...)
		email := v.account()
		const logins = 32
		var sent, answered atomic.Int64
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			WroteRequest: func(httptrace.WroteRequestInfo) { sent.Add(1) },
		})
		errs := make([]error, logins)
		var done sync.WaitGroup
		for i := range logins {
			done.Go(func() {
				_, errs[i] = v.Login(ctx, email, password, "")
				answered.Add(1)
			})
		}
		await(t, patience, "all logins are sent and one is answered", func() bool { return sent.Load() == logins && answered.Load() > 0 })
		running := logins - answered.Load()
		begin := time.Now()
		code := v.terminate()
		took := time.Since(begin)
		done.Wait()
		for i, err := range errs {
			if err != nil {
				t.Errorf("login %d: %v", i, err)
			}
		}
		if code != 0 {
			t.Errorf("exit code %d", code)
		}
		if n := s.count(t, `SELECT COUNT(*) FROM sessions`); n != logins {
			t.Errorf("%d sessions are stored instead of %d", n, logins)
		}
		t.Logf("%d logins were running at SIGTERM; it ended after %.0f ms", running, ms(took))
		if running < logins/4 {
			t.Errorf("only %d logins were running: the test shows nothing", running)
		}
	})
}

func TestServeFailsWithOneClearLine(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, takenPort, _ := net.SplitHostPort(taken.Addr().String())
	running := sqliteStore(t)
	running.serve(t)
	for _, row := range []struct {
		says     string
		store    *store
		settings []string
		want     string
	}{
		{"when another authd uses the SQLite file", running, []string{"APP__PORT=0"}, "another authd is using this database: authd-data/authd.db; stop it"},
		{"when the port is taken", sqliteStore(t), []string{"APP__PORT=" + takenPort}, "cannot listen on 127.0.0.1:" + takenPort},
		{"when the folder cannot be made", sqliteStore(t), []string{"APP__PORT=0", "DATABASE__URL=sqlite:///proc/nowhere/authd.db"}, "/proc/nowhere"},
	} {
		t.Run(row.says, func(t *testing.T) {
			p := row.store.authd(t, row.settings, "serve")
			oneLine(t, p.ExitCode(), p.Stderr.String(), row.want)
		})
	}
	t.Run("when PostgreSQL is not there", func(t *testing.T) {
		p := postgresNowhere(t).authd(t, []string{"APP__PORT=0"}, "serve", "--migrate")
		if e := p.Stderr.String(); p.ExitCode() != 1 || !strings.Contains(e, "connection refused") || strings.Contains(e, "hunter2") || strings.Contains(e, "goroutine") {
			t.Errorf("exit code %d:\n%s", p.ExitCode(), e)
		}
	})
	t.Run("when PostgreSQL has no schema and nobody said --migrate", func(t *testing.T) {
		s := postgresAt(t, dbtest.EmptyPostgresURL(t))
		p := s.authd(t, []string{"APP__PORT=0"}, "serve")
		oneLine(t, p.ExitCode(), p.Stderr.String(), "run `authd migrate up`, or start with `authd serve --migrate`")
		if n := s.count(t, `SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public'`); n != 0 {
			t.Errorf("it made %d tables", n)
		}
	})
}

func oneLine(t *testing.T, code int, stderr, want string) {
	t.Helper()
	if code != 1 || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "authd: ") || !strings.Contains(stderr, want) {
		t.Errorf("exit code %d, not 1 with one line that says %q:\n%s", code, want, stderr)
	}
}

func postgresNowhere(t *testing.T) *store {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return &store{engine: "pgx", dir: t.TempDir(), env: []string{"DATABASE__URL=postgres://postgres:hunter2@" + l.Addr().String() + "/x"}}
}

func TestTenReplicasMayStartAtOnceOnAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	const n = 10
	s := postgresAt(t, dbtest.EmptyPostgresURL(t))
	begin := time.Now()
	var all []*server
	for range n {
		all = append(all, s.launch(t))
	}
	for _, v := range all {
		v.await()
	}
	t.Logf("%d replicas on an empty database are ready after %.1f s", n, time.Since(begin).Seconds())

	keys := all[0].do("GET", "/.well-known/jwks.json", nil)
	email := all[0].account()
	tokens := all[0].login(email)
	passwords := 0
	for i, v := range all {
		if got := v.do("GET", "/.well-known/jwks.json", nil); got.String() != keys.String() {
			t.Errorf("replica %d publishes other keys: %s", i, got)
		}
		if _, err := v.Validate(t.Context(), tokens.Access); err != nil {
			t.Errorf("replica %d: %v", i, err)
		}
		tokens = v.refresh(tokens.Refresh)
		passwords += strings.Count(v.program.Output(), "(shown only this once)")
	}
	for query, want := range map[string]int{
		`SELECT COUNT(*) FROM signing_keys`:               2, // one signs, one is next
		`SELECT COUNT(*) FROM users WHERE role = 'admin'`: 1,
		`SELECT COUNT(*) FROM goose_db_version`:           s.count(t, `SELECT COUNT(DISTINCT version_id) FROM goose_db_version`),
	} {
		if got := s.count(t, query); got != want {
			t.Errorf("%s: %d, not %d", query, got, want)
		}
	}
	if passwords != 1 {
		t.Errorf("the admin's password was shown %d times", passwords)
	}
}

func TestARestartKeepsEverything(t *testing.T) {
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t)
		email := v.account()
		live, ended := v.login(email), v.login(email)
		if _, err := v.Logout(t.Context(), ended.Refresh); err != nil {
			t.Fatal(err)
		}
		keys := v.do("GET", "/.well-known/jwks.json", nil)
		if code := v.terminate(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		v.restart()
		if got := v.do("GET", "/.well-known/jwks.json", nil); got.String() != keys.String() {
			t.Errorf("the keys changed: %s and %s", keys, got)
		}
		if _, err := v.Validate(t.Context(), live.Access); err != nil {
			t.Errorf("a live session: %v", err)
		}
		v.refresh(live.Refresh)
		_, err := v.Validate(t.Context(), ended.Access) // from the first moment on
		refuses(t, err, http.StatusUnauthorized, "session_expired")
		_, err = v.Refresh(t.Context(), ended.Refresh)
		refuses(t, err, http.StatusUnauthorized, "session_expired")
		v.login(email)
	})
}

// TestAnAnswerOfADyingServerIsNoLogout: whatever a client hears while the
// server stops, it is not that its session has ended.
func TestAnAnswerOfADyingServerIsNoLogout(t *testing.T) {
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t)
		email := v.account()
		var clients []authapi.Tokens
		for range 8 {
			clients = append(clients, v.login(email))
		}
		var done sync.WaitGroup
		var refreshed atomic.Int64
		bad := make(chan string, len(clients))
		for i := range clients {
			done.Go(func() {
				for {
					tokens, err := v.Refresh(t.Context(), clients[i].Refresh)
					if refused, ok := err.(*authapi.Refused); ok && refused.Status != http.StatusServiceUnavailable {
						bad <- fmt.Sprint(refused)
						return
					}
					if err != nil {
						return
					}
					clients[i] = tokens
					refreshed.Add(1)
				}
			})
		}
		await(t, patience, "some refreshes", func() bool { return refreshed.Load() > 50 })
		if code := v.terminate(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		done.Wait()
		close(bad)
		for answer := range bad {
			t.Errorf("a client was told %s", answer)
		}
		v.restart()
		for _, tokens := range clients {
			v.refresh(tokens.Refresh)
		}
	})
}
