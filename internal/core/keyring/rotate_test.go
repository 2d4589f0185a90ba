package keyring

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

const tokenLife = time.Hour

// replica is a keyring with a feed of its own, as a process has them.
type replica struct {
	*Keyring
	feed *revocation.Feed
}

func newReplica(t *testing.T, d *db.DB, c *clock.Clock, change func(*Options)) *replica {
	t.Helper()
	feed, err := revocation.NewFeed(t.Context(), d, c, dbtest.Log)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Algorithm: ES256, Feed: feed, Overlap: 15 * time.Minute,
		TokenLife: func(context.Context, db.Conn) (time.Duration, error) { return tokenLife, nil },
	}
	if change != nil {
		change(&o)
	}
	k, err := Load(t.Context(), d, sealing, c, dbtest.Log, o)
	if err != nil {
		t.Fatal(err)
	}
	return &replica{Keyring: k, feed: feed}
}

// run keeps a replica up to date until the test ends.
func (r *replica) run(t *testing.T) *replica {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { r.feed.Run(ctx) })
	running.Go(func() { r.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	return r
}

func (r *replica) rotate(t *testing.T) Rotation {
	t.Helper()
	done, err := r.Rotate(t.Context(), system, nil)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func (r *replica) verifies(t *testing.T, kid string) bool {
	t.Helper()
	_, found, err := r.Find(t.Context(), kid)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func (r *replica) publishes(t *testing.T, kid string) bool {
	t.Helper()
	body, _ := r.JWKS()
	return slices.Contains(membersOf(t, body).kids, kid)
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for !holds() {
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func TestARotationLetsTheNextKeySign(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := clock.Set(noon)
		k := newReplica(t, d, c, nil)
		was, next := kids(t, d, Active)[0], kids(t, d, Next)[0]
		by := audit.By{Type: "admin"}
		done, err := k.Rotate(t.Context(), by, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(Rotation{New: next, Retiring: was, Overlap: tokenLife + margin}, done); diff != "" {
			t.Error(diff)
		}
		signing, err := k.Signing()
		if err != nil || signing.KID != next || signing.Private == nil {
			t.Errorf("%+v signs, %v", signing, err)
		}
		if new := kids(t, d, Next); len(new) != 1 || !k.publishes(t, new[0]) || !k.publishes(t, was) || !k.verifies(t, was) {
			t.Error("a key is not published that must be")
		}
		events := count(t, d, `SELECT COUNT(*) FROM audit_events WHERE event_type = 'signing_key.rotate.success' AND actor_type = 'admin' AND success`)
		if made := count(t, d, `SELECT COUNT(*) FROM audit_events WHERE event_type = 'signing_key.created'`); events != 1 || made != 3 {
			t.Errorf("%d rotations and %d new keys are recorded", events, made)
		}

		// The clock alone ends it, in memory and at once.
		c.Advance(done.Overlap - time.Microsecond)
		if !k.verifies(t, was) || !k.publishes(t, was) {
			t.Error("it went before its time")
		}
		_, before := k.JWKS()
		c.Advance(time.Microsecond)
		if _, after := k.JWKS(); k.verifies(t, was) || k.publishes(t, was) || after == before {
			t.Error("it outlived its time")
		}
	})
}

func TestHowLongAReplacedKeyVerifies(t *testing.T) {
	day, hour, none := 24*time.Hour, time.Hour, time.Duration(0)
	rows := []struct {
		name    string
		asked   *time.Duration
		setting time.Duration
		want    time.Duration
	}{
		{"as the setting says", nil, day, day},
		{"as long as was asked for", &day, hour, day},
		{"never shorter than a token lives", &none, day, tokenLife + margin},
		{"nor if the setting is", nil, 0, tokenLife + margin},
	}
	d := dbtest.SQLite(t)
	c := clock.Set(noon)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			c.Advance(publishedFor)
			k := newReplica(t, d, c, func(o *Options) { o.Overlap = row.setting })
			done, err := k.Rotate(t.Context(), system, row.asked)
			if err != nil || done.Overlap != row.want {
				t.Fatalf("%v, %v", done.Overlap, err)
			}
			r, _, err := find(t.Context(), d.Read(), done.Retiring)
			if err != nil || !r.retires.Equal(c.Now().Add(row.want)) {
				t.Errorf("it retires at %v, %v", r.retires, err)
			}
		})
	}
	k := newReplica(t, d, c, nil)
	for _, wrong := range []time.Duration{-time.Second, MaxOverlap + time.Second} {
		if _, err := k.Rotate(t.Context(), system, &wrong); !fault.Has(err, fault.ValidationError) {
			t.Errorf("%v: %v", wrong, err)
		}
	}
}

func TestOfTenRotationsAtOnceOneWins(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := clock.Set(noon)
		replicas := make([]*replica, 10)
		for i := range replicas {
			replicas[i] = newReplica(t, d, c, nil)
		}
		first := replicas[0].Active().KID
		start := make(chan struct{})
		var mu sync.Mutex
		var won []Rotation
		var rotating sync.WaitGroup
		for _, k := range replicas {
			rotating.Go(func() {
				<-start
				r, err := k.Rotate(t.Context(), system, nil)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					won = append(won, r)
				case !fault.Has(err, fault.RotationTooSoon) || fault.From(err).RetryAfter != publishedFor:
					t.Errorf("%v, retry after %v", err, fault.From(err).RetryAfter)
				}
			})
		}
		close(start)
		rotating.Wait()
		if len(won) != 1 || won[0].Retiring != first {
			t.Fatalf("%+v", won)
		}
		if a, n, r := kids(t, d, Active), kids(t, d, Next), kids(t, d, Retiring); len(a) != 1 || a[0] != won[0].New || len(n) != 1 || len(r) != 1 {
			t.Errorf("active %v, next %v, retiring %v", a, n, r)
		}
		c.Advance(publishedFor - time.Microsecond)
		if _, err := replicas[1].Rotate(t.Context(), system, nil); !fault.Has(err, fault.RotationTooSoon) {
			t.Errorf("a key that others may not know: %v", err)
		}
		c.Advance(time.Microsecond)
		if r := replicas[1].rotate(t); r.Retiring != won[0].New {
			t.Errorf("%+v", r)
		}
	})
}

