package engines_test

import (
	"bufio"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db/dbtest/engines"
)

// mortalVariable turns this test binary into a program that starts both engines
// without closing them, and ends when its input does or when it is killed.
const mortalVariable = "ENGINES_TEST_MORTAL"

func mortal() (code int) {
	for _, choose := range []func() (string, error){engines.Postgres, engines.Redis} {
		server, err := choose()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Println(server)
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // however it ends, we end
	return 0
}

func TestPrivateServersDieWithTheirProcess(t *testing.T) {
	skipIfLeftOut(t, engines.PostgresVariable)
	skipIfLeftOut(t, engines.RedisVariable)
	ends := []struct {
		name string
		end  func(mortal *exec.Cmd, input io.Closer) error
	}{
		{"returns from main", func(_ *exec.Cmd, input io.Closer) error { return input.Close() }},
		{"kill -9", func(mortal *exec.Cmd, _ io.Closer) error { return mortal.Process.Kill() }},
	}
	for _, tt := range ends {
		t.Run(tt.name, func(t *testing.T) {
			temp := reachableTemp(t)
			mortal, input, addrs := startMortal(t, temp)
			if left := entries(t, temp); len(left) != 2 {
				t.Fatalf("temporary directory of the running program: %v, want one entry for each server", left)
			}
			if err := tt.end(mortal, input); err != nil {
				t.Fatal(err)
			}
			_ = mortal.Wait() // killed, for one of the ends
			for _, addr := range addrs {
				eventually(t, addr+" is closed", func() bool { return !accepts(addr) })
			}
			eventually(t, temp+" is empty", func() bool { return len(entries(t, temp)) == 0 })
		})
	}
}

// A process can be killed at any point of a start, during initdb too.
func TestPrivateServersDieWithAProcessKilledWhileStarting(t *testing.T) {
	skipIfLeftOut(t, engines.PostgresVariable)
	for _, sign := range []string{"data/base", "data/postmaster.pid"} {
		t.Run(sign, func(t *testing.T) {
			temp := reachableTemp(t)
			mortal, _ := mortalCommand(t, temp)
			if err := mortal.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, sign+" exists", func() bool {
				for _, entry := range entries(t, temp) {
					if _, err := os.Stat(temp + "/" + entry + "/" + sign); err == nil {
						return true
					}
				}
				return false
			})
			if err := mortal.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = mortal.Wait() // it was killed
			eventually(t, temp+" is empty", func() bool { return len(entries(t, temp)) == 0 })
		})
	}
}

func startMortal(t *testing.T, temp string) (mortal *exec.Cmd, input io.Closer, addrs []string) {
	t.Helper()
	mortal, input = mortalCommand(t, temp)
	output, err := mortal.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := mortal.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(output); len(addrs) < 2; {
		if !lines.Scan() {
			t.Fatalf("the program ended early: %v", mortal.Wait())
		}
		u, err := url.Parse(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, u.Host)
	}
	return mortal, input, addrs
}

func mortalCommand(t *testing.T, temp string) (mortal *exec.Cmd, input io.Closer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	mortal = exec.Command(self)
	mortal.Stderr = os.Stderr
	mortal.Env = append(os.Environ(), mortalVariable+"=1", "TMPDIR="+temp,
		engines.PostgresVariable+"=", engines.RedisVariable+"=")
	if input, err = mortal.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	return mortal, input
}

// reachableTemp is a directory other users can reach into, unlike t.TempDir,
// since PostgreSQL does not run as root.
func reachableTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "engines-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range list {
		names = append(names, entry.Name())
	}
	return names
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for !holds() {
		select {
		case <-poll.C:
		case <-deadline.C:
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}
