package e2e

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/e2e/program"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest/engines"
)

func TestTheDemoDoesWhatItSays(t *testing.T) {
	for _, row := range []struct {
		says string
		env  func(t *testing.T) []string
		args []string
		want string
	}{
		{
			says: "on the embedded default",
			env:  func(t *testing.T) []string { return nil },
			want: "on an embedded database",
		}, {
			says: "on PostgreSQL and Redis with one authd",
			env: func(t *testing.T) []string {
				return []string{"DATABASE__URL=" + dbtest.EmptyPostgresURL(t), "REDIS__URL=" + dbtest.RedisURL(t)}
			},
			args: []string{"-second=false"},
			want: "on postgres and redis",
		}, {
			says: "with two authd processes that share PostgreSQL and Redis",
			env: func(t *testing.T) []string {
				return []string{"DATABASE__URL=" + dbtest.EmptyPostgresURL(t), "REDIS__URL=" + dbtest.RedisURL(t)}
			},
			want: "She logs out at authd B.",
		}, {
			says: "with two authd processes while Redis is stopped",
			env: func(t *testing.T) []string {
				redis := ownRedis(t)
				if err := redis.Stop(); err != nil {
					t.Fatal(err)
				}
				return []string{"DATABASE__URL=" + dbtest.EmptyPostgresURL(t), "REDIS__URL=" + redis.URL}
			},
			want: "She logs out at authd B.",
		},
	} {
		t.Run(row.says, func(t *testing.T) {
			t.Parallel()
			p := demo(t, row.env(t), row.args...)
			if p.ExitCode() != 0 {
				t.Fatalf("exit code %d:\n%s", p.ExitCode(), p.Output())
			}
			for _, want := range []string{row.want, "All 13 steps did what they say"} {
				if !strings.Contains(p.Output(), want) {
					t.Errorf("it does not say %q:\n%s", want, p.Output())
				}
			}
		})
	}
}

func TestTheDemoFailsWithASentence(t *testing.T) {
	for _, row := range []struct {
		says string
		args []string
		want string
	}{
		{"without an authd", []string{"-authd", "/nowhere/authd"}, "run make build first"},
		{"when two processes are to share SQLite", []string{"-second"}, "can only share PostgreSQL"},
		{"when the program is no authd", []string{"-authd", "/bin/true"}, "authd: it ended with exit code 0"},
	} {
		t.Run(row.says, func(t *testing.T) {
			t.Parallel()
			p := demo(t, nil, row.args...)
			if p.ExitCode() != 1 || !strings.Contains(p.Stderr.String(), row.want) {
				t.Errorf("exit code %d, not 1 with %q:\n%s", p.ExitCode(), row.want, p.Output())
			}
		})
	}
}

// demo runs the demo to its end.
func demo(t *testing.T, env []string, args ...string) *program.Program {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	p, err := program.Run(ctx, program.Spec{
		Path: demoPath, Args: append([]string{"-authd", authdPath}, args...), Env: program.Minimal(env...),
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, p.Output())
	}
	return p
}

// ownRedis starts a Redis that the test may stop.
func ownRedis(t *testing.T) *engines.Server {
	t.Helper()
	dbtest.RedisURL(t) // skips if Redis is left out
	redis, err := engines.StartRedis()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeServer(t, redis) })
	return redis
}

// ownPostgres starts a PostgreSQL that the test may kill. It keeps what it
// committed, as in production.
func ownPostgres(t *testing.T) *engines.Server {
	t.Helper()
	if _, err := engines.Postgres(); errors.Is(err, engines.ErrLeftOut) {
		t.Skip(err)
	}
	postgres, err := engines.StartPostgres(engines.PostgresOptions{Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeServer(t, postgres) })
	return postgres
}

func closeServer(t *testing.T, s *engines.Server) {
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
