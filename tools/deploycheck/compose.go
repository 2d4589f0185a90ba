package main

import (
	"context"

	"github.com/compose-spec/compose-go/v2/cli"
)

// compose loads the file without any variable set, as it must work for someone
// who has just cloned the repository. Loading checks the Compose schema.
func compose(args []string) (any, error) {
	options, err := cli.NewProjectOptions(args)
	if err != nil {
		return nil, err
	}
	return options.LoadProject(context.Background())
}
