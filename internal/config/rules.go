package config

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// normalise brings accepted spellings to the one the program uses.
func (c *Config) normalise() {
	c.Email.PublicBaseURL = strings.TrimRight(c.Email.PublicBaseURL, "/")
	if c.Development() && c.sources["EMAIL__PUBLIC_BASE_URL"] == fromDefault && c.App.Port != 0 {
		c.Email.PublicBaseURL = "http://localhost:" + strconv.Itoa(c.App.Port)
	}
	raw := c.Database.URL.Reveal()
	if rest, ok := strings.CutPrefix(raw, "postgresql://"); ok {
		c.Database.URL = SecretURL("postgres://" + rest)
	}
	if rest, ok := strings.CutPrefix(raw, "postgresql+asyncpg://"); ok {
		// asyncpg calls sslmode ssl.
		rest, query, _ := strings.Cut(rest, "?")
		params := strings.Split(query, "&")
		for i, param := range params {
			if mode, ok := strings.CutPrefix(param, "ssl="); ok {
				params[i] = "sslmode=" + strings.Replace(mode, "true", "require", 1)
			}
		}
		if query != "" {
			rest += "?" + strings.Join(params, "&")
		}
		c.Database.URL = SecretURL("postgres://" + rest)
	}
}

// validate adds every broken rule to p.
func (c *Config) validate(p *Problems) {
	c.checkStores(p)
	c.checkSigningPair(p)
	c.checkPrevious(p)
	c.checkMail(p)
	c.checkCookies(p)
	c.checkFederation(p)
	if path := c.Password.DenyListFile; path != "" {
		if file, err := os.Open(path); err != nil {
			p.add("PASSWORD__DENY_LIST_FILE", "cannot be read: name a file that this user may read, or leave it empty.")
		} else {
			file.Close()
		}
	}
	if c.Password.Argon2MemoryKiB < 8*c.Password.Argon2Parallelism {
		p.add("PASSWORD__ARGON2_MEMORY_KIB", "must be at least 8 times PASSWORD__ARGON2_PARALLELISM.")
	}
	if !c.Development() {
		c.checkSecrets(p)
		c.checkExposed(p)
		c.checkHTTPS(p)
	}
}

func (c *Config) checkStores(p *Problems) {
	const encode = "write special characters of the password percent-encoded (# is %%23, / is %%2F)."
	database := c.Database.URL.Reveal()
	switch scheme, rest, _ := strings.Cut(database, "://"); {
	case scheme == "sqlite" && strings.Trim(rest, "/") == "":
		p.add("DATABASE__URL", "names no file: write sqlite://authd-data/authd.db.")
	case scheme == "sqlite":
	case scheme != "postgres":
		p.add("DATABASE__URL", "must start with sqlite://, postgres://, postgresql:// or postgresql+asyncpg://.")
	case !c.Database.URL.valid():
		p.add("DATABASE__URL", "is not a valid URL: "+encode)
	}
	redis := c.Redis.URL.Reveal()
	switch scheme, rest, _ := strings.Cut(redis, "://"); {
	case redis == "":
	case scheme != "redis" && scheme != "rediss":
		p.add("REDIS__URL", "must start with redis:// or rediss://, or be empty.")
	case rest == "" || !c.Redis.URL.valid():
		p.add("REDIS__URL", "is not a valid URL: "+encode)
	}
}

// sealingKey is a secret that other secrets depend on.
type sealingKey struct {
	name     string
	current  Secret
	previous []Secret
}

func (c *Config) sealingKeys() []sealingKey {
	return []sealingKey{
		{"SESSION_SECURITY__REFRESH_TOKEN_HASH_KEY", c.SessionSecurity.RefreshTokenHashKey, c.SessionSecurity.RefreshTokenHashKeyPrevious},
		{"SIGNING_KEYS__ENCRYPTION_KEY", c.SigningKeys.EncryptionKey, c.SigningKeys.EncryptionKeyPrevious},
		{"WEBHOOK__SECRET_ENCRYPTION_KEY", c.Webhook.SecretEncryptionKey, c.Webhook.SecretEncryptionKeyPrevious},
	}
}

