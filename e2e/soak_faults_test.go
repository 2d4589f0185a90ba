package e2e

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// soakFault is one row: what breaks, and what clients may see of it.
type soakFault struct {
	name string
	// strike begins and returns what ends it; what lasts, lasts as long as hold.
	strike func(c *cluster, random *rand.Rand) (mend func())

	breaksConnections bool     // else every request has an answer
	refusesNobody     bool     // else 503 with Retry-After is one
	tolerates         []string // codes of refusals that the fault explains
	loginAtB          bool     // the probes' sessions begin there: A's tokens are too old for B, or too new
	onSQLite          bool     // there, too
	needs             string   // a program; without it the fault is left out
	long              bool     // for full runs only, and twice there
	clock             bool     // needs the binary whose clock can be set
}

var mended = func() {}

// hold is how long a fault lasts in one round.
func hold() {
	if soak {
		<-time.After(4 * time.Second)
	} else {
		<-time.After(700 * time.Millisecond)
	}
}

var soakFaults = []*soakFault{
	{name: "none", refusesNobody: true, onSQLite: true, strike: func(*cluster, *rand.Rand) func() { hold(); return mended }},
	{name: "kill -9 of A, then of B", breaksConnections: true, strike: func(c *cluster, _ *rand.Rand) func() {
		for _, v := range []*server{c.a, c.b} {
			v.crashAndRestart()
			<-time.After(200 * time.Millisecond)
		}
		return mended
	}},
	{name: "PostgreSQL restarts (fast)", strike: func(c *cluster, _ *rand.Rand) func() {
		noError(c.t, c.postgres.Stop())
		hold()
		return func() { noError(c.t, c.postgres.Start()) }
	}},
	{name: "PostgreSQL restarts (immediate: a crash)", strike: func(c *cluster, _ *rand.Rand) func() {
		noError(c.t, c.postgres.Kill())
		hold()
		return func() { noError(c.t, c.postgres.Start()) }
	}},
	{name: "Redis flaps: killed, started, stopped (SIGSTOP), every second", refusesNobody: true, strike: flap},
	{name: "a tenth of requests and of answers is cut off", breaksConnections: true, onSQLite: true, strike: func(c *cluster, _ *rand.Rand) func() {
		for _, l := range c.clients {
			l.share.Store(10)
		}
		hold()
		return func() {
			for _, l := range c.clients {
				l.share.Store(0)
			}
		}
	}},
	{name: "partition of B from PostgreSQL: black hole", strike: func(c *cluster, _ *rand.Rand) func() {
		c.database.hold()
		hold()
		return c.database.release
	}},
	{name: "the same for 20 s, longer than a request may take", long: true, strike: func(c *cluster, _ *rand.Rand) func() {
		c.database.hold()
		<-time.After(20 * time.Second)
		return c.database.release
	}},
	{name: "partition of B from PostgreSQL: connections reset", strike: func(c *cluster, _ *rand.Rand) func() {
		c.database.cut.Store(true)
		c.database.reset()
		hold()
		return func() { c.database.cut.Store(false) }
	}},
	{name: "slow disk: each fsync takes 0.3 s longer", onSQLite: true, needs: "strace", strike: slowDisk},
	{name: "clock of B +1 h", clock: true, onSQLite: true, loginAtB: true, strike: jump(time.Hour), tolerates: wrongTime},
	{name: "clock of B -1 h", clock: true, onSQLite: true, loginAtB: true, strike: jump(-time.Hour), tolerates: wrongTime},
	{name: "clock of B +40 days", clock: true, onSQLite: true, loginAtB: true, strike: jump(40 * 24 * time.Hour), tolerates: append([]string{"session_expired"}, wrongTime...)},
}

// wrongTime is what a replica says of tokens that its clock finds too old, or
// from the future.
var wrongTime = []string{"token_expired", "invalid_token", "otp_expired", "invalid_reset_token"}

func flap(c *cluster, _ *rand.Rand) func() {
	rounds := 1
	if soak {
		rounds = 4
	}
	for range rounds {
		noError(c.t, c.redis.Kill())
		<-time.After(300 * time.Millisecond)
		noError(c.t, c.redis.Start())
		<-time.After(200 * time.Millisecond)
		pid := pidOf(c.t, c.redis)
		syscall.Kill(pid, syscall.SIGSTOP)
		<-time.After(500 * time.Millisecond)
		syscall.Kill(pid, syscall.SIGCONT)
	}
	return mended
}

