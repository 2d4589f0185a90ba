package authsdk

import (
	"encoding/base64"
	"strings"
)

// maxToken bounds the work a stranger can cause. Real tokens stay well below
// 2 KiB, and net/http servers refuse headers of more than 1 MiB anyway.
const maxToken = 16 << 10

// token is a parsed and entirely unverified JWT (RFC 7519, in the compact
// serialization of RFC 7515 section 3.1).
type token struct {
	alg, kid  string // header
	claims    object
	signed    string // what the signature covers: header "." claims, as sent
	signature []byte
}

// parseToken takes a token apart and refuses headers that no key could mend.
func parseToken(raw string) (token, error) {
	switch {
	case raw == "":
		return token{}, invalid(errNoToken)
	case len(raw) > maxToken:
		return token{}, invalid("token is over 16 KiB")
	case strings.Count(raw, ".") != 2:
		return token{}, invalid("token has not three parts")
	case strings.Contains(raw, "\n"), strings.Contains(raw, "\r"):
		return token{}, invalid("token contains a line break") // encoding/base64 would skip it
	}
	claimsAt := strings.IndexByte(raw, '.')
	signatureAt := strings.LastIndexByte(raw, '.')

	header, err := parsePart(raw[:claimsAt])
	if err != nil {
		return token{}, invalid("header is not a base64url JSON object")
	}
	t := token{signed: raw[:signatureAt]}
	if err := t.readHeader(header); err != nil {
		return token{}, err
	}
	if t.claims, err = parsePart(raw[claimsAt+1 : signatureAt]); err != nil {
		return token{}, invalid("claims are not a base64url JSON object")
	}
	if t.signature, err = decode64(raw[signatureAt+1:]); err != nil {
		return token{}, invalid("signature is not base64url")
	}
	return t, nil
}

// readHeader ignores "jwk", "jku", "x5c" and "x5u": a token never brings its own key.
func (t *token) readHeader(header object) error {
	var ok bool
	if t.alg, ok = header.str("alg"); !ok || !isSupported(t.alg) {
		return invalid("alg is not RS256, ES256 or EdDSA")
	}
	if t.kid, ok = header.str("kid"); !ok || t.kid == "" {
		return invalid("kid is missing")
	}
	if header.has("crit") {
		return invalid("crit names an extension unknown here") // RFC 7515 section 4.1.11; we know none
	}
	if header.has("typ") {
		typ, ok := header.str("typ")
		if !ok || !strings.EqualFold(typ, "at+jwt") && !strings.EqualFold(typ, "JWT") {
			return invalid("typ is neither at+jwt nor JWT") // RFC 9068 section 4
		}
	}
	return nil
}

func parsePart(part string) (object, error) {
	data, err := decode64(part)
	if err != nil {
		return nil, err
	}
	return parseObject(data)
}

// decode64 reads base64url without padding (RFC 7515 section 2), in its one
// canonical spelling.
func decode64(s string) ([]byte, error) { return base64.RawURLEncoding.Strict().DecodeString(s) }
