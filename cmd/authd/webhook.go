package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/webhook"
	"github.com/authsdk/authsdk/internal/server"
)

type webhookCmd struct {
	Create       webhookCreateCmd     `cmd:"" help:"Register a webhook."`
	List         webhookListCmd       `cmd:"" help:"List webhooks, newest first."`
	Show         webhookShowCmd       `cmd:"" help:"Show a webhook."`
	Ping         webhookPingCmd       `cmd:"" help:"Queue a test delivery."`
	RotateSecret webhookRotateCmd     `cmd:"" help:"Give a webhook a new secret; the old one signs too for a while."`
	Delete       webhookDeleteCmd     `cmd:"" help:"Delete a webhook and give up what waits for it."`
	Deliveries   webhookDeliveriesCmd `cmd:"" help:"List the deliveries to a webhook, newest first."`
	Retry        webhookRetryCmd      `cmd:"" help:"Send a delivery again."`
	Listen       webhookListenCmd     `cmd:"" help:"Take deliveries on this machine, check their signatures and print them."`
}

// webhookItem is what --json prints of a webhook: what the API answers.
type webhookItem struct {
	ID             uuid.UUID  `json:"id"`
	Name           string     `json:"name"`
	URL            string     `json:"url"`
	Events         []string   `json:"events"`
	Active         bool       `json:"is_active"`
	Created        time.Time  `json:"created_at"`
	DisabledReason *string    `json:"disabled_reason"`
	Failures       int64      `json:"consecutive_failures"`
	FailingSince   *time.Time `json:"failing_since"`
	OldSecretUntil *time.Time `json:"old_secret_until"`
	Secret         string     `json:"secret,omitempty"` // only when it was made
}

func webhookItemOf(e webhook.Endpoint) webhookItem {
	item := webhookItem{
		ID: e.ID, Name: e.Name, URL: e.URL, Events: append([]string{}, e.Events...), Active: e.Active, Created: e.Created, Failures: e.Failures,
		FailingSince: timeOrNull(e.FailingSince), OldSecretUntil: timeOrNull(e.OldUntil),
	}
	if e.DisabledWhy != "" {
		item.DisabledReason = &e.DisabledWhy
	}
	return item
}

// webhookState says in words how an endpoint is.
func webhookState(e webhook.Endpoint) string {
	switch {
	case !e.Active:
		return "off (" + e.DisabledWhy + ")"
	case e.Failures > 0:
		return fmt.Sprintf("failing since %s (%d in a row)", briefTime(e.FailingSince), e.Failures)
	}
	return "on"
}

func eventsText(events []string) string {
	if len(events) == 0 {
		return "all"
	}
	return strings.Join(events, ", ")
}

type webhookCreateCmd struct {
	Name   string   `arg:"" help:"A name for people."`
	URL    string   `arg:"" name:"url" help:"Where deliveries are posted: a public http or https URL."`
	Events []string `name:"event" placeholder:"EVENT" help:"Send this event (docs/reference/events.md); may be repeated. Without it, every event."`
	Secret string   `env:"AUTHD_WEBHOOK_SECRET" placeholder:"SECRET" help:"Signs the deliveries. Without it one is made and shown once."`
	JSON   bool     `name:"json" help:"As a JSON object."`
}

// Run implements the command.
func (c *webhookCreateCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		made, secret, err := s.Webhooks.Create(ctx, s.By, webhook.New{Name: c.Name, URL: c.URL, Secret: c.Secret, Events: c.Events})
		if err != nil {
			return err
		}
		if c.JSON {
			item := webhookItemOf(made)
			item.Secret = secret
			return printJSON(e, item)
		}
		fmt.Fprintf(e.out, "%s is registered for %s.\n", made.ID, made.URL)
		if secret != "" {
			fmt.Fprintf(e.out, "Its secret, shown only this once: %s\n", secret)
		}
		return nil
	})
}

type webhookListCmd struct {
	JSON bool `name:"json" help:"As a JSON list."`
}

// allPages is how many rows a list prints at most.
const allPages = 1000

// Run implements the command.
func (c *webhookListCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		page, err := s.Webhooks.List(ctx, "", allPages)
		if err != nil {
			return err
		}
		if c.JSON {
			items := []webhookItem{}
			for _, row := range page.Rows {
				items = append(items, webhookItemOf(row))
			}
			return printJSON(e, items)
		}
		table := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "ID\tNAME\tURL\tEVENTS\tSTATE")
		for _, row := range page.Rows {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", row.ID, row.Name, row.URL, eventsText(row.Events), webhookState(row))
		}
		return table.Flush()
	})
}

// endpointArg is the webhook that a command is about.
type endpointArg struct {
	ID uuid.UUID `arg:"" help:"The webhook's id."`
}

type webhookShowCmd struct {
	endpointArg
	JSON bool `name:"json" help:"As a JSON object."`
}

// Run implements the command.
func (c *webhookShowCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		found, err := s.Webhooks.Find(ctx, c.ID)
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(e, webhookItemOf(found))
		}
		table := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
		for _, line := range [][2]string{
			{"id", found.ID.String()}, {"name", found.Name}, {"url", found.URL}, {"events", eventsText(found.Events)}, {"state", webhookState(found)},
			{"made", briefTime(found.Created)}, {"old secret until", briefTime(found.OldUntil)},
		} {
			fmt.Fprintf(table, "%s\t%s\n", line[0], line[1])
		}
		return table.Flush()
	})
}

type webhookPingCmd struct {
	endpointArg
	JSON bool `name:"json" help:"As a JSON object."`
}

// queuedItem is what --json prints of a delivery that was queued.
type queuedItem struct {
	Queued   bool      `json:"queued"`
	Delivery uuid.UUID `json:"delivery_id"`
}

