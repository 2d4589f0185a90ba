package httpapi_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/transport/httpapi"
	"github.com/authsdk/authsdk/internal/transport/web"
)

// operation is a route as the description has it.
type operation struct {
	Summary     string
	Tags        []string
	OperationID string
	Security    []map[string][]string
	Parameters  []struct {
		Name, In string
		Schema   struct{ Description string }
	}
	RequestBody *struct {
		Required bool
		Content  map[string]struct{ Schema struct{ Ref string } }
	}
	Responses map[string]struct{ Description string }
}

type description struct {
	Paths      map[string]map[string]operation
	Components struct {
		Schemas map[string]struct{ Properties map[string]any }
	}
}

func (s *service) description(t *testing.T) description {
	t.Helper()
	var d description
	body := strings.ReplaceAll(s.get("/openapi.json").body, `"$ref"`, `"ref"`)
	if err := json.Unmarshal([]byte(body), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d description) of(r httpapi.Route) operation {
	method, path, _ := strings.Cut(r.Pattern, " ")
	return d.Paths[path][strings.ToLower(method)]
}

// fields are what the route takes in its body.
func (d description) fields(o operation) []string {
	if o.RequestBody == nil {
		return nil
	}
	ref := o.RequestBody.Content["application/json"].Schema.Ref
	var names []string
	for name := range d.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")].Properties {
		names = append(names, name)
	}
	return slices.Sorted(slices.Values(names))
}

func TestEveryRouteIsDescribed(t *testing.T) {
	s, _ := build(t, dbtest.SQLite(t))
	d := s.description(t)
	sentence := regexp.MustCompile(`^[A-Z].*[^.]$`)
	ids := map[string]bool{}
	described := 0
	for _, path := range d.Paths {
		described += len(path)
	}
	if routes := s.Routes(); described != len(routes) {
		t.Errorf("%d routes, %d of them described", len(routes), described)
	}
	for _, r := range s.Routes() {
		t.Run(strings.ReplaceAll(r.Pattern, "/", "|"), func(t *testing.T) {
			o := d.of(r)
			if !sentence.MatchString(o.Summary) {
				t.Errorf("the summary is not a sentence without its stop: %q", o.Summary)
			}
			if len(o.Tags) != 1 || o.Tags[0] == "" || o.OperationID == "" || ids[o.OperationID] {
				t.Errorf("tags %q, id %q", o.Tags, o.OperationID)
			}
			ids[o.OperationID] = true
			if success := o.Responses[strconv.Itoa(r.Status)]; success.Description != http.StatusText(r.Status) {
				t.Errorf("success %d is described as %q", r.Status, success.Description)
			}
			for _, code := range r.Codes() {
				slugs := strings.Split(o.Responses[strconv.Itoa(code.Status)].Description, ", ")
				if !slices.Contains(slugs, code.Slug) {
					t.Errorf("%d names %q, not %s", code.Status, slugs, code.Slug)
				}
			}
			if diff := cmp.Diff(securityOf(r), o.Security); diff != "" {
				t.Errorf("%s: security (-want +got):\n%s", r.Auth, diff)
			}
			if o.RequestBody != nil && len(d.fields(o)) == 0 {
				t.Error("the body has no fields")
			}
		})
	}
}

// securityOf is what lets somebody call a route: one of the entries.
func securityOf(r httpapi.Route) []map[string][]string {
	type needs = map[string][]string
	cookie := needs{"cookie": {}, "csrf": {}}
	if strings.HasPrefix(r.Pattern, "GET ") {
		cookie = needs{"cookie": {}}
	}
	switch r.Auth {
	case httpapi.Machine:
		return []needs{{"bearer": {}}}
	case httpapi.Session, httpapi.Account:
		return []needs{{"bearer": {}}, cookie}
	case httpapi.Admin:
		return []needs{{"bearer": {}}, cookie, {"bootstrap": {}}}
	}
	return nil
}

// at is a request to a route, with an id that nothing has where its path names
// one.
func at(r httpapi.Route, body string, headers ...string) *http.Request {
	method, path, _ := strings.Cut(r.Pattern, " ")
	return request(method, parameter.ReplaceAllString(path, "01890000-0000-7000-8000-000000000000"), body, headers...)
}

var parameter = regexp.MustCompile(`\{[^}]*\}`)

// exempt answers may be cached; all others are for nobody but the caller.
var exempt = []string{"GET /.well-known/jwks.json", "GET /.well-known/audit-keys.json"}

