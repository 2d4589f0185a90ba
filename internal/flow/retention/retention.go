// Package retention deletes what is older than it may be: audit events, ended
// sessions, finished webhook deliveries, signing keys out of use.
//
// It goes in batches, each in a transaction of its own, and may be stopped after
// any of them: the next purge goes on. What it deletes of the audit log is signed
// first (audit.Chain.Raise), so that a purge is not taken for tampering.
package retention

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/webhook"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/jobs"
)

// Kind is the job of a scheduled purge.
const Kind = "retention_purge"

const (
	leaseName = "purge_running"
	leaseFor  = time.Minute

	sliceFor = 20 * time.Second // of a job; the rest is the next one's

	rowsSQLite   = 1_000
	rowsPostgres = 5_000
	rest         = 10 * time.Millisecond // SQLite has one writer: others get their turn
)

// ErrBusy is returned while another purge is at work.
var ErrBusy = errors.New("another purge is at work: wait a minute, then run it again")

var errLost = errors.New("retention: another purge has taken over")

// Settings are how long things are kept, in days.
type Settings struct {
	AuditDays    int
	SessionDays  int
	DeliveryDays int
}

// Service deletes old rows.
type Service struct {
	DB    *db.DB
	Clock *clock.Clock
	Log   *slog.Logger
	Chain *audit.Chain
	Jobs  *jobs.Queue
	Settings
}

// Counts are what a purge deleted, or would delete. In a dry run a number may be
// Most, which means that many or more, or Unknown.
type Counts struct {
	DryRun      bool      `json:"dry_run"`
	Before      time.Time `json:"before"` // of audit events
	AuditEvents int       `json:"audit_events"`
	Partitions  []string  `json:"partitions"` // months of the audit tables, PostgreSQL
	Entries     int       `json:"chain_entries"`
	Sessions    int       `json:"sessions"`
	Deliveries  int       `json:"deliveries"`
	SigningKeys int       `json:"signing_keys"`
	Finished    bool      `json:"finished"`
}

func (c Counts) total() int {
	return c.AuditEvents + len(c.Partitions) + c.Entries + c.Sessions + c.Deliveries + c.SigningKeys
}

// Purge deletes what is too old and records that it did. With dry it counts
// only. If it breaks off, what was done until then is returned and recorded.
func (s *Service) Purge(ctx context.Context, by audit.By, dry bool) (n Counts, err error) {
	defer fault.Wrap(&err, "retention.Purge")
	if dry {
		return s.count(ctx)
	}
	n.Partitions = []string{}
	err = s.run(ctx, &n, time.Time{})
	if err != nil && n.total() == 0 {
		return n, err
	}
	last, cancel := db.Settle(ctx)
	defer cancel()
	return n, errors.Join(err, s.record(last, by, n))
}

// Work is the handler of Kind: a slice of a purge, and a job for the rest.
func (s *Service) Work(ctx context.Context, job jobs.Job) (err error) {
	defer fault.Wrap(&err, "retention.Work")
	var n Counts
	if err := job.Args(&n); err != nil {
		return err
	}
	before := n
	err = s.run(ctx, &n, time.Now().Add(sliceFor))
	if err != nil && before.total() == n.total() {
		return err // tried again later
	}
	last, cancel := db.Settle(ctx)
	defer cancel()
	if n.Finished {
		return s.record(last, audit.By{Type: "system"}, n)
	}
	if err != nil {
		s.Log.Warn("a purge broke off and goes on", "error", err)
	}
	return s.DB.Write(last, func(tx *db.Tx) error { return s.Jobs.EnqueueOnce(last, tx, Kind, n) })
}

func (s *Service) record(ctx context.Context, by audit.By, n Counts) error {
	e := by.Event(audit.RetentionPurged)
	e.Metadata = map[string]any{
		"audit_events": n.AuditEvents, "sessions": n.Sessions, "deliveries": n.Deliveries, "partitions": n.Partitions,
		"before": n.Before.Format(time.RFC3339), "finished": n.Finished,
	}
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock.Now()
		if err := by.Admit(ctx, tx, now); err != nil {
			return err
		}
		return audit.Record(ctx, tx, now, e)
	})
	if err != nil {
		return err
	}
	s.Log.Info("retention_purge_completed", "finished", n.Finished, "before", n.Before, "audit_events", n.AuditEvents, "partitions", n.Partitions,
		"sessions", n.Sessions, "deliveries", n.Deliveries, "signing_keys", n.SigningKeys)
	return nil
}

// cutoff is the beginning of the day that many days ago.
func (s *Service) cutoff(days int) time.Time {
	return s.Clock.Now().AddDate(0, 0, -days).Truncate(24 * time.Hour)
}

// A purge is one run of it.
type purge struct {
	*Service
	lease  jobs.Lease
	until  time.Time // zero: as long as it takes
	counts *Counts
}

// errSlice ends a run that has had its time.
var errSlice = errors.New("retention: the rest is for the next")

