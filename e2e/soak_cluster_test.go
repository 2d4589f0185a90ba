package e2e

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authsdk/authsdk/e2e/authapi"
	"github.com/authsdk/authsdk/e2e/program"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest/engines"
)

// cluster is what the faults of soak_faults_test.go strike: two replicas on a
// PostgreSQL and a Redis of their own, or one authd on SQLite, which then is
// both A and B. Half of the actors act at A, half at B, each half through a
// network; B's way to PostgreSQL is a network, too.
type cluster struct {
	t               *testing.T
	postgres, redis *engines.Server // nil on SQLite
	a, b            *server
	database        *lossy   // between B and PostgreSQL
	clients         []*lossy // between the actors and A, B
	orders          *authapi.Client
	actors          []*actor
	probes          []*probe
	clock           string // the file that says how far a clock is off: B's, or PostgreSQL's
}

// newCluster starts everything, on SQLite if there is no PostgreSQL. A binary
// other than the usual one is B's.
func newCluster(t *testing.T, postgres *engines.Server, binary string) *cluster {
	t.Helper()
	c := &cluster{t: t, postgres: postgres}
	if postgres != nil {
		c.redis = ownRedis(t)
		at, err := url.Parse(c.postgres.URL)
		noError(t, err)
		var there string
		c.database, there = network(t, at.Host)
		s := &store{engine: "pgx", dir: t.TempDir(), dsn: c.postgres.URL, env: []string{"DATABASE__URL=" + c.postgres.URL, "REDIS__URL=" + c.redis.URL}}
		c.a = s.serve(t)
		at.Host = there
		elsewhere := *s
		elsewhere.binary = binary
		elsewhere.env = append(slices.Clone(s.env), "DATABASE__URL="+at.String(), "EMAIL__PUBLIC_BASE_URL="+c.a.Base)
		c.b = elsewhere.withClock(c).serve(t)
	} else {
		s := sqliteStore(t)
		s.binary = binary
		c.a = s.withClock(c).serve(t)
		c.b = c.a
	}
	c.a.mayFail, c.b.mayFail = true, true // jobs fail, loudly, while what they need is gone
	c.orders = c.ordersAPI()
	for _, v := range []*server{c.a, c.b} {
		l, api := v.through(t)
		c.clients = append(c.clients, l)
		for range actors / 2 {
			c.actors = append(c.actors, &actor{api: api, look: authapi.New(v.Base, patience), email: v.account()})
		}
	}
	for range 3 {
		c.probes = append(c.probes, &probe{c: c, api: c.actors[0].api, b: authapi.New(c.b.Base, patience), email: c.a.account()})
	}
	return c
}

// withClock lets the clock of a binary made by clockBinary be set.
func (s *store) withClock(c *cluster) *store {
	if s.binary != "" {
		c.clock = s.dir + "/clock"
		s.env = append(s.env, clockVariable+"="+c.clock)
	}
	return s
}

// ordersAPI starts the example service, which asks B about every token.
func (c *cluster) ordersAPI() *authapi.Client {
	address, err := program.FreeAddress()
	noError(c.t, err)
	path := filepath.Join(c.t.TempDir(), "orders-api")
	noError(c.t, program.Build(c.t.Context(), "github.com/authsdk/authsdk/examples/orders-api", path))
	p, err := program.Start(program.Spec{Path: path, Args: []string{"-addr", address, "-auth", c.b.Base}, Dir: c.t.TempDir(), Env: program.Minimal()})
	noError(c.t, err)
	c.t.Cleanup(p.Kill)
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	noError(c.t, p.Await(ctx, "http://"+address+"/healthz"))
	return authapi.New("http://"+address, patience)
}

// healthy waits until every replica is ready, and tells how long it took.
func (c *cluster) healthy() time.Duration {
	return await(c.t, patience, "every replica is ready again, without a restart", func() bool {
		return c.a.ready().Status == 200 && c.b.ready().Status == 200
	})
}

// probe logs out at A and watches what B and orders-api say.
type probe struct {
	c     *cluster
	api   *authapi.Client // of A, through the network of the clients
	b     *authapi.Client
	begin *authapi.Client // where its sessions begin: one of the two
	email string

	revoked  []string        // access tokens whose logout was acknowledged
	accepted []time.Duration // after the logout, the last time that B did
	refused  []time.Duration // and the first time that it did not, by 401 or 503
	orders   []time.Duration // the last time that orders-api did
	problems []string
}

