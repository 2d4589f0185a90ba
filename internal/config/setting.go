package config

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// setting is one field of Config that a variable sets.
type setting struct {
	name    string // APP__PORT
	section string // APP; empty for ADMIN_API_KEY
	tag     reflect.StructTag
	value   reflect.Value
}

// settings lists the fields of c in the order of the struct.
func settings(c *Config) []setting {
	var list []setting
	top := reflect.ValueOf(c).Elem()
	for i, field := range reflect.VisibleFields(top.Type()) {
		section, inSection := field.Tag.Lookup("section")
		if !inSection {
			if name, ok := field.Tag.Lookup("env"); ok {
				list = append(list, setting{name, "", field.Tag, top.Field(i)})
			}
			continue
		}
		for j := range field.Type.NumField() {
			tag := field.Type.Field(j).Tag
			list = append(list, setting{section + "__" + tag.Get("env"), section, tag, top.Field(i).Field(j)})
		}
	}
	return list
}

// sectionDocs maps the name of each section to its sentence.
func sectionDocs() map[string]string {
	docs := map[string]string{"": "Outside the sections."}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		if section, ok := field.Tag.Lookup("section"); ok {
			docs[section] = field.Tag.Get("doc")
		}
	}
	return docs
}

func (s setting) planned() bool { return s.tag.Get("planned") == "true" }

// fromFile reports whether NAME_FILE may name a file with the value.
func (s setting) fromFile() bool {
	switch s.value.Interface().(type) {
	case Secret, SecretURL, []Secret:
		return true
	}
	return false
}

func (s setting) defaultFor(development bool) string {
	if elsewhere, ok := s.tag.Lookup("elsewhere"); ok && !development {
		return elsewhere
	}
	return s.tag.Get("default")
}

// set stores text in the field if it is right. Otherwise it returns what is
// wrong, as ends of sentences that start with the variable. They never repeat
// the value: it may be a secret in the wrong place.
func (s setting) set(text string) (wrong []string) {
	switch field := s.value.Addr().Interface().(type) {
	case *Secret:
		*field = Secret(text)
	case *SecretURL:
		*field = SecretURL(text)
	case *string:
		if wrong = s.check("", text); wrong == nil {
			*field = text
		}
	case *bool:
		on, ok := switches[strings.ToLower(strings.TrimSpace(text))]
		if !ok {
			return []string{"must be true or false."}
		}
		*field = on
	case *int:
		n, wrong := s.integer(text)
		if wrong != nil {
			return wrong
		}
		*field = n
	case *time.Duration:
		n, wrong := s.integer(text)
		if wrong != nil {
			return wrong
		}
		*field = time.Duration(n) * time.Second
	case *[]Secret:
		entries, wrong := list(text)
		if wrong != nil {
			return wrong
		}
		*field = nil
		for _, entry := range entries {
			*field = append(*field, Secret(entry))
		}
	case *[]string:
		entries, wrong := list(text)
		if wrong != nil {
			return wrong
		}
		for i, entry := range entries {
			entries[i] = strings.TrimSpace(entry)
			wrong = append(wrong, s.check(fmt.Sprintf("entry %d ", i+1), entries[i])...)
		}
		if wrong != nil {
			return wrong
		}
		*field = slices.DeleteFunc(entries, func(e string) bool { return e == "" })
	default:
		panic("config: no way to set " + s.name)
	}
	return wrong
}

var switches = map[string]bool{
	"true": true, "1": true, "yes": true, "on": true,
	"false": false, "0": false, "no": false, "off": false,
}

// check holds one text against enum and format. Empty is always right: whether
// a setting may be empty is a matter of the rules.
func (s setting) check(which, text string) []string {
	if text == "" {
		return nil
	}
	if enum, ok := s.tag.Lookup("enum"); ok && !slices.Contains(strings.Split(enum, ","), text) {
		return []string{which + "must be " + alternatives(enum) + ", spelled exactly so."}
	}
	if name, ok := s.tag.Lookup("format"); ok && !formats[name].ok(text) {
		return []string{which + "must be " + formats[name].what + "."}
	}
	return nil
}

func (s setting) bounds() (low, high int) {
	low, high = math.MinInt32, math.MaxInt32
	if n, err := strconv.Atoi(s.tag.Get("min")); err == nil {
		low = n
	}
	if n, err := strconv.Atoi(s.tag.Get("max")); err == nil {
		high = n
	}
	return low, high
}

func (s setting) integer(text string) (int, []string) {
	low, high := s.bounds()
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || n < low || n > high {
		return 0, []string{fmt.Sprintf("must be a whole number from %d to %d.", low, high)}
	}
	return n, nil
}

// list reads a JSON list of strings; empty text is an empty list.
func list(text string) ([]string, []string) {
	if text == "" {
		return nil, nil
	}
	var entries []*string
	err := json.Unmarshal([]byte(text), &entries)
	if err != nil || entries == nil || slices.Contains(entries, nil) {
		return nil, []string{`must be a JSON list of strings, such as ["one", "two"].`}
	}
	texts := make([]string, len(entries))
	for i, entry := range entries {
		texts[i] = *entry
	}
	return texts, nil
}

// text writes the value as a variable would, with secrets masked.
func (s setting) text() string {
	switch v := s.value.Interface().(type) {
	case time.Duration:
		return strconv.Itoa(int(v / time.Second))
	case []string, []Secret:
		if s.value.Len() == 0 {
			return "[]"
		}
		b, _ := json.Marshal(v) // strings always marshal
		return string(b)
	default:
		return fmt.Sprint(v)
	}
}

// alternatives writes "a,b,c" as "a, b or c".
func alternatives(enum string) string {
	words := strings.Split(enum, ",")
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
