package main

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func TestEveryThreadHasShortSlices(t *testing.T) {
	if err := setSlices(short); err != nil {
		t.Fatal(err)
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			t.Fatal(err)
		}
		attr, err := unix.SchedGetAttr(id, 0)
		if err == unix.ESRCH {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if attr.Runtime == 0 {
			t.Skip("this kernel has no slices of one's own")
		}
		if attr.Runtime != uint64(short) {
			t.Errorf("thread %d: %d ns", id, attr.Runtime)
		}
	}
}
