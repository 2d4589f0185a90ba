package client

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

var operator = audit.By{Type: "system"}

// replica is one process on the database.
type replica struct {
	*Service
	feed *revocation.Feed
}

func newReplica(t *testing.T, d *db.DB, c *clock.Clock) replica {
	t.Helper()
	feed, err := revocation.NewFeed(t.Context(), d, c, dbtest.Log)
	if err != nil {
		t.Fatal(err)
	}
	return replica{NewService(d, c, dbtest.Log, feed, 24*time.Hour), feed}
}

func (r replica) knows(t *testing.T, id, secret string) bool {
	t.Helper()
	if err := r.feed.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, ok, err := r.Authenticate(t.Context(), id, secret)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func TestAChangeOnOneReplicaReachesTheCacheOfAnother(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		clock := clock.Set(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
		a, b := newReplica(t, d, clock), newReplica(t, d, clock)
		c, first, err := a.Create(t.Context(), operator, New{Name: "billing", Scopes: []string{"x", "y"}, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if !b.knows(t, c.ClientID, first) {
			t.Fatal("the secret does not work")
		}
		if _, cached := b.cache.GetIfPresent(c.ClientID); !cached {
			t.Error("what was read is not kept")
		}
		_, second, _, err := a.Rotate(t.Context(), operator, c.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		if b.knows(t, c.ClientID, first) || !b.knows(t, c.ClientID, second) {
			t.Error("after one read of the feed the old secret works, or the new one does not")
		}
		no := false
		if _, err := a.Update(t.Context(), operator, c.ID, Patch{Active: &no}); err != nil {
			t.Fatal(err)
		}
		if b.knows(t, c.ClientID, second) {
			t.Error("after one read of the feed an inactive client is let in")
		}
		if epoch := b.feed.Epoch(revocation.Client, c.ClientID); epoch != 3 { // 1, the rotation, the deactivation
			t.Errorf("the feed names epoch %d", epoch)
		}
	})
}

func TestOnlyWhatTakesSomethingAwayEndsTokens(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := newReplica(t, d, nil)
		c, _, err := r.Create(t.Context(), operator, New{Name: "billing", Scopes: []string{"x"}, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		list := func(l ...string) *[]string { return &l }
		name, ttl := "bills", 2*time.Hour
		for i, step := range []struct {
			patch Patch
			ends  bool
		}{
			{Patch{Name: &name, TTL: &ttl}, false},
			{Patch{Scopes: list("x", "y")}, false},
			{Patch{Scopes: list("y")}, true},
			{Patch{Audiences: list("a", "b")}, true}, // it had any
			{Patch{Audiences: list("a", "b", "c")}, false},
			{Patch{Audiences: list("a")}, true},
			{Patch{Audiences: list()}, false},
			{Patch{}, false},
		} {
			before := c.Epoch
			if c, err = r.Update(t.Context(), operator, c.ID, step.patch); err != nil {
				t.Fatal(err)
			}
			if ended := c.Epoch > before; ended != step.ends {
				t.Errorf("step %d: tokens end: %t", i, ended)
			}
		}
		if longest, err := LongestTTL(t.Context(), d.Read()); err != nil || longest != 2*time.Hour {
			t.Errorf("longest %v %v", longest, err)
		}
	})
}

func TestAStaleFeedPassesTheCacheBy(t *testing.T) {
	d := dbtest.SQLite(t)
	r := newReplica(t, d, nil)
	c, secret, err := r.Create(t.Context(), operator, New{Name: "billing", Scopes: []string{"x"}, TTL: time.Hour})
	if err != nil || !r.knows(t, c.ClientID, secret) {
		t.Fatal(err)
	}
	err = d.Write(t.Context(), func(tx *db.Tx) error {
		_, err := tx.ExecContext(t.Context(), `UPDATE clients SET is_active = FALSE WHERE id = $1`, c.ID)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	r.Service.feed, _ = revocation.NewFeed(gone, d, nil, dbtest.Log) // which has never read
	if _, ok, err := r.Authenticate(t.Context(), c.ClientID, secret); ok || err != nil {
		t.Errorf("the cache answers %t %v", ok, err)
	}
}

func TestUseIsWrittenInBatchesAndAtTheEnd(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		clock := clock.Set(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
		r := newReplica(t, d, clock)
		c, secret, err := r.Create(t.Context(), operator, New{Name: "billing", Scopes: []string{"x"}, TTL: time.Hour})
		if err != nil || !r.knows(t, c.ClientID, secret) {
			t.Fatal(err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		r.Run(ended)
		if c, err = r.Find(t.Context(), c.ID); err != nil || !c.LastUsed.Equal(clock.Now()) {
			t.Errorf("last used %v %v", c.LastUsed, err)
		}
		if _, err := r.Find(t.Context(), uuid.New()); !fault.Has(err, fault.ClientNotFound) {
			t.Errorf("nobody: %v", err)
		}
	})
}
