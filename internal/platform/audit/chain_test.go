package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

func TestDrainsAtOnceGiveEveryEventOnePlace(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newChain(t, d)
		const events, drains = 300, 8
		var mu sync.Mutex
		told := map[string]int{}
		c.FanOut = func(_ context.Context, tx *db.Tx, _ time.Time, events []audit.Outgoing) error {
			tx.AfterCommit(func() {
				mu.Lock()
				defer mu.Unlock()
				for _, e := range events {
					told[e.EventID.String()]++
				}
			})
			return nil
		}
		var at sync.WaitGroup
		for i := range drains {
			at.Go(func() {
				for range events / drains {
					if err := record(t.Context(), d, noon, audit.Event{Type: audit.SessionCreated, Actor: c.ann}); err != nil {
						t.Error(err)
					}
					if i%2 == 0 {
						if _, err := c.Drain(t.Context()); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		at.Wait()
		for c.count(`SELECT COUNT(*) FROM audit_outbox`) > 0 {
			if _, err := c.Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		all := c.count(`SELECT COUNT(*) FROM audit_events`)
		if n, last := c.count(`SELECT COUNT(*) FROM audit_chain`), c.count(`SELECT MAX(pos) FROM audit_chain`); n != all || last != all {
			t.Errorf("%d entries up to position %d of %d events", n, last, all)
		}
		for id, n := range told {
			if n != 1 {
				t.Errorf("webhooks were told %d times of %s", n, id)
			}
		}
		if len(told) != all {
			t.Errorf("webhooks were told of %d of %d events", len(told), all)
		}
		c.batch()
		if r := c.verify(); !r.OK {
			t.Error(r.Finding)
		}
	})
}

func TestWebhooksAreToldInTheTransactionThatGivesThePlace(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newChain(t, d)
		c.happen(audit.SessionCreated, audit.LoginSuccess) // the second is not for webhooks
		c.FanOut = func(context.Context, *db.Tx, time.Time, []audit.Outgoing) error { return errRefused }
		if _, err := c.Drain(t.Context()); !errors.Is(err, errRefused) {
			t.Fatal(err)
		}
		if n := c.count(`SELECT COUNT(*) FROM audit_chain`); n != 0 {
			t.Errorf("%d entries of events that nobody was told of", n)
		}
		var got []audit.Outgoing
		c.FanOut = func(_ context.Context, _ *db.Tx, now time.Time, events []audit.Outgoing) error {
			got = events
			return nil
		}
		n, err := c.Drain(t.Context())
		c.ok(err)
		if n != 2 || len(got) != 1 || got[0].Type != "session.created" || !got[0].At.Equal(noon.Add(time.Second)) || got[0].EventID != c.at(1) {
			t.Errorf("%d drained, told: %+v", n, got)
		}
		if !strings.Contains(got[0].Data, c.ann.String()) && !strings.Contains(got[0].Data, c.bob.String()) {
			t.Errorf("data %s", got[0].Data)
		}
		if n, err := c.Drain(t.Context()); n != 0 || err != nil {
			t.Errorf("nothing waits, and %d are drained, %v", n, err)
		}
	})
}

// A part of the database that came back from a backup brings rows that were
// drained: they get no second place and are not told again.
func TestARowThatComesBackGetsNoSecondPlace(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newChain(t, d)
		c.three()
		told := 0
		c.FanOut = func(_ context.Context, _ *db.Tx, _ time.Time, events []audit.Outgoing) error {
			told += len(events)
			return nil
		}
		c.run(`INSERT INTO audit_outbox (event_id, created_at, event_type, row_hash, data)
			SELECT event_id, created_at, 'session.created', row_hash, '{}' FROM audit_chain WHERE pos = 5`)
		c.happen(audit.LoginSuccess)
		c.batch()
		if n := c.count(`SELECT COUNT(*) FROM audit_chain`); n != 10 || told != 0 {
			t.Errorf("%d entries, %d told", n, told)
		}
		if n := c.count(`SELECT COUNT(*) FROM audit_outbox`); n != 0 {
			t.Errorf("%d rows still wait", n)
		}
		if r := c.verify(); !r.OK || r.LastPos != 10 {
			t.Errorf("%+v", r)
		}
	})
}

