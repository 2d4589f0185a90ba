// Package config reads the settings of authd.
//
// The struct below is the only list of settings: names, defaults, bounds and
// meanings are tags, and loading, checking, `authd config show`,
// docs/reference/config.md and .env-sample all read them. A new setting is one
// line here, then `go test ./internal/config -update`.
//
// The tags of a setting:
//
//	env        its name; with the section in front, SECTION__NAME
//	default    its default; elsewhere is the default outside development
//	doc        what it means, in one or two sentences
//	min, max   the bounds of a number (max is 2147483647 if not given)
//	enum       the allowed values
//	format     a row of the table in format.go; for a list, of each entry
//	planned    "true": accepted and checked, but nothing reads it yet
//
// A time.Duration is written in seconds. Fields of type Secret, SecretURL and
// []Secret are masked wherever they are printed and may come from a file.
package config

import (
	"net"
	"strconv"
	"time"
)

// Config holds every setting. Load makes it; nothing changes it afterwards.
type Config struct {
	App             App             `section:"APP" doc:"The process and its address."`
	Database        Database        `section:"DATABASE" doc:"Where everything is stored."`
	Redis           Redis           `section:"REDIS" doc:"Shared rate-limit counters. Losing Redis loses nothing else."`
	JWT             JWT             `section:"JWT" doc:"Tokens."`
	Auth            Auth            `section:"AUTH" doc:"Rules of signing in."`
	SessionSecurity SessionSecurity `section:"SESSION_SECURITY" doc:"Sessions and refresh tokens."`
	SigningKeys     SigningKeys     `section:"SIGNING_KEYS" doc:"The keys that sign tokens."`
	Password        Password        `section:"PASSWORD" doc:"What people may choose, and what one hash (Argon2id) costs."`
	Email           Email           `section:"EMAIL" doc:"Mail, and the addresses in it."`
	BrowserSessions BrowserSessions `section:"BROWSER_SESSIONS" doc:"Sessions in cookies."`
	RateLimit       RateLimit       `section:"RATE_LIMIT" doc:"Requests per minute."`
	Webhook         Webhook         `section:"WEBHOOK" doc:"Events sent to other services."`
	Retention       Retention       `section:"RETENTION" doc:"How long logs are kept."`
	OAuth           OAuth           `section:"OAUTH" doc:"Sign-in with Google. Off while the client id is empty."`
	SAML            SAML            `section:"SAML" doc:"Sign-in with SAML. Off while both entity ids are empty."`
	Revocations     Revocations     `section:"REVOCATIONS" doc:"The feed of ended sessions, for other services."`
	Clients         Clients         `section:"CLIENTS" doc:"Machine clients (OAuth client credentials)."`
	Audit           Audit           `section:"AUDIT" doc:"The audit log."`
	Introspection   Introspection   `section:"INTROSPECTION" doc:"Checking API keys for other services."`
	Metrics         Metrics         `section:"METRICS" doc:"Prometheus metrics."`
	Tracing         Tracing         `section:"TRACING" doc:"OpenTelemetry traces."`
	Dev             Dev             `section:"DEV" doc:"Development only."`
	AdminAPIKey     Secret          `env:"ADMIN_API_KEY" doc:"Bootstrap key for the admin API, sent as X-Admin-API-Key. Development only; refused elsewhere."`

	sources  map[string]string // variable → where its value came from
	warnings []string
}

