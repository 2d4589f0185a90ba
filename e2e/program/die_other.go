//go:build !linux

package program

import "syscall"

func dieWithUs() *syscall.SysProcAttr { return nil }
