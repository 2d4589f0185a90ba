// Package cron reads the five fields of crontab(5) and says when they come next,
// in UTC: a day there has no hour twice and none missing.
package cron

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Schedule is when something is due. The zero Schedule is never.
type Schedule struct {
	minutes, hours, days, months, weekdays uint64 // a bit for each value

	// eitherDay: day of month and day of week are both given, so one of them is
	// enough, as cron has always had it.
	eitherDay bool
}

// fields are the bounds and names of the five fields.
var fields = [5]struct {
	low, high int
	names     []string // of low, low+1, …
}{
	{0, 59, nil}, {0, 23, nil}, {1, 31, nil},
	{1, 12, []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
	{0, 7, []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
}

var (
	errFields = errors.New("cron: five fields are needed: minute, hour, day of month, month, day of week")
	errField  = errors.New("cron: a field is made of *, numbers, names, ranges, steps and lists, within its bounds")
	errNever  = errors.New("cron: this day never comes")
)

// Parse reads five fields of "*", numbers, names, ranges (1-5), steps (*/15,
// 10-40/10, 5/15) and lists.
func Parse(spec string) (Schedule, error) {
	texts := strings.Fields(spec)
	if len(texts) != len(fields) {
		return Schedule{}, errFields
	}
	var sets [5]uint64
	for i, text := range texts {
		for part := range strings.SplitSeq(text, ",") {
			set, ok := parsePart(i, part)
			if !ok {
				return Schedule{}, errField
			}
			sets[i] |= set
		}
	}
	s := Schedule{minutes: sets[0], hours: sets[1], days: sets[2], months: sets[3], weekdays: sets[4]}
	s.weekdays |= s.weekdays >> 7 & 1 // 7 is Sunday, too
	s.eitherDay = !strings.HasPrefix(texts[2], "*") && !strings.HasPrefix(texts[4], "*")
	if s.Next(time.Time{}).IsZero() {
		return Schedule{}, errNever
	}
	return s, nil
}

// parsePart reads one entry of the list in field i.
func parsePart(i int, part string) (set uint64, ok bool) {
	f := fields[i]
	span, stepText, stepped := strings.Cut(part, "/")
	step := 1
	if stepped {
		n, err := strconv.Atoi(stepText)
		if err != nil || n < 1 || n > f.high {
			return 0, false
		}
		step = n
	}
	low, high := f.low, f.high
	if span != "*" {
		from, to, ranged := strings.Cut(span, "-")
		if low, ok = number(i, from); !ok {
			return 0, false
		}
		switch {
		case ranged:
			if high, ok = number(i, to); !ok || high < low {
				return 0, false
			}
		case !stepped: // 5/15 goes on to the end
			high = low
		}
	}
	for n := low; n <= high; n += step {
		set |= 1 << n
	}
	return set, true
}

func number(i int, s string) (int, bool) {
	f := fields[i]
	if at := slices.Index(f.names, strings.ToLower(s)); at >= 0 {
		return f.low + at, true
	}
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= f.low && n <= f.high
}

// calendar is after how many years the days of the week fall on the same dates.
const calendar = 400

// Next is the first minute after this time that is due, in UTC; zero if there
// is none.
func (s Schedule) Next(after time.Time) time.Time {
	after = after.UTC()
	t := after.Truncate(time.Minute).Add(time.Minute)
	for t.Year() <= after.Year()+calendar {
		switch {
		case !has(s.months, int(t.Month())):
			t = time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, time.UTC)
		case !s.onDay(t):
			t = time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, 0, time.UTC)
		case !has(s.hours, t.Hour()):
			t = t.Truncate(time.Hour).Add(time.Hour)
		case !has(s.minutes, t.Minute()):
			t = t.Add(time.Minute)
		default:
			return t
		}
	}
	return time.Time{}
}

func (s Schedule) onDay(t time.Time) bool {
	day, weekday := has(s.days, t.Day()), has(s.weekdays, int(t.Weekday()))
	if s.eitherDay {
		return day || weekday
	}
	return day && weekday
}

func has(set uint64, n int) bool { return set>>n&1 == 1 }
