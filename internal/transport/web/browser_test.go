package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var chrome = Browser{
	Enabled: true, Infer: true, TransportHeader: "X-Transport", CSRFHeader: "X-CSRF",
	Access: Cookie{"access", "/"}, Refresh: Cookie{"refresh", "/_auth"}, CSRF: Cookie{"csrf", "/"},
	SameSite: "lax", Origins: []string{"https://auth.example.com", "https://app.example.com:8443"},
}

// posted is a request; headers come as "Name: value".
func posted(headers ...string) *http.Request {
	r := httptest.NewRequest("POST", "/auth/login", nil)
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	return r
}

func TestTransport(t *testing.T) {
	for _, row := range []struct {
		name      string
		headers   []string
		cookies   bool
		ambiguous bool
	}{
		{"nothing is token transport", nil, false, false},
		{"the header chooses cookies", []string{"X-Transport: cookie"}, true, false},
		{"in any case, with spaces", []string{"X-Transport:  CooKie "}, true, false},
		{"it chooses tokens, whatever cookies came", []string{"X-Transport: token", "Cookie: access=a; refresh=r"}, false, false},
		{"another value is none", []string{"X-Transport: cookies"}, false, false},
		{"nor does it hide the cookies", []string{"X-Transport: \xff", "Cookie: access=a"}, true, false},
		{"an access cookie chooses cookies", []string{"Cookie: access=a"}, true, false},
		{"so does a refresh cookie", []string{"Cookie: refresh=r"}, true, false},
		{"an empty or blank one does not", []string{"Cookie: access=; refresh=\" \""}, false, false},
		{"nor one that is no cookie's text", []string{"Cookie: access=\xff\x00"}, false, false},
		{"a stray CSRF cookie does not", []string{"Cookie: csrf=c"}, false, false},
		{"nor a stray CSRF header", []string{"X-CSRF: c"}, false, false},
		{"nor both", []string{"X-CSRF: c", "Cookie: csrf=c"}, false, false},
		{"a bearer token is token transport", []string{"Authorization: Bearer a"}, false, false},
		{"a CSRF cookie does not conflict with it", []string{"Authorization: Bearer a", "Cookie: csrf=c"}, false, false},
		{"a session cookie does", []string{"Authorization: Bearer a", "Cookie: access=a"}, true, true},
		{"so does a refresh cookie alone", []string{"Authorization: Bearer a", "Cookie: refresh=r"}, true, true},
		{"the header does not settle it by cookie", []string{"Authorization: Bearer a", "Cookie: access=a", "X-Transport: cookie"}, true, true},
		{"it does by token", []string{"Authorization: Bearer a", "Cookie: access=a", "X-Transport: token"}, false, false},
		{"another scheme is no bearer token", []string{"Authorization: Basic a", "Cookie: access=a"}, true, false},
		{"an empty bearer token is none", []string{"Authorization: Bearer ", "Cookie: access=a"}, true, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := chrome.Read(posted(row.headers...))
			if got := chrome.Cookies(c); got != row.cookies {
				t.Errorf("cookies: %v", got)
			}
			if got := c.Ambiguous(); got != row.ambiguous {
				t.Errorf("ambiguous: %v", got)
			}
		})
	}
	t.Run("without inference only the header chooses cookies", func(t *testing.T) {
		b := chrome
		b.Infer = false
		if b.Cookies(b.Read(posted("Cookie: access=a"))) || !b.Cookies(b.Read(posted("X-Transport: cookie"))) {
			t.Error("a cookie chose")
		}
	})
	t.Run("off, cookies and headers are nothing", func(t *testing.T) {
		b := chrome
		b.Enabled = false
		c := b.Read(posted("Cookie: access=a; refresh=r; csrf=c", "X-CSRF: c", "X-Transport: cookie", "Authorization: bearer  t "))
		if diff := cmp.Diff(Credentials{Bearer: "t"}, c); diff != "" || b.Cookies(c) {
			t.Error(diff)
		}
	})
}

