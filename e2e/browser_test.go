package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/e2e/authapi"
	"github.com/authsdk/authsdk/e2e/browser"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest/engines"
)

// TestBrowserApp has Chromium use examples/browser-app as a user would, with the
// settings of docs/guides/browser-apps.md.
func TestBrowserApp(t *testing.T) {
	chromium := chromiumPath(t)
	programs := buildExamples(t)
	for _, row := range []struct {
		says  string
		start func(e examples, t *testing.T) *app
	}{
		{"over HTTP on this machine", func(e examples, t *testing.T) *app { return e.plain(t, "localhost") }},
		{"over HTTP elsewhere, where browsers tell less and have no locks", func(e examples, t *testing.T) *app { return e.plain(t, appHost) }},
		{"over HTTPS", examples.secure},
		{"over HTTPS behind the nginx of the guide", examples.nginx},
	} {
		for engine, store := range map[string]func(t *testing.T) *store{"SQLite": sqliteStore, "PostgreSQL and Redis": postgresStore} {
			t.Run(row.says+", on "+engine, func(t *testing.T) {
				t.Parallel()
				on := programs
				on.store = store
				a := row.start(on, t)
				use(t, a, a.browser(t, chromium))
			})
		}
	}
}

// use is the story: a session in cookies from sign-in to sign-out.
func use(t *testing.T, a *app, tab *browser.Tab) {
	email := a.authd.account()
	orders := func() string { return `document.querySelectorAll("#orders li").length` }

	t.Log("a stranger is asked to sign in; a wrong password is said so")
	noError(t, tab.Open(a.url))
	noError(t, tab.Await(shown, "sign-in"))
	signIn(t, tab, email, password+"x")
	noError(t, tab.Await(message, "Invalid email or password."))
	noError(t, tab.Await(shown, "sign-in"))

	t.Log("signing in sets three cookies, of which the page sees one")
	signIn(t, tab, email, password)
	noError(t, tab.Await(shown, "account"))
	noError(t, tab.Await(`document.getElementById("email").textContent`, email))
	noError(t, tab.Await(orders(), "2"))
	cookies := keptCookies(t, tab)
	a.checkCookies(t, cookies)
	if seen, err := tab.Run("document.cookie"); err != nil || seen != a.csrf+"="+cookies[a.csrf].Value {
		t.Errorf("the page sees the cookies %q, %v", seen, err)
	}
	if kept, err := tab.Run(`JSON.stringify({...localStorage, ...sessionStorage})`); err != nil || secrets.MatchString(kept) {
		t.Errorf("the page keeps %s, %v", kept, err)
	}

	t.Log("a reload stays signed in, and a write with the CSRF token is done")
	noError(t, tab.Reload())
	noError(t, tab.Await(orders(), "2"))
	order(t, tab, "Sugar")
	noError(t, tab.Await(orders(), "3"))

	t.Log("a write without the token is refused, and so is one of another origin's page")
	a.renew(t, tab)
	noError(t, tab.Await(`fetch("/api/orders", {method: "POST", body: '{"item":"x"}'}).then((a) => a.status)`, "403"))
	a.renew(t, tab)
	a.attack(t, tab)
	noError(t, tab.Open(a.url))
	noError(t, tab.Await(orders(), "3"))

	t.Log("when the access cookie has expired, the page refreshes by itself")
	await(t, patience, "the access cookie expires", func() bool { return keptCookies(t, tab)[a.access] == nil })
	order(t, tab, "Milk")
	noError(t, tab.Await(orders(), "4"))
	noError(t, tab.Await(message, ""))
	if now := keptCookies(t, tab)[a.refresh]; now == nil || now.Value == cookies[a.refresh].Value {
		t.Error("the refresh token is still the first one")
	}

	t.Log("when the browser was closed, the CSRF cookie is gone, and the session is not")
	noError(t, tab.Forget(keptCookies(t, tab)[a.csrf]))
	noError(t, tab.Reload())
	noError(t, tab.Await(orders(), "4"))
	order(t, tab, "Cups")
	noError(t, tab.Await(orders(), "5"))

	t.Log("signing out ends the session and deletes the cookies")
	refresh := keptCookies(t, tab)[a.refresh].Value
	noError(t, tab.Click("#sign-out"))
	noError(t, tab.Await(shown, "sign-in"))
	if left := keptCookies(t, tab); len(left) > 0 {
		t.Errorf("cookies are left: %v", left)
	}
	noError(t, tab.Reload())
	noError(t, tab.Await(shown, "sign-in"))
	_, err := a.authd.Refresh(t.Context(), refresh)
	refuses(t, err, http.StatusUnauthorized, "session_expired")
}

