package authsdk

import (
	"context"
	"crypto/ed25519"
	"math/big"
	"testing"
)

func TestUnusableKeysAreSkipped(t *testing.T) {
	authd, k := newFakeAuthd(t), testKeys()
	rsaKey, ecKey := rsaJWK("odd", &k.rsa.PublicKey), ecJWK("odd", &k.ec.PublicKey)
	edKey := edJWK("odd", k.ed.Public().(ed25519.PublicKey))
	even := new(big.Int).Sub(k.rsa.N, big.NewInt(1))
	for _, row := range []struct {
		name   string
		key    any
		usable bool
	}{
		{"an RSA key as the server sends it is used", rsaKey, true},
		{"an RSA key without use and alg is used", rsaKey.with(fields{"use": nil, "alg": nil}), true},
		{"key_ops with verify is used", rsaKey.with(fields{"key_ops": []string{"verify"}}), true},
		{"key_ops without verify is not", rsaKey.with(fields{"key_ops": []string{"encrypt"}}), false},
		{"use enc is not", rsaKey.with(fields{"use": "enc"}), false},
		{"use that is no string is not", rsaKey.with(fields{"use": 1}), false},
		{"alg RS512 is not", rsaKey.with(fields{"alg": "RS512"}), false},
		{"alg of another key type is not", rsaKey.with(fields{"alg": "ES256"}), false},
		{"alg HS256 on an RSA key is not", rsaKey.with(fields{"alg": "HS256"}), false},
		{"a symmetric key is not", fields{"kty": "oct", "kid": "odd", "k": "c2VjcmV0"}, false},
		{"an unknown key type is not", rsaKey.with(fields{"kty": "rsa"}), false},
		{"a key without kid is not", rsaKey.with(fields{"kid": nil}), false},
		{"a kid that is no string is not", rsaKey.with(fields{"kid": 1}), false},
		{"an RSA key of 1024 bits is not", rsaJWK("odd", &k.rsaSmall.PublicKey), false},
		{"an even RSA modulus is not", rsaKey.with(fields{"n": b64(even.Bytes())}), false},
		{"a giant RSA modulus is not", rsaKey.with(fields{"n": b64(new(big.Int).Lsh(k.rsa.N, 8192).Bytes())}), false},
		{"an RSA key without modulus is not", rsaKey.with(fields{"n": nil}), false},
		{"a modulus with padding is not", rsaKey.with(fields{"n": rsaKey["n"].(string) + "="}), false},
		{"exponent 0 is not", rsaKey.with(fields{"e": "AA"}), false},
		{"exponent 1 is not", rsaKey.with(fields{"e": "AQ"}), false},
		{"an even exponent is not", rsaKey.with(fields{"e": b64([]byte{1, 0, 0})}), false},
		{"an exponent over 31 bits is not", rsaKey.with(fields{"e": b64([]byte{1, 0, 0, 0, 1})}), false},
		{"an exponent of a thousand bytes is not", rsaKey.with(fields{"e": b64(k.rsa.N.Bytes())}), false},
		{"an EC point on the curve is used", ecKey, true},
		{"an EC point off the curve is not", ecKey.with(fields{"y": ecKey["x"]}), false},
		{"an EC point at the origin is not", ecKey.with(fields{"x": b64(make([]byte, 32)), "y": b64(make([]byte, 32))}), false},
		{"a short EC coordinate is not", ecKey.with(fields{"x": "AAAA"}), false},
		{"an unknown curve is not", ecKey.with(fields{"crv": "P-384"}), false},
		{"an Ed25519 key is used", edKey, true},
		{"an Ed25519 key of 31 bytes is not", edKey.with(fields{"x": b64(make([]byte, 31))}), false},
		{"X25519 is not", edKey.with(fields{"crv": "X25519"}), false},
		{"an entry that is no object is not", "key", false},
		{"null is not", nil, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			authd.change(func() { authd.keys = []any{row.key, rsaJWK("rsa", &k.rsa.PublicKey)} })
			client := authd.client(t)
			set, err := client.fetchKeys(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if _, used := set.keys["odd"]; used != row.usable {
				t.Errorf("used: %v, want %v", used, row.usable)
			}
			// Whatever stands beside it, the good key works.
			_, err = client.Verify(context.Background(), authd.mint(serviceClaims()))
			check(t, err, 0, "")
		})
	}
}

func TestOfTwoKeysWithOneNameTheFirstCounts(t *testing.T) {
	authd, k := newFakeAuthd(t), testKeys()
	authd.keys = []any{rsaJWK("rsa", &k.rsa.PublicKey), rsaJWK("rsa", &k.rsaOther.PublicKey)}
	_, err := authd.client(t).Verify(context.Background(), authd.mint(serviceClaims()))
	check(t, err, 0, "")
}
