package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/e2e/browser"
	"github.com/authsdk/authsdk/e2e/program"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest/engines"
)

// appHost is the host of the page in the guide.
const appHost = "app.example.com"

// app is the page and the services behind it, under one origin.
type app struct {
	authd *server
	url   string
	trust *x509.Certificate // nil: plain HTTP

	access, refresh, csrf string // names of the cookies
}

// examples are the programs of examples/, built.
type examples struct {
	orders, page string
	store        func(t *testing.T) *store
}

func buildExamples(t *testing.T) examples {
	t.Helper()
	dir := t.TempDir()
	e := examples{filepath.Join(dir, "orders-api"), filepath.Join(dir, "browser-app"), sqliteStore}
	noError(t, program.Build(t.Context(), "github.com/authsdk/authsdk/examples/orders-api", e.orders))
	noError(t, program.Build(t.Context(), "github.com/authsdk/authsdk/examples/browser-app", e.page))
	return e
}

// plain is the set-up for one's own machine.
func (e examples) plain(t *testing.T, host string, more ...string) *app {
	t.Helper()
	front := freeAddress(t)
	_, port, _ := strings.Cut(front, ":")
	a := &app{url: "http://" + host + ":" + port, access: "auth_access", refresh: "auth_refresh", csrf: "auth_csrf"}
	settings := append(browserSettings(t, "BROWSER_SESSIONS__ACCESS_COOKIE_NAME"), shortAccess)
	if host != "localhost" { // where browsers send no Sec-Fetch-Site
		settings = append(settings, `BROWSER_SESSIONS__ALLOWED_ORIGINS=["`+a.url+`"]`)
	}
	a.authd = e.store(t).serve(t, append(settings, more...)...)
	orders := e.serveOrders(t, a.authd, regexp.MustCompile(`(?m)^go run \./examples/orders-api (-cookies.*)$`).FindStringSubmatch(browserGuide(t))[1])
	background(t, "http://"+front, nil, e.page, "-addr", front, "-auth", a.authd.Base, "-orders", orders)
	return a
}

// secure is the set-up for HTTPS, with the proxy in Go.
func (e examples) secure(t *testing.T) *app {
	a, orders, front := e.behindTLS(t)
	certificate, pool := selfSigned(t, t.TempDir())
	a.trust = readCertificate(t, certificate+".crt")
	background(t, "https://"+front, pool, e.page, "-addr", front, "-auth", a.authd.Base, "-orders", orders, "-cert", certificate+".crt", "-key", certificate+".key")
	return a
}

// nginx is the same with the guide's nginx.
func (e examples) nginx(t *testing.T) *app {
	path, err := engines.Nginx()
	if err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	noError(t, err)
	a, orders, front := e.behindTLS(t)
	dir := t.TempDir()
	noError(t, os.Chmod(dir, 0o755))
	certificate, pool := selfSigned(t, dir)
	a.trust = readCertificate(t, certificate+".crt")
	static, err := filepath.Abs("../examples/browser-app/static")
	noError(t, err)

	block := regexp.MustCompile("(?s)```nginx\n(.*?)```").FindStringSubmatch(browserGuide(t))
	site := block[1]
	for from, to := range map[string]string{
		"listen 443": "listen " + front, "/etc/nginx/app.": certificate + ".", "/srv/browser-app": static,
		"http://127.0.0.1:8000": a.authd.Base, "http://127.0.0.1:9001": orders,
	} {
		if !strings.Contains(site, from) {
			t.Fatalf("the guide's nginx does not say %q", from)
		}
		site = strings.ReplaceAll(site, from, to)
	}
	conf := "daemon off; master_process off; pid " + dir + "/pid; error_log stderr warn;\n" +
		"events {}\nhttp {\naccess_log off;\ntypes { text/html html; text/css css; text/javascript js; }\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		conf += kind + "_temp_path " + dir + "/" + kind + ";\n"
	}
	file := filepath.Join(dir, "nginx.conf")
	noError(t, os.WriteFile(file, []byte(conf+site+"}\n"), 0o644))
	background(t, "https://"+front, pool, path, "-p", dir, "-c", file, "-e", "stderr")
	return a
}

// behindTLS is all but the proxy, which is to listen at front.
func (e examples) behindTLS(t *testing.T) (a *app, orders, front string) {
	t.Helper()
	front = freeAddress(t)
	_, port, _ := strings.Cut(front, ":")
	a = &app{url: "https://" + appHost + ":" + port, access: "__Host-auth_access", refresh: "__Secure-auth_refresh", csrf: "__Host-auth_csrf"}
	settings := append(browserSettings(t, "BROWSER_SESSIONS__SECURE_ONLY"), shortAccess)
	for i, s := range settings { // the tests call authd directly, too
		settings[i] = strings.Replace(s, `"auth.example.com"`, `"127.0.0.1"`, 1)
	}
	a.authd = e.store(t).serve(t, settings...)
	return a, e.serveOrders(t, a.authd, "-cookies"), front
}

// serveOrders starts orders-api and returns its address.
func (e examples) serveOrders(t *testing.T, authd *server, flags string) (url string) {
	t.Helper()
	address := freeAddress(t)
	background(t, "http://"+address+"/healthz", nil, e.orders, append([]string{"-addr", address, "-auth", authd.Base}, strings.Fields(flags)...)...)
	return "http://" + address
}

// browser starts a browser that finds the page and trusts its certificate.
func (a *app) browser(t *testing.T, chromium string) *browser.Tab {
	t.Helper()
	tab, err := browser.Start(t.Context(), browser.Options{Path: chromium, Host: appHost, Trust: a.trust})
	noError(t, err)
	t.Cleanup(tab.Close)
	return tab
}

// shortAccess makes access tokens, and so their cookies, expire within a test.
const shortAccess = "JWT__ACCESS_TOKEN_TTL_SECONDS=4"

func browserGuide(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/guides/browser-apps.md")
	noError(t, err)
	return string(text)
}

// browserSettings is the guide's list of settings that holds a name.
func browserSettings(t *testing.T, name string) []string {
	t.Helper()
	for _, block := range regexp.MustCompile("(?s)```\n(BROWSER_.*?)```").FindAllStringSubmatch(browserGuide(t), -1) {
		if strings.Contains(block[1], name) {
			return strings.Split(strings.TrimSpace(block[1]), "\n")
		}
	}
	t.Fatalf("the guide has no list with %s", name)
	return nil
}

// background starts a program and waits until it answers at url. It ends with the test.
func background(t *testing.T, url string, trust *x509.CertPool, path string, args ...string) {
	t.Helper()
	p, err := program.Start(program.Spec{Path: path, Args: args, Dir: t.TempDir(), Env: program.Minimal()})
	noError(t, err)
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s: %s", filepath.Base(path), p.Output())
		}
	})
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: trust, ServerName: publicHost}}}
	await(t, patience, filepath.Base(path)+" answers", func() bool {
		if !p.Running() {
			t.Fatalf("%s ended", filepath.Base(path))
		}
		answer, err := client.Get(url)
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := program.FreeAddress()
	noError(t, err)
	return address
}

func readCertificate(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(path)
	noError(t, err)
	block, _ := pem.Decode(text)
	certificate, err := x509.ParseCertificate(block.Bytes)
	noError(t, err)
	return certificate
}
