package authsdk

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

type row struct {
	name   string
	token  string
	status int // 0: accepted
	code   string
}

func runRows(t *testing.T, client *Client, rows []row) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			id, err := client.Verify(context.Background(), row.token)
			check(t, err, row.status, row.code)
			if err != nil && !reflect.DeepEqual(id, Identity{}) {
				t.Errorf("a refused token gave the identity %+v", id)
			}
		})
	}
}

func TestVerifyHeaderAndSignature(t *testing.T) {
	authd, k := newFakeAuthd(t), testKeys()
	header, claims := rsHeader(), userClaims().String()
	good := authd.mint(userClaims())
	parts := strings.Split(good, ".")
	sealed := func(key any, changes fields) string { return sign(key, header.with(changes).String(), claims) }
	der, err := x509.MarshalPKIXPublicKey(&k.rsa.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	hs256 := func(signed string) []byte {
		mac := hmac.New(sha256.New, publicPEM)
		mac.Write([]byte(signed))
		return mac.Sum(nil)
	}
	unsigned := func(string) []byte { return nil }
	// The last character of a 256-byte signature carries four unused bits.
	sloppy := good[:len(good)-1] + string(good[len(good)-1]+1)

	runRows(t, authd.client(t), []row{
		{"a token of the server is accepted", good, 0, ""},
		{"an ES256 token under an EC key is accepted", sealed(k.ec, fields{"alg": "ES256", "kid": "ec"}), 0, ""},
		{"an EdDSA token under an Ed25519 key is accepted", sealed(k.ed, fields{"alg": "EdDSA", "kid": "ed"}), 0, ""},
		{"typ JWT is accepted in any case", sealed(k.rsa, fields{"typ": "jwt"}), 0, ""},
		{"typ at+jwt is accepted in any case", sealed(k.rsa, fields{"typ": "AT+JWT"}), 0, ""},
		{"a missing typ is accepted", sealed(k.rsa, fields{"typ": nil}), 0, ""},
		{"another typ is refused", sealed(k.rsa, fields{"typ": "logout+jwt"}), 401, "invalid_token"},
		{"a typ that is no string is refused", sealed(k.rsa, fields{"typ": 1}), 401, "invalid_token"},

		{"no token is refused", "", 401, "invalid_token"},
		{"one part is refused", "abc", 401, "invalid_token"},
		{"two parts are refused", parts[0] + "." + parts[1], 401, "invalid_token"},
		{"four parts are refused", good + ".", 401, "invalid_token"},
		{"an encrypted token (five parts) is refused", good + "..", 401, "invalid_token"},
		{"two dots are refused", "..", 401, "invalid_token"},
		{"padding is refused", parts[0] + "=." + parts[1] + "." + parts[2], 401, "invalid_token"},
		{"a line break is refused", parts[0] + "." + parts[1] + "\n." + parts[2], 401, "invalid_token"},
		{"another spelling of the same signature is refused", sloppy, 401, "invalid_token"},
		{"characters of standard base64 are refused", good[:len(good)-4] + "+/+A", 401, "invalid_token"},
		{"bytes that are not ASCII are refused", "é.é.é", 401, "invalid_token"},
		{"more than 16 KiB is refused", strings.Repeat("a", maxToken+1), 401, "invalid_token"},
		{"a header that is no object is refused", sign(k.rsa, `["RS256"]`, claims), 401, "invalid_token"},
		{"a header with text after it is refused", sign(k.rsa, header.String()+"{}", claims), 401, "invalid_token"},
		{"deep nesting is refused", sign(k.rsa, strings.Repeat("[", 9000), claims), 401, "invalid_token"},

		{"alg none is refused", sealed(unsigned, fields{"alg": "none"}), 401, "invalid_token"},
		{"alg None is refused", sealed(unsigned, fields{"alg": "None"}), 401, "invalid_token"},
		{"a missing alg is refused", sealed(k.rsa, fields{"alg": nil}), 401, "invalid_token"},
		{"an alg that is no string is refused", sealed(k.rsa, fields{"alg": []string{"RS256"}}), 401, "invalid_token"},
		{"HS256 with the public key as secret is refused", sealed(hs256, fields{"alg": "HS256"}), 401, "invalid_token"},
		{"a MAC under the name RS256 is refused", sealed(hs256, nil), 401, "invalid_token"},
		{"RS512 is refused", sealed(k.rsa, fields{"alg": "RS512"}), 401, "invalid_token"},
		{"ES256 under an RSA key is refused", sealed(k.ec, fields{"alg": "ES256"}), 401, "invalid_token"},
		{"RS256 under an EC key is refused", sealed(k.rsa, fields{"kid": "ec"}), 401, "invalid_token"},
		{"EdDSA under an EC key is refused", sealed(k.ed, fields{"alg": "EdDSA", "kid": "ec"}), 401, "invalid_token"},
		{"a DER signature under ES256 is refused", sealed(unsigned, fields{"alg": "ES256", "kid": "ec"}) + "MEUCIQ", 401, "invalid_token"},
		{"an all-zero ES256 signature is refused", sealed(func(string) []byte { return make([]byte, 64) }, fields{"alg": "ES256", "kid": "ec"}), 401, "invalid_token"},

		{"a missing kid is refused, though there is one key", sealed(k.rsa, fields{"kid": nil}), 401, "invalid_token"},
		{"an empty kid is refused", sealed(k.rsa, fields{"kid": ""}), 401, "invalid_token"},
		{"an unknown kid is refused", sealed(k.rsa, fields{"kid": "other"}), 401, "invalid_token"},
		{"another key's signature is refused", sealed(k.rsaOther, nil), 401, "invalid_token"},
		{"a key the token brings along is not used", sealed(k.rsaOther, fields{"jwk": rsaJWK("rsa", &k.rsaOther.PublicKey)}), 401, "invalid_token"},
		{"a crit header is refused", sealed(k.rsa, fields{"crit": []string{"exp"}}), 401, "invalid_token"},
		{"an empty crit header is refused", sealed(k.rsa, fields{"crit": []string{}}), 401, "invalid_token"},
		{"a changed claim is refused", parts[0] + "." + b64([]byte(userClaims().with(fields{"role": "admin"}).String())) + "." + parts[2], 401, "invalid_token"},

		{"a header in other case counts for nothing", sign(k.rsa, `{"ALG":"RS256","KID":"rsa"}`, claims), 401, "invalid_token"},
		{"a header beside its other case is itself", sign(k.rsa, `{"ALG":"none","alg":"RS256","kid":"rsa"}`, claims), 0, ""},
		{"a header member given twice is refused", sign(k.rsa, `{"alg":"RS256","kid":"x","kid":"rsa"}`, claims), 401, "invalid_token"},
	})
}

func TestVerifyClaims(t *testing.T) {
	authd, k := newFakeAuthd(t), testKeys()
	user := func(changes fields) string { return authd.mint(userClaims().with(changes)) }
	service := func(changes fields) string { return authd.mint(serviceClaims().with(changes)) }
	// literal adds members as text, after those of a good user.
	literal := func(changes fields, text string) string {
		claims := userClaims().with(changes).String()
		return sign(k.rsa, rsHeader().String(), strings.TrimSuffix(claims, "}")+","+text+"}")
	}
	at := func(d time.Duration) int64 { return epoch.Add(d).Unix() }
	const bad = "invalid_token"

	runRows(t, authd.client(t, Issuer("http://localhost:8000")), []row{
		{"a missing jti is refused", user(fields{"jti": nil}), 401, bad},
		{"an empty jti is refused", user(fields{"jti": ""}), 401, bad},
		{"a missing sub is refused", user(fields{"sub": nil}), 401, bad},
		{"a sub that is a number is refused", user(fields{"sub": 7}), 401, bad},
		{"a missing iat is refused", user(fields{"iat": nil}), 401, bad},
		{"a zero iat is refused", user(fields{"iat": 0}), 401, bad},
		{"a missing exp is refused", user(fields{"exp": nil}), 401, bad},
		{"a zero exp is refused, not expired", user(fields{"exp": 0}), 401, bad},
		{"an exp that is a string is refused", user(fields{"exp": "1767323045"}), 401, bad},
		{"an exp that is true is refused", user(fields{"exp": true}), 401, bad},
		{"an exp of null is refused", literal(fields{"exp": nil}, `"exp":null`), 401, bad},
		{"an exp of NaN is refused", literal(fields{"exp": nil}, `"exp":NaN`), 401, bad},
		{"an exp beyond float64 is refused", literal(fields{"exp": nil}, `"exp":1e999`), 401, bad},
		{"a huge exp is in the future", literal(fields{"exp": nil}, `"exp":1e300`), 0, ""},
		{"a fractional exp is a number", literal(fields{"exp": nil}, `"exp":1767323045.75`), 0, ""},

		{"exp of now is accepted", user(fields{"exp": at(0)}), 0, ""},
		{"exp is accepted for the leeway", user(fields{"exp": at(-30 * time.Second)}), 0, ""},
		{"exp past the leeway has expired", user(fields{"exp": at(-31 * time.Second)}), 401, "token_expired"},
		{"a negative exp has expired", user(fields{"exp": -1}), 401, "token_expired"},
		{"expired and for somebody else is just refused", user(fields{"exp": 1, "aud": "x"}), 401, bad},
		{"expired and without e-mail is just refused", user(fields{"exp": 1, "email": nil}), 401, bad},
		{"expired and forged is just refused", sign(k.rsaOther, rsHeader().String(), userClaims().with(fields{"exp": 1}).String()), 401, bad},
		{"an expired m2m token has expired", service(fields{"exp": 1}), 401, "token_expired"},
		{"iat is accepted within the leeway", user(fields{"iat": at(30 * time.Second)}), 0, ""},
		{"iat in the future is refused", user(fields{"iat": at(31 * time.Second)}), 401, bad},
		{"nbf is accepted within the leeway", user(fields{"nbf": at(30 * time.Second)}), 0, ""},
		{"nbf in the future is refused", user(fields{"nbf": at(31 * time.Second)}), 401, bad},
		{"nbf that is no number is refused", user(fields{"nbf": "x"}), 401, bad},
		{"nbf of minus infinity is refused", literal(nil, `"nbf":-1e999`), 401, bad},

		{"aud may be one string, trimmed", user(fields{"aud": " orders-api "}), 0, ""},
		{"a missing aud is refused", user(fields{"aud": nil}), 401, bad},
		{"an empty aud is refused", user(fields{"aud": []string{}}), 401, bad},
		{"aud of another service is refused", user(fields{"aud": []string{"auth-service", "billing-api"}}), 401, bad},
		{"aud compares with case", user(fields{"aud": "Orders-API"}), 401, bad},
		{"aud is no substring match", user(fields{"aud": "orders-api-2"}), 401, bad},
		{"aud with an entry that is no string is refused", user(fields{"aud": []any{"orders-api", 1}}), 401, bad},
		{"another issuer is refused", user(fields{"iss": "http://localhost:8000/"}), 401, bad},
		{"a missing issuer is refused when one is expected", user(fields{"iss": nil}), 401, bad},

		{"a refresh token is refused", user(fields{"type": "refresh"}), 401, bad},
		{"an action token is refused", user(fields{"type": "action_token"}), 401, bad},
		{"a one-time-code challenge is refused", user(fields{"type": "otp_challenge"}), 401, bad},
		{"a token without type is refused", user(fields{"type": nil}), 401, bad},
		{"type compares with case", user(fields{"type": "Access"}), 401, bad},
		{"a missing role is refused", user(fields{"role": nil}), 401, bad},
		{"an unknown role is refused", user(fields{"role": "root"}), 401, bad},
		{"a role that is a list is refused", user(fields{"role": []string{"admin"}}), 401, bad},

		{"a missing e-mail is refused", user(fields{"email": nil}), 401, bad},
		{"a blank e-mail is refused", user(fields{"email": " "}), 401, bad},
		{"email_verified that is a string is refused", user(fields{"email_verified": "true"}), 401, bad},
		{"a missing email_otp_enabled is refused", user(fields{"email_otp_enabled": nil}), 401, bad},
		{"a missing auth_time is refused", user(fields{"auth_time": nil}), 401, bad},
		{"a fractional auth_time is refused", user(fields{"auth_time": 1.5}), 401, bad},
		{"an auth_time outside the calendar is refused", user(fields{"auth_time": math.MaxInt64}), 401, bad},
		{"a missing sid is accepted", user(fields{"sid": nil}), 0, ""},
		{"a sid that is no string is refused", user(fields{"sid": 1}), 401, bad},
		{"scopes that are no list are none", user(fields{"scopes": "orders:read"}), 0, ""},

		{"an m2m token is accepted", service(nil), 0, ""},
		{"an m2m token without scope is accepted", service(fields{"scope": nil}), 0, ""},
		{"an m2m token with a list of scopes is refused", service(fields{"scope": []string{"a"}}), 401, bad},
		{"an m2m token with another role is refused", service(fields{"role": "admin"}), 401, bad},

		{"a claim in other case counts for nothing", user(fields{"exp": nil, "EXP": at(time.Hour)}), 401, bad},
		{"a claim beside its other case is itself", user(fields{"Role": "admin", "ROLE": 7}), 0, ""},
		{"a claim given twice is refused", literal(nil, `"role":"admin"`), 401, bad},
		{"a claim given twice, once escaped, is refused", literal(nil, `"\u0072ole":"admin"`), 401, bad},
		{"an escaped claim name is the name", literal(fields{"role": nil}, `"\u0072ole":"admin"`), 0, ""},
		{"claims that are not UTF-8 are refused", literal(nil, "\"x\":\"\xff\""), 401, bad},
		{"claims that are no object are refused", sign(k.rsa, rsHeader().String(), `"x"`), 401, bad},
		{"claims with text after them are refused", sign(k.rsa, rsHeader().String(), userClaims().String()+"x"), 401, bad},
	})
}

func TestAudienceOptions(t *testing.T) {
	authd := newFakeAuthd(t)
	both := fields{"aud": []string{"orders-api", "billing-api"}}
	one := fields{"aud": "orders-api"}
	for _, row := range []struct {
		name   string
		opts   []Option
		claims fields
		status int
	}{
		{"all of two names need both", []Option{Audience("billing-api")}, one, 401},
		{"all of two names accept both", []Option{Audience("billing-api")}, both, 0},
		{"any of two names needs one", []Option{AnyAudience("x", "orders-api")}, one, 0},
		{"any of two names refuses neither", []Option{AnyAudience("x", "y")}, one, 401},
	} {
		t.Run(row.name, func(t *testing.T) {
			client := authd.client(t, row.opts...)
			_, err := client.Verify(context.Background(), authd.mint(serviceClaims().with(row.claims)))
			check(t, err, row.status, "invalid_token")
		})
	}
}

func TestIdentities(t *testing.T) {
	authd := newFakeAuthd(t)
	client := authd.client(t)
	user, err := client.Verify(context.Background(), authd.mint(userClaims().with(fields{"scopes": []any{"a b", 7, true}})))
	check(t, err, 0, "")
	want := Identity{
		Type: "user", UserID: "0198c0de-0000-7000-8000-000000000001", SessionID: "0198c0de-0000-7000-8000-000000000003",
		Email: "ada@example.com", EmailVerified: true, AuthTime: time.Unix(epoch.Unix(), 0),
		Role: "user", Scopes: []string{"a b", "7", "true"}, Audience: []string{"auth-service", "orders-api", "billing-api"},
	}
	if !reflect.DeepEqual(user, want) {
		t.Errorf("got  %+v\nwant %+v", user, want)
	}
	service, err := client.Verify(context.Background(), authd.mint(serviceClaims()))
	check(t, err, 0, "")
	want = Identity{
		Type: "service", ClientID: "client-7", Role: "service",
		Scopes: []string{"orders:read", "orders:write"}, Audience: []string{"orders-api"},
	}
	if !reflect.DeepEqual(service, want) {
		t.Errorf("got  %+v\nwant %+v", service, want)
	}
}
