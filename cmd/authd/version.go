package main

import (
	"fmt"
	"runtime"
)

// version is set by the release build.
var version = "dev"

type versionCmd struct{}

// Run implements the command.
func (versionCmd) Run(e *env) error {
	fmt.Fprintf(e.out, "authd %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}
