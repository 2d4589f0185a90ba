package main

import (
	"context"
	"fmt"
	"math"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/flow/directory"
	"github.com/authsdk/authsdk/internal/server"
)

// userItem is what --json prints of an account, as GET /admin/users/{user_id}
// answers it.
type userItem struct {
	ID              uuid.UUID `json:"id"`
	Email           string    `json:"email"`
	Role            string    `json:"role"`
	Active          bool      `json:"is_active"`
	EmailVerified   bool      `json:"email_verified"`
	EmailOTPEnabled bool      `json:"email_otp_enabled"`
	Locked          bool      `json:"locked"`
	LockRetryAfter  *int      `json:"lock_retry_after"`
	Created         time.Time `json:"created_at"`
	Updated         time.Time `json:"updated_at"`
	ActiveSessions  *int      `json:"active_session_count,omitempty"` // not in lists
	PasswordSet     *bool     `json:"password_set,omitempty"`         // likewise
}

func listedUser(r directory.Row) userItem {
	item := userItem{
		ID: r.ID, Email: r.Email, Role: r.Role, Active: r.Active, EmailVerified: r.EmailVerified, EmailOTPEnabled: r.EmailOTPEnabled,
		Locked: r.LockedFor > 0, Created: r.Created, Updated: r.Updated,
	}
	if item.Locked {
		seconds := int(math.Ceil(r.LockedFor.Seconds()))
		item.LockRetryAfter = &seconds
	}
	return item
}

func userItemOf(d directory.Detail) userItem {
	item := listedUser(d.Row)
	item.ActiveSessions, item.PasswordSet = &d.ActiveSessions, &d.PasswordSet
	return item
}

// state is what keeps somebody from signing in.
func state(r directory.Row) string {
	switch {
	case !r.Active:
		return "deactivated"
	case r.LockedFor > 0:
		return "locked for " + r.LockedFor.Truncate(time.Second).String()
	case !r.EmailVerified:
		return "unconfirmed"
	}
	return "active"
}

type userListCmd struct {
	Email  string `name:"email" placeholder:"PART" help:"Only accounts whose address has this in it."`
	Role   string `name:"role" help:"Only accounts of this role."`
	Locked bool   `name:"locked" help:"Only accounts at which somebody guessed too often."`
	Limit  int    `name:"limit" default:"50" help:"At most so many, up to 200."`
	Cursor string `name:"cursor" help:"Go on below the page before: its last line tells."`
	JSON   bool   `name:"json" help:"As a JSON object."`
}

// Validate implements kong's check of flags.
func (c *userListCmd) Validate() error {
	if c.Limit < 1 || c.Limit > 200 {
		return fmt.Errorf("--limit must be from 1 to 200")
	}
	return nil
}

// Run implements the command.
func (c *userListCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		filter := directory.Filter{Role: c.Role, Email: c.Email}
		if c.Locked {
			filter.Locked = &c.Locked
		}
		page, err := s.Users.List(ctx, filter, c.Cursor, c.Limit)
		if err != nil {
			return err
		}
		if c.JSON {
			out := struct {
				Data []userItem `json:"data"`
				Next *string    `json:"next_cursor"`
				More bool       `json:"has_more"`
			}{[]userItem{}, nil, page.Next != ""}
			for _, r := range page.Rows {
				out.Data = append(out.Data, listedUser(r))
			}
			if out.More {
				out.Next = &page.Next
			}
			return printJSON(e, out)
		}
		table := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "ID\tEMAIL\tROLE\tSTATE\tCREATED")
		for _, r := range page.Rows {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", r.ID, r.Email, r.Role, state(r), r.Created.Format(time.RFC3339))
		}
		if err := table.Flush(); err != nil {
			return err
		}
		if page.Next != "" {
			fmt.Fprintf(e.out, "There are more: --cursor %s\n", page.Next)
		}
		return nil
	})
}

// one is an account that a command is about.
type one struct {
	User string `arg:"" name:"user" help:"Its id or its address."`
	JSON bool   `name:"json" help:"Tell the account as a JSON object."`
}

// run finds the account, acts on it, and tells what it then is.
func (c one) run(e *env, done string, act func(ctx context.Context, s *server.Services, id uuid.UUID) (directory.Detail, error)) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		id, err := s.Users.Named(ctx, c.User)
		if err != nil {
			return err
		}
		d, err := act(ctx, s, id)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(e, userItemOf(d))
		}
		fmt.Fprintf(e.out, done+"\n", d.Email)
		return nil
	})
}

type userShowCmd struct{ one }

// Run implements the command.
func (c *userShowCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		id, err := s.Users.Named(ctx, c.User)
		if err != nil {
			return err
		}
		d, err := s.Users.Show(ctx, id)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(e, userItemOf(d))
		}
		table := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
		fmt.Fprintf(table, "id\t%s\nemail\t%s\nrole\t%s\nstate\t%s\n", d.ID, d.Email, d.Role, state(d.Row))
		fmt.Fprintf(table, "confirmed\t%s\nmailed codes\t%s\npassword\t%s\n", yesNo(d.EmailVerified), yesNo(d.EmailOTPEnabled), yesNo(d.PasswordSet))
		fmt.Fprintf(table, "active sessions\t%d\ncreated\t%s\nchanged\t%s\n", d.ActiveSessions, d.Created.Format(time.RFC3339), d.Updated.Format(time.RFC3339))
		return table.Flush()
	})
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

type userLockCmd struct{ one }

// Run implements the command.
func (c *userLockCmd) Run(e *env) error {
	return c.run(e, "%s is deactivated; every session has ended.", func(ctx context.Context, s *server.Services, id uuid.UUID) (directory.Detail, error) {
		return s.Users.Deactivate(ctx, s.By, id)
	})
}

type userUnlockCmd struct{ one }

// Run implements the command.
func (c *userUnlockCmd) Run(e *env) error {
	return c.run(e, "%s may sign in.", func(ctx context.Context, s *server.Services, id uuid.UUID) (directory.Detail, error) {
		if _, err := s.Users.Reactivate(ctx, s.By, id); err != nil {
			return directory.Detail{}, err
		}
		return s.Users.Unlock(ctx, s.By, id)
	})
}

type userSetRoleCmd struct {
	one
	Role string `arg:"" enum:"admin,user" help:"admin or user."`
}

// Run implements the command.
func (c *userSetRoleCmd) Run(e *env) error {
	return c.run(e, "%s has the role "+c.Role+".", func(ctx context.Context, s *server.Services, id uuid.UUID) (directory.Detail, error) {
		return s.Users.SetRole(ctx, s.By, id, c.Role)
	})
}
