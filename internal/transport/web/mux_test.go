package web

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

var quietLog = slog.New(slog.DiscardHandler)

// face is a mux with a few routes behind the whole chain.
func face(log *slog.Logger) http.Handler {
	mux := NewMux(log)
	say := func(w http.ResponseWriter, r *http.Request) error {
		WriteJSON(w, http.StatusOK, map[string]string{"path": r.URL.Path, "query": r.URL.RawQuery, "id": r.PathValue("id")})
		return nil
	}
	mux.Handle("GET /things", Handle(log, say))
	mux.Handle("POST /things", Handle(log, say))
	mux.Handle("GET /things/{id}", Handle(log, say))
	mux.Handle("POST /only/post", Handle(log, say))
	return Wrap(mux, Edge{Log: log}.Chain())
}

func TestMux(t *testing.T) {
	h := face(quietLog)
	for _, row := range []struct {
		name     string
		method   string
		target   string
		status   int
		location string
		allow    string
		code     string
	}{
		{"a route", "GET", "/things", 200, "", "", ""},
		{"HEAD is GET", "HEAD", "/things", 200, "", "", ""},
		{"a path that is not there", "GET", "/nothing", 404, "", "", "not_found"},
		{"the root", "GET", "/", 404, "", "", "not_found"},
		{"another method", "DELETE", "/things", 405, "", "GET, HEAD, POST", "method_not_allowed"},
		{"HEAD where there is no GET", "HEAD", "/only/post", 405, "", "POST", ""},
		{"a method that nobody knows", "FROB", "/only/post", 405, "", "POST", "method_not_allowed"},
		{"CONNECT", "CONNECT", "/things", 405, "", "GET, HEAD, POST", "method_not_allowed"},
		{"TRACE", "TRACE", "/nothing", 404, "", "", "not_found"},
		{"a slash too many", "GET", "/things/", 307, "/things", "", ""},
		{"it keeps the query", "GET", "/things/?a=1&b=%20", 307, "/things?a=1&b=%20", "", ""},
		{"and the method", "POST", "/only/post/", 307, "/only/post", "", ""},
		{"whatever the method", "GET", "/only/post/", 307, "/only/post", "", ""},
		{"and what is in the path", "GET", "/things/a%2Fb%0d%0aSet-Cookie:x/", 307, "/things/a%2Fb%0d%0aSet-Cookie:x", "", ""},
		{"a slash too many after nothing", "GET", "/nothing/", 404, "", "", "not_found"},
		{"two slashes too many", "GET", "/only/post//", 404, "", "", "not_found"},
		{"another host in the path", "GET", "//evil.example/", 404, "", "", "not_found"},
		{"another host, and a route", "GET", "//evil.example/things/", 404, "", "", "not_found"},
		{"another host by backslash", "GET", "/\\evil.example/", 404, "", "", "not_found"},
		{"dots on the way", "GET", "/x/../things", 307, "/things", "", ""},
		{"slashes on the way", "GET", "//things", 307, "/things", "", ""},
		{"a NUL", "GET", "/things%00", 404, "", "", "not_found"},
		{"no UTF-8", "GET", "/%ff%fe", 404, "", "", "not_found"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", row.target, nil)
			r.Method = row.method
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != row.status || w.Header().Get("Location") != row.location || w.Header().Get("Allow") != row.allow {
				t.Errorf("%d, Location %q, Allow %q; want %d, %q, %q", w.Code, w.Header().Get("Location"), w.Header().Get("Allow"), row.status, row.location, row.allow)
			}
			if row.code == "" {
				return
			}
			var body Envelope
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Code != row.code || body.RequestID != w.Header().Get(correlationHeader) {
				t.Errorf("%v: %s", err, w.Body)
			}
		})
	}
}

// What no client library sends must not be answered with a 5xx either.
func TestOddRequestsOnTheWire(t *testing.T) {
	srv := httptest.NewServer(face(quietLog))
	t.Cleanup(srv.Close)
	for _, row := range []struct{ name, bytes, status string }{
		{"CONNECT to a host", "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", "404"},
		{"OPTIONS of all", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "200"},
		{"GET of all", "GET * HTTP/1.1\r\nHost: x\r\n\r\n", "404"},
		{"a URL with a host", "GET http://evil.example/things HTTP/1.1\r\nHost: evil.example\r\n\r\n", "200"},
		{"a URL with two", "GET http://evil.example//other.example/things/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", "404"},
		{"HTTP/1.0 without a host", "GET /things HTTP/1.0\r\n\r\n", "200"},
		{"no host", "GET /things HTTP/1.1\r\n\r\n", "400"},
		{"a header that is no text", "GET /things HTTP/1.1\r\nHost: x\r\nAuthorization: \xff\xfe\r\nUser-Agent: \xff\r\nX-Correlation-ID: \xff\r\n\r\n", "200"},
		{"a path that is no text", "GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", "404"},
		{"a path that cannot be decoded", "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
		{"a URL of 40 KB", "GET /" + strings.Repeat("a", 40<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", "404"},
	} {
		t.Run(row.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			fmt.Fprint(conn, row.bytes)
			line, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil || !strings.Contains(line, " "+row.status+" ") {
				t.Errorf("%q, %v; want %s", line, err, row.status)
			}
		})
	}
	t.Run("HEAD has the headers of GET and no body", func(t *testing.T) {
		r, err := http.Head(srv.URL + "/things")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil || len(body) > 0 || r.StatusCode != 200 || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%v %d %v %q", err, r.StatusCode, r.Header, body)
		}
	})
}