// App is the section APP__.
type App struct {
	Environment        string   `env:"ENVIRONMENT" default:"development" enum:"development,staging,production" doc:"Outside development, start-up refuses everything that is only safe on one's own machine."`
	Service            string   `env:"SERVICE" default:"auth-service" format:"audience" doc:"The name of this service: a log field, the title of the API, and the audience of its own tokens."`
	Host               string   `env:"HOST" default:"127.0.0.1" elsewhere:"0.0.0.0" format:"host" doc:"The address to listen on, without a port."`
	Port               int      `env:"PORT" default:"8000" min:"0" max:"65535" doc:"The port to listen on. 0 takes any free port."`
	LogLevel           string   `env:"LOG_LEVEL" default:"INFO" enum:"DEBUG,INFO,WARNING,ERROR,CRITICAL" doc:"The least severe log lines that are written."`
	ExposeDocs         bool     `env:"EXPOSE_DOCS" default:"true" elsewhere:"false" doc:"Serve /docs and /openapi.json."`
	AllowedHosts       []string `env:"ALLOWED_HOSTS" format:"host pattern" doc:"The values of the Host header that are answered; *.example.com allows every subdomain. Empty allows all. Required outside development."`
	TrustedProxyCIDRs  []string `env:"TRUSTED_PROXY_CIDRS" format:"CIDR" doc:"The proxies whose X-Forwarded-For is believed."`
	Roles              []string `env:"ROLES" default:"[\"api\",\"worker\"]" doc:"What this process does: api answers requests; worker works jobs, sends webhooks and keeps the audit chain. SQLite has one process, with both. --roles wins."`
	CORSAllowedOrigins []string `env:"CORS_ALLOWED_ORIGINS" format:"origin" doc:"The origins whose pages may call the API with a bearer token. Empty allows none."`
}

// Database is the section DATABASE__.
type Database struct {
	URL         SecretURL     `env:"URL" default:"sqlite://authd-data/authd.db" doc:"sqlite://path (sqlite:///path is absolute) or postgres://user:password@host/name. Also accepted: postgresql:// and postgresql+asyncpg://."`
	PoolSize    int           `env:"POOL_SIZE" default:"20" min:"1" max:"10000" doc:"PostgreSQL: connections of one process."`
	MaxOverflow int           `env:"MAX_OVERFLOW" default:"20" min:"0" max:"10000" doc:"PostgreSQL: connections above POOL_SIZE when busy."`
	PoolTimeout time.Duration `env:"POOL_TIMEOUT_SECONDS" planned:"true" default:"30" min:"1" doc:"PostgreSQL: how long a request may wait for a connection."`
	PoolRecycle time.Duration `env:"POOL_RECYCLE_SECONDS" default:"1800" min:"1" doc:"PostgreSQL: the age at which a connection is replaced."`
}

// Redis is the section REDIS__.
type Redis struct {
	URL                 SecretURL     `env:"URL" doc:"redis://host:6379/0, or rediss:// for TLS. Empty counts in memory, which is right for one process."`
	HealthCheckInterval time.Duration `env:"HEALTH_CHECK_INTERVAL_SECONDS" planned:"true" default:"30" min:"0" doc:"How often an idle connection is tried. 0 never tries."`
}

// JWT is the section JWT__.
type JWT struct {
	Algorithm       string        `env:"ALGORITHM" default:"RS256" enum:"RS256,ES256,EdDSA" doc:"The algorithm of new signing keys."`
	PrivateKeyPEM   Secret        `env:"PRIVATE_KEY_PEM" doc:"A private key to import as the first signing key, with real line breaks. Empty makes one at the first start."`
	PublicKeyPEM    Secret        `env:"PUBLIC_KEY_PEM" doc:"The public key of the pair. Set both or neither."`
	AccessTokenTTL  time.Duration `env:"ACCESS_TOKEN_TTL_SECONDS" default:"900" min:"1" doc:"How long an access token lives."`
	RefreshTokenTTL time.Duration `env:"REFRESH_TOKEN_TTL_SECONDS" default:"604800" min:"1" doc:"How long a session lives without a refresh."`
}

// Auth is the section AUTH__.
type Auth struct {
	RequireVerifiedEmail bool     `env:"REQUIRE_VERIFIED_EMAIL_FOR_PASSWORD_LOGIN" default:"true" doc:"Refuse to log in until the address is verified."`
	Audiences            []string `env:"AUDIENCES" format:"audience" doc:"The audiences a login may ask for. Empty allows any."`
	AcceptSharedAudience bool     `env:"ACCEPT_SHARED_AUDIENCE" default:"false" doc:"Let tokens that name other services too call the admin API and change accounts. Only for old clients."`
}

