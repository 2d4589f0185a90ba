// Package secret makes and guards secrets: random tokens, keyed codes, sealed
// values and password hashes. Together with core/keyring it is the only
// package that reads crypto/rand.
package secret

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
)

// Bytes returns n random bytes.
func Bytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails: it crashes the program first (crypto/rand)
	return b
}

// Token returns n random bytes in unpadded base64url.
func Token(n int) string { return base64.RawURLEncoding.EncodeToString(Bytes(n)) }

// Equal compares in constant time.
func Equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

// Hash returns the hex SHA-256 of a high-entropy token: what is stored in its
// place. Never use it on something a person chose.
func Hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
