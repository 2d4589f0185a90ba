package authsdk

import "strings"

// maxDepth of nested arrays and objects.
const maxDepth = 32

// scanner checks JSON (RFC 8259) and says where its parts begin and end. Methods
// return whether what they are named after stands at the position, and move past
// it. With encoding/json this took two passes and a tenth of the time of the RSA
// signature; FuzzParseObject holds the scanner to the opinion of that package.
type scanner struct {
	text string
	at   int
}

// peek returns the next byte, or 0 at the end (which is no JSON either).
func (s *scanner) peek() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

func (s *scanner) char(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.at++
	return true
}

func (s *scanner) space() {
	for c := s.peek(); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = s.peek() {
		s.at++
	}
}

func (s *scanner) value(depth int) bool {
	switch s.peek() {
	case '"':
		return s.str()
	case '{':
		return s.object(depth, func(string, string) {})
	case '[':
		return s.array(depth, func(string) {})
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	return s.number()
}

// object calls each with every member, name and value still encoded.
func (s *scanner) object(depth int, each func(name, value string)) bool {
	if depth > maxDepth || !s.char('{') {
		return false
	}
	s.space()
	if s.char('}') {
		return true
	}
	for {
		start := s.at
		if !s.str() {
			return false
		}
		name := s.text[start:s.at]
		s.space()
		if !s.char(':') {
			return false
		}
		s.space()
		start = s.at
		if !s.value(depth + 1) {
			return false
		}
		each(name, s.text[start:s.at])
		s.space()
		if !s.char(',') {
			return s.char('}')
		}
		s.space()
	}
}

// array calls each with every element, still encoded.
func (s *scanner) array(depth int, each func(value string)) bool {
	if depth > maxDepth || !s.char('[') {
		return false
	}
	s.space()
	if s.char(']') {
		return true
	}
	for {
		start := s.at
		if !s.value(depth + 1) {
			return false
		}
		each(s.text[start:s.at])
		s.space()
		if !s.char(',') {
			return s.char(']')
		}
		s.space()
	}
}

func (s *scanner) str() bool {
	if !s.char('"') {
		return false
	}
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			return true
		case c < ' ':
			return false
		case c == '\\':
			s.at++
			if !s.escape() {
				return false
			}
		}
	}
	return false
}

// escape leaves the position on the last character of the escape.
func (s *scanner) escape() bool {
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		for range 4 {
			s.at++
			if !isHex(s.peek()) {
				return false
			}
		}
		return true
	}
	return false
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func (s *scanner) number() bool {
	s.char('-')
	if !s.char('0') && !s.digits() {
		return false
	}
	if s.char('.') && !s.digits() {
		return false
	}
	if s.char('e') || s.char('E') {
		if !s.char('+') {
			s.char('-')
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	start := s.at
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.at++
	}
	return s.at > start
}

func (s *scanner) literal(word string) bool {
	if !strings.HasPrefix(s.text[s.at:], word) {
		return false
	}
	s.at += len(word)
	return true
}
