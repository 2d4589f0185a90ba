package e2e

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// operators is what the whole suite was answered on the operator's side, on each
// engine: TestMain compares it with the API description.
var operators struct {
	mu          sync.Mutex
	seen        map[string]bool // engine, method, path, code or "ok"
	description []byte          // of the last server that showed one
}

// ofOperators reports whether a path is on the operator's side.
func ofOperators(path string) bool {
	for _, prefix := range []string{"/admin/", "/webhooks", "/auth/apikeys", "/auth/introspect", "/.well-known/audit"} {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

// watched notes the answers on the operator's side.
type watched struct {
	next   http.RoundTripper
	engine string
}

// RoundTrip implements http.RoundTripper.
func (w watched) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := w.next.RoundTrip(req)
	if err != nil || !ofOperators(req.URL.Path) {
		return res, err
	}
	code := "ok"
	if res.StatusCode >= 400 {
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return res, err
		}
		res.Body.Close()
		res.Body = io.NopCloser(bytes.NewReader(body))
		var e struct{ Code string }
		json.Unmarshal(body, &e) // what is no envelope has no code
		code = e.Code
	}
	operators.mu.Lock()
	defer operators.mu.Unlock()
	if operators.seen == nil {
		operators.seen = map[string]bool{}
	}
	operators.seen[strings.Join([]string{w.engine, req.Method, req.URL.Path, code}, " ")] = true
	return res, nil
}

// unseen lists what the description promises and no test was answered; nothing
// if only some of the tests ran.
func unseen() (list []string) {
	if f := flag.Lookup("test.run"); f.Value.String() != "" || flag.Lookup("test.skip").Value.String() != "" || operators.description == nil {
		return nil
	}
	var description struct {
		Paths map[string]map[string]struct {
			Responses map[string]struct{ Description string }
		}
	}
	if err := json.Unmarshal(operators.description, &description); err != nil {
		return []string{err.Error()}
	}
	// Of each operation, not of each path: what every route answers alike is
	// tested where the edge is.
	alike := append([]string{"validation_error", "malformed_request", "request_too_large", "unsupported_media_type", "session_expired", "token_expired",
		"ambiguous_authentication_transport", "invalid_csrf_token"}, elsewhere...)
	for path, methods := range description.Paths {
		if !ofOperators(path) {
			continue
		}
		for method, op := range methods {
			codes := []string{"ok"}
			for status, response := range op.Responses {
				if status >= "400" {
					codes = append(codes, strings.Split(response.Description, ", ")...)
				}
			}
			for _, code := range codes {
				if slices.Contains(alike, code) || slices.Contains(inPackages, strings.ToUpper(method)+" "+path+" "+code) {
					continue
				}
				for _, engine := range []string{"sqlite", "pgx"} {
					if !answered(engine, strings.ToUpper(method), path, code) {
						list = append(list, fmt.Sprintf("nothing was answered %s %s %s (%s)", strings.ToUpper(method), path, code, engine))
					}
				}
			}
		}
	}
	slices.Sort(list)
	return list
}

// inPackages are answers that internal/transport/httpapi alone is asked for.
var inPackages = []string{"GET /admin/clients/{client_id} ok", "PATCH /admin/clients/{client_id} invalid_scope"}

// answered looks for an answer to a path of this form.
func answered(engine, method, form, code string) bool {
	want := strings.Split(form, "/")
	for seen := range operators.seen {
		f := strings.Fields(seen)
		if len(f) != 4 || f[0] != engine || f[1] != method || f[3] != code {
			continue
		}
		got := strings.Split(f[2], "/")
		if len(got) == len(want) && !slices.ContainsFunc(zip(want, got), func(p [2]string) bool { return p[0] != p[1] && !strings.HasPrefix(p[0], "{") }) {
			return true
		}
	}
	return false
}

func zip(a, b []string) (pairs [][2]string) {
	for i := range a {
		pairs = append(pairs, [2]string{a[i], b[i]})
	}
	return pairs
}

// CloseIdleConnections is asked for by http.Client.
func (w watched) CloseIdleConnections() {
	if c, ok := w.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
