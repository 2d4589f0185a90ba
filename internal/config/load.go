package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/joho/godotenv"
)

// Problems is everything that is wrong with the settings.
type Problems struct {
	// Sentences each name a variable and say how to mend it. They never hold
	// a value.
	Sentences []string

	unread map[string]bool // variables whose value could not be read
}

func (p *Problems) Error() string {
	plural := "s"
	if len(p.Sentences) == 1 {
		plural = ""
	}
	return fmt.Sprintf("the configuration has %d problem%s:\n  - %s", len(p.Sentences), plural, strings.Join(p.Sentences, "\n  - "))
}

// unreadable adds a problem with the value of a variable itself; rules then
// stay silent about that variable.
func (p *Problems) unreadable(name, sentence string) {
	p.Sentences = append(p.Sentences, sentence)
	p.unread[name] = true
}

// add adds a broken rule about a variable.
func (p *Problems) add(name, format string, args ...any) {
	if !p.unread[name] {
		p.Sentences = append(p.Sentences, name+" "+fmt.Sprintf(format, args...))
	}
}

// Where a value came from, strongest first.
const (
	fromEnv     = "env"
	fromDotEnv  = ".env"
	fromFile    = "file"
	fromDefault = "default"
)

// given is a variable that somebody set.
type given struct{ text, source string }

// Load reads the settings from environ (as os.Environ gives it), then from
// dir/.env, then from the defaults. A blank variable counts as not set, and
// unknown ones are ignored. The error is a *Problems with everything that is
// wrong; the Config is returned beside it, for `authd config show`.
func Load(environ []string, dir string) (*Config, error) {
	return LoadFile(environ, dir, filepath.Join(dir, ".env"))
}

// LoadFile is Load with another file than dir/.env.
func LoadFile(environ []string, dir, path string) (*Config, error) {
	c := &Config{sources: map[string]string{}}
	p := &Problems{unread: map[string]bool{}}
	vars := map[string]given{}
	for _, source := range []struct {
		name string
		vars map[string]string
	}{
		{fromDotEnv, readDotEnv(path, p)},
		{fromEnv, readEnviron(environ)},
	} {
		expandSections(source.vars, p)
		for name, text := range source.vars {
			vars[name] = given{text, source.name}
		}
	}

	development := true
	for _, s := range settings(c) {
		if wrong := s.set(s.defaultFor(development)); wrong != nil {
			panic("config: default of " + s.name + " " + wrong[0])
		}
		c.sources[s.name] = fromDefault
		if text, source := find(s, vars, dir, p); text != "" {
			c.sources[s.name] = source
			for _, wrong := range s.set(text) {
				p.unreadable(s.name, s.name+" "+wrong)
			}
		}
		if s.name == "APP__ENVIRONMENT" { // the first; other defaults depend on it
			development = c.Development() && !p.unread[s.name]
		}
	}
	if p.unread["APP__ENVIRONMENT"] {
		c.App.Environment = "production" // the safe reading of a misspelt one
	}
	c.normalise()
	c.validate(p)
	c.warn(vars)
	if len(p.Sentences) > 0 {
		return c, p
	}
	return c, nil
}

// find returns what was set for s, or "" if nothing was.
func find(s setting, vars map[string]given, dir string, p *Problems) (text, source string) {
	v := vars[s.name]
	if strings.TrimSpace(v.text) == "" {
		v = given{}
	}
	fileVar := s.name + "_FILE"
	path := strings.TrimSpace(vars[fileVar].text)
	if !s.fromFile() || path == "" {
		return v.text, v.source
	}
	if v.text != "" {
		p.unreadable(s.name, s.name+" and "+fileVar+" are both set: keep one of them.")
		return "", ""
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		p.unreadable(s.name, fmt.Sprintf("%s names a file that cannot be read (%s): mend the path or the permissions.", fileVar, reason(err)))
		return "", ""
	}
	text = strings.TrimRight(string(b), "\r\n")
	if strings.TrimSpace(text) == "" {
		p.unreadable(s.name, fileVar+" names an empty file: write the secret into it.")
		return "", ""
	}
	return text, fromFile
}

// reason is the system's word for err, without the path: somebody may have put
// the secret itself there.
func reason(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return "unknown reason"
}

// readEnviron maps names in upper case to values. Of two spellings of one
// name, the one in upper case counts.
func readEnviron(environ []string) map[string]string {
	vars := map[string]string{}
	for _, exact := range []bool{false, true} {
		for _, line := range environ {
			name, text, ok := strings.Cut(line, "=")
			if upper := strings.ToUpper(name); ok && name != "" && exact == (name == upper) {
				vars[upper] = text
			}
		}
	}
	return vars
}

// readDotEnv reads a .env file, if there is one.
func readDotEnv(path string, p *Problems) map[string]string {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() {
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		p.Sentences = append(p.Sentences, ".env cannot be read ("+reason(err)+"): mend its permissions.")
		return nil
	}
	text := strings.TrimPrefix(string(b), "\uFEFF")
	if !utf8.ValidString(text) || strings.Contains(text, "\x00") {
		p.Sentences = append(p.Sentences, ".env is not UTF-8 text: save it as UTF-8.")
		return nil
	}
	vars, line := parseDotEnv(text)
	if line > 0 {
		p.Sentences = append(p.Sentences, fmt.Sprintf(".env line %d is not NAME=value: close its quotes, or put a value of several lines into quotes.", line))
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		lines = append(lines, name+"="+vars[name])
	}
	return readEnviron(lines)
}

// parseDotEnv returns the variables and the line of the first mistake, 0 if
// there is none; the variables before it are still returned.
func parseDotEnv(text string) (map[string]string, int) {
	// The parser would replace $NAME in values. A secret with a $ must stay
	// whole, so it sees another character, which is put back.
	text = strings.ReplaceAll(text, "$", "\x00")
	parse := func(text string) (map[string]string, error) {
		vars, err := godotenv.Unmarshal(text + "\n") // its errors hold values
		for name := range vars {
			vars[name] = strings.ReplaceAll(vars[name], "\x00", "$")
		}
		return vars, err
	}
	vars, err := parse(text)
	if err == nil {
		return vars, 0
	}
	lines := strings.Split(text, "\n")
	for n := len(lines) - 1; ; n-- {
		if vars, err := parse(strings.Join(lines[:n], "\n")); err == nil {
			return vars, n + 1
		}
	}
}

// expandSections replaces a section written as one JSON object, such as
// RATE_LIMIT={"LOGIN_REQUESTS_PER_MINUTE": 5}, by its variables. Those that
// are also set by themselves win.
func expandSections(vars map[string]string, p *Problems) {
	for _, section := range slices.Sorted(maps.Keys(sectionDocs())) {
		if !strings.HasPrefix(strings.TrimSpace(vars[section]), "{") {
			continue
		}
		var object map[string]json.RawMessage
		if json.Unmarshal([]byte(vars[section]), &object) != nil {
			p.Sentences = append(p.Sentences, section+" is not a JSON object: mend it, or set "+section+"__… variables instead.")
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(object)) {
			name := section + "__" + strings.ToUpper(key)
			if _, set := vars[name]; set || string(object[key]) == "null" {
				continue
			}
			var text string
			if json.Unmarshal(object[key], &text) != nil {
				text = string(object[key])
			}
			vars[name] = text
		}
	}
}
