package program

import "syscall"

// dieWithUs has the kernel kill the program when we die, however we die.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
