package jobs_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/platform/jobs"
)

// On SQLite the process that starts owns the file, so whatever is running was
// left by one that was killed.
func TestOnSQLiteAJobOfAKilledProcessRunsAgainAtStart(t *testing.T) {
	d := dbtest.SQLite(t)
	handle, got := inbox()
	q := queue(t, d, handle)
	enqueue(t, d, q, write, note{"half done"})
	set(t, d, `state = 'running', attempt = 1, attempted_at = created_at, attempted_by = jsonb('["dead"]')`)
	err := d.Write(t.Context(), func(tx *db.Tx) error { // it was the leader, for longer than we want to wait
		_, err := tx.ExecContext(t.Context(), `INSERT INTO river_leader (leader_id, elected_at, expires_at, name) VALUES ('dead', $1, $2, 'default')`,
			time.Now(), time.Now().Add(time.Hour))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	start(t, q)
	if j := receive(t, got); j.Attempt != 2 {
		t.Errorf("attempt %d, want 2", j.Attempt)
	}
	until(t, "this process leads", func() bool {
		var n int
		err := d.Read().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM river_leader WHERE leader_id <> 'dead'`).Scan(&n)
		return err == nil && n == 1
	})
}

// On PostgreSQL the other process may be alive: its jobs are its own.
func TestOnPostgresStartLeavesTheJobsOfOthersAlone(t *testing.T) {
	d := dbtest.Postgres(t)
	handle, got := inbox()
	q := queue(t, d, handle)
	enqueue(t, d, q, write, note{"in progress elsewhere"})
	set(t, d, `state = 'running', attempt = 1, attempted_at = CURRENT_TIMESTAMP, attempted_by = ARRAY['alive']`)
	enqueue(t, d, q, write, note{"waiting"})
	start(t, q)
	var n note
	j := receive(t, got)
	if err := j.Args(&n); err != nil || n.Text != "waiting" {
		t.Errorf("got %q, %v", n.Text, err)
	}
	stop(t, q)
	if len(got) > 0 || count(t, d, `state = 'running'`) != 1 {
		t.Error("the job of another process was taken")
	}
}

// ledger records who works what.
type ledger struct {
	mu      sync.Mutex
	running map[uuid.UUID]bool
	done    map[uuid.UUID]int
	by      map[string]int
	all     chan struct{}
	want    int
	twice   bool
}

func newLedger(want int) *ledger {
	return &ledger{running: map[uuid.UUID]bool{}, done: map[uuid.UUID]int{}, by: map[string]int{}, all: make(chan struct{}), want: want}
}

func (l *ledger) begin(j jobs.Job) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.twice = l.twice || l.running[j.ID]
	l.running[j.ID] = true
}

func (l *ledger) end(j jobs.Job, worker string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.running, j.ID)
	l.done[j.ID]++
	l.by[worker]++
	if len(l.done) == l.want && l.done[j.ID] == 1 {
		close(l.all)
	}
}

func TestTwoQueuesShareTheWorkOnPostgres(t *testing.T) {
	const n = 200
	url := dbtest.PostgresURL(t)
	l := newLedger(n)
	var queues []*jobs.Queue
	var dbs []*db.DB
	for i := range 2 {
		d := dbtest.Open(t, url)
		q := queue(t, d, func(ctx context.Context, j jobs.Job) error {
			l.begin(j)
			err := d.Ping(ctx)
			l.end(j, fmt.Sprint("queue ", i))
			return err
		})
		start(t, q)
		queues, dbs = append(queues, q), append(dbs, d)
	}
	for i := range n {
		enqueue(t, dbs[i%2], queues[i%2], write, note{})
	}
	receive(t, l.all)
	for _, q := range queues {
		stop(t, q)
	}
	if l.twice {
		t.Error("a job was worked by both at the same time")
	}
	if most := slices.Max(slices.Collect(maps.Values(l.done))); len(l.done) != n || most != 1 {
		t.Errorf("%d jobs were worked, one of them %d times; want %d, each once", len(l.done), most, n)
	}
	t.Logf("shares: %v", l.by)
}

func TestOneProcessWorksWhatAnotherEnqueuedOnPostgres(t *testing.T) {
	url := dbtest.PostgresURL(t)
	here, there := dbtest.Open(t, url), dbtest.Open(t, url)
	handle, got := inbox()
	start(t, queue(t, here, handle))
	enqueue(t, there, queue(t, there, nil), write, note{"from elsewhere"})
	var n note
	j := receive(t, got)
	if err := j.Args(&n); err != nil || n.Text != "from elsewhere" {
		t.Errorf("got %q, %v", n.Text, err)
	}
}