func TestEveryRouteIsLimitedAndBoundToItsHostsUnlessMachinesNeedItOtherwise(t *testing.T) {
	free := map[string]bool{"GET /health/live": true, "GET /health/ready": true}
	anyHost := map[string]bool{
		"GET /health/live": true, "GET /health/ready": true, "GET /.well-known/jwks.json": true, "GET /auth/validate": true, "POST /auth/otp/consume/action": true,
		"POST /auth/introspect": true, "GET /.well-known/audit-keys.json": true,
	}
	s, _ := build(t, dbtest.SQLite(t))
	for _, r := range s.Routes() {
		if got := r.Policy.Class == web.Free; got != free[r.Pattern] {
			t.Errorf("%s: without limits: %v", r.Pattern, got)
		}
		if r.Policy.AnyHost != anyHost[r.Pattern] {
			t.Errorf("%s: any host: %v", r.Pattern, r.Policy.AnyHost)
		}
	}
}

func TestEveryRouteKeepsToItsDescription(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, _ := build(t, d)
		description := s.description(t)
		for _, r := range s.Routes() {
			t.Run(strings.ReplaceAll(r.Pattern, "/", "|"), func(t *testing.T) {
				o := description.of(r)
				for _, in := range malformed(r, description.fields(o), o) {
					got := s.send(in.request)
					keeps(t, in.name, r, got)
				}
			})
		}
	})
}

// keeps checks an answer against what the route declares.
func keeps(t *testing.T, name string, r httpapi.Route, got reply) {
	t.Helper()
	if cached := slices.Contains(exempt, r.Pattern); !cached && got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: Cache-Control: %q", name, got.header.Get("Cache-Control"))
	}
	if strings.Contains(got.body, canary) {
		t.Errorf("%s: what was sent comes back: %s", name, got.body)
	}
	if got.header.Get("X-Correlation-ID") == "" || got.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%s: headers %v", name, got.header)
	}
	if got.status == r.Status {
		return
	}
	var body struct {
		Detail    string
		Code      string
		RequestID string `json:"request_id"`
		Errors    []fault.Field
	}
	if err := json.Unmarshal([]byte(got.body), &body); err != nil || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("%s: %d %s: %s", name, got.status, got.header.Get("Content-Type"), got.body)
		return
	}
	declared := slices.ContainsFunc(r.Codes(), func(c fault.Code) bool {
		return c.Slug == body.Code && c.Status == got.status && c.Detail == body.Detail
	})
	if !declared || got.status >= 500 || body.RequestID != got.header.Get("X-Correlation-ID") {
		t.Errorf("%s: %d %s", name, got.status, got.body)
	}
	if (body.Code == fault.ValidationError.Slug) != (len(body.Errors) > 0) {
		t.Errorf("%s: no field is named, or one too many: %s", name, got.body)
	}
	for _, f := range body.Errors {
		if f.Field == "" || !regexp.MustCompile(`^(must|is) [a-z]`).MatchString(f.Message) {
			t.Errorf("%s: not for people: %+v", name, f)
		}
	}
}

// canary is a value that no answer may repeat.
const canary = "s3cret-canary"

type input struct {
	name    string
	request *http.Request
}

// malformed is what goes wrong with requests to a route: as body, in its
// fields, in its parameters, in headers.
func malformed(r httpapi.Route, fields []string, o operation) []input {
	path := at(r, "").URL.Path
	var list []input
	add := func(name, target, body string, headers ...string) {
		list = append(list, input{name, request(at(r, "").Method, target, body, headers...)})
	}
	for _, body := range []string{
		"", " ", "null", "true", "[]", "{}", "{", `"` + canary + `"`, "12", "\x00", "\xff\xfe", "{}{}", "[1e999]", `{"a":"\ud800"}`,
		`{"` + canary + `":1}`, `{` + canary, strings.Repeat("[", 60<<10), strings.Repeat(`{"a":`, 12<<10), strings.Repeat("9", 60<<10),
	} {
		add("the body "+short(body), path, body)
	}
	if len(fields) > 0 {
		for _, value := range []string{
			"null", "true", "1", "-0.5", "1e400", strings.Repeat("9", 400), "[]", "{}", `""`, `" "`, `"\u0000"`, `"` + canary + `\u0000"`,
			`"\ud800"`, `"` + canary + `"`, `"` + strings.Repeat(canary, 1000) + `"`, `["` + canary + `"]`, `{"` + canary + `":1}`,
			`"` + canary + ` \" <b> ' ; -- %00 ../ é 漢 😀"`,
		} {
			add("fields that are "+short(value), path, object(fields, value))
		}
		add("a field twice, once in capitals", path, `{"`+fields[0]+`":"`+canary+`@example.com","`+strings.ToUpper(fields[0])+`":1}`)
	}
	for _, p := range o.Parameters {
		if p.In == "header" {
			continue // below
		}
		for _, value := range []string{"", "%00", "%ff", canary, strings.Repeat(canary, 200), "%zz", "a&" + p.Name + "=b", "<b>"} {
			add(p.Name+" is "+short(value), path+"?"+p.Name+"="+value, "")
		}
	}
	for _, header := range []string{"Authorization", "X-Correlation-ID", "Accept", "User-Agent", "If-None-Match", "Content-Type", "Cookie", "X-Action-Token", transportHeader, csrfHeader} {
		for _, value := range []string{"", ",", ";", canary + "\x00", "\xff\xfe", "json", "Bearer " + canary, "Bearer a.b.c", "*/*;q=9", strings.Repeat("a", 9000)} {
			add(header+": "+short(value), path, object(fields, `"`+canary+`"`), header, value)
		}
	}
	return list
}

