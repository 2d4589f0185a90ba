package internal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/authsdk/authsdk/internal/foundation/db"
)

// A statement is one SQL text of the program.
type statement struct {
	place    string
	function string // platform/audit.Record
	text     string
}

// A refusal is a query whose text is not known before the program runs.
type refusal struct {
	place, function string
	err             error
}

func (r refusal) String() string { return r.place + ": " + r.err.Error() }

// statements returns every SQL text. It fails the test where a query argument
// cannot be read from the source and unresolvable does not say why.
func statements(t *testing.T) []statement {
	t.Helper()
	all, err := resolveProgram()
	if err != nil {
		t.Fatal(err)
	}
	excused := map[string]bool{}
	for _, r := range all.refused {
		if unresolvable[r.function] != "" {
			excused[r.function] = true
			continue
		}
		t.Errorf("%s: %v: write the text as a constant, or name %q in unresolvable with the reason", r.place, r.err, r.function)
	}
	for function := range unresolvable {
		if !excused[function] {
			t.Errorf("unresolvable names %s, where every text can be read: delete it", function)
		}
	}
	return all.found
}

type resolved struct {
	found   []statement
	refused []refusal
}

var resolveProgram = sync.OnceValues(func() (all resolved, err error) {
	list, err := parseTree()
	if err != nil {
		return all, err
	}
	byFolder := map[string][]*ast.File{}
	for _, s := range ofProgram(list) {
		forUs, err := build.Default.MatchFile(path.Join(root, s.folder), path.Base(s.path)) // not for another system
		if err != nil {
			return all, err
		}
		if forUs && (under(s.folder, "internal") || under(s.folder, "cmd")) {
			byFolder[s.folder] = append(byFolder[s.folder], s.syntax)
		}
	}
	for folder, files := range byFolder {
		c, err := check(folder, files)
		if err != nil {
			return all, err
		}
		c.resolve(&all)
	}
	slices.SortFunc(all.found, func(a, b statement) int { return strings.Compare(a.place, b.place) })
	return all, nil
})

// resolveCode is for the tests of this file.
func resolveCode(t *testing.T, code string) ([]statement, []refusal) {
	t.Helper()
	file, err := parser.ParseFile(positions, "code.go", code, 0)
	if err != nil {
		t.Fatal(err)
	}
	c, err := check("internal/p", []*ast.File{file})
	if err != nil {
		t.Fatal(err)
	}
	var all resolved
	c.resolve(&all)
	return all.found, all.refused
}

// checked is a package with its types.
type checked struct {
	name  string // as rules write it
	files []*ast.File
	info  *types.Info
}

func check(folder string, files []*ast.File) (*checked, error) {
	from, err := exported()
	if err != nil {
		return nil, err
	}
	c := &checked{strings.TrimPrefix(folder, "internal/"), files, &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{},
	}}
	_, err = (&types.Config{Importer: from}).Check(module+"/"+folder, positions, files, c.info)
	return c, err
}

// exported imports packages from what the compiler has already made of them.
var exported = sync.OnceValues(func() (types.Importer, error) {
	arguments := []string{"list", "-export", "-deps", "-json=ImportPath,Export"}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		arguments = append(arguments, "-race") // as this test was built: it is in the cache
	}
	cmd := exec.Command("go", append(arguments, "./internal/...", "./cmd/...")...)
	cmd.Dir = root
	var problem bytes.Buffer
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, &problem)
	}
	files := map[string]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct{ ImportPath, Export string }
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		files[p.ImportPath] = p.Export
	}
	return importer.ForCompiler(positions, "gc", func(path string) (io.ReadCloser, error) {
		if files[path] == "" {
			return nil, fmt.Errorf("%s is not among the dependencies", path)
		}
		return os.Open(files[path])
	}), nil
})

