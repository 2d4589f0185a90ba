package token_test

import (
	"maps"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/core/token"
	"github.com/authsdk/authsdk/internal/foundation/clock"
)

var (
	rowID  = uuid.MustParse("019542d0-0000-7000-8000-000000000003")
	userID = uuid.MustParse("019542d0-0000-7000-8000-000000000001")
)

const onceFor = 10 * time.Minute

func challenge(t testing.TB, i *token.Issuer, audiences ...string) string {
	t.Helper()
	raw, err := i.Challenge(rowID, userID, audiences, i.Clock.Now().Add(onceFor))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func action(t testing.TB, i *token.Issuer, c token.Once) string {
	t.Helper()
	raw, err := i.Action(c, i.Clock.Now().Add(onceFor))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// confirmation of an act of another service.
func confirmation() token.Once {
	return token.Once{
		ID: rowID.String(), Subject: userID.String(), Audience: token.Audience{"orders-api"},
		SessionID: "019542d0-0000-7000-8000-000000000002", Action: "orders-api:refund", Target: "order 7",
	}
}

func TestATokenThatIsGoodOnceSaysExactlyThis(t *testing.T) {
	i, _ := issuer(t, clock.Set(noon), keyring.ES256)
	now := float64(noon.Unix())
	rows := []struct {
		name, raw, kind string
		want            map[string]any
	}{
		{"a challenge", challenge(t, i), token.TypeChallenge, map[string]any{
			"iss": "https://auth.example.com", "sub": userID.String(), "aud": "auth-service", "jti": rowID.String(),
			"iat": now, "exp": now + 600, "type": "otp_challenge",
		}},
		{"a challenge for another service, too", challenge(t, i, "orders-api"), token.TypeChallenge, map[string]any{
			"iss": "https://auth.example.com", "sub": userID.String(), "aud": []any{"auth-service", "orders-api"}, "jti": rowID.String(),
			"iat": now, "exp": now + 600, "type": "otp_challenge",
		}},
		{"a confirmation", action(t, i, confirmation()), token.TypeAction, map[string]any{
			"iss": "https://auth.example.com", "sub": userID.String(), "aud": "orders-api", "jti": rowID.String(),
			"iat": now, "exp": now + 600, "type": "action_token",
			"sid": "019542d0-0000-7000-8000-000000000002", "action": "orders-api:refund", "target": "order 7",
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			header := map[string]any{"alg": "ES256", "kid": i.Keys.Active().KID, "typ": "JWT"}
			if diff := cmp.Diff(header, part(t, row.raw, 0)); diff != "" {
				t.Error("header", diff)
			}
			if diff := cmp.Diff(row.want, part(t, row.raw, 1)); diff != "" {
				t.Error("claims", diff)
			}
			c, id, user, err := i.VerifyOnce(t.Context(), row.kind, row.raw)
			if err != nil || id != rowID || user != userID || c.Type != row.kind {
				t.Errorf("%+v, %v, %v, %v", c, id, user, err)
			}
		})
	}
}

func TestATokenIsOneKindOnly(t *testing.T) {
	i, _ := issuer(t, clock.Set(noon), keyring.ES256)
	raw := map[string]string{
		token.TypeAccess: mint(t, i, jo()), token.TypeChallenge: challenge(t, i),
		token.TypeAction: action(t, i, token.Once{ID: rowID.String(), Subject: userID.String(), Audience: token.Audience{"auth-service"}, SessionID: jo().SessionID, Action: "erase_account"}),
	}
	verify := map[string]func(string) error{
		token.TypeAccess: func(raw string) error { _, err := i.Verify(t.Context(), raw); return err },
		token.TypeChallenge: func(raw string) error {
			_, _, _, err := i.VerifyOnce(t.Context(), token.TypeChallenge, raw)
			return err
		},
		token.TypeAction: func(raw string) error { _, _, _, err := i.VerifyOnce(t.Context(), token.TypeAction, raw); return err },
	}
	for as := range maps.Keys(verify) {
		for kind := range maps.Keys(raw) {
			want := "invalid_token"
			if as == kind {
				want = ""
			}
			if got := code(verify[as](raw[kind])); got != want {
				t.Errorf("a token of kind %s as one of kind %s: %q, want %q", kind, as, got, want)
			}
		}
	}
}

// It is short-lived and read by us alone, so there is no leeway at its end.
func TestWhenATokenThatIsGoodOnceIsGood(t *testing.T) {
	for after, want := range map[time.Duration]string{
		0: "", onceFor - time.Second: "", onceFor: "invalid_token", // iat and exp are cut to whole seconds
		-token.Leeway: "", -token.Leeway - 2*time.Second: "invalid_token", 24 * time.Hour: "invalid_token",
	} {
		c := clock.Set(noon)
		i, _ := issuer(t, c, keyring.ES256)
		raw := challenge(t, i)
		c.Advance(after)
		if _, _, _, err := i.VerifyOnce(t.Context(), token.TypeChallenge, raw); code(err) != want {
			t.Errorf("%v after it was made: %v, want %q", after, err, want)
		}
	}
}

func TestForgeriesOfTokensThatAreGoodOnce(t *testing.T) {
	f := newForge(t)
	f.good = challenge(t, f.issuer)
	other := newForge(t) // another service of this kind, with keys of its own
	ours := jose.JSONWebKey{Key: f.issuer.Keys.Active().Private, KeyID: f.kid()}
	rows := []struct {
		name, raw, want string
	}{
		{"the good token", f.good, ""},
		{"signed by us again", f.sign(f.claims(nil)), ""},
		{"nothing", "", "invalid_token"},
		{"rubbish", "a.b.c", "invalid_token"},
		{"no algorithm", encode(f.json(map[string]string{"alg": "none", "kid": f.kid()})) + "." + encode(f.claims(nil)) + ".", "invalid_token"},
		{"HS256 with our public key", f.hs256(f.publicDER()), "invalid_token"},
		{"another's key", challenge(t, other.issuer), "invalid_token"},
		{"another's key under our key id", f.signWith(jose.ES256, jose.JSONWebKey{Key: f.own, KeyID: f.kid()}, f.claims(nil), nil), "invalid_token"},
		{"another user under the signature", f.segments(1, encode(f.claims(map[string]any{"sub": uuid.NewString()}))), "invalid_token"},
		{"another algorithm than the key's", f.signWith(jose.PS256, jose.JSONWebKey{Key: f.rsaKey, KeyID: f.rsaKID}, f.claims(nil), nil), "invalid_token"},
		{"an access token's type", f.with("type", "access"), "invalid_token"},
		{"no type", f.with("type", nil), "invalid_token"},
		{"no audience", f.with("aud", nil), "invalid_token"},
		{"an empty audience", f.with("aud", ""), "invalid_token"},
		{"an empty audience among others", f.with("aud", []string{"auth-service", ""}), "invalid_token"},
		{"no id", f.with("jti", nil), "invalid_token"},
		{"an id that is none", f.with("jti", "7"), "invalid_token"},
		{"no subject", f.with("sub", nil), "invalid_token"},
		{"a subject that is none", f.with("sub", "jo"), "invalid_token"},
		{"no expiry", f.with("exp", nil), "invalid_token"},
		{"issued in the future", f.with("iat", noon.Unix()+31), "invalid_token"},
		{"a payload that is a list", f.signWith(jose.ES256, ours, "[]", nil), "invalid_token"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if _, _, _, err := f.issuer.VerifyOnce(t.Context(), token.TypeChallenge, row.raw); code(err) != row.want {
				t.Errorf("%v, want %q", err, row.want)
			}
		})
	}
}
