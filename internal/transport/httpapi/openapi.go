package httpapi

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/transport/web"
)

// describe starts the API description, with huma's defaults that do not suit us
// switched off: no schema links, no pages from elsewhere, unknown fields pass.
func (a *API) describe() huma.API {
	cfg := huma.DefaultConfig(a.Service, "1")
	cfg.Info.Description = "Authentication for people and services."
	cfg.DocsPath, cfg.OpenAPIPath, cfg.SchemasPath = "", "", ""
	cfg.CreateHooks = nil
	cfg.AllowAdditionalPropertiesByDefault = true
	cfg.Formats = map[string]huma.Format{jsonType: jsonFormat, "json": jsonFormat} // "json" is any type that ends in +json
	cfg.Transformers = []huma.Transformer{a.translate}
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", BearerFormat: "JWT"},
		"cookie": {Type: "apiKey", In: "cookie", Name: a.Browser.Access.Name,
			Description: "The access token of a browser, where sessions in cookies are on."},
		"csrf": {Type: "apiKey", In: "header", Name: a.Browser.CSRFHeader,
			Description: "With cookies, for every request that changes something: the CSRF token of GET /auth/csrf."},
		"bootstrap": {Type: "apiKey", In: "header", Name: "X-Admin-API-Key", Description: "ADMIN_API_KEY, in development only."},
	}
	return huma.NewAPI(cfg, handlers{})
}

// build binds every route and returns the description of all.
func (a *API) build(handle func(policy web.Policy, pattern string, h http.Handler)) *huma.OpenAPI {
	api := a.describe()
	for _, r := range a.Routes() {
		h := r.bind(a, api, r)
		if r.Auth == Local {
			h = web.LocalOnly(a.MailboxPublic)(h)
		}
		served := web.Handle(a.Log, h)
		if r.Quiet {
			served = web.Quiet(served)
		}
		handle(r.Policy, r.Pattern, served)
	}
	tidy(api.OpenAPI().Components.Schemas.Map())
	return api.OpenAPI()
}

// tidy takes out of the description what is not so: huma's own errors, which
// translate replaces, and lists that are null, which we never send.
func tidy(schemas map[string]*huma.Schema) {
	delete(schemas, "ErrorModel")
	delete(schemas, "ErrorDetail")
	for _, s := range schemas {
		for _, p := range s.Properties {
			if p.Type == huma.TypeArray {
				p.Nullable = false
			}
		}
	}
}

// OpenAPI returns the description as YAML, for the file in the repository.
func (a *API) OpenAPI() ([]byte, error) {
	return a.build(func(web.Policy, string, http.Handler) {}).YAML()
}

// operation is the route in the API description.
func (r Route) operation(a *API, api huma.API) huma.Operation {
	op := huma.Operation{
		OperationID: operationID(r.Pattern), Method: r.method(), Path: r.path(), Summary: r.Summary,
		Tags: []string{r.Tag}, DefaultStatus: r.Status, Responses: map[string]*huma.Response{},
	}
	if r.hasBody() {
		op.RequestBody = &huma.RequestBody{} // ours, so that it can be made optional later
	}
	if r.Auth.user() {
		op.Security = append(op.Security, map[string][]string{"bearer": {}})
	}
	switch {
	case r.Auth.cookies() && r.changes():
		op.Security = append(op.Security, map[string][]string{"cookie": {}, "csrf": {}})
	case r.Auth.cookies():
		op.Security = append(op.Security, map[string][]string{"cookie": {}})
	}
	if r.Auth == Admin {
		op.Security = append(op.Security, map[string][]string{"bootstrap": {}})
	}
	r.describeHeaders(a.Browser, &op)
	for _, code := range r.Codes() {
		status := statusText(code.Status)
		if known := op.Responses[status]; known != nil {
			known.Description += ", " + code.Slug
			continue
		}
		op.Responses[status] = &huma.Response{
			Description: code.Slug,
			Content:     map[string]*huma.MediaType{jsonType: {Schema: schemaOf[web.Envelope](api)}},
		}
	}
	return op
}

// describeHeaders tells which headers a route reads, and which cookies it sets,
// beyond the access token.
func (r Route) describeHeaders(b web.Browser, op *huma.Operation) {
	text := func(description string, values ...any) *huma.Schema {
		return &huma.Schema{Type: huma.TypeString, Description: description, Enum: values}
	}
	if r.guarded {
		op.Parameters = []*huma.Param{
			{Name: b.TransportHeader, In: "header", Schema: text("Where the tokens travel. Without it: in cookies if a session cookie came, else in bodies.", "cookie", "token")},
			{Name: b.CSRFHeader, In: "header", Schema: text("Needed in cookie transport: the CSRF token of GET /auth/csrf.")},
		}
	}
	if r.action != "" || r.Auth == Account && slices.Contains(r.Faults, fault.ActionTokenInvalid) {
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: "X-Action-Token", In: "header", Schema: text("A confirmation of " + r.act() + ": POST /auth/otp/request/action, then /auth/otp/verify/action."),
		})
	}
	if r.sets {
		op.Responses[statusText(r.Status)] = &huma.Response{
			Description: http.StatusText(r.Status),
			Headers:     map[string]*huma.Header{"Set-Cookie": {Schema: text("Where sessions are in cookies.")}},
		}
	}
}

// act says what a confirmation must be of.
func (r Route) act() string {
	switch {
	case r.action == "":
		return "this act"
	case r.target == "":
		return "the action " + r.action
	}
	return "the action " + r.action + " on the target {" + r.target + "}"
}

// operationID makes post-auth-login of "POST /auth/login".
func operationID(pattern string) string {
	return strings.Trim(strings.NewReplacer(" /", "-", "/", "-", ".", "", "{", "", "}", "").Replace(strings.ToLower(pattern)), "-")
}

// schemaOf names the schema of T in the API description.
func schemaOf[T any](api huma.API) *huma.Schema {
	return api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, "")
}

func statusText(status int) string { return fmt.Sprint(status) }
