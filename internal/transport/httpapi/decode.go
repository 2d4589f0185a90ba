package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/transport/web"
)

const jsonType = "application/json"

// decoded is a route whose input and output huma decodes, checks and encodes.
// The input is checked before the caller: a malformed body is told to anybody.
func decoded[I, O any](pattern, summary string, status int, faults []fault.Code, act func(context.Context, *I) (*O, error)) Route {
	r := Route{Pattern: pattern, Summary: summary, Faults: faults, Status: status}
	if t := reflect.TypeFor[I](); t.NumField() > 0 {
		r.input = t
	}
	r.bind = func(a *API, api huma.API, r Route) web.Handler {
		op := r.operation(a, api)
		if r.content != "" {
			op.Responses[statusText(r.Status)] = &huma.Response{
				Description: http.StatusText(r.Status), Content: map[string]*huma.MediaType{r.content: {Schema: &huma.Schema{Type: huma.TypeString}}},
			}
		}
		huma.Register(api, op, func(ctx context.Context, in *I) (_ *O, err error) {
			if fields := notText(reflect.ValueOf(in).Elem(), "", nil); len(fields) > 0 {
				return nil, a.failure(ctx, &fault.Fault{Code: fault.ValidationError, Fields: fields})
			}
			if r.Auth.user() {
				if ctx, err = a.authenticate(ctx, r); err != nil {
					return nil, a.failure(ctx, err)
				}
			}
			out, err := act(ctx, in)
			if err != nil {
				return nil, a.failure(ctx, err)
			}
			return out, nil
		})
		if r.optional {
			op.RequestBody.Required = false
		}
		return r.serve(a, &op, api.Adapter().(handlers)[r.Pattern])
	}
	return r
}

// handlers is the huma.Adapter: it keeps what huma makes of each operation, for
// the routes to serve.
type handlers map[string]func(huma.Context)

func (h handlers) Handle(op *huma.Operation, serve func(huma.Context)) {
	h[op.Method+" "+op.Path] = serve
}
func (h handlers) ServeHTTP(http.ResponseWriter, *http.Request) {}

// serve reads the body, within our limits, and lets huma do the rest.
func (r Route) serve(a *API, op *huma.Operation, serve func(huma.Context)) web.Handler {
	return func(w http.ResponseWriter, req *http.Request) error {
		kind := req.Header.Get("Content-Type")
		if r.form != nil {
			if isForm(kind) {
				return r.form(w, req)
			}
			kind = jsonType
		}
		if r.swift != nil && kind == jsonType {
			body, err := readBody(req)
			if err != nil {
				return err
			}
			if done, err := r.swift(w, req, body); done || err != nil {
				return err
			}
			req.Body = io.NopCloser(bytes.NewReader(body))
		}
		req = req.WithContext(a.withCaller(w, req))
		if r.cookie != nil && callerOf(req.Context()).cookie {
			return r.cookie(w, req)
		}
		var body []byte
		if r.hasBody() {
			var err error
			if body, err = readBody(req); err != nil {
				return err
			}
			if r.optional && string(body) == "null" {
				body = nil
			}
		}
		ctx := humago.NewContext(op, req, w)
		serve(exchange{ctx, kind, bytes.NewReader(body)})
		return nil
	}
}

// exchange is a request as huma sees it: its body is read, and the answer is
// JSON whatever the client would like.
type exchange struct {
	humaContext
	contentType string
	body        io.Reader
}

type humaContext = huma.Context // embedded under its own name it would hide its method Context

func (e exchange) BodyReader() io.Reader           { return e.body }
func (e exchange) SetReadDeadline(time.Time) error { return nil }

func (e exchange) Header(name string) string {
	switch name {
	case "Content-Type":
		return e.contentType
	case "Accept":
		return jsonType
	}
	return e.humaContext.Header(name)
}

// AppendHeader sets a header of a refusal: the edge may have set another value.
func (e exchange) AppendHeader(name, value string) { e.SetHeader(name, value) }

// readBody reads a body, without the white space around it.
func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, web.BodyFault(err)
	}
	return bytes.TrimSpace(body), nil
}

// isForm reports whether a content type is one of a form.
func isForm(contentType string) bool {
	kind, _, _ := mime.ParseMediaType(contentType)
	return kind == "application/x-www-form-urlencoded" || kind == "multipart/form-data"
}

// jsonFormat reads and writes JSON: it refuses bodies that are not UTF-8, which
// encoding/json would change silently, and keeps numbers of any size as they
// are until they are checked.
var jsonFormat = huma.Format{
	Marshal: web.EncodeJSON,
	Unmarshal: func(data []byte, v any) error {
		if !utf8.Valid(data) {
			return fmt.Errorf("not UTF-8")
		}
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.UseNumber()
		if err := dec.Decode(v); err != nil {
			return err
		}
		if _, err := dec.Token(); err != io.EOF {
			return fmt.Errorf("more than one value")
		}
		return nil
	},
}

// notText names the strings in an input that PostgreSQL cannot store: with a
// NUL, or not UTF-8.
func notText(v reflect.Value, at string, found []fault.Field) []fault.Field {
	switch v.Kind() {
	case reflect.String:
		if !web.IsText(v.String()) {
			found = append(found, fault.Field{Field: at, Message: "must be text"})
		}
	case reflect.Pointer:
		if !v.IsNil() {
			found = notText(v.Elem(), at, found)
		}
	case reflect.Slice:
		for i := range v.Len() {
			found = notText(v.Index(i), fmt.Sprintf("%s[%d]", at, i), found)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				found = notText(v.Field(i), join(at, nameOf(f)), found)
			}
		}
	}
	return found
}

// nameOf is what clients call a field: nothing for the body itself.
func nameOf(f reflect.StructField) string {
	for _, tag := range []string{"json", "query", "path", "header"} {
		if name, _, _ := strings.Cut(f.Tag.Get(tag), ","); name != "" {
			return name
		}
	}
	return ""
}

func join(at, name string) string {
	if at == "" || name == "" {
		return at + name
	}
	return at + "." + name
}