// SessionSecurity is the section SESSION_SECURITY__.
type SessionSecurity struct {
	RefreshTokenHashKey         Secret        `env:"REFRESH_TOKEN_HASH_KEY" doc:"Makes and checks refresh tokens. 32 characters or more; required outside development, made by itself in development."`
	RefreshTokenHashKeyPrevious []Secret      `env:"REFRESH_TOKEN_HASH_KEY_PREVIOUS" doc:"Older keys: still check, never make."`
	AbsoluteTTL                 time.Duration `env:"ABSOLUTE_TTL_SECONDS" default:"2592000" min:"0" doc:"How long a session lives at most, refreshed or not. 0 sets no end."`
	RefreshReuseGrace           time.Duration `env:"REFRESH_REUSE_GRACE_SECONDS" default:"10" min:"0" max:"300" doc:"How long a spent refresh token still gets the same answer, for tabs that refresh at the same moment."`
}

// SigningKeys is the section SIGNING_KEYS__.
type SigningKeys struct {
	EncryptionKey         Secret        `env:"ENCRYPTION_KEY" doc:"Seals the signing keys in the database. 32 characters or more; required outside development, made by itself in development."`
	EncryptionKeyPrevious []Secret      `env:"ENCRYPTION_KEY_PREVIOUS" doc:"Older keys: still open, never seal."`
	RotationOverlap       time.Duration `env:"ROTATION_OVERLAP_SECONDS" default:"900" min:"0" doc:"How long a replaced key still verifies. Never shorter than the longest token life."`
	RotationDays          int           `env:"ROTATION_DAYS" default:"90" min:"0" max:"3650" doc:"After how many days another key signs. 0 rotates only when asked to."`
}

// Password is the section PASSWORD__.
type Password struct {
	MinLength        int    `env:"MIN_LENGTH" default:"8" min:"1" max:"64" doc:"Characters that a chosen password has at least. Logins always accept 8 or more."`
	MaxLength        int    `env:"MAX_LENGTH" default:"128" min:"64" max:"256" doc:"Characters that it has at most."`
	RequireUppercase bool   `env:"REQUIRE_UPPERCASE" default:"true" doc:"It must contain an uppercase letter."`
	RequireLowercase bool   `env:"REQUIRE_LOWERCASE" default:"false" doc:"It must contain a lowercase letter."`
	RequireDigit     bool   `env:"REQUIRE_DIGIT" default:"true" doc:"It must contain a number."`
	RequireSpecial   bool   `env:"REQUIRE_SPECIAL" default:"true" doc:"It must contain one of the 32 punctuation characters of ASCII."`
	DenyListFile     string `env:"DENY_LIST_FILE" doc:"A file of passwords that nobody may choose: one a line, or lines of SHA-1 and count from haveibeenpwned.com. Empty refuses none."`

	Argon2MemoryKiB   int `env:"ARGON2_MEMORY_KIB" default:"19456" min:"8" max:"4194304" doc:"Memory of one hash."`
	Argon2Iterations  int `env:"ARGON2_ITERATIONS" default:"2" min:"1" max:"1000" doc:"Passes over that memory."`
	Argon2Parallelism int `env:"ARGON2_PARALLELISM" default:"1" min:"1" max:"255" doc:"Lanes of one hash."`
	HashWorkers       int `env:"HASH_WORKERS" default:"0" min:"0" max:"1024" doc:"Hashes that run at once. 0 means one for each core."`
	HashNiceness      int `env:"HASH_NICENESS" default:"19" min:"0" max:"19" doc:"How far hashing, which has a process of its own, stands back behind everything else on the machine: 19 keeps the other endpoints quick in a flood of sign-ins; lower it if other programs keep this machine's cores busy and signing in is slow."`
}