func object(fields []string, value string) string {
	var parts []string
	for _, f := range fields {
		parts = append(parts, `"`+f+`":`+value)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func short(s string) string {
	if len(s) > 40 {
		return strconv.Quote(s[:40]) + "…"
	}
	return strconv.Quote(s)
}

func TestEveryRouteForUsersNeedsOne(t *testing.T) {
	s, _ := build(t, dbtest.SQLite(t))
	for _, r := range s.Routes() {
		if !slices.Contains([]httpapi.Auth{httpapi.Machine, httpapi.Session, httpapi.Account}, r.Auth) {
			continue
		}
		if got := s.send(at(r, "{}")); got.status != 401 && got.status != 422 { // what is malformed is told to anybody
			t.Errorf("%s: %d without a token", r.Pattern, got.status)
		}
	}
}

func TestEveryBodyIsBounded(t *testing.T) {
	s, _ := build(t, dbtest.SQLite(t))
	description := s.description(t)
	const most = 64 << 10
	for _, r := range s.Routes() {
		o := description.of(r)
		if o.RequestBody == nil {
			continue
		}
		t.Run(strings.ReplaceAll(r.Pattern, "/", "|"), func(t *testing.T) {
			if o.RequestBody.Required {
				s.send(at(r, "")).refused(t, fault.MalformedRequest)
			}
			s.send(at(r, strings.Repeat(" ", most-1)+"{")).refused(t, fault.MalformedRequest)
			s.send(at(r, strings.Repeat(" ", most)+"{")).refused(t, fault.RequestTooLarge)
			chunked := at(r, strings.Repeat("a", most+1))
			chunked.ContentLength = -1
			s.send(chunked).refused(t, fault.RequestTooLarge)
		})
	}
}

func TestEveryBodyIsJSON(t *testing.T) {
	s, _ := build(t, dbtest.SQLite(t))
	description := s.description(t)
	for _, r := range s.Routes() {
		if description.of(r).RequestBody == nil {
			continue
		}
		t.Run(strings.ReplaceAll(r.Pattern, "/", "|"), func(t *testing.T) {
			for _, kind := range []string{"application/x-www-form-urlencoded", "multipart/form-data; boundary=x"} {
				if r.Pattern == "POST /auth/token" && strings.HasSuffix(kind, "urlencoded") {
					continue // client credentials
				}
				s.send(at(r, "[]", "Content-Type", kind)).refused(t, fault.UnsupportedMediaType)
			}
			for _, kind := range []string{"application/json", "Application/JSON; charset=utf-8", "application/ld+json", ""} {
				if got := s.send(at(r, "[]", "Content-Type", kind)); got.status != 422 {
					t.Errorf("%q: %d %s", kind, got.status, got.body)
				}
			}
			for _, kind := range []string{"text/plain", "application/xml", "json5", "a+b;c"} {
				got := s.send(at(r, "[]", "Content-Type", kind))
				if any := r.Pattern == "POST /auth/token"; any && got.status != 422 || !any && got.status != 415 {
					t.Errorf("%q: %d %s", kind, got.status, got.body)
				}
			}
		})
	}
}

func TestHEADIsGETWithoutTheBody(t *testing.T) {
	s, _ := build(t, dbtest.SQLite(t))
	srv := s.served(t)
	for _, r := range s.Routes() {
		path := at(r, "").URL.Path
		if !strings.HasPrefix(r.Pattern, "GET ") {
			continue
		}
		ask := func(method string) *http.Response {
			req := must(http.NewRequest(method, srv.URL+path, nil))(t)
			answer := must(http.DefaultClient.Do(req))(t)
			answer.Body.Close()
			return answer
		}
		head, get := ask("HEAD"), ask("GET")
		if head.StatusCode != get.StatusCode || head.Header.Get("Content-Type") != get.Header.Get("Content-Type") {
			t.Errorf("%s: HEAD %d %v, GET %d %v", path, head.StatusCode, head.Header, get.StatusCode, get.Header)
		}
	}
}
