package risk

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// ladder says how long to wait after how many failures: nothing before the
// first step, then longer at each. A count is forgotten an hour after its last
// failure, or its first where sliding is false.
type ladder struct {
	first   int // the failure that locks
	waits   []time.Duration
	sliding bool
}

const forgetAfter = time.Hour

var (
	steps = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}

	narrow = ladder{5, steps, true}
	wide   = ladder{15, steps, true}

	// strangers counts all networks that the account is not known from. 50 in an
	// hour lock them all for one: at most 99 in any hour.
	strangers = ladder{50, []time.Duration{time.Hour}, false}
)

// everywhere is the network of the count over all strangers.
const everywhere = "*"

// Attempt is a proof that was charged before it is examined.
type Attempt struct {
	account  string
	charged  []charge
	lockedTo time.Time // when set, this attempt is the one that locks,
	lockedBy int       // the so many-th where it does

	// Undecided is set beside account_locked when attempts that count are still
	// being examined: if they are right, there is no lock in a moment.
	Undecided bool
}

type charge struct {
	network  string
	failures int
	stranger bool
}

// Failures before this one, as far as they were counted here.
func (a Attempt) Failures() int {
	most := 0
	for _, c := range a.charged {
		most = max(most, c.failures-1)
	}
	return most
}

// Charge counts an attempt at an account before anybody looks whether it is
// right, so that parallel guesses cannot pass the ladder together. Afterwards
// the caller tells, in the transaction of its act, how it went: Failed, Right or
// Clear. Fault: account_locked.
func (s *Service) Charge(ctx context.Context, tx *db.Tx, now time.Time, email string, p Place) (a Attempt, err error) {
	defer fault.Wrap(&err, "risk.Charge")
	a.account = s.account(email)
	networks := networksOf(audit.OriginOf(ctx).IP)
	if !p.Known {
		networks = append(networks, network{everywhere, strangers})
	}
	for _, n := range networks {
		failures, pending, until, err := count(ctx, tx, now, a.account, p.user, n)
		if err != nil {
			return a, err
		}
		a.Undecided = failures == 0 && pending > 0
		if failures == 0 { // locked: the transaction ends, and with it what was counted above
			return a, fault.Retry(fault.AccountLocked, until.Sub(now))
		}
		a.charged = append(a.charged, charge{n.prefix, failures, n.prefix == everywhere})
		if until.After(now) && until.After(a.lockedTo) {
			a.lockedTo, a.lockedBy = until, failures
		}
	}
	return a, nil
}

// count adds a failure and locks where the ladder says so. failures is 0 if it
// is locked already; until is when a lock ends.
func count(ctx context.Context, tx *db.Tx, now time.Time, account string, user uuid.UUID, n network) (failures, pending int, until time.Time, err error) {
	wait := func(i int) time.Time { return now.Add(n.steps.waits[min(i, len(n.steps.waits)-1)]) }
	end := now.Add(forgetAfter)
	err = tx.QueryRowContext(ctx, `
		INSERT INTO lockouts (account, network, failures, pending, locked_until, expires_at, user_id) VALUES ($1, $2, 1, 1, $3, $4, $12)
		ON CONFLICT (account, network) DO UPDATE SET
			user_id = excluded.user_id,
			failures = CASE WHEN lockouts.expires_at <= $5 THEN 1 ELSE lockouts.failures + 1 END,
			pending = CASE WHEN lockouts.expires_at <= $5 THEN 1 ELSE lockouts.pending + 1 END,
			locked_until = CASE
				WHEN lockouts.expires_at <= $5 OR lockouts.failures + 1 < $6 THEN $3
				WHEN lockouts.failures + 1 = $6 THEN $7
				WHEN lockouts.failures = $6 THEN $8
				WHEN lockouts.failures = $6 + 1 THEN $9
				ELSE $10 END,
			expires_at = CASE
				WHEN lockouts.expires_at <= $5 OR $11 OR lockouts.failures + 1 >= $6 THEN $4
				ELSE lockouts.expires_at END
		WHERE lockouts.locked_until <= $5
		RETURNING failures, pending, locked_until`,
		account, n.prefix, time.Time{}, end, now, n.steps.first, wait(0), wait(1), wait(2), wait(3), n.steps.sliding,
		uuid.NullUUID{UUID: user, Valid: user != uuid.Nil}).Scan(&failures, &pending, &until)
	if errors.Is(err, sql.ErrNoRows) {
		err = tx.QueryRowContext(ctx, `SELECT pending, locked_until FROM lockouts WHERE account = $1 AND network = $2`, account, n.prefix).Scan(&pending, &until)
		if errors.Is(err, sql.ErrNoRows) { // cleared at this moment
			return 0, 1, now.Add(time.Second), nil
		}
		return 0, pending, until.UTC(), err
	}
	return failures, pending, until.UTC(), err
}

