package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/authsdk/authsdk/e2e/authapi"
	"github.com/authsdk/authsdk/e2e/program"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest/engines"
)

const publicHost = "auth.example.com"

// TestOperatorWalk follows docs/guides/operations.md: its settings, its
// commands, deploy/nginx.conf; only hosts, ports and files are this machine's.
func TestOperatorWalk(t *testing.T) {
	nginx, err := engines.Nginx()
	if errors.Is(err, engines.ErrLeftOut) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	mails := newMailServer(t)
	s := &store{engine: "pgx", dir: t.TempDir(), dsn: dbtest.EmptyPostgresURL(t)}
	settings := guideSettings(t, s, mails)

	t.Log("the settings of the guide are good, and the schema is migrated")
	run := func(want string, args ...string) {
		t.Helper()
		if p := s.authd(t, settings, args...); p.ExitCode() != 0 || !strings.Contains(p.Output(), want) {
			t.Fatalf("authd %v: exit %d, output without %q:\n%s", args, p.ExitCode(), want, p.Output())
		}
	}
	run("is good (production)", "config", "check")
	run("CREATE TABLE users", "migrate", "up", "--sql")
	run("pending", "migrate", "status")
	run("up to date", "migrate", "up")
	run("up to date", "migrate", "status")
	run("takes mail", "doctor")

	t.Log("two replicas behind nginx with TLS")
	a, b := replica(t, s, settings), replica(t, s, settings)
	front, roots := startNginx(t, nginx, a.address, b.address)
	api := authapi.New("https://"+publicHost, patience)
	api.HTTP.Transport = &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, front)
		},
	}
	ctx := t.Context()
	await(t, patience, "nginx answers", func() bool {
		answer, err := api.Do(ctx, "GET", "/health/ready", nil)
		return err == nil && answer.Status == http.StatusOK
	})

	t.Log("a user signs up, confirms on the page that the mail links to, and logs in")
	email := "ada@" + publicHost
	noError(t, first(api.Signup(ctx, email, password)))
	link := awaitLink(t, mails, email)
	if !strings.HasPrefix(link, "https://"+publicHost+"/verify-email?token=") {
		t.Fatalf("the mail links to %s", link)
	}
	u, err := url.Parse(link)
	noError(t, err)
	answer, err := api.Do(ctx, "GET", u.RequestURI(), nil)
	noError(t, err)
	if answer.Status != http.StatusOK || answer.Header.Get("Strict-Transport-Security") == "" || !bytes.Contains(answer.Body, []byte("<form")) {
		t.Fatalf("the page: %v", answer)
	}
	form := url.Values{"token": {u.Query().Get("token")}}.Encode()
	answer, err = api.Do(ctx, "POST", "/verify-email", form, "Content-Type", "application/x-www-form-urlencoded")
	noError(t, err)
	if answer.Status != http.StatusOK {
		t.Fatalf("confirming: %v", answer)
	}
	tokens, err := api.Login(ctx, email, password, "orders-api")
	noError(t, err)

	t.Log("one replica dies; the other goes on with the same sessions")
	a.kill()
	next, err := api.Refresh(ctx, tokens.Refresh)
	noError(t, err)
	noError(t, first(api.Validate(ctx, next.Access)))

	t.Log("it comes back; a logout through one is known to both")
	a.restart()
	noError(t, first(api.Logout(ctx, next.Refresh)))
	for _, v := range []*server{a, b} {
		await(t, patience, "the session has ended at "+v.address, func() bool {
			answer, err := v.Do(ctx, "GET", "/auth/validate", nil, "Authorization", "Bearer "+next.Access)
			return err == nil && answer.Status == http.StatusUnauthorized && answer.Envelope().Code == "session_expired"
		})
	}
	t.Log("other hosts are refused, but for what other services ask")
	answer, err = b.Do(ctx, "GET", "/openapi.json", nil)
	noError(t, err)
	if answer.Envelope().Code != "invalid_host" {
		t.Errorf("another host: %v", answer)
	}
}

