// Package machine lets services in: tokens for clients, and the checks of what a
// service shows for itself. Nothing here writes or reads SQL while memory knows
// the answer; uses are counted and recorded by the second.
package machine

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/client"
	"github.com/authsdk/authsdk/internal/core/token"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/metric"
	"github.com/authsdk/authsdk/internal/method/apikey"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/limit"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

// Service is what the rest of the program calls.
type Service struct {
	Clients *client.Service
	Keys    *apikey.Service
	Tokens  *token.Issuer
	Feed    *revocation.Feed
	Batch   *audit.Batcher
	Limiter *limit.Limiter
	Metrics *metric.Metrics // may be nil

	Service   string // this service's own audience, which every token has
	PerMinute int    // refreshes of one session; a client may have clientTimes as many tokens. 0 sets no limit
}

// clientTimes: a client is many processes.
const clientTimes = 20

// Input is what a client sends, trimmed.
type Input struct {
	ClientID string
	Secret   string
	Scope    string // separated by spaces; empty: all that the client has
	Audience string // beyond this service's own; may be empty
}

// Token is what a client gets.
type Token struct {
	Access    string
	ExpiresIn time.Duration
	Scope     string
}

// Grant gives a client a token (RFC 6749 §4.4). Faults: invalid_credentials,
// invalid_scope, audience_not_allowed, rate_limited.
func (s *Service) Grant(ctx context.Context, in Input) (t Token, err error) {
	defer fault.Wrap(&err, "machine.Grant")
	c, t, err := s.grant(ctx, in)
	e := audit.Event{Type: audit.ClientAuthenticated, ActorType: "service", Metadata: map[string]any{}}
	switch code := fault.From(err).Code; {
	case err == nil:
		s.Metrics.ClientToken("success")
		e.Metadata["scope"] = t.Scope
	default:
		s.Metrics.ClientToken(code.Slug)
		if !slices.Contains([]fault.Code{fault.InvalidCredentials, fault.InvalidScope, fault.AudienceNotAllowed}, code) {
			return t, err // it says nothing of the client
		}
		e.Type, e.Failure = audit.ClientAuthFailure, code.Slug
	}
	if c.ID != uuid.Nil {
		e.TargetType, e.Target = client.TargetType, c.ID
	}
	if isClientID(in.ClientID) { // nothing else that a stranger types: it might be a secret
		e.Metadata["client_id"] = in.ClientID
	}
	s.Batch.Add(ctx, e)
	return t, err
}

// Refused records that a request was none that a client may make.
func (s *Service) Refused(ctx context.Context, code fault.Code) {
	s.Metrics.ClientToken(code.Slug)
	s.Batch.Add(ctx, audit.Event{Type: audit.ClientAuthFailure, ActorType: "service", Failure: code.Slug})
}

func (s *Service) grant(ctx context.Context, in Input) (c client.Client, t Token, err error) {
	if in.ClientID == "" || in.Secret == "" {
		return c, t, fault.New(fault.InvalidCredentials)
	}
	c, ok, err := s.Clients.Authenticate(ctx, in.ClientID, in.Secret)
	switch {
	case err != nil:
		return c, t, err
	case !ok:
		return client.Client{}, t, fault.New(fault.InvalidCredentials)
	}
	if err := s.limit(c); err != nil {
		return c, t, err
	}
	scopes, err := scopesOf(c, in.Scope)
	if err != nil {
		return c, t, err
	}
	audiences, err := s.audiencesOf(c, in.Audience)
	if err != nil {
		return c, t, err
	}
	t.ExpiresIn, t.Scope = s.Clients.Life(c), strings.Join(scopes, " ")
	t.Access, err = s.Tokens.Machine(token.MachineClaims{ClientID: c.ClientID, Audience: audiences, Epoch: c.Epoch, Scope: t.Scope}, t.ExpiresIn)
	return c, t, err
}

// limit counts in this process: it protects the process from signing, and Redis
// would cost a part of what it saves. Who is not the client cannot use it up.
func (s *Service) limit(c client.Client) error {
	if s.PerMinute <= 0 {
		return nil
	}
	rule := limit.Rule{Name: "client-token", Burst: clientTimes * s.PerMinute, Per: time.Minute}
	if d := s.Limiter.AllowHere(rule, c.ClientID); !d.Allowed {
		return fault.Retry(fault.RateLimited, d.RetryAfter)
	}
	return nil
}

