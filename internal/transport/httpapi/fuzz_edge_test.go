package httpapi_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/transport/httpapi"
)

// route finds one by its pattern.
func (s *service) route(t testing.TB, pattern string) httpapi.Route {
	t.Helper()
	for _, r := range s.Routes() {
		if r.Pattern == pattern {
			return r
		}
	}
	t.Fatalf("no route %s", pattern)
	return httpapi.Route{}
}

// Forms reach the token endpoint, which takes none yet, and the page that
// confirms an address. No link was mailed, so no token is good.
func FuzzFormBody(f *testing.F) {
	s := fuzzed(f)
	form, multipart := "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"
	for _, body := range []string{
		"", "token=0123456789abcdef", "token=a&token=b", "token[]=a", "token=%00%ff", "token=%zz", "token=a;b", "&&&===", "%", "\xff\x00", "token",
		"grant_type=client_credentials&client_id=a&client_secret=b", "grant_type=refresh_token&refresh_token=rt_0123456789abcdef",
		"--x\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n0123456789abcdef\r\n--x--\r\n",
		"--x\r\nContent-Disposition: form-data; name=\"token\"; filename=\"../a\"\r\n\r\nb", strings.Repeat("a=b&", 10_000), strings.Repeat("a", 70_000),
	} {
		f.Add(body, form, "")
		f.Add(body, multipart, "token=0123456789abcdef")
	}
	f.Add("token=a", "application/x-www-form-urlencoded; charset=utf-7", "%zz;&")
	f.Add("token=a", "multipart/form-data", "")
	f.Add("{}", "\x00/\xff; a=\"", "")
	token := s.route(f, "POST /auth/token")
	f.Fuzz(func(t *testing.T, body, contentType, query string) {
		ask := func(path string) reply {
			r := request("POST", path, body, "Content-Type", contentType)
			r.URL.RawQuery = query
			return s.send(r)
		}
		got := ask("/auth/token")
		if !strings.Contains(got.body, `{"error":"`) { // client credentials are refused as RFC 6749 says (machines_test.go)
			keeps(t, "POST /auth/token", token, got)
		}
		if got.status == http.StatusOK {
			t.Errorf("a token for %q", body)
		}
		page := ask("/verify-email")
		if page.status != 400 && page.status != 413 && page.status != 422 {
			t.Errorf("the page answers %d: %s", page.status, page.body)
		}
		if !strings.HasPrefix(page.header.Get("Content-Type"), "text/html") || !strings.Contains(page.header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("the page is %v", page.header)
		}
	})
}

// Whatever is in a link, the page is a page, and what was sent stays text.
func FuzzVerifyPage(f *testing.F) {
	s := fuzzed(f)
	for _, query := range []string{"", "token=", "token=abc", "token=%22%3E%3Cscript%3E", "token=%00%ff", "token=a&token=b", "%zz", ";", "token=" + strings.Repeat("a", 9000), "to=%ff"} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		for _, path := range []string{"/verify-email", "/dev/mailbox"} {
			r := request("GET", path, "")
			r.URL.RawQuery = query
			got := s.send(r)
			if got.status >= 500 || !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
				t.Errorf("%s: %d %v", path, got.status, got.header)
			}
			if strings.Contains(got.body, "<script") {
				t.Errorf("%s: %s", path, got.body)
			}
		}
	})
}

// Cookies are nothing to the API while sessions in cookies are off: it answers
// as without.
func FuzzCookie(f *testing.F) {
	s := fuzzed(f)
	s.post("/auth/signup", credentials("ann@example.com", good))
	s.Signin.RequireVerified = false
	access, refresh := s.login(f, "ann@example.com")
	for _, cookie := range []string{
		"", "a=b", "__Host-auth_access=" + access, "__Host-auth_refresh=" + refresh + "; __Host-auth_csrf=x", "auth_access=\x00\xff", ";;;=;", "a=\"b",
		strings.Repeat("a=b; ", 2000), "$Version=1; a=b; $Path=/", "a=b\r\nAuthorization: Bearer " + access, "é=é",
	} {
		f.Add(cookie)
	}
	routes := s.Routes()
	plain := map[string]int{}
	for _, r := range routes {
		plain[r.Pattern] = s.send(at(r, "{}")).status
	}
	f.Fuzz(func(t *testing.T, cookie string) {
		for _, r := range routes {
			got := s.send(at(r, "{}", "Cookie", cookie))
			keeps(t, r.Pattern, r, got)
			if got.status != plain[r.Pattern] {
				t.Errorf("%s: %d with %q, %d without", r.Pattern, got.status, cookie, plain[r.Pattern])
			}
			if got.header.Get("Set-Cookie") != "" {
				t.Errorf("%s sets a cookie", r.Pattern)
			}
		}
	})
}

