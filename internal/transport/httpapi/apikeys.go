package httpapi

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/flow/machine"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/method/apikey"
)

// apikeysAPI is what operators do to API keys: /auth/apikeys knows whose they
// are, /admin/api-keys makes those that are nobody's.
type apikeysAPI struct {
	keys     *apikey.Service
	machines *machine.Service
}

func (a apikeysAPI) routes() []Route {
	const id = "key_id"
	return []Route{
		endpoint("POST /auth/apikeys", "Make an API key; it is shown only here", a.create, fault.InvalidAPIKey, fault.InvalidUser).
			tag("Administration").auth(Admin).stepUp(stepup.ManageAPIKeys, ""),
		query("GET /auth/apikeys", "List the newest 1,000 API keys", a.listAll).tag("Administration").auth(Admin),
		query("POST /auth/apikeys/{key_id}/revoke", "Revoke an API key", a.revoke, fault.APIKeyNotFound).
			tag("Administration").auth(Admin).stepUp(stepup.ManageAPIKeys, id),

		query("GET /admin/api-keys", "List the API keys, newest first", a.list, fault.InvalidCursor).tag("Administration").auth(Admin),
		endpoint("POST /admin/api-keys", "Make an API key that is nobody's; it is shown only here", a.createFree, fault.InvalidAPIKey).
			tag("Administration").auth(Admin).stepUp(stepup.ManageAPIKeys, ""),
		query("POST /admin/api-keys/{key_id}/rotate", "Give an API key another secret; it is shown only here", a.rotate, fault.APIKeyNotFound, fault.APIKeyRevoked).
			tag("Administration").auth(Admin).stepUp(stepup.ManageAPIKeys, id).optionalBody(),
		query("DELETE /admin/api-keys/{key_id}", "Revoke an API key", a.remove, fault.APIKeyNotFound).
			tag("Administration").auth(Admin).stepUp(stepup.ManageAPIKeys, id),
	}
}

// keyFacts are what every answer says of a key.
type keyFacts struct {
	KeyID              string  `json:"key_id" format:"uuid"`
	KeyPrefix          string  `json:"key_prefix" doc:"The beginning of the key."`
	Name               string  `json:"name"`
	Service            string  `json:"service"`
	Scope              string  `json:"scope"`
	ExpiresAt          *string `json:"expires_at" format:"date-time"`
	CreatedAt          string  `json:"created_at" format:"date-time"`
	RateLimitPerMinute *int    `json:"rate_limit_per_minute" doc:"Introspections; null sets no limit."`
}

func keyFactsOf(k apikey.Key) keyFacts {
	f := keyFacts{
		KeyID: k.ID.String(), KeyPrefix: k.Prefix, Name: k.Name, Service: k.Service, Scope: k.Scope,
		ExpiresAt: orNull(stamp(k.Expires)), CreatedAt: stamp(k.Created),
	}
	if k.PerMinute > 0 {
		f.RateLimitPerMinute = &k.PerMinute
	}
	return f
}

type keyItem struct {
	keyFacts
	RevokedAt  *string `json:"revoked_at" format:"date-time"`
	LastUsedAt *string `json:"last_used_at" format:"date-time" doc:"To the minute."`
}

func keyItemOf(k apikey.Key) keyItem {
	return keyItem{keyFactsOf(k), orNull(stamp(k.Revoked)), orNull(stamp(k.LastUsed))}
}

type ownedKeyItem struct {
	keyItem
	UserID *string `json:"user_id" format:"uuid"`
}

func ownerOf(k apikey.Key) *string {
	if k.UserID == uuid.Nil {
		return nil
	}
	id := k.UserID.String()
	return &id
}

// newKeyFields are what both ways to make a key take.
type newKeyFields struct {
	Service            *string    `json:"service,omitempty" nullable:"true" minLength:"1" maxLength:"128" doc:"Without it: what stands before the colon in the first scope, else the name."`
	Scope              string     `json:"scope" minLength:"1" maxLength:"128" doc:"Separated by commas." example:"orders:read,orders:write"`
	ExpiresAt          *time.Time `json:"expires_at,omitempty" nullable:"true"`
	RateLimitPerMinute *int       `json:"rate_limit_per_minute,omitempty" nullable:"true" minimum:"1" maximum:"1000000" doc:"Introspections."`
}

func (in newKeyFields) new() apikey.New {
	n := apikey.New{Scope: in.Scope, Expires: in.ExpiresAt}
	if in.Service != nil {
		n.Service = *in.Service
	}
	if in.RateLimitPerMinute != nil {
		n.PerMinute = *in.RateLimitPerMinute
	}
	return n
}

type newOwnedKeyInput struct {
	Name   *string `json:"name,omitempty" nullable:"true" minLength:"1" maxLength:"128" doc:"Needed without service."`
	UserID *string `json:"user_id,omitempty" nullable:"true" format:"uuid" doc:"Whose key it is: it is refused when the account is closed."`
	newKeyFields
}