// About is who and what an attempt was at, for its events.
type About struct {
	User     uuid.UUID // uuid.Nil if the account is not there
	Provider string
	Context  string // login, action: of a mailed code
	Action   string
}

// Failed ends an attempt that was wrong. If it is the one that locks, that is
// recorded, once, and the fault is account_locked; else it is nil.
func (a Attempt) Failed(ctx context.Context, tx *db.Tx, now time.Time, of About) (locked error, err error) {
	for _, c := range a.charged {
		_, err := tx.ExecContext(ctx, `UPDATE lockouts SET pending = pending - 1 WHERE account = $1 AND network = $2 AND pending > 0`, a.account, c.network)
		if err != nil {
			return nil, fmt.Errorf("risk.Failed: %w", err)
		}
	}
	if a.lockedTo.IsZero() {
		return nil, nil
	}
	wait := a.lockedTo.Sub(now)
	metadata := map[string]any{"retry_after": int(math.Ceil(wait.Seconds())), "attempt_count": a.lockedBy, "distributed_attack": a.distributed()}
	for key, value := range map[string]string{"provider": of.Provider, "context": of.Context, "action": of.Action} {
		if value != "" {
			metadata[key] = value
		}
	}
	event := audit.Event{Type: audit.UserLocked, Actor: of.User, Failure: fault.AccountLocked.Slug, Metadata: metadata}
	if of.User != uuid.Nil {
		event.TargetType, event.Target = "user", of.User
	}
	return fault.Retry(fault.AccountLocked, wait), audit.Record(ctx, tx, now, event)
}

// distributed reports whether it is the count over all strangers that locks.
func (a Attempt) distributed() bool {
	for _, c := range a.charged {
		if c.stranger && c.failures >= strangers.first {
			return true
		}
	}
	return false
}

// Right takes an attempt back that was right: it is no failure, and no proof
// that those before it were none.
func (s *Service) Right(ctx context.Context, tx *db.Tx, a Attempt) error {
	for _, c := range a.charged {
		if err := refund(ctx, tx, a.account, c.network); err != nil {
			return err
		}
	}
	return nil
}

// Clear ends an attempt whose act succeeded: this network starts anew. What
// strangers elsewhere failed stays counted, or each sign-in of the owner would
// give them another round.
func (s *Service) Clear(ctx context.Context, tx *db.Tx, a Attempt) error {
	for _, c := range a.charged {
		if c.stranger {
			if err := refund(ctx, tx, a.account, c.network); err != nil {
				return err
			}
			continue
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM lockouts WHERE account = $1 AND network = $2`, a.account, c.network); err != nil {
			return fmt.Errorf("risk.Clear: %w", err)
		}
	}
	return nil
}

func refund(ctx context.Context, tx *db.Tx, account, network string) error {
	_, err := tx.ExecContext(ctx, `UPDATE lockouts SET failures = failures - 1, pending = pending - 1, locked_until = $1
		WHERE account = $2 AND network = $3 AND failures > 0 AND pending > 0`, time.Time{}, account, network)
	if err != nil {
		return fmt.Errorf("risk: refund: %w", err)
	}
	return nil
}

// ClearAll forgets every failure at an address: its mailbox was proved.
func (s *Service) ClearAll(ctx context.Context, tx *db.Tx, email string) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM lockouts WHERE account = $1`, s.account(email)); err != nil {
		return fmt.Errorf("risk.ClearAll: %w", err)
	}
	return nil
}

const pruneOld = `DELETE FROM lockouts WHERE expires_at < $1`

// Prune deletes counts that are forgotten.
func Prune(ctx context.Context, d *db.DB, now time.Time) error {
	return d.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, pruneOld, now)
		return err
	})
}

// account names an address in the counts.
func (s *Service) account(email string) string {
	return base64.RawURLEncoding.EncodeToString(s.Ring.MAC([]byte("lockout " + email)))
}

const failuresOf = `SELECT network, failures FROM lockouts WHERE account = $1 AND expires_at > $2`

// Failures counted for attempts at the address from here, as Attempt.Failures
// would tell.
func (s *Service) Failures(ctx context.Context, c db.Conn, now time.Time, email string, p Place) (most int, err error) {
	rows, err := c.QueryContext(ctx, failuresOf, s.account(email), now)
	if err != nil {
		return 0, fmt.Errorf("risk.Failures: %w", err)
	}
	defer rows.Close()
	here := map[string]bool{everywhere: !p.Known}
	for _, n := range networksOf(audit.OriginOf(ctx).IP) {
		here[n.prefix] = true
	}
	for rows.Next() {
		var network string
		var failures int
		if err := rows.Scan(&network, &failures); err != nil {
			return 0, fmt.Errorf("risk.Failures: %w", err)
		}
		if here[network] {
			most = max(most, failures)
		}
	}
	return most, rows.Err()
}
