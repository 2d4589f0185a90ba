package jobs_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/platform/jobs"
)

var errRefused = errors.New("refused")

// patience is for work that is done at once, on a machine with too much to do.
const patience = 30 * time.Second

// A note is what the tests enqueue.
type note struct {
	Text string `json:"text"`
}

// The kinds of the tests. nudge does nothing: enqueuing it makes a queue look.
const (
	write = "write"
	nudge = "nudge"
)

func queue(t *testing.T, d *db.DB, handle jobs.Handler) *jobs.Queue {
	t.Helper()
	q, err := jobs.New(d, dbtest.Log)
	if err != nil {
		t.Fatal(err)
	}
	q.Handle(map[string]jobs.Handler{
		write: handle,
		nudge: func(context.Context, jobs.Job) error { return nil },
	})
	return q
}

func start(t *testing.T, q *jobs.Queue) {
	t.Helper()
	if err := q.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, q) })
}

func stop(t *testing.T, q *jobs.Queue) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := q.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func enqueue(t *testing.T, d *db.DB, q *jobs.Queue, kind string, args any) {
	t.Helper()
	if err := d.Write(t.Context(), func(tx *db.Tx) error { return q.Enqueue(t.Context(), tx, kind, args) }); err != nil {
		t.Fatal(err)
	}
}

// inbox is a handler that passes on what it gets.
func inbox() (jobs.Handler, chan jobs.Job) {
	got := make(chan jobs.Job, 1000)
	return func(_ context.Context, j jobs.Job) error { got <- j; return nil }, got
}

func receive[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatalf("nothing after %v", patience)
	}
	return v
}

// until looks again and again: what River writes of a finished job has no
// signal to wait for.
func until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !reached(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after %v: %s", patience, what)
		}
	}
}

