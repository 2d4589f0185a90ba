package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// Who is measured has the first core for itself; the generator, PostgreSQL and
// Redis share the second.
const (
	measuredCore  = "0"
	generatorCore = "1"
)

const pinned = "BENCH_PINNED"

// pin starts this program again on the generator's core, from which everything
// that it starts inherits it.
func pin() error {
	if os.Getenv(pinned) != "" {
		return nil
	}
	taskset, err := exec.LookPath("taskset")
	if err != nil {
		return errors.New("taskset is missing: install util-linux")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(taskset, append([]string{"taskset", "-c", generatorCore, self}, os.Args[1:]...), append(os.Environ(), pinned+"=1"))
}

// onMeasuredCore is a command that runs alone on its core and dies with us.
func onMeasuredCore(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "taskset", append([]string{"-c", measuredCore, path}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), pinned + "=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// A process is a running program that is measured.
type process struct {
	cmd     *exec.Cmd
	address string
	ready   time.Duration // from its start to the first good answer
	ended   chan struct{}
	log     string // its file
}

// serve starts a server in dir, its log in a file there, and waits until it is ready.
func serve(ctx context.Context, server []string, dir string, settings ...string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	p := &process{cmd: onMeasuredCore(ctx, server[0], server[1:]...), address: address, ended: make(chan struct{}), log: filepath.Join(dir, "authd.log")}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, log, log
	p.cmd.Env = append(append(p.cmd.Env, "APP__PORT="+port, "EMAIL__PUBLIC_BASE_URL=http://"+address), settings...)
	start := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.cmd.Wait() // the log says why
		close(p.ended)
	}()
	if err := p.await("/health/ready"); err != nil {
		p.stop()
		return nil, err
	}
	p.ready = time.Since(start)
	return p, nil
}

func (p *process) await(path string) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		res, err := client.Get("http://" + p.address + path)
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-p.ended:
			return fmt.Errorf("it ended before it was ready: %s", p.logTail())
		default:
		}
	}
	return fmt.Errorf("it is not ready after a minute: %s", p.logTail())
}

func (p *process) logTail() string {
	text, _ := os.ReadFile(p.log)
	return string(text[max(0, len(text)-600):])
}

// stop asks it to end, and makes it.
func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		p.cmd.Process.Kill()
		<-p.ended
	}
}

// all is the process and the one that hashes passwords for it, if there is one.
func (p *process) all() []int {
	pids := []int{p.cmd.Process.Pid}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[0]))
	for _, file := range tasks {
		text, _ := os.ReadFile(file)
		for _, field := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// cpu is the processor time that it has used, user and system, all threads and
// both processes: what utime+stime of /proc/PID/stat says, in nanoseconds
// instead of hundredths of a second (clock_getcpuclockid(3)).
func (p *process) cpu() (sum time.Duration, err error) {
	for _, pid := range p.all() {
		used, err := cpuTime(int32(^pid<<3 | 2))
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// ownCPU is CLOCK_PROCESS_CPUTIME_ID.
const ownCPU = 2

func cpuTime(clock int32) (time.Duration, error) {
	var t syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&t)), 0); errno != 0 {
		return 0, fmt.Errorf("read a processor clock: %w", errno)
	}
	return time.Duration(t.Nano()), nil
}

// memory is what both processes have resident now, and had at most since
// forgetPeak, in bytes. Pages of the program that they share count twice.
func (p *process) memory() (now, peak int64, err error) {
	for _, pid := range p.all() {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, 0, err
		}
		now += kilobytes(status, "VmRSS:")
		peak += kilobytes(status, "VmHWM:")
	}
	return now, peak, nil
}

func kilobytes(status []byte, name string) int64 {
	_, rest, _ := bytes.Cut(status, []byte("\n"+name))
	fields := strings.Fields(string(rest[:min(len(rest), 40)]))
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(fields[0], 10, 64) // 0 says that it is not there
	return n << 10
}

// forgetPeak begins a new peak of the memory (proc(5), clear_refs).
func (p *process) forgetPeak() error {
	for _, pid := range p.all() {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
			return err
		}
	}
	return nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