func (s *Service) run(ctx context.Context, n *Counts, until time.Time) (err error) {
	p := &purge{Service: s, until: until, counts: n}
	taken := false
	err = s.DB.Write(ctx, func(tx *db.Tx) (err error) {
		p.lease, taken, err = jobs.Take(ctx, tx, leaseName, s.Clock.Now(), leaseFor)
		return err
	})
	if err != nil {
		return err
	}
	if !taken {
		return ErrBusy
	}
	defer func() {
		last, cancel := db.Settle(ctx)
		defer cancel()
		released := s.DB.Write(last, func(tx *db.Tx) error { return p.lease.Release(last, tx, s.Clock.Now()) })
		if errors.Is(err, errSlice) {
			err = nil
		}
		err = errors.Join(err, released)
	}()
	if err := p.auditLog(ctx); err != nil {
		return err
	}
	if err := p.others(ctx); err != nil {
		return err
	}
	n.Finished = true
	return nil
}

func (p *purge) auditLog(ctx context.Context) error {
	before := p.cutoff(p.AuditDays)
	if err := p.Chain.Prepare(ctx); err != nil {
		return err
	}
	floor, err := p.Chain.Raise(ctx, before)
	if err != nil {
		return err
	}
	head, err := audit.LastHead(ctx, p.DB.Read())
	if err != nil {
		return err
	}
	if head.KeptFrom.Before(before) { // what is younger than the last head stays
		before = head.KeptFrom
	}
	p.counts.Before = before
	if err := p.hold(ctx); err != nil {
		return err
	}
	dropped, err := audit.DropPartitions(ctx, p.DB, before)
	p.counts.Partitions = append(p.counts.Partitions, dropped...)
	if err != nil { // a busy table: the next purge drops it
		p.Log.Warn("old partitions of the audit log stay until the next purge", "error", err)
	}
	err = p.batches(ctx, &p.counts.AuditEvents, func(tx *db.Tx, limit int) (int, bool, error) {
		n, err := audit.PurgeRows(ctx, tx, before, limit)
		return n, n < limit, err
	})
	if err != nil {
		return err
	}
	return p.batches(ctx, &p.counts.Entries, func(tx *db.Tx, limit int) (int, bool, error) {
		n, err := audit.PurgeEntries(ctx, tx, floor, limit)
		return n, n < limit, err
	})
}

func (p *purge) others(ctx context.Context) error {
	before, after, next := p.cutoff(p.SessionDays), uuid.Nil, uuid.Nil
	err := p.batches(ctx, &p.counts.Sessions, func(tx *db.Tx, limit int) (n int, done bool, err error) {
		if next, n, err = session.PurgeEnded(ctx, tx, before, after, limit); err != nil {
			return 0, false, err
		}
		tx.AfterCommit(func() { after = next })
		return n, next == uuid.Nil, nil
	})
	if err != nil {
		return err
	}
	err = p.batches(ctx, &p.counts.Deliveries, func(tx *db.Tx, limit int) (int, bool, error) {
		n, err := webhook.PurgeDeliveries(ctx, tx, p.cutoff(p.DeliveryDays), limit)
		return n, n < limit, err
	})
	if err != nil {
		return err
	}
	return p.batches(ctx, &p.counts.SigningKeys, func(tx *db.Tx, _ int) (int, bool, error) {
		n, err := keyring.PurgeRetired(ctx, tx, p.cutoff(p.AuditDays))
		return n, true, err
	})
}

// batches has act delete a batch after the other, each in a transaction that
// holds the lease, and adds up what is gone.
func (p *purge) batches(ctx context.Context, sum *int, act func(tx *db.Tx, limit int) (n int, done bool, err error)) error {
	limit := rowsSQLite
	if p.DB.Engine() == db.Postgres {
		limit = rowsPostgres
	}
	for {
		var lease jobs.Lease
		var n int
		done := false
		err := p.DB.Write(ctx, func(tx *db.Tx) (err error) {
			if lease, err = p.extend(ctx, tx); err != nil {
				return err
			}
			n, done, err = act(tx, limit)
			return err
		})
		if err != nil {
			return err
		}
		p.lease = lease
		*sum += n
		switch {
		case done:
			return nil
		case !p.until.IsZero() && time.Now().After(p.until):
			return errSlice
		case p.DB.Engine() == db.SQLite:
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(rest):
			}
		}
	}
}

// hold extends the lease before what has no transaction of ours.
func (p *purge) hold(ctx context.Context) error {
	var lease jobs.Lease
	err := p.DB.Write(ctx, func(tx *db.Tx) (err error) {
		lease, err = p.extend(ctx, tx)
		return err
	})
	if err == nil {
		p.lease = lease
	}
	return err
}

func (p *purge) extend(ctx context.Context, tx *db.Tx) (jobs.Lease, error) {
	lease, held, err := p.lease.Extend(ctx, tx, p.Clock.Now(), leaseFor)
	if err == nil && !held {
		err = errLost
	}
	return lease, err
}
