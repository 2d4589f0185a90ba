package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// load runs Load on variables and files of a working directory.
func load(t *testing.T, vars []string, files map[string]string) (*Config, []string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(vars, dir)
	if err == nil {
		return c, nil
	}
	var p *Problems
	if !errors.As(err, &p) {
		t.Fatalf("Load returned a %T, want *Problems", err)
	}
	return c, p.Sentences
}

// mustLoad is load where nothing may be wrong.
func mustLoad(t *testing.T, vars []string, files map[string]string) *Config {
	t.Helper()
	c, problems := load(t, vars, files)
	if problems != nil {
		t.Fatalf("problems:\n%s", strings.Join(problems, "\n"))
	}
	return c
}

func shown(c *Config, name string) Line {
	for _, line := range c.Show() {
		if line.Name == name {
			return line
		}
	}
	return Line{Name: "no such setting: " + name}
}

func TestDefaultsAreValidWithNoEnvironmentAtAll(t *testing.T) {
	c := mustLoad(t, nil, nil)
	if !c.Development() || c.ListenAddr() != "127.0.0.1:8000" || !c.App.ExposeDocs {
		t.Errorf("got %s on %s, docs %v; want development on 127.0.0.1:8000 with docs", c.App.Environment, c.ListenAddr(), c.App.ExposeDocs)
	}
	if c.JWT.AccessTokenTTL != 15*time.Minute || c.SessionSecurity.AbsoluteTTL != 30*24*time.Hour {
		t.Errorf("got lives %v and %v", c.JWT.AccessTokenTTL, c.SessionSecurity.AbsoluteTTL)
	}
	if c.Warnings() != nil {
		t.Errorf("warnings: %q", c.Warnings())
	}
}

func TestWhatLoads(t *testing.T) {
	tests := map[string]struct {
		vars   []string
		files  map[string]string
		name   string
		value  string
		source string
	}{
		"the environment sets a value": {
			vars: []string{"APP__PORT=9000"},
			name: "APP__PORT", value: "9000", source: "env"},
		"names may be in lower case": {
			vars: []string{"app__port=9000"},
			name: "APP__PORT", value: "9000", source: "env"},
		"of two spellings the one in upper case counts": {
			vars: []string{"APP__PORT=1", "app__port=2"},
			name: "APP__PORT", value: "1", source: "env"},
		".env sets a value": {
			files: map[string]string{".env": "# mine\nexport APP__PORT = 9001 # port\n"},
			name:  "APP__PORT", value: "9001", source: ".env"},
		"the environment beats .env": {
			vars: []string{"APP__PORT=9000"}, files: map[string]string{".env": "APP__PORT=9001"},
			name: "APP__PORT", value: "9000", source: "env"},
		"a blank variable counts as not set": {
			vars: []string{"APP__PORT= "},
			name: "APP__PORT", value: "8000", source: "default"},
		".env may start with a byte order mark and end lines as Windows does": {
			files: map[string]string{".env": "\uFEFFAPP__PORT=9001\r\nAPP__SERVICE=x\r\n"},
			name:  "APP__PORT", value: "9001", source: ".env"},
		"outside development the service listens everywhere": {
			vars: []string{"APP__ENVIRONMENT=production"},
			name: "APP__HOST", value: "0.0.0.0", source: "default"},
		"outside development docs are off": {
			vars: []string{"APP__ENVIRONMENT=staging"},
			name: "APP__EXPOSE_DOCS", value: "false", source: "default"},
		"docs can be turned on there": {
			vars: []string{"APP__ENVIRONMENT=staging", "APP__EXPOSE_DOCS=YES"},
			name: "APP__EXPOSE_DOCS", value: "true", source: "env"},
		"a list is JSON, and blanks are dropped": {
			vars: []string{`AUTH__AUDIENCES=["orders-api", " ", " billing-api "]`},
			name: "AUTH__AUDIENCES", value: `["orders-api","billing-api"]`, source: "env"},
		"a section may be one JSON object": {
			vars: []string{`RATE_LIMIT={"login_requests_per_minute": 5}`},
			name: "RATE_LIMIT__LOGIN_REQUESTS_PER_MINUTE", value: "5", source: "env"},
		"a variable of the section beats the object": {
			vars: []string{`RATE_LIMIT={"LOGIN_REQUESTS_PER_MINUTE": 5}`, "RATE_LIMIT__LOGIN_REQUESTS_PER_MINUTE=6"},
			name: "RATE_LIMIT__LOGIN_REQUESTS_PER_MINUTE", value: "6", source: "env"},
		"an object may hold lists": {
			vars: []string{`AUTH={"AUDIENCES": ["a", "b"], "ACCEPT_SHARED_AUDIENCE": null}`},
			name: "AUTH__AUDIENCES", value: `["a","b"]`, source: "env"},
		"a variable with the name of a section and no object is not ours": {
			vars: []string{"EMAIL=me@example.com", "RATE_LIMIT=1"},
			name: "EMAIL__EMAIL_FROM", value: "auth@localhost", source: "default"},
		"asyncpg URLs become postgres URLs": {
			vars: []string{"DATABASE__URL=postgresql+asyncpg://u@db/auth?ssl=require&x=1"},
			name: "DATABASE__URL", value: "postgres://u@db/auth?sslmode=require&x=1", source: "env"},
		"postgresql URLs become postgres URLs": {
			vars: []string{"DATABASE__URL=postgresql://u@db/auth"},
			name: "DATABASE__URL", value: "postgres://u@db/auth", source: "env"},
		"a slash at the end of the base URL is dropped": {
			vars: []string{"EMAIL__PUBLIC_BASE_URL=https://auth.example.com/"},
			name: "EMAIL__PUBLIC_BASE_URL", value: "https://auth.example.com", source: "env"},
	}
	for sentence, tt := range tests {
		t.Run(sentence, func(t *testing.T) {
			c, _ := load(t, tt.vars, tt.files)
			if line := shown(c, tt.name); line.Value != tt.value || line.Source != tt.source {
				t.Errorf("got %q from %s, want %q from %s", line.Value, line.Source, tt.value, tt.source)
			}
		})
	}
}

