//go:build !unix

package secret

import "os/exec"

func apart(*exec.Cmd) {}

// StandBack does nothing here.
func StandBack(int) error { return nil }
