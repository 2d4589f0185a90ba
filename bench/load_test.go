package main

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/smtp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// asking gets a path, a number of times.
type asking struct {
	path string
	left *int
	got  func(body string)
}

func (a asking) request(b []byte) []byte { return get(b, a.path, "a token") }

func (a asking) reply(body []byte) (bool, error) {
	if a.got != nil {
		a.got(string(body))
	}
	*a.left--
	return *a.left > 0, nil
}

// webServer answers as its path says.
func webServer(t *testing.T) (address string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch r.URL.Path {
		case "/nothing":
			w.WriteHeader(http.StatusNoContent)
		case "/busy":
			w.Header().Set("Retry-After", "2")
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/long":
			for i := range 3 {
				fmt.Fprintf(w, "%d%s", i, strings.Repeat(".", 5000))
				w.(http.Flusher).Flush() // so its length is not known before
			}
		case "/last":
			w.Header().Set("Connection", "close")
		default:
			fmt.Fprint(w, r.Header.Get("Authorization"))
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), asked
}

func TestAWireReadsEveryFormOfAnswer(t *testing.T) {
	address, _ := webServer(t)
	w, err := dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	for _, tt := range []struct {
		path, body string
		status     int
		busy, last bool
	}{
		{path: "/", status: 200, body: "Bearer a token"},
		{path: "/nothing", status: 204},
		{path: "/busy", status: 503, busy: true},
		{path: "/long", status: 200, body: "0" + strings.Repeat(".", 5000) + "1" + strings.Repeat(".", 5000) + "2" + strings.Repeat(".", 5000)},
		{path: "/", status: 200, body: "Bearer a token"},
		{path: "/last", status: 200, last: true},
	} {
		a, err := w.ask(asking{path: tt.path}.request)
		if err != nil || a.status != tt.status || string(a.body) != tt.body || a.retryAfter != tt.busy || a.last != tt.last {
			t.Errorf("%s: %d, %d bytes, Retry-After %v, last %v, %v", tt.path, a.status, len(a.body), a.retryAfter, a.last, err)
		}
	}
}

func TestAClosedLoopAsksAsOftenAsItMay(t *testing.T) {
	address, asked := webServer(t)
	c := &crowd{}
	for range connections {
		left := 1000
		c.join(asking{path: "/", left: &left})
	}
	n, took, err := closed(address, c, connections, time.Hour, 100)
	if n != 100 || asked.Load() != 100 || took <= 0 || err != nil {
		t.Errorf("%d requests and %d seen in %v, %v, want 100", n, asked.Load(), took, err)
	}
	few, left := &crowd{}, 3
	few.join(asking{path: "/", left: &left})
	if n, _, err := closed(address, few, 1, time.Hour, anyNumber); n != 3 || err != nil {
		t.Errorf("an act that may ask three times asked %d times, %v", n, err)
	}
}

func TestAnAnswerThatIsNotGoodFailsAClosedLoop(t *testing.T) {
	address, asked := webServer(t)
	c, left := &crowd{}, 1000
	for range connections {
		c.join(asking{path: "/busy", left: &left})
	}
	_, _, err := closed(address, c, 4, time.Hour, anyNumber)
	if err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("got error %v, want one that names 503", err)
	}
	if asked.Load() > 4 {
		t.Errorf("it went on: %d requests", asked.Load())
	}
}

func TestAnOpenModelDoesNotWaitForAnswers(t *testing.T) {
	release := make(chan struct{})
	var inside atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if inside.Add(1) == 20 {
			close(release) // only many at once get an answer
		}
		<-release
	}))
	defer s.Close()
	c := &crowd{}
	for range 20 {
		left := 1
		c.join(asking{path: "/", left: &left})
	}
	outcomes := (&stream{address: s.Listener.Addr().String(), crowd: c, rate: 2000}).run(time.Hour)
	all, err := latencies(outcomes)
	if len(all) != 20 || err != nil {
		t.Errorf("%d of 20 answers, %v", len(all), err)
	}
}

func TestAnOpenModelTellsWhatBecameOfEachArrival(t *testing.T) {
	address, _ := webServer(t)
	c := &crowd{}
	for _, path := range []string{"/busy", "/", "/last", "/"} {
		left := 1
		c.join(asking{path: path, left: &left})
	}
	counts := map[int]int{}
	s := &stream{address: address, crowd: c, rate: 1e6}
	outcomes := s.run(20 * time.Millisecond)
	for _, o := range outcomes {
		if o.err != nil || o.status == 503 != o.retryAfter {
			t.Errorf("%+v", o)
		}
		counts[o.status]++
	}
	if counts[200] != 3 || counts[503] == 0 { // who is shed comes again
		t.Errorf("statuses %v", counts)
	}
	if _, err := latencies(outcomes); err == nil {
		t.Error("a 503 counts as good")
	}
}

func TestTheSinkTakesMailAndFindsTheCode(t *testing.T) {
	s, err := startSink()
	if err != nil {
		t.Fatal(err)
	}
	defer s.listener.Close()
	const to = "a@example.com"
	for _, code := range []string{"111111", "654321"} {
		mail := "Message-ID: <123456@x>\r\nContent-Type: text/plain\r\n\r\nYour code to sign in:\r\n\r\n" + code + "\r\n\r\nbye\r\n"
		if err := smtp.SendMail(s.listener.Addr().String(), nil, "auth@example.com", []string{to}, []byte(mail)); err != nil {
			t.Fatal(err)
		}
	}
	if code, err := s.spend(to, time.Second); code != "654321" || err != nil {
		t.Errorf("code %q, %v, want the newest", code, err)
	}
	if code, err := s.spend(to, 0); err == nil {
		t.Errorf("code %q a second time", code)
	}
}

func TestTheCeilingOfValidationRefusesWhatItMust(t *testing.T) {
	operations, err := makeOperations(t.Context(), t.TempDir(), "sqlite://")
	if err != nil {
		t.Fatal(err)
	}
	if err := operations[jwtCheck](t.Context()); err != nil {
		t.Errorf("a good token: %v", err)
	}
	key, token, err := mintOne()
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(token, ".")
	for name, bad := range map[string]error{
		"expired":  validate(&key.PublicKey, token, time.Now().Add(48*time.Hour)),
		"tampered": validate(&key.PublicKey, strings.Replace(token, head+".", head+".A", 1), time.Now()),
	} {
		if bad == nil {
			t.Errorf("a token that is %s was taken", name)
		}
	}
}

func mintOne() (*rsa.PrivateKey, string, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, "", err
	}
	token, err := mint(key)
	return key, token, err
}
