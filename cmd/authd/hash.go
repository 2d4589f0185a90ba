package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/authsdk/authsdk/internal/foundation/secret"
)

// hashCommand is what authd serve starts to have passwords hashed; people have
// no use for it, so it is not among the commands.
const hashCommand = "hash-passwords"

// hashPasswords serves the authd that started it until that ends. Signals are
// for that one, which finishes what is in flight.
func hashPasswords() int {
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	if err := secret.StandBack(); err != nil {
		os.Stderr.WriteString("authd " + hashCommand + ": the priority cannot be lowered: " + err.Error() + "\n")
	}
	secret.ServeHashes(os.Stdin, os.Stdout)
	return 0
}
