package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

// production is what a start outside development needs.
var production = []string{
	"APP__ENVIRONMENT=production", `APP__ALLOWED_HOSTS=["auth.example.org"]`, "EMAIL__PUBLIC_BASE_URL=https://auth.example.org",
	"EMAIL__SMTP_HOST=127.0.0.1", "EMAIL__EMAIL_FROM=auth@example.org", "EMAIL__SMTP_PORT=1", `AUTH__AUDIENCES=["orders-api"]`,
	"SESSION_SECURITY__REFRESH_TOKEN_HASH_KEY=kZ3vq9L0wTt8Yf1aXc5Rm7Ue2Sb6Dg4H", "SIGNING_KEYS__ENCRYPTION_KEY=Jp8sW1nQe6Tz4Vb9Mk2Xr7Yc3Lh5Fd0G",
	"WEBHOOK__SECRET_ENCRYPTION_KEY=Ua5mD9xR2kC7vE1tZ8wB4qN6yS3jP0Lf",
}

const scrapeToken = "q7Wm2Zt9Xc4Vb6Nk1Lp8Rs3Yd5Fh0JgA"

// a visitor of a server, at an address of its own.
type visitor struct {
	t       *testing.T
	handler http.Handler
	ip      string
}

// send asks for "METHOD /path"; headers come in pairs.
func (c visitor) send(what, body string, headers ...string) *httptest.ResponseRecorder {
	method, target, _ := strings.Cut(what, " ")
	r := httptest.NewRequestWithContext(c.t.Context(), method, target, strings.NewReader(body))
	r.Host, r.RemoteAddr = "localhost:8000", c.ip+":1000"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	return w
}

// want sends and checks the status.
func (c visitor) want(status int, what, body string, headers ...string) *httptest.ResponseRecorder {
	c.t.Helper()
	w := c.send(what, body, headers...)
	if w.Code != status {
		c.t.Fatalf("%s %s: %d, want %d: %s", what, body, w.Code, status, w.Body)
	}
	return w
}

// field reads one string of a JSON answer.
func field(t *testing.T, w *httptest.ResponseRecorder, name string) string {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	text, _ := m[name].(string)
	if text == "" {
		t.Fatalf("no %s in %s", name, w.Body)
	}
	return text
}

// counters reads /metrics: series → value. That the text is well-formed is
// tested where it is made.
func counters(t *testing.T, s *Server) map[string]float64 {
	t.Helper()
	w := httptest.NewRecorder()
	s.Metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	series := map[string]float64{}
	for line := range strings.SplitSeq(w.Body.String(), "\n") {
		if i := strings.LastIndexByte(line, ' '); i > 0 && !strings.HasPrefix(line, "#") {
			value, err := strconv.ParseFloat(line[i+1:], 64)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			series[line[:i]] = value
		}
	}
	return series
}

func TestWhoMaySeeTheMetrics(t *testing.T) {
	const pod = "10.0.0.7:8000" // Prometheus asks each replica
	withToken := append([]string{"METRICS__TOKEN=" + scrapeToken}, production...)
	for _, row := range []struct {
		name     string
		host     string
		settings []string
		headers  []string
		status   int
	}{
		{"anybody in development", pod, nil, nil, 200},
		{"in development with a token, who has it", pod, []string{"METRICS__TOKEN=" + scrapeToken}, []string{"Authorization", "Bearer " + scrapeToken}, 200},
		{"in development with a token, nobody else", pod, []string{"METRICS__TOKEN=" + scrapeToken}, nil, 401},
		{"in production, who has the token", pod, withToken, []string{"Authorization", "Bearer " + scrapeToken}, 200},
		{"in production, nobody without", pod, withToken, nil, 401},
		{"nor with half of it", pod, withToken, []string{"Authorization", "Bearer " + scrapeToken[:20]}, 401},
		{"nor with more", pod, withToken, []string{"Authorization", "Bearer " + scrapeToken + "A"}, 401},
		{"nor with another", pod, withToken, []string{"Authorization", "Bearer " + strings.ToLower(scrapeToken)}, 401},
		{"nor with it as a password", pod, withToken, []string{"Authorization", "Basic " + scrapeToken}, 401},
		{"nor with it elsewhere", pod, withToken, []string{"X-Token", scrapeToken}, 401},
		{"nobody in production without a token", "auth.example.org", production, nil, 404},
		{"not even with an empty one", "auth.example.org", production, []string{"Authorization", "Bearer "}, 404},
		{"nobody here if they have an address of their own", "auth.example.org", append([]string{"METRICS__ADDR=127.0.0.1:1"}, production...), nil, 404},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := onePlace(t)
			s := build(t, settings(t, urlOf(t, d), row.settings...), Options{})
			c := visitor{t, s.Handler(), "192.0.2.1"}
			w := c.want(row.status, "GET /metrics", "", append([]string{"Host", row.host}, row.headers...)...)
			if row.status == 200 && !strings.Contains(w.Body.String(), "auth_service_database_connections_max") {
				t.Error(w.Body)
			}
			if row.status != 200 && (strings.Contains(w.Body.String(), "auth_service") || !strings.Contains(w.Body.String(), `"request_id"`)) {
				t.Error(w.Body)
			}
			if row.status == 401 && w.Header().Get("WWW-Authenticate") != "Bearer" {
				t.Error(w.Header())
			}
		})
	}
}