func (c *Config) checkPrevious(p *Problems) {
	for _, k := range c.sealingKeys() {
		name := k.name + "_PREVIOUS"
		for i, old := range k.previous {
			switch {
			case strings.TrimSpace(old.Reveal()) == "":
				p.add(name, "entry %d is blank: remove it.", i+1)
			case old == k.current:
				p.add(name, "entry %d is the current key: list older keys only.", i+1)
			}
		}
	}
}

const makeOne = "make one with `openssl rand -base64 48`."

// checkSecrets refuses, outside development, secrets that could be guessed.
func (c *Config) checkSecrets(p *Problems) {
	keys := c.sealingKeys()
	for i, k := range keys {
		for j, old := range k.previous {
			if wrong := weakness(old); old != "" && wrong != "" {
				p.add(k.name+"_PREVIOUS", "entry %d %s: whoever guesses it can still use it, so remove it.", j+1, wrong)
			}
		}
		switch wrong := weakness(k.current); {
		case k.current == "":
			p.add(k.name, "is not set: %s", makeOne)
		case wrong != "":
			p.add(k.name, "%s: %s", wrong, makeOne)
		default:
			for _, other := range keys[:i] {
				if other.current == k.current {
					p.add(k.name, "is the same as %s: %s", other.name, makeOne)
				}
			}
		}
	}
	if wrong := weakness(c.Metrics.Token); c.Metrics.Token != "" && wrong != "" {
		p.add("METRICS__TOKEN", "%s: %s", wrong, makeOne)
	}
}

// samples are found in secrets that were copied from somewhere.
var samples = []string{"local-dev", "changeme", "change-me", "change_me", "replace-me", "replaceme", "replace_me", "placeholder", "your-secret", "your_secret", "example", "insecure"}

// weakness says why a secret could be guessed, "" if it could not.
func weakness(s Secret) string {
	text := s.Reveal()
	different := map[rune]bool{}
	for _, r := range text {
		different[r] = true
	}
	isSample := func(sample string) bool { return strings.Contains(strings.ToLower(text), sample) }
	switch {
	case slices.ContainsFunc(samples, isSample):
		return "is a sample value"
	case utf8.RuneCountInString(text) < 32:
		return "is shorter than 32 characters"
	case len(different) < 8:
		return "repeats the same few characters"
	}
	return ""
}

// checkExposed refuses, outside development, what is safe only on one's own
// machine.
func (c *Config) checkExposed(p *Problems) {
	env := c.App.Environment
	if c.AdminAPIKey != "" {
		p.add("ADMIN_API_KEY", "is for development only: remove it, and make an admin with `authd admin create`.")
	}
	if c.Dev.MailboxPublic {
		p.add("DEV__MAILBOX_PUBLIC", "is for development only: remove it.")
	}
	if c.Webhook.AllowPrivateTargets {
		p.add("WEBHOOK__ALLOW_PRIVATE_TARGETS", "is for development only: remove it.")
	}
	if len(c.App.AllowedHosts) == 0 {
		p.add("APP__ALLOWED_HOSTS", `is empty: list the host names of this service, such as ["auth.example.com"].`)
	}
	if slices.Contains(c.App.AllowedHosts, "*") {
		p.add("APP__ALLOWED_HOSTS", "allows every host (*): list host names, or a pattern such as *.example.com.")
	}
	if c.BrowserSessions.Enabled && !c.BrowserSessions.SecureOnly {
		p.add("BROWSER_SESSIONS__SECURE_ONLY", "must be true in %s when BROWSER_SESSIONS__ENABLED is.", env)
	}
	if c.Email.SMTP().Host == "" && !p.unread["EMAIL__MAILHOG_HOST"] {
		p.add("EMAIL__SMTP_HOST", "is not set, so mail cannot be sent: set it to your mail server.")
	}
}

