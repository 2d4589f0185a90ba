package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// What an overloaded server must keep.
const (
	times      = 3         // the sustainable rate of logins
	mostSlower = 2.0       // the p99 of other endpoints
	mostMemory = 200 << 20 // bytes
)

// asides are the endpoints beside the logins, and how often each is asked.
var asides = []struct {
	endpoint string
	rate     float64
}{
	{"refresh", 20}, {"validate, seen token", 60}, {"GET users/me", 30},
}

// An overloading is what became of it on one engine.
type overloading struct {
	engine               string
	sustainable, offered float64 // logins a second
	took                 time.Duration
	admitted             []time.Duration
	shed, bare, other    int // 503 with Retry-After, without it; anything else
	firstOther           error
	peak                 int64
	asides               []aside
}

type aside struct {
	endpoint         string
	unloaded, beside []time.Duration
	failed           int
	firstFailed      error
}

func (o options) overload(ctx context.Context) error {
	v, err := startServices(o.authd, o.engines)
	if err != nil {
		return err
	}
	defer v.close()
	var broken []error
	for _, engine := range o.engines {
		found, err := overloadOn(ctx, v, engine, o.plan)
		if err != nil {
			return fmt.Errorf("%s: %w", engine, err)
		}
		fmt.Println(found.markdown())
		broken = append(broken, found.broken()...)
	}
	return errors.Join(broken...)
}

func overloadOn(ctx context.Context, v *services, engine string, p plan) (l overloading, err error) {
	l.engine = engine
	s, err := v.newSite(ctx, engine)
	if err != nil {
		return l, err
	}
	defer s.close()
	if err := s.start(ctx); err != nil {
		return l, err
	}
	// Everybody has logged in from here before.
	everybody := logins(s.emails)
	if _, _, err := closed(s.address, everybody, connections, time.Hour, len(s.emails)); err != nil {
		return l, err
	}
	length := time.Duration(p.rounds) * p.slice
	n, took, err := closed(s.address, everybody, connections, length, anyNumber)
	if err != nil {
		return l, err
	}
	l.sustainable = float64(n) / took.Seconds()
	l.offered = times * l.sustainable
	fmt.Fprintf(os.Stderr, "%s: %.1f logins a second are sustainable\n", engine, l.sustainable)

	unloaded, err := askAside(s, length) // and again below: the machine may change meanwhile
	if err != nil {
		return l, err
	}
	if err := s.forgetPeak(); err != nil {
		return l, err
	}
	var logging sync.WaitGroup
	flood := &stream{address: s.address, crowd: everybody, rate: l.offered}
	start := time.Now()
	logging.Go(func() { flood.run(2 * length) })
	beside, err := askAside(s, 2*length)
	logging.Wait()
	l.took = time.Since(start)
	if err != nil {
		return l, err
	}
	if _, l.peak, err = s.memory(); err != nil {
		return l, err
	}
	after, err := askAside(s, length)
	if err != nil {
		return l, err
	}
	if least := 0.9 * l.offered * (2 * length).Seconds(); float64(len(flood.outcomes)) < least {
		return l, fmt.Errorf("%d logins were asked for and not %.0f: too few accounts for so many in flight", len(flood.outcomes), least)
	}
	l.count(flood.outcomes)
	for i := range asides {
		l.asides = append(l.asides, compare(asides[i].endpoint, append(unloaded[i], after[i]...), beside[i]))
	}
	return l, nil
}

// askAside has the other endpoints asked at their rates.
func askAside(s *site, d time.Duration) ([][]outcome, error) {
	all := make([][]outcome, len(asides))
	var asking sync.WaitGroup
	for i, a := range asides {
		sc, err := scenarioOf(a.endpoint)
		if err != nil {
			return nil, err
		}
		r, err := sc.begin(s)
		if err != nil {
			return nil, err
		}
		asking.Go(func() {
			all[i] = (&stream{address: s.address, crowd: r.crowd, rate: a.rate}).run(d)
		})
	}
	asking.Wait()
	return all, nil
}