func TestNothingIsLostInAnyFault(t *testing.T) {
	t.Parallel()
	rows := slices.DeleteFunc(slices.Clone(soakFaults), func(f *soakFault) bool {
		if f.needs == "" {
			return f.clock || f.long && !soak
		}
		_, err := exec.LookPath(f.needs)
		if err != nil {
			t.Logf("left out, as there is no %s: %s", f.needs, f.name)
		}
		return f.clock || err != nil
	})
	t.Run("two replicas on PostgreSQL", func(t *testing.T) {
		t.Parallel()
		newCluster(t, ownPostgres(t), "").suffer(rows)
	})
	t.Run("on SQLite", func(t *testing.T) {
		t.Parallel()
		newCluster(t, nil, "").suffer(slices.DeleteFunc(slices.Clone(rows), func(f *soakFault) bool { return !f.onSQLite }))
	})
}

// suffer goes through the faults, one after the other, and writes the table.
func (c *cluster) suffer(faults []*soakFault) {
	t := c.t
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	var table strings.Builder
	for _, f := range faults {
		before := c.sum()
		for _, a := range c.actors {
			a.slowest = 0
		}
		rounds := 1
		if soak {
			rounds = 10
		}
		if f.long {
			rounds = 2
		}
		var healed time.Duration
		for range rounds {
			healed = max(healed, c.round(f, random))
		}
		line := c.line(f, rounds, before, healed)
		t.Log(strings.TrimSpace(line)) // with -v it is seen at once
		table.WriteString(line)
		if t.Failed() {
			break
		}
	}
	if soak {
		settle(t, c.actors)
	} else { // the kill rounds wait for their mails
		conclude(t, c.actors)
	}
	sum := c.sum()
	sum.verify(t)
	if soak && sum.confirmed != sum.signups {
		t.Errorf("%d of %d acknowledged sign-ups are there", sum.confirmed, sum.signups)
	}
	c.a.mailedOnce(t)
	t.Logf(`
| fault | rounds | acknowledged | 503 | no answer | refused for the time | slowest act | well again after | logouts at A | B still accepts | B refuses after | orders-api still accepts | memory of A, B |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
%s
in all: %s; %d sign-ups confirmed and %d other mails, each came once; %d problems`, table.String(), &sum, sum.confirmed, sum.mails, len(sum.problems))
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
}

func (c *cluster) sum() (sum tally) {
	for _, a := range c.actors {
		sum.add(a.tally)
	}
	return sum
}

// line is a row of the table. It fails the test for what the fault does not
// excuse, and forgets the probes' figures.
func (c *cluster) line(f *soakFault, rounds int, before tally, healed time.Duration) string {
	t := c.t
	now := c.sum()
	for _, p := range now.problems[len(before.problems):] {
		t.Errorf("%s: %s", f.name, p)
	}
	unanswered, unavailable := now.unanswered-before.unanswered, now.unavailable-before.unavailable
	if unanswered > 0 && !f.breaksConnections {
		t.Errorf("%s: %d requests had no answer within %v", f.name, unanswered, patience)
	}
	if unavailable > 0 && f.refusesNobody {
		t.Errorf("%s: %d answers were 503, and nothing is missing", f.name, unavailable)
	}
	var accepted, refused, orders []time.Duration
	for _, p := range c.probes {
		for _, problem := range p.problems {
			t.Errorf("%s: %s", f.name, problem)
		}
		accepted, refused, orders = append(accepted, p.accepted...), append(refused, p.refused...), append(orders, p.orders...)
		*p = probe{c: c, api: p.api, b: p.b, email: p.email}
	}
	memory := fmt.Sprintf("%d, %d MB", c.a.peak(), c.b.peak())
	if c.a == c.b {
		memory = fmt.Sprintf("%d MB", c.a.peak())
	}
	// The bound is the criterion of a full run. On a busy machine a short one
	// only asks that the refusal comes, and stays.
	if soak && max(longest(accepted), longest(orders)) > time.Second {
		t.Errorf("%s: a revoked token was accepted for over a second", f.name)
	}
	return fmt.Sprintf("| %s | %d | %d | %d | %d | %d | %.1f s | %.1f s | %d | %s | %s | %s | %s |\n", f.name, rounds,
		now.acknowledged()-before.acknowledged(), unavailable, unanswered, now.tolerated-before.tolerated, now.slowest.Seconds(), healed.Seconds(),
		len(accepted), spread(accepted), spread(refused), spread(orders), memory)
}

func longest(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	return slices.Max(d)
}

// spread is the median and the longest, in milliseconds.
func spread(d []time.Duration) string {
	if len(d) == 0 {
		return "none"
	}
	slices.Sort(d)
	return fmt.Sprintf("%.0f / %.0f ms", ms(d[len(d)/2]), ms(d[len(d)-1]))
}
