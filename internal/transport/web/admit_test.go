package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/metric"
	"github.com/authsdk/authsdk/internal/platform/limit"
)

// counting is a limiter in this process whose time stands still.
func counting(t *testing.T) *limit.Limiter {
	t.Helper()
	return limiterAt(t, clock.Set(time.Now()))
}

func limiterAt(t *testing.T, c *clock.Clock) *limit.Limiter {
	t.Helper()
	l, err := limit.Open(context.Background(), "", quietLog, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// gated is a mux behind the whole edge, with small limits.
type gated struct {
	http.Handler
	clock   *clock.Clock
	metrics *metric.Metrics
	log     bytes.Buffer
}

func newGated(t *testing.T, limits Limits) *gated {
	t.Helper()
	g := &gated{clock: clock.Set(time.Now()), metrics: metric.New()}
	log := slog.New(slog.NewJSONHandler(&g.log, nil))
	mux := NewMux(log)
	limiter := limiterAt(t, g.clock)
	limiter.Metrics = g.metrics
	mux.Gate = &Gate{Limiter: limiter, Limits: limits}
	for pattern, class := range map[string]Class{
		"GET /things": Default, "GET /things/{id}": Default, "POST /things/{id}": Default, "GET /others/{id}/parts/{part}": Default,
		"POST /login": Login, "POST /token": Token, "GET /validate": Machine, "GET /health": Free,
	} {
		mux.HandleAs(Policy{Class: class}, pattern, handler(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	}
	for i := range 40 {
		mux.Handle(fmt.Sprintf("GET /wide/%d", i), handler(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	}
	g.Handler = Wrap(mux, Edge{Log: log, Metrics: g.metrics, Proxies: ParseProxies([]string{"10.0.0.0/8"})}.Chain())
	return g
}

// send asks as a client; the pattern's method comes first.
func (g *gated) send(client, what string) *httptest.ResponseRecorder {
	method, path, _ := strings.Cut(what, " ")
	r := httptest.NewRequest(method, path, nil)
	r.RemoteAddr = net.JoinHostPort(client, "1000")
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w
}

// admitted sends n requests and says how many came through.
func (g *gated) admitted(client, what string, n int) (yes int) {
	for range n {
		if g.send(client, what).Code != http.StatusTooManyRequests {
			yes++
		}
	}
	return yes
}

const jo, ann = "203.0.113.7", "198.51.100.1"

func TestBudgets(t *testing.T) {
	limits := Limits{Default: 6, Login: 2, Token: 3}
	for _, row := range []struct {
		name string
		what string
		want int // of 4000
	}{
		{"a route of no class", "GET /things", 6},
		{"signing in", "POST /login", 2},
		{"refreshing, for an office behind one address", "POST /token", 3 * tokenTimes},
		{"what other services ask", "GET /validate", 6 * machineTimes},
		{"probes are not counted", "GET /health", 4000},
		{"nor is HEAD of a probe", "HEAD /health", 4000},
		{"paths that do not exist", "GET /nothing", 6},
		{"methods that do not exist", "DELETE /things", 6},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := newGated(t, limits)
			if got := g.admitted(jo, row.what, 4000); got != row.want {
				t.Errorf("%d of 4000, want %d", got, row.want)
			}
		})
	}
}

func TestWhatSharesABudget(t *testing.T) {
	for _, row := range []struct {
		name          string
		spender, what string
		asker, that   string
		shared        bool
	}{
		{"another id in the path", jo, "GET /things/1", jo, "GET /things/2", true},
		{"an id in another spelling", jo, "GET /things/1", jo, "GET /things/%31", true},
		{"ids in two places", jo, "GET /others/1/parts/2", jo, "GET /others/3/parts/4", true},
		{"a query", jo, "GET /things?a=1", jo, "GET /things?a=2", true},
		{"HEAD and GET", jo, "GET /things", jo, "HEAD /things", true},
		{"unknown paths", jo, "GET /nothing/1", jo, "GET /else/2", true},
		{"unknown methods and unknown paths", jo, "PUT /things", jo, "GET /nothing", true},
		{"a slash too many and unknown paths", jo, "GET /things/1/", jo, "GET /nothing", true},
		{"another method of the path", jo, "GET /things/1", jo, "POST /things/1", false},
		{"another route", jo, "GET /things", jo, "GET /things/1", false},
		{"another address", jo, "GET /things", ann, "GET /things", false},
		{"a neighbour", jo, "GET /things", "203.0.113.8", "GET /things", false},
		{"another IPv6 address of the same subscriber", "2001:db8:1:2::3", "GET /things", "2001:db8:1:2:ffff::4", "GET /things", true},
		{"the next IPv6 subscriber", "2001:db8:1:2::3", "GET /things", "2001:db8:1:3::3", "GET /things", false},
		{"an IPv4 address on an IPv6 socket", jo, "GET /things", "::ffff:" + jo, "GET /things", true},
		{"two who come from nowhere", "@", "GET /things", "#", "GET /things", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := newGated(t, Limits{Default: 4, Login: 4, Token: 4})
			if got := g.admitted(row.spender, row.what, 10); got != 4 {
				t.Fatalf("%d of 10 admitted", got)
			}
			if got := g.admitted(row.asker, row.that, 1) == 0; got != row.shared {
				t.Errorf("shared: %t, want %t", got, row.shared)
			}
		})
	}
}

func TestACeilingOverAllRoutes(t *testing.T) {
	const most = ceilingTimes * 3
	limits := Limits{Default: 3, Login: 3, Token: 3}
	over := func(g *gated, client string) (admitted int) {
		for i := range 40 {
			admitted += g.admitted(client, fmt.Sprintf("GET /wide/%d", i), 3)
		}
		return admitted
	}
	t.Run("many routes, each within its budget, meet it", func(t *testing.T) {
		g := newGated(t, limits)
		if got := over(g, jo); got != most {
			t.Errorf("%d admitted, want %d", got, most)
		}
		for what, want := range map[string]int{"POST /login": 0, "GET /nothing": 0, "GET /health": 1, "GET /validate": 1} {
			if got := g.admitted(jo, what, 1); got != want {
				t.Errorf("%s at the ceiling: %d", what, got)
			}
		}
		if got := g.admitted(ann, "GET /things", 3); got != 3 {
			t.Errorf("another address meets it too: %d", got)
		}
	})
	t.Run("what services ask does not fill it", func(t *testing.T) {
		g := newGated(t, limits)
		g.admitted(jo, "GET /validate", 1000)
		g.admitted(jo, "GET /health", 1000)
		if got := over(g, jo); got != most {
			t.Errorf("%d admitted, want %d", got, most)
		}
	})
	t.Run("what a route refuses fills it: hammering one costs the others", func(t *testing.T) {
		g := newGated(t, limits)
		g.admitted(jo, "POST /login", most+5)
		if got := over(g, jo); got != 0 {
			t.Errorf("%d admitted", got)
		}
	})
	t.Run("what it refuses is not counted by the route", func(t *testing.T) {
		g := newGated(t, limits)
		over(g, jo)
		g.admitted(jo, "POST /login", 100)
		g.clock.Advance(time.Minute)
		if got := g.admitted(jo, "POST /login", 100); got != 3 {
			t.Errorf("%d admitted a minute later, want the whole budget", got)
		}
	})
}

func TestABudgetComesBack(t *testing.T) {
	g := newGated(t, Limits{Default: 6, Login: 2, Token: 3})
	g.admitted(jo, "POST /login", 10)
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{29 * time.Second, 0}, {time.Second, 1}, {30 * time.Second, 1}, {10 * time.Minute, 2}} {
		g.clock.Advance(step.after)
		if got := g.admitted(jo, "POST /login", 5); got != step.want {
			t.Errorf("after another %v: %d, want %d", step.after, got, step.want)
		}
	}
}

func TestTheClientIsToldItsBudget(t *testing.T) {
	g := newGated(t, Limits{Default: 6, Login: 3, Token: 3})
	for i, want := range []struct {
		status                              int
		limit, remaining, reset, retryAfter string
	}{
		{204, "3", "2", "20", ""}, {204, "3", "1", "40", ""}, {204, "3", "0", "60", ""}, {429, "3", "0", "60", "20"}, {429, "3", "0", "60", "20"},
	} {
		w := g.send(jo, "POST /login")
		h := w.Header()
		got := []string{strconv.Itoa(w.Code), h.Get("RateLimit-Limit"), h.Get("RateLimit-Remaining"), h.Get("RateLimit-Reset"), h.Get("Retry-After")}
		if fmt.Sprint(got) != fmt.Sprint([]string{strconv.Itoa(want.status), want.limit, want.remaining, want.reset, want.retryAfter}) {
			t.Errorf("request %d: %q, want %+v", i+1, got, want)
		}
	}
	t.Run("at the ceiling it is told of that", func(t *testing.T) {
		g := newGated(t, Limits{Default: 1, Login: 1, Token: 1})
		for i := range 10 {
			g.send(jo, fmt.Sprintf("GET /wide/%d", i))
		}
		h := g.send(jo, "GET /wide/39").Header()
		if h.Get("RateLimit-Limit") != "10" || h.Get("RateLimit-Remaining") != "0" || h.Get("Retry-After") != "6" {
			t.Error(h)
		}
	})
	t.Run("a service is told only when there is none", func(t *testing.T) {
		g := newGated(t, Limits{Default: 1, Login: 1, Token: 1})
		for range machineTimes {
			if h := g.send(jo, "GET /validate").Header(); h.Get("RateLimit-Limit") != "" {
				t.Fatal(h)
			}
		}
		if h := g.send(jo, "GET /validate").Header(); h.Get("RateLimit-Remaining") != "0" || h.Get("Retry-After") == "" {
			t.Error(h)
		}
	})
	t.Run("of what is not counted nothing is told", func(t *testing.T) {
		if h := g.send(jo, "GET /health").Header(); h.Get("RateLimit-Limit") != "" {
			t.Error(h)
		}
	})
}

func TestARefusalByABudgetOfSomethingElseSaysThatNothingRemains(t *testing.T) {
	mux := NewMux(quietLog)
	mux.Gate = &Gate{Limiter: counting(t), Limits: Limits{Default: 5, Login: 5, Token: 5}}
	mux.Handle("GET /", Handle(quietLog, func(http.ResponseWriter, *http.Request) error {
		return fault.Retry(fault.RateLimited, 90*time.Second) // of an account
	}))
	h := ask(Wrap(mux, Edge{Log: quietLog}.Chain()), "GET", "/").Header()
	if h.Get("RateLimit-Remaining") != "0" || h.Get("Retry-After") != "90" {
		t.Errorf("%v", h)
	}
}

func TestARefusalIsAnAnswerLikeOthers(t *testing.T) {
	g := newGated(t, Limits{Default: 6, Login: 1, Token: 1})
	g.admitted(jo, "POST /login", 1)
	g.log.Reset()
	w := g.send(jo, "POST /login")
	var body Envelope
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatal(err)
	}
	if w.Code != 429 || body.Code != "rate_limited" || body.Detail != "Rate limit exceeded." || body.RequestID != w.Header().Get(correlationHeader) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w.Header().Get("Content-Type") != "application/json" {
		t.Error(w.Header())
	}
	var line map[string]any
	if err := json.Unmarshal(g.log.Bytes(), &line); err != nil {
		t.Fatalf("%v: %s", err, &g.log)
	}
	if line["route"] != "POST /login" || line["status_code"] != 429.0 || line["level"] != "WARN" || line["client_ip"] != jo {
		t.Errorf("logged: %v", line)
	}
	counted := text(g.metrics)
	for _, want := range []string{
		`auth_service_http_requests_total{method="POST",path="/login",status="429"} 1`,
		`auth_service_rate_limit_decisions_total{decision="denied",rule="ip-login",store="memory"} 1`,
		`auth_service_rate_limit_decisions_total{decision="allowed",rule="ip-all",store="memory"} 2`,
	} {
		if !strings.Contains(counted, want) {
			t.Errorf("not counted: %s", want)
		}
	}
}

// text is the counters as Prometheus reads them.
func text(m *metric.Metrics) string {
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func TestAClientBehindAProxyHasABudgetOfItsOwn(t *testing.T) {
	g := newGated(t, Limits{Default: 6, Login: 1, Token: 1})
	behind := func(peer, forwarded string) int {
		r := httptest.NewRequest("POST", "/login", nil)
		r.RemoteAddr = peer
		r.Header.Set("X-Forwarded-For", forwarded)
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		return w.Code
	}
	for _, row := range []struct {
		name, peer, forwarded string
		want                  int
	}{
		{"the first behind the proxy", "10.0.0.1:1", jo, 204},
		{"it has used its budget up", "10.0.0.1:1", jo, 429},
		{"the second has one of its own", "10.0.0.1:1", ann, 204},
		{"the first through another proxy", "10.0.0.2:1", jo, 429},
		{"the first, who invents others before itself", "10.0.0.1:1", "192.0.2.99, " + jo, 429},
		{"the first, directly", jo + ":9", "192.0.2.98", 429},
		{"a stranger who invents a new address", "192.0.2.1:1", "192.0.2.97", 204},
		{"each time", "192.0.2.1:2", "192.0.2.96", 429},
	} {
		if got := behind(row.peer, row.forwarded); got != row.want {
			t.Errorf("%s: %d, want %d", row.name, got, row.want)
		}
	}
}

func TestLabelsDoNotComeFromInput(t *testing.T) {
	g := newGated(t, Limits{Default: 1e6, Login: 1e6, Token: 1e6})
	for i := range 100 {
		g.send(jo, fmt.Sprintf("GET /nothing/%d?secret=%d", i, i))
		g.send(jo, fmt.Sprintf("GET /things/%d", i))
		g.send(jo, fmt.Sprintf("FROB%d /things", i))
	}
	var series []string
	for line := range strings.SplitSeq(text(g.metrics), "\n") {
		if strings.HasPrefix(line, "auth_service_http_requests_total{") {
			series = append(series, line)
		}
	}
	want := []string{
		`auth_service_http_requests_total{method="GET",path="/things/{id}",status="204"} 100`,
		`auth_service_http_requests_total{method="GET",path="unmatched",status="404"} 100`,
		`auth_service_http_requests_total{method="other",path="unmatched",status="405"} 100`,
	}
	if fmt.Sprint(series) != fmt.Sprint(want) {
		t.Errorf("%s", strings.Join(series, "\n"))
	}
	if strings.Contains(g.log.String(), "FROB") {
		t.Error("the log repeats a method that a client invented")
	}
}
