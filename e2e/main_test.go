// Package e2e tests the real binary from outside: over HTTP, with signals, with
// kill -9, on both engines.
//
//	make e2e     a few minutes
//	make soak    the same with full-size fault runs (AUTHD_SOAK=1)
package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/authsdk/authsdk/e2e/program"
)

// The programs under test. AUTHD_BINARY names an authd that is built already.
var (
	authdPath = os.Getenv("AUTHD_BINARY")
	demoPath  string
)

// soak runs the fault tests at full size.
var soak = os.Getenv("AUTHD_SOAK") != ""

func TestMain(m *testing.M) {
	code, err := build(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// build makes the programs, runs the tests and removes the programs.
func build(run func() int) (code int, err error) {
	dir, err := os.MkdirTemp("", "authsdk-e2e-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	demoPath = filepath.Join(dir, "demo")
	if err := program.Build(ctx, "github.com/authsdk/authsdk/e2e/demo", demoPath); err != nil {
		return 1, err
	}
	if authdPath == "" {
		authdPath = filepath.Join(dir, "authd")
		if err := program.Build(ctx, "github.com/authsdk/authsdk/cmd/authd", authdPath); err != nil {
			return 1, err
		}
	}
	if code = run(); code != 0 {
		return code, nil
	}
	for _, line := range append(unseen(), undocumented()...) {
		fmt.Fprintln(os.Stderr, line)
		code = 1
	}
	return code, nil
}
