package authsdk

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// keyPairs are real keys, made once: RSA generation is slow.
type keyPairs struct {
	rsa, rsaOther, rsaSmall *rsa.PrivateKey
	ec                      *ecdsa.PrivateKey
	ed                      ed25519.PrivateKey
}

var testKeys = sync.OnceValue(func() (k keyPairs) {
	var err [4]error
	k.rsa, err[0] = rsa.GenerateKey(rand.Reader, 2048)
	k.rsaOther, err[1] = rsa.GenerateKey(rand.Reader, 2048)
	k.rsaSmall, err[2] = rsa.GenerateKey(rand.Reader, 1024)
	k.ec, err[3] = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if e := errors.Join(err[:]...); e != nil {
		panic(e)
	}
	_, k.ed, _ = ed25519.GenerateKey(rand.Reader)
	return k
})

// fields is a JSON object to be: a header, claims, or a key.
type fields map[string]any

// with returns a copy with some members changed; nil removes one.
func (f fields) with(changes fields) fields {
	f = maps.Clone(f)
	for name, value := range changes {
		if f[name] = value; value == nil {
			delete(f, name)
		}
	}
	return f
}

func (f fields) String() string {
	data, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// sign makes a token out of header and claims exactly as written.
func sign(key any, header, claims string) string {
	signed := b64([]byte(header)) + "." + b64([]byte(claims))
	digest := sha256.Sum256([]byte(signed))
	var signature []byte
	switch key := key.(type) {
	case *rsa.PrivateKey:
		signature, _ = rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	case *ecdsa.PrivateKey:
		r, s, _ := ecdsa.Sign(rand.Reader, key, digest[:])
		signature = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	case ed25519.PrivateKey:
		signature = ed25519.Sign(key, []byte(signed))
	case func(string) []byte:
		signature = key(signed)
	}
	return signed + "." + b64(signature)
}

func rsaJWK(kid string, key *rsa.PublicKey) fields {
	e := big.NewInt(int64(key.E)).Bytes()
	return fields{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": b64(key.N.Bytes()), "e": b64(e)}
}

func ecJWK(kid string, key *ecdsa.PublicKey) fields {
	point, err := key.Bytes()
	if err != nil {
		panic(err)
	}
	return fields{"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid, "x": b64(point[1:33]), "y": b64(point[33:])}
}

func edJWK(kid string, key ed25519.PublicKey) fields {
	return fields{"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid, "x": b64(key)}
}

// epoch is when every test begins.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

type testClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func rsHeader() fields { return fields{"alg": "RS256", "typ": "at+jwt", "kid": "rsa"} }

// userClaims are those of the server, for a user who logged in for two services.
func userClaims() fields {
	return fields{
		"iss": "http://localhost:8000", "sub": "0198c0de-0000-7000-8000-000000000001",
		"jti": "0198c0de-0000-7000-8000-000000000002", "sid": "0198c0de-0000-7000-8000-000000000003",
		"aud": []string{"auth-service", "orders-api", "billing-api"}, "client_id": "auth-service", "type": "access",
		"iat": epoch.Unix(), "exp": epoch.Add(15 * time.Minute).Unix(), "auth_time": epoch.Unix(), "epoch": 0,
		"email": "ada@example.com", "email_verified": true, "email_otp_enabled": false,
		"role": "user", "scopes": []string{"orders:read"},
	}
}

func serviceClaims() fields {
	return fields{
		"iss": "http://localhost:8000", "sub": "client-7", "jti": "j", "aud": "orders-api", "type": "m2m",
		"iat": epoch.Unix(), "exp": epoch.Add(15 * time.Minute).Unix(), "role": "service", "scope": "orders:read  orders:write",
	}
}

// actionClaims are those of a user who confirmed a refund with a one-time code.
func actionClaims() fields {
	user := userClaims()
	return fields{
		"iss": user["iss"], "sub": user["sub"], "sid": user["sid"], "jti": "a", "aud": "orders-api", "type": "action_token",
		"action": "orders-api:refund", "iat": epoch.Unix(), "exp": epoch.Add(5 * time.Minute).Unix(),
	}
}

// fakeAuthd is the three endpoints of authd the SDK calls, with their faults.
type fakeAuthd struct {
	*httptest.Server
	clock *testClock

	mu            sync.Mutex
	keys          []any  // JWKS entries
	cacheControl  string // of the JWKS
	jwksStatus    int    // 0: 200
	jwksBody      string // "": the keys
	jwksFetches   int
	validate      http.HandlerFunc // nil: 204
	validations   int
	lastValidated http.Header
	consume       http.HandlerFunc // nil: 204 once for each body, then 403
	consumed      map[string]int   // bodies, and how often they came
	lastConsumed  http.Header
}

func newFakeAuthd(t testing.TB) *fakeAuthd {
	k := testKeys()
	f := &fakeAuthd{
		clock:    &testClock{now: epoch},
		consumed: map[string]int{},
		keys:     []any{rsaJWK("rsa", &k.rsa.PublicKey), ecJWK("ec", &k.ec.PublicKey), edJWK("ed", k.ed.Public().(ed25519.PublicKey))},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/jwks.json", f.serveJWKS)
	mux.HandleFunc("GET /auth/validate", f.serveValidate)
	mux.HandleFunc("POST /auth/otp/consume/action", f.serveConsume)
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

// change alters the server while requests may be under way.
func (f *fakeAuthd) change(alter func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	alter()
}

func (f *fakeAuthd) fetches() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.jwksFetches
}

func (f *fakeAuthd) serveJWKS(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.jwksFetches++
	if f.cacheControl != "" {
		w.Header().Set("Cache-Control", f.cacheControl)
	}
	if f.jwksStatus != 0 {
		w.Header().Set("Location", "/.well-known/jwks.json")
		w.WriteHeader(f.jwksStatus)
	}
	if f.jwksBody != "" {
		w.Write([]byte(f.jwksBody))
		return
	}
	json.NewEncoder(w).Encode(fields{"keys": f.keys})
}

func (f *fakeAuthd) serveValidate(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.validations++
	f.lastValidated = r.Header.Clone()
	validate := f.validate
	f.mu.Unlock()
	if validate != nil {
		validate(w, r)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (f *fakeAuthd) serveConsume(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.lastConsumed = r.Header.Clone()
	f.consumed[string(body)]++
	times, consume := f.consumed[string(body)], f.consume
	f.mu.Unlock()
	switch {
	case consume != nil:
		consume(w, r)
	case times > 1:
		w.WriteHeader(http.StatusForbidden)
		w.Write([]byte(`{"detail":"Invalid action token.","code":"action_token_invalid","request_id":"r"}`))
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// client is one that protects orders-api; options given last win.
func (f *fakeAuthd) client(t testing.TB, opts ...Option) *Client {
	t.Helper()
	noPause := func(s *settings) error {
		s.pause = func() time.Duration { return 0 }
		return nil
	}
	opts = append([]Option{withClock(f.clock.Now), noPause, Audience("orders-api")}, opts...)
	c, err := New(f.URL, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// mint signs claims as the server does.
func (f *fakeAuthd) mint(claims fields) string {
	return sign(testKeys().rsa, rsHeader().String(), claims.String())
}

// check fails unless err is an *Error with this status and code; status 0 wants none.
func check(t *testing.T, err error, status int, code string) {
	t.Helper()
	var e *Error
	switch {
	case status == 0 && err == nil:
	case status == 0 || !errors.As(err, &e):
		t.Errorf("got error %v, want status %d", err, status)
	case e.Status != status || e.Code != code:
		t.Errorf("got %d %s (%v), want %d %s", e.Status, e.Code, err, status, code)
	}
}
