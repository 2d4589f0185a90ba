package keyring

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

// theRSAKey is made once: it takes a while.
var theRSAKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func rsaKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := theRSAKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaPEM(t *testing.T) string {
	t.Helper()
	return pkcs8(t, rsaKey(t))
}

func pkcs8(t *testing.T, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return block("PRIVATE KEY", der)
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func ecKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestAPairFromTheSettingsBecomesTheFirstKey(t *testing.T) {
	ec := ecKey(t, elliptic.P256())
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	publicRSA, err := publicPEM(rsaKey(t).Public())
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name, private, public string
		signer                crypto.Signer
		algorithm             string
	}{
		{"RSA in PKCS#8", rsaPEM(t), publicRSA, rsaKey(t), RS256},
		{"RSA in PKCS#1", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey(t))), publicRSA, rsaKey(t), RS256},
		{"a public half without its last line break", rsaPEM(t), publicRSA[:len(publicRSA)-1], rsaKey(t), RS256},
		{"no public half", rsaPEM(t), "", rsaKey(t), RS256},
		{"P-256 in SEC 1", block("EC PRIVATE KEY", sec1), "", ec, ES256},
		{"P-256 in PKCS#8", pkcs8(t, ec), "", ec, ES256},
		{"Ed25519", pkcs8(t, edKey), "", edKey, EdDSA},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				change(t, d, `DELETE FROM signing_keys`)
				k := mustLoad(t, d, Options{Algorithm: ES256, PrivatePEM: row.private, PublicPEM: row.public})
				public := row.public
				if public == "" {
					if public, err = publicPEM(row.signer.Public()); err != nil {
						t.Fatal(err)
					}
				}
				// The contract: unpadded base64url of the first 16 bytes of
				// SHA-256 over the public key's PEM text.
				sum := sha256.Sum256([]byte(public))
				if got, want := k.Active().KID, base64.RawURLEncoding.EncodeToString(sum[:16]); got != want || len(got) != 22 {
					t.Errorf("kid %s, want %s", got, want)
				}
				if k.Active().Algorithm != row.algorithm {
					t.Errorf("algorithm %s, want %s", k.Active().Algorithm, row.algorithm)
				}
				type comparable interface{ Equal(crypto.PublicKey) bool }
				if key, ok := k.Active().Public.(comparable); !ok || !key.Equal(row.signer.Public()) {
					t.Error("another key was imported")
				}
				second := mustLoad(t, d, Options{Algorithm: ES256})
				if second.Active().KID != k.Active().KID {
					t.Error("the imported key did not stay")
				}
			})
		}
	})
}

func TestKeysThatCannotBeImported(t *testing.T) {
	public, err := publicPEM(rsaKey(t).Public())
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct{ name, private string }{
		{"text that is not PEM", "hunter2"},
		{"a public key", public},
		{"a PEM block with rubbish in it", block("PRIVATE KEY", []byte("hunter2"))},
		{"a curve that no algorithm of ours uses", pkcs8(t, ecKey(t, elliptic.P384()))},
	}
	d := dbtest.SQLite(t)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if _, err := load(t, d, sealing, Options{Algorithm: RS256, PrivatePEM: row.private}); err == nil {
				t.Error("it was imported")
			}
			if n := count(t, d, `SELECT COUNT(*) FROM signing_keys`); n != 0 {
				t.Errorf("%d keys were stored", n)
			}
		})
	}
	if _, err := load(t, d, sealing, Options{Algorithm: "HS256"}); err == nil {
		t.Error("a key for HS256 was made")
	}
}

// members is what a JWKS or a JWK says.
type members struct {
	kids  []string
	names []string
}

// private lists the members that only a private or symmetric key has (RFC 7518
// §6.2.2, §6.3.2, §6.4.1).
func (m members) private() (found []string) {
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if slices.Contains(m.names, name) {
			found = append(found, name)
		}
	}
	return found
}

func membersOf(t *testing.T, body []byte) (m members) {
	t.Helper()
	var set struct{ Keys []map[string]any }
	var one map[string]any
	if err := json.Unmarshal(body, &set); err != nil {
		t.Fatal(err)
	}
	if set.Keys == nil {
		if err := json.Unmarshal(body, &one); err != nil {
			t.Fatal(err)
		}
		set.Keys = append(set.Keys, one)
	}
	for _, key := range set.Keys {
		m.kids = append(m.kids, key["kid"].(string))
		for name := range key {
			m.names = append(m.names, name)
		}
	}
	return m
}

func privateParts(t *testing.T, signer crypto.Signer) [][]byte {
	t.Helper()
	key, ok := signer.(*rsa.PrivateKey)
	if !ok {
		t.Fatalf("%T", signer)
	}
	return [][]byte{key.D.Bytes(), key.Primes[0].Bytes(), key.Primes[1].Bytes()}
}

func TestTheKeySetTellsThePublicHalvesOnly(t *testing.T) {
	allowed := map[string][]string{
		"RSA": {"alg", "e", "kid", "kty", "n", "use"},
		"EC":  {"alg", "crv", "kid", "kty", "use", "x", "y"},
		"OKP": {"alg", "crv", "kid", "kty", "use", "x"},
	}
	algorithms := map[string]string{"RSA": RS256, "EC": ES256, "OKP": EdDSA}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, algorithm := range []string{RS256, ES256, EdDSA} {
			t.Run(algorithm, func(t *testing.T) {
				change(t, d, `DELETE FROM signing_keys`)
				o := Options{Algorithm: algorithm}
				if algorithm == RS256 {
					o.PrivatePEM = rsaPEM(t)
				}
				k := mustLoad(t, d, o)
				body, _ := k.JWKS()
				var set struct{ Keys []map[string]string }
				if err := json.Unmarshal(body, &set); err != nil || len(set.Keys) != 2 {
					t.Fatal(err, string(body))
				}
				for _, key := range set.Keys {
					names := slices.Sorted(maps.Keys(key))
					if !slices.Equal(names, allowed[key["kty"]]) {
						t.Errorf("it tells %v", names)
					}
					if !slices.Contains(kids(t, d, "active", "next"), key["kid"]) || key["use"] != "sig" || key["alg"] != algorithm || algorithms[key["kty"]] != algorithm {
						t.Errorf("%v", key)
					}
				}
			})
		}
	})
}
