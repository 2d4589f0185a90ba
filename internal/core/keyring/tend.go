package keyring

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// Tend does what time asks for: it retires the keys whose time is over, sees to
// it that a next one is there that can sign, seals with the current encryption
// key what an older one sealed, and rotates when the active key is old enough.
// Any process may call it, at any time.
func (k *Keyring) Tend(ctx context.Context) (err error) {
	defer fault.Wrap(&err, "keyring.Tend")
	return errors.Join(k.retireOverdue(ctx), k.mendNext(ctx), k.sealAnew(ctx), k.rotateIfDue(ctx))
}

// TendOnce tends at a start and only logs if that fails: it is done again.
func (k *Keyring) TendOnce(ctx context.Context) {
	if err := k.Tend(ctx); err != nil && ctx.Err() == nil {
		k.log.Warn("the signing keys could not be tended; it is tried again", "error", err)
	}
}

func (k *Keyring) retireOverdue(ctx context.Context) error {
	keys, err := published(ctx, k.db.Read())
	if err != nil || !anyOverdue(keys, k.clock.Now()) {
		return err
	}
	err = k.db.Write(ctx, func(tx *db.Tx) error {
		now := k.clock.Now()
		if err := lock(ctx, tx); err != nil {
			return err
		}
		kids, err := retire(ctx, tx, now)
		if err != nil || len(kids) == 0 {
			return err
		}
		var events []audit.Event
		for _, kid := range kids {
			event := system.Event(audit.SigningKeyRetired)
			event.Metadata = map[string]any{"kid": kid}
			events = append(events, event)
		}
		if err := audit.Record(ctx, tx, now, events...); err != nil {
			return err
		}
		return k.announce(ctx, tx, now)
	})
	if err == nil {
		k.follow(ctx)
	}
	return err
}

func anyOverdue(keys []row, now time.Time) bool {
	for _, r := range keys {
		if r.status == Retiring && !r.retires.After(now) {
			return true
		}
	}
	return false
}

// mendNext makes a next key if there is none, or none that this service could
// sign with as it is set up now.
func (k *Keyring) mendNext(ctx context.Context) error {
	isGood := func(next *row) bool { return k.usable(next) && next.algorithm == k.o.Algorithm }
	keys, err := published(ctx, k.db.Read())
	if err != nil || isGood(only(keys, Next)) {
		return err
	}
	return k.makeNext(ctx, isGood)
}

// makeNext makes a next key unless a good one is there.
func (k *Keyring) makeNext(ctx context.Context, isGood func(next *row) bool) error {
	fresh, err := k.make(k.o.Algorithm)
	if err != nil {
		return err
	}
	err = k.db.Write(ctx, func(tx *db.Tx) error {
		keys, err := k.admit(ctx, tx, system, k.clock.Now())
		if err != nil || isGood(only(keys, Next)) {
			return err
		}
		return k.replaceNext(ctx, tx, k.clock.Now(), only(keys, Next), fresh)
	})
	if err == nil {
		k.follow(ctx)
	}
	return err
}

// sealAnew has the private halves rest under the current encryption key, so that
// an older one can be thrown away.
func (k *Keyring) sealAnew(ctx context.Context) error {
	keys, err := published(ctx, k.db.Read())
	if err != nil {
		return err
	}
	for _, r := range keys {
		if !isOld(k.seal, r) {
			continue
		}
		der, err := k.seal.Open(r.sealed, r.id.String())
		if err != nil {
			if r.status == Active {
				return err
			}
			continue // it never signs again: mendNext has seen to the next one
		}
		sealed := k.seal.Seal(der, r.id.String())
		if err := k.db.Write(ctx, func(tx *db.Tx) error { return replaceSeal(ctx, tx, r, sealed) }); err != nil {
			return err
		}
		k.log.Info("a signing key is sealed with the current encryption key now", "kid", r.kid)
	}
	return nil
}

// isOld reports whether a key is sealed with an older encryption key.
func isOld(seal *secret.Ring, r row) bool {
	return len(r.sealed) > 0 && !bytes.HasPrefix(r.sealed, seal.KeyID())
}

func (k *Keyring) rotateIfDue(ctx context.Context) error {
	if k.o.Every <= 0 {
		return nil
	}
	due := func(active row) bool { return !active.since().Add(k.o.Every).After(k.clock.Now()) }
	keys, err := published(ctx, k.db.Read())
	if active := only(keys, Active); err != nil || active == nil || !due(*active) {
		return err
	}
	r, err := k.rotate(ctx, system, k.o.Overlap, due)
	if fault.Has(err, fault.RotationTooSoon) {
		return nil // the next Tend does it
	}
	if err == nil && r.New != "" {
		k.log.Info("signing keys rotated by schedule", "kid", r.New, "retiring", r.Retiring)
	}
	return err
}

// since is when a key began to sign.
func (r row) since() time.Time {
	if r.activated.IsZero() {
		return r.created
	}
	return r.activated
}
