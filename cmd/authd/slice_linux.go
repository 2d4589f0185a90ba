package main

import (
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// short is how long a thread of ours may keep another of ours, that has just
// been woken, from the processor. The kernel's own are milliseconds (a tick, at
// least): the time of many requests.
const short = 100 * time.Microsecond // the least there is

// setSlices has the kernel share a processor in slices of this length among the
// threads of this process (sched_setattr(2), sched_runtime of SCHED_OTHER; Linux
// 6.12 and later, others ignore it): else a check waits for all of a sign-in, or
// for the process that hashes. Threads and processes inherit it from those that
// make them; 0 is the kernel's own length.
func setSlices(length time.Duration) error {
	done := map[string]bool{}
	for { // until a listing has no thread that an earlier one had not
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		before := len(done)
		for _, t := range threads {
			if done[t.Name()] {
				continue
			}
			done[t.Name()] = true
			id, err := strconv.Atoi(t.Name())
			if err != nil {
				return err
			}
			attr, err := unix.SchedGetAttr(id, 0)
			if err == nil && attr.Policy == unix.SCHED_NORMAL {
				attr.Runtime = uint64(length)
				err = unix.SchedSetAttr(id, attr, 0)
			}
			if err != nil && err != unix.ESRCH { // a thread that has just ended
				return err
			}
		}
		if len(done) == before {
			return nil
		}
	}
}
