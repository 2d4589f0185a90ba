package limit

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// bucket is the same algorithm thought of the other way round, to check it
// against: every event is a debt of one interval, debt is paid off as time
// passes, and nobody may owe more than burst intervals.
type bucket struct {
	debt, at int64
}

func (b *bucket) take(p pace, now int64) Decision {
	debt := min(max(b.debt-(now-b.at), 0), p.tolerance)
	d := Decision{Limit: p.burst}
	if room := p.tolerance - debt; room >= p.interval {
		d.Allowed = true
		debt += p.interval
	} else {
		d.RetryAfter = microseconds(p.interval - room)
	}
	*b = bucket{debt: debt, at: now}
	d.Remaining = int((p.tolerance - debt) / p.interval)
	d.ResetAfter = microseconds(debt)
	return d
}

var rules = rapid.Custom(func(t *rapid.T) Rule {
	return Rule{
		Name:  "test",
		Burst: rapid.IntRange(1, 50).Draw(t, "burst"),
		Per:   time.Duration(rapid.Int64Range(1000, 1e9).Draw(t, "per")), // so Per/Burst is rarely whole
	}
})

func TestArithmeticAgreesWithABucketOfDebt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, ok := rules.Draw(t, "rule").pace()
		if !ok {
			t.Fatal("a valid rule has no pace")
		}
		now := int64(1.8e15)
		var tat int64
		var model bucket
		for range rapid.IntRange(1, 200).Draw(t, "events") {
			if rapid.IntRange(0, 50).Draw(t, "clock") == 0 {
				now -= rapid.Int64Range(0, 3*p.tolerance).Draw(t, "set back")
			} else {
				now += rapid.Int64Range(0, 2*p.interval).Draw(t, "later")
			}
			var allowed bool
			allowed, tat = p.take(now, tat)
			got, want := p.decision(allowed, now, tat), model.take(p, now)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("at %d with %+v (-model +got):\n%s", now, p, diff)
			}
		}
	})
}

func TestNeverMoreThanTheRuleSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule := rules.Draw(t, "rule")
		p, _ := rule.pace()
		start := int64(1.8e15)
		now, tat, allowedCount := start, int64(0), int64(0)
		for range rapid.IntRange(1, 300).Draw(t, "events") {
			now += rapid.Int64Range(0, p.interval).Draw(t, "later")
			var allowed bool
			if allowed, tat = p.take(now, tat); allowed {
				allowedCount++
			}
			// The burst, and what the time since has earned at Burst per Per.
			earned := (now - start) * int64(rule.Burst) / rule.Per.Microseconds()
			if most := int64(rule.Burst) + earned; allowedCount > most {
				t.Fatalf("%d events allowed after %d µs of %+v, at most %d", allowedCount, now-start, rule, most)
			}
		}
	})
}

func TestRetryAfterIsTheFirstMomentThatIsAllowed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, _ := rules.Draw(t, "rule").pace()
		now := int64(1.8e15)
		var tat int64
		for allowed := true; allowed; {
			if allowed, tat = p.take(now, tat); allowed {
				now += rapid.Int64Range(0, p.interval-1).Draw(t, "later")
			}
		}
		wait := p.decision(false, now, tat).RetryAfter.Microseconds()
		if allowed, _ := p.take(now+wait-1, tat); allowed {
			t.Errorf("allowed 1 µs before the %d µs it was told to wait", wait)
		}
		if allowed, _ := p.take(now+wait, tat); !allowed {
			t.Errorf("denied after the %d µs it was told to wait", wait)
		}
	})
}