func count(t *testing.T, d *db.DB, where string, args ...any) (n int) {
	t.Helper()
	if err := d.Read().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM river_job WHERE `+where, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// set changes jobs from outside, as no process would.
func set(t *testing.T, d *db.DB, change string) {
	t.Helper()
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		_, err := tx.ExecContext(t.Context(), `UPDATE river_job SET `+change)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAJobRunsIfItsTransactionCommits(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		handle, got := inbox()
		q := queue(t, d, handle)
		start(t, q)
		before := time.Now().Add(-time.Microsecond)
		for _, end := range []error{errRefused, nil} {
			err := d.Write(t.Context(), func(tx *db.Tx) error {
				text := "kept"
				if end != nil {
					text = "rolled back"
				}
				if err := q.Enqueue(t.Context(), tx, write, note{text}); err != nil {
					return err
				}
				return end
			})
			if !errors.Is(err, end) {
				t.Fatal(err)
			}
		}
		j := receive(t, got)
		var n note
		if err := j.Args(&n); err != nil || n.Text != "kept" {
			t.Errorf("it holds %q, %v", n.Text, err)
		}
		if j.Kind != write || j.Attempt != 1 || j.ID.Version() != 7 || j.EnqueuedAt.Location() != time.UTC ||
			j.EnqueuedAt.Before(before) || j.EnqueuedAt.After(time.Now()) || j.EnqueuedAt != j.EnqueuedAt.Truncate(time.Microsecond) {
			t.Errorf("got %+v", j)
		}
		stop(t, q)
		if len(got) > 0 || count(t, d, `kind = $1`, write) != 1 {
			t.Error("the job of a transaction that was rolled back is there")
		}
	})
}

func TestOnlyWhatSomebodyWorksCanBeEnqueued(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		handle, _ := inbox()
		tests := []struct {
			name, kind string
			queue      *jobs.Queue
			args       any
			want       string
		}{
			{"a kind without handler", "misspelt", queue(t, d, handle), note{}, `no handler for kind "misspelt"`},
			{"before the queue knows any handler", write, newQueue(t, d), note{}, "no handler"},
			{"arguments that are not JSON", write, queue(t, d, handle), make(chan int), "encode write"},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				err := d.Write(t.Context(), func(tx *db.Tx) error { return tt.queue.Enqueue(t.Context(), tx, tt.kind, tt.args) })
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
			})
		}
		if n := count(t, d, `TRUE`); n != 0 {
			t.Errorf("%d jobs were enqueued", n)
		}
	})
}

func newQueue(t *testing.T, d *db.DB) *jobs.Queue {
	t.Helper()
	q, err := jobs.New(d, dbtest.Log)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// The retry itself is 10 s away, so the test brings it forward in SQL.
func TestAJobThatFailsIsTriedAgainUnderTheSameID(t *testing.T) {
	for name, fail := range map[string]func() error{
		"with an error": func() error { return errRefused },
		"with a panic":  func() error { panic("no") },
	} {
		t.Run(name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, d *db.DB) {
				got := make(chan jobs.Job, 10)
				q := queue(t, d, func(_ context.Context, j jobs.Job) error {
					got <- j
					if j.Attempt <= 2 {
						return fail()
					}
					return nil
				})
				start(t, q)
				enqueue(t, d, q, write, note{"x"})
				var ids []uuid.UUID
				var attempts []int
				for attempt := range 3 {
					j := receive(t, got)
					ids, attempts = append(ids, j.ID), append(attempts, j.Attempt)
					if attempt < 2 {
						until(t, "the job waits to be tried again", func() bool { return count(t, d, `state = 'retryable'`) == 1 })
						set(t, d, `state = 'available', scheduled_at = created_at WHERE state = 'retryable'`)
						enqueue(t, d, q, nudge, note{})
					}
				}
				if diff := cmp.Diff([]int{1, 2, 3}, attempts); diff != "" || len(slices.Compact(ids)) != 1 {
					t.Errorf("ids %v, attempts %v", ids, attempts)
				}
				until(t, "the job is done", func() bool { return count(t, d, `kind = $1 AND state = 'completed'`, write) == 1 })
			})
		})
	}
}

func TestAJobIsGivenUpAfterItsLastAttempt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		got := make(chan jobs.Job, 10)
		q := queue(t, d, func(_ context.Context, j jobs.Job) error { got <- j; return errRefused })
		enqueue(t, d, q, write, note{})
		set(t, d, `attempt = max_attempts - 1`)
		start(t, q)
		if j := receive(t, got); j.Attempt != jobs.MaxAttempts {
			t.Errorf("attempt %d, want the last, %d", j.Attempt, jobs.MaxAttempts)
		}
		until(t, "the job is given up", func() bool { return count(t, d, `state = 'discarded'`) == 1 })
	})
}

func TestRetriesKeepTheirSchedule(t *testing.T) {
	if jobs.MaxAttempts != len(jobs.RetryAfter)+1 {
		t.Errorf("%d attempts with %d waits between them", jobs.MaxAttempts, len(jobs.RetryAfter))
	}
	for i, wait := range append(jobs.RetryAfter, jobs.RetryAfter[len(jobs.RetryAfter)-1]) {
		for range 100 {
			attempted := time.Now()
			before := time.Now()
			next := jobs.NextRetry(i+1, &attempted)
			after := time.Now()
			if next.Before(before.Add(wait*9/10)) || next.After(after.Add(wait*11/10)) {
				t.Errorf("attempt %d is followed after %v, want %v ±10%%", i+1, next.Sub(before), wait)
			}
		}
	}
}

func TestAJobWhoseProcessDiedIsTriedAgainAtOnce(t *testing.T) {
	long := time.Now().Add(-jobs.RescueAfter)
	if next := jobs.NextRetry(3, &long); next.After(time.Now()) {
		t.Errorf("it waits until %v", next)
	}
	if next := jobs.NextRetry(0, nil); next.Before(time.Now()) {
		t.Errorf("a job that never ran: %v", next)
	}
}

func TestStopLeavesNothingRunning(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		handle, got := inbox()
		q := queue(t, d, handle)
		enqueue(t, d, q, write, note{}) // opens connections, which are the pool's
		before := goleak.IgnoreCurrent()
		if err := q.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		receive(t, got)
		stop(t, q)
		goleak.VerifyNone(t, before,
			goleak.IgnoreAnyFunction("github.com/jackc/pgx/v5/pgxpool.(*Pool).backgroundHealthCheck"),
			goleak.IgnoreAnyFunction("database/sql.(*DB).connectionOpener"))
	})
}

func TestAQueueThatNeverStartedStops(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) { stop(t, newQueue(t, d)) })
}

func TestStopWaitsForWhatRuns(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		running, release := make(chan struct{}), make(chan struct{})
		finished := false
		q := queue(t, d, func(ctx context.Context, _ jobs.Job) error {
			close(running)
			<-release
			if err := d.Ping(ctx); err != nil { // it is not cancelled
				return err
			}
			finished = true
			return nil
		})
		start(t, q)
		enqueue(t, d, q, write, note{})
		receive(t, running)
		var all sync.WaitGroup
		all.Go(func() { stop(t, q) })
		close(release)
		all.Wait()
		if !finished {
			t.Error("Stop returned while a job was running")
		}
		if n := count(t, d, `state = 'completed'`); n != 1 {
			t.Errorf("%d jobs are completed, want 1: Stop must write what it waited for", n)
		}
	})
}

func TestAJobThatOutlastsStopIsCancelledAndRunsAgainLater(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		running := make(chan struct{})
		q := queue(t, d, func(ctx context.Context, _ jobs.Job) error {
			close(running)
			<-ctx.Done()
			return ctx.Err()
		})
		start(t, q)
		enqueue(t, d, q, write, note{})
		receive(t, running)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		if err := q.Stop(over); err != nil {
			t.Errorf("stop: %v", err)
		}
		if n := count(t, d, `state IN ('available', 'retryable')`); n != 1 {
			t.Errorf("%d jobs wait, want 1", n)
		}
		handle, got := inbox()
		next := queue(t, d, handle)
		set(t, d, `state = 'available', scheduled_at = created_at`)
		start(t, next)
		if j := receive(t, got); j.Attempt != 1 {
			t.Errorf("attempt %d: being stopped is not the job's failure", j.Attempt)
		}
	})
}