func scenarioOf(endpoint string) (scenario, error) {
	for _, list := range [][]scenario{scenarios, others} {
		for _, sc := range list {
			if sc.name == endpoint {
				return sc, nil
			}
		}
	}
	return scenario{}, fmt.Errorf("there is no scenario %q", endpoint)
}

func (l *overloading) count(outcomes []outcome) {
	for _, o := range outcomes {
		switch {
		case o.err == nil && o.status/100 == 2:
			l.admitted = append(l.admitted, o.latency)
		case o.err == nil && o.status == http.StatusServiceUnavailable && o.retryAfter:
			l.shed++
		case o.err == nil && o.status == http.StatusServiceUnavailable:
			l.bare++
		default:
			if l.other++; l.firstOther == nil {
				l.firstOther = o.err
			}
		}
	}
}

func compare(endpoint string, unloaded, beside []outcome) aside {
	a := aside{endpoint: endpoint}
	take := func(outcomes []outcome) (good []time.Duration) {
		for _, o := range outcomes {
			if o.err != nil || o.status/100 != 2 {
				if a.failed++; a.firstFailed == nil {
					a.firstFailed = o.err
				}
				continue
			}
			good = append(good, o.latency)
		}
		return good
	}
	a.unloaded, a.beside = take(unloaded), take(beside)
	return a
}

func (a aside) slower() float64 {
	return float64(percentile(a.beside, 99)) / float64(max(percentile(a.unloaded, 99), 1))
}

// broken tells what was not kept.
func (l overloading) broken() (list []error) {
	fail := func(format string, args ...any) {
		list = append(list, fmt.Errorf(l.engine+": "+format, args...))
	}
	if l.bare > 0 {
		fail("%d logins were answered 503 without Retry-After", l.bare)
	}
	if l.other > 0 {
		fail("%d logins were neither admitted nor shed, the first: %v", l.other, l.firstOther)
	}
	if l.shed == 0 {
		fail("nothing was shed")
	}
	for _, a := range l.asides {
		if a.failed > 0 {
			fail("%s failed %d times, first: %v", a.endpoint, a.failed, a.firstFailed)
		}
		if a.slower() > mostSlower {
			fail("%s: p99 is %.1f × the unloaded one", a.endpoint, a.slower())
		}
	}
	if l.peak > mostMemory {
		fail("%s MB of memory", megabytes(l.peak))
	}
	return list
}

func (l overloading) markdown() string {
	var b strings.Builder
	all := len(l.admitted) + l.shed + l.bare + l.other
	fmt.Fprintf(&b, "%s: %.1f logins/s sustainable, %.1f/s offered for %.0f s: %d, of them %d admitted (%.1f/s, p50 %s ms, p99 %s ms), %d answered 503 with Retry-After, %d without, %d other. Peak memory %s MB.\n",
		l.engine, l.sustainable, l.offered, l.took.Seconds(), all, len(l.admitted), float64(len(l.admitted))/l.took.Seconds(),
		millis(percentile(l.admitted, 50)), millis(percentile(l.admitted, 99)), l.shed, l.bare, l.other, megabytes(l.peak))
	b.WriteString("\n| beside it | rate | p50 ms, unloaded | overloaded | p99 ms, unloaded | overloaded | × | failed |\n|---|---|---|---|---|---|---|---|\n")
	for i, a := range l.asides {
		fmt.Fprintf(&b, "| %s | %.0f/s | %s | %s | %s | %s | **%.2f** | %d |\n", a.endpoint, asides[i].rate,
			millis(percentile(a.unloaded, 50)), millis(percentile(a.beside, 50)), millis(percentile(a.unloaded, 99)), millis(percentile(a.beside, 99)), a.slower(), a.failed)
	}
	return b.String()
}
