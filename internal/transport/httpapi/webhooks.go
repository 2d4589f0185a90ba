package httpapi

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/core/webhook"
	"github.com/authsdk/authsdk/internal/foundation/cursor"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// webhookAPI is what operators do with webhooks: under /admin, and under
// /webhooks the paths of old, whose lists have no pages.
type webhookAPI struct{ webhooks *webhook.Service }

func (a webhookAPI) routes() []Route {
	routes := []Route{
		query("GET /admin/webhooks", "List webhooks, newest first", a.list, fault.InvalidCursor),
		endpoint("POST /admin/webhooks", "Register a webhook", a.create, fault.InvalidWebhookURL).stepUp(stepup.ManageWebhooks, ""),
		query("GET /admin/webhooks/{id}", "Show a webhook", a.show, fault.WebhookNotFound),
		query("PATCH /admin/webhooks/{id}", "Change a webhook, or switch it off or on", a.update, fault.WebhookNotFound, fault.InvalidWebhookURL).
			stepUp(stepup.ManageWebhooks, "id"),
		query("DELETE /admin/webhooks/{id}", "Delete a webhook and give up what waits for it", a.remove, fault.WebhookNotFound).
			stepUp(stepup.ManageWebhooks, "id"),
		query("POST /admin/webhooks/{id}/rotate-secret", "Give a webhook a new secret; the old one signs too for a while", a.rotate, fault.WebhookNotFound).
			stepUp(stepup.ManageWebhooks, "id").optionalBody(),
		query("POST /admin/webhooks/{id}/ping", "Send a test delivery", a.ping, fault.WebhookNotFound).stepUp(stepup.ManageWebhooks, "id"),
		query("GET /admin/webhooks/{id}/deliveries", "List the deliveries to a webhook, newest first", a.deliveries, fault.WebhookNotFound, fault.InvalidCursor),
		query("GET /admin/webhooks/{id}/deliveries/{delivery_id}", "Show a delivery with its body", a.delivery, fault.WebhookNotFound, fault.DeliveryNotFound),
		query("POST /admin/webhooks/deliveries/{id}/retry", "Send a delivery again", a.retry, fault.DeliveryNotFound).stepUp(stepup.ManageWebhooks, "id"),

		query("GET /webhooks", "List the newest 1,000 webhooks", a.listAll),
		endpoint("POST /webhooks", "Register a webhook", a.create, fault.InvalidWebhookURL).stepUp(stepup.ManageWebhooks, ""),
		query("GET /webhooks/{id}/deliveries", "List the newest 1,000 deliveries to a webhook", a.deliveriesAll, fault.WebhookNotFound),
		query("POST /webhooks/deliveries/{id}/retry", "Send a delivery again", a.retry, fault.DeliveryNotFound).stepUp(stepup.ManageWebhooks, "id"),
	}
	for i, r := range routes {
		routes[i] = r.tag("Administration").auth(Admin)
	}
	return routes
}

// wholeList is how much of a list without pages is answered.
const wholeList = 1000

type webhookItem struct {
	ID                  string   `json:"id" format:"uuid"`
	Name                string   `json:"name"`
	URL                 string   `json:"url"`
	Events              []string `json:"events" doc:"Sorted; none: every event but audit.head."`
	IsActive            bool     `json:"is_active"`
	CreatedAt           string   `json:"created_at" format:"date-time"`
	DisabledReason      *string  `json:"disabled_reason" enum:"operator,failing"`
	ConsecutiveFailures int64    `json:"consecutive_failures"`
	FailingSince        *string  `json:"failing_since" format:"date-time"`
	OldSecretUntil      *string  `json:"old_secret_until" format:"date-time" doc:"Until then deliveries are signed with the secret before, too."`
}

func webhookOf(e webhook.Endpoint) webhookItem {
	return webhookItem{
		ID: e.ID.String(), Name: e.Name, URL: e.URL, Events: append([]string{}, e.Events...), IsActive: e.Active, CreatedAt: stamp(e.Created),
		DisabledReason: orNull(e.DisabledWhy), ConsecutiveFailures: e.Failures, FailingSince: orNull(stamp(e.FailingSince)),
		OldSecretUntil: orNull(stamp(e.OldUntil)),
	}
}

