package risk

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

const (
	seenFor   = 30 * 24 * time.Hour // how long a place stays known
	seenMost  = 50                  // places of a kind an account keeps
	seenEvery = time.Hour           // how precise seen_at is
	failsMany = 3                   // failures before a success that stand out
)

// Kinds of places.
const (
	kindNetwork = "network"
	kindDevice  = "device"
)

// Place is where a request comes from, and what an account's past says of it.
type Place struct {
	Known     bool // the account was used from this network lately
	newDevice bool
	first     bool // the account was not used from anywhere yet
	network   string
	device    string
	stale     bool // seen_at is due to be moved
	user      uuid.UUID
}

const placesOf = `SELECT kind, value, seen_at FROM seen WHERE user_id = $1`

// Look tells what is known of where the request comes from. uuid.Nil, an
// account that is not there, costs the same.
func (s *Service) Look(ctx context.Context, id uuid.UUID) (p Place, err error) {
	origin := audit.OriginOf(ctx)
	p = Place{network: home(origin.IP), device: device(origin.UserAgent), newDevice: true, first: true, user: id}
	now := s.Clock.Now()
	rows, err := s.DB.Read().QueryContext(ctx, placesOf, id)
	if err != nil {
		return p, fmt.Errorf("risk.Look: %w", err)
	}
	defer rows.Close()
	due := 0
	for rows.Next() {
		var kind, value string
		var at time.Time
		if err := rows.Scan(&kind, &value, &at); err != nil {
			return p, fmt.Errorf("risk.Look: %w", err)
		}
		p.first = false
		if now.Sub(at) > seenFor {
			continue
		}
		switch {
		case kind == kindNetwork && value == p.network:
			p.Known = true
		case kind == kindDevice && value == p.device:
			p.newDevice = false
		default:
			continue
		}
		if now.Sub(at) > seenEvery {
			due++
		}
	}
	p.stale = due > 0
	return p, rows.Err()
}

// Suspicion is why a success stands out.
type Suspicion struct {
	NewIP         bool
	NewUserAgent  bool
	PriorFailures int
}

// Reasons lists them by name, in the order of the contract. The first sign-in of
// an account is new in everything, and no surprise.
func (s Suspicion) Reasons() []string {
	var reasons []string
	if s.NewIP {
		reasons = append(reasons, "new_ip")
	}
	if s.NewUserAgent {
		reasons = append(reasons, "new_user_agent")
	}
	if s.PriorFailures >= failsMany {
		reasons = append(reasons, "prior_failures")
	}
	return reasons
}

// Suspicion of a success here after so many failures.
func (p Place) Suspicion(failures int) Suspicion {
	return Suspicion{
		NewIP:         !p.first && !p.Known && p.network != "",
		NewUserAgent:  !p.first && p.newDevice && p.device != "",
		PriorFailures: failures,
	}
}

// Remember notes that the account was used from here.
func (s *Service) Remember(ctx context.Context, tx *db.Tx, now time.Time, id uuid.UUID, p Place) error {
	isNew := !p.Known || p.newDevice
	if !isNew && !p.stale {
		return nil
	}
	// In one order, or two sign-ins at once wait for each other.
	for _, here := range [][2]string{{kindNetwork, p.network}, {kindDevice, p.device}} {
		kind, value := here[0], here[1]
		if value == "" {
			continue
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO seen (user_id, kind, value, seen_at) VALUES ($1, $2, $3, $4)
			ON CONFLICT (user_id, kind, value) DO UPDATE SET seen_at = excluded.seen_at`, id, kind, value, now)
		if err != nil {
			return fmt.Errorf("risk.Remember: %w", err)
		}
	}
	if !isNew {
		return nil
	}
	for _, kind := range []string{kindNetwork, kindDevice} {
		_, err := tx.ExecContext(ctx, `DELETE FROM seen WHERE user_id = $1 AND kind = $2 AND (seen_at < $3 OR value NOT IN (
			SELECT value FROM seen WHERE user_id = $4 AND kind = $5 ORDER BY seen_at DESC LIMIT $6))`,
			id, kind, now.Add(-seenFor), id, kind, seenMost)
		if err != nil {
			return fmt.Errorf("risk.Remember: %w", err)
		}
	}
	return nil
}

// Forget deletes what an account was used from, and the failures counted for its
// address.
func (s *Service) Forget(ctx context.Context, tx *db.Tx, id uuid.UUID, email string) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM seen WHERE user_id = $1`, id); err != nil {
		return fmt.Errorf("risk.Forget: %w", err)
	}
	return s.ClearAll(ctx, tx, email)
}
