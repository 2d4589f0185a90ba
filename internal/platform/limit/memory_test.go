package limit

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/clock"
)

func (m *memory) count() int {
	n := 0
	for i := range m.shards {
		n += len(m.shards[i].tats)
	}
	return n
}

func TestTimeGivesEventsBack(t *testing.T) {
	c := clock.Set(time.Now())
	l := start(t, "", slog.DiscardHandler, c)
	rule := Rule{"test", 3, 30 * time.Second}
	rows := []struct {
		later            time.Duration
		allowed          bool
		remaining        int
		retry, fullAgain time.Duration
	}{
		{0, true, 2, 0, 10 * time.Second},
		{0, true, 1, 0, 20 * time.Second},
		{0, true, 0, 0, 30 * time.Second},
		{0, false, 0, 10 * time.Second, 30 * time.Second},
		{4 * time.Second, false, 0, 6 * time.Second, 26 * time.Second},
		{6*time.Second - time.Microsecond, false, 0, time.Microsecond, 20*time.Second + time.Microsecond},
		{time.Microsecond, true, 0, 0, 30 * time.Second},
		{25 * time.Second, true, 1, 0, 15 * time.Second},
		{time.Hour, true, 2, 0, 10 * time.Second},
		{-24 * time.Hour, false, 0, 10 * time.Second, 30 * time.Second}, // the clock is put right
		{10*time.Second - time.Microsecond, false, 0, time.Microsecond, 20*time.Second + time.Microsecond},
		{time.Microsecond, true, 0, 0, 30 * time.Second},
	}
	for i, row := range rows {
		c.Advance(row.later)
		got := l.Allow(t.Context(), rule, "key")
		want := Decision{row.allowed, 3, row.remaining, row.retry, row.fullAgain}
		if got != want {
			t.Errorf("event %d: %+v, want %+v", i+1, got, want)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	const keys = 64 * 20
	m := newMemory(keys)
	p, _ := Rule{"test", 10, time.Hour}.pace()
	for i := range 10 * keys {
		m.take(identify("test", fmt.Sprint(i)), p, 1)
	}
	if n := m.count(); n > keys {
		t.Errorf("%d counters kept, at most %d allowed", n, keys)
	}
}

func TestCountersThatHaveRunOutMakeRoom(t *testing.T) {
	const keys = 64 * 1000
	m := newMemory(keys)
	p, _ := Rule{"test", 10, 10 * time.Second}.pace()
	now := int64(1)
	// One new caller each interval: each counter has run out when the next one
	// comes, so hardly any should be kept, though there is room for all.
	for i := range keys {
		m.take(identify("test", fmt.Sprint(i)), p, now)
		now += p.interval
	}
	if n := m.count(); n > 64*memoryLook {
		t.Errorf("%d counters kept of callers long gone", n)
	}
}

func TestAFloodDoesNotFreeThoseHeldBack(t *testing.T) {
	const keys = 64 * 100
	m := newMemory(keys)
	p, _ := Rule{"test", 100, time.Hour}.pace()
	now := int64(1)
	var held []id
	for i := range 64 {
		id := identify("held", fmt.Sprint(i))
		for range p.burst {
			m.take(id, p, now)
		}
		held = append(held, id)
	}
	for i := range 20 * keys {
		m.take(identify("flood", fmt.Sprint(i)), p, now)
	}
	for _, id := range held {
		if m.take(id, p, now).Allowed {
			t.Errorf("%v is free again", id)
		}
	}
}
