// Package worker is the face for jobs: a table of which kind is whose work.
package worker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/authsdk/authsdk/internal/core/client"
	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/core/risk"
	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/core/webhook"
	"github.com/authsdk/authsdk/internal/flow/account"
	"github.com/authsdk/authsdk/internal/flow/erasure"
	"github.com/authsdk/authsdk/internal/flow/recovery"
	"github.com/authsdk/authsdk/internal/flow/retention"
	"github.com/authsdk/authsdk/internal/flow/signup"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/cron"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/method/apikey"
	"github.com/authsdk/authsdk/internal/method/otp"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/jobs"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

// Kinds of periodic work.
const (
	pruneRevocations = "prune_revocations"
	auditPartitions  = "audit_partitions"
	pruneExpired     = "prune_expired" // lockouts, codes, confirmations, changes of address, replaced secrets
	pruneBudgets     = "prune_budgets" // of guesses at codes, and of mails with them
	tendSigningKeys  = "tend_signing_keys"
)

// Worker is what the jobs call.
type Worker struct {
	DB       *db.DB
	Log      *slog.Logger
	Clock    *clock.Clock
	Signup   *signup.Service
	Codes    *otp.Service
	Recovery *recovery.Service
	Account  *account.Service
	Erasure  *erasure.Service
	Keys     *keyring.Keyring

	Retention *retention.Service
	PurgeAt   cron.Schedule // never, if it is zero
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
			return errors.Join(risk.Prune(ctx, w.DB, now), stepup.Prune(ctx, w.DB, now), otp.Prune(ctx, w.DB, now), account.Prune(ctx, w.DB, now),
				client.Prune(ctx, w.DB, now), apikey.Prune(ctx, w.DB, now), webhook.Prune(ctx, w.DB, now))
		},
		pruneRevocations: func(ctx context.Context, _ jobs.Job) error {
			return revocation.Prune(ctx, w.DB, w.Clock.Now())
		},
		pruneBudgets: func(ctx context.Context, _ jobs.Job) error {
			return otp.PruneBudgets(ctx, w.DB, w.Clock.Now())
		},
		retention.Kind:  w.Retention.Work,
		tendSigningKeys: func(ctx context.Context, _ jobs.Job) error { return w.Keys.Tend(ctx) },
		auditPartitions: func(ctx context.Context, _ jobs.Job) error {
			if n, err := audit.InDefaultPartition(ctx, w.DB, 1); err != nil {
				return err
			} else if n > 0 {
				w.Log.ErrorContext(ctx, "audit events are in the default partition: their months cannot be dropped; see docs/guides/operations.md")
			}
			return audit.EnsurePartitions(ctx, w.DB, w.Clock.Now())
		},
	})
	q.Every(10*time.Minute, pruneRevocations)
	q.Every(time.Hour, pruneExpired)
	q.Every(time.Hour, tendSigningKeys)
	q.Every(24*time.Hour, auditPartitions)
	q.Every(24*time.Hour, pruneBudgets)
	if w.PurgeAt != (cron.Schedule{}) {
		q.Cron(w.PurgeAt, retention.Kind)
	}
}