func TestAProofThatIsRefusedRotatesAndRevokesNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		k := newReplica(t, d, clock.Set(noon), nil)
		refused := errors.New("refused")
		by := audit.By{Type: "admin", Proof: func(context.Context, *db.Tx, time.Time) error { return refused }}
		before := kids(t, d, Active, Next)
		if _, err := k.Rotate(t.Context(), by, nil); !errors.Is(err, refused) {
			t.Error(err)
		}
		if _, err := k.Revoke(t.Context(), by, before[0]); !errors.Is(err, refused) {
			t.Error(err)
		}
		if diff := cmp.Diff(before, kids(t, d, Active, Next)); diff != "" || k.feed.Revoked(revocation.Key, before[0]) {
			t.Error(diff)
		}
	})
}

func TestOtherReplicasHearOfARotation(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := clock.Set(noon)
		a, b := newReplica(t, d, c, nil), newReplica(t, d, c, nil).run(t)
		for range 2 { // the second at the same moment of a clock that stands still
			done := a.rotate(t)
			eventually(t, "B signs with the new key", func() bool { return b.Active().KID == done.New })
			if next := kids(t, d, Next)[0]; !b.publishes(t, next) {
				t.Error("B does not publish the next key")
			}
			change(t, d, `UPDATE signing_keys SET published_at = NULL`)
		}
	})
}

func TestARevokedKeyVerifiesNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := clock.Set(noon)
		a, b := newReplica(t, d, c, nil), newReplica(t, d, c, nil).run(t)
		a.rotate(t)
		c.Advance(publishedFor)
		a.rotate(t)
		c.Advance(tokenLife + margin - publishedFor) // the first is over, and not retired yet
		rows := []struct {
			status   string
			replaced bool // another key signs
		}{{Retiring, false}, {Next, false}, {Active, true}}
		for _, row := range rows {
			kid := kids(t, d, row.status)[0]
			signing, next := kids(t, d, Active)[0], kids(t, d, Next)[0]
			active, err := a.Revoke(t.Context(), system, kid)
			if err != nil {
				t.Fatal(err)
			}
			if row.replaced {
				signing = next
			}
			if active != signing || a.Active().KID != signing {
				t.Errorf("%s: %s signs, want %s", row.status, active, signing)
			}
			if a.verifies(t, kid) || a.publishes(t, kid) {
				t.Errorf("%s: it verifies where it was revoked", row.status)
			}
			eventually(t, "B refuses it, and signs with another", func() bool {
				key, err := b.Signing()
				return err == nil && key.KID == signing && !b.verifies(t, kid) && !b.publishes(t, kid)
			})
			if n, next := kids(t, d, Next), kids(t, d, Active); len(n) != 1 || len(next) != 1 {
				t.Errorf("%s: next %v, active %v", row.status, n, next)
			}
			r, _, err := find(t.Context(), d.Read(), kid)
			if err != nil || r.status != Revoked || len(r.sealed) != 0 || !r.retired.Equal(c.Now()) {
				t.Errorf("%s: %+v, %v", row.status, r, err)
			}
			again, err := a.Revoke(t.Context(), system, kid)
			if err != nil || again != signing {
				t.Errorf("%s: revoked again: %s, %v", row.status, again, err)
			}
			if err := b.Reload(t.Context()); err != nil || b.verifies(t, kid) {
				t.Errorf("%s: a reload revived it: %v", row.status, err)
			}
		}
		if n := count(t, d, `SELECT COUNT(*) FROM audit_events WHERE event_type = 'signing_key.revoked'`); n != len(rows) {
			t.Errorf("%d revocations are recorded", n)
		}
		if _, err := a.Revoke(t.Context(), system, "nobody's"); !fault.Has(err, fault.SigningKeyNotFound) {
			t.Error(err)
		}
	})
}