// How a forger signs: with what he has.
const (
	asGiven    = iota // the signature is the input's
	asIssued          // the signature of the good token
	withSecret        // HMAC with what is public as the secret; the input chooses
	withOwnEC
	withOwnRSA
	withOwnEd
	waysToSign
)

// forger has a good token, our public keys, and keys of his own.
type forger struct {
	header, payload, signature []byte // of the good token
	secrets                    [][]byte
	ec                         *ecdsa.PrivateKey
	rsa                        *rsa.PrivateKey
	ed                         ed25519.PrivateKey
}

func newForger(t testing.TB, s *service, good string) *forger {
	t.Helper()
	var parts [3][]byte
	for i, part := range strings.Split(good, ".") {
		parts[i] = must(base64.RawURLEncoding.DecodeString(part))(t)
	}
	jwks := s.get("/.well-known/jwks.json").body
	der := must(x509.MarshalPKIXPublicKey(s.Keys.Active().Public))(t)
	jwk := must(json.Marshal(s.Keys.Active().JWK()))(t)
	_, ed := must2(ed25519.GenerateKey(rand.Reader))(t)
	return &forger{
		parts[0], parts[1], parts[2],
		[][]byte{nil, der, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), []byte(jwks), jwk, []byte("secret")},
		must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t), must(rsa.GenerateKey(rand.Reader, 2048))(t), ed,
	}
}

func must2[A, B any](a A, b B, err error) func(testing.TB) (A, B) {
	return func(t testing.TB) (A, B) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return a, b
	}
}

// forge puts a token together.
func (f *forger) forge(header, payload, signature []byte, way uint) (token string, sig []byte) {
	encode := base64.RawURLEncoding.EncodeToString
	input := []byte(encode(header) + "." + encode(payload))
	digest := sha256.Sum256(input)
	switch way % waysToSign {
	case asGiven:
		sig = signature
	case asIssued:
		sig = f.signature
	case withSecret:
		var choice byte
		if len(signature) > 0 {
			choice = signature[0]
		}
		mac := hmac.New([]func() hash.Hash{sha256.New, sha512.New384, sha512.New}[choice%3], f.secrets[int(choice/3)%len(f.secrets)])
		mac.Write(input)
		sig = mac.Sum(nil)
	case withOwnEC:
		if r, s, err := ecdsa.Sign(rand.Reader, f.ec, digest[:]); err == nil {
			sig = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}
	case withOwnRSA:
		sig, _ = rsa.SignPKCS1v15(rand.Reader, f.rsa, crypto.SHA256, digest[:])
	case withOwnEd:
		sig = ed25519.Sign(f.ed, input)
	}
	return string(input) + "." + encode(sig), sig
}

// tricks are headers that have fooled verifiers.
func (f *forger) tricks(t testing.TB) (headers []string) {
	own := func(public string) string { return fmt.Sprintf(`"jwk":%s`, public) }
	b64 := base64.RawURLEncoding.EncodeToString
	point := must(f.ec.PublicKey.Bytes())(t)
	jwk := own(fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":%q,"y":%q}`, b64(point[1:33]), b64(point[33:])))
	var good struct{ Kid string }
	_ = json.Unmarshal(f.header, &good)
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512", "RS256", "RS384", "PS256", "ES256", "ES384", "ES512", "ES256K", "EdDSA", "Ed25519", "dir", "RSA-OAEP", "A128GCMKW"} {
		for _, more := range []string{
			"", `,"typ":"at+jwt"`, `,"typ":"JWT"`, `,"typ":"JWE","enc":"A128GCM"`, `,` + jwk, `,"jku":"https://evil.example/jwks.json"`, `,"x5u":"https://evil.example/cert.pem"`,
			`,"x5c":["MIIB"]`, `,"x5t":"AA"`, `,"zip":"DEF"`, `,"crit":["exp"],"exp":1`, `,"crit":["b64"],"b64":false`, `,"crit":[]`, `,"alg":"ES256"`, `,"kid":"../../dev/null"`,
			`,"kid":"' OR 1=1 --"`, `,"kid":null`, `,"kid":7`, `,"kid":["` + good.Kid + `"]`, `,"cty":"JWT"`, `,"p2c":2147483647`,
		} {
			headers = append(headers, fmt.Sprintf(`{"alg":%q,"kid":%q%s}`, alg, good.Kid, more))
		}
	}
	return append(headers, "", "null", "[]", "{}", `{"alg":null}`, `{"alg":["ES256"]}`, `{"alg":"ES256"}`, "{\"alg\":\"ES256\x00\"}", strings.Repeat("[", 3000),
		`{"ALG":"ES256","KID":"`+good.Kid+`"}`, string(f.header)+" ", " "+string(f.header))
}

