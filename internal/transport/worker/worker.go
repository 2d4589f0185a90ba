// Package worker is the face for jobs: a table of which kind is whose work.
package worker

import (
	"context"
	"time"

	"github.com/authsdk/authsdk/internal/flow/signup"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/jobs"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

// Kinds of periodic work.
const (
	pruneRevocations = "prune_revocations"
	auditPartitions  = "audit_partitions"
)

// Worker is what the jobs call.
type Worker struct {
	DB     *db.DB
	Clock  *clock.Clock
	Signup *signup.Service
}

// Register tells the queue what to work and how often.
func (w *Worker) Register(q *jobs.Queue) {
	q.Handle(map[string]jobs.Handler{
		signup.VerifyMail: w.Signup.SendVerification,
		pruneRevocations: func(ctx context.Context, _ jobs.Job) error {
			return revocation.Prune(ctx, w.DB, w.Clock.Now())
		},
		auditPartitions: func(ctx context.Context, _ jobs.Job) error {
			return audit.EnsurePartitions(ctx, w.DB, w.Clock.Now())
		},
	})
	q.Every(10*time.Minute, pruneRevocations)
	q.Every(24*time.Hour, auditPartitions)
}
