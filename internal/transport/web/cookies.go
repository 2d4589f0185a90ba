package web

import (
	"net/http"
	"strings"
	"time"
)

// Cookie is where a browser keeps one of the tokens.
type Cookie struct{ Name, Path string }

// of returns what the cookie says, empty if it did not come or is blank. What is
// not a cookie's text, net/http passes over.
func (c Cookie) of(r *http.Request) string {
	cookie, err := r.Cookie(c.Name)
	if err != nil || strings.TrimSpace(cookie.Value) == "" {
		return ""
	}
	return cookie.Value
}

// SetAccess stores an access token for as long as it lives.
func (b Browser) SetAccess(h http.Header, token string, life time.Duration) {
	b.set(h, b.Access, token, seconds(life))
}

// SetRefresh stores a refresh token for as long as it lives unused.
func (b Browser) SetRefresh(h http.Header, token string, life time.Duration) {
	b.set(h, b.Refresh, token, seconds(life))
}

// SetCSRF stores a CSRF token, which pages can read, until the browser closes.
func (b Browser) SetCSRF(h http.Header, token string) { b.set(h, b.CSRF, token, 0) }

// Clear deletes the cookies. Browsers ignore that unless it has the attributes
// with which they were set.
func (b Browser) Clear(h http.Header) {
	for _, c := range []Cookie{b.Access, b.Refresh, b.CSRF} {
		b.set(h, c, "", -1)
	}
}

var sameSite = map[string]http.SameSite{
	"lax": http.SameSiteLaxMode, "strict": http.SameSiteStrictMode, "none": http.SameSiteNoneMode,
}

// set adds a cookie to an answer. Of maxAge, 0 means until the browser closes,
// -1 delete it.
func (b Browser) set(h http.Header, c Cookie, value string, maxAge int) {
	cookie := http.Cookie{
		Name: c.Name, Value: value, Path: c.Path, Domain: b.Domain, MaxAge: maxAge,
		Secure: b.Secure, HttpOnly: c != b.CSRF, SameSite: sameSite[b.SameSite],
	}
	if maxAge < 0 {
		cookie.Expires = time.Unix(0, 0) // for browsers that do not know Max-Age
	}
	h.Add("Set-Cookie", cookie.String())
}

// seconds rounds up: a cookie of Max-Age 0 would be deleted.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