// TestTabsRefreshOnce has two tabs lose the access cookie at the same time.
func TestTabsRefreshOnce(t *testing.T) {
	chromium := chromiumPath(t)
	t.Parallel()
	a := buildExamples(t).plain(t, "localhost", "JWT__ACCESS_TOKEN_TTL_SECONDS=900")
	one := a.browser(t, chromium)
	noError(t, one.Open(a.url))
	signIn(t, one, a.authd.account(), password)
	noError(t, one.Await(shown, "account"))
	two, err := one.Another()
	noError(t, err)
	defer two.Close()
	noError(t, two.Open(a.url))
	noError(t, two.Await(shown, "account"))

	refreshes := func() (n string) {
		for _, tab := range []*browser.Tab{one, two} {
			count, err := tab.Run(`performance.getEntriesByType("resource").filter((e) => new URL(e.name).pathname === "/_auth/token").length`)
			noError(t, err)
			n += count
		}
		return n
	}
	begin := refreshes()
	noError(t, one.Forget(keptCookies(t, one)[a.access]))
	got := make(chan string, 2)
	for _, tab := range []*browser.Tab{one, two} {
		go func() {
			out, err := tab.Run(`Promise.all(Array.from({length: 5}, () => call("GET", "/api/orders"))).then((all) => all.length)`)
			got <- fmt.Sprint(out, err)
		}()
	}
	for range 2 {
		if out := <-got; out != "5<nil>" {
			t.Errorf("five calls in one tab: %s", out)
		}
	}
	// The first load of a stranger asked for a refresh once, in the first tab.
	if end := refreshes(); begin != "10" || end != "20" && end != "11" {
		t.Errorf("refreshes in the two tabs: %s, then %s; one more is wanted", begin, end)
	}
}

// TestCodesInTheBrowser has a user confirm an act at orders-api with a mailed code,
// switch codes on for signing in, and sign in with one.
func TestCodesInTheBrowser(t *testing.T) {
	chromium := chromiumPath(t)
	t.Parallel()
	a := buildExamples(t).plain(t, "localhost")
	email, tab := a.authd.account(), a.browser(t, chromium)
	noError(t, tab.Open(a.url))
	signIn(t, tab, email, password)
	noError(t, tab.Await(shown, "account"))

	t.Log("an order is cancelled with the code for it")
	noError(t, tab.Click("#orders li:last-child button"))
	noError(t, tab.Await(shown, "code"))
	enterCode(t, tab, "00000x")
	noError(t, tab.Await(message, "Invalid OTP."))
	noError(t, tab.Await(shown, "code"))
	enterCode(t, tab, a.code(t, email, "orders-api:cancel"))
	noError(t, tab.Await(shown, "account"))
	noError(t, tab.Await(`document.getElementById("orders").innerText`, "Coffee, 1 kg, 18.90 Cancel"))

	t.Log("after that, signing in asks for a code")
	own := a.authd.login(email) // the page's session is for orders-api, which may not change the account
	answer, err := a.authd.Do(t.Context(), "POST", "/auth/otp/enable", nil, "Authorization", "Bearer "+own.Access)
	if noError(t, err); answer.Status != http.StatusOK {
		t.Fatalf("switching codes on: %v", answer)
	}
	noError(t, tab.Click("#sign-out"))
	noError(t, tab.Await(shown, "sign-in"))
	signIn(t, tab, email, password)
	noError(t, tab.Await(shown, "code"))
	if cookies := keptCookies(t, tab); cookies[a.access] != nil || cookies[a.refresh] != nil {
		t.Errorf("a password alone brought %v", cookies)
	}
	enterCode(t, tab, a.code(t, email, "login"))
	noError(t, tab.Await(shown, "account"))
	a.checkCookies(t, keptCookies(t, tab))
}

// What the page shows.
const (
	shown   = `["sign-in", "code", "account"].filter((id) => !document.getElementById(id).hidden).join()`
	message = `document.getElementById("message").textContent`
)

