package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/authsdk/authsdk/e2e/authapi"
)

// marker stands in every rejected value; no answer may repeat it.
const marker = "Zebra7Crossing"

// bodies are the endpoints that read a body: the field that is asked for, and a
// whole good body.
var bodies = []struct {
	path, field string
	good        map[string]string
}{
	{"/auth/signup", "email", map[string]string{"email": marker + "@example.com", "password": password}},
	{"/auth/login", "email", map[string]string{"email": marker + "@example.com", "password": password, "audience": marker}},
	{"/auth/verify-email", "token", map[string]string{"token": marker + marker}},
	{"/auth/verify-email/resend/request", "email", map[string]string{"email": marker + "@example.com"}},
	{"/auth/token", "refresh_token", map[string]string{"refresh_token": "rt_" + marker + marker}},
	{"/auth/logout", "refresh_token", map[string]string{"refresh_token": "rt_" + marker + marker}},
}

func TestBadInputIsRefusedAndNeverRepeated(t *testing.T) {
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t)
		for _, e := range bodies {
			for _, row := range []struct {
				says   string
				body   string
				status []int
			}{
				{"half a JSON object", `{"` + e.field + `": "` + marker, []int{400}},
				{"two JSON objects", `{} {"a": "` + marker + `"}`, []int{400}},
				{"a list", `["` + marker + `"]`, []int{422}},
				{"a text", `"` + marker + `"`, []int{422}},
				{"a number for a text", `{"` + e.field + `": 7777177771777717}`, []int{422}},
				{"a list for a text", `{"` + e.field + `": ["` + marker + `"]}`, []int{422}},
				{"an object for a text", `{"` + e.field + `": {"` + marker + `": 1}}`, []int{422}},
				{"null for a text", `{"` + e.field + `": null}`, []int{422}},
				{"a huge number", `{"` + e.field + `": 1e99999}`, []int{400, 422}},
				{"no field", `{}`, []int{422}},
				{"an empty text", `{"` + e.field + `": ""}`, []int{422}},
				{"NUL in the text", `{"` + e.field + `": "` + marker + `\u0000` + marker + `", "password": "a\u0000A1-` + marker + `"}`, []int{400, 401, 422}},
				{"half a surrogate pair", `{"` + e.field + `": "` + marker + `\ud800` + marker + `", "password": "` + marker + `-\udc00"}`, []int{400, 401, 422}},
				{"bytes that are no UTF-8", `{"` + e.field + `": "` + marker + "\xff\xfe" + marker + `"}`, []int{400}},
				{"a byte order mark", "\xef\xbb\xbf" + `{"` + e.field + `": "` + marker + `"}`, []int{400, 422}},
				{"a very long text", `{"` + e.field + `": "` + strings.Repeat(marker, 3000) + `", "password": "` + password + `"}`, []int{401, 422}},
				{"a body over the limit", `{"` + e.field + `": "` + strings.Repeat(marker, 30_000) + `"}`, []int{413}},
				{"deep JSON", strings.Repeat("[", 30_000), []int{400}},
				{"deep and closed JSON", `{"` + e.field + `":` + strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000) + "}", []int{400, 422}},
			} {
				a := v.do("POST", e.path, row.body)
				check(t, e.path+" with "+row.says, a, row.status...)
			}
			for _, kind := range []string{"text/plain", "application/xml", "application/json-" + marker, "multipart/form-data; boundary=x", marker} {
				want := []int{415}
				if e.path == "/auth/token" || e.path == "/auth/logout" { // read as JSON whatever they are called
					want = []int{400, 401, 415, 422}
				}
				check(t, e.path+" as "+kind, v.do("POST", e.path, must(json.Marshal(e.good)), "Content-Type", kind), want...)
			}
		}
	})
}

// check holds a refusal to the rules of all refusals.
func check(t *testing.T, what string, a authapi.Answer, statuses ...int) {
	t.Helper()
	expected := false
	for _, s := range statuses {
		expected = expected || a.Status == s
	}
	if !expected || a.Status >= 500 {
		t.Errorf("%s is answered %s, not %v", what, shortened(a), statuses)
	}
	e := a.Envelope()
	if a.Status >= 400 && (e.Detail == "" || e.Code == "" || e.RequestID == "" || e.RequestID != a.Header.Get("X-Correlation-ID")) {
		t.Errorf("%s: no envelope in %s", what, shortened(a))
	}
	if code := map[int]string{400: "malformed_request", 413: "request_too_large", 415: "unsupported_media_type", 422: "validation_error"}[a.Status]; code != "" &&
		e.Code != code && e.Code != "invalid_verify_token" {
		t.Errorf("%s: the code is %s, not %s", what, e.Code, code)
	}
	if e.Code == "validation_error" && len(e.Errors) == 0 {
		t.Errorf("%s: %s does not say which field", what, shortened(a))
	}
	noEcho(t, what, a)
}

func noEcho(t *testing.T, what string, a authapi.Answer) {
	t.Helper()
	header := fmt.Sprint(a.Header)
	for _, value := range []string{marker, "7777177771777717", password} {
		if strings.Contains(string(a.Body)+header, value) {
			t.Errorf("%s is repeated: %s %s", what, shortened(a), header)
		}
	}
}

func shortened(a authapi.Answer) string {
	s := a.String()
	return s[:min(len(s), 300)]
}

