//go:build unix

package secret

import (
	"os/exec"
	"syscall"
)

// niceness is how much the process that hashes stands back (0 to 19). Beside one
// of niceness 0 that always has work to do it would get a sixtieth of a core;
// the one that it hashes for is idle most of the time.
const niceness = 19

// apart puts the process in a group of its own, so that it can stand back with
// all its threads, and a Ctrl-C for this one is not for it.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// StandBack lowers the priority of this process, all of its threads.
func StandBack() error { return syscall.Setpriority(syscall.PRIO_PGRP, 0, niceness) }