// Email is the section EMAIL__.
type Email struct {
	PublicBaseURL    string        `env:"PUBLIC_BASE_URL" default:"http://localhost:8000" format:"URL" doc:"Where people reach this service: the start of the links in mails, and the issuer of tokens. In development the default follows APP__PORT. https outside development."`
	EmailFrom        string        `env:"EMAIL_FROM" default:"auth@localhost" format:"mail address" doc:"The sender."`
	SMTPHost         string        `env:"SMTP_HOST" format:"host" doc:"The mail server. Empty in development shows all mail at /dev/mailbox; required outside development."`
	SMTPPort         int           `env:"SMTP_PORT" default:"587" min:"1" max:"65535" doc:"Its port."`
	SMTPUsername     string        `env:"SMTP_USERNAME" doc:"The user name to log in with. Empty does not log in."`
	SMTPPassword     Secret        `env:"SMTP_PASSWORD" doc:"The password to log in with."`
	SMTPTLS          string        `env:"SMTP_TLS" default:"auto" enum:"auto,starttls,tls,none" doc:"starttls and tls refuse an unencrypted connection. auto is tls on port 465, starttls with a user name, and otherwise STARTTLS where the server offers it."`
	MailhogHost      string        `env:"MAILHOG_HOST" format:"host" doc:"Older name of SMTP_HOST, without TLS or login. SMTP_HOST wins."`
	MailhogPort      int           `env:"MAILHOG_PORT" default:"1025" min:"1" max:"65535" doc:"The port of MAILHOG_HOST."`
	EmailVerifyTTL   time.Duration `env:"EMAIL_VERIFY_TTL_SECONDS" default:"86400" min:"1" doc:"How long the link that verifies an address works."`
	PasswordResetTTL time.Duration `env:"PASSWORD_RESET_TTL_SECONDS" default:"3600" min:"1" doc:"How long the link that resets a password works."`
	OTPCodeLength    int           `env:"OTP_CODE_LENGTH" default:"6" min:"4" max:"12" doc:"Digits of a mailed code."`
	OTPTTL           time.Duration `env:"OTP_TTL_SECONDS" default:"600" min:"1" doc:"How long a mailed code works."`
	OTPMaxAttempts   int           `env:"OTP_MAX_ATTEMPTS" default:"5" min:"1" doc:"Wrong guesses before a code dies."`
	ActionTokenTTL   time.Duration `env:"ACTION_TOKEN_TTL_SECONDS" default:"300" min:"1" doc:"How long the confirmation of an action works."`
}

// BrowserSessions is the section BROWSER_SESSIONS__.
type BrowserSessions struct {
	Enabled              bool     `env:"ENABLED" default:"false" doc:"Offer sessions in cookies."`
	InferCookieTransport bool     `env:"INFER_COOKIE_TRANSPORT" default:"true" doc:"Use cookies for a request that has a session cookie, without the transport header."`
	TransportHeaderName  string   `env:"TRANSPORT_HEADER_NAME" default:"X-Auth-Session-Transport" format:"header name" doc:"The header that chooses cookie or token."`
	AllowedOrigins       []string `env:"ALLOWED_ORIGINS" format:"origin" doc:"Further origins whose pages may use the cookies. https outside development."`
	AccessCookieName     string   `env:"ACCESS_COOKIE_NAME" default:"__Host-auth_access" format:"cookie name" doc:"The cookie with the access token."`
	RefreshCookieName    string   `env:"REFRESH_COOKIE_NAME" default:"__Host-auth_refresh" format:"cookie name" doc:"The cookie with the refresh token."`
	CSRFCookieName       string   `env:"CSRF_COOKIE_NAME" default:"__Host-auth_csrf" format:"cookie name" doc:"The cookie with the CSRF token."`
	CSRFHeaderName       string   `env:"CSRF_HEADER_NAME" default:"X-CSRF-Token" format:"header name" doc:"The header that repeats the CSRF token."`
	SameSite             string   `env:"SAME_SITE" default:"lax" enum:"lax,strict,none" doc:"SameSite of the cookies."`
	SecureOnly           bool     `env:"SECURE_ONLY" default:"false" doc:"Cookies over https only. Names starting with __Host- or __Secure- need it; so does every environment but development."`
	CookieDomain         string   `env:"COOKIE_DOMAIN" format:"domain" doc:"Domain of the cookies. Empty means this host only."`
	AccessCookiePath     string   `env:"ACCESS_COOKIE_PATH" default:"/" format:"path" doc:"Path of the access cookie."`
	RefreshCookiePath    string   `env:"REFRESH_COOKIE_PATH" default:"/" format:"path" doc:"Path of the refresh cookie."`
	CSRFCookiePath       string   `env:"CSRF_COOKIE_PATH" default:"/" format:"path" doc:"Path of the CSRF cookie."`
}

