package config

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"
)

const notUsedYet = "Accepted and checked; not used by this version yet."

// Reference returns docs/reference/config.md.
func Reference() []byte {
	var b bytes.Buffer
	b.WriteString(`# Configuration

<!-- Emitted from internal/config/config.go by ` + "`go test ./internal/config -update`" + `. Do not edit. -->

authd reads its environment, then a file ` + "`.env`" + ` (UTF-8) in the working directory, then the defaults below; the first that sets a variable wins. Everything has a default that works on your own machine.

- ` + "`authd config check`" + ` prints every problem at once; ` + "`authd config show`" + ` prints what is in force and where it came from, with secrets masked.
- Names may be in any case. A blank value counts as not set. Unknown variables are ignored; ` + "`authd config check`" + ` warns of those that look like ours.
- Lists are JSON: ` + "`[\"one\", \"two\"]`" + `. Booleans are true or false, 1 or 0, yes or no, on or off. Choices are spelled exactly as below. Times are whole seconds.
- A secret or a URL with a password may come from a file: set ` + "`NAME_FILE`" + ` to its path instead of ` + "`NAME`" + `. Line breaks at its end are dropped.
- To replace a key without ending what it made, move the old one to ` + "`NAME_PREVIOUS`" + `.
- A section may also be one variable with a JSON object: ` + "`RATE_LIMIT={\"LOGIN_REQUESTS_PER_MINUTE\": 5}`" + `. Variables of the section win over it.
- In ` + "`.env`" + `, a value of several lines or with ` + "` #`" + ` goes into single quotes. A ` + "`$`" + ` is just a character.
`)
	group := "none yet"
	docs := sectionDocs()
	for _, s := range settings(&Config{}) {
		if s.section != group {
			group = s.section
			title := group
			if title == "" {
				title = "Other"
			}
			fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| variable | type | default | meaning |\n|---|---|---|---|\n", title, docs[group])
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", s.name, s.typeName(), s.defaultName(), s.meaning())
	}
	return b.Bytes()
}

// Sample returns .env-sample: every variable, commented out, at its default.
func Sample() []byte {
	var b bytes.Buffer
	b.WriteString(`# Settings of authd. Copy to .env, take the # off what you change.
#
# Every line shows the default; authd runs without any of them. All about
# them: docs/reference/config.md. Check: authd config check
#
# For a secret, NAME_FILE=/path may be set instead of NAME.
# A value of several lines, or with " #" in it, goes into single quotes.
#
# Emitted by: go test ./internal/config -update
`)
	group := "none yet"
	docs := sectionDocs()
	for _, s := range settings(&Config{}) {
		if s.section != group {
			group = s.section
			fmt.Fprintf(&b, "\n# ---- %s\n", strings.TrimPrefix(group+": "+docs[group], ": "))
		}
		text := s.meaning() + " (" + s.typeName() + ")"
		if _, ok := s.tag.Lookup("elsewhere"); ok {
			text += " Default: " + s.defaultName() + "."
		}
		fmt.Fprintf(&b, "\n%s#%s=%s\n", wrapped(strings.ReplaceAll(text, "`", "")), s.name, s.sampleValue())
	}
	return b.Bytes()
}

func (s setting) meaning() string {
	doc := s.tag.Get("doc")
	if s.planned() {
		doc += " " + notUsedYet
	}
	return doc
}

// typeName says what may be written.
func (s setting) typeName() string {
	if enum, ok := s.tag.Lookup("enum"); ok {
		return "`" + strings.ReplaceAll(enum, ",", "` `") + "`"
	}
	format := s.tag.Get("format")
	switch s.value.Interface().(type) {
	case bool:
		return "boolean"
	case int:
		return "number" + s.rangeName()
	case time.Duration:
		return "seconds" + s.rangeName()
	case Secret:
		return "secret"
	case SecretURL:
		return "secret URL"
	case []Secret:
		return "list of secrets"
	case []string:
		return "list of " + format
	}
	if format == "" {
		return "text"
	}
	return format
}

func (s setting) rangeName() string {
	low, high := s.bounds()
	if high == math.MaxInt32 {
		return fmt.Sprintf(", %d or more", low)
	}
	return fmt.Sprintf(", %d to %d", low, high)
}

func (s setting) defaultName() string {
	quoted := func(text string) string {
		if text == "" {
			return "empty"
		}
		return "`" + text + "`"
	}
	text := quoted(s.tag.Get("default"))
	if elsewhere, ok := s.tag.Lookup("elsewhere"); ok {
		text += " in development, " + quoted(elsewhere) + " elsewhere"
	}
	return text
}

func (s setting) sampleValue() string {
	switch s.value.Interface().(type) {
	case []string, []Secret:
		return cmp.Or(s.tag.Get("default"), "[]")
	}
	return s.tag.Get("default")
}

// wrapped breaks text into comment lines of at most 80 characters.
func wrapped(text string) string {
	var b strings.Builder
	line := "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > 80 {
			b.WriteString(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	b.WriteString(line + "\n")
	return b.String()
}