// resolve adds the text of every query in the package.
func (c *checked) resolve(all *resolved) {
	for _, file := range c.files {
		for _, d := range file.Decls {
			function := c.name
			if f, ok := d.(*ast.FuncDecl); ok {
				function += "." + f.Name.Name
			}
			called := map[ast.Node]bool{}
			ast.Inspect(d, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					called[nameIn(call.Fun)] = true
					c.resolveCall(all, function, call)
				}
				if name, ok := n.(*ast.Ident); ok && c.runsQueries(name) && !called[name] {
					all.refused = append(all.refused, refusal{place(name), function,
						fmt.Errorf("%s is passed on as a value, so nobody sees what it will run", name.Name)})
				}
				return true
			})
		}
	}
}

// nameIn is the name of what is called: of c.QueryContext, QueryContext.
func nameIn(fun ast.Expr) ast.Node {
	switch f := ast.Unparen(fun).(type) {
	case *ast.SelectorExpr:
		return f.Sel
	case *ast.IndexExpr:
		return nameIn(f.X)
	case *ast.IndexListExpr:
		return nameIn(f.X)
	default:
		return f
	}
}

// runsQueries reports whether a name is a function that takes a query.
func (c *checked) runsQueries(name *ast.Ident) bool {
	f, ok := c.info.Uses[name].(*types.Func)
	return ok && queryIndex(f.Pkg(), f.Type()) >= 0
}

// queryIndex tells which parameter is the SQL text, -1 if none is. The packages
// are those that run SQL, and ours, where a parameter named query is one.
func queryIndex(in *types.Package, of types.Type) int {
	signature, ok := of.Underlying().(*types.Signature)
	if !ok || in == nil {
		return -1
	}
	if in.Path() != "database/sql" && !under(in.Path(), "github.com/jackc/pgx/v5") && !under(in.Path(), module) {
		return -1
	}
	for i := range signature.Params().Len() {
		p := signature.Params().At(i)
		if (p.Name() == "query" || p.Name() == "sql") && types.Identical(p.Type(), types.Typ[types.String]) {
			return i
		}
	}
	return -1
}

func (c *checked) resolveCall(all *resolved, function string, call *ast.CallExpr) {
	name, ok := nameIn(call.Fun).(*ast.Ident)
	if !ok {
		return
	}
	object := c.info.Uses[name]
	if object == nil {
		return
	}
	i := queryIndex(object.Pkg(), object.Type())
	if i < 0 || i >= len(call.Args) {
		return
	}
	texts, err := c.texts(call.Args[i])
	if err != nil {
		all.refused = append(all.refused, refusal{place(call.Args[i]), function, err})
		return
	}
	for _, text := range texts {
		all.found = append(all.found, statement{place(call.Args[i]), function, text})
	}
}

// texts returns what an expression can be: more than one text where a variable
// is set more than once, none for a parameter that callers fill in.
func (c *checked) texts(e ast.Expr) ([]string, error) {
	if v := c.info.Types[e].Value; v != nil && v.Kind() == constant.String {
		return []string{constant.StringVal(v)}, nil
	}
	switch e := ast.Unparen(e).(type) {
	case *ast.BinaryExpr:
		return c.joined(e)
	case *ast.CallExpr:
		return c.values(e)
	case *ast.Ident:
		return c.variable(e)
	}
	return nil, fmt.Errorf("the text of this query cannot be read from the source")
}

func (c *checked) joined(e *ast.BinaryExpr) ([]string, error) {
	left, err := c.texts(e.X)
	if err != nil {
		return nil, err
	}
	right, err := c.texts(e.Y)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, l := range left {
		for _, r := range right {
			list = append(list, l+r)
		}
	}
	return list, nil
}

