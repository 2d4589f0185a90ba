package engines

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// A guard is a small shell process that outlives us by a moment: it kills our
// server and removes its directory when we are gone. It learns of our end from
// the end of its input, which comes however we die. Hooks in this process could
// not promise that.
type guard struct {
	pids io.WriteCloser
	cmd  *exec.Cmd
}

// The last number read is the process to kill, 0 for none. A server that does
// not die of the signal within ten seconds is killed outright. A dead process
// that nobody has waited for counts as dead: process 1 of a container may be
// slow to do so, or never do it.
const guardScript = `
alive() {
	kill -0 "$1" && case "$(cat "/proc/$1/stat")" in *") Z "*) false ;; esac
}
pid=0
while read -r line; do pid=$line; done
if [ "$pid" -gt 0 ] && kill -"$2" "$pid"; then
	tries=0
	while alive "$pid" && [ $((tries += 1)) -le 200 ]; do sleep 0.05; done
	alive "$pid" && kill -9 "$pid"
fi
rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }
`

func startGuard(dir string, deadly syscall.Signal) (*guard, error) {
	cmd := exec.Command("sh", "-c", guardScript, "engines-guard", dir, strconv.Itoa(int(deadly)))
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C must not reach it
	pids, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the guard of %s: %w", dir, err)
	}
	return &guard{pids: pids, cmd: cmd}, nil
}

// watch makes pid the process to kill.
func (g *guard) watch(pid int) error {
	_, err := fmt.Fprintln(g.pids, pid)
	return err
}

// forget keeps the guard from killing a stranger that got the number of a
// process that has ended.
func (g *guard) forget() error { return g.watch(0) }

// release has the guard do its work now, and returns when it is done.
func (g *guard) release() error {
	if err := g.pids.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	// The status says nothing: the script tries every step and fails at none.
	_ = g.cmd.Wait()
	return nil
}
