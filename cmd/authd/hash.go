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
func hashPasswords(niceness string) int {
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	n, err := strconv.Atoi(niceness)
	if err == nil {
		err = secret.StandBack(n)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "authd %s: the priority stays: %v\n", hashCommand, err)
	}
	secret.ServeHashes(os.Stdin, os.Stdout)
	return 0
}

// hashIn is the command of the process that hashes; without one, this one does.
func hashIn(cfg *config.Config) []string {
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{self, hashCommand, strconv.Itoa(cfg.Password.HashNiceness)}
}