func TestCSRF(t *testing.T) {
	for _, row := range []struct {
		name    string
		headers []string
		vetted  bool
	}{
		{"cookie and header agree", []string{"Cookie: csrf=abc", "X-CSRF: abc"}, true},
		{"no header", []string{"Cookie: csrf=abc"}, false},
		{"no cookie", []string{"X-CSRF: abc"}, false},
		{"neither", nil, false},
		{"both empty", []string{"Cookie: csrf=", "X-CSRF: "}, false},
		{"both blank", []string{"Cookie: csrf=\" \"", "X-CSRF:  "}, false},
		{"they differ", []string{"Cookie: csrf=abc", "X-CSRF: abd"}, false},
		{"one is longer", []string{"Cookie: csrf=abc", "X-CSRF: abcd"}, false},
		{"case counts", []string{"Cookie: csrf=abc", "X-CSRF: ABC"}, false},
		{"bytes that are no text agree with nothing", []string{"Cookie: csrf=\xff", "X-CSRF: \xff"}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := chrome.Read(posted(row.headers...)).CSRF; (got == "abc") != row.vetted || !row.vetted && got != "" {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestPagesThatMayUseTheCookies(t *testing.T) {
	for _, row := range []struct {
		name    string
		headers []string
		ours    bool
	}{
		{"with neither header the token decides", nil, true},
		{"same-origin passes", []string{"Sec-Fetch-Site: same-origin"}, true},
		{"whatever the origin is called behind a proxy", []string{"Sec-Fetch-Site: same-origin", "Origin: http://10.0.0.1"}, true},
		{"the base URL's origin", []string{"Origin: https://auth.example.com"}, true},
		{"one on the list", []string{"Sec-Fetch-Site: same-site", "Origin: https://app.example.com:8443"}, true},
		{"one on the list, of another site", []string{"Sec-Fetch-Site: cross-site", "Origin: https://app.example.com:8443"}, true},
		{"its port counts", []string{"Origin: https://app.example.com"}, false},
		{"its scheme counts", []string{"Origin: http://auth.example.com"}, false},
		{"a subdomain is another", []string{"Origin: https://x.auth.example.com"}, false},
		{"another site", []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example"}, false},
		{"same-site is not same-origin", []string{"Sec-Fetch-Site: same-site"}, false},
		{"nor is none", []string{"Sec-Fetch-Site: none"}, false},
		{"nor cross-site without an origin", []string{"Sec-Fetch-Site: cross-site"}, false},
		{"null is no origin of ours", []string{"Origin: null"}, false},
		{"bytes that are no text", []string{"Origin: \xff\x00"}, false},
		{"same-origin in capitals is not what browsers send", []string{"Sec-Fetch-Site: Same-Origin"}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := posted(append(row.headers, "Cookie: csrf=abc", "X-CSRF: abc")...)
			if got := chrome.Read(r).CSRF != ""; got != row.ours {
				t.Errorf("ours: %v", got)
			}
		})
	}
}

func TestPageOrigin(t *testing.T) {
	for address, want := range map[string]string{
		"https://Auth.Example.com/path?x#y": "https://auth.example.com",
		"https://auth.example.com:443":      "https://auth.example.com",
		"https://auth.example.com:80":       "https://auth.example.com:80",
		"http://localhost:80/":              "http://localhost",
		"http://[::1]:8000":                 "http://[::1]:8000",
		"HTTP://a":                          "http://a",
		"a.example":                         "",
		"http://":                           "",
		"%":                                 "",
	} {
		if got := PageOrigin(address); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}

// Browsers delete a cookie only if the attributes are those it was set with.
func TestCookiesAreSetAndDeletedWithTheSameAttributes(t *testing.T) {
	for _, row := range []struct {
		name       string
		change     func(*Browser)
		attributes string // after the path, but for HttpOnly
	}{
		{"plain", func(*Browser) {}, "; SameSite=Lax"},
		{"secure and strict", func(b *Browser) { b.Secure, b.SameSite = true, "strict" }, "; Secure; SameSite=Strict"},
		{"for other sites", func(b *Browser) { b.Secure, b.SameSite = true, "none" }, "; Secure; SameSite=None"},
	} {
		for _, domain := range []string{"", "example.com"} {
			t.Run(row.name+" "+domain, func(t *testing.T) {
				b := chrome
				row.change(&b)
				b.Domain = domain
				at := ""
				if domain != "" {
					at = "; Domain=" + domain
				}
				h := http.Header{}
				b.SetAccess(h, "a.b-c_d", 15*time.Minute)
				b.SetRefresh(h, "rt_x", 1500*time.Millisecond)
				b.SetCSRF(h, "c")
				b.Clear(h)
				gone := "; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0"
				want := []string{
					"access=a.b-c_d; Path=/" + at + "; Max-Age=900; HttpOnly" + row.attributes,
					"refresh=rt_x; Path=/_auth" + at + "; Max-Age=2; HttpOnly" + row.attributes,
					"csrf=c; Path=/" + at + row.attributes,
					"access=; Path=/" + at + gone + "; HttpOnly" + row.attributes,
					"refresh=; Path=/_auth" + at + gone + "; HttpOnly" + row.attributes,
					"csrf=; Path=/" + at + gone + row.attributes,
				}
				if diff := cmp.Diff(want, h["Set-Cookie"]); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		}
	}
}

func FuzzCredentials(f *testing.F) {
	for _, s := range []string{"", "cookie", "token", "Bearer a", "access=a; refresh=b; csrf=c", "csrf=c", "c", "\x00\xff", "https://auth.example.com", "same-origin", "é"} {
		for _, u := range []string{"", "access=a; csrf=c", "c"} {
			f.Add(s, u, s, u, s, u)
		}
	}
	f.Fuzz(func(t *testing.T, bearer, cookie, transport, csrf, site, origin string) {
		r := posted()
		for name, value := range map[string]string{
			"Authorization": bearer, "Cookie": cookie, "X-Transport": transport, "X-Csrf": csrf, "Sec-Fetch-Site": site, "Origin": origin,
		} {
			r.Header[name] = []string{value}
		}
		c := chrome.Read(r)
		if c.CSRF != "" && (c.CSRF != csrf || !strings.Contains(cookie, "csrf=") || site != "same-origin" && origin+site != "" && !strings.HasSuffix(origin, ".example.com") && !strings.HasSuffix(origin, ".example.com:8443")) {
			t.Errorf("%+v", c)
		}
		if chrome.Cookies(c) && c.Asked != "cookie" && !strings.Contains(cookie, "access=") && !strings.Contains(cookie, "refresh=") {
			t.Errorf("%+v", c)
		}
	})
}
