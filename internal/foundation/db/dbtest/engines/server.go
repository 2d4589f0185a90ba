package engines

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	patience     = 30 * time.Second      // for a server to start, and to stop
	pollInterval = 10 * time.Millisecond // between looks at a starting server
)

// A Server is a private PostgreSQL or Redis that a test may stop, kill and
// start again. Its methods are not for concurrent use.
type Server struct {
	URL     string
	Version string // as the server tells it, such as "15.18 (Debian 15.18-0+deb12u1)"

	name    string
	dir     string
	addr    string // the same at every start
	argv    []string
	user    *syscall.Credential // nil: ours
	stop    syscall.Signal      // ends it in order
	crash   syscall.Signal      // ends it at once
	version func(addr string) (string, error)

	guard   *guard
	process *process // the last run; nil before the first
}

// launch starts a new server. setup completes s once its directory and address
// are known.
func (s *Server) launch(setup func(port string) error) (*Server, error) {
	err := s.prepare()
	if err == nil {
		_, port, _ := net.SplitHostPort(s.addr)
		err = setup(port)
	}
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) prepare() (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("prepare %s: %w", s.name, err)
		}
	}()
	if s.dir, err = os.MkdirTemp(tempRoot(s.user), "authsdk-"+strings.ToLower(s.name)+"-"); err != nil {
		return err
	}
	if s.guard, err = startGuard(s.dir, s.crash); err != nil {
		return errors.Join(err, os.Remove(s.dir))
	}
	if s.user != nil {
		if err := os.Chown(s.dir, int(s.user.Uid), int(s.user.Gid)); err != nil {
			return err
		}
	}
	s.addr, err = freeAddress()
	return err
}

// Start starts a stopped server again, at the same address, and returns when it
// answers. PostgreSQL has kept its data; Redis, which saves nothing, is empty.
func (s *Server) Start() error {
	if s.process.running() {
		return fmt.Errorf("%s is running already", s.name)
	}
	p, err := s.spawn(s.argv...)
	if err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	s.process = p
	return s.awaitAnswer()
}

// spawn runs argv with an empty log, so that the log tells of this run only.
func (s *Server) spawn(argv ...string) (*process, error) {
	log, err := os.OpenFile(s.logPath(), os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	return spawn(s.guard, s.dir, s.user, log, argv...)
}

func (s *Server) awaitAnswer() error {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	for {
		err := s.greet()
		if err == nil {
			return nil
		}
		select {
		case <-poll.C:
		case <-s.process.ended:
			return fmt.Errorf("%s ended instead of starting: %v; its log ends: %s", s.name, s.process.cmd.ProcessState, s.logTail())
		case <-deadline.C:
			return fmt.Errorf("%s does not answer after %v: %w; its log ends: %s", s.name, patience, err, s.logTail())
		}
	}
}

// greet succeeds once the server serves. It believes the server's own log first:
// while ours was stopped, another may have settled at its address.
func (s *Server) greet() error {
	log, err := os.ReadFile(s.logPath())
	if err != nil {
		return err
	}
	if !bytes.Contains(log, []byte("eady to accept connections")) { // both say so, in their own case
		return errors.New("not ready by its log")
	}
	s.Version, err = s.version(s.addr)
	return err
}

// Stop ends the server in order. Open connections are closed.
func (s *Server) Stop() error { return s.halt(s.stop) }

// Kill ends the server as a crash would: PostgreSQL recovers from its
// write-ahead log at the next Start.
func (s *Server) Kill() error { return s.halt(s.crash) }

// Restart stops the server in order and starts it again.
func (s *Server) Restart() error {
	if err := s.Stop(); err != nil {
		return err
	}
	return s.Start()
}

func (s *Server) halt(signal syscall.Signal) error {
	if !s.process.running() {
		return nil
	}
	err := s.process.cmd.Process.Signal(signal)
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", s.name, err)
	}
	select {
	case <-s.process.ended:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("%s runs on %v after %v; its log ends: %s", s.name, patience, signal, s.logTail())
	}
}

// Close ends the server and removes what it kept. It is optional: the end of
// the process does the same. A second Close does nothing.
func (s *Server) Close() error {
	if s.guard == nil {
		return nil
	}
	if err := s.guard.release(); err != nil {
		return fmt.Errorf("close %s: %w", s.name, err)
	}
	if s.process != nil {
		<-s.process.ended
	}
	return nil
}

func (s *Server) logPath() string { return filepath.Join(s.dir, "log") }

// logTail is the end of the log on one line, so that errors stay on one.
func (s *Server) logTail() string {
	log, err := os.ReadFile(s.logPath())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], " | ")
}