// checkHTTPS refuses, outside development, addresses that others could read
// along.
func (c *Config) checkHTTPS(p *Problems) {
	https := func(name, address string) {
		if u, err := url.Parse(address); err == nil && u.Scheme == "http" {
			p.add(name, "must start with https:// in %s.", c.App.Environment)
		}
	}
	https("EMAIL__PUBLIC_BASE_URL", c.Email.PublicBaseURL)
	if c.OAuth.Configured() {
		https("OAUTH__GOOGLE_REDIRECT_URI", c.OAuth.GoogleRedirectURI)
	}
	if c.BrowserSessions.Enabled {
		for i, address := range c.BrowserSessions.AllowedOrigins {
			https(fmt.Sprintf("BROWSER_SESSIONS__ALLOWED_ORIGINS entry %d", i+1), address)
		}
	}
	if c.OAuth.Configured() || c.SAML.Configured() || c.BrowserSessions.Enabled {
		for i, address := range c.OAuth.RedirectURIAllowlist {
			https(fmt.Sprintf("OAUTH__REDIRECT_URI_ALLOWLIST entry %d", i+1), address)
		}
	}
	if c.SAML.Configured() {
		https("SAML__SP_ACS_URL", c.SAML.SPACSURL)
		https("SAML__IDP_SSO_URL", c.SAML.IDPSSOURL)
	}
}

func (c *Config) checkMail(p *Problems) {
	e := c.Email
	if u, err := url.Parse(e.PublicBaseURL); err == nil && (u.RawQuery != "" || u.Fragment != "" || u.ForceQuery) {
		p.add("EMAIL__PUBLIC_BASE_URL", "must end before any ? or #.")
	}
	switch {
	case e.SMTPUsername == "" && e.SMTPPassword == "":
	case e.SMTPUsername == "":
		p.add("EMAIL__SMTP_USERNAME", "is not set but EMAIL__SMTP_PASSWORD is: set both or neither.")
	case e.SMTPPassword == "" && !p.unread["EMAIL__SMTP_PASSWORD"]:
		p.add("EMAIL__SMTP_PASSWORD", "is not set but EMAIL__SMTP_USERNAME is: set both or neither.")
	case e.SMTPHost == "":
		p.add("EMAIL__SMTP_HOST", "is not set but EMAIL__SMTP_USERNAME is: set it, or remove the user name and password.")
	case e.SMTPTLS == "none" && !c.Development():
		p.add("EMAIL__SMTP_TLS", "is none, which would send the password readable: write starttls or tls.")
	}
}

// checkCookies holds browser sessions to what browsers accept.
func (c *Config) checkCookies(p *Problems) {
	b := c.BrowserSessions
	if !b.Enabled {
		return
	}
	for _, cookie := range []struct{ which, name, path string }{
		{"ACCESS", b.AccessCookieName, b.AccessCookiePath},
		{"REFRESH", b.RefreshCookieName, b.RefreshCookiePath},
		{"CSRF", b.CSRFCookieName, b.CSRFCookiePath},
	} {
		variable := "BROWSER_SESSIONS__" + cookie.which + "_COOKIE_NAME"
		name := strings.ToLower(cookie.name) // browsers look at the prefix without its case
		host := strings.HasPrefix(name, "__host-")
		if (host || strings.HasPrefix(name, "__secure-")) && !b.SecureOnly {
			p.add(variable, "starts with __Host- or __Secure-, which needs BROWSER_SESSIONS__SECURE_ONLY=true: set it, or choose a plain name.")
		}
		if host && b.CookieDomain != "" {
			p.add(variable, "starts with __Host-, which allows no BROWSER_SESSIONS__COOKIE_DOMAIN: remove one of them.")
		}
		if host && cookie.path != "/" {
			p.add(variable, "starts with __Host-, which needs BROWSER_SESSIONS__%s_COOKIE_PATH=/: set it, or choose a plain name.", cookie.which)
		}
	}
	if b.AccessCookieName == b.RefreshCookieName || b.RefreshCookieName == b.CSRFCookieName || b.CSRFCookieName == b.AccessCookieName {
		p.add("BROWSER_SESSIONS__ACCESS_COOKIE_NAME", "must differ from …REFRESH_COOKIE_NAME, and both from …CSRF_COOKIE_NAME.")
	}
	if strings.EqualFold(b.TransportHeaderName, b.CSRFHeaderName) {
		p.add("BROWSER_SESSIONS__TRANSPORT_HEADER_NAME", "must differ from BROWSER_SESSIONS__CSRF_HEADER_NAME.")
	}
	if b.SameSite == "none" && !b.SecureOnly {
		p.add("BROWSER_SESSIONS__SAME_SITE", "is none, which browsers accept only with BROWSER_SESSIONS__SECURE_ONLY=true.")
	}
}

