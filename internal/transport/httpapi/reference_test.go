package httpapi_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/mail"
	"github.com/authsdk/authsdk/internal/transport/httpapi"
)

var update = flag.Bool("update", false, "rewrite openapi.yaml and docs/reference/{errors,events,api}.md")

// everything is the API with its development routes.
func everything() *httpapi.API {
	return &httpapi.API{Log: dbtest.Log, Service: "auth-service", Mailbox: &mail.Mailbox{}, Browser: browser}
}

func TestGeneratedOpenAPI(t *testing.T) {
	first := must(everything().OpenAPI())(t)
	if again := must(everything().OpenAPI())(t); !bytes.Equal(first, again) {
		t.Fatal("the description is not the same each time")
	}
	generated(t, "openapi.yaml", string(first))
}

func TestGeneratedErrors(t *testing.T) { generated(t, "docs/reference/errors.md", errorReference()) }
func TestGeneratedEvents(t *testing.T) { generated(t, "docs/reference/events.md", eventReference()) }
func TestGeneratedAPI(t *testing.T)    { generated(t, "docs/reference/api.md", apiReference()) }

// generated compares a file of the repository with what it should be, or
// rewrites it.
func generated(t *testing.T, name, want string) {
	t.Helper()
	path := filepath.Join("..", "..", "..", filepath.FromSlash(name))
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s is not what the code says: run `make gen`", name)
	}
}

const emitted = "<!-- Emitted from %s by `make gen`. Do not edit. -->\n\n"

func errorReference() string {
	var b strings.Builder
	fmt.Fprint(&b, "# Errors\n\n")
	fmt.Fprintf(&b, emitted, "internal/foundation/fault/catalogue.go and the route table")
	fmt.Fprint(&b, "Every error has this body, whatever the route:\n\n"+
		"```json\n"+`{"detail": "Some fields are not valid.", "code": "validation_error", "request_id": "0f6b…",`+"\n"+
		` "errors": [{"field": "password", "message": "must be at least 8 characters long"}]}`+"\n```\n\n"+
		"Match on `code`: codes and their statuses do not change, texts may. `errors` is there when fields are at fault; a value that was refused is never repeated. "+
		"`request_id` is also in the header `X-Correlation-ID`, and in the log. `Retry-After` says how many seconds to wait where waiting helps. "+
		"A 401 names the scheme in `WWW-Authenticate`, with `error=\"invalid_token\"` when the access token that was sent is the reason.\n\n"+
		"| code | status | meaning | answered by |\n|---|---|---|---|\n")
	for _, code := range fault.Catalogue {
		fmt.Fprintf(&b, "| `%s` | %d | %s | %s |\n", code.Slug, code.Status, code.Detail, answeredBy(code))
	}
	return b.String()
}

// groups are routes that answer a code for what they have in common.
var groups = []struct {
	name string
	has  func(httpapi.Route) bool
}{
	{"any route", func(httpapi.Route) bool { return true }},
	{"any route with a JSON body", func(r httpapi.Route) bool { return slices.Contains(r.Codes(), fault.UnsupportedMediaType) }},
	{"any route for a signed-in user", func(r httpapi.Route) bool { return securityOf(r) != nil }},
	{"any route for a signed-in user that changes something", func(r httpapi.Route) bool {
		return len(securityOf(r)) == 2 && !strings.HasPrefix(r.Pattern, "GET ")
	}},
}

// answeredBy names the routes that answer a code.
func answeredBy(code fault.Code) string {
	switch code {
	case fault.NotFound:
		return "unknown paths, and those of what is switched off"
	case fault.MethodNotAllowed:
		return "known paths, when the method is not one of those in `Allow`"
	}
	answers := func(r httpapi.Route) bool { return slices.Contains(r.Codes(), code) }
	left := everything().Routes()
	var names []string
	for _, g := range groups {
		if slices.ContainsFunc(left, g.has) && !slices.ContainsFunc(left, func(r httpapi.Route) bool { return g.has(r) && !answers(r) }) {
			names = append(names, g.name)
			left = slices.DeleteFunc(left, g.has)
		}
	}
	for _, r := range left {
		if answers(r) {
			names = append(names, "`"+r.Pattern+"`")
		}
	}
	if len(names) == 0 {
		return "any route, before it is reached"
	}
	return strings.Join(names, ", ")
}

func eventReference() string {
	var b strings.Builder
	fmt.Fprint(&b, "# Events\n\n")
	fmt.Fprintf(&b, emitted, "internal/platform/audit/catalogue.go")
	fmt.Fprint(&b, "What is recorded in the audit log, in the transaction of the change it reports. Each event says when, who did it (`actor`), to whom or what (`target`), "+
		"whether it succeeded and, if not, the error code (`failure_reason`). Webhooks may subscribe to those marked so.\n\n"+
		"| event | meaning | metadata | webhook |\n|---|---|---|---|\n")
	for _, e := range audit.Catalogue {
		var keys []string
		for _, key := range e.Keys {
			keys = append(keys, "`"+key+"`")
		}
		webhook := ""
		if e.Webhook {
			webhook = "yes"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", e.Name, e.Doc, strings.Join(keys, ", "), webhook)
	}
	return b.String()
}

func apiReference() string {
	var b strings.Builder
	fmt.Fprint(&b, "# API\n\n")
	fmt.Fprintf(&b, emitted, "the route table (internal/transport/httpapi/routes.go)")
	fmt.Fprint(&b, "Bodies and fields: [openapi.yaml](../../openapi.yaml). Codes: [errors.md](errors.md). "+
		"Beyond those listed, any route may answer `internal_server_error` and `service_unavailable`.\n")
	var tags []string
	for _, r := range everything().Routes() {
		if !slices.Contains(tags, r.Tag) {
			tags = append(tags, r.Tag)
		}
	}
	for _, tag := range tags {
		fmt.Fprintf(&b, "\n## %s\n\n| route | does | who may call | success | faults |\n|---|---|---|---|---|\n", tag)
		for _, r := range everything().Routes() {
			if r.Tag == tag {
				fmt.Fprintf(&b, "| `%s` | %s | %s | %d | %s |\n", r.Pattern, r.Summary, r.Auth, r.Status, faultsOf(r))
			}
		}
	}
	return b.String()
}

func faultsOf(r httpapi.Route) string {
	var names []string
	for _, code := range r.Codes() {
		if code.Status < 500 {
			names = append(names, "`"+code.Slug+"`")
		}
	}
	return strings.Join(names, ", ")
}
