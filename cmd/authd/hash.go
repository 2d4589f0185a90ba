package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/authsdk/authsdk/internal/config"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

// hashCommand is what authd serve starts to have passwords hashed; people have
// no use for it, so it is not among the commands.
const hashCommand = "hash-passwords"

// hashPasswords serves the authd that started it until that ends. Signals are
// for that one, which finishes what is in flight.
func hashPasswords(niceness, most string) int {
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	n, err := strconv.Atoi(niceness)
	m, err2 := strconv.Atoi(most)
	if err != nil || err2 != nil {
		return 2
	}
	err = setSlices(0) // the length of authd serve is inherited
	if err2 := secret.StandBack(n); err == nil {
		err = err2
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "authd %s: the priority stays: %v\n", hashCommand, err)
	}
	secret.ServeHashes(os.Stdin, os.Stdout, m)
	return 0
}

// hashIn is the command of the process that hashes. On Linux it is this very
// program, even if another version has been put in its place meanwhile.
func hashIn(cfg *config.Config) []string {
	self := "/proc/self/exe"
	if _, err := os.Stat(self); err != nil {
		if self, err = os.Executable(); err != nil {
			return nil
		}
	}
	return []string{self, hashCommand, strconv.Itoa(cfg.Password.HashNiceness)}
}