// onePlace is a database where the engine does not matter.
func onePlace(t *testing.T) *db.DB {
	t.Helper()
	if os.Getenv("AUTHD_TEST_SQLITE") == "off" {
		return dbtest.Postgres(t)
	}
	return dbtest.SQLite(t)
}

// freeAddress is an address that nobody listens on, for now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// run serves until the test ends or stop is called, which returns what Run did.
func run(t *testing.T, s *Server) (address string, stop func() error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, listener) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String(), stop
}

func get(t *testing.T, url string, headers ...string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func TestMetricsAtAnAddressOfTheirOwn(t *testing.T) {
	for _, row := range []struct {
		name     string
		settings []string
		path     string
		headers  []string
		status   int
	}{
		{"are there", nil, "/metrics", nil, 200},
		{"and nothing else is", nil, "/health/live", nil, 404},
		{"with a token they ask for it", []string{"METRICS__TOKEN=" + scrapeToken}, "/metrics", nil, 401},
		{"and take it", []string{"METRICS__TOKEN=" + scrapeToken}, "/metrics", []string{"Authorization", "Bearer " + scrapeToken}, 200},
	} {
		t.Run(row.name, func(t *testing.T) {
			address := freeAddress(t)
			s := unbuilt(t, slices.Concat(production, []string{"METRICS__ADDR=" + address}, row.settings)...)
			main, stop := run(t, s)
			if status, body := get(t, "http://"+main+"/health/live"); status != 200 {
				t.Fatalf("%d %s", status, body)
			}
			if status, body := get(t, "http://"+address+row.path, row.headers...); status != row.status {
				t.Errorf("%d %s", status, body)
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
			if status, _ := get(t, "http://"+address+"/metrics"); status != 0 {
				t.Errorf("it answers %d after the end", status)
			}
		})
	}
	t.Run("an address that is taken stops the start, and says which", func(t *testing.T) {
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		s := unbuilt(t, append([]string{"METRICS__ADDR=" + taken.Addr().String()}, production...)...)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		if err := s.Run(t.Context(), listener); err == nil || !strings.Contains(err.Error(), "METRICS__ADDR") {
			t.Errorf("got %v", err)
		}
	})
}

// unbuilt is a server that Run closes.
func unbuilt(t *testing.T, more ...string) *Server {
	t.Helper()
	s, err := New(t.Context(), settings(t, urlOf(t, onePlace(t)), more...), dbtest.Log, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// eventually looks again and again: jobs are worked beside the requests.
func eventually(t *testing.T, what string, reached func() bool) {
	t.Helper()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	deadline := time.After(30 * time.Second)
	for !reached() {
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("not after 30 s: %s", what)
		}
	}
}

// working starts what runs beside the requests.
func working(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Jobs.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	stop := s.Background(context.Background())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := s.Jobs.Stop(ctx); err != nil {
			t.Error(err)
		}
		stop()
	})
}

const goodPassword = "Correct-Horse-7"

// live goes through what people and services do, so that everything that is
// counted is counted once or more. It returns what should be.
func live(t *testing.T, s *Server) map[string]float64 {
	t.Helper()
	c := visitor{t, s.Handler(), "127.0.0.1"}
	from := func(ip string) visitor { return visitor{t, s.Handler(), ip} }
	account := fmt.Sprintf(`{"email":"ann@example.com","password":%q}`, goodPassword)
	mails := func(n int) {
		eventually(t, fmt.Sprint(n, " mails"), func() bool { return counters(t, s)[`auth_service_mails_total{outcome="sent"}`] == float64(n) })
	}
	c.want(201, "POST /auth/signup", account)
	mails(1)
	var box struct{ Messages []struct{ Tokens []string } }
	if err := json.Unmarshal(c.want(200, "GET /dev/mailbox/messages?to=ann@example.com", "").Body.Bytes(), &box); err != nil {
		t.Fatal(err)
	}
	c.want(400, "POST /auth/login", account)
	c.want(401, "POST /auth/login", `{"email":"ann@example.com","password":"Wrong-Horse-7"}`)
	c.want(401, "POST /auth/login", `{"email":"nobody@example.com","password":"Wrong-Horse-7"}`)
	c.want(200, "POST /auth/verify-email", fmt.Sprintf(`{"token":%q}`, box.Messages[0].Tokens[0]))
	c.want(201, "POST /auth/signup", account)
	mails(2)

	tokens := c.want(200, "POST /auth/login", account)
	logins := 1
	for from(fmt.Sprintf("127.0.0.%d", 1+logins)).send("POST /auth/login", account).Code == 200 {
		if logins++; logins > 100 {
			t.Fatal("an account has no budget")
		}
	}

	bearer := []string{"Authorization", "Bearer " + field(t, tokens, "access_token")}
	eventually(t, "the tail is fresh", func() bool { return s.Feed.Fresh() })
	c.want(204, "GET /auth/validate", "", bearer...)
	eventually(t, "a check from the cache", func() bool {
		c.want(204, "GET /auth/validate", "", bearer...)
		return counters(t, s)[`auth_service_session_checks_total{source="cache"}`] > 0
	})
	c.want(401, "GET /auth/validate", "")

	refresh := func(token string) string { return fmt.Sprintf(`{"refresh_token":%q}`, token) }
	spent := field(t, tokens, "refresh_token")
	next := field(t, c.want(200, "POST /auth/token", refresh(spent)), "refresh_token") // rotate
	c.want(200, "POST /auth/token", refresh(spent))                                    // no grace, so a lost answer: retry
	c.want(401, "POST /auth/token", refresh(next))                                     // the displaced holder: theft
	c.want(401, "POST /auth/token", refresh("rt_0123456789abcdef"))                    // refused
	c.want(401, "POST /auth/token", refresh(spent))                                    // refused: the session is dead
	eventually(t, "the revocation arrived", func() bool {
		c.want(401, "GET /auth/validate", "", bearer...)
		return counters(t, s)[`auth_service_session_checks_total{source="revocations"}`] > 0
	})
	c.want(404, "GET /nothing/ann@example.com", "")
	eventually(t, "jobs are counted", func() bool {
		got := counters(t, s) // periodic jobs, too, begin when they like
		return got[`auth_service_jobs_total{kind="mail_verify_email",outcome="done"}`] == 2 && got[`auth_service_jobs_waiting`] == 0
	})
	return map[string]float64{
		`auth_service_signups_total{outcome="created"}`:                                                  1,
		`auth_service_signups_total{outcome="taken"}`:                                                    1,
		`auth_service_mails_total{outcome="sent"}`:                                                       2,
		`auth_service_jobs_total{kind="mail_verify_email",outcome="done"}`:                               2,
		`auth_service_job_duration_seconds_count{kind="mail_verify_email"}`:                              2,
		`auth_service_logins_total{outcome="email_not_verified",provider="password"}`:                    1,
		`auth_service_logins_total{outcome="invalid_credentials",provider="password"}`:                   2,
		`auth_service_logins_total{outcome="success",provider="password"}`:                               float64(logins),
		`auth_service_logins_total{outcome="rate_limited",provider="password"}`:                          1,
		`auth_service_refreshes_total{decision="rotate"}`:                                                1,
		`auth_service_refreshes_total{decision="retry"}`:                                                 1,
		`auth_service_refreshes_total{decision="theft"}`:                                                 1,
		`auth_service_refreshes_total{decision="refused"}`:                                               2,
		`auth_service_http_requests_total{method="POST",path="/auth/login",status="429"}`:                1,
		`auth_service_http_requests_total{method="GET",path="unmatched",status="404"}`:                   1,
		`auth_service_rate_limit_decisions_total{decision="denied",rule="login-account",store="memory"}`: 1,
		`auth_service_rate_limit_decisions_total{decision="allowed",rule="ip-login",store="memory"}`:     float64(logins + 4), // and what was refused
		`auth_service_password_hashes_total{outcome="done"}`:                                             float64(logins + 6), // three refused, two sign-ups and the first admin
		`auth_service_revocation_tail_fresh`:                                                             1,
		`auth_service_jobs_waiting`:                                                                      0,
	}
}

func TestEverythingThatHappensIsCounted(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := build(t, settings(t, urlOf(t, d), "SESSION_SECURITY__REFRESH_REUSE_GRACE_SECONDS=0"), Options{})
		working(t, s)
		want := live(t, s)
		got := counters(t, s)
		for series, value := range want {
			if got[series] != value {
				t.Errorf("%s: %v, want %v", series, got[series], value)
			}
		}
		for series := range got {
			if strings.Contains(series, "@") || strings.Contains(series, "nothing") {
				t.Errorf("a label from input: %s", series)
			}
		}
	})
}

