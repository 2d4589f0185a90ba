// Package bench measures, in one run on one machine, what the hardware can do
// and what authd makes of it. Quote ratios of one run, not single figures:
// machines are noisy.
//
//	make bench                                  everything
//	cd bench && go test -bench Refresh -cpu 1   one path, on one core
package bench

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"golang.org/x/crypto/argon2"

	"github.com/authsdk/authsdk/internal/config"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/server"
)

func BenchmarkCeilingRSASign(b *testing.B) {
	key, digest := rsaKey(b)
	for b.Loop() {
		if _, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCeilingRSAVerify(b *testing.B) {
	key, digest := rsaKey(b)
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest, signature); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCeilingArgon2id(b *testing.B) {
	salt := make([]byte, 16)
	for b.Loop() {
		argon2.IDKey([]byte("Correct-Horse-7"), salt, 2, 19456, 1, 32)
	}
}

func rsaKey(b *testing.B) (*rsa.PrivateKey, []byte) {
	b.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256([]byte("a token"))
	return key, digest[:]
}

func BenchmarkLogin(b *testing.B) {
	each(b, func(b *testing.B, a *authd) {
		for b.Loop() {
			a.post(b, "/auth/login", a.login, http.StatusOK, nil)
		}
	})
}

func BenchmarkRefresh(b *testing.B) {
	each(b, func(b *testing.B, a *authd) {
		t := a.signIn(b)
		for b.Loop() {
			a.post(b, "/auth/token", map[string]string{"refresh_token": t.RefreshToken}, http.StatusOK, &t)
		}
	})
}

func BenchmarkValidate(b *testing.B) {
	each(b, func(b *testing.B, a *authd) {
		t := a.signIn(b)
		for b.Loop() {
			r := httptest.NewRequest("GET", "/auth/validate", nil)
			r.Header.Set("Authorization", "Bearer "+t.AccessToken)
			a.do(b, r, http.StatusNoContent, nil)
		}
	})
}

// authd is a built server, called without a network.
type authd struct {
	handler http.Handler
	login   map[string]string
}

type tokens struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
}

// each runs a benchmark on both engines.
func each(b *testing.B, run func(b *testing.B, a *authd)) {
	b.Run("sqlite", func(b *testing.B) { run(b, start(b, "sqlite://"+b.TempDir()+"/authd.db")) })
	b.Run("postgres", func(b *testing.B) { run(b, start(b, dbtest.PostgresURL(b))) })
}

func start(b *testing.B, url string) *authd {
	b.Helper()
	cfg, err := config.Load([]string{
		"DATABASE__URL=" + url, // and no limits that one caller would meet
		"RATE_LIMIT__DEFAULT_REQUESTS_PER_MINUTE=1000000", "RATE_LIMIT__LOGIN_REQUESTS_PER_MINUTE=1000000", "RATE_LIMIT__TOKEN_REQUESTS_PER_MINUTE=1000000",
	}, b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	s, err := server.New(context.Background(), cfg, slog.New(slog.DiscardHandler), server.Options{Migrate: true})
	if err != nil {
		b.Fatal(err)
	}
	stop := s.Background(context.Background())
	b.Cleanup(stop)
	return &authd{s.Handler(), map[string]string{"email": s.FirstAdmin.Email, "password": s.FirstAdmin.Password, "audience": "orders-api"}}
}

func (a *authd) signIn(b *testing.B) tokens {
	b.Helper()
	var t tokens
	a.post(b, "/auth/login", a.login, http.StatusOK, &t)
	return t
}

func (a *authd) post(b *testing.B, path string, body any, want int, into any) {
	b.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequest("POST", path, bytes.NewReader(encoded))
	r.Header.Set("Content-Type", "application/json")
	a.do(b, r, want, into)
}

func (a *authd) do(b *testing.B, r *http.Request, want int, into any) {
	b.Helper()
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	answer, _ := io.ReadAll(w.Result().Body)
	if w.Code != want {
		b.Fatalf("%s: %d %s", r.URL.Path, w.Code, answer)
	}
	if into != nil {
		if err := json.Unmarshal(answer, into); err != nil {
			b.Fatal(err)
		}
	}
}
