package jobs

import (
	"context"
	"time"

	"github.com/riverqueue/river"

	"github.com/authsdk/authsdk/internal/foundation/cron"
	"github.com/authsdk/authsdk/internal/foundation/db"
)

type periodic struct {
	kind  string
	every time.Duration
	cron  *cron.Schedule // instead of every
}

// due says what a look at this moment makes of the row of p: when it is due next,
// and which stored time is further off than any that was meant.
func (p periodic) due(now time.Time) (next, far time.Time) {
	if p.cron != nil {
		next = p.cron.Next(now)
		return next, next
	}
	return now.Truncate(p.every).Add(p.every), now.Add(p.every)
}

const tickKind = "periodic_tick"

// Every has a job of this kind enqueued once each period, on one process only.
// When it is due stands in SQL, so a restart or a dead leader delays it and
// never skips it. Call it before Start.
func (q *Queue) Every(every time.Duration, kind string) {
	q.periodic = append(q.periodic, periodic{kind: kind, every: every})
}

// Cron has a job of this kind enqueued when the schedule says so, on one process
// only, unless one still waits. Like Every it is delayed by a stop, and not
// skipped; unlike it the first start is no reason. Call it before Start.
func (q *Queue) Cron(schedule cron.Schedule, kind string) {
	q.periodic = append(q.periodic, periodic{kind: kind, cron: &schedule})
}

// addPeriodic has River's leader start a tick every minute.
func (q *Queue) addPeriodic(cfg *river.Config, workers *river.Workers) {
	river.AddWorkerArgs(workers, args{kind: tickKind}, &worker{kind: tickKind, handle: q.tick})
	cfg.PeriodicJobs = []*river.PeriodicJob{river.NewPeriodicJob(
		river.PeriodicInterval(time.Minute),
		func() (river.JobArgs, *river.InsertOpts) {
			return args{Args: []byte(`{}`), kind: tickKind}, &river.InsertOpts{
				MaxAttempts: 1,
				UniqueOpts:  river.UniqueOpts{ByPeriod: time.Minute},
			}
		},
		&river.PeriodicJobOpts{RunOnStart: true},
	)}
}

func (q *Queue) tick(ctx context.Context, _ Job) error {
	now := time.Now().UTC().Truncate(time.Microsecond)
	if err := q.hasten(ctx, now); err != nil {
		return err
	}
	for _, p := range q.periodic {
		next, far := p.due(now)
		first, enqueue := now, q.Enqueue
		if p.cron != nil {
			first, enqueue = next, q.EnqueueOnce
		}
		err := q.db.Write(ctx, func(tx *db.Tx) error {
			if _, err := tx.ExecContext(ctx,
				`INSERT INTO periodic (name, next_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, p.kind, first); err != nil {
				return err
			}
			if p.cron != nil { // by a clock that was ahead, or by another schedule: no reason to work now
				if _, err := tx.ExecContext(ctx, `UPDATE periodic SET next_at = $1 WHERE name = $2 AND next_at > $1`, next, p.kind); err != nil {
					return err
				}
			}
			done, err := tx.ExecContext(ctx,
				`UPDATE periodic SET next_at = $1 WHERE name = $2 AND (next_at <= $3 OR next_at > $4)`,
				next, p.kind, now, far) // further off: by a clock that was ahead
			if err != nil {
				return err
			}
			if n, err := done.RowsAffected(); err != nil || n == 0 {
				return err
			}
			return enqueue(ctx, tx, p.kind, struct{}{})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// hasten has jobs run now that were enqueued by a clock that was ahead: River
// fetches a job that is available no sooner than the time it was enqueued at.
func (q *Queue) hasten(ctx context.Context, now time.Time) error {
	at := func(t time.Time) any { return t }
	if q.db.Engine() == db.SQLite {
		at = func(t time.Time) any { return t.Format("2006-01-02 15:04:05.000") } // as River compares them
	}
	return q.db.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE river_job SET scheduled_at = $1 WHERE state = 'available' AND scheduled_at > $2`, at(now), at(now.Add(time.Minute)))
		return err
	})
}
