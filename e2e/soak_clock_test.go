package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db/dbtest/engines"
)

// libfaketime cannot reach authd: it is a static Go program that asks the kernel
// itself. So the test builds an authd whose package time adds an offset to what
// it reads, everywhere in the process, River and the drivers included; timers and
// timeouts go by the monotonic clock, as when a real clock is set. The changes
// are an overlay of the build, so that nothing of it is in the tree.

// clockVariable names the file that the offset is read from, in seconds.
const clockVariable = "FAULT_CLOCK"

const (
	timeNow     = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	timeShifted = timeNow + "\tsec += FaultOffset.Load()\n"
	timeMore    = "package time\n\nimport \"sync/atomic\"\n\n// FaultOffset is what Now is off by, in seconds.\nvar FaultOffset atomic.Int64\n"
	authdMore   = `package main

import (
	"os"
	"strconv"
	"time"
)

func init() {
	go func() {
		for {
			text, _ := os.ReadFile(os.Getenv("` + clockVariable + `"))
			seconds, _ := strconv.ParseInt(string(text), 10, 64)
			time.FaultOffset.Store(seconds)
			time.Sleep(2 * time.Millisecond)
		}
	}()
}
`
)

// clockBinary builds that authd.
func clockBinary(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		noError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	ask := func(args ...string) string {
		out, err := exec.Command("go", args...).Output()
		noError(t, err)
		return strings.TrimSpace(string(out))
	}
	std := filepath.Join(ask("env", "GOROOT"), "src", "time")
	source, err := os.ReadFile(filepath.Join(std, "time.go"))
	noError(t, err)
	if !strings.Contains(string(source), timeNow) {
		t.Fatal("time.Now of this Go is written otherwise: look at timeNow")
	}
	main := ask("list", "-f", "{{.Dir}}", "github.com/authsdk/authsdk/cmd/authd")
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(std, "time.go"):         write("time.go", strings.Replace(string(source), timeNow, timeShifted, 1)),
		filepath.Join(std, "fault_offset.go"): write("fault_offset.go", timeMore),
		filepath.Join(main, "fault_clock.go"): write("fault_clock.go", authdMore),
	}})
	noError(t, err)
	binary := filepath.Join(dir, "authd")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-overlay", write("overlay.json", string(overlay)), "-o", binary, "github.com/authsdk/authsdk/cmd/authd").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

func TestNothingIsLostWhenAClockJumps(t *testing.T) {
	if !soak {
		t.Skip("builds authd and the standard library anew, which takes a minute or more: make soak")
	}
	t.Parallel()
	binary := clockBinary(t)
	rows := slices.DeleteFunc(slices.Clone(soakFaults), func(f *soakFault) bool { return !f.clock })
	t.Run("of one of two replicas on PostgreSQL", func(t *testing.T) {
		t.Parallel()
		newCluster(t, ownPostgres(t), binary).suffer(rows)
	})
	t.Run("on SQLite", func(t *testing.T) {
		t.Parallel()
		newCluster(t, nil, binary).suffer(rows)
	})
	t.Run("of PostgreSQL", func(t *testing.T) {
		t.Parallel()
		postgres, clock := faketimePostgres(t)
		c := newCluster(t, postgres, "")
		c.clock = clock
		c.suffer([]*soakFault{
			{name: "clock of PostgreSQL +1 h", refusesNobody: true, strike: jumpPostgres(time.Hour)},
			{name: "clock of PostgreSQL -1 h", refusesNobody: true, strike: jumpPostgres(-time.Hour)},
		})
	})
}

// faketimePostgres starts a PostgreSQL whose clock a file sets.
func faketimePostgres(t *testing.T) (postgres *engines.Server, clock string) {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	if len(found) == 0 {
		t.Skip("needs libfaketime (Debian: apt-get install libfaketime)")
	}
	clock = filepath.Join(t.TempDir(), "clock")
	// The user that PostgreSQL runs as must get there.
	for dir := filepath.Dir(clock); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		noError(t, os.Chmod(dir, 0o755))
	}
	noError(t, os.WriteFile(clock, []byte("+0"), 0o644))
	postgres, err := engines.StartPostgres(engines.PostgresOptions{Durable: true, Env: []string{
		"LD_PRELOAD=" + found[0], "FAKETIME_TIMESTAMP_FILE=" + clock, "FAKETIME_NO_CACHE=1", "DONT_FAKE_MONOTONIC=1",
	}})
	noError(t, err)
	t.Cleanup(func() { closeServer(t, postgres) })
	return postgres, clock
}

// jump sets B's clock off by d, and back.
func jump(d time.Duration) func(c *cluster, _ *rand.Rand) func() {
	return func(c *cluster, _ *rand.Rand) func() {
		set := func(d time.Duration) {
			c.setClock(strconv.Itoa(int(d.Seconds())), d, "B", func() (time.Time, error) { return http.ParseTime(c.b.ready().Header.Get("Date")) })
		}
		set(d)
		hold()
		return func() { set(0) }
	}
}

func jumpPostgres(d time.Duration) func(c *cluster, _ *rand.Rand) func() {
	return func(c *cluster, _ *rand.Rand) func() {
		set := func(d time.Duration) {
			c.setClock(fmt.Sprintf("%+d", int(d.Seconds())), d, "PostgreSQL", func() (now time.Time, err error) {
				err = c.a.sql(c.t).QueryRow(`SELECT clock_timestamp()`).Scan(&now)
				return now, err
			})
		}
		set(d)
		hold()
		return func() { set(0) }
	}
}

// setClock writes the file and waits until the clock is off by d.
func (c *cluster) setClock(text string, d time.Duration, whose string, now func() (time.Time, error)) {
	t := c.t
	name := c.clock + ".new"
	noError(t, os.WriteFile(name, []byte(text), 0o644))
	noError(t, os.Rename(name, c.clock))
	await(t, patience, whose+"'s clock has jumped", func() bool {
		at, err := now()
		return err == nil && time.Until(at).Round(time.Minute) == d
	})
}