func scopesOf(c client.Client, asked string) ([]string, error) {
	var scopes []string
	for scope := range strings.SplitSeq(asked, " ") {
		switch {
		case scope == "" || slices.Contains(scopes, scope):
		case !slices.Contains(c.Scopes, scope):
			return nil, fault.New(fault.InvalidScope)
		default:
			scopes = append(scopes, scope)
		}
	}
	if len(scopes) == 0 {
		return c.Scopes, nil
	}
	return scopes, nil
}

func (s *Service) audiencesOf(c client.Client, asked string) ([]string, error) {
	switch {
	case asked == "", asked == s.Service:
		return nil, nil
	case !client.IsAudience(asked), len(c.Audiences) > 0 && !slices.Contains(c.Audiences, asked):
		return nil, fault.New(fault.AudienceNotAllowed)
	}
	return []string{asked}, nil
}

// isClientID reports whether a text has the form of those that we make.
func isClientID(s string) bool {
	const prefix, random = "client_", 22
	rest, ok := strings.CutPrefix(s, prefix)
	return ok && len(rest) == random && !strings.ContainsFunc(rest, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	})
}

// Introspect tells whether an API key is good right now, and records the use.
// Fault: rate_limited.
func (s *Service) Introspect(ctx context.Context, key string) (apikey.Outcome, error) {
	o, err := s.Keys.Introspect(ctx, key)
	switch {
	case fault.Has(err, fault.RateLimited):
		s.Metrics.Introspection(fault.RateLimited.Slug, "sql")
		return o, err
	case err != nil:
		return o, err
	case o.Code == "":
		s.Metrics.Introspection("valid", o.Source)
	default:
		s.Metrics.Introspection(o.Code, o.Source)
	}
	s.Batch.Add(ctx, audit.Event{
		Type: audit.APIKeyUsed, ActorType: "service", Actor: o.Owner, TargetType: apikey.TargetType, Target: o.Key, Failure: o.Code, Metadata: introspecting,
	})
	return o, nil
}

// introspecting is the metadata of every introspection, shared by all.
var introspecting = map[string]any{"operation": "introspect"}

// Listed records that an operator listed keys.
func (s *Service) Listed(ctx context.Context, by audit.By, f apikey.Filter, n int) {
	metadata := map[string]any{"operation": "list", "result_count": n}
	for key, text := range map[string]string{"name": f.Name, "service": f.Service, "scope": f.Scope} {
		if text != "" {
			metadata[key] = text
		}
	}
	if f.Active != nil {
		metadata["active"] = *f.Active
	}
	e := by.Event(audit.APIKeyUsed)
	e.TargetType, e.Target, e.Metadata = "api_key_collection", f.User, metadata
	s.Batch.Add(ctx, e)
}

// Credential is what a service shows for itself: one of these.
type Credential struct {
	ClientID, Secret string // Authorization: Basic
	Bearer           string // a token of a client, or an API key
	APIKey           string // X-API-Key
}

// Caller lets a service in by its own credential. Fault: invalid_token, whatever
// is wrong.
func (s *Service) Caller(ctx context.Context, c Credential) (err error) {
	defer fault.Wrap(&err, "machine.Caller")
	ok := false
	switch {
	case c.APIKey != "":
		ok, err = s.hasKey(ctx, c.APIKey)
	case apikey.Valid(c.Bearer):
		ok, err = s.hasKey(ctx, c.Bearer)
	case c.Bearer != "":
		ok, err = s.hasToken(ctx, c.Bearer)
	case c.ClientID != "" && c.Secret != "":
		_, ok, err = s.Clients.Authenticate(ctx, c.ClientID, c.Secret)
	}
	if err == nil && !ok {
		return fault.New(fault.InvalidToken)
	}
	return err
}

func (s *Service) hasKey(ctx context.Context, key string) (bool, error) {
	o, err := s.Keys.Introspect(ctx, key)
	return o.Code == "", err
}

// hasToken checks that a client still is as its token says.
func (s *Service) hasToken(ctx context.Context, raw string) (bool, error) {
	claims, err := s.Tokens.VerifyMachine(ctx, raw)
	if fault.Has(err, fault.InvalidToken) {
		return false, nil
	}
	if err != nil || s.Feed.Epoch(revocation.Client, claims.ClientID) > claims.Epoch {
		return false, err
	}
	c, ok, err := s.Clients.Current(ctx, claims.ClientID)
	return ok && c.Epoch <= claims.Epoch, err
}
