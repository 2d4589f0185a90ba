package httpapi

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/internal/platform/mail"
)

// huma ignores tags that it does not know: min:"16" on a string checks nothing.
var tagsOf = map[string][]string{
	"any":    {"json", "path", "query", "header", "cookie", "doc", "example", "default", "enum", "const", "required", "deprecated", "nullable"},
	"string": {"minLength", "maxLength", "pattern", "patternDescription", "format"},
	"number": {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf"},
	"list":   {"minItems", "maxItems", "uniqueItems", "minLength", "maxLength", "pattern", "patternDescription"},
}

var tagKey = regexp.MustCompile(`([^\s:"]+):"(?:[^"\\]|\\.)*"`)

func TestInputsHaveOnlyTagsThatCheckSomething(t *testing.T) {
	routes := (&API{Mailbox: &mail.Mailbox{}}).Routes()
	inputs := 0
	for _, r := range routes {
		if r.input != nil {
			checkTags(t, r.Pattern, r.input)
			inputs++
		}
	}
	if inputs < 5 {
		t.Fatalf("only %d routes take an input", inputs)
	}
}

func checkTags(t *testing.T, at string, typ reflect.Type) {
	t.Helper()
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct || typ.PkgPath() == "time" {
		return
	}
	for i := range typ.NumField() {
		f := typ.Field(i)
		where := at + " " + f.Name
		known := slices.Concat(tagsOf["any"], tagsOf[family(f.Type)])
		for _, tag := range tagKey.FindAllStringSubmatch(string(f.Tag), -1) {
			if !slices.Contains(known, tag[1]) {
				t.Errorf("%s: the tag %s checks nothing on a %s", where, tag[0], f.Type)
			}
		}
		if rest := strings.TrimSpace(tagKey.ReplaceAllString(string(f.Tag), "")); rest != "" {
			t.Errorf("%s: cannot read the tags: %q", where, rest)
		}
		if f.Name != "Body" && !f.Anonymous && nameOf(f) == "" {
			t.Errorf("%s has no name on the wire", where)
		}
		checkTags(t, where, f.Type)
	}
}

func family(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return family(t.Elem())
	case reflect.String:
		return "string"
	case reflect.Slice, reflect.Array:
		return "list"
	case reflect.Int, reflect.Int64, reflect.Float64, reflect.Uint, reflect.Int32:
		return "number"
	}
	return "any"
}
