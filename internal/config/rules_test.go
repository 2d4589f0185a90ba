package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// production is the least that starts outside development.
var production = map[string]string{
	"APP__ENVIRONMENT":                         "production",
	"APP__ALLOWED_HOSTS":                       `["auth.example.com", "*.internal"]`,
	"EMAIL__PUBLIC_BASE_URL":                   "https://auth.example.com",
	"EMAIL__EMAIL_FROM":                        "auth@example.com",
	"EMAIL__SMTP_HOST":                         "mail.example.com",
	"AUTH__AUDIENCES":                          `["orders-api"]`,
	"SESSION_SECURITY__REFRESH_TOKEN_HASH_KEY": "q5vJmD0RZc2Yw8pT7sLx4NfKb1HgUe6A",
	"SIGNING_KEYS__ENCRYPTION_KEY":             "m3XkWq9ZtBv6RyCn0PdJf5LhGs8EaUo2",
	"WEBHOOK__SECRET_ENCRYPTION_KEY":           "z7TnYb4KcHw1QxMg9VrSd6PjLf3OeIu5",
}

// with returns base changed by lines of NAME=value.
func with(base map[string]string, changes ...string) []string {
	vars := []string{}
	for name, value := range base {
		vars = append(vars, name+"="+value)
	}
	return append(vars, changes...) // of two, the later counts
}