// run probes until stop. Whatever is refused with 503 or gets no answer is tried
// again: only what was acknowledged counts.
func (p *probe) run(ctx context.Context, stop <-chan struct{}) {
	pause := time.NewTicker(10 * time.Millisecond)
	defer pause.Stop()
	for {
		select {
		case <-stop:
			return
		case <-pause.C:
		}
		tokens, err := p.begin.Login(ctx, p.email, password, "orders-api")
		if err != nil {
			continue
		}
		p.accepts(ctx, tokens.Access) // so that B has it in its cache, if it can
		if _, err := p.api.Logout(ctx, tokens.Refresh); err != nil {
			continue
		}
		p.watch(ctx, stop, tokens.Access, time.Now())
		p.revoked = append(p.revoked, tokens.Access)
		for range 3 { // what was revoked earlier stays so
			if old := p.revoked[rand.IntN(len(p.revoked))]; p.accepts(ctx, old) {
				p.problems = append(p.problems, "B accepts a revoked token again")
			}
		}
	}
}

// watch asks until both refuse, and at least until a refusal by 401.
func (p *probe) watch(ctx context.Context, stop <-chan struct{}, access string, begin time.Time) {
	var accepted, refused, orders time.Duration
	for {
		answer, err := p.b.Do(ctx, "GET", "/auth/validate", nil, "Authorization", "Bearer "+access)
		since := time.Since(begin)
		if err == nil && answer.Status < 300 {
			accepted = since
		} else if err == nil && refused == 0 {
			refused = since
		}
		ordered, orderErr := p.c.orders.Do(ctx, "GET", "/orders", nil, "Authorization", "Bearer "+access)
		if orderErr == nil && ordered.Status < 300 {
			orders = time.Since(begin)
		}
		if (err == nil && answer.Status == 401) || stopped(stop) && accepted < since {
			break
		}
	}
	p.accepted, p.orders = append(p.accepted, accepted), append(p.orders, orders)
	if refused > 0 {
		p.refused = append(p.refused, refused)
	}
}

func stopped(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}

// accepts asks B, but does not wait out a black hole.
func (p *probe) accepts(ctx context.Context, access string) bool {
	bounded, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	_, err := p.b.Validate(bounded, access)
	return err == nil
}

// recheck holds every replica to every revocation once the fault is over.
func (p *probe) recheck(ctx context.Context) {
	for _, access := range p.revoked {
		for _, v := range []*server{p.c.a, p.c.b} {
			if _, err := v.Validate(ctx, access); err == nil {
				p.problems = append(p.problems, "a revoked token is accepted again after the fault")
			}
		}
	}
}

// round lets everybody act, strikes, heals, and checks.
func (c *cluster) round(f *soakFault, random *rand.Rand) (healed time.Duration) {
	t := c.t
	stop := make(chan struct{})
	var acting sync.WaitGroup
	for _, a := range c.actors {
		a.tolerates = f.tolerates
		own := rand.New(rand.NewPCG(random.Uint64(), 0))
		acting.Go(func() { a.act(context.Background(), stop, own) })
	}
	for _, p := range c.probes {
		if p.begin = p.api; f.loginAtB {
			p.begin = p.b
		}
		acting.Go(func() { p.run(context.Background(), stop) })
	}
	<-time.After(time.Duration(20+random.IntN(200)) * time.Millisecond) // the random moment
	mend := f.strike(c, random)
	begin := time.Now()
	mend()
	c.healthy()
	healed = time.Since(begin)
	<-time.After(100 * time.Millisecond) // of going on
	close(stop)
	acting.Wait()
	var checking sync.WaitGroup
	for _, a := range c.actors {
		a.tolerates = nil
		checking.Go(func() { a.checkSessions(t.Context()); a.checkMail(t.Context()) })
	}
	for _, p := range c.probes {
		checking.Go(func() { p.recheck(t.Context()) })
	}
	checking.Wait()
	return healed
}

// pidOf asks Redis for its process.
func pidOf(t *testing.T, redis *engines.Server) int {
	t.Helper()
	at, err := url.Parse(redis.URL)
	noError(t, err)
	conn, err := net.DialTimeout("tcp", at.Host, 5*time.Second)
	noError(t, err)
	defer conn.Close()
	fmt.Fprint(conn, "INFO server\r\n")
	for in := bufio.NewScanner(conn); in.Scan(); {
		if id, found := strings.CutPrefix(in.Text(), "process_id:"); found {
			pid, err := strconv.Atoi(strings.TrimSpace(id))
			noError(t, err)
			return pid
		}
	}
	t.Fatal("Redis does not tell its process")
	return 0
}

// peak is the most memory that a replica has used, in MB.
func (v *server) peak() int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", v.program.Pid()))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kb, _ := strconv.Atoi(cmp.Or(strings.Fields(rest + " 0")[0], "0"))
	return kb / 1024
}
