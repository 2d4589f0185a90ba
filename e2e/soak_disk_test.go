package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/authsdk/authsdk/e2e/program"
)

// slowDisk has strace hold every fsync and fdatasync back, of authd on SQLite
// and of every process of PostgreSQL else: authd is a static Go program that no
// LD_PRELOAD reaches, and few machines have a device that can be slowed. strace
// stops each other system call for a moment, too, so that all gets slower.
func slowDisk(c *cluster, _ *rand.Rand) func() {
	t := c.t
	path, err := exec.LookPath("strace")
	noError(t, err)
	args := []string{"-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:delay_enter=300000"}
	pids := []int{c.b.program.Pid()}
	if c.postgres != nil {
		var worker int
		noError(t, c.a.sql(t).QueryRow(`SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'`).Scan(&worker))
		pids = family(parent(worker))
	}
	for _, pid := range pids {
		args = append(args, "-p", strconv.Itoa(pid))
	}
	strace, err := program.Start(program.Spec{Path: path, Args: args, Env: program.Minimal()})
	noError(t, err)
	await(t, patience, "strace has got hold of it", func() bool {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pids[0]))
		noError(t, err)
		return !strings.Contains(string(status), "TracerPid:\t0\n")
	})
	hold()
	return func() {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := strace.Terminate(ctx) // it lets go of what it holds
		noError(t, err)
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGCONT) // in case it was let go while stopped
		}
	}
}

// parent reads who started a process.
func parent(pid int) int {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest + " 0 0")
	id, _ := strconv.Atoi(fields[1])
	return id
}

// family is a process and those it started.
func family(of int) []int {
	pids := []int{of}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		if parent(pid) == of {
			pids = append(pids, pid)
		}
	}
	return pids
}
