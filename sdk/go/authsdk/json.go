package authsdk

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// object is a JSON object by exact name, values still encoded. Names and values
// are parts of one string, so that reading a token allocates little.
//
// Decoding into a struct would not do: encoding/json matches names without regard
// to case and keeps the last of two equal ones, so "exp" and "EXP" in one token
// could mean one thing here and another to the server.
type object []member

type member struct{ name, value string }

// maxMembers bounds the search for equal names. A real token has about 20.
const maxMembers = 100

var errNotObject = errors.New("not a JSON object, or too large, or with two members of one name")

// parseObject reads one JSON object in UTF-8. Two equal names are an error (RFC
// 7519 section 4 leaves the choice between that and taking the last one).
func parseObject(data []byte) (object, error) {
	s := scanner{text: string(data)}
	obj := make(object, 0, 20)
	fits := true
	s.space()
	ok := s.object(0, func(name, value string) {
		name, _ = unquote(name)
		fits = fits && !obj.has(name) && len(obj) < maxMembers
		if fits {
			obj = append(obj, member{name, value})
		}
	})
	s.space()
	if !ok || !fits || s.at != len(s.text) || !utf8.ValidString(s.text) {
		return nil, errNotObject
	}
	return obj, nil
}

// elements splits an encoded array; ok is false if raw is something else.
func elements(raw string) (list []string, ok bool) {
	s := scanner{text: raw}
	ok = s.array(0, func(value string) { list = append(list, value) })
	return list, ok
}

// unquote decodes an encoded string; ok is false if raw is something else.
func unquote(raw string) (s string, ok bool) {
	if !strings.HasPrefix(raw, `"`) {
		return "", false
	}
	if strings.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1], true
	}
	return unescape(raw)
}

// unescape is apart from unquote for its cost: its result moves to the heap.
func unescape(raw string) (s string, ok bool) {
	return s, json.Unmarshal([]byte(raw), &s) == nil
}

// get returns the encoded value of a member, or "" which no value is encoded as.
func (o object) get(name string) string {
	for i := range o {
		if o[i].name == name {
			return o[i].value
		}
	}
	return ""
}

func (o object) has(name string) bool { return o.get(name) != "" }

// The getters below return ok = false if the member is missing or of another type.

func (o object) str(name string) (s string, ok bool) { return unquote(o.get(name)) }

func (o object) boolean(name string) (value, ok bool) {
	switch o.get(name) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}

// number reads integers and fractions. What a float64 cannot hold is refused, so
// no comparison ever meets an infinity or a NaN.
func (o object) number(name string) (f float64, ok bool) {
	raw := o.get(name)
	if raw == "" || raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return 0, false
	}
	f, err := strconv.ParseFloat(raw, 64)
	return f, err == nil
}

// integer reads whole numbers in the range every JSON reader agrees on (RFC 8259
// section 6).
func (o object) integer(name string) (n int64, ok bool) {
	n, err := strconv.ParseInt(o.get(name), 10, 64)
	return n, err == nil && -1<<53 < n && n < 1<<53
}

// strings reads a list of strings, or one string as a list of one (the shape of
// "aud"), entries trimmed.
func (o object) strings(name string) (list []string, ok bool) {
	if s, ok := o.str(name); ok {
		return []string{strings.TrimSpace(s)}, true
	}
	list, ok = elements(o.get(name))
	for i, raw := range list {
		s, isString := unquote(raw)
		list[i] = strings.TrimSpace(s)
		ok = ok && isString
	}
	return list, ok
}