func TestGuardrailsOutsideDevelopment(t *testing.T) {
	const key = "q5vJmD0RZc2Yw8pT7sLx4NfKb1HgUe6A"
	tests := map[string]struct {
		changes []string
		want    []string
	}{
		"the least that is needed starts": {nil, nil},
		"the admin key is refused": {
			[]string{"ADMIN_API_KEY=" + key + "x"},
			[]string{"ADMIN_API_KEY is for development only: remove it, and make an admin with `authd admin create`."}},
		"the public mailbox is refused": {
			[]string{"DEV__MAILBOX_PUBLIC=1"},
			[]string{"DEV__MAILBOX_PUBLIC is for development only: remove it."}},
		"private webhook targets are refused": {
			[]string{"WEBHOOK__ALLOW_PRIVATE_TARGETS=on"},
			[]string{"WEBHOOK__ALLOW_PRIVATE_TARGETS is for development only: remove it."}},
		"hosts must be listed": {
			[]string{"APP__ALLOWED_HOSTS=[]"},
			[]string{`APP__ALLOWED_HOSTS is empty: list the host names of this service, such as ["auth.example.com"].`}},
		"a star among the hosts is refused": {
			[]string{`APP__ALLOWED_HOSTS=["auth.example.com", "*"]`},
			[]string{"APP__ALLOWED_HOSTS allows every host (*): list host names, or a pattern such as *.example.com."}},
		"a missing key is refused": {
			[]string{"SIGNING_KEYS__ENCRYPTION_KEY="},
			[]string{"SIGNING_KEYS__ENCRYPTION_KEY is not set: make one with `openssl rand -base64 48`."}},
		"a blank key is refused": {
			[]string{"WEBHOOK__SECRET_ENCRYPTION_KEY=                                        "},
			[]string{"WEBHOOK__SECRET_ENCRYPTION_KEY is not set: make one with `openssl rand -base64 48`."}},
		"a short key is refused": {
			[]string{"SESSION_SECURITY__REFRESH_TOKEN_HASH_KEY=q5vJmD0RZc2Yw8pT7sLx4NfKb1HgUe6"},
			[]string{"SESSION_SECURITY__REFRESH_TOKEN_HASH_KEY is shorter than 32 characters: make one with `openssl rand -base64 48`."}},
		"the sample keys are refused": {
			[]string{"SIGNING_KEYS__ENCRYPTION_KEY=local-dev-signing-keys-encryption-key", "WEBHOOK__SECRET_ENCRYPTION_KEY=local-dev-webhook-secret-encryption-key", "SESSION_SECURITY__REFRESH_TOKEN_HASH_KEY=ChangeMe"},
			[]string{
				"SESSION_SECURITY__REFRESH_TOKEN_HASH_KEY is a sample value: make one with `openssl rand -base64 48`.",
				"SIGNING_KEYS__ENCRYPTION_KEY is a sample value: make one with `openssl rand -base64 48`.",
				"WEBHOOK__SECRET_ENCRYPTION_KEY is a sample value: make one with `openssl rand -base64 48`."}},
		"a key of few characters is refused": {
			[]string{"SIGNING_KEYS__ENCRYPTION_KEY=" + strings.Repeat("abc1", 10)},
			[]string{"SIGNING_KEYS__ENCRYPTION_KEY repeats the same few characters: make one with `openssl rand -base64 48`."}},
		"one key for two purposes is refused": {
			[]string{"SIGNING_KEYS__ENCRYPTION_KEY=" + key},
			[]string{"SIGNING_KEYS__ENCRYPTION_KEY is the same as SESSION_SECURITY__REFRESH_TOKEN_HASH_KEY: make one with `openssl rand -base64 48`."}},
		"a short metrics token is refused": {
			[]string{"METRICS__TOKEN=abc"},
			[]string{"METRICS__TOKEN is shorter than 32 characters: make one with `openssl rand -base64 48`."}},
		"the base URL must be https": {
			[]string{"EMAIL__PUBLIC_BASE_URL=HTTP://auth.example.com"},
			[]string{"EMAIL__PUBLIC_BASE_URL must start with https:// in production."}},
		"mail must be sendable": {
			[]string{"EMAIL__SMTP_HOST="},
			[]string{"EMAIL__SMTP_HOST is not set, so mail cannot be sent: set it to your mail server."}},
		"the Mailhog name is a mail server too": {
			[]string{"EMAIL__SMTP_HOST=", "EMAIL__MAILHOG_HOST=relay"}, nil},
		"a mail password is not sent readable": {
			[]string{"EMAIL__SMTP_USERNAME=u", "EMAIL__SMTP_PASSWORD=p", "EMAIL__SMTP_TLS=none"},
			[]string{"EMAIL__SMTP_TLS is none, which would send the password readable: write starttls or tls."}},
		"cookies must be secure": {
			[]string{"BROWSER_SESSIONS__ENABLED=true", "BROWSER_SESSIONS__ACCESS_COOKIE_NAME=a", "BROWSER_SESSIONS__REFRESH_COOKIE_NAME=b", "BROWSER_SESSIONS__CSRF_COOKIE_NAME=c"},
			[]string{"BROWSER_SESSIONS__SECURE_ONLY must be true in production when BROWSER_SESSIONS__ENABLED is."}},
		"pages that use the cookies must be https": {
			[]string{"BROWSER_SESSIONS__ENABLED=true", "BROWSER_SESSIONS__SECURE_ONLY=true", `BROWSER_SESSIONS__ALLOWED_ORIGINS=["https://a.example", "http://b.example"]`, `OAUTH__REDIRECT_URI_ALLOWLIST=["http://c.example/in"]`},
			[]string{
				"BROWSER_SESSIONS__ALLOWED_ORIGINS entry 2 must start with https:// in production.",
				"OAUTH__REDIRECT_URI_ALLOWLIST entry 1 must start with https:// in production."}},
		"Google must be https once it is set up": {
			[]string{"OAUTH__GOOGLE_CLIENT_ID=id", "OAUTH__GOOGLE_CLIENT_SECRET=s", "OAUTH__GOOGLE_REDIRECT_URI=http://a.example", `OAUTH__REDIRECT_URI_ALLOWLIST=["https://a.example", "http://b.example"]`},
			[]string{
				"OAUTH__GOOGLE_REDIRECT_URI must start with https:// in production.",
				"OAUTH__REDIRECT_URI_ALLOWLIST entry 2 must start with https:// in production."}},
		"Google's addresses do not matter while it is off": {
			[]string{"OAUTH__GOOGLE_REDIRECT_URI=http://a.example", `OAUTH__REDIRECT_URI_ALLOWLIST=["http://b.example"]`}, nil},
		"SAML must be https and have a certificate once it is set up": {
			[]string{"SAML__SP_ENTITY_ID=sp", "SAML__IDP_ENTITY_ID=idp", "SAML__SP_ACS_URL=http://a.example", "SAML__IDP_SSO_URL=http://b.example", "SAML__IDP_X509_CERT=placeholder"},
			[]string{
				"SAML__IDP_X509_CERT is not a certificate: paste the PEM or base64 text of it.",
				"SAML__SP_ACS_URL must start with https:// in production.",
				"SAML__IDP_SSO_URL must start with https:// in production."}},
	}
	for sentence, tt := range tests {
		t.Run(sentence, func(t *testing.T) {
			_, got := load(t, with(production, tt.changes...), nil)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			staging := append(tt.changes, "APP__ENVIRONMENT=staging")
			if _, again := load(t, with(production, staging...), nil); len(again) != len(got) {
				t.Errorf("staging has %d problems, production %d", len(again), len(got))
			}
		})
	}
}

