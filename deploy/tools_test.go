//go:build unix

package deploy

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// deploycheck returns what tools/deploycheck sees in a file of the repository.
func deploycheck(t *testing.T, check string, args ...string) any {
	t.Helper()
	out, err := deploycheckFails(t, check, args...)
	if err != nil {
		t.Fatal(err)
	}
	var seen any
	if err := json.Unmarshal(out, &seen); err != nil {
		t.Fatal(err)
	}
	return seen
}

func deploycheckFails(t *testing.T, check string, args ...string) ([]byte, error) {
	t.Helper()
	return tool(t, "deploycheck", append([]string{check}, args...)...)
}

// tool runs a tool of ../tools on files named from this folder. It is built at
// the first use, which takes a minute; `make check` has done that already.
func tool(t *testing.T, name string, args ...string) ([]byte, error) {
	t.Helper()
	if testing.Short() {
		t.Skip("tools are not built with -short")
	}
	track(t, "../tools")
	command := []string{"-C", "../tools", "tool", name}
	for _, arg := range args {
		if _, err := os.Stat(arg); err == nil {
			track(t, arg)
			if arg, err = filepath.Abs(arg); err != nil {
				t.Fatal(err)
			}
			command = append(command, arg)
			continue
		}
		command = append(command, arg)
	}
	cmd := exec.Command("go", command...)
	// As `make check` builds them, so that nothing is built twice.
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = errors.New(strings.TrimSpace(string(out) + string(exit.Stderr)))
	}
	return out, err
}

// track reads what another process is about to read: go test repeats a cached
// result only while the files are the same that the test itself read.
func track(t *testing.T, path string) {
	t.Helper()
	err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			_, err = os.ReadFile(name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// at follows a path such as spec.ports.0.name; nil is what is not there. A dot
// in a key is written as a colon.
func at(value any, path string) any {
	for key := range strings.SplitSeq(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[strings.ReplaceAll(key, ":", ".")]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(v) {
				return nil
			}
			value = v[i]
		default:
			return nil
		}
	}
	return value
}

// expect compares values by what JSON they are.
func expect(t *testing.T, object any, wants map[string]string) {
	t.Helper()
	for path, want := range wants {
		got, err := json.Marshal(at(object, path))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
}

// settings are the variables of docs/reference/config.md with their types.
func settings(t *testing.T) map[string]string {
	t.Helper()
	types := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z0-9_]+)` \\| (.*?) \\|").FindAllStringSubmatch(read(t, "../docs/reference/config.md"), -1) {
		types[row[1]] = row[2]
	}
	if len(types) < 50 {
		t.Fatalf("docs/reference/config.md lists only %d variables: has its form changed?", len(types))
	}
	return types
}

func isSecret(kind string) bool { return strings.Contains(kind, "secret") }
