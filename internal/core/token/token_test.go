package token_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/core/token"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

// noon has a fraction, which tokens do not carry.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 750_000_000, time.UTC)

const lifetime = 15 * time.Minute

// issuer makes one on a database of its own; it needs one for its keys only.
func issuer(t testing.TB, c *clock.Clock, algorithm string) (*token.Issuer, *db.DB) {
	t.Helper()
	d := dbtest.SQLite(t)
	keys, err := keyring.Load(context.Background(), d, secret.NewRing("signing keys", "test"), c, dbtest.Log, keyring.Options{Algorithm: algorithm})
	if err != nil {
		t.Fatal(err)
	}
	return token.NewIssuer(keys, c, "https://auth.example.com", "auth-service", lifetime), d
}

func jo() token.Claims {
	return token.Claims{
		Subject:   "019542d0-0000-7000-8000-000000000001",
		SessionID: "019542d0-0000-7000-8000-000000000002",
		Epoch:     3, Role: "user", Email: "jo@example.com", EmailVerified: true, AuthTime: noon.Unix(),
	}
}

func mint(t testing.TB, i *token.Issuer, c token.Claims) string {
	t.Helper()
	raw, err := i.Access(c)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// part decodes one of a token's segments.
func part(t *testing.T, raw string, n int) map[string]any {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[n])
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAnAccessTokenSaysExactlyThis(t *testing.T) {
	i, _ := issuer(t, clock.Set(noon), keyring.ES256)
	c := jo()
	c.Issuer, c.ID, c.Type, c.ClientID, c.IssuedAt, c.ExpiresAt = "forged", "forged", "forged", "forged", 1, 2 // the issuer decides
	raw := mint(t, i, c)

	header := map[string]any{"alg": "ES256", "typ": "at+jwt", "kid": i.Keys.Active().KID}
	if diff := cmp.Diff(header, part(t, raw, 0)); diff != "" {
		t.Errorf("header: %s", diff)
	}
	claims := part(t, raw, 1)
	if id, ok := claims["jti"].(string); !ok || uuid.Validate(id) != nil {
		t.Errorf("jti is %v", claims["jti"])
	}
	delete(claims, "jti")
	if diff := cmp.Diff(map[string]any{
		"iss":               "https://auth.example.com",
		"sub":               "019542d0-0000-7000-8000-000000000001",
		"aud":               "auth-service",
		"iat":               1772366400.0,
		"exp":               1772367300.0,
		"type":              "access",
		"client_id":         "auth-service",
		"sid":               "019542d0-0000-7000-8000-000000000002",
		"epoch":             3.0,
		"role":              "user",
		"email":             "jo@example.com",
		"email_verified":    true,
		"email_otp_enabled": false,
		"auth_time":         1772366400.0,
		"scopes":            []any{},
	}, claims); diff != "" {
		t.Errorf("claims: %s", diff)
	}
	if again := part(t, mint(t, i, c), 1); again["jti"] == part(t, raw, 1)["jti"] {
		t.Error("two tokens have one id")
	}
}

func TestTheAudienceIsOursAndThoseAskedFor(t *testing.T) {
	i, _ := issuer(t, clock.Set(noon), keyring.ES256)
	rows := []struct {
		name  string
		asked []string
		want  any // in JSON: one value is a string, several are an array
	}{
		{"none asked for", nil, "auth-service"},
		{"an empty list", []string{}, "auth-service"},
		{"another service", []string{"orders-api"}, []any{"auth-service", "orders-api"}},
		{"two, in their order", []string{"z-api", "a-api"}, []any{"auth-service", "z-api", "a-api"}},
		{"our own", []string{"auth-service"}, "auth-service"},
		{"our own behind another", []string{"orders-api", "auth-service"}, []any{"auth-service", "orders-api"}},
		{"one twice", []string{"orders-api", "orders-api"}, []any{"auth-service", "orders-api"}},
		{"a blank one", []string{""}, "auth-service"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			c := jo()
			c.Audience = row.asked
			asked := append([]string(nil), row.asked...)
			raw := mint(t, i, c)
			if diff := cmp.Diff(row.want, part(t, raw, 1)["aud"]); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(asked, append([]string(nil), row.asked...)); diff != "" {
				t.Errorf("the caller's list was changed: %s", diff)
			}
			if _, err := i.Verify(t.Context(), raw); err != nil {
				t.Errorf("we do not take it: %v", err)
			}
		})
	}
}

