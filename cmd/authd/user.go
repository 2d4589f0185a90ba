package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/authsdk/authsdk/internal/flow/userimport"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/server"
)

type userCmd struct {
	List    userListCmd    `cmd:"" help:"List accounts, newest first."`
	Show    userShowCmd    `cmd:"" help:"Show an account."`
	Lock    userLockCmd    `cmd:"" help:"Deactivate an account and end its sessions."`
	Unlock  userUnlockCmd  `cmd:"" help:"Activate an account again, and forget what was guessed at it."`
	SetRole userSetRoleCmd `cmd:"" help:"Make an account an admin's or a user's."`
	Import  userImportCmd  `cmd:"" help:"Take over accounts of another system, with their password hashes."`
}

type userImportCmd struct {
	File   string `arg:"" help:"CSV with a first line of column names (email, hash; optional id, verified, role), or JSON Lines. - reads standard input."`
	JSON   bool   `name:"json" help:"Tell the result as a JSON object."`
	DryRun bool   `name:"dry-run" help:"Check every line and change nothing."`
}

// imported is what --json prints.
type imported struct {
	DryRun bool `json:"dry_run"`
	userimport.Counts
	Refusals []userimport.Refusal `json:"refusals"`
}

// Run implements the command.
func (c *userImportCmd) Run(e *env) error {
	file, err := c.open()
	if err != nil {
		return err
	}
	defer file.Close()
	return withDB(e, false, func(d *db.DB) error {
		pending, err := server.Pending(e.ctx, d)
		if err != nil {
			return err
		}
		if len(pending) > 0 {
			return errors.New("the database is not ready: run `authd migrate up`, then import again")
		}
		s := &userimport.Service{DB: d}
		if !c.DryRun {
			release, err := d.Own()
			switch {
			case err == nil:
				defer release()
			case errors.Is(err, db.ErrInUse):
				s.Beside = true // a running server; both may write
			default:
				return err
			}
		}
		result := imported{DryRun: c.DryRun, Refusals: []userimport.Refusal{}}
		result.Counts, err = s.Import(e.ctx, file, userimport.FormOf(c.File), c.DryRun, func(r userimport.Refusal) {
			if c.JSON {
				result.Refusals = append(result.Refusals, r)
			} else {
				fmt.Fprintf(e.out, "line %d: %s\n", r.Line, r.Reason)
			}
		})
		return c.tell(e, result, err)
	})
}

func (c *userImportCmd) open() (io.ReadCloser, error) {
	if c.File == "-" {
		return os.Stdin, nil
	}
	file, err := os.Open(c.File)
	if err != nil {
		return nil, err
	}
	if info, err := file.Stat(); err == nil && info.IsDir() {
		file.Close()
		return nil, fmt.Errorf("%s is a folder: name the file", c.File)
	}
	return file, nil
}

// tell prints what was done, also of an import that broke off.
func (c *userImportCmd) tell(e *env, result imported, err error) error {
	n := result.Counts
	if c.JSON {
		err = errors.Join(printJSON(e, result), err)
	} else if err == nil || n.Lines() > 0 {
		done := "imported"
		if c.DryRun {
			done = "to import"
		}
		fmt.Fprintf(e.out, "%d %s, %d already there, %d refused.\n", n.Imported, done, n.AlreadyThere, n.Refused)
	}
	switch {
	case err != nil && n.Lines() > 0 && !c.DryRun:
		return fmt.Errorf("%w (the import broke off: run it again, it goes on where it stopped)", err)
	case err == nil && n.Refused > 0:
		return fmt.Errorf("%d of %d lines were refused: mend them and import the file again, the others are left as they are", n.Refused, n.Lines())
	}
	return err
}
