// Package httpapi is the JSON face: it decodes, makes one call, and encodes.
//
// A Route says all there is to say of an endpoint: pattern, who may call it,
// which faults it answers. The same table serves, documents and tests the API.
//
//	routes.go    the table
//	endpoint.go  what a route is made of
//	caller.go    what came with a request to say who sends it: bearer or cookies
//	decode.go    a request becomes an input, checked by huma
//	refusal.go   what huma finds wrong, in our words
//	openapi.go   the description
package httpapi

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/transport/web"
)

// Auth says who may call a route.
type Auth int

// The classes.
const (
	Public  Auth = iota // anybody; the credential, if any, is in the body or in cookies
	Machine             // a service that passes on a user's access token: Authorization: Bearer, never cookies
	Session             // a user with a live session: Authorization: Bearer, or the access cookie
	Account             // as Session, with a token that names no other service
	Local               // in development, this machine only
	Admin               // as Account, for accounts of role admin; in development also the bootstrap key
)

// String says it in words.
func (a Auth) String() string {
	return [...]string{
		"anybody", "whoever holds a user's bearer token", "a signed-in user", "a signed-in user, with a token for this service alone",
		"this machine, in development", "an admin, with a token for this service alone",
	}[a]
}

// user reports whether the routes of a class need an access token.
func (a Auth) user() bool { return a == Machine || a == Session || a == Account || a == Admin }

// cookies reports whether the access token may come in a cookie.
func (a Auth) cookies() bool { return a == Session || a == Account || a == Admin }

// Route is one endpoint.
type Route struct {
	Pattern string // "POST /auth/login"
	Summary string
	Tag     string
	Auth    Auth
	Faults  []fault.Code // beyond those that Codes adds
	Status  int          // of success
	Quiet   bool         // machines ask all the time: successes are logged at DEBUG
	Policy  web.Policy   // what the edge asks before it lets a request in

	action string // of the step-up that an admin's act asks for; empty for none
	target string // the path parameter that the act is on; empty for none
	fresh  bool   // a recent sign-in is not enough for it

	input    reflect.Type // a struct of parameters, or one with a Body; nil if it takes none
	optional bool         // the body may be absent or null
	content  string       // type of an answer that is no JSON
	form     web.Handler  // takes form bodies, if they are not refused
	swift    quickHandler // answers what is asked all the time; what it does not take is served as always
	cookie   web.Handler  // takes requests in cookie transport, if the handler of the others does not
	guarded  bool         // handlers ask caller.guard: the request chooses its transport
	sets     bool         // cookies, on success
	bind     func(a *API, api huma.API, r Route) web.Handler
}

func (r Route) method() string { method, _, _ := strings.Cut(r.Pattern, " "); return method }
func (r Route) path() string   { _, path, _ := strings.Cut(r.Pattern, " "); return path }

func (r Route) tag(name string) Route    { r.Tag = name; return r }
func (r Route) auth(a Auth) Route        { r.Auth = a; return r }
func (r Route) success(status int) Route { r.Status = status; return r }
func (r Route) quiet() Route             { r.Quiet = true; return r }

// limit puts the route into another class than web.Default.
func (r Route) limit(c web.Class) Route { r.Policy.Class = c; return r }

// stepUp has an act of an admin ask for a fresh proof of its action, on what the
// path parameter names (empty: on nothing). The handler gives by(ctx) to the
// domain, which spends the proof in the act's transaction.
func (r Route) stepUp(action, parameter string) Route {
	r.action, r.target = action, parameter
	return r
}

// tokenOnly asks for an action token even right after a sign-in.
func (r Route) tokenOnly() Route { r.fresh = true; return r }

// anyHost exempts the route from the host allow-list.
func (r Route) anyHost() Route { r.Policy.AnyHost = true; return r }

// optionalBody lets the body be absent or null: the input is then its zero
// value.
func (r Route) optionalBody() Route { r.optional = true; return r }

// streams says that the handler writes its answer as it goes, of another type than
// JSON.
func (r Route) streams(contentType string) Route { r.content = contentType; return r }

// formTo gives form bodies to h. Bodies of any other content type are JSON.
func (r Route) formTo(h web.Handler) Route { r.form = h; return r }

// quickHandler answers a JSON body, or says that it is not done.
type quickHandler func(w http.ResponseWriter, r *http.Request, body []byte) (done bool, err error)

// quick has h look at a request first: for what is asked so often that decoding
// it in general would cost more than the answer.
func (r Route) quick(h quickHandler) Route { r.swift = h; return r }

// either lets a request choose where its tokens travel, in bodies or in cookies.
// The handler asks caller.guard before it does anything.
func (r Route) either() Route { r.guarded, r.sets = true, true; return r }

// cookieTo is either, with requests in cookie transport given to h: their body,
// if any, is not looked at.
func (r Route) cookieTo(h web.Handler) Route { r.cookie = h; return r.either() }

// cookies says that the route sets some.
func (r Route) cookies() Route { r.sets = true; return r }

