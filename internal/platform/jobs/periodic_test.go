package jobs_test

import (
	"sync"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/platform/jobs"
)

// tick has every queue look for due work at the same time.
func tick(t *testing.T, queues ...*jobs.Queue) {
	t.Helper()
	var all sync.WaitGroup
	for _, q := range queues {
		all.Go(func() {
			if err := q.Tick(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func nextAt(t *testing.T, d *db.DB) time.Time {
	t.Helper()
	var at time.Time
	if err := d.Read().QueryRowContext(t.Context(), `SELECT next_at FROM periodic WHERE name = $1`, write).Scan(&at); err != nil {
		t.Fatal(err)
	}
	return at.UTC()
}

func TestPeriodicWorkIsDueOnceInEachPeriod(t *testing.T) {
	const period = 24 * time.Hour
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		handle, _ := inbox()
		queues := []*jobs.Queue{queue(t, d, handle), queue(t, d, handle)}
		for _, q := range queues {
			q.Every(period, write)
		}
		steps := []struct {
			name string
			next string // what next_at is set to first; empty leaves it
			jobs int
		}{
			{"the first look finds it due", "", 1},
			{"the next looks find nothing", "", 1},
			{"due now", "0s", 2},
			{"a minute before it is due", "1m", 2},
			{"ten periods overdue, as after a long stop, it is done once", "-240h", 3},
			{"and not again", "", 3},
			{"further off than a period, by a clock that was ahead", "960h", 4},
			{"and not again", "", 4},
		}
		for _, s := range steps {
			if s.next != "" {
				offset, err := time.ParseDuration(s.next)
				if err != nil {
					t.Fatal(err)
				}
				err = d.Write(t.Context(), func(tx *db.Tx) error {
					_, err := tx.ExecContext(t.Context(), `UPDATE periodic SET next_at = $1`, time.Now().UTC().Add(offset))
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			tick(t, queues...)
			if n := count(t, d, `kind = $1`, write); n != s.jobs {
				t.Errorf("%s: %d jobs so far, want %d", s.name, n, s.jobs)
			}
			if at := nextAt(t, d); !at.After(time.Now()) {
				t.Errorf("%s: next at %v, which is not ahead", s.name, at)
			}
		}
		if at := nextAt(t, d); at != at.Truncate(period) || time.Until(at) > period {
			t.Errorf("next at %v, want the next midnight", at)
		}
	})
}

// A process whose clock was ahead enqueued a job.
func TestAJobFromTheFutureRunsAtTheNextTick(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		handle, got := inbox()
		q := queue(t, d, handle)
		enqueue(t, d, q, write, note{"from the future"})
		ahead := map[db.Engine]string{db.SQLite: `strftime('%Y-%m-%d %H:%M:%f', 'now', '+40 days')`, db.Postgres: `now() + interval '40 days'`}
		set(t, d, `scheduled_at = `+ahead[d.Engine()])
		start(t, q)
		until(t, "the leader's own tick has run it", func() bool { tick(t, q); return len(got) > 0 })
	})
}

func TestSeveralKindsKeepTheirOwnTime(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		handle, _ := inbox()
		q := queue(t, d, handle)
		q.Every(time.Hour, write)
		q.Every(10*time.Minute, nudge)
		tick(t, q)
		tick(t, q)
		for _, kind := range []string{write, nudge} {
			if n := count(t, d, `kind = $1`, kind); n != 1 {
				t.Errorf("%d jobs of kind %s, want 1", n, kind)
			}
		}
	})
}

func TestPeriodicWorkWithoutAHandlerIsRefused(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		handle, _ := inbox()
		q := queue(t, d, handle)
		q.Every(time.Hour, "misspelt")
		if err := q.Tick(t.Context()); err == nil {
			t.Error("no error")
		}
		var n int
		if err := d.Read().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM periodic`).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d rows, %v: it counts as done", n, err)
		}
	})
}

func TestPeriodicWorkStartsWithTheQueue(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		handle, got := inbox()
		q := queue(t, d, handle)
		q.Every(time.Hour, write)
		start(t, q)
		until(t, "River has its leader look for due work", func() bool { return count(t, d, `kind = 'periodic_tick'`) > 0 })
		enqueue(t, d, q, nudge, note{}) // on SQLite the queue finds River's own jobs when it looks
		until(t, "the work is enqueued", func() bool { return count(t, d, `kind = $1`, write) > 0 })
		enqueue(t, d, q, nudge, note{})
		receive(t, got)
	})
}
