// Package jobs is the durable queue: work that must happen after a commit, at
// least once. It runs River on both engines; no River type leaves it.
//
// Enqueue is part of the caller's transaction: no commit, no job. A job runs at
// least once and may run twice, so every handler is idempotent; Job.ID is the
// key. Handlers hold no write transaction while they wait for the network.
package jobs

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/metric"
)

// Job is one piece of work.
type Job struct {
	ID         uuid.UUID // the same in every attempt
	Kind       string
	EnqueuedAt time.Time
	Attempt    int // from 1
	args       json.RawMessage
}

// Args decodes what was enqueued.
func (j Job) Args(into any) error { return json.Unmarshal(j.args, into) }

// Handler does one job. An error is retried on the schedule below.
type Handler func(ctx context.Context, job Job) error

// retryAfter is the wait after attempt 1, 2, …; when it is used up the job is
// discarded and logged.
var retryAfter = []time.Duration{
	10 * time.Second, time.Minute, 5 * time.Minute, 30 * time.Minute,
	2 * time.Hour, 5 * time.Hour, 10 * time.Hour,
}

var maxAttempts = len(retryAfter) + 1

const (
	jobTimeout  = 30 * time.Second
	rescueAfter = 40 * time.Second // a running job older than this lost its process
	maxWorkers  = 10
)

// Queue enqueues jobs and, once started, works them.
type Queue struct {
	Metrics *metric.Metrics // may be nil

	db       *db.DB
	log      *slog.Logger
	wake     *listener              // SQLite only
	insert   *river.Client[*sql.Tx] // enqueues only
	lite     *river.Client[*sql.Tx] // SQLite: works
	work     *river.Client[pgx.Tx]  // PostgreSQL: works, woken by LISTEN
	handlers map[string]Handler
	periodic []periodic
}

// New makes a queue that can enqueue, once it knows the handlers.
func New(d *db.DB, log *slog.Logger) (*Queue, error) {
	q := &Queue{db: d, log: log, wake: newListener()}
	cfg := &river.Config{FetchCooldown: fetchCooldown, MaxAttempts: maxAttempts, Logger: quiet(log)}
	var err error
	if d.Engine() == db.Postgres {
		q.insert, err = river.NewClient(riverdatabasesql.New(d.Writer()), cfg)
	} else {
		q.insert, err = river.NewClient(sqliteBase(d), cfg)
	}
	return q, err
}

// fetchCooldown also limits how often an inserting client notifies; at the
// default of 100 ms the second of two jobs waits for the poll.
const fetchCooldown = 5 * time.Millisecond

// pollEvery finds what no notification announced: the second of two jobs
// enqueued within the cooldown, and what a lost connection missed.
const pollEvery = time.Second

// Handle sets what Start will work: one handler for each kind. Only these kinds
// can be enqueued.
func (q *Queue) Handle(handlers map[string]Handler) { q.handlers = handlers }

func (q *Queue) config() *river.Config {
	workers := river.NewWorkers()
	for kind, handle := range q.handlers {
		river.AddWorkerArgs(workers, args{kind: kind}, &worker{kind: kind, handle: handle, metrics: q.Metrics})
	}
	cfg := &river.Config{
		CompletedJobRetentionPeriod: time.Hour, // finished jobs hold addresses
		ErrorHandler:                errorHandler{q.log},
		FetchCooldown:               fetchCooldown,
		FetchPollInterval:           pollEvery,
		JobTimeout:                  jobTimeout,
		Logger:                      quiet(q.log),
		MaxAttempts:                 maxAttempts,
		Queues:                      map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: maxWorkers}},
		RescueStuckJobsAfter:        rescueAfter,
		RetryPolicy:                 retryPolicy{},
		Workers:                     workers,
	}
	q.addPeriodic(cfg, workers)
	return cfg
}

// Start works jobs until Stop. On SQLite the caller owns the file: jobs that a
// killed process left running are taken up at once.
func (q *Queue) Start(ctx context.Context) (err error) {
	if q.db.Engine() == db.Postgres {
		if q.work, err = river.NewClient(riverpgxv5.New(q.db.Pool()), q.config()); err != nil {
			return fmt.Errorf("jobs: %w", err)
		}
		return q.work.Start(ctx)
	}
	err = q.db.Write(ctx, func(tx *db.Tx) error {
		if _, err := tx.ExecContext(ctx, `UPDATE river_job SET state = 'available' WHERE state = 'running'`); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM river_leader`)
		return err
	})
	if err != nil {
		return fmt.Errorf("jobs: take up what was running: %w", err)
	}
	if q.lite, err = river.NewClient(&sqliteDriver{sqliteBase(q.db), q.wake}, q.config()); err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	return q.lite.Start(ctx)
}

// Stop fetches no more jobs and waits for those running until ctx ends; those
// left then are cancelled and run again later.
func (q *Queue) Stop(ctx context.Context) error {
	var stop, cancel func(context.Context) error
	switch {
	case q.work != nil:
		stop, cancel = q.work.Stop, q.work.StopAndCancel
	case q.lite != nil:
		stop, cancel = q.lite.Stop, q.lite.StopAndCancel
	default:
		return nil
	}
	if err := stop(ctx); err == nil {
		return nil
	}
	hard, done := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer done()
	return cancel(hard)
}

// Enqueue adds a job to the caller's transaction. args must encode to a JSON
// object.
func (q *Queue) Enqueue(ctx context.Context, tx *db.Tx, kind string, jobArgs any) error {
	if _, ok := q.handlers[kind]; !ok {
		return fmt.Errorf("jobs: no handler for kind %q", kind)
	}
	encoded, err := json.Marshal(jobArgs)
	if err != nil {
		return fmt.Errorf("jobs: encode %s: %w", kind, err)
	}
	_, err = q.insert.InsertTx(ctx, tx.Tx, args{uuid.Must(uuid.NewV7()), time.Now().UTC(), encoded, kind}, nil)
	if err != nil {
		return fmt.Errorf("jobs: enqueue %s: %w", kind, err)
	}
	tx.AfterCommit(q.wake.signal)
	return nil
}

// EnqueueOnce is Enqueue, unless a job of this kind waits already. One that runs
// does not count: it may have passed by what this one is for.
func (q *Queue) EnqueueOnce(ctx context.Context, tx *db.Tx, kind string, jobArgs any) error {
	if tx.Engine() == db.Postgres { // else two that look at once see none
		if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtext('enqueue once'))`); err != nil {
			return fmt.Errorf("jobs: %w", err)
		}
	}
	var n int
	err := tx.QueryRowContext(ctx,
		`SELECT COUNT(*) FROM river_job WHERE kind = $1 AND state IN ('available', 'pending', 'scheduled', 'retryable')`, kind).Scan(&n)
	if err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	if n > 0 {
		return nil
	}
	return q.Enqueue(ctx, tx, kind, jobArgs)
}

