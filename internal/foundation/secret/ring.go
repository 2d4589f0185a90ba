package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
)

// IDLen is the length of a key id in bytes.
const IDLen = 4

// MACLen is the length of a MAC in bytes.
const MACLen = sha256.Size

// ErrUnknownKey is returned when a value was made with a key that the ring
// does not hold: a secret was replaced without listing the old one in
// …_PREVIOUS.
var ErrUnknownKey = errors.New("made with a key this process does not have (was a secret replaced without keeping the old one in …_PREVIOUS?)")

// Ring holds the keys of one purpose: the first makes new values, all of them
// open old ones. Keys are derived by HKDF-SHA256 (RFC 5869), so that one
// configured secret serves several purposes without one helping to break the
// other.
type Ring struct {
	keys []key
}

type key struct {
	id   [IDLen]byte
	mac  []byte
	aead cipher.AEAD
}

// NewRing derives the keys for a purpose from the current secret and the
// previous ones.
func NewRing(purpose, current string, previous ...string) *Ring {
	r := &Ring{}
	for _, s := range append([]string{current}, previous...) {
		r.keys = append(r.keys, derive(purpose, s))
	}
	return r
}

func derive(purpose, from string) key {
	expand := func(use string, n int) []byte {
		b, err := hkdf.Key(sha256.New, []byte(from), nil, "authsdk/"+purpose+"/"+use, n)
		if err != nil {
			panic(err) // only for a length that no hash can give
		}
		return b
	}
	k := key{mac: expand("mac", 32)}
	copy(k.id[:], expand("id", IDLen))
	block, err := aes.NewCipher(expand("seal", 32))
	if err != nil {
		panic(err)
	}
	if k.aead, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		panic(err)
	}
	return k
}

func (r *Ring) find(id []byte) (key, bool) {
	for _, k := range r.keys {
		if Equal(k.id[:], id) {
			return k, true
		}
	}
	return key{}, false
}

// KeyID returns the id of the key that makes new values.
func (r *Ring) KeyID() []byte { return r.keys[0].id[:] }

// MAC returns HMAC-SHA256 of data under the current key.
func (r *Ring) MAC(data []byte) []byte { return sum(r.keys[0], data) }

// CheckMAC reports whether mac was made over data by the key with this id.
func (r *Ring) CheckMAC(id, data, mac []byte) bool {
	k, ok := r.find(id)
	return ok && hmac.Equal(sum(k, data), mac)
}

// Has reports whether the ring holds the key with this id.
func (r *Ring) Has(id []byte) bool {
	_, ok := r.find(id)
	return ok
}

func sum(k key, data []byte) []byte {
	h := hmac.New(sha256.New, k.mac)
	h.Write(data)
	return h.Sum(nil)
}

// Seal encrypts plain with AES-256-GCM. bind is the place the value belongs to
// (its row id): moved elsewhere it does not open.
func (r *Ring) Seal(plain []byte, bind string) []byte {
	return append(append([]byte{}, r.KeyID()...), r.keys[0].aead.Seal(nil, nil, plain, []byte(bind))...)
}

// Open decrypts what Seal made for the same place.
func (r *Ring) Open(sealed []byte, bind string) ([]byte, error) {
	if len(sealed) < IDLen {
		return nil, errors.New("sealed value is too short")
	}
	k, ok := r.find(sealed[:IDLen])
	if !ok {
		return nil, ErrUnknownKey
	}
	return k.aead.Open(nil, nil, sealed[IDLen:], []byte(bind))
}

// Digits returns a number of n digits made from data: a code to type, which
// needs no storage. data must be different each time.
func (r *Ring) Digits(data []byte, n int) string { return digits(r.keys[0], data, n) }

// MatchDigits reports whether code is what Digits made of data, under any key of
// the ring.
func (r *Ring) MatchDigits(data []byte, n int, code string) bool {
	found := false
	for _, k := range r.keys {
		if Equal([]byte(digits(k, data, n)), []byte(code)) {
			found = true
		}
	}
	return found
}

// digits takes 16 bytes of the MAC modulo 10^n: the bias is below 2^-80.
func digits(k key, data []byte, n int) string {
	number := new(big.Int).SetBytes(sum(k, data)[:16])
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
	return fmt.Sprintf("%0*d", n, number.Mod(number, limit))
}
