package retention

import (
	"context"
	"errors"
	"time"

	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/webhook"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

const (
	// Most is how far a dry run counts.
	Most = 1_000_000

	// Unknown is a number that would have taken too long to count.
	Unknown = -1

	countFor = 10 * time.Second // each of them
)

// count is a dry run.
func (s *Service) count(ctx context.Context) (n Counts, err error) {
	n = Counts{DryRun: true, Before: s.cutoff(s.AuditDays)}
	if n.Partitions, err = audit.OldPartitions(ctx, s.DB, n.Before); err != nil {
		return n, err
	}
	for _, c := range []struct {
		to    *int
		count func(ctx context.Context) (int, error)
	}{
		{&n.AuditEvents, func(ctx context.Context) (int, error) { return audit.CountRows(ctx, s.DB, n.Before, Most) }},
		{&n.Entries, func(ctx context.Context) (int, error) { return s.Chain.CountEntries(ctx, n.Before, Most) }},
		{&n.Sessions, func(ctx context.Context) (int, error) {
			return session.CountEnded(ctx, s.DB.Read(), s.cutoff(s.SessionDays), Most)
		}},
		{&n.Deliveries, func(ctx context.Context) (int, error) {
			return webhook.CountDeliveries(ctx, s.DB.Read(), s.cutoff(s.DeliveryDays), Most)
		}},
		{&n.SigningKeys, func(ctx context.Context) (int, error) {
			return keyring.CountRetired(ctx, s.DB.Read(), s.cutoff(s.AuditDays))
		}},
	} {
		bounded, cancel := context.WithTimeout(ctx, countFor)
		*c.to, err = c.count(bounded)
		late := bounded.Err() != nil && ctx.Err() == nil
		cancel()
		if late && errors.Is(err, context.DeadlineExceeded) {
			*c.to, err = Unknown, nil
		}
		if err != nil {
			return n, err
		}
	}
	n.Finished = true
	return n, nil
}
