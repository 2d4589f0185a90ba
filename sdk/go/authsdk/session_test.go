package authsdk

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestSessionCheck(t *testing.T) {
	answer := func(status int, body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			w.Write([]byte(body))
		}
	}
	down := Error{Status: 503, Code: "service_unavailable", Detail: "Auth service unavailable.", RetryAfter: time.Second}
	later := func(d time.Duration) Error { e := down; e.RetryAfter = d; return e }
	ended := Error{Status: 401, Code: "session_expired", Detail: "Session expired."}
	const envelope = `{"detail":"Session expired.","code":"session_expired","request_id":"r"}`

	for _, row := range []struct {
		name   string
		answer http.HandlerFunc
		want   Error // zero: accepted
	}{
		{"204 is a live session", answer(204, ""), Error{}},
		{"401 is passed on", answer(401, envelope), ended},
		{"403 is passed on as 401", answer(403, envelope), ended},
		{"401 without fields is an invalid token", answer(401, `{}`), Error{Status: 401, Code: "invalid_token", Detail: "Invalid token."}},
		{"401 with odd fields is an invalid token", answer(401, `{"detail":1,"code":["x"]}`), Error{Status: 401, Code: "invalid_token", Detail: "Invalid token."}},
		{"401 with endless fields is an invalid token", answer(401, `{"code":"`+strings.Repeat("x", 999)+`"}`), Error{Status: 401, Code: "invalid_token", Detail: "Invalid token."}},
		{"401 of a proxy in between is an outage", answer(401, "<html>"), down},
		{"403 of a proxy in between is an outage", answer(403, ""), down},
		{"429 is an outage for as long as the server says", answer(429, envelope, "Retry-After", "17"), later(17 * time.Second)},
		{"429 with a date is an outage of a second", answer(429, "", "Retry-After", "Fri, 02 Jan 2026 03:04:05 GMT"), down},
		{"429 with a negative number is an outage of a second", answer(429, "", "Retry-After", "-5"), down},
		{"429 with a huge number is an outage of an hour", answer(429, "", "Retry-After", "999999999"), later(time.Hour)},
		{"200 is an outage", answer(200, `{}`), down},
		{"302 is an outage, and not followed", answer(302, "", "Location", "/auth/validate"), down},
		{"404 is an outage", answer(404, `{"detail":"x","code":"not_found"}`), down},
		{"500 is an outage", answer(500, envelope), down},
		{"503 is an outage", answer(503, envelope, "Retry-After", "9"), down},
		{"a megabyte of error is an outage", answer(401, strings.Repeat(" ", maxBody)+envelope), down},
		{"a cut connection is an outage", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, down},
	} {
		t.Run(row.name, func(t *testing.T) {
			authd := newFakeAuthd(t)
			authd.validate = row.answer
			_, err := authd.client(t).Verify(context.Background(), authd.mint(userClaims()))
			check(t, err, row.want.Status, row.want.Code)
			var got *Error
			if errors.As(err, &got) && (got.Detail != row.want.Detail || got.RetryAfter != row.want.RetryAfter) {
				t.Errorf("got %q after %v, want %q after %v", got.Detail, got.RetryAfter, row.want.Detail, row.want.RetryAfter)
			}
		})
	}
}

func TestSessionCheckIsForGoodUserTokensOnly(t *testing.T) {
	authd := newFakeAuthd(t)
	client := authd.client(t)
	for _, row := range []struct {
		name        string
		token       string
		validations int
	}{
		{"a user token is checked each time", authd.mint(userClaims()), 2},
		{"an m2m token is not", authd.mint(serviceClaims()), 0},
		{"a user token with a broken claim is not", authd.mint(userClaims().with(fields{"email": 1})), 0},
		{"an expired one is not", authd.mint(userClaims().with(fields{"exp": 1})), 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			authd.change(func() { authd.validations = 0 })
			for range 2 {
				client.Verify(context.Background(), row.token)
			}
			if authd.validations != row.validations {
				t.Errorf("%d session checks, want %d", authd.validations, row.validations)
			}
		})
	}
}

func TestSessionCheckHeaders(t *testing.T) {
	authd := newFakeAuthd(t)
	handler := authd.client(t).RequireUser(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	token := authd.mint(userClaims())
	for _, row := range []struct{ name, sent, forwarded string }{
		{"a correlation id is forwarded", "req-1_~!", "req-1_~!"},
		{"none is invented", "", ""},
		{"128 characters are forwarded", strings.Repeat("x", 128), strings.Repeat("x", 128)},
		{"129 characters are not", strings.Repeat("x", 129), ""},
		{"spaces are not", "a b", ""},
		{"bytes beyond ASCII are not", "é", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("Cookie", "a=b")
			r.Header.Set("X-Correlation-ID", row.sent)
			handler.ServeHTTP(httptest.NewRecorder(), r)
			for name, want := range map[string]string{
				"X-Correlation-ID": row.forwarded,
				"Authorization":    "Bearer " + token,
				"User-Agent":       "authsdk-go/" + Version,
				"Cookie":           "",
			} {
				if got := authd.lastValidated.Get(name); got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestBaseURLWithPathPrefix(t *testing.T) {
	authd := newFakeAuthd(t)
	proxy := httptest.NewServer(http.StripPrefix("/_auth", authd.Config.Handler))
	defer proxy.Close()
	client, err := New(proxy.URL+"/_auth//", Audience("orders-api"), withClock(authd.clock.Now))
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Verify(context.Background(), authd.mint(userClaims()))
	check(t, err, 0, "")
}

func TestRetries(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	timeout := &net.OpError{Op: "dial", Err: &net.DNSError{IsTimeout: true}}
	for _, row := range []struct {
		name     string
		failures []error
		status   int
		calls    int32
	}{
		{"a refused connection is tried again", []error{refused}, 0, 2},
		{"but once only", []error{refused, refused}, 503, 2},
		{"a timeout is not tried again", []error{timeout}, 503, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			authd := newFakeAuthd(t)
			var calls atomic.Int32
			flaky := roundTripper(func(r *http.Request) (*http.Response, error) {
				if n := int(calls.Add(1)); n <= len(row.failures) {
					return nil, row.failures[n-1]
				}
				return http.DefaultTransport.RoundTrip(r)
			})
			client := authd.client(t, HTTPClient(&http.Client{Transport: flaky}))
			check(t, verifyService(client, authd, nil), row.status, "service_unavailable")
			if calls.Load() != row.calls {
				t.Errorf("%d calls, want %d", calls.Load(), row.calls)
			}
		})
	}
}

func TestCallsEndAfterFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a bubble's clock: no real waiting
		hang := roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		client, err := New("http://authd.test", Audience("a"), HTTPClient(&http.Client{Transport: hang}))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = client.Verify(t.Context(), sign(testKeys().rsa, rsHeader().String(),
			serviceClaims().with(fields{"aud": "a", "iat": 1, "exp": 1 << 40}).String()))
		check(t, err, 503, "service_unavailable")
		if took := time.Since(start); took != callTimeout {
			t.Errorf("took %v, want %v", took, callTimeout)
		}
	})
}

func TestGivenHTTPClientIsNotChanged(t *testing.T) {
	given := &http.Client{}
	client, err := New("http://authd.test", Audience("a"), HTTPClient(given))
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
	if given.CheckRedirect != nil || given.Transport != nil {
		t.Error("the caller's client was changed")
	}
}
