package revocation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 250_000_000, time.UTC)

func session(id string) Entry {
	return Entry{Kind: Session, Subject: id, Expires: noon.Add(time.Hour)}
}

// replica is another process's handle on the same database.
func replica(t *testing.T, d *db.DB) *db.DB {
	t.Helper()
	if d.Engine() == db.SQLite {
		return dbtest.Open(t, "sqlite://"+d.Path())
	}
	return dbtest.Open(t, d.Pool().Config().ConnString())
}

func newFeed(t *testing.T, d *db.DB, c *clock.Clock) *Feed {
	t.Helper()
	f, err := NewFeed(t.Context(), d, c, dbtest.Log)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func read(t *testing.T, f *Feed) {
	t.Helper()
	if err := f.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// revoke appends in a transaction of its own.
func revoke(t *testing.T, f *Feed, now time.Time, entries ...Entry) {
	t.Helper()
	err := f.db.Write(t.Context(), func(tx *db.Tx) error { return f.Append(t.Context(), tx, now, entries...) })
	if err != nil {
		t.Error(err)
	}
}

func TestWhatOneReplicaRevokesTheOtherRefuses(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := clock.Set(noon)
		a, b := newFeed(t, d, c), newFeed(t, replica(t, d), c)
		revoke(t, a, noon, session("s1"),
			Entry{Kind: User, Subject: "u1", Epoch: 3, Expires: noon.Add(time.Hour)},
			Entry{Kind: Client, Subject: "c1", Epoch: 2, Expires: noon.Add(time.Hour)},
			Entry{Kind: Key, Subject: "k1", Expires: noon.Add(time.Hour)})
		check := func(name string, f *Feed) {
			t.Helper()
			got := fmt.Sprint(f.Revoked(Session, "s1"), f.Epoch(User, "u1"), f.Epoch(Client, "c1"), f.Revoked(Key, "k1"))
			if got != "true 3 2 true" {
				t.Errorf("%s refuses %s, want all of it", name, got)
			}
			other := fmt.Sprint(f.Revoked(Session, "s2"), f.Revoked(Key, "s1"), f.Epoch(User, "c1"), f.Epoch(Client, "u2"))
			if other != "false false 0 0" {
				t.Errorf("%s refuses more than was revoked: %s", name, other)
			}
		}
		check("the replica that revoked, without a read", a)
		if b.Revoked(Session, "s1") {
			t.Error("the other replica knows before it read; this test is blind")
		}
		read(t, b)
		check("the other replica", b)
		if d.Engine() == db.SQLite && b.seq == 0 {
			t.Error("the tail does not move on")
		}
		check("a replica that starts now", newFeed(t, replica(t, d), c))

		revoke(t, b, noon, session("s3"))
		read(t, a)
		if !a.Revoked(Session, "s3") {
			t.Error("what the other replica revoked is not refused by the first")
		}
	})
}

func TestARevocationThatIsRolledBackIsNone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := clock.Set(noon)
		a, b := newFeed(t, d, c), newFeed(t, replica(t, d), c)
		changedMyMind := errors.New("rolled back")
		err := d.Write(t.Context(), func(tx *db.Tx) error {
			if err := a.Append(t.Context(), tx, noon, session("s1")); err != nil {
				return err
			}
			return changedMyMind
		})
		if !errors.Is(err, changedMyMind) {
			t.Fatal(err)
		}
		for name, f := range map[string]*Feed{"its own replica": a, "the other": b} {
			read(t, f)
			if f.Revoked(Session, "s1") {
				t.Errorf("%s refuses the session", name)
			}
		}
	})
}

func TestAnEntryEndsWhenNothingItForbidsCanBeValid(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := clock.Set(noon)
		a, b := newFeed(t, d, c), newFeed(t, replica(t, d), c)
		b.remember = 0
		long := session("long")
		long.Expires = noon.Add(2 * time.Hour)
		revoke(t, a, noon, session("short"), long)
		read(t, b)
		c.Advance(time.Hour - time.Microsecond)
		b.sweep()
		if !b.Revoked(Session, "short") {
			t.Error("it was swept before its time")
		}
		c.Advance(time.Microsecond)
		b.sweep()
		if b.Revoked(Session, "short") || !b.Revoked(Session, "long") {
			t.Error("the spent entry must go, and that alone")
		}
		restarted := newFeed(t, replica(t, d), c)
		restarted.remember = 0
		restarted.sweep()
		if b.Revoked(Session, "short") || restarted.Revoked(Session, "short") {
			t.Error("a spent entry stays")
		}
		if !restarted.Revoked(Session, "long") {
			t.Error("a restart forgot an entry")
		}

		if rows := prune(t, d, c.Now()); rows != 2 {
			t.Errorf("%d rows are left; an entry may go after its time, not at it", rows)
		}
		c.Advance(time.Microsecond)
		if rows := prune(t, d, c.Now()); rows != 1 {
			t.Errorf("%d rows are left, want the one that still matters", rows)
		}
		revoke(t, a, c.Now(), Entry{Kind: Session, Subject: "later", Expires: c.Now().Add(time.Hour)})
		read(t, b)
		if !b.Revoked(Session, "later") {
			t.Error("the tail lost its place when rows were pruned")
		}
	})
}

