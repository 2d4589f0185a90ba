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
	ServeHashes(os.Stdin, os.Stdout)
	os.Exit(0)
}

func workerHasher(t *testing.T, command ...string) *Hasher {
	t.Helper()
	w := NewWorker(slog.New(slog.DiscardHandler), command...)
	t.Cleanup(w.Close)
	return NewHasher(Cost{MemoryKiB: 64, Iterations: 1, Parallelism: 1}, 4).In(w)
}

// pid is the worker's process, from what the kernel lists as our children.
func pid(t *testing.T) int {
	t.Helper()
	var found []int
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Skip("this needs Linux")
	}
	for _, task := range tasks {
		children, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		for _, field := range strings.Fields(string(children)) {
			n, _ := strconv.Atoi(field)
			command, _ := os.ReadFile("/proc/" + field + "/cmdline")
			if strings.Contains(string(command), "serve-hashes") {
				found = append(found, n)
			}
		}
	}
	if len(found) != 1 {
		t.Fatalf("the worker's processes: %v", found)
	}
	return found[0]
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

	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid(t)) + "/stat")
	if err != nil {
		t.Fatal(err)
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
		id := pid(t)
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
		"a program that is not there":   {"/nowhere/authd", "hash-passwords"},
		"a program that ends at once":   {"/bin/false"},
		"a program that says something": {"/bin/echo", "hello"},
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
