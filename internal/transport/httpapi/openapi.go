package httpapi

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

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
func (r Route) operation(api huma.API) huma.Operation {
	op := huma.Operation{
		OperationID: operationID(r.Pattern), Method: r.method(), Path: r.path(), Summary: r.Summary,
		Tags: []string{r.Tag}, DefaultStatus: r.Status, Responses: map[string]*huma.Response{},
	}
	if r.hasBody() {
		op.RequestBody = &huma.RequestBody{} // ours, so that it can be made optional later
	}
	if r.Auth == Session {
		op.Security = []map[string][]string{{"bearer": {}}}
	}
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

// operationID makes post-auth-login of "POST /auth/login".
func operationID(pattern string) string {
	return strings.Trim(strings.NewReplacer(" /", "-", "/", "-", ".", "", "{", "", "}", "").Replace(strings.ToLower(pattern)), "-")
}

// schemaOf names the schema of T in the API description.
func schemaOf[T any](api huma.API) *huma.Schema {
	return api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, "")
}

func statusText(status int) string { return fmt.Sprint(status) }
