package jobs

import (
	"context"
	"time"

	"github.com/riverqueue/river/rivertype"
)

// What the tests see of the inside.
var (
	RetryAfter  = retryAfter
	RescueAfter = rescueAfter
	MaxAttempts = maxAttempts
)

// Tick does what River's leader does every minute.
func (q *Queue) Tick(ctx context.Context) error { return q.tick(ctx, Job{}) }

// NextRetry is when a job that failed in this attempt is tried again.
func NextRetry(attempt int, attemptedAt *time.Time) time.Time {
	return retryPolicy{}.NextRetry(&rivertype.JobRow{Attempt: attempt, AttemptedAt: attemptedAt})
}