func TestATokenThatComesTwiceAtOnceIsCountedAsEcho(t *testing.T) {
	s := build(t, settings(t, urlOf(t, onePlace(t)), "RATE_LIMIT__TOKEN_REQUESTS_PER_MINUTE=3"), Options{})
	c := visitor{t, s.Handler(), "127.0.0.1"}
	tokens := c.want(200, "POST /auth/login", fmt.Sprintf(`{"email":%q,"password":%q}`, s.FirstAdmin.Email, s.FirstAdmin.Password))
	body := fmt.Sprintf(`{"refresh_token":%q}`, field(t, tokens, "refresh_token"))
	first := field(t, c.want(200, "POST /auth/token", body), "refresh_token")
	if again := field(t, c.want(200, "POST /auth/token", body), "refresh_token"); again != first {
		t.Error("the second tab gets another successor")
	}
	for i := range 3 { // a session has a budget, wherever its tokens come from
		other := visitor{t, s.Handler(), fmt.Sprintf("198.51.100.%d", i)}
		if w := other.send("POST /auth/token", body); w.Code != []int{200, 429, 429}[i] || w.Code == 429 && w.Header().Get("Retry-After") == "" {
			t.Errorf("refresh %d: %d %v", i+3, w.Code, w.Header())
		}
	}
	got := counters(t, s)
	for series, want := range map[string]float64{
		`auth_service_refreshes_total{decision="rotate"}`: 1, `auth_service_refreshes_total{decision="echo"}`: 2, `auth_service_refreshes_total{decision="limited"}`: 2,
		`auth_service_rate_limit_decisions_total{decision="denied",rule="refresh-session",store="memory"}`: 2,
	} {
		if got[series] != want {
			t.Errorf("%s: %v, want %v", series, got[series], want)
		}
	}
}