// claims are payloads that say more than the good one.
func (f *forger) claims() (payloads []string) {
	for _, change := range []map[string]any{
		{}, {"exp": 4102444800}, {"exp": 1}, {"exp": "4102444800"}, {"exp": 1e300}, {"exp": nil}, {"nbf": 4102444800}, {"role": "admin"}, {"aud": []string{"auth-service", "x"}},
		{"type": "refresh"}, {"sub": "00000000-0000-0000-0000-000000000000"}, {"sid": "x"}, {"epoch": -1}, {"epoch": 1 << 60}, {"iss": "https://evil.example"}, {"scopes": []string{"*"}},
	} {
		var m map[string]any
		_ = json.Unmarshal(f.payload, &m)
		for name, value := range change {
			m[name] = value
		}
		text, _ := json.Marshal(m)
		payloads = append(payloads, string(text))
	}
	return append(payloads, "", "null", "[]", "{}", "\x00\xff", string(f.payload)+" ")
}

// signedIn is a service with one live session, and who would like to be in it.
func signedIn(t testing.TB, s *service) *forger {
	t.Helper()
	s.post("/auth/signup", credentials("ann@example.com", good))
	s.Signin.RequireVerified = false
	issued, _ := s.login(t, "ann@example.com")
	return newForger(t, s, issued)
}

// accepts forges a token and asks what it is worth: something only if it is the
// one that was issued.
func (f *forger) accepts(t *testing.T, s *service, validate httpapi.Route, header, payload, signature []byte, way uint) {
	t.Helper()
	token, sig := f.forge(header, payload, signature, way)
	r := httptest.NewRequest("GET", "/auth/validate", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	got := s.send(r)
	keeps(t, "GET /auth/validate", validate, got)
	if same := bytes.Equal(header, f.header) && bytes.Equal(payload, f.payload) && bytes.Equal(sig, f.signature); (got.status == http.StatusNoContent) != same {
		t.Errorf("%d for the header %q, the payload %q and a signature of way %d", got.status, header, payload, way%waysToSign)
	}
	if got.status == http.StatusUnauthorized && !strings.Contains(got.body, `"invalid_token"`) {
		t.Errorf("what nobody signed is read: %s", got.body)
	}
}

// No token is accepted that was not issued, whatever its header says of how to
// check it.
func TestNoForgedTokenIsAccepted(t *testing.T) {
	s, _ := build(t, dbtest.SQLite(t))
	f := signedIn(t, s)
	validate := s.route(t, "GET /auth/validate")
	for way := range uint(waysToSign) {
		for _, header := range f.tricks(t) {
			f.accepts(t, s, validate, []byte(header), f.payload, []byte{byte(way)}, way)
		}
		for _, payload := range f.claims() {
			f.accepts(t, s, validate, f.header, []byte(payload), f.signature, way)
		}
		f.accepts(t, s, validate, f.header, f.payload, f.signature, way)
	}
	for choice := range byte(18) { // every secret with every hash
		for _, alg := range []string{"HS256", "HS384", "HS512"} {
			f.accepts(t, s, validate, bytes.Replace(f.header, []byte("ES256"), []byte(alg), 1), f.payload, []byte{choice}, withSecret)
		}
	}
}

func FuzzJWT(f *testing.F) {
	s := fuzzed(f)
	x := signedIn(f, s)
	for way := range uint(waysToSign) {
		f.Add(x.header, x.payload, x.signature, way)
	}
	for i, header := range x.tricks(f) {
		if i%11 == 0 { // the test above has them all
			f.Add([]byte(header), x.payload, []byte{byte(i)}, uint(i))
		}
	}
	for i, payload := range x.claims() {
		f.Add(x.header, []byte(payload), x.signature, uint(i))
	}
	f.Add(x.header, x.payload, append(bytes.Clone(x.signature), 0), uint(asGiven))
	f.Add(x.header, x.payload, make([]byte, 64), uint(asGiven))
	validate := s.route(f, "GET /auth/validate")
	f.Fuzz(func(t *testing.T, header, payload, signature []byte, way uint) {
		x.accepts(t, s, validate, header, payload, signature, way)
	})
}