// RateLimit is the section RATE_LIMIT__.
type RateLimit struct {
	DefaultPerMinute int `env:"DEFAULT_REQUESTS_PER_MINUTE" default:"120" min:"1" doc:"Everything but the two below."`
	LoginPerMinute   int `env:"LOGIN_REQUESTS_PER_MINUTE" default:"10" min:"1" doc:"POST /auth/login."`
	TokenPerMinute   int `env:"TOKEN_REQUESTS_PER_MINUTE" default:"30" min:"1" doc:"POST /auth/token."`
}

// Webhook is the section WEBHOOK__.
type Webhook struct {
	SecretEncryptionKey         Secret        `env:"SECRET_ENCRYPTION_KEY" doc:"Seals the webhook secrets in the database. 32 characters or more; required outside development, made by itself in development."`
	SecretEncryptionKeyPrevious []Secret      `env:"SECRET_ENCRYPTION_KEY_PREVIOUS" doc:"Older keys: still open, never seal."`
	AllowPrivateTargets         bool          `env:"ALLOW_PRIVATE_TARGETS" default:"false" doc:"Deliver to private addresses too. Development only; refused elsewhere."`
	QueueName                   string        `env:"QUEUE_NAME" planned:"true" default:"webhooks" doc:"Not used: deliveries wait in the database."`
	RequestTimeout              time.Duration `env:"REQUEST_TIMEOUT_SECONDS" default:"10" min:"1" max:"60" doc:"How long one delivery may take."`
	ResponseBodyMaxChars        int           `env:"RESPONSE_BODY_MAX_CHARS" default:"1000" min:"1" max:"10000" doc:"How much of an answer is kept."`
	WorkerTTL                   time.Duration `env:"WORKER_TTL_SECONDS" planned:"true" default:"120" min:"30" doc:"Not used: deliveries wait in the database."`
	RedisHealthCheckInterval    time.Duration `env:"REDIS_HEALTH_CHECK_INTERVAL_SECONDS" planned:"true" default:"30" min:"0" doc:"Not used: deliveries wait in the database."`
}

// Retention is the section RETENTION__.
type Retention struct {
	Enabled        bool   `env:"ENABLE_RETENTION_PURGE" default:"false" doc:"Delete old rows."`
	AuditLogDays   int    `env:"AUDIT_LOG_RETENTION_DAYS" default:"90" min:"1" doc:"Days an audit row is kept."`
	SessionLogDays int    `env:"SESSION_LOG_RETENTION_DAYS" default:"30" min:"1" doc:"Days an ended session is kept."`
	DeliveryDays   int    `env:"WEBHOOK_DELIVERY_RETENTION_DAYS" default:"30" min:"1" doc:"Days a finished webhook delivery is kept."`
	PurgeCron      string `env:"PURGE_CRON" default:"0 3 * * *" format:"cron" doc:"When old rows are deleted, in UTC: minute, hour, day of month, month, day of week."`
}

// OAuth is the section OAUTH__.
type OAuth struct {
	GoogleClientID       string   `env:"GOOGLE_CLIENT_ID" planned:"true" doc:"The client id from Google. Empty turns Google off."`
	GoogleClientSecret   Secret   `env:"GOOGLE_CLIENT_SECRET" planned:"true" doc:"The client secret from Google."`
	GoogleRedirectURI    string   `env:"GOOGLE_REDIRECT_URI" planned:"true" format:"URL" doc:"The callback registered at Google. https outside development."`
	RedirectURIAllowlist []string `env:"REDIRECT_URI_ALLOWLIST" format:"URL" doc:"Where people may be sent after sign-in, by OAuth and by SAML. Their pages may use the session cookies. https outside development."`
}