func TestAMailThatIsRefusedIsCounted(t *testing.T) {
	s := build(t, settings(t, urlOf(t, onePlace(t)), "EMAIL__SMTP_HOST=127.0.0.1", "EMAIL__SMTP_PORT=1"), Options{})
	working(t, s)
	visitor{t, s.Handler(), "127.0.0.1"}.want(201, "POST /auth/signup", fmt.Sprintf(`{"email":"ann@example.com","password":%q}`, goodPassword))
	eventually(t, "a failure", func() bool {
		got := counters(t, s)
		return got[`auth_service_mails_total{outcome="failed"}`] == 1 && got[`auth_service_jobs_total{kind="mail_verify_email",outcome="failed"}`] == 1 &&
			got[`auth_service_jobs_waiting`] == 1
	})
}

func TestADatabaseThatIsGoneDoesNotHideTheMetrics(t *testing.T) {
	s := build(t, settings(t, urlOf(t, onePlace(t))), Options{})
	s.DB.Close()
	if n := counters(t, s)["auth_service_jobs_waiting"]; n != -1 {
		t.Errorf("jobs waiting: %v, want -1", n)
	}
}

// What a dashboard or a guide names must be there.
func TestWhatIsShownToOperatorsExists(t *testing.T) {
	s := build(t, settings(t, urlOf(t, onePlace(t)), "SESSION_SECURITY__REFRESH_REUSE_GRACE_SECONDS=0"), Options{})
	working(t, s)
	live(t, s)
	labels := map[string][]string{} // of each name
	for series := range counters(t, s) {
		name, list, _ := strings.Cut(series, "{")
		labels[name] = nil
		for _, found := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(list, -1) {
			labels[name] = append(labels[name], found[1])
		}
	}
	metric := regexp.MustCompile(`\b(auth_service|go|process)_[a-z_]+\b`)
	label := regexp.MustCompile(`(\w+)(?:=|!=|=~|!~)\\?"|by \(([^)]*)\)`)
	scraped := []string{"instance", "job", "le"} // Prometheus adds them
	for file, least := range map[string]int{"deploy/grafana/authd.json": 15, "docs/guides/operations.md": 5} {
		text, err := os.ReadFile(filepath.Join("..", "..", file))
		if err != nil {
			t.Fatal(err)
		}
		named := 0
		for line := range strings.SplitSeq(string(text), "\n") {
			names := metric.FindAllString(line, -1)
			named += len(names)
			known := slices.Clone(scraped)
			for _, name := range names {
				if _, there := labels[name]; !there && labels[name+"_count"] == nil {
					t.Errorf("%s: there is no %s", file, name)
				}
				known = append(known, append(labels[name], labels[name+"_count"]...)...)
			}
			if len(names) == 0 {
				continue
			}
			for _, found := range label.FindAllStringSubmatch(line, -1) {
				for name := range strings.FieldsFuncSeq(found[1]+" "+found[2], func(r rune) bool { return r == ',' || r == ' ' }) {
					if name != "expr" && name != "query" && !slices.Contains(known, name) {
						t.Errorf("%s: %s has no label %s", file, names, name)
					}
				}
			}
		}
		if named < least {
			t.Errorf("%s names %d metrics: does the test read it right?", file, named)
		}
	}
}
