package config

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/reference/config.md and .env-sample")

func TestGeneratedFilesAreCurrent(t *testing.T) {
	root := filepath.Join("..", "..")
	for name, want := range map[string][]byte{
		filepath.Join("docs", "reference", "config.md"): Reference(),
		".env-sample": Sample(),
	} {
		path := filepath.Join(root, name)
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the struct says: run `go test ./internal/config -update`", name)
		}
	}
}

func TestTheSampleIsTheDefaults(t *testing.T) {
	lines := regexp.MustCompile(`(?m)^#([A-Z0-9_]+=)`)
	c := mustLoad(t, nil, map[string]string{".env": lines.ReplaceAllString(string(Sample()), "$1")})
	defaults := mustLoad(t, nil, nil).Show()
	for i, line := range c.Show() {
		if line.Value != defaults[i].Value {
			t.Errorf("%s is %q in the sample, %q by default", line.Name, line.Value, defaults[i].Value)
		}
		if !strings.Contains(string(Sample()), "\n#"+line.Name+"=") {
			t.Errorf("%s is missing from the sample", line.Name)
		}
	}
}

func TestEverySettingIsWellDescribed(t *testing.T) {
	seen := map[string]bool{}
	for i, s := range settings(&Config{}) {
		if i == 0 && s.name != "APP__ENVIRONMENT" {
			t.Error("APP__ENVIRONMENT must come first: other defaults depend on it")
		}
		if seen[s.name] || strings.HasSuffix(s.name, "__") {
			t.Errorf("%q is listed twice or has no name", s.name)
		}
		seen[s.name] = true
		if !strings.HasSuffix(s.tag.Get("doc"), ".") {
			t.Errorf("%s: doc must be a sentence", s.name)
		}
		if format, ok := s.tag.Lookup("format"); ok && formats[format].ok == nil {
			t.Errorf("%s: no format %q", s.name, format)
		}
	}
}