// checkFederation refuses providers that are set up by half.
func (c *Config) checkFederation(p *Problems) {
	need := func(name string, set bool, because string) {
		if !set {
			p.add(name, "is not set but %s is: set it, or remove that one to turn the provider off.", because)
		}
	}
	if o := c.OAuth; o.Configured() {
		need("OAUTH__GOOGLE_CLIENT_SECRET", o.GoogleClientSecret != "", "OAUTH__GOOGLE_CLIENT_ID")
		need("OAUTH__GOOGLE_REDIRECT_URI", o.GoogleRedirectURI != "", "OAUTH__GOOGLE_CLIENT_ID")
		need("OAUTH__REDIRECT_URI_ALLOWLIST", len(o.RedirectURIAllowlist) > 0, "OAUTH__GOOGLE_CLIENT_ID")
	}
	s := c.SAML
	if !s.Configured() {
		return
	}
	because := "SAML__IDP_ENTITY_ID"
	if s.IDPEntityID == "" {
		because = "SAML__SP_ENTITY_ID"
	}
	need("SAML__SP_ENTITY_ID", s.SPEntityID != "", because)
	need("SAML__IDP_ENTITY_ID", s.IDPEntityID != "", because)
	need("SAML__SP_ACS_URL", s.SPACSURL != "", because)
	need("SAML__IDP_SSO_URL", s.IDPSSOURL != "", because)
	need("SAML__IDP_X509_CERT", s.IDPX509Cert != "", because)
	if !c.Development() { // people develop with placeholders
		checkSAMLKeys(p, s)
	}
}

// warn collects what works but is probably not meant.
func (c *Config) warn(vars map[string]given) {
	known := map[string]bool{}
	for _, s := range settings(c) {
		known[s.name] = true
		known[s.name+"_FILE"] = s.fromFile()
	}
	sections := sectionDocs()
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		section, _, ok := strings.Cut(name, "__")
		if _, ours := sections[section]; ok && ours && section != "" && !known[name] {
			c.warnings = append(c.warnings, name+" is not a setting of this version, so it is ignored: check the spelling.")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if slip := strings.Replace(name, "__", "_", 1); slip != name && vars[slip].text != "" {
			c.warnings = append(c.warnings, slip+" is ignored: the name has two underscores, "+name+".")
		}
	}
	if c.Development() {
		return
	}
	if c.Password.MinLength < 8 {
		c.warnings = append(c.warnings, "PASSWORD__MIN_LENGTH is below 8: such passwords are guessed. Raise it once nobody needs a short one.")
	}
	if len(c.App.TrustedProxyCIDRs) == 0 {
		c.warnings = append(c.warnings, "APP__TRUSTED_PROXY_CIDRS is empty: behind a TLS proxy everybody then shares the proxy's address and its rate limits. List the proxy.")
	}
	for _, cidr := range c.App.TrustedProxyCIDRs {
		if strings.HasSuffix(cidr, "/0") {
			c.warnings = append(c.warnings, "APP__TRUSTED_PROXY_CIDRS trusts every address, so clients can name any address as theirs: list the proxies only.")
		}
	}
	if len(c.Auth.Audiences) == 0 {
		c.warnings = append(c.warnings, "AUTH__AUDIENCES is empty, so a login may ask for any audience: list the services that trust this one.")
	}
	if c.sources["EMAIL__EMAIL_FROM"] == fromDefault {
		c.warnings = append(c.warnings, "EMAIL__EMAIL_FROM is still auth@localhost, which most mail servers refuse: set it to an address of yours.")
	}
}
