package internal_test

import (
	"bytes"
	"errors"
	"go/ast"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestEveryPackageHasOneComment(t *testing.T) {
	comments, names := map[string][]string{}, map[string]string{}
	hasProgram := map[string]bool{}
	for _, s := range tree(t) {
		if !s.test {
			hasProgram[s.folder] = true
			names[s.folder] = s.syntax.Name.Name
		}
	}
	for _, s := range tree(t) {
		if s.test && hasProgram[s.folder] {
			continue // the package's comment is not in its tests
		}
		if names[s.folder] == "" {
			names[s.folder] = s.syntax.Name.Name
		}
		if s.syntax.Doc == nil {
			continue
		}
		comments[s.folder] = append(comments[s.folder], s.path)
		opening := "Package " + s.syntax.Name.Name + " "
		if s.syntax.Name.Name == "main" {
			opening = "Command " + filepath.Base(s.folder) + " "
		}
		if !strings.HasPrefix(s.syntax.Doc.Text(), opening) {
			t.Errorf("%s: the package comment does not begin with %q: go doc and readers expect that", s.path, opening)
		}
	}
	for folder := range names {
		switch files := comments[folder]; len(files) {
		case 1:
		case 0:
			t.Errorf("%s: no file has a package comment: it is the first thing a newcomer reads", folder)
		default:
			t.Errorf("%s: %s all have a package comment: go doc joins them in no useful order", folder, strings.Join(files, ", "))
		}
	}
}

// vague names say nothing about what is inside, so everything ends up there.
var vague = []string{"util", "utils", "common", "model", "models", "type", "types", "helper", "helpers", "manager", "managers", "misc", "shared"}

func TestPackagesAreNamedAfterASubject(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range tree(t) {
		name := strings.TrimSuffix(s.syntax.Name.Name, "_test")
		if slices.Contains(vague, name) && !seen[s.folder] {
			t.Errorf("%s: package %s: a name that fits everything gathers everything; name the subject", s.path, name)
		}
		seen[s.folder] = true
	}
}

func TestNothingRunsAtImport(t *testing.T) {
	for _, s := range tree(t) {
		for _, d := range s.syntax.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: func init: what runs at import cannot fail, be configured or be tested; build it in server", place(f))
			}
		}
	}
}

const (
	mostLines = 520 // the aim is 500
	leastSize = 100 // files; fewer means that the test looks in the wrong place
)

// written are the endings of what people write and read. Tables and texts may
// be as long as they need to be.
var written = []string{".go", ".sql", ".lua", ".html", ".css", ".js", ".mjs", ".ts", ".py", ".sh"}

// notOurs are folders without anything that we wrote by hand.
var notOurs = map[string]string{
	".git":                 "not source",
	"bin":                  "built",
	"node_modules":         "downloaded",
	"dist":                 "built",
	"ui/static/swagger-ui": "vendored as published",
}

func TestFilesFitInAHead(t *testing.T) {
	looked := 0
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // an editor's file that was just there
		}
		if err != nil {
			return err
		}
		if entry.IsDir() {
			_, byPath := notOurs[fromRoot(name)]
			_, byName := notOurs[entry.Name()]
			if byPath || byName {
				return filepath.SkipDir
			}
			return nil
		}
		if !slices.Contains(written, filepath.Ext(name)) {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		looked++
		if lines := bytes.Count(text, []byte("\n")); lines > mostLines {
			t.Errorf("%s has %d lines, more than %d: a file is one subject, so split it along its parts", fromRoot(name), lines, mostLines)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if looked < leastSize {
		t.Fatalf("only %d files were looked at", looked)
	}
}
