package jobs

import (
	"context"
	"time"

	"github.com/riverqueue/river"

	"github.com/authsdk/authsdk/internal/foundation/db"
)

type periodic struct {
	kind  string
	every time.Duration
}

const tickKind = "periodic_tick"

// Every has a job of this kind enqueued once each period, on one process only.
// When it is due stands in SQL, so a restart or a dead leader delays it and
// never skips it. Call it before Start.
func (q *Queue) Every(every time.Duration, kind string) {
	q.periodic = append(q.periodic, periodic{kind, every})
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
		err := q.db.Write(ctx, func(tx *db.Tx) error {
			if _, err := tx.ExecContext(ctx,
				`INSERT INTO periodic (name, next_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, p.kind, now); err != nil {
				return err
			}
			done, err := tx.ExecContext(ctx,
				`UPDATE periodic SET next_at = $1 WHERE name = $2 AND (next_at <= $3 OR next_at > $4)`,
				now.Truncate(p.every).Add(p.every), p.kind, now, now.Add(p.every)) // further off: by a clock that was ahead
			if err != nil {
				return err
			}
			if n, err := done.RowsAffected(); err != nil || n == 0 {
				return err
			}
			return q.Enqueue(ctx, tx, p.kind, struct{}{})
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
