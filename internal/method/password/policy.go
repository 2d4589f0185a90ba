package password

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

// Policy is what a chosen password must be. Lengths are in characters. The
// zero Policy stands for the rules that hold when nothing is set.
type Policy struct {
	MinLength, MaxLength                 int
	Uppercase, Lowercase, Digit, Special bool // what it must contain
}

// unset is the zero Policy spelled out.
func unset() Policy {
	return Policy{MinLength: 8, MaxLength: 128, Uppercase: true, Digit: true, Special: true}
}

// A login accepts passwords from loginMin (or the policy's minimum, if that is
// lower) to loginMax characters, so that what was chosen under other rules
// opens its account, and a long wrong password is wrong rather than malformed.
const (
	loginMin = 8
	loginMax = 256
)

// marks are the 32 ASCII punctuation characters.
const marks = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

func (s *Service) policy() Policy {
	if s.Policy == (Policy{}) {
		return unset()
	}
	return s.Policy
}

// Generate makes a random password that the policy allows, for accounts that a
// machine makes.
func (s *Service) Generate() string {
	made := secret.Token(12) + "-Aa1" // something of each kind
	if lacks := s.policy().MinLength - len(made); lacks > 0 {
		made = secret.Token(lacks)[:lacks] + made
	}
	return made
}

// normalise brings a password into Unicode NFC, so that two keyboards that
// write é differently agree, and checks its length and characters.
func normalise(field, password string, least, most int) (string, error) {
	if !utf8.ValidString(password) || strings.ContainsRune(password, 0) {
		return "", fault.Invalid(field, "must be text")
	}
	if len(password) > 4*loginMax {
		return "", fault.Invalid(field, fmt.Sprintf("must be at most %d characters long", most))
	}
	normal := norm.NFC.String(password)
	switch n := utf8.RuneCountInString(normal); {
	case n < least:
		return "", fault.Invalid(field, fmt.Sprintf("must be at least %d characters long", least))
	case n > most:
		return "", fault.Invalid(field, fmt.Sprintf("must be at most %d characters long", most))
	}
	return normal, nil
}

// missing names what a chosen password lacks. Letters and digits may be of any
// script.
func (p Policy) missing(password string) string {
	var lacks []string
	if p.Uppercase && !strings.ContainsFunc(password, unicode.IsUpper) {
		lacks = append(lacks, "an uppercase letter")
	}
	if p.Lowercase && !strings.ContainsFunc(password, unicode.IsLower) {
		lacks = append(lacks, "a lowercase letter")
	}
	if p.Digit && !strings.ContainsFunc(password, unicode.IsDigit) {
		lacks = append(lacks, "a number")
	}
	if p.Special && !strings.ContainsAny(password, marks) {
		lacks = append(lacks, "a special character")
	}
	return strings.Join(lacks, " and ")
}
