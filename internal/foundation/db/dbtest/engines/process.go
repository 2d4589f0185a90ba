package engines

import (
	"os"
	"os/exec"
	"syscall"
)

// A process is one run of a server or of a tool that prepares one.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process is gone and err is set
	err   error
}

// The gate holds the program back until the guard knows its process id, so that
// no death of ours can leave it behind: without a line on its input it ends.
const gate = `read -r go && exec "$@" </dev/null`

// spawn runs argv in dir under the guard, as user if that is not nil.
func spawn(g *guard, dir string, user *syscall.Credential, log *os.File, argv ...string) (*process, error) {
	cmd := exec.Command("sh", append([]string{"-c", gate, "engines-gate"}, argv...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C") // messages we can read, on machines without the user's locale too
	cmd.Stdout, cmd.Stderr = log, log          // never ours: `go test` waits for whoever holds those
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: user}
	open, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	err = g.watch(cmd.Process.Pid)
	if err == nil {
		_, err = open.Write([]byte("go\n"))
	}
	open.Close()
	// This goroutine also keeps the guard's pipe from being garbage collected,
	// and so the server alive when the caller keeps nothing but its URL.
	go func() {
		defer close(p.ended)
		p.err = cmd.Wait()
		_ = g.forget() // fails only if the guard is gone, and then nothing is left to forget
	}()
	if err != nil {
		<-p.ended
		return nil, err
	}
	return p, nil
}

func (p *process) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}
