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
	for _, p := range q.periodic {
		err := q.db.Write(ctx, func(tx *db.Tx) error {
			if _, err := tx.ExecContext(ctx,
				`INSERT INTO periodic (name, next_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, p.kind, now); err != nil {
				return err
			}
			done, err := tx.ExecContext(ctx,
				`UPDATE periodic SET next_at = $1 WHERE name = $2 AND next_at <= $3`,
				now.Truncate(p.every).Add(p.every), p.kind, now)
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
