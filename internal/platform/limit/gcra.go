package limit

import "time"

// The generic cell rate algorithm. A counter is one number: the moment at which
// the key will have paid off everything it did (the theoretical arrival time,
// tat). Each event moves it one interval on; an event that would move it
// further than the tolerance ahead of now is denied. A tat in the past is worth
// as much as none, so an idle counter can be dropped.
//
// All numbers are whole microseconds: gcra.lua computes with doubles, which are
// exact for whole numbers of this size, so both give the same answers.

// pace is a rule in numbers.
type pace struct {
	burst     int
	interval  int64 // between two events at the sustained rate
	tolerance int64 // how far ahead of now a tat may be: exactly burst intervals
}

func (r Rule) pace() (pace, bool) {
	per, burst := r.Per.Microseconds(), int64(r.Burst)
	if per <= 0 || burst <= 0 {
		return pace{}, false
	}
	// Rounded up, and the tolerance made of it: rounded down, a tolerance of
	// Per would have room for more than Burst events.
	interval := (per-1)/burst + 1
	return pace{burst: r.Burst, interval: interval, tolerance: interval * burst}, true
}

// take decides about one event at now and returns the tat to be stored.
func (p pace) take(now, tat int64) (allowed bool, next int64) {
	// No tat is honestly above the upper bound. One that is comes from a clock
	// that was set back or from a rule that was longer: without the bound it
	// would lock the key out for that long. (This is the one case in which a
	// denied event changes the counter.)
	tat = min(max(tat, now), now+p.tolerance)
	if tat+p.interval > now+p.tolerance {
		return false, tat
	}
	return true, tat + p.interval
}

// decision puts the result of take into words.
func (p pace) decision(allowed bool, now, tat int64) Decision {
	d := Decision{
		Allowed:    allowed,
		Limit:      p.burst,
		Remaining:  int((now + p.tolerance - tat) / p.interval),
		ResetAfter: microseconds(tat - now),
	}
	if !allowed {
		d.RetryAfter = microseconds(tat + p.interval - p.tolerance - now)
	}
	return d
}

func microseconds(n int64) time.Duration {
	return time.Duration(n) * time.Microsecond
}