func TestRulesOfEveryEnvironment(t *testing.T) {
	cookies := []string{"BROWSER_SESSIONS__ENABLED=true", "BROWSER_SESSIONS__SECURE_ONLY=true"}
	tests := map[string]struct {
		vars []string
		want []string
	}{
		"in development the guarded settings are free": {
			[]string{"ADMIN_API_KEY=x", "DEV__MAILBOX_PUBLIC=true", "WEBHOOK__ALLOW_PRIVATE_TARGETS=true", `APP__ALLOWED_HOSTS=["*"]`, "SIGNING_KEYS__ENCRYPTION_KEY=changeme"}, nil},
		"in development SAML may have placeholders": {
			[]string{"SAML__SP_ENTITY_ID=sp", "SAML__IDP_ENTITY_ID=idp", "SAML__SP_ACS_URL=http://a", "SAML__IDP_SSO_URL=http://b", "SAML__IDP_X509_CERT=x", "SAML__SP_PRIVATE_KEY=x"}, nil},
		"default cookie names need secure cookies": {
			[]string{"BROWSER_SESSIONS__ENABLED=true"},
			[]string{
				"BROWSER_SESSIONS__ACCESS_COOKIE_NAME starts with __Host- or __Secure-, which needs BROWSER_SESSIONS__SECURE_ONLY=true: set it, or choose a plain name.",
				"BROWSER_SESSIONS__REFRESH_COOKIE_NAME starts with __Host- or __Secure-, which needs BROWSER_SESSIONS__SECURE_ONLY=true: set it, or choose a plain name.",
				"BROWSER_SESSIONS__CSRF_COOKIE_NAME starts with __Host- or __Secure-, which needs BROWSER_SESSIONS__SECURE_ONLY=true: set it, or choose a plain name."}},
		"__Host- allows no other path": {
			append(cookies, "BROWSER_SESSIONS__REFRESH_COOKIE_PATH=/_auth"),
			[]string{"BROWSER_SESSIONS__REFRESH_COOKIE_NAME starts with __Host-, which needs BROWSER_SESSIONS__REFRESH_COOKIE_PATH=/: set it, or choose a plain name."}},
		"__Host- allows no domain, __Secure- does": {
			append(cookies, "BROWSER_SESSIONS__COOKIE_DOMAIN=example.com", "BROWSER_SESSIONS__ACCESS_COOKIE_NAME=__Secure-a", "BROWSER_SESSIONS__REFRESH_COOKIE_NAME=__Secure-b"),
			[]string{"BROWSER_SESSIONS__CSRF_COOKIE_NAME starts with __Host-, which allows no BROWSER_SESSIONS__COOKIE_DOMAIN: remove one of them."}},
		"__host- is __Host- to browsers": {
			append(cookies, "BROWSER_SESSIONS__ACCESS_COOKIE_NAME=__host-a", "BROWSER_SESSIONS__ACCESS_COOKIE_PATH=/a"),
			[]string{"BROWSER_SESSIONS__ACCESS_COOKIE_NAME starts with __Host-, which needs BROWSER_SESSIONS__ACCESS_COOKIE_PATH=/: set it, or choose a plain name."}},
		"plain names are free": {
			[]string{"BROWSER_SESSIONS__ENABLED=true", "BROWSER_SESSIONS__ACCESS_COOKIE_NAME=a", "BROWSER_SESSIONS__REFRESH_COOKIE_NAME=b", "BROWSER_SESSIONS__CSRF_COOKIE_NAME=c",
				"BROWSER_SESSIONS__REFRESH_COOKIE_PATH=/_auth", "BROWSER_SESSIONS__COOKIE_DOMAIN=example.com"}, nil},
		"browsers refuse SameSite=None without Secure": {
			[]string{"BROWSER_SESSIONS__ENABLED=true", "BROWSER_SESSIONS__ACCESS_COOKIE_NAME=a", "BROWSER_SESSIONS__REFRESH_COOKIE_NAME=b", "BROWSER_SESSIONS__CSRF_COOKIE_NAME=c", "BROWSER_SESSIONS__SAME_SITE=none"},
			[]string{"BROWSER_SESSIONS__SAME_SITE is none, which browsers accept only with BROWSER_SESSIONS__SECURE_ONLY=true."}},
		"the headers have different names": {
			append(cookies, "BROWSER_SESSIONS__TRANSPORT_HEADER_NAME=x-csrf-token"),
			[]string{"BROWSER_SESSIONS__TRANSPORT_HEADER_NAME must differ from BROWSER_SESSIONS__CSRF_HEADER_NAME."}},
		"none of this matters while cookies are off": {
			[]string{"BROWSER_SESSIONS__REFRESH_COOKIE_PATH=/_auth", "BROWSER_SESSIONS__SAME_SITE=none", "BROWSER_SESSIONS__CSRF_COOKIE_NAME=__Host-auth_access"}, nil},
		"cookies have different names": {
			append(cookies, "BROWSER_SESSIONS__ACCESS_COOKIE_NAME=a", "BROWSER_SESSIONS__REFRESH_COOKIE_NAME=a"),
			[]string{"BROWSER_SESSIONS__ACCESS_COOKIE_NAME must differ from …REFRESH_COOKIE_NAME, and both from …CSRF_COOKIE_NAME."}},
		"the current key is not an old one": {
			[]string{"SIGNING_KEYS__ENCRYPTION_KEY=a", `SIGNING_KEYS__ENCRYPTION_KEY_PREVIOUS=["b", "a", " "]`},
			[]string{
				"SIGNING_KEYS__ENCRYPTION_KEY_PREVIOUS entry 2 is the current key: list older keys only.",
				"SIGNING_KEYS__ENCRYPTION_KEY_PREVIOUS entry 3 is blank: remove it."}},
		"a provider is set up whole": {
			[]string{"OAUTH__GOOGLE_CLIENT_ID=id", "SAML__SP_ENTITY_ID=sp", "SAML__SP_ACS_URL=http://a", "SAML__IDP_X509_CERT=x"},
			[]string{
				"OAUTH__GOOGLE_CLIENT_SECRET is not set but OAUTH__GOOGLE_CLIENT_ID is: set it, or remove that one to turn the provider off.",
				"OAUTH__GOOGLE_REDIRECT_URI is not set but OAUTH__GOOGLE_CLIENT_ID is: set it, or remove that one to turn the provider off.",
				"OAUTH__REDIRECT_URI_ALLOWLIST is not set but OAUTH__GOOGLE_CLIENT_ID is: set it, or remove that one to turn the provider off.",
				"SAML__IDP_ENTITY_ID is not set but SAML__SP_ENTITY_ID is: set it, or remove that one to turn the provider off.",
				"SAML__IDP_SSO_URL is not set but SAML__SP_ENTITY_ID is: set it, or remove that one to turn the provider off."}},
		"a mail password needs a user name": {
			[]string{"EMAIL__SMTP_HOST=h", "EMAIL__SMTP_PASSWORD=p"},
			[]string{"EMAIL__SMTP_USERNAME is not set but EMAIL__SMTP_PASSWORD is: set both or neither."}},
		"a SQLite URL names a file": {
			[]string{"DATABASE__URL=sqlite://"},
			[]string{"DATABASE__URL names no file: write sqlite://authd-data/authd.db."}},
		"passwords in URLs are encoded": {
			[]string{"DATABASE__URL=postgres://u:12#3@db/auth", "REDIS__URL=redis://:1/2@cache"},
			[]string{
				"DATABASE__URL is not a valid URL: write special characters of the password percent-encoded (# is %23, / is %2F).",
				"REDIS__URL is not a valid URL: write special characters of the password percent-encoded (# is %23, / is %2F)."}},
		"Redis is Redis": {
			[]string{"REDIS__URL=cache:6379"},
			[]string{"REDIS__URL must start with redis:// or rediss://, or be empty."}},
		"Argon2id has memory for its lanes": {
			[]string{"PASSWORD__ARGON2_MEMORY_KIB=8", "PASSWORD__ARGON2_PARALLELISM=2"},
			[]string{"PASSWORD__ARGON2_MEMORY_KIB must be at least 8 times PASSWORD__ARGON2_PARALLELISM."}},
		"the base URL has no query": {
			[]string{"EMAIL__PUBLIC_BASE_URL=http://a/?x=1"},
			[]string{"EMAIL__PUBLIC_BASE_URL must end before any ? or #."}},
	}
	for sentence, tt := range tests {
		t.Run(sentence, func(t *testing.T) {
			_, got := load(t, tt.vars, nil)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSigningPair(t *testing.T) {
	rsaPrivate, rsaPublic := pair(t, must(rsa.GenerateKey(rand.Reader, 2048)))
	_, otherPublic := pair(t, must(rsa.GenerateKey(rand.Reader, 2048)))
	t.Setenv("GODEBUG", "rsa1024min=0")
	weakPrivate, weakPublic := pair(t, must(rsa.GenerateKey(rand.Reader, 1024)))
	ecPrivate, ecPublic := pair(t, must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)))
	tests := map[string]struct {
		algorithm, private, public string
		want                       []string
	}{
		"a pair is accepted":      {"RS256", rsaPrivate, rsaPublic, nil},
		"so is one of ES256":      {"ES256", ecPrivate, ecPublic, nil},
		"both may be left out":    {"EdDSA", "", "", nil},
		"half a pair is refused":  {"RS256", rsaPrivate, "", []string{"JWT__PUBLIC_KEY_PEM is not set but JWT__PRIVATE_KEY_PEM is: set both or neither."}},
		"the other half too":      {"RS256", "", rsaPublic, []string{"JWT__PRIVATE_KEY_PEM is not set but JWT__PUBLIC_KEY_PEM is: set both or neither."}},
		"another pair's public":   {"RS256", rsaPrivate, otherPublic, []string{"JWT__PUBLIC_KEY_PEM does not belong to JWT__PRIVATE_KEY_PEM: make it with `openssl pkey -in private.pem -pubout`."}},
		"a weak key is refused":   {"RS256", weakPrivate, weakPublic, []string{"JWT__PRIVATE_KEY_PEM is shorter than 2048 bits: make one with `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048`."}},
		"the kind must fit":       {"EdDSA", rsaPrivate, rsaPublic, []string{"JWT__PRIVATE_KEY_PEM is not a key for JWT__ALGORITHM=EdDSA: RS256 needs RSA, ES256 needs P-256, EdDSA needs Ed25519."}},
		"\\n is not a line break": {"RS256", strings.ReplaceAll(rsaPrivate, "\n", `\n`), rsaPublic, []string{"JWT__PRIVATE_KEY_PEM is not a private key in PEM: it needs its BEGIN and END lines and real line breaks; a file, named in JWT__PRIVATE_KEY_PEM_FILE, is the easiest way."}},
		"the halves are not mixed": {"RS256", rsaPublic, rsaPrivate, []string{
			"JWT__PRIVATE_KEY_PEM is not a private key in PEM: it needs its BEGIN and END lines and real line breaks; a file, named in JWT__PRIVATE_KEY_PEM_FILE, is the easiest way.",
			"JWT__PUBLIC_KEY_PEM is not a public key in PEM: it needs its BEGIN and END lines and real line breaks; a file, named in JWT__PUBLIC_KEY_PEM_FILE, is the easiest way."}},
	}
	for sentence, tt := range tests {
		t.Run(sentence, func(t *testing.T) {
			_, got := load(t, []string{"JWT__ALGORITHM=" + tt.algorithm, "JWT__PRIVATE_KEY_PEM=" + tt.private, "JWT__PUBLIC_KEY_PEM=" + tt.public}, nil)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func pair[K interface{ Public() P }, P any](t *testing.T, key K) (private, public string) {
	t.Helper()
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return encode("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))), encode("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(key.Public())))
}

func TestFormats(t *testing.T) {
	tests := map[string]struct{ right, wrong []string }{
		"URL":          {[]string{"http://localhost:8000", "https://a.example/x?y", "https://[::1]:1"}, []string{"a.example", "https://", "https://u:p@a", "https://a:0", "https://a:", "https://a b"}},
		"origin":       {[]string{"https://a.example", "http://localhost:3000"}, []string{"*", "null", "https://a.example/", "https://a.example?x"}},
		"host":         {[]string{"localhost", "127.0.0.1", "::1", "a.example"}, []string{"a:1", "-a", "a..b", "http://a", "*.a"}},
		"host pattern": {[]string{"*", "*.example.com", "localhost", "[::1]"}, []string{"*.*", "a.*", "a:80", "http://a", "*."}},
		"domain":       {[]string{"example.com", ".example.com"}, []string{".", "a b", "a/b", "a_b.example"}},
		"host:port":    {[]string{":9090", "127.0.0.1:9090", "[::1]:1"}, []string{"9090", "a", "a:0", "a:99999"}},
		"CIDR":         {[]string{"10.0.0.0/8", "10.0.0.1", "fd00::/8"}, []string{"10.0.0.0/33", "x", "10.0.0"}},
		"mail address": {[]string{"auth@localhost", "Auth <auth@example.com>"}, []string{"auth", "a@b@c"}},
		"audience":     {[]string{"orders-api", "https://x/y", strings.Repeat("a", 255)}, []string{"a b", "é", "a\n", strings.Repeat("a", 256)}},
		"header name":  {[]string{"X-CSRF-Token"}, []string{"X CSRF", "X:"}},
		"cookie name":  {[]string{"__Host-a"}, []string{"a=b", "a;b", "é"}},
		"path":         {[]string{"/", "/_auth"}, []string{"auth", "/a;b", "/a b"}},
		"cron":         {[]string{"0 3 * * *", "*/5 0-6,12 1 jan-MAR Mon-fri", "0 0 * * 7", "5/10 * * * *"}, []string{"", "* * * *", "60 * * * *", "* * 0 * *", "*/0 * * * *", "5-1 * * * *", "@daily", "a * * * *", "1- * * * *", "*/x * * * *"}},
	}
	for name := range formats {
		if _, ok := tests[name]; !ok {
			t.Errorf("format %q has no test", name)
		}
	}
	for name, tt := range tests {
		for _, s := range tt.right {
			if !formats[name].ok(s) {
				t.Errorf("%s: %q is refused", name, s)
			}
		}
		for _, s := range tt.wrong {
			if formats[name].ok(s) {
				t.Errorf("%s: %q is accepted", name, s)
			}
		}
	}
}