// Run implements the command.
func (c *webhookPingCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		d, err := s.Webhooks.Ping(ctx, s.By, c.ID)
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(e, queuedItem{true, d.ID})
		}
		fmt.Fprintf(e.out, "%s is queued: a running authd sends it.\n", d.ID)
		return nil
	})
}

type webhookRotateCmd struct {
	endpointArg
	Secret  string `env:"AUTHD_WEBHOOK_SECRET" placeholder:"SECRET" help:"The new secret. Without it one is made and shown once."`
	Overlap int64  `name:"overlap-seconds" default:"86400" help:"How long the old secret signs too, at most 604800."`
	JSON    bool   `name:"json" help:"As a JSON object."`
}

// Run implements the command.
func (c *webhookRotateCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		secret, until, err := s.Webhooks.RotateSecret(ctx, s.By, c.ID, c.Secret, time.Duration(c.Overlap)*time.Second)
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(e, struct {
				ID     uuid.UUID  `json:"id"`
				Secret string     `json:"secret,omitempty"`
				Until  *time.Time `json:"old_secret_until"`
			}{c.ID, secret, timeOrNull(until)})
		}
		fmt.Fprintf(e.out, "%s has a new secret.\n", c.ID)
		if secret != "" {
			fmt.Fprintf(e.out, "It is shown only this once: %s\n", secret)
		}
		if !until.IsZero() {
			fmt.Fprintf(e.out, "The old one signs too until %s.\n", briefTime(until))
		}
		return nil
	})
}

type webhookDeleteCmd struct {
	endpointArg
	JSON bool `name:"json" help:"As a JSON object."`
}

// Run implements the command.
func (c *webhookDeleteCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		abandoned, err := s.Webhooks.Delete(ctx, s.By, c.ID)
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(e, struct {
				ID    uuid.UUID   `json:"endpoint_id"`
				IDs   []uuid.UUID `json:"abandoned_delivery_ids"`
				Count int         `json:"abandoned_delivery_count"`
			}{c.ID, append([]uuid.UUID{}, abandoned[:min(len(abandoned), allPages)]...), len(abandoned)})
		}
		fmt.Fprintf(e.out, "%s is deleted; %d deliveries are given up.\n", c.ID, len(abandoned))
		return nil
	})
}

type webhookDeliveriesCmd struct {
	endpointArg
	Status string `enum:",pending,delivered,failed,abandoned" default:"" help:"Only these: pending, delivered, failed (waits for its next attempt) or abandoned."`
	Limit  int    `default:"50" help:"How many, at most 1000."`
	JSON   bool   `name:"json" help:"As a JSON list, with what is sent."`
}

// deliveryItem is what --json prints of a delivery.
type deliveryItem struct {
	ID             uuid.UUID       `json:"id"`
	Endpoint       uuid.UUID       `json:"endpoint_id"`
	Event          string          `json:"event_type"`
	Status         webhook.Status  `json:"status"`
	Attempts       int64           `json:"attempt_count"`
	LastAttempted  *time.Time      `json:"last_attempted_at"`
	NextRetry      *time.Time      `json:"next_retry_at"`
	ResponseStatus *int64          `json:"response_status"`
	ResponseBody   *string         `json:"response_body"`
	Created        time.Time       `json:"created_at"`
	Payload        json.RawMessage `json:"payload"`
}

func deliveryItemOf(d webhook.Delivery) (deliveryItem, error) {
	body, err := webhook.Body(d)
	item := deliveryItem{
		ID: d.ID, Endpoint: d.Endpoint, Event: d.Event, Status: d.Status, Attempts: d.Attempts, LastAttempted: timeOrNull(d.LastAttempted),
		NextRetry: timeOrNull(d.NextRetry), Created: d.Created, Payload: body,
	}
	if d.ResponseStatus != 0 {
		item.ResponseStatus = &d.ResponseStatus
	}
	if d.ResponseBody != "" {
		item.ResponseBody = &d.ResponseBody
	}
	return item, err
}

// Run implements the command.
func (c *webhookDeliveriesCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		page, err := s.Webhooks.Deliveries(ctx, c.ID, webhook.Status(c.Status), "", min(max(1, c.Limit), allPages))
		if err != nil {
			return err
		}
		if c.JSON {
			items := []deliveryItem{}
			for _, d := range page.Rows {
				item, err := deliveryItemOf(d)
				if err != nil {
					return err
				}
				items = append(items, item)
			}
			return printJSON(e, items)
		}
		table := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "ID\tEVENT\tSTATUS\tATTEMPTS\tANSWER\tNEXT")
		for _, d := range page.Rows {
			fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%s\n", d.ID, d.Event, d.Status, d.Attempts, answerText(d), briefTime(d.NextRetry))
		}
		return table.Flush()
	})
}

// answerText is what came back last.
func answerText(d webhook.Delivery) string {
	switch {
	case d.ResponseStatus != 0:
		return fmt.Sprint(d.ResponseStatus)
	case d.ResponseBody != "":
		return d.ResponseBody
	}
	return "-"
}

type webhookRetryCmd struct {
	Delivery uuid.UUID `arg:"" help:"The delivery's id."`
	JSON     bool      `name:"json" help:"As a JSON object."`
}

// Run implements the command.
func (c *webhookRetryCmd) Run(e *env) error {
	return withOperator(e, func(ctx context.Context, s *server.Services) error {
		if err := s.Webhooks.Retry(ctx, s.By, c.Delivery); err != nil {
			return err
		}
		if c.JSON {
			return printJSON(e, queuedItem{true, c.Delivery})
		}
		fmt.Fprintf(e.out, "%s is queued: a running authd sends it.\n", c.Delivery)
		return nil
	})
}
