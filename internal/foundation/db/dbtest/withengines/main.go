// Command withengines runs a command with a PostgreSQL and a Redis for tests:
//
//	go run ./internal/foundation/db/dbtest/withengines -- go test ./...
//
// Test processes that find no server start their own; this starts one of each
// for all of them. Package engines says which servers are used.
package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db/dbtest/engines"
)

func main() {
	code, err := run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "withengines:", err)
		code = 1
	}
	os.Exit(code)
}

// run returns the exit code of the command that args name.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) (code int, err error) {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return 0, errors.New("which command? usage: withengines -- command [argument ...]")
	}
	postgres, err := provide(stderr, "PostgreSQL", engines.PostgresVariable, engines.Postgres)
	if err != nil {
		return 0, err
	}
	redis, err := provide(stderr, "Redis", engines.RedisVariable, engines.Redis)
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	cmd.Env = append(os.Environ(), postgres, redis)
	return runForwarding(cmd)
}

// provide returns the setting that leads tests to the engine, and reports which
// server that is.
func provide(report io.Writer, engine, variable string, choose func() (string, error)) (setting string, err error) {
	begin := time.Now()
	server, err := choose()
	if errors.Is(err, engines.ErrLeftOut) {
		fmt.Fprintf(report, "withengines: %s is left out (%s=off)\n", engine, variable)
		return variable + "=off", nil
	}
	if err != nil {
		return "", err
	}
	version, err := engines.Version(server)
	if err != nil {
		return "", err
	}
	if version == "" {
		version = "of unknown version"
	}
	origin := "private"
	if os.Getenv(variable) != "" {
		origin = "given by " + variable
	}
	fmt.Fprintf(report, "withengines: %s %s, %s, at %s, took %v\n",
		engine, version, origin, host(server), time.Since(begin).Round(time.Millisecond))
	return variable + "=" + server, nil
}

// host names a server without its password.
func host(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" {
		return "an address of another form"
	}
	return u.Host
}

// runForwarding passes on the signals that ask us to end: the command decides
// how, and the servers stay until it has.
func runForwarding(cmd *exec.Cmd) (code int, err error) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // fails only if the command has just ended
		case err := <-ended:
			return exitCode(cmd.ProcessState), ignoreExit(err)
		}
	}
}

// exitCode is what a shell would return.
func exitCode(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// ignoreExit keeps the errors that are not the command's own exit code.
func ignoreExit(err error) error {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil
	}
	return err
}
