// Package worker is the face for jobs: a table of which kind is whose work.
package worker

import (
	"context"
	"errors"
	"time"

	"github.com/authsdk/authsdk/internal/core/risk"
	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/flow/account"
	"github.com/authsdk/authsdk/internal/flow/erasure"
	"github.com/authsdk/authsdk/internal/flow/recovery"
	"github.com/authsdk/authsdk/internal/flow/signup"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/method/otp"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/jobs"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

// Kinds of periodic work.
const (
	pruneRevocations = "prune_revocations"
	auditPartitions  = "audit_partitions"
	pruneExpired     = "prune_expired" // lockouts, codes, confirmations, changes of address
)

// Worker is what the jobs call.
type Worker struct {
	DB       *db.DB
	Clock    *clock.Clock
	Signup   *signup.Service
	Codes    *otp.Service
	Recovery *recovery.Service
	Account  *account.Service
	Erasure  *erasure.Service
}

// Register tells the queue what to work and how often.
func (w *Worker) Register(q *jobs.Queue) {
	q.Handle(map[string]jobs.Handler{
		signup.VerifyMail:    w.Signup.SendVerification,
		otp.CodeMail:         w.Codes.SendCode,
		erasure.ForgetEvents: w.Erasure.Forget,

		recovery.ResetMail:   w.Recovery.SendReset,
		recovery.DoneMail:    w.Recovery.SendDone,
		account.PasswordMail: w.Account.SendPasswordChanged,
		account.ChangeMail:   w.Account.SendChange,
		account.ChangedMail:  w.Account.SendChanged,

		pruneExpired: func(ctx context.Context, _ jobs.Job) error {
			now := w.Clock.Now()
			return errors.Join(risk.Prune(ctx, w.DB, now), stepup.Prune(ctx, w.DB, now), otp.Prune(ctx, w.DB, now), account.Prune(ctx, w.DB, now))
		},
		pruneRevocations: func(ctx context.Context, _ jobs.Job) error {
			return revocation.Prune(ctx, w.DB, w.Clock.Now())
		},
		auditPartitions: func(ctx context.Context, _ jobs.Job) error {
			return audit.EnsurePartitions(ctx, w.DB, w.Clock.Now())
		},
	})
	q.Every(10*time.Minute, pruneRevocations)
	q.Every(time.Hour, pruneExpired)
	q.Every(24*time.Hour, auditPartitions)
}
