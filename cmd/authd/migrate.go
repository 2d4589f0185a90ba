package main

import (
	"fmt"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/server"
)

type migrateCmd struct {
	Up     migrateUpCmd     `cmd:"" help:"Apply what is pending."`
	Status migrateStatusCmd `cmd:"" help:"List what is pending; touches nothing."`
}

type migrateUpCmd struct {
	SQL bool `name:"sql" help:"Print the SQL of what is pending instead; touches nothing."`
}

// Run implements the command.
func (c *migrateUpCmd) Run(e *env) error {
	return withDB(e, !c.SQL, func(d *db.DB) error {
		pending, err := server.Pending(e.ctx, d)
		if err != nil {
			return err
		}
		if c.SQL {
			for _, m := range pending {
				fmt.Fprintf(e.out, "-- %s\n%s\n", m.Name, m.SQL)
			}
			return nil
		}
		release, err := d.Own()
		if err != nil {
			return err
		}
		defer release()
		if err := server.Migrate(e.ctx, d); err != nil {
			return err
		}
		fmt.Fprintf(e.out, "The database is up to date (%d applied).\n", len(pending))
		return nil
	})
}

type migrateStatusCmd struct {
	JSON bool `name:"json" help:"As a JSON object."`
}

// Run implements the command.
func (c migrateStatusCmd) Run(e *env) error {
	return withDB(e, false, func(d *db.DB) error {
		pending, err := server.Pending(e.ctx, d)
		if err != nil {
			return err
		}
		if c.JSON {
			names := []string{}
			for _, m := range pending {
				names = append(names, m.Name)
			}
			return printJSON(e, map[string]any{"pending": names})
		}
		if len(pending) == 0 {
			fmt.Fprintln(e.out, "The database is up to date.")
			return nil
		}
		fmt.Fprintf(e.out, "%d pending; apply them with authd migrate up:\n", len(pending))
		for _, m := range pending {
			fmt.Fprintln(e.out, " ", m.Name)
		}
		return nil
	})
}

// withDB opens the configured database. Unless it may make one, a SQLite file
// that is not there yet is answered from an empty database in memory.
func withDB(e *env, mayMake bool, act func(*db.DB) error) error {
	cfg, err := load(e)
	if err != nil {
		return err
	}
	if !mayMake && !db.Exists(cfg.Database.URL.Reveal()) {
		d, err := db.OpenEmpty()
		if err != nil {
			return err
		}
		defer d.Close()
		return act(d)
	}
	d, err := server.OpenDB(e.ctx, cfg)
	if err != nil {
		return err
	}
	defer d.Close()
	return act(d)
}
