package secret

import (
	"encoding/gob"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// Worker computes hashes in a process of its own, so that a flood of sign-ins
// slows sign-ins only: the kernel runs that process when this one has nothing to
// do. In one process a hash would hold a core against every other request, and
// its tens of MiB would be the collector's.
//
// The process is this program with other arguments. It starts with the first
// hash, ends when this process does, and is started again if it dies. Where it
// cannot be started, this process computes; where it dies of an order, nobody
// does, since what killed it (a limit of memory, likely) would kill this one.
type Worker struct {
	command []string
	log     *slog.Logger
	most    int // how many it computes at once
	patient time.Duration

	mu      sync.Mutex
	process *exec.Cmd // nil: not running
	stdin   io.WriteCloser
	orders  *gob.Encoder
	waiting map[uint64]chan result
	last    uint64
	failed  time.Time // when it could not be started
}

const (
	// patience is how long an order may take. A process that is alive and does
	// not answer is ended.
	patience = 30 * time.Second

	// startAgain is how long after a failure it is tried again.
	startAgain = 10 * time.Second
)

// errNoWorker says that there is no process to give orders to.
var errNoWorker = errors.New("the process that hashes passwords cannot be started")

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

// NewWorker makes a worker of a command that calls ServeHashes; it is given the
// number of hashes to compute at once as its last argument.
func NewWorker(log *slog.Logger, command ...string) *Worker {
	return &Worker{command: command, log: log, patient: patience}
}

// do has an order carried out. Errors: errNoWorker; service_unavailable if the
// process died of it.
func (w *Worker) do(o order) (r result, err error) {
	for range 2 { // once more if it has died since the last one
		answer, process, err := w.send(o)
		if err != nil {
			return r, err
		}
		slow := time.AfterFunc(w.patient, func() { process.Process.Kill() })
		r, ok := <-answer
		slow.Stop()
		if ok {
			return r, nil
		}
	}
	w.log.Error("the process that hashes passwords died twice of one hash")
	return r, fault.Retry(fault.ServiceUnavailable, 2*time.Second)
}

// send hands the order over. The answer is closed without a result if the
// process ends first.
func (w *Worker) send(o order) (<-chan result, *exec.Cmd, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.process == nil {
		if time.Since(w.failed) < startAgain {
			return nil, nil, errNoWorker
		}
		if err := w.start(); err != nil {
			w.failed = time.Now()
			w.log.Error("the process that hashes passwords cannot be started; this one does it", "error", err)
			return nil, nil, errNoWorker
		}
	}
	w.last++
	o.ID = w.last
	answer := make(chan result, 1)
	w.waiting[o.ID] = answer
	if err := w.orders.Encode(o); err != nil { // it is gone; receive closes the answers
		w.stdin.Close()
	}
	return answer, w.process, nil
}

func (w *Worker) start() error {
	cmd := exec.Command(w.command[0], slices.Concat(w.command[1:], []string{strconv.Itoa(w.most)})...)
	cmd.Args[0] = "authd" // for those who list processes
	cmd.Env = []string{}  // it needs no settings, least of all secrets
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
	w.process, w.stdin, w.orders, w.waiting = cmd, stdin, gob.NewEncoder(stdin), waiting
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
	if w.process == cmd {
		w.process = nil
	}
	stdin.Close() // if it lives, it ends now
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
	if w.process != nil {
		w.stdin.Close()
	}
}

// ServeHashes is the other end: it carries out the orders that come in, most at
// once, until there are no more.
func ServeHashes(in io.Reader, out io.Writer, most int) {
	orders, results := gob.NewDecoder(in), gob.NewEncoder(out)
	computing := make(chan struct{}, max(most, 1))
	var answering sync.Mutex
	for {
		var o order
		if orders.Decode(&o) != nil {
			return
		}
		go func() {
			computing <- struct{}{}
			r := o.compute()
			<-computing
			answering.Lock()
			defer answering.Unlock()
			_ = results.Encode(r) // whoever asked may be gone
		}()
	}
}

func (o order) compute() result {
	if o.Bcrypt != "" {
		return result{ID: o.ID, Matches: matchesBcrypt(o.Bcrypt, o.Password)}
	}
	return result{ID: o.ID, Key: o.Cost.key(o.Password, o.Salt, o.Length)}
}
