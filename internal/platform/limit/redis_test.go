package limit

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestScriptAgreesWithTheArithmeticCallByCall(t *testing.T) {
	l := start(t, redisURL(t), slog.DiscardHandler, nil)
	for _, rule := range []Rule{
		{"script", 1, 500 * time.Microsecond},
		{"script", 3, 2 * time.Millisecond},
		{"script", 7, 10 * time.Millisecond},
		{"script", 50, 3333 * time.Microsecond},
		{"script", 2000, time.Millisecond}, // more than one a microsecond
		{"script", 10, 365 * 24 * time.Hour},
	} {
		p, _ := rule.pace()
		id := identify(rule.Name, fmt.Sprint(rule, fresh(t)))
		var tat int64
		for i := range 500 {
			allowed, now, got, err := l.redis.script(t.Context(), id, p)
			if err != nil {
				t.Fatal(err)
			}
			wantAllowed, want := p.take(now, tat)
			if allowed != wantAllowed || got != want {
				t.Fatalf("%+v, event %d at %d with tat %d: Redis says %t %d, Go says %t %d",
					rule, i+1, now, tat, allowed, got, wantAllowed, want)
			}
			tat = got
		}
	}
}

func TestCounterThatCannotBeLocksNobodyOut(t *testing.T) {
	l := start(t, redisURL(t), slog.DiscardHandler, nil)
	p, _ := Rule{"odd", 2, time.Second}.pace()
	for _, row := range []struct {
		name, stored string
		allowed      bool
	}{
		{"text", "what is this", true},
		{"a moment long ago", "12", true},
		{"a moment far away", "8000000000000000", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			id := identify("odd", fresh(t))
			c := l.redis.client
			if err := c.Do(t.Context(), c.B().Set().Key(id.String()).Value(row.stored).ExSeconds(60).Build()).Error(); err != nil {
				t.Fatal(err)
			}
			d, err := l.redis.run(t.Context(), id, p)
			if err != nil {
				t.Fatal(err)
			}
			if d.Allowed != row.allowed || d.RetryAfter > time.Second {
				t.Errorf("%+v, want allowed %t, and a wait of a second at most", d, row.allowed)
			}
			eventually(t, "the counter is usable again", func() bool {
				d, err := l.redis.run(t.Context(), id, p)
				return err == nil && d.Allowed
			})
		})
	}
}

func TestWhatLiesInRedis(t *testing.T) {
	l := start(t, redisURL(t), slog.DiscardHandler, nil)
	rule := Rule{fmt.Sprintf("lies-%d", time.Now().UnixNano()), 5, time.Hour}
	l.Allow(t.Context(), rule, "someone@example.com")
	l.Allow(t.Context(), rule, "someone@example.com")

	c := l.redis.client
	keys, err := c.Do(t.Context(), c.B().Keys().Pattern("*"+rule.Name+"*").Build()).AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != 1 {
		t.Fatalf("one counter makes %d keys: %q", len(keys), keys)
	}
	key := keys[0]
	if !strings.HasPrefix(key, "authd:limit:{"+rule.Name+":") || !strings.HasSuffix(key, "}") || strings.Contains(key, "someone") {
		t.Errorf("the key is %q", key)
	}
	ttl, err := c.Do(t.Context(), c.B().Pttl().Key(key).Build()).AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	// Two of five events are paid off in two fifths of an hour.
	if left := time.Duration(ttl) * time.Millisecond; left < 23*time.Minute || left > 24*time.Minute+2*time.Second {
		t.Errorf("it expires in %v", left)
	}
}

func TestACallerWhoHangsUpIsCountedAllTheSame(t *testing.T) {
	log := &record{}
	l := start(t, redisURL(t), log, nil)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	rule, key := Rule{"gone", 3, time.Hour}, fresh(t)
	for want := 2; want >= 0; want-- {
		if d := l.Allow(gone, rule, key); d.Remaining != want {
			t.Errorf("%+v, want %d remaining", d, want)
		}
	}
	if !counted(t, l, rule, key) {
		t.Error("not counted in Redis")
	}
	log.want(t, 0, 0)
}

func TestCloseLeavesNothingRunning(t *testing.T) {
	url := redisURL(t)
	before := goleak.IgnoreCurrent()
	l := start(t, url, slog.DiscardHandler, nil)
	rule, key := Rule{"close", 1, time.Hour}, fresh(t)
	l.Allow(t.Context(), rule, key)
	l.Close()
	l.Close()
	if err := l.Ping(t.Context()); err == nil {
		t.Error("a closed limiter reaches Redis")
	}
	if !l.Allow(t.Context(), rule, key).Allowed || l.Allow(t.Context(), rule, key).Allowed {
		t.Error("a closed limiter does not count in memory")
	}
	goleak.VerifyNone(t, before)
}