func TestSecretsAreReadWhole(t *testing.T) {
	const pem = "-----BEGIN X-----\nabc\n-----END X-----"
	tests := map[string]struct {
		vars   []string
		files  map[string]string
		secret string
		source string
	}{
		"from the environment": {
			vars: []string{"EMAIL__SMTP_PASSWORD=a=b$HOME#c"}, secret: "a=b$HOME#c", source: "env"},
		"from .env without quotes, with a $": {
			files: map[string]string{".env": "HOME=/root\nEMAIL__SMTP_PASSWORD=a$HOME${HOME}#c"}, secret: "a$HOME${HOME}#c", source: ".env"},
		"from .env in single quotes": {
			files: map[string]string{".env": "EMAIL__SMTP_PASSWORD='a $HOME #c'"}, secret: "a $HOME #c", source: ".env"},
		"from .env in double quotes, over several lines": {
			files: map[string]string{".env": "EMAIL__SMTP_PASSWORD=\"" + pem + "\"\n"}, secret: pem, source: ".env"},
		"from a file, without the line break at its end": {
			vars:   []string{"EMAIL__SMTP_PASSWORD_FILE=pw"},
			files:  map[string]string{"pw": " s3 cret \r\n"},
			secret: " s3 cret ", source: "file"},
		"from a file that .env names": {
			files:  map[string]string{"pw": "s3cret\n", ".env": "email__smtp_password_file=pw"},
			secret: "s3cret", source: "file"},
	}
	for sentence, tt := range tests {
		t.Run(sentence, func(t *testing.T) {
			c := mustLoad(t, append(tt.vars, "EMAIL__SMTP_USERNAME=u", "EMAIL__SMTP_HOST=h"), tt.files)
			if got := c.Email.SMTPPassword.Reveal(); got != tt.secret {
				t.Errorf("got %q, want %q", got, tt.secret)
			}
			if got := shown(c, "EMAIL__SMTP_PASSWORD").Source; got != tt.source {
				t.Errorf("from %s, want %s", got, tt.source)
			}
		})
	}

	t.Run("a list of old keys may come from a file", func(t *testing.T) {
		c := mustLoad(t, []string{"SIGNING_KEYS__ENCRYPTION_KEY_PREVIOUS_FILE=old"}, map[string]string{"old": `["one", "two"]`})
		if got := c.SigningKeys.EncryptionKeyPrevious; !slices.Equal(got, []Secret{"one", "two"}) {
			t.Errorf("got %d keys", len(got))
		}
	})
	t.Run("a database URL may come from a file", func(t *testing.T) {
		c := mustLoad(t, []string{"DATABASE__URL_FILE=url"}, map[string]string{"url": "postgres://u:p@db/auth\n"})
		if got := c.Database.URL.Reveal(); got != "postgres://u:p@db/auth" {
			t.Errorf("got %q", got)
		}
	})
}

