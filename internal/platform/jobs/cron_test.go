package jobs_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/cron"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/platform/jobs"
)

// yearly is due on the first of January.
func yearly(t *testing.T) cron.Schedule {
	t.Helper()
	s, err := cron.Parse("0 0 1 1 *")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWorkByScheduleIsDueWhenTheScheduleSaysSo(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		handle, _ := inbox()
		queues := []*jobs.Queue{queue(t, d, handle), queue(t, d, handle)}
		schedule := yearly(t)
		for _, q := range queues {
			q.Cron(schedule, write)
		}
		steps := []struct {
			name  string
			next  time.Duration // from now, what next_at is set to first; 0 leaves it
			clear bool          // what waits is gone first
			jobs  int
		}{
			{"a first start is no reason", 0, false, 0},
			{"due a moment ago", -time.Second, false, 1},
			{"the next look finds nothing", 0, false, 1},
			{"due again while one waits", -time.Second, false, 1},
			{"ten days overdue, as after a stop, it is done once", -240 * time.Hour, true, 1},
			{"further off than the schedule knows, by a clock that was ahead", 4000 * 24 * time.Hour, true, 0},
			{"and it is due again at its time", -time.Second, false, 1},
		}
		for _, s := range steps {
			err := d.Write(t.Context(), func(tx *db.Tx) (err error) {
				if s.next != 0 {
					_, err = tx.ExecContext(t.Context(), `UPDATE periodic SET next_at = $1`, time.Now().UTC().Add(s.next))
				}
				if s.clear && err == nil {
					_, err = tx.ExecContext(t.Context(), `DELETE FROM river_job`)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			tick(t, queues...)
			if n := count(t, d, `kind = $1`, write); n != s.jobs {
				t.Errorf("%s: %d jobs wait, want %d", s.name, n, s.jobs)
			}
			if at, want := nextAt(t, d), schedule.Next(time.Now()); at != want {
				t.Errorf("%s: next at %v, want %v", s.name, at, want)
			}
		}
	})
}

func TestOfAKindOneJobWaits(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		handle, _ := inbox()
		q := queue(t, d, handle)
		once := func(kind string) error {
			return d.Write(t.Context(), func(tx *db.Tx) error { return q.EnqueueOnce(t.Context(), tx, kind, note{}) })
		}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if err := once(write); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := count(t, d, `kind = $1`, write); n != 1 {
			t.Errorf("%d jobs wait, want 1", n)
		}
		if err := once(nudge); err != nil || count(t, d, `kind = $1`, nudge) != 1 {
			t.Errorf("another kind is held back: %v", err)
		}
		for state, want := range map[string]int{"running": 2, "retryable": 1, "scheduled": 1} {
			set(t, d, `state = '`+state+`'`)
			if err := once(write); err != nil {
				t.Fatal(err)
			}
			if n := count(t, d, `kind = $1`, write); n != want {
				t.Errorf("beside one that is %s: %d jobs, want %d", state, n, want)
			}
			err := d.Write(t.Context(), func(tx *db.Tx) error {
				_, err := tx.ExecContext(t.Context(), `DELETE FROM river_job WHERE kind = $1 AND state = 'available'`, write)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := once("misspelt"); err == nil {
			t.Error("a kind without a handler is accepted")
		}
	})
}

// A long job enqueues its own continuation while it runs.
func TestARunningJobMayEnqueueTheNextOfItsKind(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		got := make(chan string, 10)
		var q *jobs.Queue
		q = queue(t, d, func(ctx context.Context, j jobs.Job) error {
			var n note
			if err := j.Args(&n); err != nil {
				return err
			}
			got <- n.Text
			if n.Text == "go on" {
				return d.Write(ctx, func(tx *db.Tx) error { return q.EnqueueOnce(ctx, tx, write, note{"the rest"}) })
			}
			return nil
		})
		enqueue(t, d, q, write, note{"go on"})
		start(t, q)
		if first, second := receive(t, got), receive(t, got); first != "go on" || second != "the rest" {
			t.Errorf("got %q, %q", first, second)
		}
	})
}
