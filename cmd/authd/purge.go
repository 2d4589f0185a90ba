package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/authsdk/authsdk/internal/flow/retention"
	"github.com/authsdk/authsdk/internal/server"
)

type purgeCmd struct {
	DryRun bool `name:"dry-run" help:"Count what would be deleted and change nothing."`
	JSON   bool `name:"json" help:"As a JSON object."`
}

// Run implements the command. It purges whether or not the scheduled purge is
// switched on.
func (c *purgeCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		n, err := s.Retention.Purge(ctx, s.By, c.DryRun)
		if err != nil && n.Before.IsZero() { // nothing was begun
			return err
		}
		if err != nil {
			err = fmt.Errorf("%w (the purge broke off: run it again, it goes on where it stopped)", err)
		}
		if c.JSON {
			return errors.Join(printJSON(e, n), err)
		}
		deleted := "deleted"
		if n.DryRun {
			deleted = "to delete"
		}
		fmt.Fprintf(e.out, "Audit events before %s: %s %s, %s entries of the chain.\n", n.Before.Format(time.DateOnly), number(n.AuditEvents), deleted, number(n.Entries))
		if len(n.Partitions) > 0 {
			fmt.Fprintf(e.out, "Months of the audit log: %s.\n", strings.Join(n.Partitions, ", "))
		}
		fmt.Fprintf(e.out, "Ended sessions: %s. Finished webhook deliveries: %s. Signing keys out of use: %s.\n",
			number(n.Sessions), number(n.Deliveries), number(n.SigningKeys))
		return err
	})
}

// number says how many; a dry run does not count to the end.
func number(n int) string {
	switch {
	case n == retention.Unknown:
		return "too many to count in 10 s"
	case n >= retention.Most:
		return fmt.Sprintf("%d or more", n)
	}
	return fmt.Sprint(n)
}
