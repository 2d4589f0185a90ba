package authsdk

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"strings"
	"testing"
)

// BenchmarkVerifyLocal against BenchmarkBareRSA (hash and signature only, which
// nobody can do without) is the price of everything else the SDK checks locally.
func BenchmarkVerifyLocal(b *testing.B) {
	authd := newFakeAuthd(b)
	client := authd.client(b)
	raw := authd.mint(userClaims())
	ctx := context.Background()
	client.verifyLocal(ctx, raw) // fetches the keys
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.verifyLocal(ctx, raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBareRSA(b *testing.B) {
	authd := newFakeAuthd(b)
	raw := authd.mint(userClaims())
	dot := strings.LastIndexByte(raw, '.')
	signed := []byte(raw[:dot])
	signature, _ := decode64(raw[dot+1:])
	public := &testKeys().rsa.PublicKey
	b.ReportAllocs()
	for b.Loop() {
		digest := sha256.Sum256(signed)
		if err := rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature); err != nil {
			b.Fatal(err)
		}
	}
}
