package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/server"
)

type keysCmd struct {
	List   keysListCmd   `cmd:"" help:"List the signing keys, newest first."`
	Rotate keysRotateCmd `cmd:"" help:"Let the next key sign; the one before verifies for a while more."`
	Revoke keysRevokeCmd `cmd:"" help:"Put a signing key out of use at once: what it signed is refused."`
}

type keysListCmd struct {
	JSON bool `name:"json" help:"As a JSON list."`
}

// keyItem is what --json prints of a key.
type keyItem struct {
	KID       string     `json:"kid"`
	Algorithm string     `json:"algorithm"`
	Status    string     `json:"status"`
	Created   time.Time  `json:"created_at"`
	Published time.Time  `json:"published_at"`
	Activated *time.Time `json:"activated_at"`
	Retires   *time.Time `json:"retires_at"`
	Retired   *time.Time `json:"retired_at"`
}

// Run implements the command.
func (c *keysListCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		keys, err := s.Keys.Keys(ctx)
		if err != nil {
			return err
		}
		if c.JSON {
			items := []keyItem{}
			for _, k := range keys {
				items = append(items, keyItem{
					k.KID, k.Algorithm, k.Status, k.Created, k.Published, timeOrNull(k.Activated), timeOrNull(k.Retires), timeOrNull(k.Retired),
				})
			}
			return printJSON(e, items)
		}
		table := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "KID\tALGORITHM\tSTATUS\tSINCE\tUNTIL")
		for _, k := range keys {
			since, until := lifeOf(k)
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", k.KID, k.Algorithm, k.Status, briefTime(since), briefTime(until))
		}
		return table.Flush()
	})
}

// lifeOf is since when a key is in its state, and until when if that is known.
func lifeOf(k keyring.Info) (since, until time.Time) {
	switch k.Status {
	case keyring.Next:
		return k.Published, until
	case keyring.Active, keyring.Retiring:
		return k.Activated, k.Retires
	}
	return k.Retired, until
}

func briefTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format(time.RFC3339)
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

type keysRotateCmd struct {
	Overlap *int64 `name:"overlap-seconds" placeholder:"N" help:"How long the key that signs now still verifies, at least. Without it: SIGNING_KEYS__ROTATION_OVERLAP_SECONDS. Never shorter than a token lives."`
}

// Validate implements kong's check of flags.
func (c *keysRotateCmd) Validate() error {
	if c.Overlap != nil && (*c.Overlap < 0 || *c.Overlap > int64(keyring.MaxOverlap/time.Second)) {
		return errors.New("--overlap-seconds must be from 0 to 2592000")
	}
	return nil
}

// Run implements the command. What it prints is one line, for other programs.
func (c *keysRotateCmd) Run(e *env) error {
	var overlap *time.Duration
	if c.Overlap != nil {
		d := time.Duration(*c.Overlap) * time.Second
		overlap = &d
	}
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		r, err := s.Keys.Rotate(ctx, s.By, overlap)
		if err != nil {
			return err
		}
		return json.NewEncoder(e.out).Encode(struct {
			New      string `json:"new_kid"`
			Retiring string `json:"retiring_kid"`
			Overlap  int    `json:"rotation_overlap_seconds"`
		}{r.New, r.Retiring, int(r.Overlap / time.Second)})
	})
}

type keysRevokeCmd struct {
	KID string `arg:"" name:"kid" help:"As authd keys list and the header of a token name it."`
}

// Run implements the command.
func (c *keysRevokeCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		active, err := s.Keys.Revoke(ctx, s.By, c.KID)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.out, "%s is revoked; %s signs now.\n", c.KID, active)
		return err
	})
}