// A session that is in the cache of a replica must not outlive its revocation
// because that replica's clock is ahead, or the other's behind.
func TestARevocationIsKnownWhateverTheClocks(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ahead := clock.Set(noon.Add(40 * 24 * time.Hour))
		a, b := newFeed(t, d, clock.Set(noon)), newFeed(t, replica(t, d), ahead)
		revoke(t, a, noon, session("s1"))
		read(t, b)
		b.sweep()
		if !b.Revoked(Session, "s1") {
			t.Error("a replica whose clock is ahead does not know the revocation")
		}
		b.remember = 0
		b.sweep()
		if b.Revoked(Session, "s1") {
			t.Error("it is kept for ever")
		}
	})
}

// prune returns how many rows it left.
func prune(t *testing.T, d *db.DB, now time.Time) (rows int) {
	t.Helper()
	if err := Prune(t.Context(), d, now); err != nil {
		t.Fatal(err)
	}
	if err := d.Read().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM revocations`).Scan(&rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestThePositionGrowsWithWhatIsNew(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := clock.Set(noon)
		a, b := newFeed(t, d, c), newFeed(t, replica(t, d), c)
		steps := []struct {
			name  string
			act   func()
			grows bool
		}{
			{"a read of nothing", func() { read(t, b) }, false},
			{"a row that was not read yet", func() { revoke(t, a, noon, session("s1")) }, false},
			{"a read of a new row", func() { read(t, b) }, true},
			{"the same row again", func() { b.apply([]Entry{session("s1")}) }, false},
			{"an own revocation", func() { revoke(t, b, noon, session("s2")) }, true},
			{"a read of what is known", func() { read(t, b) }, false},
			{"a higher epoch", func() { b.apply([]Entry{{Kind: User, Subject: "u", Epoch: 2, Expires: noon.Add(time.Hour)}}) }, true},
			{"a lower epoch", func() { b.apply([]Entry{{Kind: User, Subject: "u", Epoch: 1, Expires: noon.Add(time.Hour)}}) }, false},
			{"a row that is spent by this clock", func() { b.apply([]Entry{{Kind: User, Subject: "u", Epoch: 9, Expires: noon}}) }, true},
		}
		for _, step := range steps {
			before := b.Position()
			step.act()
			if grew := b.Position() > before; grew != step.grows {
				t.Errorf("%s: grew %t, want %t", step.name, grew, step.grows)
			}
		}
	})
}

// Replicas read in different orders and some rows more than once, and must
// agree all the same.
func TestEntriesMergeInAnyOrder(t *testing.T) {
	entry := rapid.Custom(func(t *rapid.T) Entry {
		return Entry{
			Kind:    User,
			Subject: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "subject"),
			Epoch:   rapid.Int64Range(1, 3).Draw(t, "epoch"),
			Expires: noon.Add(time.Duration(rapid.IntRange(-1, 3).Draw(t, "expires in")) * time.Hour),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		entries := rapid.SliceOfN(entry, 1, 4).Draw(t, "entries")
		want := map[subject]state{}
		for _, e := range entries {
			known := want[subject{e.Kind, e.Subject}]
			known.epoch = max(known.epoch, e.Epoch)
			if e.Expires.After(known.expires) {
				known.expires = e.Expires
			}
			want[subject{e.Kind, e.Subject}] = known
		}
		again := rapid.SliceOfN(rapid.SampledFrom(entries), 0, 2).Draw(t, "read twice")
		seen := rapid.Permutation(append(again, entries...)).Draw(t, "in this order")
		f := &Feed{clock: clock.Set(noon), entries: map[subject]state{}}
		for len(seen) > 0 {
			n := rand.IntN(len(seen)) + 1
			f.apply(seen[:n])
			seen = seen[n:]
		}
		for key, s := range f.entries {
			f.entries[key] = state{epoch: s.epoch, expires: s.expires}
		}
		if diff := cmp.Diff(want, f.entries, cmp.AllowUnexported(subject{}, state{})); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAFeedThatCannotReadIsNotFresh(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		f, err := NewFeed(gone, d, clock.Set(noon), dbtest.Log)
		if err == nil {
			t.Error("a process started without having read the revocations")
		}
		if f.Fresh() {
			t.Error("fresh without a read")
		}
		read(t, f)
		eventually(t, "it is fresh after a read", func() bool { read(t, f); return f.Fresh() })
		eventually(t, "it is stale without one", func() bool { return !f.Fresh() })
	})
}

// Run by itself, without being asked, on both engines.
func TestTheTailFollows(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := clock.Set(noon)
		a, b := newFeed(t, d, c), newFeed(t, replica(t, d), c)
		run(t, b)
		for i := range 3 {
			id := fmt.Sprint("s", i)
			revoke(t, a, noon, session(id))
			eventually(t, id+" is refused by the other replica", func() bool { return b.Revoked(Session, id) })
		}
	})
}

// run tails until the test ends, and waits for the end before the database is
// closed.
func run(t *testing.T, f *Feed) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); f.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
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
