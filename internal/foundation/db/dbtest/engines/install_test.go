package engines_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/internal/foundation/db/dbtest/engines"
)

func TestMissingServerIsOneLineOfAdvice(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("AUTHD_TEST_INSTALL", "0")
	_, err := engines.StartRedis()
	if err == nil {
		t.Fatal("Redis started from an empty PATH")
	}
	for _, hint := range []string{"redis-server", engines.RedisVariable, "off"} {
		if !strings.Contains(err.Error(), hint) {
			t.Errorf("the advice %q does not mention %s", err, hint)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the advice is more than a line: %q", err)
	}
}

func TestMissingServerIsInstalled(t *testing.T) {
	redis := onlyWithFakeApt(t, `[ "$DEBIAN_FRONTEND" = noninteractive ] || exit 1
echo "$@" >>"$0.log"
case "$*" in *" install "*) ln -s "$REAL_REDIS" "$(dirname "$0")/redis-server" ;; esac`)
	t.Setenv("REAL_REDIS", redis)
	server, err := engines.StartRedis()
	closing(t, server, err)
	log, err := os.ReadFile(filepath.Join(os.Getenv("PATH"), "apt-get.log"))
	if err != nil {
		t.Fatal(err)
	}
	calls := strings.Split(strings.TrimSpace(string(log)), "\n")
	if len(calls) != 2 || !strings.HasSuffix(calls[0], " update") || !strings.HasSuffix(calls[1], " install -y --no-install-recommends redis-server") {
		t.Errorf("apt-get was called with %q, want update, then install", calls)
	}
}

func TestFailedInstallationTellsWhy(t *testing.T) {
	onlyWithFakeApt(t, `echo working; echo "E: no network"; exit 100`)
	_, err := engines.StartRedis()
	if err == nil || !strings.Contains(err.Error(), "E: no network") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got error %v, want one line with what apt-get said last", err)
	}
}

// onlyWithFakeApt leaves in PATH an apt-get of the test's own and what the
// guard of a server needs, and returns where the real Redis is.
func onlyWithFakeApt(t *testing.T, script string) (redis string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root installs packages")
	}
	skipIfLeftOut(t, engines.RedisVariable)
	redis, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("needs a redis-server to pretend to install")
	}
	bin := t.TempDir()
	for _, tool := range []string{"sh", "cat", "sleep", "rm", "ln", "dirname"} {
		path, err := exec.LookPath(tool)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(bin, tool)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(bin, "apt-get"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	t.Setenv("AUTHD_TEST_INSTALL", "")
	return redis
}