func TestWhatWasMintedVerifies(t *testing.T) {
	for _, algorithm := range []string{keyring.RS256, keyring.ES256, keyring.EdDSA} {
		t.Run(algorithm, func(t *testing.T) {
			i, _ := issuer(t, clock.Set(noon), algorithm)
			want := jo()
			want.Audience, want.Scopes = token.Audience{"orders-api"}, []string{"read"}
			raw := mint(t, i, want)
			if got := part(t, raw, 0)["alg"]; got != algorithm {
				t.Errorf("signed with %v", got)
			}
			got, err := i.Verify(t.Context(), raw)
			if err != nil {
				t.Fatal(err)
			}
			want.Issuer, want.Type, want.ClientID = i.URL, token.TypeAccess, i.Service
			want.Audience = token.Audience{"auth-service", "orders-api"}
			want.IssuedAt, want.ExpiresAt = noon.Unix(), noon.Add(lifetime).Unix()
			want.ID, want.KeyID = got.ID, i.Keys.Active().KID
			if diff := cmp.Diff(&want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhenATokenIsGood(t *testing.T) {
	whole := noon.Truncate(time.Second) // what iat and exp say
	rows := []struct {
		name string
		at   time.Time
		want string
	}{
		{"at once", noon, ""},
		{"until it expires", whole.Add(lifetime), ""},
		{"after that, within the leeway", whole.Add(lifetime + token.Leeway), ""},
		{"beyond the leeway", whole.Add(lifetime + token.Leeway + time.Microsecond), "token_expired"},
		{"a year later", whole.AddDate(1, 0, 0), "token_expired"},
		{"on a machine that is behind, within the leeway", whole.Add(-token.Leeway), ""},
		{"on a machine that is behind, beyond it", whole.Add(-token.Leeway - time.Microsecond), "invalid_token"},
	}
	c := clock.Set(noon)
	i, _ := issuer(t, c, keyring.ES256)
	raw := mint(t, i, jo())
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			c.Advance(row.at.Sub(c.Now()))
			claims, err := i.Verify(t.Context(), raw)
			if got := code(err); got != row.want {
				t.Errorf("%q (%v), want %q", got, err, row.want)
			}
			// Signing out works with a token that has expired.
			if known := claims != nil && claims.SessionID == jo().SessionID; known != (row.want != "invalid_token") {
				t.Errorf("the claims come along: %t", known)
			}
		})
	}
}

// code is the fault's slug, "" for none and "?" for an error that is no fault.
func code(err error) string {
	switch {
	case err == nil:
		return ""
	case fault.Has(err, fault.InvalidToken), fault.Has(err, fault.TokenExpired):
		return fault.From(err).Code.Slug
	}
	return "?"
}

func TestInAnOutageATokenOfAnUnknownKeyIsNotCalledBad(t *testing.T) {
	i, d := issuer(t, clock.Set(noon), keyring.ES256)
	other, _ := issuer(t, clock.Set(noon), keyring.ES256)
	known, unknown := mint(t, i, jo()), mint(t, other, jo())
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Verify(t.Context(), known); err != nil {
		t.Errorf("a token of a known key: %v", err)
	}
	if _, err := i.Verify(t.Context(), unknown); code(err) != "?" {
		t.Errorf("a token of a key that may be new: %v, want an outage", err)
	}
}
