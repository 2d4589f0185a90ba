package keyring

import (
	"context"
	"errors"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

const (
	// publishedFor is how long a key is published before it may sign: as long as
	// others may keep the JWKS.
	publishedFor = time.Minute

	// margin is how much longer than a token's life its key verifies: what clocks
	// may differ, and a replica that has not heard of the rotation.
	margin = 90 * time.Second

	// MaxOverlap bounds how long a replaced key may verify.
	MaxOverlap = 30 * 24 * time.Hour
)

var (
	system = audit.By{Type: "system"}

	errNoActive = errors.New("no signing key is active")
)

// Rotation is what a rotation did.
type Rotation struct {
	New      string        // signs now
	Retiring string        // verifies for Overlap more
	Overlap  time.Duration // no shorter than a token lives
}

// Rotate lets the next key sign. The one before it verifies for the overlap
// (nil: that of the settings), and never for less than a token lives. Faults:
// rotation_too_soon, while others may not know the next key yet;
// validation_error.
func (k *Keyring) Rotate(ctx context.Context, by audit.By, overlap *time.Duration) (r Rotation, err error) {
	defer fault.Wrap(&err, "keyring.Rotate")
	chosen := k.o.Overlap
	if overlap != nil {
		chosen = *overlap
	}
	if chosen < 0 || chosen > MaxOverlap {
		return r, fault.Invalid("overlap_seconds", "must be from 0 to 2592000")
	}
	return k.rotate(ctx, by, chosen, func(row) bool { return true })
}

// rotate rotates if the active key is due.
func (k *Keyring) rotate(ctx context.Context, by audit.By, overlap time.Duration, due func(active row) bool) (r Rotation, err error) {
	fresh, err := k.make(k.o.Algorithm)
	if err != nil {
		return r, err
	}
	var early error
	err = k.db.Write(ctx, func(tx *db.Tx) error {
		r, early = Rotation{}, nil
		now := k.clock.Now()
		keys, err := k.admit(ctx, tx, by, now)
		if err != nil {
			return err
		}
		active, next := only(keys, Active), only(keys, Next)
		switch {
		case !due(*active):
			return nil
		case !k.usable(next): // it may be a secret that was lost: another one can sign in a while
			early = fault.Retry(fault.RotationTooSoon, publishedFor)
			return k.replaceNext(ctx, tx, now, next, fresh)
		case next.published.After(now.Add(-publishedFor)):
			return fault.Retry(fault.RotationTooSoon, next.published.Add(publishedFor).Sub(now))
		}
		life, err := k.life(ctx, tx)
		if err != nil {
			return err
		}
		r = Rotation{New: next.kid, Retiring: active.kid, Overlap: max(overlap, life)}
		if err := beginRetiring(ctx, tx, active.id, now.Add(r.Overlap)); err != nil {
			return err
		}
		if err := activate(ctx, tx, now, next.id); err != nil {
			return err
		}
		event := by.Event(audit.SigningKeyRotated)
		event.Metadata = map[string]any{"new_kid": r.New, "retiring_kid": r.Retiring, "rotation_overlap_seconds": int(r.Overlap / time.Second)}
		if err := audit.Record(ctx, tx, now, event); err != nil {
			return err
		}
		return k.replaceNext(ctx, tx, now, nil, fresh)
	})
	if err == nil {
		err = early
		k.follow(ctx)
	}
	return r, err
}

// Revoke puts a key out of use at once, everywhere: what it signed is refused.
// It returns the key that signs then. To revoke again changes nothing. Fault:
// signing_key_not_found.
func (k *Keyring) Revoke(ctx context.Context, by audit.By, kid string) (active string, err error) {
	defer fault.Wrap(&err, "keyring.Revoke")
	fresh, err := k.make(k.o.Algorithm)
	if err != nil {
		return "", err
	}
	err = k.db.Write(ctx, func(tx *db.Tx) error {
		now := k.clock.Now()
		keys, err := k.admit(ctx, tx, by, now)
		if err != nil {
			return err
		}
		active = only(keys, Active).kid
		key, found, err := find(ctx, tx, kid)
		switch {
		case err != nil:
			return err
		case !found:
			return fault.New(fault.SigningKeyNotFound)
		case key.status == Revoked:
			return nil
		}
		if err := revoke(ctx, tx, now, key.id); err != nil {
			return err
		}
		event := by.Event(audit.SigningKeyRevoked)
		event.Metadata = map[string]any{"kid": kid}
		switch key.status {
		case Active:
			if active, err = k.promote(ctx, tx, now, only(keys, Next), fresh); err != nil {
				return err
			}
			event.Metadata["promoted_kid"] = active
		case Next:
			if err := k.replaceNext(ctx, tx, now, nil, fresh); err != nil {
				return err
			}
		}
		if err := k.name(ctx, tx, now, kid); err != nil {
			return err
		}
		return audit.Record(ctx, tx, now, event)
	})
	if err == nil {
		k.follow(ctx)
	}
	return active, err
}

// promote lets the next key sign, however short it has been published, and the
// fresh one if there is no next: that is then made by Tend.
func (k *Keyring) promote(ctx context.Context, tx *db.Tx, now time.Time, next *row, fresh row) (kid string, err error) {
	if k.usable(next) {
		if err := activate(ctx, tx, now, next.id); err != nil {
			return "", err
		}
		return next.kid, k.replaceNext(ctx, tx, now, nil, fresh)
	}
	fresh.status, fresh.activated = Active, now
	return fresh.kid, k.add(ctx, tx, now, fresh)
}

// name has every replica refuse a key.
func (k *Keyring) name(ctx context.Context, tx *db.Tx, now time.Time, kid string) error {
	if k.o.Feed == nil {
		return nil
	}
	life, err := k.life(ctx, tx)
	if err != nil {
		return err
	}
	return k.o.Feed.Append(ctx, tx, now, revocation.Entry{Kind: revocation.Key, Subject: kid, Expires: now.Add(life)}, k.change(now))
}

// admit begins an act on the keys and returns those that are published, one of
// which is active.
func (k *Keyring) admit(ctx context.Context, tx *db.Tx, by audit.By, now time.Time) ([]row, error) {
	if err := lock(ctx, tx); err != nil {
		return nil, err
	}
	if err := by.Admit(ctx, tx, now); err != nil {
		return nil, err
	}
	keys, err := published(ctx, tx)
	if err == nil && only(keys, Active) == nil {
		err = errNoActive
	}
	return keys, err
}

// life is how long a key must verify after it has signed for the last time.
func (k *Keyring) life(ctx context.Context, c db.Conn) (time.Duration, error) {
	if k.o.TokenLife == nil {
		return margin, nil
	}
	longest, err := k.o.TokenLife(ctx, c)
	return longest + margin, err
}

// usable reports whether a next key is there and can sign.
func (k *Keyring) usable(next *row) bool {
	if next == nil {
		return false
	}
	_, err := k.open(*next)
	return err == nil
}

// replaceNext adds a next key in the place of the one before, if there is one.
func (k *Keyring) replaceNext(ctx context.Context, tx *db.Tx, now time.Time, old *row, fresh row) error {
	if old != nil {
		if err := remove(ctx, tx, old.id); err != nil {
			return err
		}
	}
	fresh.status, fresh.published = Next, now
	return k.add(ctx, tx, now, fresh)
}

// add stores a key that was made and tells everybody.
func (k *Keyring) add(ctx context.Context, tx *db.Tx, now time.Time, fresh row) error {
	fresh.created = now
	created, err := insert(ctx, tx, fresh)
	if err == nil && !created {
		err = errors.New("another key has its place")
	}
	if err != nil {
		return err
	}
	if err := k.announce(ctx, tx, now); err != nil {
		return err
	}
	return audit.Record(ctx, tx, now, creation(fresh, false))
}

// announce has every replica read the keys again.
func (k *Keyring) announce(ctx context.Context, tx *db.Tx, now time.Time) error {
	if k.o.Feed == nil {
		return nil
	}
	return k.o.Feed.Append(ctx, tx, now, k.change(now))
}

// change is what the feed then says. Its number grows: it is the time, or more
// where this clock is behind another's.
func (k *Keyring) change(now time.Time) revocation.Entry {
	version, _ := k.told()
	return revocation.Entry{Kind: revocation.Changed, Subject: changed, Epoch: max(now.UnixMicro(), version+1), Expires: now.Add(10 * time.Minute)}
}

// follow takes a change in that has been committed. If that fails, Run does it.
func (k *Keyring) follow(ctx context.Context) {
	ctx, cancel := db.Settle(ctx)
	defer cancel()
	if err := k.Reload(ctx); err != nil {
		k.log.Warn("signing keys cannot be reloaded; the ones in memory stay in use", "error", err)
	}
}
