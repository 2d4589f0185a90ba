package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/method/apikey"
	"github.com/authsdk/authsdk/internal/server"
)

type apikeyCmd struct {
	Create apikeyCreateCmd `cmd:"" help:"Make an API key; it is shown once."`
	List   apikeyListCmd   `cmd:"" help:"List the API keys, newest first."`
	Rotate apikeyRotateCmd `cmd:"" help:"Give an API key another secret; it is shown once."`
	Revoke apikeyRevokeCmd `cmd:"" help:"Revoke an API key for good."`
}

// shownKey is what --json prints: as the API shows it.
type shownKey struct {
	ID        string     `json:"key_id"`
	Prefix    string     `json:"key_prefix"`
	Name      string     `json:"name"`
	Service   string     `json:"service"`
	Scope     string     `json:"scope"`
	UserID    *string    `json:"user_id"`
	Expires   *time.Time `json:"expires_at"`
	Revoked   *time.Time `json:"revoked_at"`
	Created   time.Time  `json:"created_at"`
	LastUsed  *time.Time `json:"last_used_at"`
	PerMinute *int       `json:"rate_limit_per_minute"`
	Key       string     `json:"api_key,omitempty"`
}

func showKey(k apikey.Key) shownKey {
	shown := shownKey{
		ID: k.ID.String(), Prefix: k.Prefix, Name: k.Name, Service: k.Service, Scope: k.Scope,
		Expires: timeOrNull(k.Expires), Revoked: timeOrNull(k.Revoked), Created: k.Created, LastUsed: timeOrNull(k.LastUsed),
	}
	if k.UserID != uuid.Nil {
		id := k.UserID.String()
		shown.UserID = &id
	}
	if k.PerMinute > 0 {
		shown.PerMinute = &k.PerMinute
	}
	return shown
}

func printNewKey(e *env, k apikey.Key, plain string, asJSON bool) error {
	if asJSON {
		shown := showKey(k)
		shown.Key = plain
		return printJSON(e, shown)
	}
	_, err := fmt.Fprintf(e.out, "id   %s\nkey  %s (shown only this once)\n", k.ID, plain)
	return err
}

type apikeyCreateCmd struct {
	Name      string    `name:"name" help:"What people call it; without it, the service."`
	Scope     string    `name:"scope" required:"" help:"What it may do, separated by commas."`
	Service   string    `name:"service" help:"Which service shows it; without it, what stands before the colon in the first scope, else the name."`
	User      uuid.UUID `name:"user" help:"The id of the account whose key it is: it is refused when the account is closed."`
	Expires   time.Time `name:"expires" format:"2006-01-02T15:04:05Z07:00" placeholder:"TIME" help:"When it ends, like 2030-01-31T12:00:00Z. Without it: never."`
	PerMinute int       `name:"per-minute" help:"How often it may be introspected a minute. 0 sets no limit."`
	JSON      bool      `name:"json" help:"Print JSON."`
}

// Run implements the command.
func (c *apikeyCreateCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		n := apikey.New{Name: c.Name, Scope: c.Scope, Service: c.Service, User: c.User, PerMinute: c.PerMinute}
		if !c.Expires.IsZero() {
			n.Expires = &c.Expires
		}
		k, plain, err := s.APIKeys.Create(ctx, s.By, n)
		if err != nil {
			return err
		}
		return printNewKey(e, k, plain, c.JSON)
	})
}

type apikeyListCmd struct {
	Limit  int    `name:"limit" default:"50" help:"How many, 1 to 200."`
	Cursor string `name:"cursor" help:"Where the next page begins."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// keyPage is what --json prints of a list.
type keyPage struct {
	Data []shownKey `json:"data"`
	Next *string    `json:"next_cursor"`
	More bool       `json:"has_more"`
}

// Run implements the command.
func (c *apikeyListCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		page, err := s.APIKeys.List(ctx, apikey.Filter{}, c.Cursor, min(max(c.Limit, 1), 200))
		if err != nil {
			return err
		}
		out := keyPage{Data: []shownKey{}, More: page.Next != ""}
		for _, k := range page.Rows {
			out.Data = append(out.Data, showKey(k))
		}
		if out.More {
			out.Next = &page.Next
		}
		if c.JSON {
			return printJSON(e, out)
		}
		table := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "ID\tPREFIX\tNAME\tSERVICE\tSCOPE\tSTATE")
		for _, k := range page.Rows {
			state := "active"
			switch {
			case !k.Revoked.IsZero():
				state = "revoked"
			case !k.Expires.IsZero() && !k.Expires.After(s.Clock.Now()):
				state = "expired"
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Prefix, k.Name, k.Service, k.Scope, state)
		}
		if err := table.Flush(); err != nil {
			return err
		}
		if out.More {
			fmt.Fprintf(e.out, "more: --cursor %s\n", page.Next)
		}
		return nil
	})
}

type apikeyRotateCmd struct {
	ID      uuid.UUID `arg:"" help:"The key's id."`
	Overlap int       `name:"overlap-seconds" default:"0" help:"How long the old secret is good beside the new one."`
	JSON    bool      `name:"json" help:"Print JSON."`
}

// Run implements the command.
func (c *apikeyRotateCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		k, plain, err := s.APIKeys.Rotate(ctx, s.By, c.ID, overlapOf(c.Overlap))
		if err != nil {
			return err
		}
		return printNewKey(e, k, plain, c.JSON)
	})
}

type apikeyRevokeCmd struct {
	ID   uuid.UUID `arg:"" help:"The key's id."`
	JSON bool      `name:"json" help:"Print JSON."`
}

// Run implements the command.
func (c *apikeyRevokeCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		k, err := s.APIKeys.Revoke(ctx, s.By, c.ID)
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(e, showKey(k))
		}
		_, err = fmt.Fprintf(e.out, "%s is revoked.\n", k.ID)
		return err
	})
}