func TestEveryProblemAtOnce(t *testing.T) {
	_, got := load(t, []string{
		"APP__ENVIRONMENT=Production",
		"APP__PORT=eighty",
		"APP__EXPOSE_DOCS=maybe",
		"APP__TRUSTED_PROXY_CIDRS=[\"10.0.0.0/8\", \"10.0.0.0/33\", \"nonsense\"]",
		"APP__ALLOWED_HOSTS=auth.example.com",
		"AUTH__AUDIENCES=[\"two words\"]",
		"DATABASE__POOL_SIZE=0",
		"DATABASE__URL=mysql://u:p@db/auth",
		"SIGNING_KEYS__ENCRYPTION_KEY_FILE=missing",
		"RETENTION__PURGE_CRON=0 25 * * *",
		"EMAIL__SMTP_HOST=mail.example.com",
		"EMAIL__PUBLIC_BASE_URL=ftp://auth.example.com",
		"OAUTH={oops",
	}, nil)
	want := []string{
		"OAUTH is not a JSON object: mend it, or set OAUTH__… variables instead.",
		"APP__ENVIRONMENT must be development, staging or production, spelled exactly so.",
		"APP__PORT must be a whole number from 0 to 65535.",
		"APP__EXPOSE_DOCS must be true or false.",
		`APP__ALLOWED_HOSTS must be a JSON list of strings, such as ["one", "two"].`,
		"APP__TRUSTED_PROXY_CIDRS entry 2 must be an address range, such as 10.0.0.0/8.",
		"APP__TRUSTED_PROXY_CIDRS entry 3 must be an address range, such as 10.0.0.0/8.",
		"DATABASE__POOL_SIZE must be a whole number from 1 to 10000.",
		"AUTH__AUDIENCES entry 1 must be 1 to 255 visible ASCII characters without spaces.",
		"SIGNING_KEYS__ENCRYPTION_KEY_FILE names a file that cannot be read (no such file or directory): mend the path or the permissions.",
		"EMAIL__PUBLIC_BASE_URL must be an http or https URL with a host and no password, such as https://auth.example.com.",
		"RETENTION__PURGE_CRON must be five cron fields (minute, hour, day of month, month, day of week), such as 0 3 * * *.",
		"DATABASE__URL must start with sqlite://, postgres://, postgresql:// or postgresql+asyncpg://.",
		"SESSION_SECURITY__REFRESH_TOKEN_HASH_KEY is not set: make one with `openssl rand -base64 48`.",
		"WEBHOOK__SECRET_ENCRYPTION_KEY is not set: make one with `openssl rand -base64 48`.",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestUnreadableFiles(t *testing.T) {
	tests := map[string]struct {
		vars  []string
		files map[string]string
		want  string
	}{
		"a line of .env that is no assignment is named by its number": {
			files: map[string]string{".env": "A=1\n\nB=\"x\ny\"\nMIIEsecret/secret\nAPP__PORT=1\n"},
			want:  ".env line 5 is not NAME=value: close its quotes, or put a value of several lines into quotes."},
		"so is one with an open quote": {
			files: map[string]string{".env": "A=1\nB=\"MIIEsecret\n\nC=3\n"},
			want:  ".env line 2 is not NAME=value: close its quotes, or put a value of several lines into quotes."},
		".env must be UTF-8": {
			files: map[string]string{".env": "APP__SERVICE=\xff\xfe"},
			want:  ".env is not UTF-8 text: save it as UTF-8."},
		"a secret and its file together are refused": {
			vars:  []string{"EMAIL__SMTP_PASSWORD=x", "EMAIL__SMTP_PASSWORD_FILE=pw"},
			files: map[string]string{"pw": "secret"},
			want:  "EMAIL__SMTP_PASSWORD and EMAIL__SMTP_PASSWORD_FILE are both set: keep one of them."},
		"an empty secret file is refused": {
			vars:  []string{"ADMIN_API_KEY_FILE=key"},
			files: map[string]string{"key": "\n"},
			want:  "ADMIN_API_KEY_FILE names an empty file: write the secret into it."},
	}
	for sentence, tt := range tests {
		t.Run(sentence, func(t *testing.T) {
			_, got := load(t, tt.vars, tt.files)
			if diff := cmp.Diff([]string{tt.want}, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSMTPIsResolved(t *testing.T) {
	tests := map[string]struct {
		vars string
		want SMTP
	}{
		"nothing set has no host":                     {"", SMTP{Port: 587, TLS: "opportunistic"}},
		"a host alone uses STARTTLS if offered":       {"SMTP_HOST=h", SMTP{Host: "h", Port: 587, TLS: "opportunistic"}},
		"a user name demands STARTTLS":                {"SMTP_HOST=h SMTP_USERNAME=u SMTP_PASSWORD=p", SMTP{Host: "h", Port: 587, Username: "u", Password: "p", TLS: "starttls"}},
		"port 465 is TLS from the start":              {"SMTP_HOST=h SMTP_PORT=465", SMTP{Host: "h", Port: 465, TLS: "tls"}},
		"an explicit choice holds":                    {"SMTP_HOST=h SMTP_PORT=465 SMTP_TLS=none", SMTP{Host: "h", Port: 465, TLS: "none"}},
		"the Mailhog names are aliases without TLS":   {"MAILHOG_HOST=m", SMTP{Host: "m", Port: 1025, TLS: "none"}},
		"the Mailhog port too":                        {"MAILHOG_HOST=m MAILHOG_PORT=2525", SMTP{Host: "m", Port: 2525, TLS: "none"}},
		"the SMTP names win over the Mailhog names":   {"SMTP_HOST=h MAILHOG_HOST=m", SMTP{Host: "h", Port: 587, TLS: "opportunistic"}},
		"a Mailhog port without a host sends nothing": {"MAILHOG_PORT=1", SMTP{Port: 587, TLS: "opportunistic"}},
	}
	for sentence, tt := range tests {
		t.Run(sentence, func(t *testing.T) {
			var vars []string
			for _, v := range strings.Fields(tt.vars) {
				vars = append(vars, "EMAIL__"+v)
			}
			if got := mustLoad(t, vars, nil).Email.SMTP(); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestMasksNeverLeakSecrets(t *testing.T) {
	const hidden = "hunter2hunter2"
	vars := []string{
		"DATABASE__URL=postgres://u:" + hidden + "@db/auth?sslpassword=" + hidden,
		"REDIS__URL=redis://:" + hidden + "@cache:6379/0",
	}
	for _, s := range settings(&Config{}) {
		switch s.value.Interface().(type) {
		case Secret:
			vars = append(vars, s.name+"="+hidden)
		case []Secret:
			vars = append(vars, s.name+`=["`+hidden+`x"]`)
		}
	}
	c, problems := load(t, vars, nil)
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("config", "c", c, "secret", c.AdminAPIKey, "url", c.Database.URL)
	asJSON, _ := json.Marshal(c)
	showJSON, _ := json.Marshal(c.Show())
	for what, text := range map[string]string{
		"problems":    strings.Join(problems, "\n"),
		"show":        c.Show().String(),
		"show JSON":   string(showJSON),
		"config JSON": string(asJSON),
		"slog":        log.String(),
		"%+v":         fmt.Sprintf("%+v", *c),
		"%#v":         fmt.Sprintf("%#v", c.Email),
		"%q %x %d":    fmt.Sprintf("%q %x %d", c.AdminAPIKey, c.AdminAPIKey, c.AdminAPIKey),
	} {
		if strings.Contains(text, hidden) || strings.Contains(text, fmt.Sprintf("%x", hidden)) {
			t.Errorf("%s leaks a secret:\n%s", what, text)
		}
	}
	for name, want := range map[string]string{
		"ADMIN_API_KEY":                         "********",
		"SIGNING_KEYS__ENCRYPTION_KEY_PREVIOUS": `["********"]`,
		"DATABASE__URL":                         "postgres://u:********@db/auth?sslpassword=********",
		"REDIS__URL":                            "redis://:********@cache:6379/0",
	} {
		if got := shown(c, name).Value; got != want {
			t.Errorf("%s is shown as %q, want %q", name, got, want)
		}
	}
	empty := mustLoad(t, nil, nil)
	if got := shown(empty, "ADMIN_API_KEY").Value; got != "" {
		t.Errorf("an empty secret is shown as %q, want nothing", got)
	}
}

func TestURLsThatCannotBeTakenApartAreMaskedWhole(t *testing.T) {
	for _, text := range []string{
		"postgres://u:12#hunter2@db/auth", "postgres://u:12/hunter2@db/auth", "postgres://u:12?hunter2@db/auth",
		"postgres://u:p@x/hunter2@db/auth", "postgres://u:hunter%zz@db/auth", "postgres://db/auth?password=hunter%zz2",
		"host=db password=hunter2", "u:hunter2@db", "postgres:u:hunter2@db",
	} {
		if got := SecretURL(text).String(); got != mask {
			t.Errorf("%s is shown as %s", text, got)
		}
	}
}

func TestWarnings(t *testing.T) {
	c := mustLoad(t, []string{"APP__ENVIROMENT=production", "APP_PORT=9000", "OTHER__X=1", "__X=1", "EMAIL__SMTP_PASSWORD_FILE=", "APP__PORT_FILE=x"}, nil)
	want := []string{
		"APP__ENVIROMENT is not a setting of this version, so it is ignored: check the spelling.",
		"APP__PORT_FILE is not a setting of this version, so it is ignored: check the spelling.",
		"APP_PORT is ignored: the name has two underscores, APP__PORT.",
	}
	if diff := cmp.Diff(want, c.Warnings()); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}