// guideSettings are those of the guide, with this machine's database, Redis,
// mail server and secret files.
func guideSettings(t *testing.T, s *store, mails *mailServer) []string {
	t.Helper()
	text, err := os.ReadFile("../docs/guides/operations.md")
	noError(t, err)
	block := regexp.MustCompile("(?s)\\*\\*2\\. Settings\\*\\*.*?```\n(.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatal("the guide has no block of settings")
	}
	host, port, err := net.SplitHostPort(mails.address)
	noError(t, err)
	secret := func() string {
		path := filepath.Join(s.dir, rand.Text())
		noError(t, os.WriteFile(path, []byte(base64.StdEncoding.EncodeToString([]byte(rand.Text()+rand.Text()))), 0o600))
		return path
	}
	var settings []string
	for line := range strings.Lines(string(block[1])) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch {
		case name == "DATABASE__URL":
			value = s.dsn
		case name == "REDIS__URL":
			value = dbtest.RedisURL(t)
		case name == "EMAIL__SMTP_HOST":
			value = host
		case strings.HasSuffix(name, "_FILE"):
			value = secret()
		}
		settings = append(settings, name+"="+value)
	}
	return append(settings, "EMAIL__SMTP_PORT="+port)
}

// replica serves with exactly these settings and a port.
func replica(t *testing.T, s *store, settings []string) *server {
	t.Helper()
	address, err := program.FreeAddress()
	noError(t, err)
	_, port, _ := strings.Cut(address, ":")
	v := &server{
		Client: authapi.New("http://"+address, patience), store: s, t: t, address: address,
		settings: append([]string{"APP__PORT=" + port}, settings...),
	}
	v.start()
	t.Cleanup(v.finish)
	v.await()
	return v
}

// startNginx runs deploy/nginx.conf with these replicas.
func startNginx(t *testing.T, path, a, b string) (address string, roots *x509.CertPool) {
	t.Helper()
	dir := t.TempDir()
	noError(t, os.Chmod(dir, 0o755))
	certificate, roots := selfSigned(t, dir)
	address, err := program.FreeAddress()
	noError(t, err)
	conf, err := os.ReadFile("../deploy/nginx.conf")
	noError(t, err)
	site := strings.NewReplacer("127.0.0.1:8001", a, "127.0.0.1:8002", b, "listen 443", "listen "+address, "/etc/authd/tls", certificate, "/var/log/nginx/authd.log", dir+"/access.log").Replace(string(conf))
	main := "daemon off; master_process off; pid " + dir + "/pid; error_log stderr warn;\n" +
		"events {}\nhttp {\naccess_log off;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		main += kind + "_temp_path " + dir + "/" + kind + ";\n"
	}
	file := filepath.Join(dir, "nginx.conf")
	noError(t, os.WriteFile(file, []byte(main+site+"}\n"), 0o644))
	p, err := program.Start(program.Spec{Path: path, Args: []string{"-p", dir, "-c", file, "-e", "stderr"}, Dir: dir, Env: program.Minimal()})
	noError(t, err)
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Log("nginx: ", p.Output())
		}
	})
	return address, roots
}

// selfSigned writes PREFIX.crt and PREFIX.key for the public host.
func selfSigned(t *testing.T, dir string) (prefix string, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	noError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: publicHost}, DNSNames: []string{publicHost},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	noError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	noError(t, err)
	prefix = filepath.Join(dir, "tls")
	noError(t, os.WriteFile(prefix+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	noError(t, os.WriteFile(prefix+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o644))
	certificate, err := x509.ParseCertificate(der)
	noError(t, err)
	roots = x509.NewCertPool()
	roots.AddCert(certificate)
	return prefix, roots
}

var linkInMail = regexp.MustCompile(`https?://\S+/verify-email\?token=[A-Za-z0-9_-]+`)

// awaitLink returns the link of the newest mail to an address.
func awaitLink(t *testing.T, mails *mailServer, email string) (link string) {
	t.Helper()
	await(t, patience, "the mail to "+email, func() bool {
		for _, text := range mails.to(email) {
			plain, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(text)))
			if found := linkInMail.Find(plain); err == nil && found != nil {
				link = string(found)
			}
		}
		return link != ""
	})
	return link
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// first drops an answer that only its error matters of.
func first(_ authapi.Answer, err error) error { return err }