func signIn(t *testing.T, tab *browser.Tab, email, password string) {
	t.Helper()
	noError(t, tab.Type("#sign-in [name=email]", email))
	noError(t, tab.Type("#sign-in [name=password]", password))
	noError(t, tab.Click("#sign-in button"))
}

func order(t *testing.T, tab *browser.Tab, item string) {
	t.Helper()
	noError(t, tab.Type("#order [name=item]", item))
	noError(t, tab.Click("#order button"))
}

func enterCode(t *testing.T, tab *browser.Tab, code string) {
	t.Helper()
	noError(t, tab.Type("#code [name=code]", code))
	noError(t, tab.Click("#code button"))
}

var codeInMail = regexp.MustCompile(`\b[0-9]{6}\b`)

// code is the one in the newest mail about something.
func (a *app) code(t *testing.T, email, about string) (code string) {
	t.Helper()
	await(t, patience, "a code for "+about, func() bool {
		mails, err := a.authd.Mails(t.Context(), email)
		noError(t, err)
		i := slices.IndexFunc(mails, func(m authapi.Mail) bool { return strings.Contains(m.Subject, about) })
		if i >= 0 {
			code = codeInMail.FindString(mails[i].Text)
		}
		return code != ""
	})
	return code
}

func keptCookies(t *testing.T, tab *browser.Tab) map[string]*browser.Cookie {
	t.Helper()
	cookies, err := tab.Cookies()
	noError(t, err)
	return cookies
}

// renew has the page get a new access cookie, so that it does not expire in the
// next step.
func (a *app) renew(t *testing.T, tab *browser.Tab) {
	t.Helper()
	if c := keptCookies(t, tab)[a.access]; c != nil {
		noError(t, tab.Forget(c))
	}
	noError(t, tab.Await(`call("GET", "/api/orders").then(() => "done")`, "done"))
}

// checkCookies compares what the browser keeps with the guide's table.
func (a *app) checkCookies(t *testing.T, cookies map[string]*browser.Cookie) {
	t.Helper()
	secure := strings.HasPrefix(a.url, "https:")
	for _, want := range []struct {
		name, path        string
		httpOnly, session bool
	}{
		{a.access, "/", true, false},
		{a.refresh, "/_auth", true, false},
		{a.csrf, "/", false, true},
	} {
		c := cookies[want.name]
		if c == nil {
			t.Fatalf("there is no cookie %s", want.name)
		}
		if c.Path != want.path || c.HTTPOnly != want.httpOnly || c.Session != want.session || c.Secure != secure || c.SameSite != "Lax" || strings.HasPrefix(c.Domain, ".") {
			t.Errorf("cookie %s: path %s, HttpOnly %v, session %v, Secure %v, SameSite %s, domain %s",
				c.Name, c.Path, c.HTTPOnly, c.Session, c.Secure, c.SameSite, c.Domain)
		}
	}
	if len(cookies) != 3 {
		t.Errorf("%d cookies", len(cookies))
	}
}

// attack has a page of the same host and another port send a form. Such a page is
// of the same site, so the browser adds the cookies.
func (a *app) attack(t *testing.T, tab *browser.Tab) {
	t.Helper()
	host, _, err := net.SplitHostPort(strings.TrimPrefix(a.url, "http://"))
	if err != nil {
		return // HTTPS: a page of plain HTTP is of another site
	}
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<form method="post" enctype="text/plain" action="%s/api/orders"><input name='{"item":"x","y":"' value='"}'></form>`, a.url)
	}))
	defer evil.Close()
	_, port, err := net.SplitHostPort(evil.Listener.Addr().String())
	noError(t, err)
	noError(t, tab.Open("http://"+net.JoinHostPort(host, port)))
	noError(t, tab.Await(`document.forms[0].submit() ?? "sent"`, "sent"))
	noError(t, tab.Await("document.body.innerText", `{"detail":"Invalid CSRF token.","code":"invalid_csrf_token"}`))
}

// chromiumPath skips the test where there is no browser, but not in CI.
func chromiumPath(t *testing.T) string {
	t.Helper()
	path, err := engines.Chromium()
	if err != nil && (errors.Is(err, engines.ErrLeftOut) || os.Getenv("CI") == "") {
		t.Skip(err)
	}
	noError(t, err)
	return path
}