type pageQuery struct {
	Cursor string `query:"cursor" doc:"next_cursor of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (a webhookAPI) list(ctx context.Context, in pageQuery) (pageOf[webhookItem], error) {
	page, err := a.webhooks.List(ctx, in.Cursor, in.Limit)
	return pageFrom(page, webhookOf), err
}

func (a webhookAPI) listAll(ctx context.Context, _ struct{}) ([]webhookItem, error) {
	page, err := a.webhooks.List(ctx, "", wholeList)
	return pageFrom(page, webhookOf).Data, err
}

type webhookInput struct {
	Name   string   `json:"name" minLength:"1" maxLength:"255" example:"orders"`
	URL    string   `json:"url" minLength:"1" maxLength:"2048" doc:"A public http or https URL." example:"https://orders.example.com/hooks/auth"`
	Secret *string  `json:"secret,omitempty" nullable:"true" minLength:"8" maxLength:"512" doc:"Signs the deliveries. Without it one is made."`
	Events []string `json:"events,omitempty" doc:"Names of docs/reference/events.md. Without any: every event but audit.head." maxItems:"200"`
}

type madeWebhook struct {
	webhookItem
	Secret *string `json:"secret" doc:"The secret that was made; shown only this once. Null if it was given."`
}

func (a webhookAPI) create(ctx context.Context, in webhookInput) (madeWebhook, error) {
	e, shown, err := a.webhooks.Create(ctx, by(ctx), webhook.New{Name: in.Name, URL: in.URL, Secret: orEmpty(in.Secret), Events: in.Events})
	return madeWebhook{webhookOf(e), orNull(shown)}, err
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

type webhookQuery struct {
	ID string `path:"id" format:"uuid"`
}

func (a webhookAPI) show(ctx context.Context, in webhookQuery) (webhookItem, error) {
	id, err := idOf("id", in.ID)
	if err != nil {
		return webhookItem{}, err
	}
	e, err := a.webhooks.Find(ctx, id)
	return webhookOf(e), err
}

type webhookPatch struct {
	ID   string `path:"id" format:"uuid"`
	Body struct {
		Name     *string  `json:"name,omitempty" nullable:"true" minLength:"1" maxLength:"255"`
		URL      *string  `json:"url,omitempty" nullable:"true" minLength:"1" maxLength:"2048"`
		Events   []string `json:"events,omitempty" maxItems:"200"`
		IsActive *bool    `json:"is_active,omitempty" nullable:"true" doc:"false gives up what waits; true forgets that it failed."`
	}
}

func (a webhookAPI) update(ctx context.Context, in webhookPatch) (webhookItem, error) {
	id, err := idOf("id", in.ID)
	if err != nil {
		return webhookItem{}, err
	}
	p := webhook.Patch{Name: in.Body.Name, URL: in.Body.URL, Active: in.Body.IsActive}
	if in.Body.Events != nil {
		p.Events = &in.Body.Events
	}
	e, err := a.webhooks.Update(ctx, by(ctx), id, p)
	return webhookOf(e), err
}

type removedWebhook struct {
	EndpointID             string      `json:"endpoint_id" format:"uuid"`
	AbandonedDeliveryIDs   []uuid.UUID `json:"abandoned_delivery_ids" doc:"At most 1,000 of them."`
	AbandonedDeliveryCount int         `json:"abandoned_delivery_count"`
}

func (a webhookAPI) remove(ctx context.Context, in webhookQuery) (removedWebhook, error) {
	id, err := idOf("id", in.ID)
	if err != nil {
		return removedWebhook{}, err
	}
	given, err := a.webhooks.Delete(ctx, by(ctx), id)
	return removedWebhook{id.String(), append([]uuid.UUID{}, given[:min(len(given), wholeList)]...), len(given)}, err
}

type rotateWebhook struct {
	ID   string `path:"id" format:"uuid"`
	Body struct {
		Secret         *string `json:"secret,omitempty" nullable:"true" minLength:"8" maxLength:"512" doc:"Without it one is made."`
		OverlapSeconds *int64  `json:"overlap_seconds,omitempty" nullable:"true" minimum:"0" maximum:"604800" doc:"How long the old secret signs too; 86400 if absent."`
	}
}

type rotatedWebhook struct {
	ID             string  `json:"id" format:"uuid"`
	Secret         *string `json:"secret" doc:"The secret that was made; shown only this once. Null if it was given."`
	OldSecretUntil *string `json:"old_secret_until" format:"date-time"`
}

// rotateOverlap is for those who do not say how long.
const rotateOverlap = 24 * time.Hour

func (a webhookAPI) rotate(ctx context.Context, in rotateWebhook) (rotatedWebhook, error) {
	id, err := idOf("id", in.ID)
	if err != nil {
		return rotatedWebhook{}, err
	}
	overlap := rotateOverlap
	if in.Body.OverlapSeconds != nil {
		overlap = time.Duration(*in.Body.OverlapSeconds) * time.Second
	}
	shown, until, err := a.webhooks.RotateSecret(ctx, by(ctx), id, orEmpty(in.Body.Secret), overlap)
	return rotatedWebhook{id.String(), orNull(shown), orNull(stamp(until))}, err
}

type queuedDelivery struct {
	Queued     bool   `json:"queued"`
	DeliveryID string `json:"delivery_id" format:"uuid"`
}

func (a webhookAPI) ping(ctx context.Context, in webhookQuery) (queuedDelivery, error) {
	id, err := idOf("id", in.ID)
	if err != nil {
		return queuedDelivery{}, err
	}
	d, err := a.webhooks.Ping(ctx, by(ctx), id)
	return queuedDelivery{true, d.ID.String()}, err
}

func (a webhookAPI) retry(ctx context.Context, in webhookQuery) (queuedDelivery, error) {
	id, err := idOf("id", in.ID)
	if err != nil {
		return queuedDelivery{}, err
	}
	return queuedDelivery{true, id.String()}, a.webhooks.Retry(ctx, by(ctx), id)
}

type deliveriesQuery struct {
	ID     string `path:"id" format:"uuid"`
	Status string `query:"status" enum:"pending,delivered,failed,abandoned" doc:"pending: never tried; failed: waits for its next attempt. All if absent."`
	Cursor string `query:"cursor" doc:"next_cursor of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

type deliveryItem struct {
	ID              string  `json:"id" format:"uuid" doc:"The webhook-id of each attempt."`
	EndpointID      string  `json:"endpoint_id" format:"uuid"`
	EventType       string  `json:"event_type" example:"session.created"`
	Status          string  `json:"status" enum:"pending,delivered,failed,abandoned"`
	AttemptCount    int64   `json:"attempt_count"`
	LastAttemptedAt *string `json:"last_attempted_at" format:"date-time"`
	NextRetryAt     *string `json:"next_retry_at" format:"date-time"`
	ResponseStatus  *int64  `json:"response_status" doc:"Null if there was no answer."`
	ResponseBody    *string `json:"response_body" doc:"The beginning of the answer, or why there is none."`
	CreatedAt       string  `json:"created_at" format:"date-time"`
}

func deliveryOf(d webhook.Delivery) deliveryItem {
	item := deliveryItem{
		ID: d.ID.String(), EndpointID: d.Endpoint.String(), EventType: d.Event, Status: string(d.Status), AttemptCount: d.Attempts,
		LastAttemptedAt: orNull(stamp(d.LastAttempted)), NextRetryAt: orNull(stamp(d.NextRetry)), ResponseBody: orNull(d.ResponseBody), CreatedAt: stamp(d.Created),
	}
	if d.ResponseStatus != 0 {
		item.ResponseStatus = &d.ResponseStatus
	}
	return item
}

func (a webhookAPI) deliveries(ctx context.Context, in deliveriesQuery) (pageOf[deliveryItem], error) {
	page, err := a.deliveriesOf(ctx, in.ID, in.Status, in.Cursor, in.Limit)
	return pageFrom(page, deliveryOf), err
}

type deliveriesAllQuery struct {
	ID     string `path:"id" format:"uuid"`
	Status string `query:"status" enum:"pending,delivered,failed,abandoned"`
}

func (a webhookAPI) deliveriesAll(ctx context.Context, in deliveriesAllQuery) ([]deliveryItem, error) {
	page, err := a.deliveriesOf(ctx, in.ID, in.Status, "", wholeList)
	return pageFrom(page, deliveryOf).Data, err
}

func (a webhookAPI) deliveriesOf(ctx context.Context, text, status, after string, limit int) (page cursor.Page[webhook.Delivery], err error) {
	id, err := idOf("id", text)
	if err != nil {
		return page, err
	}
	return a.webhooks.Deliveries(ctx, id, webhook.Status(status), after, limit)
}

type deliveryQuery struct {
	ID         string `path:"id" format:"uuid"`
	DeliveryID string `path:"delivery_id" format:"uuid"`
}

type deliveryDetail struct {
	deliveryItem
	Payload json.RawMessage `json:"payload" doc:"The body that is sent."`
}

func (a webhookAPI) delivery(ctx context.Context, in deliveryQuery) (deliveryDetail, error) {
	endpoint, err := idOf("id", in.ID)
	if err != nil {
		return deliveryDetail{}, err
	}
	id, err := idOf("delivery_id", in.DeliveryID)
	if err != nil {
		return deliveryDetail{}, err
	}
	d, err := a.webhooks.Delivery(ctx, endpoint, id)
	if err != nil {
		return deliveryDetail{}, err
	}
	body, err := webhook.Body(d)
	return deliveryDetail{deliveryOf(d), body}, err
}
