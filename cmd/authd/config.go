package main

import (
	"errors"
	"fmt"

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
	fmt.Fprintf(e.out, "The configuration is good (%s).\n", cfg.App.Environment)
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

// load reads the settings from the environment and the working directory.
func load(e *env) (*config.Config, error) { return config.Load(e.environ, ".") }
