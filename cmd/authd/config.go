package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/authsdk/authsdk/internal/config"
)

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Print every problem at once; exit 1 if there is one."`
	Show  configShowCmd  `cmd:"" help:"Print the settings in force, secrets masked."`
}

type configCheckCmd struct{}

// Run implements the command.
func (configCheckCmd) Run(e *env) error {
	cfg, err := load(e)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings() {
		fmt.Fprintln(e.out, "note:", w)
	}
	fmt.Fprintf(e.out, "The configuration is good (%s), read from %s.\n", cfg.App.Environment, readFrom(e))
	return nil
}

type configShowCmd struct {
	JSON bool `name:"json" help:"As a JSON list."`
}

// Run implements the command. It shows a broken configuration too, and says
// that it is.
func (c configShowCmd) Run(e *env) error {
	cfg, err := load(e)
	if cfg == nil {
		return err
	}
	if c.JSON {
		return errors.Join(printJSON(e, cfg.Show()), err)
	}
	fmt.Fprint(e.out, cfg.Show())
	return err
}

// load reads the settings from the environment and from .env in the working
// directory, or the file that --env-file names.
func load(e *env) (*config.Config, error) {
	if e.envFile == "" {
		return config.Load(e.environ, ".")
	}
	if _, err := os.Stat(e.envFile); err != nil {
		return nil, fmt.Errorf("--env-file: %w", err)
	}
	return config.LoadFile(e.environ, ".", e.envFile)
}

// readFrom says where the settings came from.
func readFrom(e *env) string {
	if e.envFile != "" {
		return "the environment and " + e.envFile
	}
	if _, err := os.Stat(".env"); err == nil {
		return "the environment and .env"
	}
	return "the environment; there is no .env here"
}
