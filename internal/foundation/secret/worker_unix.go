//go:build unix

package secret

import (
	"os/exec"
	"syscall"
)

// apart puts the process in a group of its own, so that it can stand back with
// all its threads, and a Ctrl-C for this one is not for it.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// StandBack lowers the priority of this process, all of its threads: niceness is
// 0 for not at all to 19.
func StandBack(niceness int) error { return syscall.Setpriority(syscall.PRIO_PGRP, 0, niceness) }
