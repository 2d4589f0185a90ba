// Package clock gives the time, so that a test can set it.
//
// Times are UTC and cut to microseconds, which is what both databases store:
// a value read back equals the value written.
package clock

import (
	"sync"
	"time"
)

// Clock tells the time. A nil *Clock is the machine's clock.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Set returns a clock that stands still at t until it is advanced.
func Set(t time.Time) *Clock {
	return &Clock{now: trim(t)}
}

// Now returns the current time in UTC, cut to microseconds.
func (c *Clock) Now() time.Time {
	if c == nil {
		return trim(time.Now())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves a clock made by Set forward by d.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func trim(t time.Time) time.Time {
	return t.UTC().Truncate(time.Microsecond)
}
