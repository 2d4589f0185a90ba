package main

import (
	"fmt"
	"runtime"
)

// version is set by the release build.
var version = "dev"

type versionCmd struct {
	JSON bool `name:"json" help:"As a JSON object."`
}

// Run implements the command.
func (c versionCmd) Run(e *env) error {
	if c.JSON {
		return printJSON(e, map[string]string{"version": version, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH})
	}
	fmt.Fprintf(e.out, "authd %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}
