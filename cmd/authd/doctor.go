package main

import (
	"fmt"
	"strings"

	"github.com/authsdk/authsdk/internal/server"
)

type doctorCmd struct {
	JSON bool `name:"json" help:"As a JSON list."`
}

// Run implements the command.
func (c *doctorCmd) Run(e *env) error {
	cfg, err := load(e)
	if err != nil {
		return err
	}
	findings := server.Doctor(e.ctx, cfg)
	sick := 0
	for _, f := range findings {
		if !f.OK {
			sick++
		}
	}
	if c.JSON {
		if err := printJSON(e, findings); err != nil {
			return err
		}
	} else {
		for _, f := range findings {
			mark := "ok      "
			if !f.OK {
				mark = "PROBLEM "
			}
			fmt.Fprintf(e.out, "%s %-14s %s\n", mark, f.Part, strings.Join(strings.Fields(f.Detail), " "))
			if f.Mend != "" {
				fmt.Fprintf(e.out, "%24s→ %s\n", "", f.Mend)
			}
		}
	}
	if sick > 0 {
		return fmt.Errorf("%d of %d checks found a problem", sick, len(findings))
	}
	return nil
}
