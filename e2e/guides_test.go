package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/e2e/program"
)

// TestGuides runs the ```console blocks of every guide as one session each: the
// lines after "$ " are typed, the others must be what comes out. … stands for
// what differs.
func TestGuides(t *testing.T) {
	guides, err := filepath.Glob("../docs/guides/*.md")
	if err != nil || len(guides) == 0 {
		t.Fatalf("no guides: %v", err)
	}
	for _, guide := range guides {
		steps := consoleSteps(t, guide)
		if len(steps) == 0 {
			continue
		}
		t.Run(filepath.Base(guide), func(t *testing.T) {
			t.Parallel()
			v := sqliteStore(t).serve(t, private)
			out := typeIn(t, v, steps)
			for i, s := range steps {
				if !matches(s.want, out[i]) {
					t.Errorf("$ %s\nprints:\n%s\nthe guide says:\n%s", s.command, out[i], s.want)
				}
			}
		})
	}
}

type step struct{ command, want string }

var consoleBlock = regexp.MustCompile("(?ms)^```console\n(.*?)^```")

func consoleSteps(t *testing.T, guide string) (steps []step) {
	t.Helper()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range consoleBlock.FindAllStringSubmatch(string(text), -1) {
		for line := range strings.Lines(block[1]) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				steps = append(steps, step{command: strings.TrimSpace(command)})
			} else if len(steps) > 0 {
				steps[len(steps)-1].want += line
			}
		}
	}
	return steps
}

// typeIn runs the commands in one shell, so that variables last, with authd on
// the path and the guide's address replaced by the server's.
func typeIn(t *testing.T, v *server, steps []step) []string {
	t.Helper()
	bin := t.TempDir()
	if err := os.Symlink(authdPath, filepath.Join(bin, "authd")); err != nil {
		t.Fatal(err)
	}
	const mark = "=====next====="
	var script strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&script, "%s\necho; echo %s\n", strings.ReplaceAll(s.command, "http://localhost:8000", v.Base), mark)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-c", script.String())
	shell.Dir = t.TempDir()
	database := filepath.Join(v.dir, "authd-data", "authd.db")
	if strings.HasSuffix(t.Name(), "passwords.md") { // it migrates and imports, beside no server
		database = filepath.Join(shell.Dir, "authd.db")
	}
	shell.Env = append(program.Minimal(private, "DATABASE__URL=sqlite://"+database), "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := shell.CombinedOutput()
	if err != nil && ctx.Err() != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	parts := strings.Split(string(out), mark)
	if len(parts) != len(steps)+1 {
		t.Fatalf("%d commands, %d answers:\n%s", len(steps), len(parts)-1, out)
	}
	return parts[:len(steps)]
}

// matches compares line by line; white space folds, … is anything within a
// line, and a line of … alone is any lines.
func matches(want, got string) bool {
	fold := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	var pattern strings.Builder
	pattern.WriteString("^")
	for line := range strings.Lines(strings.TrimSpace(want)) {
		line = fold(line)
		if line == "…" {
			pattern.WriteString(`(?s:.*)`)
			continue
		}
		pattern.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*") + `\s*`)
	}
	var lines []string
	for line := range strings.Lines(strings.TrimSpace(got)) {
		lines = append(lines, fold(line))
	}
	ok, err := regexp.MatchString(pattern.String()+"$", strings.Join(lines, "\n"))
	return err == nil && ok
}
