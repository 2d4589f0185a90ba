package engines_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/authsdk/authsdk/internal/foundation/db/dbtest/engines"
)

const durableSettings = `SELECT count(*) FROM pg_settings WHERE setting = 'on'
	AND name IN ('fsync', 'synchronous_commit', 'full_page_writes', 'autovacuum')`

func TestPostgresKeepsItsDataWhenStopped(t *testing.T) {
	server := startPostgres(t, engines.PostgresOptions{})
	if got := number(t, server, durableSettings); got != 0 {
		t.Errorf("%d settings that cost time are on, want none", got)
	}
	execute(t, server, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)")
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	if answers(t, server) {
		t.Fatal("a stopped PostgreSQL still accepts connections")
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	execute(t, server, "INSERT INTO kept VALUES (2)")
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	if got := number(t, server, "SELECT count(*) FROM kept"); got != 2 {
		t.Errorf("after a stop and a restart: %d rows, want 2", got)
	}
}

func TestDurablePostgresKeepsCommitsWhenKilled(t *testing.T) {
	server := startPostgres(t, engines.PostgresOptions{Durable: true})
	if got := number(t, server, durableSettings); got != 4 {
		t.Errorf("%d of 4 settings of production are on", got)
	}
	execute(t, server, "CREATE TABLE kept (n int)")
	for round := range 3 {
		execute(t, server, fmt.Sprintf("INSERT INTO kept VALUES (%d)", round))
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		if got := number(t, server, "SELECT count(*) FROM kept"); got != round+1 {
			t.Fatalf("after kill %d: %d rows, want %d", round+1, got, round+1)
		}
	}
}

func TestRedisComesBackEmptyAtItsAddress(t *testing.T) {
	for _, end := range []struct {
		name string
		do   func(*engines.Server) error
	}{{"stopped", (*engines.Server).Stop}, {"killed", (*engines.Server).Kill}} {
		t.Run(end.name, func(t *testing.T) {
			server := startRedis(t)
			if got := ask(t, server, "PING"); got != "+PONG" {
				t.Fatalf("PING: got %q", got)
			}
			if got := ask(t, server, "SET counter 5"); got != "+OK" {
				t.Fatalf("SET: got %q", got)
			}
			if err := end.do(server); err != nil {
				t.Fatal(err)
			}
			if answers(t, server) {
				t.Fatalf("a %s Redis still accepts connections", end.name)
			}
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
			if got := ask(t, server, "EXISTS counter"); got != ":0" {
				t.Errorf("EXISTS after the start: got %q, want :0", got)
			}
		})
	}
}

func TestStartFailsWithTheLogWhenTheAddressIsTaken(t *testing.T) {
	for _, server := range []*engines.Server{startRedis(t), startPostgres(t, engines.PostgresOptions{})} {
		if err := server.Start(); err == nil || !strings.Contains(err.Error(), "running already") {
			t.Errorf("Start of a running server: got error %v", err)
		}
		if err := server.Stop(); err != nil {
			t.Fatal(err)
		}
		squatter, err := net.Listen("tcp", address(t, server))
		if err != nil {
			t.Fatal(err)
		}
		err = server.Start()
		if err == nil || !strings.Contains(err.Error(), "ddress already in use") || strings.Contains(err.Error(), "\n") {
			t.Errorf("Start on a taken address: got error %v, want one line with the reason from the log", err)
		}
		if err := squatter.Close(); err != nil {
			t.Fatal(err)
		}
		if err := server.Start(); err != nil {
			t.Errorf("Start once the address is free: %v", err)
		}
	}
}

func TestServerLivesWhenOnlyItsURLIsKept(t *testing.T) {
	skipIfLeftOut(t, engines.RedisVariable)
	start := func() (url string) {
		server, err := engines.StartRedis()
		if err != nil {
			t.Fatal(err)
		}
		return server.URL
	}
	url := start() // the end of this process stops it
	for range 3 {
		runtime.GC()
	}
	if version, err := engines.Version(url); version == "" || err != nil {
		t.Errorf("after garbage collection: version %q, %v", version, err)
	}
}

func startPostgres(t *testing.T, options engines.PostgresOptions) *engines.Server {
	t.Helper()
	skipIfLeftOut(t, engines.PostgresVariable)
	server, err := engines.StartPostgres(options)
	return closing(t, server, err)
}

func startRedis(t *testing.T) *engines.Server {
	t.Helper()
	skipIfLeftOut(t, engines.RedisVariable)
	server, err := engines.StartRedis()
	return closing(t, server, err)
}

// closing has the test close the server, and checks that nothing remains.
func closing(t *testing.T, server *engines.Server, err error) *engines.Server {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(server.Close(), server.Close()); err != nil {
			t.Errorf("close: %v", err)
		}
		if answers(t, server) {
			t.Errorf("%s answers after Close", server.URL)
		}
	})
	return server
}

func execute(t *testing.T, server *engines.Server, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, statement := range statements {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func number(t *testing.T, server *engines.Server, query string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// ask sends one Redis command and returns the first line of the answer.
func ask(t *testing.T, server *engines.Server, command string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address(t, server))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, command+"\r\n"); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func answers(t *testing.T, server *engines.Server) bool {
	t.Helper()
	return accepts(address(t, server))
}

func accepts(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func address(t *testing.T, server *engines.Server) string {
	t.Helper()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}