// Drop deletes the jobs whose argument of this name has this value, done or not,
// but for those that run at this moment.
func (q *Queue) Drop(ctx context.Context, tx *db.Tx, name, value string) error {
	query := `DELETE FROM river_job WHERE state <> 'running' AND json_extract(args, '$.args.' || $1) = $2`
	if tx.Engine() == db.Postgres {
		query = `DELETE FROM river_job WHERE state <> 'running' AND args -> 'args' ->> CAST($1 AS TEXT) = $2`
	}
	if _, err := tx.ExecContext(ctx, query, name, value); err != nil {
		return fmt.Errorf("jobs: drop: %w", err)
	}
	return nil
}

// Waiting is how many jobs wait to run, now or later.
func (q *Queue) Waiting(ctx context.Context) (n int, err error) {
	err = q.db.Read().QueryRowContext(ctx,
		`SELECT COUNT(*) FROM river_job WHERE state IN ('available', 'scheduled', 'retryable')`).Scan(&n)
	return n, err
}

// args is the one River argument type; its kind decides the handler.
type args struct {
	ID   uuid.UUID       `json:"id"`
	At   time.Time       `json:"at"`
	Args json.RawMessage `json:"args"`
	kind string
}

func (a args) Kind() string { return a.kind }

type worker struct {
	river.WorkerDefaults[args]
	kind    string
	handle  Handler
	metrics *metric.Metrics
}

func (w *worker) Work(ctx context.Context, job *river.Job[args]) error {
	start := time.Now()
	err := w.handle(ctx, Job{
		ID: job.Args.ID, Kind: w.kind, EnqueuedAt: job.Args.At.Truncate(time.Microsecond), Attempt: job.Attempt, args: job.Args.Args,
	})
	w.metrics.Job(w.kind, err, job.Attempt >= job.MaxAttempts, time.Since(start))
	return err
}

type retryPolicy struct{}

// NextRetry waits as retryAfter says, ±10 %. A job rescued from a dead process
// runs again at once.
func (retryPolicy) NextRetry(job *rivertype.JobRow) time.Time {
	now := time.Now()
	if job.AttemptedAt != nil && now.Sub(*job.AttemptedAt) >= rescueAfter {
		return now
	}
	wait := retryAfter[min(max(job.Attempt, 1), len(retryAfter))-1]
	return now.Add(time.Duration(float64(wait) * (0.9 + 0.2*rand.Float64())))
}

type errorHandler struct{ log *slog.Logger }

func (h errorHandler) HandleError(ctx context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	level, msg := slog.LevelWarn, "job failed, will be tried again"
	if job.Attempt >= job.MaxAttempts {
		level, msg = slog.LevelError, "job given up"
	}
	h.log.Log(ctx, level, msg, "kind", job.Kind, "job", job.ID, "attempt", job.Attempt, "error", err)
	return nil
}

func (h errorHandler) HandlePanic(ctx context.Context, job *rivertype.JobRow, value any, trace string) *river.ErrorHandlerResult {
	h.log.ErrorContext(ctx, "job panicked", "kind", job.Kind, "job", job.ID, "attempt", job.Attempt, "panic", value, "trace", trace)
	return nil
}

// quiet passes on River's warnings only: its informational lines describe its
// own machinery, and failed jobs are logged by errorHandler.
func quiet(log *slog.Logger) *slog.Logger {
	return slog.New(levelHandler{log.Handler(), slog.LevelWarn})
}

type levelHandler struct {
	slog.Handler
	level slog.Level
}

func (h levelHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.level && h.Handler.Enabled(ctx, l)
}
func (h levelHandler) WithAttrs(a []slog.Attr) slog.Handler {
	return levelHandler{h.Handler.WithAttrs(a), h.level}
}
func (h levelHandler) WithGroup(name string) slog.Handler {
	return levelHandler{h.Handler.WithGroup(name), h.level}
}

var silent = slog.New(slog.DiscardHandler)
