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
	"encoding/pem"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Algorithms that access tokens may be signed with.
const (
	RS256 = "RS256"
	ES256 = "ES256"
	EdDSA = "EdDSA"
)

// The states of a key.
const (
	Next     = "next"
	Active   = "active"
	Retiring = "retiring"
	Retired  = "retired"
	Revoked  = "revoked"
)

// Key is a signing key. Private is nil for keys that only verify.
type Key struct {
	KID       string
	Algorithm string
	Status    string
	Retires   time.Time // when it stops to verify; zero if that is not known yet
	Private   crypto.Signer
	Public    crypto.PublicKey
}

// JWK returns the public half (RFC 7517).
func (k *Key) JWK() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.Public, KeyID: k.KID, Algorithm: k.Algorithm, Use: "sig"}
}

func generate(algorithm string) (key crypto.Signer, err error) {
	switch algorithm {
	case RS256:
		return rsa.GenerateKey(rand.Reader, 2048)
	case ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EdDSA:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("keyring: unknown algorithm %q", algorithm)
}

func algorithmOf(key crypto.PublicKey) (string, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return RS256, nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return ES256, nil
		}
	case ed25519.PublicKey:
		return EdDSA, nil
	}
	return "", fmt.Errorf("keyring: keys of this kind are not supported")
}

// kid is the unpadded base64url of the first 16 bytes of SHA-256 over the
// public key's PEM text, as clients of the earlier service know it.
func kid(publicPEM string) string {
	sum := sha256.Sum256([]byte(publicPEM))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

func publicPEM(key crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

// parsePEM reads a PKCS#8, PKCS#1 or SEC 1 private key.
func parsePEM(text string) (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, fmt.Errorf("JWT__PRIVATE_KEY_PEM holds no PEM block")
	}
	if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	return nil, fmt.Errorf("JWT__PRIVATE_KEY_PEM is not a private key this service can read")
}
