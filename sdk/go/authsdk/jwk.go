package authsdk

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"math"
	"math/big"
)

// The algorithms a token may be signed with (RFC 7518 section 3.1, RFC 8037).
const (
	algRS256 = "RS256"
	algES256 = "ES256"
	algEdDSA = "EdDSA"
)

func isSupported(alg string) bool { return alg == algRS256 || alg == algES256 || alg == algEdDSA }

// publicKey verifies signatures of one algorithm. The algorithm is the key's, so
// a token cannot talk it into another.
type publicKey struct {
	alg    string
	verify func(signed string, signature []byte) bool
}

var errUnusable = errors.New("unusable key")

// parseJWK reads one entry of a JWK set (RFC 7517). It fails for anything that
// is not a strong public signature key of an algorithm we know.
func parseJWK(data []byte) (kid string, key publicKey, err error) {
	jwk, err := parseObject(data)
	if err != nil {
		return "", publicKey{}, err
	}
	kid, _ = jwk.str("kid")
	if kid == "" || !isForVerifying(jwk) {
		return "", publicKey{}, errUnusable
	}
	kty, _ := jwk.str("kty")
	crv, _ := jwk.str("crv")
	switch {
	case kty == "RSA":
		key, err = rsaKey(jwk)
	case kty == "EC" && crv == "P-256":
		key, err = p256Key(jwk)
	case kty == "OKP" && crv == "Ed25519":
		key, err = ed25519Key(jwk)
	default:
		err = errUnusable
	}
	if err != nil {
		return "", publicKey{}, err
	}
	if jwk.has("alg") {
		if alg, _ := jwk.str("alg"); alg != key.alg {
			return "", publicKey{}, errUnusable
		}
	}
	return kid, key, nil
}

func isForVerifying(jwk object) bool {
	if jwk.has("use") {
		if use, _ := jwk.str("use"); use != "sig" {
			return false
		}
	}
	if jwk.has("key_ops") {
		ops, _ := elements(jwk.get("key_ops"))
		for _, op := range ops {
			if s, _ := unquote(op); s == "verify" {
				return true
			}
		}
		return false
	}
	return true
}

// rsaKey takes 2048 to 8192 bits (below is breakable, above is slow) and odd
// exponents from 3 up.
func rsaKey(jwk object) (publicKey, error) {
	n, errN := bigEndian(jwk, "n")
	e, errE := bigEndian(jwk, "e")
	if errN != nil || errE != nil ||
		n.BitLen() < 2048 || n.BitLen() > 8192 || n.Bit(0) == 0 ||
		!e.IsInt64() || e.Int64() < 3 || e.Int64() > math.MaxInt32 || e.Bit(0) == 0 {
		return publicKey{}, errUnusable
	}
	public := &rsa.PublicKey{N: n, E: int(e.Int64())}
	return publicKey{algRS256, func(signed string, signature []byte) bool {
		digest := sha256.Sum256([]byte(signed))
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) == nil
	}}, nil
}

func p256Key(jwk object) (publicKey, error) {
	x, errX := bytesOf(jwk, "x")
	y, errY := bytesOf(jwk, "y")
	if errX != nil || errY != nil || len(x) != 32 || len(y) != 32 {
		return publicKey{}, errUnusable
	}
	point := append(append([]byte{4}, x...), y...)                          // SEC 1, uncompressed
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point) // is it on the curve?
	if err != nil {
		return publicKey{}, err
	}
	return publicKey{algES256, func(signed string, signature []byte) bool {
		if len(signature) != 64 { // r and s, 32 bytes each: RFC 7518 section 3.4
			return false
		}
		digest := sha256.Sum256([]byte(signed))
		r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		return ecdsa.Verify(public, digest[:], r, s)
	}}, nil
}

func ed25519Key(jwk object) (publicKey, error) {
	public, err := bytesOf(jwk, "x")
	if err != nil || len(public) != ed25519.PublicKeySize {
		return publicKey{}, errUnusable
	}
	return publicKey{algEdDSA, func(signed string, signature []byte) bool {
		return ed25519.Verify(public, []byte(signed), signature)
	}}, nil
}

func bytesOf(jwk object, name string) ([]byte, error) {
	s, ok := jwk.str(name)
	if !ok {
		return nil, errUnusable
	}
	return decode64(s)
}

func bigEndian(jwk object, name string) (*big.Int, error) {
	data, err := bytesOf(jwk, name)
	return new(big.Int).SetBytes(data), err
}
