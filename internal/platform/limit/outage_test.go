package limit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest/engines"
)

// ownRedis is a Redis that the test may stop.
func ownRedis(t *testing.T) *engines.Server {
	t.Helper()
	if _, err := engines.Redis(); errors.Is(err, engines.ErrLeftOut) {
		t.Skip(err)
	}
	s, err := engines.StartRedis()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// admin is a connection to s beside the limiter's.
func admin(t *testing.T, s *engines.Server) rueidis.Client {
	t.Helper()
	option, err := rueidis.ParseURL(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	option.DisableCache = true
	client, err := rueidis.NewClient(option)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// number finds one in what INFO says, or returns 0.
func number(t *testing.T, c rueidis.Client, section, pattern string) int {
	t.Helper()
	info, err := c.Do(t.Context(), c.B().Info().Section(section).Build()).ToString()
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(pattern + `(\d+)`).FindStringSubmatch(info)
	if found == nil {
		return 0
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// record is a log that counts.
type record struct {
	slog.Handler
	warnings, infos atomic.Int32
}

func (r *record) Enabled(context.Context, slog.Level) bool { return true }

func (r *record) Handle(_ context.Context, line slog.Record) error {
	switch line.Level {
	case slog.LevelWarn:
		r.warnings.Add(1)
	case slog.LevelInfo:
		r.infos.Add(1)
	}
	return nil
}

// want checks what was logged so far; the limiter logs beside the calls that
// make it do so.
func (r *record) want(t *testing.T, warnings, infos int32) {
	t.Helper()
	eventually(t, fmt.Sprintf("the log has %d warnings and %d infos", warnings, infos), func() bool {
		return r.warnings.Load() == warnings && r.infos.Load() == infos
	})
}

func eventually(t *testing.T, what string, true func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for !true() {
		select {
		case <-deadline:
			t.Fatalf("not after %v: %s", patience, what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func awaitRedis(t *testing.T, l *Limiter) {
	t.Helper()
	eventually(t, "Redis is used again", func() bool { return l.Ping(t.Context()) == nil })
}

// counted says whether Redis has the counter.
func counted(t *testing.T, l *Limiter, rule Rule, key string) bool {
	t.Helper()
	c := l.redis.client
	n, err := c.Do(t.Context(), c.B().Exists().Key(identify(rule.Name, key).String()).Build()).AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	return n == 1
}

// rush asks many times at once, more often than there are places for calls, and
// returns how often the answer was yes. Every answer must come while the caller
// still waits.
func rush(t *testing.T, l *Limiter, rule Rule, key string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var allowed atomic.Int64
	var wg sync.WaitGroup
	for range 3 * redisCalls {
		wg.Go(func() {
			if l.Allow(ctx, rule, key).Allowed {
				allowed.Add(1)
			}
			if err := ctx.Err(); err != nil {
				t.Errorf("the answer came too late: %v", err)
			}
		})
	}
	wg.Wait()
	return int(allowed.Load())
}

func TestRedisMayBeDownAtTheStart(t *testing.T) {
	t.Parallel()
	s := ownRedis(t)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	log := &record{}
	l := start(t, s.URL, log, clock.Set(time.Now()))
	rule := Rule{"start", 3, time.Hour}
	if n := rush(t, l, rule, "key"); n != rule.Burst {
		t.Errorf("%d allowed without Redis, want %d", n, rule.Burst)
	}
	if err := l.Ping(t.Context()); err == nil {
		t.Error("Ping reaches a Redis that is down")
	}
	log.want(t, 1, 0)

	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	awaitRedis(t, l)
	if d := l.Allow(t.Context(), rule, "key"); d.Remaining != 2 || !counted(t, l, rule, "key") {
		t.Errorf("not counted in Redis now that it is up: %+v", d)
	}
	log.want(t, 1, 1)
}

func TestRedisMayGoAndComeBack(t *testing.T) {
	t.Parallel()
	s := ownRedis(t)
	log := &record{}
	l := start(t, s.URL, log, clock.Set(time.Now()))
	rule := Rule{"outage", 3, time.Hour}
	for outage := range int32(2) {
		key := fmt.Sprint(outage)
		if n := rush(t, l, rule, key); n != rule.Burst || !counted(t, l, rule, key) {
			t.Errorf("%d allowed with Redis, want %d, counted there", n, rule.Burst)
		}
		log.want(t, outage, outage)

		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		if n := rush(t, l, rule, key); n != rule.Burst {
			t.Errorf("%d allowed without Redis, want %d", n, rule.Burst)
		}
		log.want(t, outage+1, outage)

		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		awaitRedis(t, l)
		log.want(t, outage+1, outage+1)
	}
}

func TestRedisMayHang(t *testing.T) {
	t.Parallel()
	s := ownRedis(t)
	log := &record{}
	l, err := Open(t.Context(), s.URL, slog.New(log), clock.Set(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	rule := Rule{"hang", 3, time.Hour}
	rush(t, l, rule, "before") // so that the connection is in its pipelined state
	pid := number(t, admin(t, s), "server", "process_id:")

	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) }) // or Stop would wait for ever
	for i := range 3 {
		if n := rush(t, l, rule, fmt.Sprint(i)); n != rule.Burst {
			t.Errorf("%d allowed while Redis hangs, want %d", n, rule.Burst)
		}
	}
	log.want(t, 1, 0)

	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	log.want(t, 1, 1)
	tries := 0 // with the real timeout, a busy machine may fail one
	eventually(t, "events are counted in Redis again", func() bool {
		tries++
		key := fmt.Sprint("after ", tries)
		return rush(t, l, rule, key) == rule.Burst && counted(t, l, rule, key)
	})
}

func TestRedisThatTakesNoWritesIsDown(t *testing.T) {
	t.Parallel()
	s := ownRedis(t)
	c := admin(t, s)
	setMemory := func(limit string) {
		t.Helper()
		if err := c.Do(t.Context(), c.B().ConfigSet().ParameterValue().ParameterValue("maxmemory", limit).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	tries := func() int { return number(t, c, "commandstats", "cmdstat_evalsha:calls=") }

	log := &record{}
	l := start(t, s.URL, log, clock.Set(time.Now()))
	rule := Rule{"full", 3, time.Hour}
	setMemory("1")
	if n := rush(t, l, rule, "key"); n != rule.Burst {
		t.Errorf("%d allowed while Redis is full, want %d", n, rule.Burst)
	}
	log.want(t, 1, 0)
	begin := tries()
	eventually(t, "it was tried twice more", func() bool { return tries() >= begin+2 })
	if err := l.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "unreachable") {
		t.Errorf("Ping: %v", err)
	}
	setMemory("0")
	awaitRedis(t, l)
	log.want(t, 1, 1) // it did not go up and down meanwhile
}
