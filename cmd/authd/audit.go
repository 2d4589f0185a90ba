package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/server"
)

type auditCmd struct {
	List   auditListCmd   `cmd:"" help:"List what happened, newest first."`
	Export auditExportCmd `cmd:"" help:"Write what happened, with what proves it, as lines of JSON."`
	Head   auditHeadCmd   `cmd:"" help:"Print the newest signed head. Kept elsewhere, it proves that nothing was cut off."`
	Key    auditKeyCmd    `cmd:"" help:"Print the public keys that verify heads."`
	Verify auditVerifyCmd `cmd:"" help:"Look for what was changed, deleted, inserted, reordered or cut off, in an export or in the database."`
}

// auditFilter chooses events.
type auditFilter struct {
	Actor       string `placeholder:"ID" help:"Who acted."`
	Target      string `placeholder:"ID" help:"What was acted on."`
	Type        string `placeholder:"PREFIX" help:"How the event type begins, such as user.login."`
	Success     string `enum:"true,false,any" default:"any" help:"Acts that were done, refused, or any."`
	IP          string `name:"ip" placeholder:"ADDRESS" help:"Where it came from."`
	Correlation string `placeholder:"ID" help:"The X-Correlation-ID of the request."`
	From        string `placeholder:"TIME" help:"Not before this time, such as 2006-01-02T15:04:05Z."`
	To          string `placeholder:"TIME" help:"Not after this time."`
}

func (c auditFilter) filter() (f audit.Filter, err error) {
	f = audit.Filter{Type: c.Type, IP: c.IP, CorrelationID: c.Correlation}
	for _, id := range []struct {
		name, text string
		into       *uuid.UUID
	}{{"--actor", c.Actor, &f.Actor}, {"--target", c.Target, &f.Target}} {
		if id.text == "" {
			continue
		}
		if *id.into, err = uuid.Parse(id.text); err != nil {
			return f, fmt.Errorf("%s must be a UUID", id.name)
		}
	}
	if c.Success != "any" {
		yes := c.Success == "true"
		f.Success = &yes
	}
	if f.From, err = audit.ParseTime("--from", c.From); err != nil {
		return f, err
	}
	f.To, err = audit.ParseTime("--to", c.To)
	return f, err
}

type auditListCmd struct {
	auditFilter
	Limit  int    `default:"50" help:"At most so many."`
	Cursor string `help:"Go on where a list ended."`
	JSON   bool   `name:"json" help:"As JSON, as the API answers."`
}

// auditRow is what --json prints of an event, as the API does.
type auditRow struct {
	ID             string         `json:"id"`
	EventType      string         `json:"event_type"`
	CreatedAt      time.Time      `json:"created_at"`
	ActorType      string         `json:"actor_type"`
	ActorID        *string        `json:"actor_id"`
	TargetType     *string        `json:"target_type"`
	TargetID       *string        `json:"target_id"`
	IPAddress      *string        `json:"ip_address"`
	UserAgent      *string        `json:"user_agent"`
	PersonalErased bool           `json:"personal_erased"`
	CorrelationID  *string        `json:"correlation_id"`
	Success        bool           `json:"success"`
	FailureReason  *string        `json:"failure_reason"`
	Metadata       map[string]any `json:"metadata"`
}

// Run implements the command.
func (c *auditListCmd) Run(e *env) error {
	f, err := c.filter()
	if err != nil {
		return err
	}
	if c.Limit < 1 || c.Limit > 200 {
		return errors.New("--limit must be from 1 to 200")
	}
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		page, err := s.Audit.List(ctx, f, c.Cursor, c.Limit)
		if err != nil {
			return err
		}
		if c.JSON {
			list := []auditRow{}
			for _, r := range page.Rows {
				list = append(list, auditRow{
					r.ID.String(), r.Type, r.At, r.ActorType, idOrNull(r.Actor), textOrNull(r.TargetType), idOrNull(r.Target), textOrNull(r.IP),
					textOrNull(r.UserAgent), r.Erased, textOrNull(r.CorrelationID), r.Success, textOrNull(r.Failure), r.Metadata,
				})
			}
			return printJSON(e, map[string]any{"data": list, "next_cursor": textOrNull(page.Next), "has_more": page.Next != ""})
		}
		table := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "TIME\tEVENT\tOUTCOME\tACTOR\tTARGET\tADDRESS")
		for _, r := range page.Rows {
			outcome := r.Failure
			if r.Success {
				outcome = "ok"
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", r.At.Format(time.RFC3339), r.Type, outcome, whose(r.ActorType, r.Actor), whose(r.TargetType, r.Target), r.IP)
		}
		if err := table.Flush(); err != nil {
			return err
		}
		if page.Next != "" {
			fmt.Fprintf(e.err, "There are more: --cursor %s\n", page.Next)
		}
		return nil
	})
}

func whose(kind string, id uuid.UUID) string {
	if id == uuid.Nil {
		return kind
	}
	return kind + " " + id.String()
}

func idOrNull(id uuid.UUID) *string {
	if id == uuid.Nil {
		return nil
	}
	return textOrNull(id.String())
}

func textOrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

type auditExportCmd struct {
	auditFilter
	File string `arg:"" optional:"" default:"-" help:"Where to; - is standard output."`
}

// Run implements the command.
func (c *auditExportCmd) Run(e *env) error {
	f, err := c.filter()
	if err != nil {
		return err
	}
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		if err := s.Chain.RecordExport(ctx, s.By, f); err != nil {
			return err
		}
		if c.File == "-" {
			_, err := s.Chain.Export(ctx, e.out, f)
			return err
		}
		file, err := os.OpenFile(c.File, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		to := bufio.NewWriter(file)
		rows, err := s.Chain.Export(ctx, to, f)
		if err := errors.Join(err, to.Flush(), file.Close()); err != nil {
			return err
		}
		fmt.Fprintf(e.err, "%d events written to %s.\n", rows, c.File)
		return nil
	})
}

type auditHeadCmd struct{}

// Run implements the command.
func (c *auditHeadCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		h, err := audit.LastHead(ctx, s.DB.Read())
		if err != nil {
			return fmt.Errorf("there is no head yet: start authd once (%w)", err)
		}
		return json.NewEncoder(e.out).Encode(h)
	})
}

type auditKeyCmd struct{}

// Run implements the command.
func (c *auditKeyCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		keys, err := s.Chain.Keys(ctx)
		if err != nil {
			return err
		}
		return printJSON(e, audit.KeySet{Keys: append([]audit.PublicKey{}, keys...)})
	})
}

type auditVerifyCmd struct {
	File     string   `arg:"" optional:"" xor:"what" help:"An export; - reads standard input. It needs neither settings nor a database."`
	Database bool     `xor:"what" help:"Verify the database itself."`
	Head     []string `type:"existingfile" placeholder:"FILE" help:"Heads that were kept elsewhere, a line each: the log must reach as far."`
	Keys     string   `type:"existingfile" placeholder:"FILE" help:"The public keys, as authd audit key or /.well-known/audit-keys.json gives them. Without it those of the database or of the export are believed."`
	JSON     bool     `name:"json" help:"Tell the result as a JSON object."`
}

// Validate is a usage mistake when it fails.
func (c *auditVerifyCmd) Validate() error {
	if c.File == "" && !c.Database {
		return errors.New("name an export, or --database")
	}
	return nil
}

// Run implements the command.
func (c *auditVerifyCmd) Run(e *env) error {
	outside, err := readHeadFiles(c.Head)
	if err != nil {
		return err
	}
	keys, err := readKeyFile(c.Keys)
	if err != nil {
		return err
	}
	if c.Database {
		return c.database(e, keys, outside)
	}
	file := io.ReadCloser(os.Stdin)
	if c.File != "-" {
		if file, err = os.Open(c.File); err != nil {
			return err
		}
	}
	defer file.Close()
	report, own, err := audit.VerifyExport(e.ctx, file, keys, outside)
	if err != nil {
		return err
	}
	for _, k := range own {
		fmt.Fprintf(e.err, "The keys are the file's own: compare %s with /.well-known/audit-keys.json, or pass --keys.\n", k.KID)
	}
	return c.tell(e, report, len(outside) > 0)
}

func (c *auditVerifyCmd) database(e *env, keys []audit.PublicKey, outside []audit.Head) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		if keys == nil {
			var err error
			if keys, err = s.Chain.Keys(ctx); err != nil {
				return err
			}
		}
		report, err := s.Chain.VerifyDatabase(ctx, keys, outside, nil)
		if err != nil {
			return err
		}
		return c.tell(e, report, len(outside) > 0)
	})
}

// tell prints what was found. What was tampered with is the error of the command.
func (c *auditVerifyCmd) tell(e *env, r audit.Report, outside bool) error {
	if c.JSON {
		if err := printJSON(e, r); err != nil {
			return err
		}
	}
	if r.Finding != nil {
		if !c.JSON {
			fmt.Fprintln(e.out, r.Finding)
		}
		return errors.New("the audit log was tampered with")
	}
	if c.JSON {
		return nil
	}
	fmt.Fprintln(e.out, r)
	if !outside {
		fmt.Fprintln(e.out, "Nothing can tell whether newer rows were cut off: keep a head elsewhere (authd audit head) and pass it with --head.")
	}
	return nil
}

// readHeadFiles reads heads, a line of JSON each.
func readHeadFiles(names []string) (list []audit.Head, err error) {
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			var h audit.Head
			if err := json.Unmarshal([]byte(line), &h); err != nil {
				return nil, fmt.Errorf("%s: this is no head of an audit log, as authd audit head prints it", name)
			}
			list = append(list, h)
		}
	}
	return list, nil
}

func readKeyFile(name string) ([]audit.PublicKey, error) {
	if name == "" {
		return nil, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var set audit.KeySet
	if err := json.Unmarshal(text, &set); err != nil || len(set.Keys) == 0 {
		return nil, fmt.Errorf("%s: this is no set of keys, as authd audit key prints it", name)
	}
	return set.Keys, nil
}
