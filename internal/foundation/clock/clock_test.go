package clock_test

import (
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/clock"
)

func TestTimesAreWhatTheDatabaseStores(t *testing.T) {
	paris := time.FixedZone("Paris", 3600)
	start := time.Date(2026, 3, 1, 13, 0, 0, 123456789, paris)
	c := clock.Set(start)
	want := time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)
	if got := c.Now(); got != want { // the zone too
		t.Errorf("now is %v, want %v", got, want)
	}
	c.Advance(90 * time.Second)
	if got := c.Now(); got != want.Add(90*time.Second) {
		t.Errorf("90 s later it is %v", got)
	}
	if got := c.Now(); got != want.Add(90*time.Second) {
		t.Errorf("it went on by itself to %v", got)
	}
}

func TestANilClockIsTheMachines(t *testing.T) {
	var c *clock.Clock
	before := time.Now()
	got := c.Now()
	if got.Before(before.Add(-time.Microsecond)) || got.After(time.Now()) {
		t.Errorf("now is %v, it was %v just before", got, before)
	}
	if got.Location() != time.UTC || got.Nanosecond()%1000 != 0 {
		t.Errorf("%v is not UTC in microseconds", got)
	}
}
