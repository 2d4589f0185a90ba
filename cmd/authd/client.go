package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/client"
	"github.com/authsdk/authsdk/internal/server"
)

type clientCmd struct {
	Create     clientCreateCmd     `cmd:"" help:"Make a machine client; its secret is shown once."`
	List       clientListCmd       `cmd:"" help:"List the machine clients, newest first."`
	Show       clientShowCmd       `cmd:"" help:"Show a machine client."`
	Rotate     clientRotateCmd     `cmd:"" name:"rotate-secret" help:"Give a machine client another secret; it is shown once."`
	Deactivate clientDeactivateCmd `cmd:"" help:"Refuse a machine client and end its tokens, until it is active again."`
	Delete     clientDeleteCmd     `cmd:"" help:"Delete a machine client and end its tokens."`
}

// shownClient is what --json prints: as the API shows it.
type shownClient struct {
	ID           string     `json:"id"`
	ClientID     string     `json:"client_id"`
	SecretPrefix string     `json:"client_secret_prefix"`
	Name         string     `json:"name"`
	Scopes       []string   `json:"scopes"`
	Audiences    []string   `json:"audiences"`
	AnyAudience  bool       `json:"any_audience"`
	Active       bool       `json:"is_active"`
	TTL          int        `json:"token_ttl_seconds"`
	Created      time.Time  `json:"created_at"`
	Updated      time.Time  `json:"updated_at"`
	LastUsed     *time.Time `json:"last_used_at"`
	Secret       string     `json:"client_secret,omitempty"`
	OldUntil     *time.Time `json:"old_secret_until,omitempty"`
}

func showClient(c client.Client) shownClient {
	return shownClient{
		ID: c.ID.String(), ClientID: c.ClientID, SecretPrefix: c.SecretPrefix, Name: c.Name, Scopes: c.Scopes, Audiences: c.Audiences,
		AnyAudience: len(c.Audiences) == 0, Active: c.Active, TTL: int(c.TTL.Seconds()),
		Created: c.Created, Updated: c.Updated, LastUsed: timeOrNull(c.LastUsed),
	}
}

func printClient(e *env, c shownClient, asJSON bool) error {
	if asJSON {
		return printJSON(e, c)
	}
	audiences := strings.Join(c.Audiences, ", ")
	if c.AnyAudience {
		audiences = "any"
	}
	state := "active"
	if !c.Active {
		state = "inactive"
	}
	fmt.Fprintf(e.out, "id         %s\nclient_id  %s\n", c.ID, c.ClientID)
	if c.Secret != "" {
		fmt.Fprintf(e.out, "secret     %s (shown only this once)\n", c.Secret)
	} else {
		fmt.Fprintf(e.out, "secret     %s…\n", c.SecretPrefix)
	}
	if c.OldUntil != nil {
		fmt.Fprintf(e.out, "old secret good until %s\n", c.OldUntil.Format(time.RFC3339))
	}
	_, err := fmt.Fprintf(e.out, "name       %s\nscopes     %s\naudiences  %s\ntoken life %d s\nstate      %s\n",
		c.Name, strings.Join(c.Scopes, " "), audiences, c.TTL, state)
	return err
}

type clientCreateCmd struct {
	Name     string        `arg:"" help:"What people call it."`
	Scope    []string      `name:"scope" required:"" sep:"none" help:"What its tokens may say; repeat it for more."`
	Audience []string      `name:"audience" sep:"none" help:"What its tokens may be for, beyond this service; repeat it for more. Without it: any."`
	TTL      time.Duration `name:"ttl" default:"1h" help:"How long its tokens live."`
	JSON     bool          `name:"json" help:"Print JSON."`
}

// Run implements the command.
func (c *clientCreateCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		made, plain, err := s.Clients.Create(ctx, s.By, client.New{Name: c.Name, Scopes: c.Scope, Audiences: c.Audience, TTL: c.TTL})
		if err != nil {
			return err
		}
		shown := showClient(made)
		shown.Secret = plain
		return printClient(e, shown, c.JSON)
	})
}

type clientListCmd struct {
	Limit  int    `name:"limit" default:"50" help:"How many, 1 to 200."`
	Cursor string `name:"cursor" help:"Where the next page begins."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// clientPage is what --json prints of a list.
type clientPage struct {
	Data []shownClient `json:"data"`
	Next *string       `json:"next_cursor"`
	More bool          `json:"has_more"`
}

// Run implements the command.
func (c *clientListCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		page, err := s.Clients.List(ctx, nil, c.Cursor, min(max(c.Limit, 1), 200))
		if err != nil {
			return err
		}
		out := clientPage{Data: []shownClient{}, More: page.Next != ""}
		for _, one := range page.Rows {
			out.Data = append(out.Data, showClient(one))
		}
		if out.More {
			out.Next = &page.Next
		}
		if c.JSON {
			return printJSON(e, out)
		}
		table := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "ID\tCLIENT_ID\tNAME\tSCOPES\tACTIVE")
		for _, one := range out.Data {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%t\n", one.ID, one.ClientID, one.Name, strings.Join(one.Scopes, " "), one.Active)
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

type clientShowCmd struct {
	ID   uuid.UUID `arg:"" help:"The id, not the client_id."`
	JSON bool      `name:"json" help:"Print JSON."`
}

// Run implements the command.
func (c *clientShowCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		found, err := s.Clients.Find(ctx, c.ID)
		if err != nil {
			return err
		}
		return printClient(e, showClient(found), c.JSON)
	})
}

type clientRotateCmd struct {
	ID      uuid.UUID `arg:"" help:"The id, not the client_id."`
	Overlap int       `name:"overlap-seconds" default:"0" help:"How long the old secret is good beside the new one. 0 ends it, and the tokens it got, at once."`
	JSON    bool      `name:"json" help:"Print JSON."`
}

// Run implements the command.
func (c *clientRotateCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		rotated, plain, until, err := s.Clients.Rotate(ctx, s.By, c.ID, overlapOf(c.Overlap))
		if err != nil {
			return err
		}
		shown := showClient(rotated)
		shown.Secret, shown.OldUntil = plain, timeOrNull(until)
		return printClient(e, shown, c.JSON)
	})
}

// overlapOf does not overflow: what is too long stays so.
func overlapOf(seconds int) time.Duration {
	return time.Duration(min(max(seconds, -1), 1<<32)) * time.Second
}

type clientDeactivateCmd struct {
	ID   uuid.UUID `arg:"" help:"The id, not the client_id."`
	JSON bool      `name:"json" help:"Print JSON."`
}

// Run implements the command.
func (c *clientDeactivateCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		no := false
		changed, err := s.Clients.Update(ctx, s.By, c.ID, client.Patch{Active: &no})
		if err != nil {
			return err
		}
		return printClient(e, showClient(changed), c.JSON)
	})
}

type clientDeleteCmd struct {
	ID   uuid.UUID `arg:"" help:"The id, not the client_id."`
	JSON bool      `name:"json" help:"Print JSON."`
}

// Run implements the command.
func (c *clientDeleteCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		gone, err := s.Clients.Delete(ctx, s.By, c.ID)
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(e, showClient(gone))
		}
		_, err = fmt.Fprintf(e.out, "%s is deleted.\n", gone.ClientID)
		return err
	})
}