// SAML is the section SAML__.
type SAML struct {
	SPEntityID   string `env:"SP_ENTITY_ID" planned:"true" doc:"The name of this service."`
	SPACSURL     string `env:"SP_ACS_URL" planned:"true" format:"URL" doc:"Where the identity provider sends its answer. https outside development."`
	SPX509Cert   Secret `env:"SP_X509_CERT" planned:"true" doc:"The certificate of this service."`
	SPPrivateKey Secret `env:"SP_PRIVATE_KEY" planned:"true" doc:"The private key of that certificate."`
	IDPEntityID  string `env:"IDP_ENTITY_ID" planned:"true" doc:"The name of the identity provider."`
	IDPSSOURL    string `env:"IDP_SSO_URL" planned:"true" format:"URL" doc:"Its sign-in page. https outside development."`
	IDPX509Cert  Secret `env:"IDP_X509_CERT" planned:"true" doc:"Its certificate."`
}

// Revocations is the section REVOCATIONS__.
type Revocations struct {
	Public bool `env:"PUBLIC" planned:"true" default:"false" doc:"Serve the feed without a credential. In development it always is."`
}

// Clients is the section CLIENTS__.
type Clients struct {
	MaxTokenTTL time.Duration `env:"MAX_TOKEN_TTL_SECONDS" default:"86400" min:"60" max:"2592000" doc:"The longest life that a machine client's tokens may be given."`
}

// Audit is the section AUDIT__.
type Audit struct {
	HeadsFile string `env:"HEADS_FILE" doc:"A file that each signed head of the audit chain is appended to. On another machine's disk it proves that nothing was cut off. Empty for none."`
}

// Introspection is the section INTROSPECTION__.
type Introspection struct {
	RequireCaller bool `env:"REQUIRE_CALLER" default:"false" doc:"Answer only callers with a credential of their own."`
}

// Metrics is the section METRICS__.
type Metrics struct {
	Addr  string `env:"ADDR" format:"host:port" doc:"An address of its own for /metrics, such as 127.0.0.1:9090. It asks for METRICS__TOKEN if that is set."`
	Token Secret `env:"TOKEN" doc:"The bearer token that opens /metrics outside development. 32 characters or more."`
}

// Tracing is the section TRACING__.
type Tracing struct {
	OTLPEndpoint  string `env:"OTLP_ENDPOINT" format:"URL" doc:"Where spans are sent, by OTLP over HTTP: such as http://localhost:4318. Empty records nothing."`
	SamplePercent int    `env:"SAMPLE_PERCENT" default:"100" min:"0" max:"100" doc:"How many of the traces that start here are kept. A caller's own decision is followed."`
}

// Dev is the section DEV__.
type Dev struct {
	MailboxPublic bool `env:"MAILBOX_PUBLIC" default:"false" doc:"Show /dev/mailbox to other machines too. Development only; refused elsewhere."`
}

// Development reports whether this is somebody's own machine.
func (c *Config) Development() bool { return c.App.Environment == "development" }

// ListenAddr is the address to listen on, as net.Listen takes it.
func (c *Config) ListenAddr() string {
	return net.JoinHostPort(c.App.Host, strconv.Itoa(c.App.Port))
}

// Warnings are sentences about settings that work but are probably not meant.
func (c *Config) Warnings() []string { return c.warnings }

// Configured reports whether sign-in with Google is on.
func (o OAuth) Configured() bool { return o.GoogleClientID != "" }

// Configured reports whether sign-in with SAML is on.
func (s SAML) Configured() bool { return s.SPEntityID != "" || s.IDPEntityID != "" }

// SMTP is a mail server to send through.
type SMTP struct {
	Host     string
	Port     int
	Username string // empty: no login
	Password Secret
	TLS      string // starttls, tls, none, or opportunistic: STARTTLS if offered
}

// SMTP returns the mail server, or one without a host where there is none.
func (e Email) SMTP() SMTP {
	if e.SMTPHost == "" && e.MailhogHost != "" {
		return SMTP{Host: e.MailhogHost, Port: e.MailhogPort, TLS: "none"}
	}
	s := SMTP{Host: e.SMTPHost, Port: e.SMTPPort, Username: e.SMTPUsername, Password: e.SMTPPassword, TLS: e.SMTPTLS}
	switch {
	case s.TLS != "auto":
	case s.Port == 465:
		s.TLS = "tls"
	case s.Username != "":
		s.TLS = "starttls"
	default:
		s.TLS = "opportunistic"
	}
	return s
}
