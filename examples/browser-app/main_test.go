package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// echo says what reached a service.
func echo(t *testing.T, name string) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, name, " ", r.Method, " ", r.RequestURI, " ", r.Host, " for ", r.Header.Get("X-Forwarded-For"))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestOneOriginServesThree(t *testing.T) {
	handler, err := routes(echo(t, "authd"), echo(t, "orders")+"/")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ method, path, want string }{
		{"POST", "/_auth/login", "authd POST /auth/login app.example for 192.0.2.1"},
		{"POST", "/_auth/otp/verify/login", "authd POST /auth/otp/verify/login app.example for 192.0.2.1"},
		{"GET", "/_auth/sessions?status=all", "authd GET /auth/sessions?status=all app.example for 192.0.2.1"},
		{"GET", "/_auth/a%2Fb", "authd GET /auth/a%2Fb app.example for 192.0.2.1"},
		{"GET", "/api/orders", "orders GET /orders app.example for 192.0.2.1"},
		{"GET", "/", "<title>Orders</title>"},
		{"GET", "/app.js", `"use strict";`},
		{"GET", "/metrics", "404 page not found"},
		{"GET", "/auth/login", "404 page not found"},
	} {
		r := httptest.NewRequest(row.method, "http://app.example"+row.path, nil)
		r.Header.Set("X-Forwarded-For", "203.0.113.9") // the client's word counts for nothing
		w := httptest.NewRecorder()
		if handler.ServeHTTP(w, r); !strings.Contains(w.Body.String(), row.want) {
			t.Errorf("%s %s: got %d %s, want %s", row.method, row.path, w.Code, w.Body, row.want)
		}
	}
}

func TestNothingButTheTwoPrefixesIsReached(t *testing.T) {
	handler, err := routes(echo(t, "authd"), echo(t, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/_auth/../metrics", "/_auth/%2e%2e/metrics", "/_auth/..%2fmetrics", "/_auth/%2e%2e%2fmetrics", "/_auth//metrics"} {
		r := httptest.NewRequest("GET", "http://app.example"+path, nil)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if body := w.Body.String(); strings.HasPrefix(body, "authd") && !strings.HasPrefix(body, "authd GET /auth/") {
			t.Errorf("%s reaches %s", path, body)
		}
	}
}

func TestThePageMayOnlyCallItsOwnOrigin(t *testing.T) {
	handler, err := routes("http://a", "http://b")
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	policy := w.Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy %q lacks %s", policy, want)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(w.Body.String(), "<script>") {
		t.Errorf("inline script: %s", policy)
	}
}
