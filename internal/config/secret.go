package config

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
)

const mask = "********"

// Secret is a setting that is never printed: every way of formatting, logging
// or encoding it gives a mask, or nothing if it is empty.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return mask
}

// Format masks the secret under every verb, %d and %#v included.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue masks the secret in logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText masks the secret in JSON and other encodings.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// SecretURL is a URL that may hold a password; only the password is masked.
type SecretURL string

// Reveal returns the URL with its password.
func (s SecretURL) Reveal() string { return string(s) }

// valid reports whether the parts of the URL are where they seem to be. A
// password with an unescaped / ? or # can parse, but then its rest, and the @
// behind it, land in another part.
func (s SecretURL) valid() bool {
	u, err := url.Parse(string(s))
	if err != nil || !strings.Contains(string(s), "://") {
		return false
	}
	_, err = url.ParseQuery(u.RawQuery)
	return err == nil && u.Opaque == "" && !strings.Contains(u.Host+u.Path+u.RawQuery+u.Fragment, "@")
}

func (s SecretURL) String() string {
	if s == "" || strings.HasPrefix(string(s), "sqlite://") {
		return string(s) // a file name, whatever it looks like
	}
	if !s.valid() {
		return mask
	}
	const stars = "xxxxx" // what Redacted writes
	u, _ := url.Parse(string(s))
	q, changed := u.Query(), false
	for name := range q {
		if strings.Contains(strings.ToLower(name), "password") {
			q.Set(name, stars)
			changed = true
		}
	}
	if changed {
		u.RawQuery = q.Encode()
	}
	return strings.ReplaceAll(u.Redacted(), stars, mask)
}

// Format masks the password under every verb.
func (s SecretURL) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue masks the password in logs.
func (s SecretURL) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText masks the password in JSON and other encodings.
func (s SecretURL) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
