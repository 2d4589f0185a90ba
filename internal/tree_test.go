package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// module is the path of the main module, whose root is one folder up.
const (
	module = "github.com/authsdk/authsdk"
	root   = ".."
)

// A source is one Go file of the tree.
type source struct {
	path    string // from the root: internal/core/user/user.go
	folder  string // internal/core/user
	test    bool
	syntax  *ast.File
	imports []string
}

// pkg is the name of its package as rules write it: core/user, cmd/authd, ui.
func (s source) pkg() string { return strings.TrimPrefix(s.folder, "internal/") }

var positions = token.NewFileSet()

// roots are the folders whose Go files the rules are about. The other modules
// stand outside: they may use what they like.
var roots = []string{"internal", "cmd", "ui", "sdk/go/authsdk"}

var parseTree = sync.OnceValues(func() ([]source, error) {
	var list []source
	for _, folder := range roots {
		err := filepath.WalkDir(filepath.Join(root, folder), func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(name) != ".go" {
				return err
			}
			syntax, err := parser.ParseFile(positions, name, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			s := source{path: fromRoot(name), folder: path.Dir(fromRoot(name)), test: strings.HasSuffix(name, "_test.go"), syntax: syntax}
			for _, i := range syntax.Imports {
				imported, err := strconv.Unquote(i.Path.Value)
				if err != nil {
					return err
				}
				s.imports = append(s.imports, imported)
			}
			list = append(list, s)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return list, nil
})

// tree returns every Go file of the roots.
func tree(t *testing.T) []source {
	t.Helper()
	list, err := parseTree()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 100 {
		t.Fatalf("only %d Go files were found: is the tree where the tests look?", len(list))
	}
	return list
}

// program is tree without tests and what only tests use.
func program(t *testing.T) []source {
	t.Helper()
	return ofProgram(tree(t))
}

func ofProgram(list []source) []source {
	return slices.DeleteFunc(slices.Clone(list), func(s source) bool { return s.test || testSupport(s.pkg()) })
}

// testSupport reports whether a package is there for tests only.
func testSupport(pkg string) bool {
	const folder = "foundation/db/dbtest"
	return pkg == folder || strings.HasPrefix(pkg, folder+"/")
}

func fromRoot(name string) string { return strings.TrimPrefix(filepath.ToSlash(name), root+"/") }

// place is file:line of a node, from the root.
func place(n ast.Node) string {
	p := positions.Position(n.Pos())
	return fromRoot(p.Filename) + ":" + strconv.Itoa(p.Line)
}

// matches reports whether a package is what a rule names: core/user, or
// transport/* for every package in that folder.
func matches(pattern, pkg string) bool {
	folder, all := strings.CutSuffix(pattern, "/*")
	if !all {
		return pattern == pkg
	}
	return path.Dir(pkg) == folder
}

// under reports whether an import path is the prefix or lies below it.
func under(imported, prefix string) bool {
	return imported == prefix || strings.HasPrefix(imported, prefix+"/")
}
