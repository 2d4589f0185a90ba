package httpapi

import (
	"context"
	"time"

	"github.com/authsdk/authsdk/internal/core/client"
	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// clientsAPI is what operators do to machine clients.
type clientsAPI struct{ clients *client.Service }

func (a clientsAPI) routes() []Route {
	const id = "client_id"
	return []Route{
		query("GET /admin/clients", "List the machine clients, newest first", a.list, fault.InvalidCursor).tag("Administration").auth(Admin),
		query("GET /admin/clients/{client_id}", "Show a machine client", a.show, fault.ClientNotFound).tag("Administration").auth(Admin),
		endpoint("POST /admin/clients", "Make a machine client; its secret is shown only here", a.create, fault.InvalidScope).
			tag("Administration").auth(Admin).stepUp(stepup.ManageClients, ""),
		query("PATCH /admin/clients/{client_id}", "Change a machine client; what takes something away ends its tokens", a.update,
			fault.ClientNotFound, fault.InvalidScope).tag("Administration").auth(Admin).stepUp(stepup.ManageClients, id),
		query("POST /admin/clients/{client_id}/rotate-secret", "Give a machine client another secret; it is shown only here", a.rotate, fault.ClientNotFound).
			tag("Administration").auth(Admin).stepUp(stepup.ManageClients, id).optionalBody(),
		query("DELETE /admin/clients/{client_id}", "Delete a machine client; its tokens end", a.remove, fault.ClientNotFound).
			tag("Administration").auth(Admin).stepUp(stepup.ManageClients, id),
	}
}

type clientItem struct {
	ID                 string   `json:"id" format:"uuid"`
	ClientID           string   `json:"client_id" example:"client_Zx3vTn0bQk2c8LrYw1mPqA"`
	ClientSecretPrefix string   `json:"client_secret_prefix" doc:"The beginning of the current secret."`
	Name               string   `json:"name"`
	Scopes             []string `json:"scopes"`
	Audiences          []string `json:"audiences" doc:"What its tokens may be for, beyond this service."`
	AnyAudience        bool     `json:"any_audience" doc:"The list is empty: its tokens may be for any."`
	IsActive           bool     `json:"is_active"`
	TokenTTLSeconds    int      `json:"token_ttl_seconds"`
	CreatedAt          string   `json:"created_at" format:"date-time"`
	UpdatedAt          string   `json:"updated_at" format:"date-time"`
	LastUsedAt         *string  `json:"last_used_at" format:"date-time" doc:"To the minute."`
}

func clientItemOf(c client.Client) clientItem {
	return clientItem{
		ID: c.ID.String(), ClientID: c.ClientID, ClientSecretPrefix: c.SecretPrefix, Name: c.Name,
		Scopes: append([]string{}, c.Scopes...), Audiences: append([]string{}, c.Audiences...), AnyAudience: len(c.Audiences) == 0,
		IsActive: c.Active, TokenTTLSeconds: int(c.TTL.Seconds()),
		CreatedAt: stamp(c.Created), UpdatedAt: stamp(c.Updated), LastUsedAt: orNull(stamp(c.LastUsed)),
	}
}

type clientsQuery struct {
	Active string `query:"active" enum:"true,false" doc:"Only those that are, or are not."`
	Cursor string `query:"cursor" doc:"next_cursor of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

// yesOrNo is a filter that may be left out.
func yesOrNo(text string) *bool {
	if text == "" {
		return nil
	}
	yes := text == "true"
	return &yes
}

func (a clientsAPI) list(ctx context.Context, in clientsQuery) (pageOf[clientItem], error) {
	page, err := a.clients.List(ctx, yesOrNo(in.Active), in.Cursor, in.Limit)
	return pageFrom(page, clientItemOf), err
}

type clientQuery struct {
	ID string `path:"client_id" format:"uuid" doc:"The id, not the client_id."`
}

func (a clientsAPI) show(ctx context.Context, in clientQuery) (clientItem, error) {
	id, err := idOf("client_id", in.ID)
	if err != nil {
		return clientItem{}, err
	}
	c, err := a.clients.Find(ctx, id)
	return clientItemOf(c), err
}

type newClientInput struct {
	Name            string   `json:"name" minLength:"1" maxLength:"255" example:"billing"`
	Scopes          []string `json:"scopes" minItems:"1" maxItems:"100" doc:"What its tokens may say; visible ASCII without spaces."`
	Audiences       []string `json:"audiences,omitempty" nullable:"true" maxItems:"100" doc:"What its tokens may be for, beyond this service. Empty: any."`
	TokenTTLSeconds *int     `json:"token_ttl_seconds,omitempty" nullable:"true" minimum:"1" default:"3600" doc:"At most CLIENTS__MAX_TOKEN_TTL_SECONDS."`
}

type newClientOutput struct {
	clientItem
	ClientSecret string `json:"client_secret" doc:"Shown only here."`
}

const standardTTL = time.Hour

func (a clientsAPI) create(ctx context.Context, in newClientInput) (newClientOutput, error) {
	n := client.New{Name: in.Name, Scopes: in.Scopes, Audiences: in.Audiences, TTL: standardTTL}
	if in.TokenTTLSeconds != nil {
		n.TTL = seconds(*in.TokenTTLSeconds)
	}
	c, plain, err := a.clients.Create(ctx, by(ctx), n)
	return newClientOutput{clientItemOf(c), plain}, err
}

// seconds does not overflow: what is too long stays so.
func seconds(n int) time.Duration { return time.Duration(min(n, 1<<32)) * time.Second }

type clientPatch struct {
	ID   string `path:"client_id" format:"uuid"`
	Body struct {
		Name            *string  `json:"name,omitempty" nullable:"true" minLength:"1" maxLength:"255"`
		Scopes          []string `json:"scopes,omitempty" nullable:"true" minItems:"1" maxItems:"100"`
		Audiences       []string `json:"audiences,omitempty" nullable:"true" maxItems:"100" doc:"Empty: any."`
		TokenTTLSeconds *int     `json:"token_ttl_seconds,omitempty" nullable:"true" minimum:"1"`
		IsActive        *bool    `json:"is_active,omitempty" nullable:"true" doc:"false ends its tokens."`
	}
}

func (a clientsAPI) update(ctx context.Context, in clientPatch) (clientItem, error) {
	id, err := idOf("client_id", in.ID)
	if err != nil {
		return clientItem{}, err
	}
	p := client.Patch{Name: in.Body.Name, Active: in.Body.IsActive}
	if in.Body.Scopes != nil {
		p.Scopes = &in.Body.Scopes
	}
	if in.Body.Audiences != nil {
		p.Audiences = &in.Body.Audiences
	}
	if in.Body.TokenTTLSeconds != nil {
		ttl := seconds(*in.Body.TokenTTLSeconds)
		p.TTL = &ttl
	}
	c, err := a.clients.Update(ctx, by(ctx), id, p)
	return clientItemOf(c), err
}

// rotation is how a secret is replaced.
type rotation struct {
	OverlapSeconds *int `json:"overlap_seconds,omitempty" nullable:"true" minimum:"0" maximum:"2592000" default:"0" doc:"How long the old secret is good beside the new one."`
}

func (r rotation) overlap() time.Duration {
	if r.OverlapSeconds == nil {
		return 0
	}
	return seconds(*r.OverlapSeconds)
}

type clientRotation struct {
	ID   string `path:"client_id" format:"uuid"`
	Body rotation
}

type clientRotated struct {
	ID                 string  `json:"id" format:"uuid"`
	ClientID           string  `json:"client_id"`
	ClientSecret       string  `json:"client_secret" doc:"Shown only here."`
	ClientSecretPrefix string  `json:"client_secret_prefix"`
	OldSecretUntil     *string `json:"old_secret_until" format:"date-time" doc:"Null: the old secret is dead, and the tokens it got."`
}

func (a clientsAPI) rotate(ctx context.Context, in clientRotation) (clientRotated, error) {
	id, err := idOf("client_id", in.ID)
	if err != nil {
		return clientRotated{}, err
	}
	c, plain, until, err := a.clients.Rotate(ctx, by(ctx), id, in.Body.overlap())
	return clientRotated{c.ID.String(), c.ClientID, plain, c.SecretPrefix, orNull(stamp(until))}, err
}

func (a clientsAPI) remove(ctx context.Context, in clientQuery) (clientItem, error) {
	id, err := idOf("client_id", in.ID)
	if err != nil {
		return clientItem{}, err
	}
	c, err := a.clients.Delete(ctx, by(ctx), id)
	return clientItemOf(c), err
}
