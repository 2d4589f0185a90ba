package keyring

import (
	"sync"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

func TestTendRetiresAndRotatesByTheClock(t *testing.T) {
	const every = 90 * 24 * time.Hour
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := clock.Set(noon)
		k := newReplica(t, d, c, func(o *Options) { o.Every = every })
		tend := func() {
			t.Helper()
			if err := k.Tend(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		first := k.Active().KID
		c.Advance(every - time.Microsecond)
		if tend(); k.Active().KID != first {
			t.Error("it rotated before its time")
		}
		c.Advance(time.Microsecond)
		if tend(); k.Active().KID == first {
			t.Error("it did not rotate")
		}
		second := k.Active().KID
		if tend(); k.Active().KID != second {
			t.Error("it rotated twice")
		}
		c.Advance(tokenLife + margin)
		tend()
		tend()
		r, _, err := find(t.Context(), d.Read(), first)
		if err != nil || r.status != Retired || len(r.sealed) != 0 || !r.retired.Equal(c.Now()) {
			t.Errorf("%+v, %v", r, err)
		}
		if n := count(t, d, `SELECT COUNT(*) FROM audit_events WHERE event_type = 'signing_key.retired'`); n != 1 {
			t.Errorf("%d retirements are recorded", n)
		}
		if n := count(t, d, `SELECT COUNT(*) FROM audit_events WHERE event_type = 'signing_key.rotate.success' AND actor_type = 'system'`); n != 1 {
			t.Errorf("%d rotations are recorded", n)
		}

		// What is out of use is purged some day, and nothing else.
		purge := func(before time.Time) (n int) {
			err := d.Write(t.Context(), func(tx *db.Tx) (err error) {
				n, err = PurgeRetired(t.Context(), tx, before)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		if n := purge(c.Now()); n != 0 {
			t.Errorf("%d were purged before their time", n)
		}
		if n := purge(c.Now().Add(time.Microsecond)); n != 1 || len(kids(t, d, Active, Next)) != 2 {
			t.Errorf("%d were purged", n)
		}
	})
}

func TestReplicasThatTendAtOnceRotateOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := clock.Set(noon)
		replicas := make([]*replica, 5)
		for i := range replicas {
			replicas[i] = newReplica(t, d, c, func(o *Options) { o.Every = 24 * time.Hour })
		}
		c.Advance(24 * time.Hour)
		var tending sync.WaitGroup
		for _, k := range replicas {
			tending.Go(func() {
				if err := k.Tend(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		tending.Wait()
		if n := len(kids(t, d, Retiring)); n != 1 {
			t.Errorf("%d rotations", n)
		}
	})
}

func TestStoredKeysMoveToTheCurrentEncryptionKey(t *testing.T) {
	const old = "the encryption key of the tests"
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		running := newReplica(t, d, clock.Set(noon), nil) // and keeps the old secret only
		running.rotate(t)
		both := secret.NewRing("signing keys", "new", old)
		k, err := Load(t.Context(), d, both, clock.Set(noon), dbtest.Log, Options{Algorithm: ES256})
		if err != nil {
			t.Fatal(err)
		}
		if h, err := Examine(t.Context(), d, both, nil); err != nil || h.OldSeals != 3 {
			t.Errorf("%+v, %v", h, err)
		}
		if err := k.Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
		alone := secret.NewRing("signing keys", "new")
		h, err := Examine(t.Context(), d, alone, nil)
		if err != nil || h.OldSeals != 0 || !h.HasNext {
			t.Errorf("without the old secret: %+v, %v", h, err)
		}
		if err := running.Reload(t.Context()); err != nil {
			t.Errorf("a replica that has not heard of the new secret stops: %v", err)
		}
	})
}

func TestANextKeyThatDoesNotOpenIsReplaced(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		rows := []struct {
			name string
			act  func(k *replica) error
			want bool // it goes through
		}{
			{"a rotation does not choose it", func(k *replica) error { _, err := k.Rotate(t.Context(), system, nil); return err }, false},
			{"nor does a revocation", func(k *replica) error { _, err := k.Revoke(t.Context(), system, k.Active().KID); return err }, true},
			{"and Tend makes another", func(k *replica) error { return k.Tend(t.Context()) }, true},
		}
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				k := newReplica(t, d, clock.Set(noon), nil)
				bad := kids(t, d, Next)[0]
				change(t, d, `UPDATE signing_keys SET private_sealed = $1 WHERE status = 'next'`, []byte("sealed with a secret that is lost"))
				if err := row.act(k); (err == nil) != row.want || err != nil && !fault.Has(err, fault.RotationTooSoon) {
					t.Error(err)
				}
				if key, err := k.Signing(); err != nil || key.KID == bad {
					t.Errorf("%+v signs, %v", key, err)
				}
				if err := k.Tend(t.Context()); err != nil {
					t.Fatal(err)
				}
				if h, err := Examine(t.Context(), d, sealing, nil); err != nil || !h.HasNext {
					t.Errorf("%+v, %v", h, err)
				}
			})
		}
	})
}