// The feed tells of a revocation before the keys are read again.
func TestAKeyThatTheFeedNamesSignsNoMore(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := clock.Set(noon)
		a, b := newReplica(t, d, c, nil), newReplica(t, d, c, nil)
		revoked := b.Active().KID
		promoted, err := a.Revoke(t.Context(), system, revoked)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.feed.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		if b.Active().KID != revoked || b.verifies(t, revoked) || b.publishes(t, revoked) {
			t.Error("B has read the keys already, or the feed is not asked")
		}
		if key, err := b.Signing(); err != nil || key.KID != promoted {
			t.Errorf("%+v, %v", key, err)
		}
		// And if its successor cannot be read nothing is signed.
		if err := b.feed.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Revoke(t.Context(), system, promoted); err != nil {
			t.Fatal(err)
		}
		if err := b.feed.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if key, err := b.Signing(); err == nil {
			t.Errorf("%s signs", key.KID)
		}
	})
}

// Nobody tells a process whose feed has stopped: it asks SQL, or says that it
// cannot know.
func TestWithoutNewsKnownKeysAreLookedAtInSQL(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := clock.Set(noon)
		a, b := newReplica(t, d, c, nil), newReplica(t, d, c, nil)
		revoked := b.Active().KID
		if _, err := a.Revoke(t.Context(), system, revoked); err != nil {
			t.Fatal(err)
		}
		eventually(t, "B refuses the key", func() bool { return !b.verifies(t, revoked) })
		if b.feed.Revoked(revocation.Key, revoked) {
			t.Error("the feed was read: the test is blind")
		}
		left := b.Active().KID
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "B cannot tell any more", func() bool { _, _, err := b.Find(t.Context(), left); return err != nil })
	})
}

func TestAChangeOfAlgorithmComesWithTheNextKeys(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := clock.Set(noon)
		was := newReplica(t, d, c, nil).Active().KID
		c.Advance(time.Hour)
		k := newReplica(t, d, c, func(o *Options) { o.Algorithm = EdDSA })
		old := kids(t, d, Next)[0]
		if err := k.Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
		if k.Active().KID != was || k.publishes(t, old) {
			t.Error("the active key changed, or the next one did not")
		}
		if _, err := k.Rotate(t.Context(), system, nil); !fault.Has(err, fault.RotationTooSoon) {
			t.Errorf("the next key was published a moment ago: %v", err)
		}
		c.Advance(publishedFor)
		k.rotate(t)
		if got := k.Active().Algorithm; got != EdDSA {
			t.Errorf("%s signs", got)
		}
		if !k.verifies(t, was) {
			t.Error("what was signed before is refused")
		}
	})
}

// A database of before has an active key only.
func TestAnOlderDatabaseGetsANextKey(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := clock.Set(noon)
		was := newReplica(t, d, c, nil).Active().KID
		change(t, d, `DELETE FROM signing_keys WHERE status = 'next'`)
		c.Advance(time.Hour)
		k := newReplica(t, d, c, nil)
		if k.Active().KID != was {
			t.Error("another key signs")
		}
		if _, err := k.Rotate(t.Context(), system, nil); !fault.Has(err, fault.RotationTooSoon) {
			t.Errorf("nobody knows the next key yet: %v", err)
		}
		c.Advance(publishedFor)
		k.rotate(t)
		list, err := k.Keys(t.Context())
		if err != nil || len(list) != 3 || !slices.IsSortedFunc(list, func(a, b Info) int { return b.Created.Compare(a.Created) }) {
			t.Errorf("%+v, %v", list, err)
		}
	})
}
