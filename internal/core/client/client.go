// Package client owns the machine clients: services that get tokens for
// themselves (RFC 6749 §4.4).
//
// SQL is the truth. A client that was read is kept in memory and used only while
// the revocation feed is near: every change raises the client's version, which
// the feed names, and whatever takes something away raises its epoch, which is in
// its tokens.
//
//	client.go  what a client is, and the rules for it
//	act.go     what an operator does to one
//	find.go    reading, for lists and for those who authenticate
package client

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/maypok86/otter/v2"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/platform/lastuse"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

// Client is one service that may ask for tokens.
type Client struct {
	ID           uuid.UUID
	ClientID     string // what it calls itself
	Name         string
	SecretPrefix string // the beginning of the current secret, for people
	Scopes       []string
	Audiences    []string // that it may ask for; empty means any
	Active       bool
	TTL          time.Duration // of its tokens
	Epoch        int64
	Created      time.Time
	Updated      time.Time
	LastUsed     time.Time // zero: never

	version int64
	longest time.Duration // that a token of it may live, whatever TTL says now
}

// Bounds of what a client may hold. What its scopes take together fits into a
// request for them and into a token that others still read.
const (
	maxName      = 255
	maxScopes    = 100
	maxScopeText = 4096
	maxAudiences = 100

	// MaxAudience is the longest name of an audience.
	MaxAudience = 255
)

// Service is what the rest of the program calls.
type Service struct {
	db     *db.DB
	clock  *clock.Clock
	log    *slog.Logger
	feed   *revocation.Feed
	maxTTL time.Duration
	cache  *otter.Cache[string, *known]
	used   *lastuse.Times
}

// cacheFor is far below the time that a change stays in the feed.
const (
	cacheFor  = time.Minute
	cacheSize = 10_000
)

// NewService makes the service. maxTTL bounds the life of every client's tokens.
func NewService(d *db.DB, c *clock.Clock, log *slog.Logger, feed *revocation.Feed, maxTTL time.Duration) *Service {
	return &Service{
		db: d, clock: c, log: log, feed: feed, maxTTL: maxTTL,
		cache: otter.Must(&otter.Options[string, *known]{
			MaximumSize:      cacheSize,
			ExpiryCalculator: otter.ExpiryWriting[string, *known](cacheFor),
		}),
		used: lastuse.New(d, c, log, "clients", touch),
	}
}

// Run writes when clients were last used, until ctx ends.
func (s *Service) Run(ctx context.Context) { s.used.Run(ctx) }

// Life is how long a token lives that the client gets now.
func (s *Service) Life(c Client) time.Duration { return min(c.TTL, s.maxTTL) }

// checkName trims it. Fault: validation_error.
func checkName(name string) (string, error) {
	name = strings.TrimSpace(name)
	switch {
	case name == "":
		return "", fault.Invalid("name", "must not be empty")
	case utf8.RuneCountInString(name) > maxName:
		return "", fault.Invalid("name", fmt.Sprintf("must be at most %d characters long", maxName))
	}
	return name, nil
}

// checkScopes trims them and drops blanks and repetitions; the order stays.
// Faults: invalid_scope if nothing is left, validation_error.
func checkScopes(list []string) ([]string, error) {
	scopes := tidy(list)
	length := 0
	for _, scope := range scopes {
		if strings.ContainsFunc(scope, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) { // RFC 6749 §3.3
			return nil, fault.Invalid("scopes", "must be visible ASCII characters without spaces, quotes and backslashes")
		}
		length += len(scope) + 1
	}
	switch {
	case len(scopes) == 0:
		return nil, fault.New(fault.InvalidScope)
	case len(scopes) > maxScopes:
		return nil, fault.Invalid("scopes", fmt.Sprintf("must have at most %d entries", maxScopes))
	case length > maxScopeText:
		return nil, fault.Invalid("scopes", fmt.Sprintf("must be at most %d characters long together", maxScopeText))
	}
	return scopes, nil
}

// checkAudiences is checkScopes for audiences, which may be none.
func checkAudiences(list []string) ([]string, error) {
	audiences := tidy(list)
	if len(audiences) > maxAudiences {
		return nil, fault.Invalid("audiences", fmt.Sprintf("must have at most %d entries", maxAudiences))
	}
	for _, audience := range audiences {
		if !IsAudience(audience) {
			return nil, fault.Invalid("audiences", fmt.Sprintf("must be names of at most %d visible ASCII characters", MaxAudience))
		}
	}
	return audiences, nil
}

// IsAudience reports whether a text can be the name of an audience.
func IsAudience(s string) bool {
	return s != "" && len(s) <= MaxAudience && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func (s *Service) checkTTL(ttl time.Duration) error {
	if ttl < time.Second || ttl > s.maxTTL {
		return fault.Invalid("token_ttl_seconds", fmt.Sprintf("must be between 1 and %d", int(s.maxTTL.Seconds())))
	}
	return nil
}

func tidy(list []string) []string {
	out := []string{}
	for _, entry := range list {
		if entry = strings.TrimSpace(entry); entry != "" && !slices.Contains(out, entry) {
			out = append(out, entry)
		}
	}
	return out
}

// lost reports whether something that was allowed before is not any more. For
// audiences, none means any.
func lost(before, after []string) bool {
	return slices.ContainsFunc(before, func(entry string) bool { return !slices.Contains(after, entry) })
}

func lostAudience(before, after []string) bool {
	return len(after) > 0 && (len(before) == 0 || lost(before, after))
}

// A secret is shown once; what is stored is its hash.
const (
	secretPrefix = "cs_"
	shownOf      = 8 // characters of a secret that lists show
)

func newSecret() string { return secretPrefix + secret.Token(32) }
