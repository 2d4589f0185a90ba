// Package httpapi is the JSON face: it decodes, makes one call, and encodes.
//
// A Route says all there is to say of an endpoint: pattern, who may call it,
// which faults it answers. The same table serves, documents and tests the API.
package httpapi

import (
	"context"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/transport/web"
)

// Auth says who may call a route.
type Auth int

// The classes.
const (
	Public  Auth = iota // anybody; the credential, if any, is in the body
	Session             // a user with a live session: Authorization: Bearer
)

// Route is one endpoint.
type Route struct {
	Pattern string // "POST /auth/login"
	Summary string
	Tag     string
	Auth    Auth
	Faults  []fault.Code // beyond those any route may answer
	Status  int          // of success

	handler  web.Handler                                   // a plain handler, or
	register func(a *API, api huma.API, op huma.Operation) // one that huma decodes for
	document func(op *huma.Operation, api huma.API)        // what a plain handler takes and gives
}

func (r Route) method() string { method, _, _ := strings.Cut(r.Pattern, " "); return method }
func (r Route) path() string   { _, path, _ := strings.Cut(r.Pattern, " "); return path }

func (r Route) tag(name string) Route    { r.Tag = name; return r }
func (r Route) auth(a Auth) Route        { r.Auth = a; return r }
func (r Route) success(status int) Route { r.Status = status; return r }

// endpoint is a route that takes a JSON body I and answers a JSON body O.
func endpoint[I, O any](pattern, summary string, act func(context.Context, I) (O, error), faults ...fault.Code) Route {
	type input struct{ Body I }
	return decoded(pattern, summary, func(ctx context.Context, in *input) (O, error) { return act(ctx, in.Body) }, faults)
}

// query is a route that takes its input I from the query string.
func query[I, O any](pattern, summary string, act func(context.Context, I) (O, error), faults ...fault.Code) Route {
	return decoded(pattern, summary, func(ctx context.Context, in *I) (O, error) { return act(ctx, *in) }, faults)
}

func decoded[I, O any](pattern, summary string, act func(context.Context, *I) (O, error), faults []fault.Code) Route {
	type output struct{ Body O }
	r := Route{Pattern: pattern, Summary: summary, Faults: faults, Status: http.StatusOK}
	r.register = func(a *API, api huma.API, op huma.Operation) {
		_, private := op.Metadata[sessionOnly]
		huma.Register(api, op, func(ctx context.Context, in *I) (*output, error) {
			if private {
				id, err := a.Sessions.Check(ctx, bearerOf(ctx))
				if err != nil {
					return nil, err
				}
				ctx = withIdentity(ctx, id)
			}
			out, err := act(ctx, in)
			if err != nil {
				return nil, err
			}
			return &output{out}, nil
		})
	}
	return r
}

// sessionOnly marks operations of Auth class Session.
const sessionOnly = "session"

// plain is a route with a handler of its own, for what is hot or not JSON.
func plain(pattern, summary string, h web.Handler, document func(op *huma.Operation, api huma.API), faults ...fault.Code) Route {
	return Route{Pattern: pattern, Summary: summary, Faults: faults, Status: http.StatusOK, handler: h, document: document}
}

// schemaOf names the schema of T in the API description.
func schemaOf[T any](api huma.API) *huma.Schema {
	return api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, "")
}

// answerOf documents an answer with a JSON body of T, or none for an empty
// struct.
func answerOf[T any](status int, api huma.API) *huma.Response {
	r := &huma.Response{Description: http.StatusText(status)}
	if t := reflect.TypeFor[T](); t.NumField() > 0 {
		r.Content = map[string]*huma.MediaType{"application/json": {Schema: schemaOf[T](api)}}
	}
	return r
}

func statusText(status int) string { return strconv.Itoa(status) }
