package token_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/core/token"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
)

// forge is what a forger has: our public keys, a good token, keys of his own,
// and, for what we would have to sign ourselves, our private key.
type forge struct {
	t      *testing.T
	db     *db.DB
	issuer *token.Issuer
	good   string
	rsaKID string // of a second key of ours, for RS256
	rsaKey *rsa.PrivateKey
	own    *ecdsa.PrivateKey
}

func newForge(t *testing.T) *forge {
	t.Helper()
	i, d := issuer(t, clock.Set(noon), keyring.ES256)
	f := &forge{t: t, db: d, issuer: i, good: mint(t, i, jo()), rsaKID: uuid.NewString()}
	var err error
	if f.rsaKey, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	if f.own, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	jwk := f.json(jose.JSONWebKey{Key: f.rsaKey.Public(), KeyID: f.rsaKID, Algorithm: keyring.RS256, Use: "sig"})
	err = d.Write(t.Context(), func(tx *db.Tx) error {
		_, err := tx.ExecContext(t.Context(), `INSERT INTO signing_keys (id, kid, algorithm, status, private_sealed, public_jwk, created_at)
			VALUES ($1, $2, $3, 'retiring', $4, $5, $6)`, uuid.New(), f.rsaKID, keyring.RS256, []byte("sealed"), jwk, noon)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Keys.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *forge) json(v any) string {
	f.t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		f.t.Fatal(err)
	}
	return string(b)
}

// sign is what our own key would sign.
func (f *forge) sign(payload string) string {
	return f.signWith(jose.ES256, jose.JSONWebKey{Key: f.issuer.Keys.Active().Private, KeyID: f.kid()}, payload, nil)
}

func (f *forge) kid() string { return f.issuer.Keys.Active().KID }

func (f *forge) signWith(alg jose.SignatureAlgorithm, key any, payload string, o *jose.SignerOptions) string {
	f.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		f.t.Fatal(err)
	}
	signed, err := signer.Sign([]byte(payload))
	if err != nil {
		f.t.Fatal(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		f.t.Fatal(err)
	}
	return raw
}

// claims is the good token's payload with some of it replaced; nil removes.
func (f *forge) claims(changed map[string]any) string {
	f.t.Helper()
	m := part(f.t, f.good, 1)
	for name, value := range changed {
		if m[name] = value; value == nil {
			delete(m, name)
		}
	}
	return f.json(m)
}

func (f *forge) with(name string, value any) string {
	return f.sign(f.claims(map[string]any{name: value}))
}

// segments is the good token with one segment replaced.
func (f *forge) segments(n int, text string) string {
	s := strings.Split(f.good, ".")
	s[n] = text
	return strings.Join(s, ".")
}

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// hs256 signs with a public key as if it were a shared secret.
func (f *forge) hs256(key []byte) string {
	input := encode(f.json(map[string]string{"alg": "HS256", "kid": f.kid(), "typ": "at+jwt"})) + "." + encode(f.claims(nil))
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func (f *forge) publicDER() []byte {
	f.t.Helper()
	der, err := x509.MarshalPKIXPublicKey(f.issuer.Keys.Active().Public)
	if err != nil {
		f.t.Fatal(err)
	}
	return der
}

func TestForgeries(t *testing.T) {
	f := newForge(t)
	kid, now := f.kid(), noon.Unix()
	ourRSA := jose.JSONWebKey{Key: f.rsaKey, KeyID: f.rsaKID}
	ours := jose.JSONWebKey{Key: f.issuer.Keys.Active().Private, KeyID: kid}
	rows := []struct {
		name, raw string
		want      string
	}{
		{"the good token", f.good, ""},
		{"our other key, with its algorithm", f.signWith(jose.RS256, ourRSA, f.claims(nil), nil), ""},
		{"the older header type", f.signWith(jose.ES256, ours, f.claims(nil), (&jose.SignerOptions{}).WithType("JWT")), ""},
		{"our audience among others", f.with("aud", []string{"orders-api", "auth-service"}), ""},

		{"nothing", "", "invalid_token"},
		{"a word", "token", "invalid_token"},
		{"dots", "..", "invalid_token"},
		{"no algorithm", f.segments(0, encode(f.json(map[string]string{"alg": "none", "kid": kid}))), "invalid_token"},
		{"no algorithm and no signature", encode(f.json(map[string]string{"alg": "none", "kid": kid})) + "." + encode(f.claims(nil)) + ".", "invalid_token"},
		{"HS256 with our public key's PEM as the secret",
			f.hs256(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: f.publicDER()})), "invalid_token"},
		{"HS256 with our public key's DER as the secret", f.hs256(f.publicDER()), "invalid_token"},
		{"HS256 with our JWK as the secret", f.hs256([]byte(f.json(f.issuer.Keys.Active().JWK()))), "invalid_token"},
		{"HS256 with no secret", f.hs256(nil), "invalid_token"},
		{"another key under our key id", f.signWith(jose.ES256, jose.JSONWebKey{Key: f.own, KeyID: kid}, f.claims(nil), nil), "invalid_token"},
		{"another key under its own key id", f.signWith(jose.ES256, jose.JSONWebKey{Key: f.own, KeyID: "mine"}, f.claims(nil), nil), "invalid_token"},
		{"another key that comes along in the header",
			f.signWith(jose.ES256, f.own, f.claims(nil), &jose.SignerOptions{EmbedJWK: true}), "invalid_token"},
		{"no key id", f.signWith(jose.ES256, ours.Key, f.claims(nil), nil), "invalid_token"},
		{"our RSA key under the key id of the other", f.signWith(jose.RS256, jose.JSONWebKey{Key: f.rsaKey, KeyID: kid}, f.claims(nil), nil), "invalid_token"},
		{"our other key under the key id of the RSA key", f.signWith(jose.ES256, jose.JSONWebKey{Key: ours.Key, KeyID: f.rsaKID}, f.claims(nil), nil), "invalid_token"},
		{"our RSA key with another of its algorithms", f.signWith(jose.PS256, ourRSA, f.claims(nil), nil), "invalid_token"},
		{"a header that demands what we do not know",
			f.signWith(jose.ES256, ours, f.claims(nil), (&jose.SignerOptions{}).WithHeader("crit", []string{"x"}).WithHeader("x", 1)), "invalid_token"},

		{"no signature", f.segments(2, ""), "invalid_token"},
		{"a signature cut short", f.good[:len(f.good)-4], "invalid_token"},
		{"another token's signature", f.segments(2, strings.Split(f.with("sub", "x"), ".")[2]), "invalid_token"},
		{"another payload under the signature", f.segments(1, encode(f.claims(map[string]any{"role": "admin"}))), "invalid_token"},
		{"a later expiry under the signature", f.segments(1, encode(f.claims(map[string]any{"exp": now + 1e6}))), "invalid_token"},
		{"another header under the signature", f.segments(0, encode(f.json(map[string]string{"alg": "ES256", "kid": kid}))), "invalid_token"},
		{"two segments", f.good[:strings.LastIndex(f.good, ".")], "invalid_token"},
		{"four segments", f.good + ".", "invalid_token"},
		{"JSON serialization", `{"payload":"` + strings.Split(f.good, ".")[1] + `","signatures":[]}`, "invalid_token"},
		{"over-long", f.with("email", strings.Repeat("a", 8<<10)), "invalid_token"},
		{"over-long rubbish", strings.Repeat("a.", 1<<20), "invalid_token"},

		{"a refresh token's type", f.with("type", "refresh"), "invalid_token"},
		{"a machine's type", f.with("type", "m2m"), "invalid_token"},
		{"an action token's type", f.with("type", "action_token"), "invalid_token"},
		{"a type in capitals", f.with("type", "Access"), "invalid_token"},
		{"no type", f.with("type", nil), "invalid_token"},
		{"another service's audience", f.with("aud", "orders-api"), "invalid_token"},
		{"other services' audiences", f.with("aud", []string{"orders-api", "jobs-api"}), "invalid_token"},
		{"an audience that ours is a part of", f.with("aud", "auth-service-2"), "invalid_token"},
		{"no audience", f.with("aud", nil), "invalid_token"},
		{"an audience that is a number", f.with("aud", 7), "invalid_token"},
		{"no subject", f.with("sub", nil), "invalid_token"},
		{"no id", f.with("jti", nil), "invalid_token"},
		{"no session", f.with("sid", nil), "invalid_token"},
		{"issued in the future", f.with("iat", now+31), "invalid_token"},
		{"issued at a word", f.with("iat", "now"), "invalid_token"},
		{"expired", f.with("exp", now-30), "token_expired"},
		{"no expiry", f.with("exp", nil), "token_expired"},
		{"expired and of another type", f.sign(f.claims(map[string]any{"exp": 1, "type": "refresh"})), "invalid_token"},
		{"expired and another service's", f.sign(f.claims(map[string]any{"exp": 1, "aud": "orders-api"})), "invalid_token"},
		{"a payload that is not JSON", f.sign("hello"), "invalid_token"},
		{"a payload that is null", f.sign("null"), "invalid_token"},
		{"a payload that is a list", f.sign("[]"), "invalid_token"},
		{"an empty payload", f.sign(""), "invalid_token"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			claims, err := f.issuer.Verify(t.Context(), row.raw)
			if got := code(err); got != row.want {
				t.Errorf("%q (%v), want %q", got, err, row.want)
			}
			if row.want == "invalid_token" && claims != nil {
				t.Error("the claims of a bad token come along")
			}
		})
	}
}

