package secret

import (
	"encoding/gob"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
)

// Worker computes hashes in a process of its own, so that a flood of sign-ins
// slows sign-ins only: the kernel runs that process when this one has nothing to
// do. In one process a hash would hold a core against every other request, and
// its tens of MiB would be the collector's.
//
// The process is this program with other arguments. It starts with the first
// hash, ends when this process does, and is started again if it dies.
type Worker struct {
	command []string
	log     *slog.Logger

	mu      sync.Mutex
	stdin   io.WriteCloser // nil: not running
	orders  *gob.Encoder
	waiting map[uint64]chan result
	last    uint64
}

// order is one hash to be computed: of bcrypt if there is such a hash to compare
// with, else of Argon2id.
type order struct {
	ID       uint64
	Password string
	Bcrypt   string
	Cost     Cost
	Salt     []byte
	Length   uint32
}

type result struct {
	ID      uint64
	Key     []byte
	Matches bool
}

// NewWorker makes a worker of a command that calls ServeHashes.
func NewWorker(log *slog.Logger, command ...string) *Worker {
	return &Worker{command: command, log: log}
}

// do has an order carried out. It reports false if the process cannot.
func (w *Worker) do(o order) (r result, ok bool) {
	for range 2 { // once more if it has died since the last one
		answer, err := w.send(o)
		if err != nil {
			w.log.Error("the process that hashes passwords cannot be started; this one does it", "error", err)
			return r, false
		}
		if r, ok = <-answer; ok {
			return r, true
		}
	}
	return r, false
}

// send hands the order over. The answer is closed without a result if the
// process ends first.
func (w *Worker) send(o order) (<-chan result, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stdin == nil {
		if err := w.start(); err != nil {
			return nil, err
		}
	}
	w.last++
	o.ID = w.last
	answer := make(chan result, 1)
	w.waiting[o.ID] = answer
	if err := w.orders.Encode(o); err != nil { // it is gone; receive closes the answers
		w.stdin.Close()
	}
	return answer, nil
}

func (w *Worker) start() error {
	cmd := exec.Command(w.command[0], w.command[1:]...)
	cmd.Env = []string{} // it needs no settings, least of all secrets
	cmd.Stderr = os.Stderr
	apart(cmd)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	waiting := map[uint64]chan result{}
	w.stdin, w.orders, w.waiting = stdin, gob.NewEncoder(stdin), waiting
	go w.receive(cmd, stdin, gob.NewDecoder(stdout), waiting)
	return nil
}

// receive hands out results until the process ends.
func (w *Worker) receive(cmd *exec.Cmd, stdin io.Closer, results *gob.Decoder, waiting map[uint64]chan result) {
	for {
		var r result
		if results.Decode(&r) != nil {
			break
		}
		w.mu.Lock()
		answer := waiting[r.ID]
		delete(waiting, r.ID)
		w.mu.Unlock()
		if answer != nil {
			answer <- r
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stdin == stdin {
		w.stdin = nil
	}
	stdin.Close()
	for _, answer := range waiting {
		close(answer)
	}
	go cmd.Wait()
}

// Close ends the process.
func (w *Worker) Close() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stdin != nil {
		w.stdin.Close()
	}
}

// ServeHashes is the other end: it carries out the orders that come in until
// there are no more.
func ServeHashes(in io.Reader, out io.Writer) {
	orders, results := gob.NewDecoder(in), gob.NewEncoder(out)
	var answering sync.Mutex
	for {
		var o order
		if orders.Decode(&o) != nil {
			return
		}
		go func() {
			r := result{ID: o.ID}
			if o.Bcrypt != "" {
				r.Matches = matchesBcrypt(o.Bcrypt, o.Password)
			} else {
				r.Key = o.Cost.key(o.Password, o.Salt, o.Length)
			}
			answering.Lock()
			defer answering.Unlock()
			_ = results.Encode(r) // whoever asked may be gone
		}()
	}
}