// changes reports whether the route is one that other sites must not have a
// browser call (RFC 9110 §9.2.1).
func (r Route) changes() bool {
	return !slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace}, r.method())
}

// hasBody reports whether the route takes a JSON body.
func (r Route) hasBody() bool {
	if r.input == nil {
		return false
	}
	_, ok := r.input.FieldByName("Body")
	return ok
}

// Codes is every fault that the route may answer: its own and those that follow
// from what it takes and who may call it.
func (r Route) Codes() []fault.Code {
	codes := slices.Clone(r.Faults)
	switch {
	case r.hasBody():
		codes = append(codes, fault.MalformedRequest, fault.RequestTooLarge, fault.UnsupportedMediaType, fault.ValidationError)
	case r.input != nil:
		codes = append(codes, fault.ValidationError)
	}
	if r.Auth.user() {
		codes = append(codes, fault.InvalidToken, fault.TokenExpired, fault.SessionExpired)
	}
	if r.guarded || r.Auth.cookies() && r.changes() {
		codes = append(codes, fault.AmbiguousTransport, fault.InvalidCSRFToken)
	}
	switch r.Auth {
	case Account:
		codes = append(codes, fault.AudienceNotAllowed)
	case Admin:
		codes = append(codes, fault.AudienceNotAllowed, fault.InsufficientRole)
	case Local:
		codes = append(codes, fault.NotFound)
	}
	switch {
	case r.fresh:
		codes = append(codes, fault.ActionTokenInvalid)
	case r.action != "":
		codes = append(codes, fault.OTPRequired, fault.ReauthRequired, fault.ActionTokenInvalid)
	}
	if r.Policy.Class != web.Free {
		codes = append(codes, fault.RateLimited)
	}
	if !r.Policy.AnyHost {
		codes = append(codes, fault.InvalidHost)
	}
	codes = append(codes, fault.InternalServerError, fault.ServiceUnavailable)
	seen := map[string]bool{}
	return slices.DeleteFunc(codes, func(c fault.Code) bool {
		again := seen[c.Slug]
		seen[c.Slug] = true
		return again
	})
}

type answer[O any] struct{ Body O }

// endpoint is a route that takes a JSON body I and answers a JSON body O.
func endpoint[I, O any](pattern, summary string, act func(context.Context, I) (O, error), faults ...fault.Code) Route {
	type input struct{ Body I }
	return decoded(pattern, summary, http.StatusOK, faults, func(ctx context.Context, in *input) (*answer[O], error) {
		out, err := act(ctx, in.Body)
		return &answer[O]{out}, err
	})
}

// command is a route that takes a JSON body I and answers 204.
func command[I any](pattern, summary string, act func(context.Context, I) error, faults ...fault.Code) Route {
	type input struct{ Body I }
	return decoded(pattern, summary, http.StatusNoContent, faults, func(ctx context.Context, in *input) (*struct{}, error) {
		return &struct{}{}, act(ctx, in.Body)
	})
}

// query is a route that takes its input I from path, query and headers, not
// from a body, and answers a JSON body O.
func query[I, O any](pattern, summary string, act func(context.Context, I) (O, error), faults ...fault.Code) Route {
	return decoded(pattern, summary, http.StatusOK, faults, func(ctx context.Context, in *I) (*answer[O], error) {
		out, err := act(ctx, *in)
		return &answer[O]{out}, err
	})
}

// plain is a route with a handler of its own, for what is hot or not JSON.
// document tells what it answers.
func plain(pattern, summary string, h web.Handler, document func(op *huma.Operation, api huma.API), faults ...fault.Code) Route {
	r := Route{Pattern: pattern, Summary: summary, Faults: faults, Status: http.StatusOK}
	r.bind = func(a *API, api huma.API, r Route) web.Handler {
		op := r.operation(a, api)
		document(&op, api)
		api.OpenAPI().AddOperation(&op)
		switch {
		case !r.Auth.user():
			return h
		case r.Auth == Admin:
			return func(w http.ResponseWriter, req *http.Request) error {
				ctx, err := a.authenticate(a.withCaller(w, req), r)
				if err != nil {
					return err
				}
				return h(w, req.WithContext(ctx))
			}
		case r.Auth != Machine:
			panic(r.Pattern + ": a plain route is for services, for admins or for anybody")
		}
		return func(w http.ResponseWriter, req *http.Request) error {
			if _, err := a.check(req.Context(), web.Bearer(req), true); err != nil {
				return err
			}
			return h(w, req) // which does not ask who is calling
		}
	}
	return r
}

// answers documents a JSON body of T.
func answers[T any](op *huma.Operation, api huma.API) {
	op.Responses[statusText(op.DefaultStatus)] = &huma.Response{
		Description: http.StatusText(op.DefaultStatus),
		Content:     map[string]*huma.MediaType{jsonType: {Schema: schemaOf[T](api)}},
	}
}

// answersNothing documents an answer without a body.
func answersNothing(op *huma.Operation, _ huma.API) {
	op.Responses[statusText(op.DefaultStatus)] = &huma.Response{Description: http.StatusText(op.DefaultStatus)}
}