// Whatever is accepted says what was signed.
func FuzzVerify(f *testing.F) {
	i, _ := issuer(f, clock.Set(noon), keyring.ES256)
	good := mint(f, i, jo())
	want, err := i.Verify(f.Context(), good)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("..")
	f.Add(strings.ReplaceAll(good, ".", "\n.\n"))
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := i.Verify(t.Context(), raw)
		if err != nil {
			if c := code(err); c != "invalid_token" {
				t.Errorf("%q: %v", raw, err)
			}
			return
		}
		if got.ID != want.ID || got.SessionID != want.SessionID || got.ExpiresAt != want.ExpiresAt {
			t.Errorf("%q is accepted and says %+v", raw, got)
		}
	})
}

// A signature is computed once; whether its key still verifies is asked each
// time.
func TestATokenSeenBeforeDiesWithItsKey(t *testing.T) {
	f := newForge(t)
	raw := f.signWith(jose.RS256, jose.JSONWebKey{Key: f.rsaKey, KeyID: f.rsaKID}, f.claims(nil), nil)
	for range 2 {
		if _, err := f.issuer.Verify(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
	}
	err := f.db.Write(t.Context(), func(tx *db.Tx) error {
		_, err := tx.ExecContext(t.Context(), `UPDATE signing_keys SET status = 'retired' WHERE kid = $1`, f.rsaKID)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.issuer.Keys.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if claims, err := f.issuer.Verify(t.Context(), raw); code(err) != "invalid_token" || claims != nil {
		t.Errorf("%v: the token outlives its key", err)
	}
	if _, err := f.issuer.Verify(t.Context(), f.good); err != nil {
		t.Errorf("the other key's token: %v", err)
	}
}

// Two that differ in a character of the signature are two.
func TestATokenSeenBeforeVouchesForNoOther(t *testing.T) {
	f := newForge(t)
	if _, err := f.issuer.Verify(t.Context(), f.good); err != nil {
		t.Fatal(err)
	}
	signature := []byte(strings.Split(f.good, ".")[2])
	for i := range signature {
		changed := append([]byte{}, signature...)
		if changed[i]++; changed[i] == '[' || changed[i] == '{' || changed[i] == ':' || changed[i] == '.' || changed[i] == '`' {
			changed[i] = 'A'
		}
		if _, err := f.issuer.Verify(t.Context(), f.segments(2, string(changed))); code(err) != "invalid_token" {
			t.Errorf("character %d of the signature does not count: %v", i, err)
		}
	}
}
