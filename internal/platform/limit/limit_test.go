package limit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest/engines"
)

// redisURL is the Redis that all tests share: none may stop it.
func redisURL(t *testing.T) string {
	t.Helper()
	url, err := engines.Redis()
	if errors.Is(err, engines.ErrLeftOut) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return url
}

// patience is for a Redis that works, on a machine that has too much to do.
const patience = 20 * time.Second

func start(t *testing.T, url string, log slog.Handler, c *clock.Clock) *Limiter {
	t.Helper()
	l, err := open(t.Context(), url, slog.New(log), c, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// backends runs a test on the counters in memory and on those in Redis. Time
// stands still in memory and cannot be set in Redis: what both are to pass uses
// rules so slow that nothing is earned while the test runs.
func backends(t *testing.T, test func(t *testing.T, l *Limiter)) {
	t.Run("memory", func(t *testing.T) {
		test(t, start(t, "", slog.DiscardHandler, clock.Set(time.Now())))
	})
	t.Run("redis", func(t *testing.T) {
		l := start(t, redisURL(t), slog.DiscardHandler, nil)
		test(t, l)
		if err := l.Ping(t.Context()); err != nil {
			t.Errorf("Redis was lost on the way, so the test ran in memory: %v", err)
		}
	})
}

// fresh is a key no other test or earlier run has used.
func fresh(t *testing.T) string {
	return fmt.Sprintf("%s %d", t.Name(), time.Now().UnixNano())
}

func TestBothBackendsGiveTheSameAnswers(t *testing.T) {
	rows := []struct {
		name  string
		burst int
		want  []string // for one event after the other
	}{
		{"a burst of one", 1, []string{"yes 0", "no 0", "no 0"}},
		{"a burst of three", 3, []string{"yes 2", "yes 1", "yes 0", "no 0", "no 0"}},
		{"a burst that does not divide the window", 7,
			[]string{"yes 6", "yes 5", "yes 4", "yes 3", "yes 2", "yes 1", "yes 0", "no 0"}},
		{"no burst allows nothing", 0, []string{"no 0"}},
		{"a negative burst allows nothing", -1, []string{"no 0"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			backends(t, func(t *testing.T, l *Limiter) {
				rule, key := Rule{Name: "same", Burst: row.burst, Per: 10 * time.Hour}, fresh(t)
				for i, want := range row.want {
					d := l.Allow(t.Context(), rule, key)
					got := fmt.Sprintf("no %d", d.Remaining)
					if d.Allowed {
						got = fmt.Sprintf("yes %d", d.Remaining)
					}
					if got != want {
						t.Errorf("event %d: %s, want %s", i+1, got, want)
					}
					if d.Limit != max(row.burst, 0) {
						t.Errorf("event %d: limit %d, want %d", i+1, d.Limit, row.burst)
					}
					if d.Allowed != (d.RetryAfter == 0) || d.RetryAfter < 0 || d.ResetAfter <= 0 {
						t.Errorf("event %d: allowed %t, retry after %v, reset after %v", i+1, d.Allowed, d.RetryAfter, d.ResetAfter)
					}
				}
			})
		})
	}
}

func TestKeysAndRulesDoNotShareACounter(t *testing.T) {
	backends(t, func(t *testing.T, l *Limiter) {
		a, b := Rule{"a", 1, time.Hour}, Rule{"b", 1, time.Hour}
		key := fresh(t)
		for _, c := range []Check{{a, key}, {b, key}, {a, key + "x"}} {
			if !l.Allow(t.Context(), c.Rule, c.Key).Allowed {
				t.Errorf("%v was used up by another", c)
			}
		}
	})
}

func TestSixtyFourAtOnceGetOneBurst(t *testing.T) {
	const goroutines, each, burst = 64, 10, 100
	backends(t, func(t *testing.T, l *Limiter) {
		rule, key := Rule{"rush", burst, 1000 * time.Hour}, fresh(t)
		var allowed atomic.Int64
		var wg sync.WaitGroup
		for range goroutines {
			wg.Go(func() {
				for range each {
					if l.Allow(t.Context(), rule, key).Allowed {
						allowed.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if n := allowed.Load(); n != burst {
			t.Errorf("%d of %d events allowed, want %d", n, goroutines*each, burst)
		}
	})
}

func TestAllowAll(t *testing.T) {
	backends(t, func(t *testing.T, l *Limiter) {
		address := Check{Rule{"address", 2, time.Hour}, fresh(t)}
		account := Check{Rule{"account", 5, time.Hour}, fresh(t)}
		for i, want := range []struct {
			allowed   bool
			remaining int
		}{{true, 1}, {true, 0}, {false, 0}, {false, 0}} {
			d := l.AllowAll(t.Context(), address, account)
			if d.Allowed != want.allowed || d.Remaining != want.remaining || d.Limit != 2 {
				t.Errorf("event %d: %+v, want %+v of the address", i+1, d, want)
			}
		}
		if d := l.Allow(t.Context(), account.Rule, account.Key); d.Remaining != 2 {
			t.Errorf("the address in excess used up the account: %d remain, want 2", d.Remaining)
		}
		if !l.AllowAll(t.Context()).Allowed {
			t.Error("no check, yet denied")
		}
	})
}

func TestOpenRefusesAURLWithoutQuotingIt(t *testing.T) {
	for _, url := range []string{
		"redis://:hunter2@host:port", "redis://u:hun/ter2@host/0", "hunter2://host",
		"redis://host/hunter2", "redis://host:6379/1/hunter2", "\x7fhunter2",
	} {
		_, err := Open(t.Context(), url, slog.New(slog.DiscardHandler), nil)
		if err == nil {
			t.Errorf("%q was accepted", url)
		} else if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "ter2") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

func TestWithoutRedisThereIsNothingToReach(t *testing.T) {
	l := start(t, "", slog.DiscardHandler, nil)
	if err := l.Ping(context.Background()); err != nil {
		t.Error(err)
	}
	l.Close() // and again by the cleanup
}
