package apikey

import (
	"hash/crc32"
	"strings"

	"github.com/authsdk/authsdk/internal/foundation/secret"
)

// A key is sk_, 32 random bytes in base64url, and a checksum: scanners that look
// for leaked keys find few others, and a mistyped key is refused without a look
// into SQL. Keys of the service before this one have no checksum.
const (
	prefix       = "sk_"
	randomBytes  = 32
	bodyLength   = len(prefix) + 43
	checkLength  = 6
	keyLength    = bodyLength + checkLength
	shownOf      = 8 // characters of a key that lists show
	base62Digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// Make makes a key.
func Make() string {
	body := prefix + secret.Token(randomBytes)
	return body + checksum(body)
}

// Valid reports whether a text can be a key: nothing is looked up.
func Valid(key string) bool {
	if len(key) != keyLength && len(key) != bodyLength || !strings.HasPrefix(key, prefix) {
		return false
	}
	for i := len(prefix); i < bodyLength; i++ {
		if c := key[i]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return len(key) == bodyLength || key[bodyLength:] == checksum(key[:bodyLength])
}

// checksum is the CRC-32 (IEEE 802.3) in base62, the first digit the greatest.
func checksum(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	var digits [checkLength]byte
	for i := checkLength - 1; i >= 0; i-- {
		digits[i] = base62Digits[sum%62]
		sum /= 62
	}
	return string(digits[:])
}
