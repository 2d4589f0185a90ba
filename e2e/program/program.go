// Package program runs other programs: it keeps what they print, waits until
// they are ready, and ends them. They never outlive us (on Linux).
package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Spec says what to run.
type Spec struct {
	Path string
	Args []string
	Dir  string   // working directory
	Env  []string // the whole environment; Minimal is a good start
}

// Program is a program that was started.
type Program struct {
	Stdout, Stderr *Text

	cmd   *exec.Cmd
	ended chan struct{}
}

// Start runs a program and does not wait for it.
func Start(s Spec) (*Program, error) {
	p := &Program{Stdout: &Text{}, Stderr: &Text{}, cmd: exec.Command(s.Path, s.Args...), ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = s.Dir, s.Env
	p.cmd.Stdout, p.cmd.Stderr = p.Stdout, p.Stderr
	p.cmd.SysProcAttr = dieWithUs()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.cmd.Wait() // the exit code says it all
		close(p.ended)
	}()
	return p, nil
}

// Run runs a program to its end.
func Run(ctx context.Context, s Spec) (*Program, error) {
	p, err := Start(s)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.ended:
		return p, nil
	case <-ctx.Done():
		p.Kill()
		return p, fmt.Errorf("%s did not end: %w", filepath.Base(s.Path), ctx.Err())
	}
}

// Pid is the process id.
func (p *Program) Pid() int { return p.cmd.Process.Pid }

// Running reports whether it has not ended.
func (p *Program) Running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// ExitCode of a program that has ended; -1 if a signal ended it.
func (p *Program) ExitCode() int {
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
}

// Kill ends it as kill -9 does, and returns when it is gone.
func (p *Program) Kill() {
	p.cmd.Process.Kill() // fails only if it has ended
	<-p.ended
}

// Terminate asks it to end (SIGTERM) and waits; past the deadline of ctx it is
// killed.
func (p *Program) Terminate(ctx context.Context) (exitCode int, err error) {
	p.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	select {
	case <-p.ended:
		return p.ExitCode(), nil
	case <-ctx.Done():
		p.Kill()
		return -1, fmt.Errorf("it did not end after SIGTERM: %w", ctx.Err())
	}
}

// pollEvery is how often Await looks.
const pollEvery = 3 * time.Millisecond

// Await returns when url answers 200. It fails when the program ends, or at the
// deadline of ctx.
func (p *Program) Await(ctx context.Context, url string) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Second}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	last := errors.New("not asked yet")
	for {
		select {
		case <-tick.C:
		case <-p.ended:
			return fmt.Errorf("it ended with exit code %d: %s", p.ExitCode(), p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer (%w): %s", url, last, p.tail())
		}
		res, err := client.Get(url)
		if err != nil {
			last = err
			continue
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return nil
		}
		last = fmt.Errorf("it answers %d", res.StatusCode)
	}
}

// Output is everything it printed.
func (p *Program) Output() string { return p.Stdout.String() + p.Stderr.String() }

func (p *Program) tail() string {
	lines := strings.Split(strings.TrimSpace(p.Output()), "\n")
	return strings.Join(lines[max(0, len(lines)-6):], "\n")
}

// Text collects what is written to it.
type Text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (t *Text) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(b)
}

func (t *Text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// Minimal is an environment without the settings of whoever runs us.
func Minimal(more ...string) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		if value, set := os.LookupEnv(name); set {
			env = append(env, name+"="+value)
		}
	}
	return append(env, more...)
}

// Build compiles a package of this workspace into the file path.
func Build(ctx context.Context, pkg, path string) error {
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, pkg).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// FreeAddress picks a port of this machine below the range that the kernel takes
// outgoing ports from, so that no client gets a stopped server's port.
func FreeAddress() (string, error) {
	const low, high = 15000, 32000
	var err error
	for range 100 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(low+rand.IntN(high-low)))
		var l net.Listener
		if l, err = net.Listen("tcp", address); err == nil {
			return address, l.Close()
		}
	}
	return "", fmt.Errorf("no free port: %w", err)
}
