//go:build unix

package secret

import (
	"flag"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// asWorker has this test program serve hashes.
var asWorker = []string{os.Args[0], "-test.run=^TestServesHashesForTheOthers$", "serve-hashes"}

func TestServesHashesForTheOthers(t *testing.T) {
	if flag.Arg(0) != "serve-hashes" {
		t.Skip("it is a process for the other tests")
	}
	if err := StandBack(7); err != nil {
		panic(err)
	}
	ServeHashes(os.Stdin, os.Stdout, 2)
	os.Exit(0)
}

func workerHasher(t *testing.T, command ...string) *Hasher {
	t.Helper()
	w := NewWorker(slog.New(slog.DiscardHandler), command...)
	t.Cleanup(w.Close)
	return NewHasher(Cost{MemoryKiB: 64, Iterations: 1, Parallelism: 1}, 4).In(w)
}

// pid is that of the worker's process.
func pid(t *testing.T, h *Hasher) int {
	t.Helper()
	h.worker.mu.Lock()
	defer h.worker.mu.Unlock()
	if h.worker.process == nil {
		t.Fatal("there is no process")
	}
	return h.worker.process.Process.Pid
}

func TestAWorkerHashesAsThisProcessDoes(t *testing.T) {
	h := workerHasher(t, asWorker...)
	const password = "Correct-Horse-7"
	var callers sync.WaitGroup
	for range 8 { // results come back in any order
		callers.Go(func() {
			hash, err := h.Hash(t.Context(), password)
			if err != nil {
				t.Error(err)
				return
			}
			here := NewHasher(h.cost, 1)
			if ok, err := here.Verify(t.Context(), hash, password, true); !ok || err != nil {
				t.Errorf("this process does not know the worker's hash: %v", err)
			}
			if ok, err := h.Verify(t.Context(), hash, password, true); !ok || err != nil {
				t.Errorf("the right password: %v %v", ok, err)
			}
			if ok, err := h.Verify(t.Context(), hash, password+"x", true); ok || err != nil {
				t.Errorf("a wrong password: %v %v", ok, err)
			}
		})
	}
	callers.Wait()
	if ok, err := h.Verify(t.Context(), bcryptOfA, "Correct-Horse-7", true); !ok || err != nil {
		t.Errorf("bcrypt: %v %v", ok, err)
	}
	if ok, err := h.Verify(t.Context(), bcryptOfA, "wrong", true); ok || err != nil {
		t.Errorf("bcrypt, a wrong password: %v %v", ok, err)
	}

	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid(t, h)) + "/stat")
	if err != nil {
		t.Skip("the rest needs Linux")
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	if nice := strings.Fields(rest)[16]; nice != "7" {
		t.Errorf("its niceness is %s", nice)
	}
}

func TestAWorkerThatDiesIsStartedAgain(t *testing.T) {
	h := workerHasher(t, asWorker...)
	hash, err := h.Hash(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	var seen []int
	for range 3 {
		id := pid(t, h)
		if slices.Contains(seen, id) {
			t.Fatal("it is the one that was killed")
		}
		seen = append(seen, id)
		if err := syscall.Kill(id, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if ok, err := h.Verify(t.Context(), hash, "x", true); !ok || err != nil {
			t.Errorf("after it was killed: %v %v", ok, err)
		}
	}
}

func TestWithoutAWorkerThisProcessHashes(t *testing.T) {
	for name, command := range map[string][]string{
		"a program that is not there": {"/nowhere/authd", "hash-passwords"},
		"a folder":                    {"/tmp"},
	} {
		t.Run(name, func(t *testing.T) {
			h := workerHasher(t, command...)
			hash, err := h.Hash(t.Context(), "x")
			if err != nil {
				t.Fatal(err)
			}
			if ok, err := h.Verify(t.Context(), hash, "x", true); !ok || err != nil {
				t.Errorf("%v %v", ok, err)
			}
		})
	}
}

// Neither a wrong password nor a wait without end.
func TestAWorkerThatDoesNotAnswerIsUnavailable(t *testing.T) {
	hash, err := NewHasher(Cost{MemoryKiB: 64, Iterations: 1, Parallelism: 1}, 1).Hash(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	for name, command := range map[string][]string{
		"it ends at once":      {"/bin/false"},
		"it says other things": {"/bin/echo", "hello"},
		"it is silent":         {"/bin/sleep", "600"},
	} {
		t.Run(name, func(t *testing.T) {
			h := workerHasher(t, command...)
			h.worker.patient = 50 * time.Millisecond
			if ok, err := h.Verify(t.Context(), hash, "x", true); ok || !fault.Has(err, fault.ServiceUnavailable) {
				t.Errorf("%v %v", ok, err)
			}
			if _, err := h.Hash(t.Context(), "x"); !fault.Has(err, fault.ServiceUnavailable) {
				t.Error(err)
			}
			if n := h.Waiting(); n != 0 {
				t.Errorf("%d places are not given back", n)
			}
		})
	}
}