func TestAHeadIsMadeWhenItIsTimeOrABatchIsFull(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newChain(t, d)
		seal := func() *audit.Head {
			t.Helper()
			_, err := c.Drain(t.Context())
			c.ok(err)
			h, err := c.Seal(t.Context(), 30*time.Second)
			c.ok(err)
			return h
		}
		c.Clock.Advance(time.Minute)
		if h := seal(); h != nil {
			t.Errorf("a head of nothing: %+v", h)
		}
		c.happen(audit.LoginSuccess)
		first := seal()
		if first == nil || first.Number != 1 || first.FirstPos != 1 || first.LastPos != 1 {
			t.Fatalf("%+v", first)
		}
		c.happen(audit.LoginSuccess)
		if h := seal(); h != nil {
			t.Errorf("a head a second after the last: %+v", h)
		}
		c.Clock.Advance(30 * time.Second)
		if h := seal(); h == nil || h.Number != 2 || h.FirstPos != 2 || h.LastPos != 2 {
			t.Errorf("%+v", h)
		}
	})
}

func TestOfTwoHeadsOfANumberOneIsMade(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newChain(t, d)
		var mu sync.Mutex
		heard := 0
		c.OnHead = func(_ context.Context, tx *db.Tx, _ audit.Head) error {
			tx.AfterCommit(func() { mu.Lock(); heard++; mu.Unlock() })
			return nil
		}
		for range 5 {
			c.happen(audit.LoginSuccess)
			_, err := c.Drain(t.Context())
			c.ok(err)
			c.Clock.Advance(time.Minute)
			var at sync.WaitGroup
			for range 6 {
				at.Go(func() {
					if _, err := c.Seal(t.Context(), 0); err != nil {
						t.Error(err)
					}
				})
			}
			at.Wait()
		}
		if h := c.lastHead(); h.Number != 5 || h.LastPos != 5 || heard != 5 {
			t.Errorf("head %d up to %d, heard of %d", h.Number, h.LastPos, heard)
		}
		if r := c.verify(); !r.OK {
			t.Error(r.Finding)
		}
	})
}

func TestHeadsAreAppendedToTheFile(t *testing.T) {
	d := dbtest.SQLite(t)
	c := newChain(t, d)
	c.HeadsFile = filepath.Join(t.TempDir(), "heads.jsonl")
	c.three()
	text, err := os.ReadFile(c.HeadsFile)
	c.ok(err)
	var kept []audit.Head
	for line := range strings.Lines(string(text)) {
		var h audit.Head
		c.ok(json.Unmarshal([]byte(line), &h))
		kept = append(kept, h)
	}
	if len(kept) != 3 {
		t.Fatalf("%d lines", len(kept))
	}
	if diff := cmp.Diff(c.lastHead(), kept[2]); diff != "" {
		t.Error(diff)
	}
	if r := c.verify(kept...); !r.OK {
		t.Error(r.Finding)
	}
	c.HeadsFile = filepath.Join(t.TempDir(), "no", "such", "folder") // costs the file, not the head
	c.happen(audit.LoginSuccess)
	c.batch()
	if h := c.lastHead(); h.Number != 4 {
		t.Errorf("head %d", h.Number)
	}
}

// What was written last has its place when a process stops.
func TestRunGivesPlacesOnceMoreWhenItEnds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newChain(t, d)
		c.happen(audit.LoginSuccess)
		ctx, stop := context.WithCancel(t.Context())
		stop()
		c.Run(ctx)
		if n := c.count(`SELECT COUNT(*) FROM audit_chain`); n != 1 {
			t.Errorf("%d entries", n)
		}
	})
}

func TestProcessesThatStartAtOnceAgreeOnKeyAndFirstHead(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		first := newChain(t, d)
		first.run(`DELETE FROM audit_heads`)
		first.run(`DELETE FROM audit_keys`)
		var at sync.WaitGroup
		for range 8 {
			at.Go(func() {
				other := &audit.Chain{DB: d, Clock: first.Clock, Log: first.Log, KeySeal: first.KeySeal, Marks: first.Marks}
				if err := other.Prepare(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		at.Wait()
		if keys, heads := first.count(`SELECT COUNT(*) FROM audit_keys`), first.count(`SELECT COUNT(*) FROM audit_heads`); keys != 1 || heads != 1 {
			t.Errorf("%d keys, %d heads", keys, heads)
		}
	})
}
