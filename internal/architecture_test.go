// Package internal_test holds the tree to docs/architecture.md: who may import
// whom, one SQL text for both engines, one schema in two dialects.
package internal_test

import (
	"go/ast"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// order is the layers, lowest first. A package imports those on earlier lines;
// what stands on one line does not import each other.
var order = []string{
	"foundation/fault foundation/clock foundation/metric foundation/trace foundation/cron", "foundation/secret foundation/cursor", "foundation/db",
	"platform/jobs platform/limit platform/mail platform/lastuse", "platform/revocation", "platform/audit",
	"core/user core/client core/keyring core/webhook", "core/token", "core/session", "core/risk core/stepup",
	"method/*", "flow/*",
	"transport/web", "transport/*", "config", "server",
}

// rank returns the line a package stands on.
func rank(pkg string) (line int, listed bool) {
	for i, packages := range order {
		for pattern := range strings.FieldsSeq(packages) {
			if matches(pattern, pkg) {
				return i, true
			}
		}
	}
	return 0, false
}

func TestImportsGoDownOnly(t *testing.T) {
	unlisted := map[string]bool{}
	for _, s := range program(t) {
		if !strings.HasPrefix(s.folder, "internal/") {
			continue
		}
		line, listed := rank(s.pkg())
		if !listed {
			if !unlisted[s.pkg()] {
				t.Errorf("%s: package %s has no line in order (internal/architecture_test.go): every package has one place among the layers, so decide which", s.path, s.pkg())
			}
			unlisted[s.pkg()] = true
			continue
		}
		for _, imported := range s.imports {
			other, ours := strings.CutPrefix(imported, module+"/internal/")
			if !ours || testSupport(other) {
				continue // TestOnlyTheseImport speaks of test support
			}
			below, listed := rank(other)
			switch {
			case !listed: // reported above, at its own files
			case below > line:
				t.Errorf("%s imports %s, which stands above %s: imports go down only, so move what is needed down, or the caller up", s.path, other, s.pkg())
			case below == line && other != s.pkg():
				t.Errorf("%s imports %s, which stands beside %s (%q): what two share moves down, what composes them moves up", s.path, other, s.pkg(), order[line])
			}
		}
	}
}

// A rule says which packages may import something, and why no other may.
type rule struct {
	imports string // this path and all below it
	by      string // packages, as in order; empty for none
	why     string
	exempt  map[string]string // further packages, each with its reason
}

var rules = []rule{
	{imports: "github.com/jackc/pgx", by: "foundation/db",
		why:    "only db knows the drivers; the rest runs SQL that both engines take, on db.Conn",
		exempt: map[string]string{"platform/jobs": "pgx.Tx is the type parameter of River's PostgreSQL client"}},
	{imports: "modernc.org/sqlite", by: "foundation/db", why: "only db knows the drivers"},
	{imports: "github.com/pressly/goose", by: "foundation/db", why: "db.Migrate holds the lock that goose lacks"},
	{imports: "github.com/redis/rueidis", by: "platform/limit", why: "Redis holds rate-limit counters only: losing it must lose nothing"},
	{imports: "github.com/riverqueue", by: "platform/jobs", why: "no River type leaves jobs, so the queue can be replaced behind it"},
	{imports: "crypto/rand", by: "foundation/secret core/keyring", why: "secrets are made in two places, so that they can be read at one sitting"},
	{imports: "html/template", by: "platform/mail transport/*", why: "nothing below transport writes pages, mail writes messages"},
	{imports: "text/template", by: "platform/mail transport/*", why: "nothing below transport writes pages, mail writes messages"},
	{imports: "net/http", by: "transport/* server cmd/*",
		why: "rules know nothing of HTTP; a transport decodes, calls one package and encodes",
		exempt: map[string]string{
			"core/webhook":      "it calls receivers, with a client handed to it",
			"foundation/fault":  "the catalogue carries the status beside the code, named by http.Status…",
			"foundation/metric": "Prometheus comes with a handler, which server mounts",
			"foundation/trace":  "the caller's span comes in a header of the request",
		}},
	{imports: "code.dny.dev/ssrf", by: "core/webhook", why: "one package calls addresses that are set at run time"},
	{imports: "github.com/prometheus", by: "foundation/metric", why: "one package counts, so that labels never come from input"},
	{imports: "go.opentelemetry.io", by: "foundation/trace", why: "one package knows how spans are made and sent"},
	{imports: module + "/internal/config", by: "server cmd/*", why: "packages take their settings as plain values, server reads the struct"},
	{imports: module + "/internal/server", by: "cmd/*", why: "server is the floor plan: it imports all, so nothing may depend on it"},
	{imports: module + "/internal/foundation/db/dbtest", why: "it is there for tests, and the program must not carry it"},
	{imports: module + "/ui", by: "transport/*", why: "pages are written by transports"},
	{imports: "testing", why: "it is there for tests, and the program must not carry it"},
}

func (r rule) allows(pkg string) bool {
	if _, exempt := r.exempt[pkg]; exempt {
		return true
	}
	return slices.ContainsFunc(strings.Fields(r.by), func(pattern string) bool { return matches(pattern, pkg) })
}

func TestOnlyTheseImport(t *testing.T) {
	used := map[string]bool{}
	for _, s := range program(t) {
		if under(s.folder, "sdk/go/authsdk") {
			continue // TestTheGoSDKImportsTheStandardLibraryOnly
		}
		for _, imported := range s.imports {
			for _, r := range rules {
				if !under(imported, r.imports) {
					continue
				}
				used[r.imports+" "+s.pkg()] = true
				if !r.allows(s.pkg()) {
					t.Errorf("%s imports %s; allowed: %s. %s", s.path, imported, orNobody(r.by), r.why)
				}
			}
		}
	}
	for _, r := range rules {
		for pkg := range r.exempt {
			if !used[r.imports+" "+pkg] {
				t.Errorf("rules exempts %s from %s, which it does not import: delete the exemption", pkg, r.imports)
			}
		}
	}
}

func orNobody(by string) string {
	if by == "" {
		return "tests only"
	}
	return by
}

func TestFaultNamesStatusesAndNoMoreOfHTTP(t *testing.T) {
	for _, s := range program(t) {
		if s.pkg() != "foundation/fault" {
			continue
		}
		for _, use := range uses(s, "net/http") {
			if !strings.HasPrefix(use.Sel.Name, "Status") {
				t.Errorf("%s: http.%s: fault may import net/http for the names of statuses only", place(use), use.Sel.Name)
			}
		}
	}
}

// fromEnvironment are the functions of package os that read or change it.
var fromEnvironment = []string{"Getenv", "LookupEnv", "Environ", "ExpandEnv", "Setenv", "Unsetenv", "Clearenv"}

func TestOnlyConfigAndCommandsReadTheEnvironment(t *testing.T) {
	for _, s := range program(t) {
		if s.pkg() == "config" || matches("cmd/*", s.pkg()) {
			continue
		}
		for _, from := range []string{"os", "syscall"} {
			for _, use := range uses(s, from) {
				if slices.Contains(fromEnvironment, use.Sel.Name) {
					t.Errorf("%s: %s.%s: only config and cmd read the environment, so that docs/reference/config.md lists all that can be set; the rest takes plain values",
						place(use), from, use.Sel.Name)
				}
			}
		}
	}
}

// uses returns the places where a file names something of an imported package.
func uses(s source, imported string) []*ast.SelectorExpr {
	name := filepath.Base(imported)
	for i, spec := range s.syntax.Imports {
		if s.imports[i] == imported && spec.Name != nil {
			name = spec.Name.Name
		}
	}
	if !slices.Contains(s.imports, imported) {
		return nil
	}
	var list []*ast.SelectorExpr
	ast.Inspect(s.syntax, func(n ast.Node) bool {
		if use, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := use.X.(*ast.Ident); ok && x.Name == name {
				list = append(list, use)
			}
		}
		return true
	})
	return list
}

func TestTheGoSDKImportsTheStandardLibraryOnly(t *testing.T) {
	const sdk = "sdk/go/authsdk"
	found := false
	for _, s := range tree(t) {
		if !under(s.folder, sdk) {
			continue
		}
		found = true
		for _, imported := range s.imports {
			host, _, _ := strings.Cut(imported, "/")
			if strings.Contains(host, ".") && !under(imported, module+"/"+sdk) {
				t.Errorf("%s imports %s: who uses the SDK takes on no dependency, so it imports the standard library only", s.path, imported)
			}
		}
	}
	if !found {
		t.Fatalf("no Go file in %s", sdk)
	}
	mod, err := os.ReadFile(filepath.Join(root, sdk, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mod), "require") {
		t.Errorf("%s/go.mod requires a module: who uses the SDK takes on no dependency", sdk)
	}
}
