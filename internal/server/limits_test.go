package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest/engines"
)

// A pair of servers on one database and one Redis, as two processes are.
type pair struct {
	t       *testing.T
	servers [2]*Server
	fronts  [2]*httptest.Server
	http    *http.Client
	runs    int
}

const (
	clients = 200
	each    = 3 // requests of a client
)

func newPair(t *testing.T, redis string) *pair {
	t.Helper()
	p := &pair{t: t, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}, Timeout: time.Minute}}
	url := dbtest.PostgresURL(t)
	for i := range p.servers {
		p.servers[i] = build(t, settings(t, url, "REDIS__URL="+redis, `APP__TRUSTED_PROXY_CIDRS=["127.0.0.0/8","::1"]`,
			"RATE_LIMIT__DEFAULT_REQUESTS_PER_MINUTE=20", "RATE_LIMIT__LOGIN_REQUESTS_PER_MINUTE=10"), Options{})
		p.fronts[i] = httptest.NewServer(p.servers[i].Handler())
		t.Cleanup(p.fronts[i].Close)
	}
	return p
}

// inMemory is how many events the two have counted each for itself.
func (p *pair) inMemory() (n float64) {
	for _, s := range p.servers {
		for series, value := range counters(p.t, s) {
			if strings.HasPrefix(series, "auth_service_rate_limit_decisions_total{") && strings.Contains(series, `store="memory"`) {
				n += value
			}
		}
	}
	return n
}

// An ask is one request: how the nth of a client looks in run r.
type ask func(r, client, n int) (method, path, body, ip string)

// rush sends all requests of all clients at once, to either server in turn, and
// returns how many each admitted, and how long it took.
func (p *pair) rush(a ask) (admitted [2]int, took time.Duration) {
	p.t.Helper()
	p.runs++
	run := p.runs + int(time.Now().Unix()%5000)*16 // no counter of an earlier test run
	var mu sync.Mutex
	var all sync.WaitGroup
	start := make(chan struct{})
	for c := range clients {
		all.Go(func() {
			<-start
			for n := range each {
				method, path, body, ip := a(run, c, n)
				at := (c + n) % len(p.fronts)
				status, err := p.send(p.fronts[at].URL, method, path, body, ip)
				if err != nil || status >= 500 {
					p.t.Errorf("%s %s: %d, %v", method, path, status, err)
				}
				if status != http.StatusTooManyRequests {
					mu.Lock()
					admitted[at]++
					mu.Unlock()
				}
			}
		})
	}
	begin := time.Now()
	close(start)
	all.Wait()
	return admitted, time.Since(begin)
}

func (p *pair) send(base, method, path, body, ip string) (status int, err error) {
	r, err := http.NewRequestWithContext(context.Background(), method, base+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Forwarded-For", ip)
	res, err := p.http.Do(r)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}

// address is one that no other run uses; net chooses its /24.
func address(run, host int) string { return fmt.Sprintf("10.%d.%d.%d", run/256%256, run%256, host) }

// limits are what a rush may meet: what is asked, and how many a minute may.
var limits = []struct {
	name      string
	perMinute int
	ask       ask
}{
	{"an address at one route", 20, func(r, _, _ int) (string, string, string, string) {
		return "POST", "/auth/logout", `{"refresh_token":"rt_0123456789abcdef"}`, address(r, 1)
	}},
	{"an address over many routes", 200, func(r, c, n int) (string, string, string, string) {
		routes := []string{"GET /openapi.json", "GET /docs", "GET /docs/x", "GET /static/x", "GET /verify-email", "GET /auth/verify-email", "GET /nothing",
			"GET /dev/mailbox", "POST /auth/verify-email", "POST /auth/signup", "POST /auth/logout", "POST /auth/verify-email/resend/request"}
		method, path, _ := strings.Cut(routes[(c+n*7)%len(routes)], " ")
		return method, path, "{}", address(r, 2)
	}},
	{"an account from one network", 10, func(r, c, _ int) (string, string, string, string) {
		return "POST", "/auth/login", fmt.Sprintf(`{"email":"ann%d@example.com","password":"Wrong-Horse-7"}`, r), address(r, 1+c)
	}},
}

// within checks a number of admitted requests against the burst and what was
// earned meanwhile; a limit may be exceeded by one. Fewer come through where a
// route refuses what the ceiling has counted.
func within(t *testing.T, who string, admitted, perMinute int, took time.Duration) {
	t.Helper()
	earned := int(took * time.Duration(perMinute) / time.Minute)
	if admitted < perMinute/2 || admitted > perMinute+earned+1 {
		t.Errorf("%s: %d admitted in %v, the limit is %d a minute", who, admitted, took, perMinute)
	}
}

// shared does a rush in which every event is counted in Redis. On a machine with
// too much to do Redis may be slower than the limiter waits; then the rush
// proves nothing and is done again.
func (p *pair) shared(t *testing.T, perMinute int, a ask) {
	t.Helper()
	for range 10 {
		eventually(t, "both reach Redis", func() bool {
			return p.servers[0].Limiter.Ping(t.Context()) == nil && p.servers[1].Limiter.Ping(t.Context()) == nil
		})
		before := p.inMemory()
		admitted, took := p.rush(a)
		if p.inMemory() == before {
			within(t, "both", admitted[0]+admitted[1], perMinute, took)
			return
		}
	}
	t.Fatal("Redis was too slow ten times")
}

func TestTwoServersOnOneRedisHoldALimitTogether(t *testing.T) {
	dbtest.RedisURL(t) // skips if Redis is left out
	redis, err := engines.StartRedis()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { redis.Close() })
	p := newPair(t, redis.URL)
	for _, l := range limits {
		t.Run(l.name, func(t *testing.T) { p.shared(t, l.perMinute, l.ask) })
	}
	t.Run("without Redis each holds it for itself", func(t *testing.T) {
		if err := redis.Kill(); err != nil {
			t.Fatal(err)
		}
		for _, l := range limits {
			t.Run(l.name, func(t *testing.T) {
				admitted, took := p.rush(l.ask)
				for i, n := range admitted {
					within(t, fmt.Sprint("server ", i), n, l.perMinute, took)
				}
			})
		}
	})
	t.Run("and together again when it is back", func(t *testing.T) {
		if err := redis.Start(); err != nil {
			t.Fatal(err)
		}
		for _, l := range limits {
			t.Run(l.name, func(t *testing.T) { p.shared(t, l.perMinute, l.ask) })
		}
	})
}

// What a budget of an account refuses has one value of each header, whatever the
// edge has shown of the address's.
func TestARefusalHasEachHeaderOnce(t *testing.T) {
	s := build(t, settings(t, urlOf(t, dbtest.SQLite(t))), Options{})
	c := visitor{t, s.Handler(), "127.0.0.1"}
	c.want(200, "POST /auth/password/forgot", `{"email":"ann@example.com"}`)
	refused := c.want(429, "POST /auth/password/forgot", `{"email":"ann@example.com"}`)
	if got := refused.Header().Values("RateLimit-Remaining"); len(got) != 1 || got[0] != "0" {
		t.Errorf("RateLimit-Remaining %q", got)
	}
}
