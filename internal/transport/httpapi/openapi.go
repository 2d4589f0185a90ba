package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/transport/web"
)

// describe starts the API description, with huma's defaults that do not suit us
// switched off: no schema links, no pages from elsewhere, unknown fields pass.
func (a *API) describe(mux *web.Mux) huma.API {
	cfg := huma.DefaultConfig(a.Service, "1")
	cfg.Info.Description = "Authentication for people and services."
	cfg.DocsPath, cfg.OpenAPIPath, cfg.SchemasPath = "", "", ""
	cfg.CreateHooks = nil
	cfg.AllowAdditionalPropertiesByDefault = true
	cfg.Formats = map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat}
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", BearerFormat: "JWT"},
	}
	// huma keeps this hook in a global; every API of this process wants the same.
	huma.NewErrorWithContext = a.explain
	return huma.NewAPI(cfg, humago.NewAdapter(adapterMux{mux}, ""))
}

// jsonFormat refuses bodies that are not UTF-8, which encoding/json would
// change silently.
var jsonFormat = huma.Format{
	Marshal: huma.DefaultJSONFormat.Marshal,
	Unmarshal: func(data []byte, v any) error {
		if !utf8.Valid(data) {
			return fmt.Errorf("not UTF-8")
		}
		return json.Unmarshal(data, v)
	},
}

// adapterMux registers huma's handlers, each with the bearer in its context.
type adapterMux struct{ *web.Mux }

func (m adapterMux) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	m.Handle(pattern, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := context.WithValue(r.Context(), bearerKey{}, bearer(r.Header.Get("Authorization")))
		h(w, r.WithContext(ctx))
	}))
}

// failure is the envelope as huma wants it.
type failure struct {
	web.Envelope
	status int
}

func (f *failure) Error() string             { return f.Code }
func (f *failure) GetStatus() int            { return f.status }
func (f *failure) ContentType(string) string { return "application/json" }

// explain turns what huma found wrong, or what a handler returned, into the
// envelope. huma's details carry the rejected value: only place and message are
// taken over.
func (a *API) explain(ctx huma.Context, status int, message string, errs ...error) huma.StatusError {
	var err error
	switch {
	case status == http.StatusInternalServerError && len(errs) == 1:
		err = errs[0] // from a handler
	case status == http.StatusRequestEntityTooLarge:
		err = fault.New(fault.RequestTooLarge)
	case status == http.StatusUnsupportedMediaType:
		err = fault.New(fault.UnsupportedMediaType)
	case status == http.StatusUnprocessableEntity:
		f := fault.New(fault.ValidationError)
		for _, e := range errs {
			if d, ok := e.(*huma.ErrorDetail); ok {
				f.Fields = append(f.Fields, fault.Field{Field: fieldName(d.Location), Message: d.Message})
			}
		}
		err = f
	case status == http.StatusBadRequest:
		err = fault.New(fault.MalformedRequest)
	default:
		err = fmt.Errorf("%d %s: %v", status, message, errs)
	}
	code, header, body := web.Explain(ctx.Context(), a.Log, err)
	for name, values := range header {
		ctx.SetHeader(name, values[0])
	}
	return &failure{body, code}
}

// fieldName drops where the field was found: "body.email" is email.
func fieldName(location string) string {
	for _, place := range []string{"body.", "query.", "path.", "header."} {
		if name, ok := strings.CutPrefix(location, place); ok {
			return name
		}
	}
	return location
}

// anyFaults are those that any route may answer.
var anyFaults = []fault.Code{fault.InternalServerError, fault.ServiceUnavailable}

// operation is the route in the API description.
func (r Route) operation(api huma.API) huma.Operation {
	op := huma.Operation{
		OperationID: operationID(r.Pattern), Method: r.method(), Path: r.path(), Summary: r.Summary,
		Tags: []string{r.Tag}, DefaultStatus: r.Status, MaxBodyBytes: web.MaxBody,
		Responses: map[string]*huma.Response{}, Metadata: map[string]any{},
	}
	faults := append(slices.Clone(r.Faults), anyFaults...)
	if r.register != nil {
		faults = append(faults, fault.MalformedRequest, fault.ValidationError, fault.RequestTooLarge, fault.UnsupportedMediaType)
	}
	if r.Auth == Session {
		op.Security = []map[string][]string{{"bearer": {}}}
		op.Metadata[sessionOnly] = true
		faults = append(faults, fault.InvalidToken, fault.TokenExpired, fault.SessionExpired)
	}
	byStatus := map[int][]string{}
	for _, f := range faults {
		if !slices.Contains(byStatus[f.Status], f.Slug) {
			byStatus[f.Status] = append(byStatus[f.Status], f.Slug)
		}
	}
	for status, slugs := range byStatus {
		op.Responses[fmt.Sprint(status)] = &huma.Response{
			Description: strings.Join(slugs, ", "),
			Content:     map[string]*huma.MediaType{"application/json": {Schema: schemaOf[web.Envelope](api)}},
		}
	}
	return op
}

// operationID makes post-auth-login of "POST /auth/login".
func operationID(pattern string) string {
	return strings.Trim(strings.NewReplacer(" /", "-", "/", "-", ".", "", "{", "", "}", "").Replace(strings.ToLower(pattern)), "-")
}

// OpenAPI returns the description as YAML, for the file in the repository.
func (a *API) OpenAPI() ([]byte, error) {
	api := a.describe(web.NewMux(a.Log))
	mux := web.NewMux(a.Log)
	for _, r := range a.Routes() {
		a.mount(mux, api, r)
	}
	return api.OpenAPI().YAML()
}