func TestStrangeRequestsAreRefused(t *testing.T) {
	v := sqliteStore(t).serve(t)
	long := strings.Repeat(marker, 3000)
	for _, row := range []struct{ says, request string }{
		{"an over-long URL", "GET /" + long + " HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"a long URL", "GET /" + long[:20_000] + " HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"an over-long query", "GET /auth/verify-email?token=" + long[:20_000] + " HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"NUL in the path", "GET /%00" + marker + " HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"NUL in the query", "GET /auth/verify-email?token=%00" + marker + marker + " HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"no UTF-8 in the query", "GET /auth/verify-email?token=%ff%fe" + marker + marker + " HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"no UTF-8 in the path", "GET /%ff" + marker + " HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"raw bytes in the path", "GET /\xff\xfe" + marker + " HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"a bad escape in the path", "GET /%zz" + marker + " HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"a bad escape in the query", "GET /auth/verify-email?token=%zz" + marker + marker + " HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"semicolons in the query", "GET /auth/verify-email?token=" + marker + ";a=b HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"the token twice", "GET /auth/verify-email?token=" + marker + marker + "&token=" + marker + " HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"dots in the path", "GET /a/../../" + marker + " HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"slashes in the path", "GET //" + marker + ".example.com/%2f.. HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"a full URL of elsewhere", "GET http://" + marker + ".example.com/auth/validate HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"an asterisk", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"CONNECT", "CONNECT " + marker + ".example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"bytes in Authorization", "GET /auth/validate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe" + marker + "\xf0\r\n\r\n"},
		{"a letter in Authorization", "GET /auth/validate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ü" + marker + "\r\n\r\n"},
		{"dots in Authorization", "GET /auth/validate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ...." + marker + "\r\n\r\n"},
		{"a long Authorization", "GET /auth/validate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + long[:20_000] + "\r\n\r\n"},
		{"two Authorizations", "GET /auth/validate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nAuthorization: Bearer " + marker + "\r\n\r\n"},
		{"NUL in a header", "GET /auth/validate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \x00" + marker + "\r\n\r\n"},
		{"bytes in User-Agent", "POST /auth/login HTTP/1.1\r\nHost: x\r\nUser-Agent: \xff\xfe" + marker + "\r\nContent-Length: 2\r\n\r\n{}"},
		{"bytes in Content-Type", "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/\xff" + marker + "\r\nContent-Length: 2\r\n\r\n{}"},
		{"no Host", "GET /auth/validate HTTP/1.1\r\n\r\n"},
		{"a strange Host", "GET /auth/validate HTTP/1.1\r\nHost: " + marker + "/<>\r\n\r\n"},
		{"a negative length", "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"},
		{"two lengths", "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"},
		{"a length and chunks", "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"endless chunks", "POST /auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n" + strings.Repeat("x", 0x20000) + "\r\n0\r\n\r\n"},
		{"a bad chunk", "POST /auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + marker + "\r\n"},
		{"a compressed body", "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"},
		{"no HTTP at all", marker + "\r\n\r\n"},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + marker + "\r\n\r\n"},
	} {
		t.Run(row.says, func(t *testing.T) {
			a := raw(t, v.address, row.request)
			if a.Status >= 500 || a.Status < 300 && row.says != "an asterisk" {
				t.Errorf("answered %s", shortened(a))
			}
			if a.Header.Get("X-Correlation-ID") != "" && a.Status >= 400 && a.Envelope().Code == "" { // past net/http's own checks
				t.Errorf("no envelope in %s", shortened(a))
			}
			if a.Status/100 != 3 { // a redirect names where to go
				noEcho(t, row.says, a)
			}
		})
	}
}

// raw sends bytes and reads one answer.
func raw(t *testing.T, address, request string) authapi.Answer {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	go io.WriteString(conn, request) // the server may answer before it has read all
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("half an answer: %v", err)
	}
	return authapi.Answer{Status: res.StatusCode, Header: res.Header, Body: body}
}

func TestNoMutatedBodyIsAnInternalError(t *testing.T) {
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t)
		rounds := 150
		if soak {
			rounds = 20_000
		}
		seed := rand.Uint64()
		random := rand.New(rand.NewPCG(seed, 1))
		for _, e := range bodies {
			good := must(json.Marshal(e.good))
			for range rounds {
				body := mutate(random, good)
				a := v.do("POST", e.path, body)
				if a.Status >= 500 && a.Envelope().Code != "service_unavailable" {
					t.Errorf("seed %d: %s with %q is answered %s", seed, e.path, body, shortened(a))
				}
				if a.Status >= 400 {
					noEcho(t, e.path, a)
				}
			}
		}
	})
}

// mutate changes a few bytes: replaces, removes, repeats, or inserts what
// parsers trip over.
func mutate(random *rand.Rand, good []byte) []byte {
	b := bytes.Clone(good)
	for range 1 + random.IntN(3) {
		i := random.IntN(len(b))
		switch random.IntN(4) {
		case 0:
			b[i] = byte(random.IntN(256))
		case 1:
			b = append(b[:i], b[min(len(b), i+1+random.IntN(4)):]...)
		case 2:
			b = append(b[:i:i], append(bytes.Repeat(b[i:i+1], 1+random.IntN(400)), b[i:]...)...)
		default:
			odd := []string{`\u0000`, `\ud800`, "\x00", "\xff", `"`, `{`, `[`, `null`, `1e999`, `\`, "\u202e", "😀", "%00", "'--"}
			b = append(b[:i:i], append([]byte(odd[random.IntN(len(odd))]), b[i:]...)...)
		}
		if len(b) == 0 {
			return []byte{0}
		}
	}
	return b
}
