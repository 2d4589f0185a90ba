package server

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// insideVariable names the story that a process tells: whatever records traces
// is one for a whole process, so each story has one of its own.
const insideVariable = "AUTHD_TEST_TRACES"

func TestTraces(t *testing.T) {
	stories := map[string]func(t *testing.T){
		"spans arrive":               spansArrive,
		"nothing is sent unasked":    nothingIsSentUnasked,
		"a collector that is down":   aCollectorThatIsDown,
		"a collector that is silent": aCollectorThatIsSilent,
	}
	if story := os.Getenv(insideVariable); story != "" {
		stories[story](t)
		return
	}
	for name := range stories {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTraces$", "-test.timeout=2m")
			cmd.Env = append(os.Environ(), insideVariable+"="+name)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// collect takes what a server sends, answering as told.
func collect(t *testing.T, answer http.HandlerFunc) (url string, got func() []byte) {
	t.Helper()
	var mu sync.Mutex
	var all []byte
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		all = append(all, r.URL.Path+"\n"+string(body)...)
		mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, func() []byte {
		mu.Lock()
		defer mu.Unlock()
		return bytes.Clone(all)
	}
}

func taken(http.ResponseWriter, *http.Request) {}

const (
	callersTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	callersSpan  = "00f067aa0ba902b7"
)

// people use a server; the words that only they know are returned.
func people(t *testing.T, base string, admin *Admin) (private []string) {
	t.Helper()
	send := func(want int, what, body string, headers ...string) string {
		t.Helper()
		method, path, _ := strings.Cut(what, " ")
		r, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Traceparent", "00-"+callersTrace+"-"+callersSpan+"-01")
		r.Header.Set("User-Agent", "agent-canary")
		r.Header.Set("Cookie", "session=cookie-canary")
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if _, err := io.Copy(w.Body, res.Body); err != nil || res.StatusCode != want {
			t.Fatalf("%s: %d, want %d: %s (%v)", what, res.StatusCode, want, w.Body, err)
		}
		return w.Body.String()
	}
	token := func(answer, name string) string {
		return field(t, &httptest.ResponseRecorder{Body: bytes.NewBufferString(answer)}, name)
	}
	send(201, "POST /auth/signup", `{"email":"ann-canary@example.com","password":"Correct-Canary-7"}`)
	send(401, "POST /auth/login", `{"email":"ann-canary@example.com","password":"Wrong-Canary-7"}`)
	tokens := send(200, "POST /auth/login", fmt.Sprintf(`{"email":%q,"password":%q}`, admin.Email, admin.Password))
	access, refresh := token(tokens, "access_token"), token(tokens, "refresh_token")
	send(204, "GET /auth/validate", "", "Authorization", "Bearer "+access)
	send(200, "POST /auth/token", fmt.Sprintf(`{"refresh_token":%q}`, refresh))
	send(422, "GET /auth/verify-email?token=query-canary", "")
	send(404, "GET /path-canary/ann-canary@example.com?q=query-canary", "")
	return []string{"canary", "Canary", admin.Email, admin.Password, access, refresh, refresh[3:20], strings.Split(access, ".")[1][:20]}
}

func spansArrive(t *testing.T) {
	url, got := collect(t, taken)
	s := unbuilt(t, "TRACING__OTLP_ENDPOINT="+url)
	address, stop := run(t, s)
	private := people(t, "http://"+address, s.FirstAdmin)
	if err := stop(); err != nil {
		t.Error(err)
	}
	sent := got()
	if !bytes.HasPrefix(sent, []byte("/v1/traces\n")) {
		t.Errorf("sent to %q", sent[:min(len(sent), 40)])
	}
	parent, err := hex.DecodeString(callersSpan)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"POST /auth/login", "POST /auth/signup", "GET /auth/validate", "POST /auth/token", "GET /auth/verify-email", "GET unmatched"} {
		// Fields 4 and 5 of a span: the parent's id, and the name.
		span := "\x22\x08" + string(parent) + "\x2a" + string(rune(len(name))) + name
		if !bytes.Contains(sent, []byte(span)) {
			t.Errorf("no span %q of the caller's", name)
		}
	}
	if !bytes.Contains(sent, []byte("db.Write")) || !bytes.Contains(sent, []byte("auth-service")) {
		t.Error("a step or the name of the service is missing")
	}
	for _, word := range private {
		if i := bytes.Index(sent, []byte(word)); i >= 0 {
			t.Errorf("%q is sent: %q", word, sent[max(0, i-60):min(len(sent), i+60)])
		}
	}
}

func nothingIsSentUnasked(t *testing.T) {
	url, got := collect(t, taken)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url) // is not our setting
	t.Setenv("OTEL_TRACES_EXPORTER", "otlp")
	s := unbuilt(t)
	address, stop := run(t, s)
	people(t, "http://"+address, s.FirstAdmin)
	if err := stop(); err != nil {
		t.Error(err)
	}
	if sent := got(); len(sent) > 0 {
		t.Errorf("%q", sent)
	}
}

// stops stops within a time that no orchestrator kills for.
func stops(t *testing.T, stop func() error) {
	t.Helper()
	begin := time.Now()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > drainFor {
		t.Errorf("stopping took %v", took)
	}
}

func aCollectorThatIsDown(t *testing.T) {
	var said syncBuffer
	s, err := New(t.Context(), settings(t, urlOf(t, onePlace(t)), "TRACING__OTLP_ENDPOINT=http://127.0.0.1:1"), slog.New(slog.NewJSONHandler(&said, nil)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	address, stop := run(t, s)
	people(t, "http://"+address, s.FirstAdmin)
	stops(t, stop)
	if text := said.String(); strings.Count(text, "traces cannot be sent") != 1 {
		t.Errorf("said: %s", text)
	}
}

func aCollectorThatIsSilent(t *testing.T) {
	release := make(chan struct{})
	url, _ := collect(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(release) })
	var said syncBuffer
	s, err := New(t.Context(), settings(t, urlOf(t, onePlace(t)), "TRACING__OTLP_ENDPOINT="+url), slog.New(slog.NewJSONHandler(&said, nil)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	address, stop := run(t, s)
	people(t, "http://"+address, s.FirstAdmin)
	begin := time.Now()
	stops(t, stop)
	if took := time.Since(begin); took < tracesFor/2 {
		t.Errorf("stopping took %v: was there nothing to send?", took)
	}
	if !strings.Contains(said.String(), "the last traces were not sent") {
		t.Errorf("said: %s", said.String())
	}
}

// syncBuffer takes the log of many goroutines.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
