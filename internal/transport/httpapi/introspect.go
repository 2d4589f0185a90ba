package httpapi

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/authsdk/authsdk/internal/flow/machine"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/transport/web"
)

// introspectAPI tells services about API keys.
type introspectAPI struct {
	machines *machine.Service

	// requireCaller has callers show a credential of their own. Without it none is
	// looked at: gateways pass on the Authorization headers of others.
	requireCaller bool
}

func (a introspectAPI) routes() []Route {
	return []Route{
		endpoint("POST /auth/introspect", "Tell whether an API key is good right now", a.introspect, fault.InvalidToken).
			tag("Services").quiet().limit(web.Machine).anyHost().quick(a.known),
	}
}

type introspectInput struct {
	APIKey string `json:"api_key" minLength:"4" maxLength:"512"`
}

// introspection is the answer, which the domain has ready as JSON.
type introspection struct{ body []byte }

// introspectionBody is what it says.
type introspectionBody struct {
	Valid     bool     `json:"valid"`
	Code      string   `json:"code,omitempty" enum:"invalid_api_key,revoked_api_key,expired_api_key" doc:"Why the key is not good; then nothing else is told."`
	UserID    *string  `json:"user_id,omitempty" format:"uuid" nullable:"true" doc:"Whose key it is; null if nobody's."`
	Scopes    []string `json:"scopes,omitempty"`
	KeyID     string   `json:"key_id,omitempty" format:"uuid"`
	ExpiresAt *string  `json:"expires_at,omitempty" format:"date-time" nullable:"true"`
	Service   string   `json:"service,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (i introspection) MarshalJSON() ([]byte, error) { return i.body, nil }

// Schema implements huma.SchemaProvider.
func (introspection) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[introspectionBody](), true, "Introspection")
}

func (a introspectAPI) introspect(ctx context.Context, in introspectInput) (introspection, error) {
	if a.requireCaller {
		c := callerOf(ctx)
		if err := a.machines.Caller(ctx, c.credential); err != nil {
			return introspection{}, c.refusal(err)
		}
	}
	o, err := a.machines.Introspect(ctx, in.APIKey)
	return introspection{o.Body}, err
}

// known answers what a service sends all the time: one key, spelt plainly. What
// is not, it leaves to introspect: done is false then.
func (a introspectAPI) known(w http.ResponseWriter, r *http.Request, body []byte) (done bool, err error) {
	key, plain := plainKey(body)
	if !plain {
		return false, nil
	}
	if a.requireCaller {
		if err := a.machines.Caller(r.Context(), credentialOf(r)); err != nil {
			return true, (&caller{bearer: web.Bearer(r)}).refusal(err)
		}
	}
	o, err := a.machines.Introspect(r.Context(), key)
	if err != nil {
		return true, err
	}
	w.Header()["Content-Type"] = jsonTypes
	w.Write(o.Body) // a failed write has nobody left to tell
	return true, nil
}

var jsonTypes = []string{jsonType} // capacity 1: Set and Add never change what is shared

// plainKey reads {"api_key":"…"} of visible ASCII without escapes: no JSON reader
// sees anything else in it.
func plainKey(body []byte) (key string, ok bool) {
	rest, ok := after(body, '{')
	if !ok {
		return "", false
	}
	if rest, ok = bytes.CutPrefix(rest, []byte(`"api_key"`)); !ok {
		return "", false
	}
	if rest, ok = after(rest, ':'); !ok {
		return "", false
	}
	if rest, ok = after(rest, '"'); !ok {
		return "", false
	}
	end := bytes.IndexByte(rest, '"')
	if end < 4 || end > 512 {
		return "", false
	}
	for _, c := range rest[:end] {
		if c < ' ' || c > '~' || c == '\\' {
			return "", false
		}
	}
	last, ok := after(rest[end+1:], '}')
	return string(rest[:end]), ok && len(last) == 0
}

// after returns what follows a byte, with the white space before and after it
// left out.
func after(b []byte, c byte) ([]byte, bool) {
	b = bytes.TrimLeft(b, " \t\r\n")
	if len(b) == 0 || b[0] != c {
		return nil, false
	}
	if c == '"' { // what follows is text
		return b[1:], true
	}
	return bytes.TrimLeft(b[1:], " \t\r\n"), true
}

// credentialOf is what a service shows for itself: Authorization: Basic (RFC 6749
// §2.3.1) or Bearer, or X-API-Key.
func credentialOf(r *http.Request) (c machine.Credential) {
	c.APIKey, c.Bearer = r.Header.Get("X-API-Key"), web.Bearer(r)
	c.ClientID, c.Secret, _ = basicOf(r)
	return c
}

// basicOf reads Authorization: Basic, whose parts are encoded as in a form; ok is
// false if there is none that can be read.
func basicOf(r *http.Request) (id, secret string, ok bool) {
	id, secret, ok = r.BasicAuth()
	if !ok {
		return "", "", false
	}
	id, err := url.QueryUnescape(id)
	if err != nil {
		return "", "", false
	}
	secret, err = url.QueryUnescape(secret)
	return id, secret, err == nil && web.IsText(id) && web.IsText(secret)
}

// refusal of a caller who showed a bearer token says that the token is the
// reason.
func (c *caller) refusal(err error) error {
	if c.bearer != "" {
		return web.TokenRefused{Err: err}
	}
	return err
}
