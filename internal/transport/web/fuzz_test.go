package web

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// Every path and method has an answer of ours, and none leads to another host.
func FuzzPath(f *testing.F) {
	for _, target := range []string{
		"/", "/things", "/things/", "/things/1/", "//evil.example/", "///evil.example/things/", "/\\evil.example/", "/%2fevil.example/", "/things/..//evil.example/",
		"/things/%2e%2e/", "/things/%00", "/things/%ff%fe", "/things//", "/./things/", "*", "http://evil.example/things/", "//evil.example", "/things/;a=b/", "/things?a=1;b=%zz", "/only/post/",
		"/things/" + strings.Repeat("a/", 3000), "/things/%0d%0aSet-Cookie:a=b/",
	} {
		f.Add("GET", target)
		f.Add("POST", target)
	}
	f.Add("CONNECT", "evil.example:443")
	f.Add("OPTIONS", "*")
	f.Add("FROB\x00", "/things")
	f.Add("", "/only/post")
	h := face(quietLog)
	f.Fuzz(func(t *testing.T, method, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Skip("net/http refuses it")
		}
		r := &http.Request{Method: method, URL: u, RequestURI: target, Host: "auth.example.com", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody, RemoteAddr: "192.0.2.1:1"}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		secured(t, w.Header(), false, false)
		if w.Code == http.StatusNotFound || w.Code == http.StatusMethodNotAllowed {
			var body Envelope
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Code == "" {
				t.Errorf("%v: %s", err, w.Body)
			}
		}
		if location := w.Header().Get("Location"); location != "" {
			to, err := url.Parse(location)
			if err != nil || to.Host != "" || to.Scheme != "" || strings.HasPrefix(location, "//") || strings.ContainsAny(location, "\\\r\n") {
				t.Errorf("%q leads to %q", target, location)
			}
		}
	})
}

// A budget is told to any address, and never makes a 5xx.
func FuzzRequestHeaders(f *testing.F) {
	f.Add("X-Correlation-ID", "a", "Origin", "https://app.example.com")
	f.Add("User-Agent", "\x00\xff", "X-Forwarded-For", "10.0.0.1, \xff")
	f.Add("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "Tracestate", "a=b,c=d")
	f.Add("Access-Control-Request-Method", "\xff", "Origin", "null")
	f.Add("Content-Length", "-1", "Expect", "100-continue")
	f.Add("Tracestate", strings.Repeat("a=b,", 5000), "X-Forwarded-For", strings.Repeat(",", 5000))
	mux := NewMux(quietLog)
	mux.Handle("GET /", handler(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	h := Wrap(mux, Edge{Log: quietLog, Origins: []string{app}, Proxies: ParseProxies([]string{"192.0.2.0/24"})}.Chain())
	f.Fuzz(func(t *testing.T, name, value, another, other string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header[http.CanonicalHeaderKey(name)] = []string{value}
		r.Header[http.CanonicalHeaderKey(another)] = append(r.Header[http.CanonicalHeaderKey(another)], other)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusNoContent {
			t.Errorf("%d", w.Code)
		}
		secured(t, w.Header(), false, false)
		if id := w.Header().Get(correlationHeader); !goodID(id) {
			t.Errorf("id %q", id)
		}
		if o := w.Header().Get("Access-Control-Allow-Origin"); o != "" && !strings.EqualFold(o, app) {
			t.Errorf("origin %q", o)
		}
	})
}
