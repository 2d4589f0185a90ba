package e2e

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// noted is what a receiver of the soak knows of a webhook-id.
type noted struct {
	body    string
	session string
	times   int
	now     int // requests that are there
}

// notary is a receiver that takes its time and notes everything.
type notary struct {
	*httptest.Server
	t  *testing.T
	mu sync.Mutex
	of map[string]*noted // by webhook-id
}

func newNotary(t *testing.T) *notary {
	k := &notary{t: t, of: map[string]*noted{}}
	k.Server = httptest.NewServer(http.HandlerFunc(k.take))
	t.Cleanup(func() {
		k.CloseClientConnections()
		k.Close()
	})
	return k
}

func (k *notary) take(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil { // its sender was killed
		return
	}
	id := r.Header.Get("webhook-id")
	session, _ := delivered{r.Header, body}.data(k.t)["session_id"].(string)
	k.mu.Lock()
	n := k.of[id]
	if n == nil {
		n = &noted{body: string(body), session: session}
		k.of[id] = n
	}
	n.times++
	if n.now++; n.now > 1 {
		k.t.Errorf("%s: two requests at the same time", id)
	}
	if n.body != string(body) {
		k.t.Errorf("%s: bodies %s and %s", id, n.body, body)
	}
	k.mu.Unlock()
	select { // 20 to 200 ms of work, or until the sender is gone
	case <-time.After(time.Duration(20+rand.IntN(180)) * time.Millisecond):
	case <-r.Context().Done():
	}
	k.mu.Lock()
	n.now--
	k.mu.Unlock()
}

// sum is how many ids and requests there were in all, and how many requests are
// there now.
func (k *notary) sum() (ids, requests, now int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range k.of {
		requests += n.times
		now += n.now
	}
	return len(k.of), requests, now
}

// times is how many ids told of a session.
func (k *notary) times(session string) (ids int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range k.of {
		if n.session == session {
			ids++
		}
	}
	return ids
}

// Workers are killed while they send. Every event arrives at least once, what
// comes twice has the same id and body, and no two requests of one delivery are
// there at once: a killed worker's requests end with it.
func TestNoWebhookIsLostWhenWorkersAreKilled(t *testing.T) {
	t.Parallel()
	const timeout = "WEBHOOK__REQUEST_TIMEOUT_SECONDS=2"
	t.Run("on SQLite", func(t *testing.T) {
		t.Parallel()
		a := sqliteStore(t).serve(t, private, timeout)
		k, expect := a.notaries()
		told := a.sessions(t, expect) // first: the one that is killed is the API, too
		k.survives(a, told, expect, a)
	})
	t.Run("on PostgreSQL", func(t *testing.T) {
		t.Parallel()
		s := postgresStore(t)
		a := s.serve(t, private, `APP__ROLES=["api"]`)
		first, second := s.serve(t, private, timeout, `APP__ROLES=["worker"]`), s.serve(t, private, timeout, `APP__ROLES=["worker"]`)
		k, expect := a.notaries()
		k.survives(a, a.sessions(t, expect), expect, first, second)
	})
}

// hooksEach is how many webhooks each event goes to.
const hooksEach = 2

// notaries registers a receiver as webhooks, and tells how many events to make.
func (v *server) notaries() (k *notary, events int) {
	k = newNotary(v.t)
	o := v.admin()
	for range hooksEach {
		v.hook(o, k.URL, "session.created")
	}
	if soak {
		return k, 10_000
	}
	return k, 100
}

// sessions makes events, beside what follows unless the server is on SQLite:
// sign-ins, told by their session.
func (v *server) sessions(t *testing.T, n int) <-chan string {
	told := make(chan string, n)
	email := v.account()
	make := func() {
		defer close(told)
		for range n {
			tokens, err := v.Login(context.Background(), email, password, "")
			if err != nil {
				t.Error(err)
				return
			}
			_, payload := claims(t, tokens.Access)
			told <- payload["sid"].(string)
		}
	}
	if v.engine == "sqlite" {
		make()
	} else {
		go make()
	}
	return told
}

// survives kills one worker after the other while deliveries come in, until every
// event was told of.
func (k *notary) survives(a *server, told <-chan string, events int, workers ...*server) {
	t := k.t
	between, most := 700*time.Millisecond, 6
	if soak {
		between, most = 3*time.Second, 1_000
	}
	d := a.sql(t)
	count := func(query string) (n int) {
		if err := d.QueryRow(query).Scan(&n); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		return n
	}
	unclaimed := func() int {
		return count(`SELECT COUNT(*) FROM webhook_deliveries WHERE status = 'pending' AND lease IS NULL`) + count(`SELECT COUNT(*) FROM audit_outbox`)
	}
	kills := 0
	for kills < most && (kills == 0 || len(told) < events || unclaimed() > 0) {
		time.Sleep(between) // the pace of the faults
		workers[kills%len(workers)].kill()
		workers[kills%len(workers)].restart()
		kills++
	}
	if !soak { // leases last a minute: those of the killed ones end now
		await(t, patience, "nothing is left but leases", func() bool {
			_, _, now := k.sum()
			return len(told) == events && unclaimed() == 0 && now == 0
		})
		a.change(t, `UPDATE webhook_deliveries SET due_at = '2020-01-01 00:00:00+00:00' WHERE lease IS NOT NULL AND status = 'pending'`)
	}
	limit := patience
	if soak {
		limit = 3 * time.Minute
	}
	await(t, limit, "every delivery is delivered", func() bool {
		return count(`SELECT COUNT(*) FROM webhook_deliveries WHERE due_at IS NOT NULL`) == 0
	})
	if n := count(`SELECT COUNT(*) FROM webhook_deliveries WHERE status = 'delivered'`); n != hooksEach*events {
		t.Errorf("%d are delivered", n)
	}
	ids, requests, _ := k.sum()
	for session := range told {
		if n := k.times(session); n != hooksEach {
			t.Errorf("session %s was told of by %d ids, not %d", session, n, hooksEach)
		}
	}
	if ids != hooksEach*events {
		t.Errorf("%d ids for %d events", ids, events)
	}
	t.Logf("%d events for %d webhooks, %d workers killed %d times: %d requests, %d of them duplicates, each with the id and body of the first", events, hooksEach, len(workers), kills, requests, requests-ids)
}
