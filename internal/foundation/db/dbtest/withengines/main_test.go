package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/authsdk/authsdk/internal/foundation/db/dbtest/engines"
)

// mainVariable turns this test binary into the command itself.
const mainVariable = "WITHENGINES_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(mainVariable) != "" {
		main()
	}
	os.Exit(m.Run())
}

func TestCommandGetsPrivateServers(t *testing.T) {
	for _, variable := range []string{engines.PostgresVariable, engines.RedisVariable} {
		if os.Getenv(variable) == "off" && os.Getenv("CI") == "" {
			t.Skipf("%s=off", variable)
		}
		t.Setenv(variable, "")
	}
	var stdout, stderr strings.Builder
	code, err := run([]string{"--", "sh", "-c", `echo "$AUTHD_TEST_POSTGRES_URL $AUTHD_TEST_REDIS_URL $(cat)"; exit 7`},
		strings.NewReader("input"), &stdout, &stderr)
	if code != 7 || err != nil {
		t.Fatalf("got exit code %d, %v, want 7: %s", code, err, &stderr)
	}
	if want := regexp.MustCompile(`^postgres://\S+ redis://\S+ input\n$`); !want.MatchString(stdout.String()) {
		t.Errorf("the command saw %q", &stdout)
	}
	want := regexp.MustCompile(`^withengines: PostgreSQL \d.*, private, at 127.0.0.1:\d+, took .*s\n` +
		`withengines: Redis \d.*, private, at 127.0.0.1:\d+, took .*s\n$`)
	if !want.MatchString(stderr.String()) {
		t.Errorf("the report is %q", &stderr)
	}
}

func TestErrorsBeforeTheCommandRuns(t *testing.T) {
	tests := []struct {
		name, postgres, ci string
		args               []string
		want               string
	}{
		{"no command is named", "off", "", []string{"--"}, "usage"},
		{"the command does not exist", "off", "", []string{"/nonexistent/command"}, "no such file"},
		{"an engine is left out in CI", "off", "true", []string{"true"}, "CI is set"},
		{"a given server does not answer", "postgres://127.0.0.1:1/x", "", []string{"true"}, "no answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("CI", tt.ci)
			t.Setenv(engines.PostgresVariable, tt.postgres)
			t.Setenv(engines.RedisVariable, "off")
			_, err := run(tt.args, nil, io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got error %v, want one line with %q", err, tt.want)
			}
		})
	}
}

func TestSignalsReachTheCommand(t *testing.T) {
	for signal, name := range map[syscall.Signal]string{syscall.SIGTERM: "TERM", syscall.SIGINT: "INT"} {
		t.Run(name, func(t *testing.T) {
			if code := exitCodeAfter(t, signal, `trap "exit 42" `+name+`; echo ready; while :; do sleep 0.02; done`); code != 42 {
				t.Errorf("a command that handles the signal: exit code %d, want its own, 42", code)
			}
		})
	}
	if code := exitCodeAfter(t, syscall.SIGTERM, `echo ready; exec sleep 60`); code != 128+15 {
		t.Errorf("a command that dies of the signal: exit code %d, want %d", code, 128+15)
	}
}

// exitCodeAfter runs the script under the command, sends the command the signal
// once the script has printed a line, and returns the command's exit code.
func exitCodeAfter(t *testing.T, signal os.Signal, script string) int {
	t.Helper()
	cmd := exec.Command(os.Args[0], "--", "sh", "-c", script)
	cmd.Env = append(os.Environ(), mainVariable+"=1", "CI=", engines.PostgresVariable+"=off", engines.RedisVariable+"=off")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	if exit := (*exec.ExitError)(nil); !errors.As(cmd.Wait(), &exit) {
		t.Fatal("the command succeeded")
	}
	return cmd.ProcessState.ExitCode()
}