// values completes db.Values and db.ValuesAfter with one row.
func (c *checked) values(call *ast.CallExpr) ([]string, error) {
	name, ok := nameIn(call.Fun).(*ast.Ident)
	if !ok {
		return nil, fmt.Errorf("the text of this query cannot be read from the source")
	}
	f, ok := c.info.Uses[name].(*types.Func)
	if !ok {
		return nil, fmt.Errorf("the text of this query cannot be read from the source")
	}
	number := func(i int) int {
		n, known := constant.Int64Val(constant.ToInt(orUnknown(c.info.Types[call.Args[i]].Value)))
		ok = ok && known
		return int(n)
	}
	var text string
	switch f.FullName() {
	case module + "/internal/foundation/db.Values":
		text = db.Values(1, number(1))
	case module + "/internal/foundation/db.ValuesAfter":
		text = db.ValuesAfter(number(0), 1, number(2))
	default:
		return nil, fmt.Errorf("the text of this query comes from %s and cannot be read from the source", name.Name)
	}
	if !ok {
		return nil, fmt.Errorf("the number of columns is not a constant")
	}
	return []string{text}, nil
}

func orUnknown(v constant.Value) constant.Value {
	if v == nil {
		return constant.MakeUnknown()
	}
	return v
}

// variable returns what a local variable is set to.
func (c *checked) variable(name *ast.Ident) (list []string, err error) {
	v, ok := c.info.Uses[name].(*types.Var)
	file := c.fileOf(v)
	if !ok || file == nil {
		return nil, fmt.Errorf("%s is not a local variable that is set to constants only", name.Name)
	}
	if c.isQueryParameter(file, v) {
		return nil, nil // its callers are looked at
	}
	ast.Inspect(file, func(n ast.Node) bool {
		set, ok := n.(*ast.AssignStmt)
		if !ok || err != nil {
			return err == nil
		}
		for i, left := range set.Lhs {
			if !c.is(left, v) {
				continue
			}
			var texts []string
			if len(set.Lhs) != len(set.Rhs) || set.Tok != token.DEFINE && set.Tok != token.ASSIGN {
				err = fmt.Errorf("%s changes in a way that cannot be read from the source", name.Name)
			} else if texts, err = c.texts(set.Rhs[i]); err == nil {
				list = append(list, texts...)
			}
		}
		return err == nil
	})
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%s is never set to a constant, and only a parameter named query is filled in by callers", name.Name)
	}
	return list, err
}

// fileOf returns the file in which v is local, nil if it is not.
func (c *checked) fileOf(v *types.Var) *ast.File {
	if v == nil || v.IsField() || v.Parent() == nil || v.Parent() == v.Pkg().Scope() {
		return nil
	}
	for _, file := range c.files {
		if file.Pos() <= v.Pos() && v.Pos() <= file.End() {
			return file
		}
	}
	return nil
}

func (c *checked) is(e ast.Expr, v *types.Var) bool {
	name, ok := e.(*ast.Ident)
	return ok && (c.info.Defs[name] == v || c.info.Uses[name] == v)
}

// isQueryParameter reports whether v is a parameter that queryIndex knows.
func (c *checked) isQueryParameter(file *ast.File, v *types.Var) (found bool) {
	ast.Inspect(file, func(n ast.Node) bool {
		if f, ok := n.(*ast.FuncDecl); ok {
			signature := c.info.Defs[f.Name].Type().(*types.Signature)
			i := queryIndex(v.Pkg(), signature)
			found = found || i >= 0 && signature.Params().At(i) == v
		}
		return !found
	})
	return found
}

// A literal is a string in the source.
type literal struct {
	place, function, text string
}

func literals(s source) []literal {
	var list []literal
	for _, d := range s.syntax.Decls {
		function := s.pkg()
		if f, ok := d.(*ast.FuncDecl); ok {
			function += "." + f.Name.Name
		}
		ast.Inspect(d, func(n ast.Node) bool {
			if b, ok := n.(*ast.BasicLit); ok && b.Kind == token.STRING {
				if text, err := strconv.Unquote(b.Value); err == nil {
					list = append(list, literal{place(b), function, text})
				}
			}
			return true
		})
	}
	return list
}
