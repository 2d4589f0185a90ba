package authsdk

import (
	"testing"
	"time"
)

func TestNew(t *testing.T) {
	const noAudience = `authsdk: an audience is required: authsdk.New(url, authsdk.Audience("orders-api"))`
	one := Audience("orders-api")
	for _, row := range []struct {
		name string
		url  string
		opts []Option
		want string // the error, empty: none
	}{
		{"a URL and an audience will do", "http://localhost:8000", []Option{one}, ""},
		{"https with a path will do", "https://app.example.com/_auth/", []Option{AnyAudience("a", "b")}, ""},
		{"an audience is required", "http://a", nil, noAudience},
		{"an audience of no names is none", "http://a", []Option{Audience()}, noAudience},
		{"a blank audience is a mistake", "http://a", []Option{Audience(" ")}, "authsdk: Audience: a name is blank"},
		{"one blank name of two is a mistake", "http://a", []Option{AnyAudience("a", "")}, "authsdk: AnyAudience: a name is blank"},
		{"a scheme is required", "localhost:8000", []Option{one}, `authsdk: base URL "localhost:8000" must be an absolute http or https URL`},
		{"other schemes are refused", "ftp://a", []Option{one}, `authsdk: base URL "ftp://a" must be an absolute http or https URL`},
		{"a host is required", "http://:80", []Option{one}, `authsdk: base URL "http://:80" must be an absolute http or https URL`},
		{"an empty URL is refused", "", []Option{one}, `authsdk: base URL "" must be an absolute http or https URL`},
		{"a password is refused, and not shown", "http://u:secret@a", []Option{one}, `authsdk: base URL "http://u:xxxxx@a" must have no user, query or fragment`},
		{"a query is refused", "http://a?x=1", []Option{one}, `authsdk: base URL "http://a?x=1" must have no user, query or fragment`},
		{"an unknown source is refused", "http://a", []Option{one, TokenSources("query")}, `authsdk: TokenSources: "query" is neither "authorization" nor "cookie"`},
		{"a blank cookie name is refused", "http://a", []Option{one, AccessCookieName(" ")}, "authsdk: AccessCookieName: the name is blank"},
		{"a blank CSRF cookie name is refused", "http://a", []Option{one, CSRFCookieName("")}, "authsdk: CSRFCookieName: the name is blank"},
		{"a blank CSRF header name is refused", "http://a", []Option{one, CSRFHeaderName(" ")}, "authsdk: CSRFHeaderName: the name is blank"},
		{"an origin of no scheme is refused", "http://a", []Option{one, AllowedOrigins("app.example.com")}, `authsdk: AllowedOrigins: "app.example.com" is no origin such as "https://app.example.com"`},
		{"an origin with a path is refused", "http://a", []Option{one, AllowedOrigins("https://a/")}, `authsdk: AllowedOrigins: "https://a/" is no origin such as "https://app.example.com"`},
		{"an origin of null is refused", "http://a", []Option{one, AllowedOrigins("null")}, `authsdk: AllowedOrigins: "null" is no origin such as "https://app.example.com"`},
		{"an origin of all is refused", "http://a", []Option{one, AllowedOrigins("*")}, `authsdk: AllowedOrigins: "*" is no origin such as "https://app.example.com"`},
		{"origins with ports will do", "http://a", []Option{one, AllowedOrigins("http://localhost:8080", "https://a")}, ""},
		{"a blank issuer is refused", "http://a", []Option{one, Issuer("")}, "authsdk: Issuer: the URL is blank"},
		{"a negative leeway is refused", "http://a", []Option{one, Leeway(-time.Second)}, "authsdk: Leeway: must not be negative"},
		{"a nil HTTP client is refused", "http://a", []Option{one, HTTPClient(nil)}, "authsdk: HTTPClient: the client is nil"},
	} {
		t.Run(row.name, func(t *testing.T) {
			client, err := New(row.url, row.opts...)
			got := ""
			if err != nil {
				got = err.Error()
			} else {
				client.Close()
			}
			if got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

func TestLeewayCanBeSet(t *testing.T) {
	authd := newFakeAuthd(t)
	client := authd.client(t, Leeway(0))
	check(t, verifyService(client, authd, fields{"exp": epoch.Unix()}), 0, "")
	check(t, verifyService(client, authd, fields{"exp": epoch.Unix() - 1}), 401, "token_expired")
}

func TestAClosedClientRefuses(t *testing.T) {
	authd := newFakeAuthd(t)
	client := authd.client(t)
	client.Close()
	client.Close()
	check(t, verifyService(client, authd, nil), 503, "service_unavailable")
}