type newKeyOutput struct {
	keyFacts
	APIKey string `json:"api_key" doc:"Shown only here."`
}

type newOwnedKeyOutput struct {
	newKeyOutput
	UserID *string `json:"user_id" format:"uuid"`
}

func (a apikeysAPI) create(ctx context.Context, in newOwnedKeyInput) (out newOwnedKeyOutput, err error) {
	n := in.new()
	switch {
	case in.Name != nil:
		n.Name = *in.Name
	case in.Service == nil:
		return out, fault.Invalid("name", "is required without service")
	}
	if in.UserID != nil {
		if n.User, err = idOf("user_id", *in.UserID); err != nil {
			return out, err
		}
	}
	k, plain, err := a.keys.Create(ctx, by(ctx), n)
	return newOwnedKeyOutput{newKeyOutput{keyFactsOf(k), plain}, ownerOf(k)}, err
}

type newKeyInput struct {
	Name string `json:"name" minLength:"1" maxLength:"128"`
	newKeyFields
}

func (a apikeysAPI) createFree(ctx context.Context, in newKeyInput) (newKeyOutput, error) {
	n := in.new()
	n.Name = in.Name
	k, plain, err := a.keys.Create(ctx, by(ctx), n)
	return newKeyOutput{keyFactsOf(k), plain}, err
}

type keysFilter struct {
	UserID  string `query:"user_id" format:"uuid"`
	Name    string `query:"name" maxLength:"128"`
	Service string `query:"service" maxLength:"128"`
	Scope   string `query:"scope" maxLength:"128" doc:"The whole text."`
	Active  string `query:"active" enum:"true,false" doc:"true: neither revoked nor expired."`
}

// mostKeys is how many keys the list without pages shows.
const mostKeys = 1000

func (a apikeysAPI) listAll(ctx context.Context, in keysFilter) ([]ownedKeyItem, error) {
	f := apikey.Filter{Name: in.Name, Service: in.Service, Scope: in.Scope, Active: yesOrNo(in.Active)}
	if in.UserID != "" {
		id, err := idOf("user_id", in.UserID)
		if err != nil {
			return nil, err
		}
		f.User = id
	}
	page, err := a.keys.List(ctx, f, "", mostKeys)
	if err != nil {
		return nil, err
	}
	items := []ownedKeyItem{}
	for _, k := range page.Rows {
		items = append(items, ownedKeyItem{keyItemOf(k), ownerOf(k)})
	}
	a.machines.Listed(ctx, by(ctx), f, len(items))
	return items, nil
}

type keysQuery struct {
	Scope  string `query:"scope" maxLength:"128" doc:"The whole text."`
	Active string `query:"active" enum:"true,false" doc:"true: neither revoked nor expired."`
	Cursor string `query:"cursor" doc:"next_cursor of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (a apikeysAPI) list(ctx context.Context, in keysQuery) (pageOf[keyItem], error) {
	page, err := a.keys.List(ctx, apikey.Filter{Scope: in.Scope, Active: yesOrNo(in.Active)}, in.Cursor, in.Limit)
	return pageFrom(page, keyItemOf), err
}

type keyQuery struct {
	ID string `path:"key_id" format:"uuid"`
}

type keyRevoked struct {
	KeyID     string `json:"key_id" format:"uuid"`
	RevokedAt string `json:"revoked_at" format:"date-time" doc:"Of the first time."`
}

type keyRevokedInWords struct {
	Detail string `json:"detail"`
	Code   string `json:"code" enum:"revoked_api_key"`
	keyRevoked
}

func (a apikeysAPI) revoke(ctx context.Context, in keyQuery) (keyRevokedInWords, error) {
	id, err := idOf("key_id", in.ID)
	if err != nil {
		return keyRevokedInWords{}, err
	}
	k, err := a.keys.Revoke(ctx, by(ctx), id)
	return keyRevokedInWords{"API key revoked.", apikey.Revoked, keyRevoked{id.String(), apikey.Stamp(k.Revoked)}}, err
}

func (a apikeysAPI) remove(ctx context.Context, in keyQuery) (keyRevoked, error) {
	id, err := idOf("key_id", in.ID)
	if err != nil {
		return keyRevoked{}, err
	}
	k, err := a.keys.Revoke(ctx, by(ctx), id)
	return keyRevoked{id.String(), stamp(k.Revoked)}, err
}

type keyRotation struct {
	ID   string `path:"key_id" format:"uuid"`
	Body rotation
}

func (a apikeysAPI) rotate(ctx context.Context, in keyRotation) (newKeyOutput, error) {
	id, err := idOf("key_id", in.ID)
	if err != nil {
		return newKeyOutput{}, err
	}
	k, plain, err := a.keys.Rotate(ctx, by(ctx), id, in.Body.overlap())
	return newKeyOutput{keyFactsOf(k), plain}, err
}
