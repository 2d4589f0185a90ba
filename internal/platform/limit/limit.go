// Package limit counts events and says when there were too many.
//
// The counters live in Redis when there is one, so that every process counts
// together, and in the process otherwise. They make guessing slow; nothing
// depends on them: when Redis fails, each process counts for itself until it is
// back, and when counters are lost, everybody starts with a full burst.
// Whatever must not be forgotten (lockout, spent tokens) is a row in SQL.
//
//	limit.go   the rules and the choice of a store
//	gcra.go    the arithmetic
//	memory.go  the counters in this process
//	redis.go   the counters in Redis, and what happens when it fails
//	gcra.lua   the arithmetic again, where Redis runs it
package limit

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/metric"
)

// Rule allows Burst events per Per: Burst of them at once, then one more each
// Per/Burst. A rule whose Burst or Per is not positive allows nothing.
type Rule struct {
	Name  string // part of the counter's name in Redis, so keep it stable
	Burst int
	Per   time.Duration
}

// Decision is the answer for one event.
type Decision struct {
	Allowed    bool
	Limit      int           // the rule's Burst
	Remaining  int           // events still allowed at this moment
	RetryAfter time.Duration // until the next event is allowed; 0 if this one was
	ResetAfter time.Duration // until the whole burst is allowed again
}

// Check is one rule applied to one key.
type Check struct {
	Rule Rule
	Key  string
}

// Limiter counts. Make one with Open.
type Limiter struct {
	Metrics *metric.Metrics // may be nil

	clock  *clock.Clock
	began  time.Time // monotonic
	memory *memory
	redis  *remote // nil when everything is counted in this process
}

// Open returns a limiter that counts in the Redis at url (redis:// or
// rediss://), or in this process when url is empty. It fails only if url cannot
// be read: a Redis that is down is used as soon as it is up.
func Open(ctx context.Context, url string, log *slog.Logger, clock *clock.Clock) (*Limiter, error) {
	return open(ctx, url, log, clock, redisTimeout)
}

// open lets tests have more patience with Redis.
func open(ctx context.Context, url string, log *slog.Logger, clock *clock.Clock, timeout time.Duration) (*Limiter, error) {
	l := &Limiter{clock: clock, began: time.Now(), memory: newMemory(memoryKeys)}
	if url == "" {
		return l, nil
	}
	var err error
	l.redis, err = openRemote(ctx, url, log, timeout)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Allow counts one event for key under rule. It always answers: without Redis,
// from the counters of this process. A denied event is not counted.
func (l *Limiter) Allow(ctx context.Context, rule Rule, key string) Decision {
	p, ok := rule.pace()
	if !ok {
		return nothing(rule)
	}
	id := identify(rule.Name, key)
	if l.redis != nil {
		if d, ok := l.redis.take(ctx, id, p); ok {
			l.Metrics.Limit(rule.Name, d.Allowed, "redis")
			return d
		}
	}
	return l.here(rule, id, p)
}

// AllowHere is Allow by the counters of this process alone: for rules that
// protect the process, whose events are too many to ask Redis about.
func (l *Limiter) AllowHere(rule Rule, key string) Decision {
	p, ok := rule.pace()
	if !ok {
		return nothing(rule)
	}
	return l.here(rule, identify(rule.Name, key), p)
}

// now is monotonic, unless a test sets the clock: a machine's clock that is set
// back must hold nobody back.
func (l *Limiter) now() time.Time {
	if l.clock != nil {
		return l.clock.Now()
	}
	return l.began.Add(time.Since(l.began))
}

func (l *Limiter) here(rule Rule, id id, p pace) Decision {
	d := l.memory.take(id, p, l.now().UnixMicro())
	l.Metrics.Limit(rule.Name, d.Allowed, "memory")
	return d
}

// nothing is the answer of a rule that allows nothing.
func nothing(rule Rule) Decision {
	return Decision{RetryAfter: max(rule.Per, time.Second), ResetAfter: max(rule.Per, time.Second)}
}

// AllowAll applies the checks in order and stops at the first that denies; the
// later ones are then not counted. Put the caller's address before the account:
// so an address that is out of budget cannot use up the account's. The answer
// is the denial, or else the decision with the fewest events remaining.
func (l *Limiter) AllowAll(ctx context.Context, checks ...Check) Decision {
	tightest := Decision{Allowed: true}
	for i, c := range checks {
		d := l.Allow(ctx, c.Rule, c.Key)
		if !d.Allowed {
			return d
		}
		if i == 0 || d.Remaining < tightest.Remaining {
			tightest = d
		}
	}
	return tightest
}

// Ping says whether the shared counters can be reached. Without them the
// limiter still works, each process for itself.
func (l *Limiter) Ping(ctx context.Context) error {
	if l.redis == nil {
		return nil
	}
	return l.redis.ping(ctx)
}

// Close ends the connection to Redis. Calls still running finish first; calls
// that come later are counted in this process.
func (l *Limiter) Close() {
	if l.redis != nil {
		l.redis.close()
	}
}

// id names a counter. The key is hashed because it is an address, an e-mail or
// a token, which must not lie about readable in Redis or in a core dump; and so
// that every counter takes the same small space, whatever the caller sent.
type id struct {
	rule string
	sum  [16]byte
}

func identify(rule, key string) id {
	sum := sha256.Sum256(append(make([]byte, 0, 128), key...)) // most keys fit on the stack
	return id{rule: rule, sum: [16]byte(sum[:16])}
}

// String is the counter's name in Redis. The braces keep what belongs to one
// counter on one node of a Redis cluster.
func (i id) String() string {
	return "authd:limit:{" + i.rule + ":" + base64.RawURLEncoding.EncodeToString(i.sum[:]) + "}"
}
