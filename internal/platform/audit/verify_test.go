package audit_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// chained is a log with a chain whose clock stands still.
type chained struct {
	*audit.Chain
	t   testing.TB
	ann uuid.UUID
	bob uuid.UUID
}

func newChain(t testing.TB, d *db.DB) *chained {
	t.Helper()
	return chainAt(t, d, clock.Set(noon))
}

func chainAt(t testing.TB, d *db.DB, at *clock.Clock) *chained {
	t.Helper()
	c := &chained{t: t, ann: uuid.New(), bob: uuid.New(), Chain: &audit.Chain{
		DB: d, Clock: at, Log: dbtest.Log, KeySeal: secret.NewRing("audit-key", "test"), Marks: secret.NewRing("audit-chain", "test"),
	}}
	c.ok(c.Prepare(t.Context()))
	return c
}

func (c *chained) ok(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// happen records one event for each type, a second apart.
func (c *chained) happen(types ...audit.Type) {
	c.t.Helper()
	for _, kind := range types {
		c.Clock.Advance(time.Second)
		ctx := audit.WithOrigin(c.t.Context(), origin)
		c.ok(record(ctx, c.DB, c.Clock.Now(), audit.Event{Type: kind, Actor: c.ann, TargetType: "user", Target: c.bob}))
	}
}

// batch gives what happened a head.
func (c *chained) batch() {
	c.t.Helper()
	_, err := c.Drain(c.t.Context())
	c.ok(err)
	c.Clock.Advance(time.Minute)
	_, err = c.Seal(c.t.Context(), 0)
	c.ok(err)
}

// three is three batches of three events, heads 1 to 3, positions 1 to 9.
func (c *chained) three() {
	c.t.Helper()
	for range 3 {
		c.happen(audit.LoginSuccess, audit.SessionCreated, audit.UserLogout)
		c.batch()
	}
}

func (c *chained) keys() []audit.PublicKey {
	c.t.Helper()
	keys, err := c.Keys(c.t.Context())
	c.ok(err)
	return keys
}

func (c *chained) verify(outside ...audit.Head) audit.Report {
	c.t.Helper()
	r, err := c.VerifyDatabase(c.t.Context(), c.keys(), outside, nil)
	c.ok(err)
	if r.OK != (r.Finding == nil) {
		c.t.Errorf("ok is %v, the finding %v", r.OK, r.Finding)
	}
	return r
}

func (c *chained) lastHead() audit.Head {
	c.t.Helper()
	h, err := audit.LastHead(c.t.Context(), c.DB.Read())
	c.ok(err)
	return h
}

// run is what a superuser types.
func (c *chained) run(query string, args ...any) {
	c.t.Helper()
	if _, err := c.DB.Writer().ExecContext(c.t.Context(), query, args...); err != nil {
		c.t.Fatalf("%v\n%s", err, query)
	}
}

// at is the event of a position.
func (c *chained) at(pos int) (id uuid.UUID) {
	c.t.Helper()
	c.ok(c.DB.Read().QueryRowContext(c.t.Context(), `SELECT event_id FROM audit_chain WHERE pos = $1`, pos).Scan(&id))
	return id
}

const ofEvent = ` WHERE id = (SELECT event_id FROM audit_chain WHERE pos = 5)`

func TestWhatIsChangedBehindTheLogsBackIsFound(t *testing.T) {
	// Position 5 is the middle of the middle batch, heads 1 to 3.
	tests := []struct {
		name   string
		tamper func(c *chained)
		want   string // EVENT stands for the event that was at position 5
		pos    int64
	}{
		{"a column of a row changed", func(c *chained) { c.run(`UPDATE audit_events SET event_type = 'user.login.failure'` + ofEvent) },
			"changed: position 5, event EVENT of 2026-03-15T12:01:05Z (user.login.failure): the row does not match its hash", 5},
		{"a value taken away", func(c *chained) { c.run(`UPDATE audit_events SET actor_id = NULL` + ofEvent) },
			"changed: position 5, event EVENT of 2026-03-15T12:01:05Z (session.created): the row does not match its hash", 5},
		{"the address changed", func(c *chained) {
			c.run(`UPDATE audit_personal SET ip_address = '203.0.113.1' WHERE event_id = (SELECT event_id FROM audit_chain WHERE pos = 5)`)
		}, "changed: position 5, event EVENT of 2026-03-15T12:01:05Z (session.created): the personal part does not match its hash", 5},
		{"the agent taken away", func(c *chained) {
			c.run(`UPDATE audit_personal SET user_agent = NULL WHERE event_id = (SELECT event_id FROM audit_chain WHERE pos = 5)`)
		}, "changed: position 5, event EVENT of 2026-03-15T12:01:05Z (session.created): the personal part does not match its hash", 5},
		{"a row deleted", func(c *chained) { c.run(`DELETE FROM audit_events` + ofEvent) },
			"deleted: position 5, event EVENT of 2026-03-15T12:01:05Z: the row is gone", 5},
		{"a row moved to another time", func(c *chained) {
			c.run(`UPDATE audit_events SET created_at = (SELECT created_at FROM audit_chain WHERE pos = 6)` + ofEvent)
		}, "deleted: position 5, event EVENT of 2026-03-15T12:01:05Z: the row is gone", 5},
		{"an entry deleted", func(c *chained) { c.run(`DELETE FROM audit_chain WHERE pos = 5`) },
			"deleted: position 5 is missing between 4 and 6", 5},
		{"row and entry deleted", func(c *chained) {
			c.run(`DELETE FROM audit_events` + ofEvent)
			c.run(`DELETE FROM audit_chain WHERE pos = 5`)
		}, "deleted: position 5 is missing between 4 and 6", 5},
		{"a batch's last entries deleted", func(c *chained) { c.run(`DELETE FROM audit_chain WHERE pos IN (5, 6)`) },
			"deleted: position 5 is missing between 4 and 7", 5},
		{"row and entry changed together", func(c *chained) {
			c.run(`UPDATE audit_events SET event_type = 'otp.enabled'` + ofEvent)
			c.run(`UPDATE audit_chain SET row_hash = $1 WHERE pos = 5`, c.hashOf(5))
		}, "changed: position 5, event EVENT of 2026-03-15T12:01:05Z (otp.enabled): its place in the chain was not written by this service", 5},
		{"row and entry changed, the mark with a key that nobody has", func(c *chained) {
			c.run(`UPDATE audit_events SET event_type = 'otp.enabled'` + ofEvent)
			c.run(`UPDATE audit_chain SET row_hash = $1, mac = $2 WHERE pos = 5`, c.hashOf(5), make([]byte, secret.IDLen+secret.MACLen))
		}, "changed: batch 2 (positions 4–6): its entries do not match the signed head", 0},
		{"entries swapped", func(c *chained) {
			c.run(`UPDATE audit_chain SET pos = 1000 WHERE pos = 5`)
			c.run(`UPDATE audit_chain SET pos = 5 WHERE pos = 6`)
			c.run(`UPDATE audit_chain SET pos = 6 WHERE pos = 1000`)
		}, "reordered: position 5, event OTHER of 2026-03-15T12:01:06Z (user.logout): it stood elsewhere, at position 6", 5},
		{"a row inserted", func(c *chained) { c.insert(strange, c.after(5)) },
			"inserted: event " + strange.String() + " of 2026-03-15T12:01:05Z (user.logout): it is in no batch", 0},
		{"a copy of a row inserted, a moment later", func(c *chained) { c.insert(c.at(5), c.after(5)) },
			"inserted: event EVENT of 2026-03-15T12:01:05Z (user.logout): it is in no batch", 0},
		{"row and entry inserted behind the last head", func(c *chained) {
			c.insert(strange, c.after(9))
			c.run(`INSERT INTO audit_chain (pos, event_id, created_at, row_hash, mac) VALUES (10, $1, $2, $3, $4)`,
				strange, c.after(9), make([]byte, 32), append(c.Marks.KeyID(), make([]byte, 32)...))
		}, "inserted: position 10, event " + strange.String() + " of 2026-03-15T12:02:09Z: not written by this service", 10},
		{"a head changed", func(c *chained) { c.run(`UPDATE audit_heads SET made_at = kept_from WHERE number = 2`) },
			"changed: head 2: the signature does not fit", 0},
		{"a head that lets go of what it covers", func(c *chained) { c.run(`UPDATE audit_heads SET floor_pos = 10 WHERE number = 3`) },
			"changed: head 3: the signature does not fit", 0},
		{"a head forged with another key", func(c *chained) { c.forge(2) },
			"changed: head 2: it is signed with a key that is not known here (KID)", 0},
		{"a head removed", func(c *chained) { c.run(`DELETE FROM audit_heads WHERE number = 2`) },
			"deleted: head 2 is missing", 0},
		{"the first head removed", func(c *chained) { c.run(`DELETE FROM audit_heads WHERE number = 0`) },
			"deleted: head 0 is missing", 0},
		{"all heads removed", func(c *chained) { c.run(`DELETE FROM audit_heads`) },
			"deleted: head 0 is missing", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, d *db.DB) {
				c := newChain(t, d)
				c.three()
				c.happen(audit.LoginSuccess)
				event, other, keys := c.at(5), c.at(6), c.keys()
				if r := c.verify(); !r.OK || r.LastPos != 9 || r.LastHead != 3 || r.FirstPos != 1 || r.Outside != 1 {
					t.Fatalf("before: %+v", r)
				}
				tt.tamper(c)
				r, err := c.VerifyDatabase(t.Context(), keys, nil, nil)
				if err != nil || r.OK || r.Finding == nil {
					t.Fatalf("found nothing: %+v, %v", r, err)
				}
				want := strings.NewReplacer("EVENT", event.String(), "OTHER", other.String(), "KID", forgedKID).Replace(tt.want)
				if diff := cmp.Diff(want, r.Finding.String()); diff != "" {
					t.Error(diff)
				}
				if r.Finding.Pos != tt.pos {
					t.Errorf("the finding is at position %d, want %d", r.Finding.Pos, tt.pos)
				}
			})
		})
	}
}

var strange = uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057")

// after is a moment after the event of a position.
func (c *chained) after(pos int) (at time.Time) {
	c.t.Helper()
	c.ok(c.DB.Read().QueryRowContext(c.t.Context(), `SELECT created_at FROM audit_chain WHERE pos = $1`, pos).Scan(&at))
	return at.UTC().Add(time.Microsecond)
}

func (c *chained) insert(id uuid.UUID, at time.Time) {
	c.t.Helper()
	c.run(`INSERT INTO audit_events (id, created_at, event_type, actor_type, success, history) VALUES ($1, $2, 'user.logout', 'user', TRUE, TRUE)`, id, at)
}

// hashOf is what the hash of a position's row is now: an attacker knows how.
func (c *chained) hashOf(pos int) []byte {
	c.t.Helper()
	var r audit.Row
	c.ok(c.DB.Read().QueryRowContext(c.t.Context(), `SELECT id, created_at, event_type, actor_type, actor_id, target_type, target_id, success,
		failure_reason, correlation_id, metadata, personal_hash, history FROM audit_events WHERE id = (SELECT event_id FROM audit_chain WHERE pos = $1)`, pos).
		Scan(&r.ID, &r.At, &r.Type, &r.ActorType, &r.Actor, &r.TargetType, &r.Target, &r.Success,
			&r.Failure, &r.CorrelationID, &r.Metadata, &r.PersonalHash, &r.History))
	return r.Hash()
}

var forgedKID string

// forge signs a head anew with a key of the attacker's, whose row is put beside
// ours.
func (c *chained) forge(number int64) {
	c.t.Helper()
	other := dbtest.SQLite(c.t)
	theirs := chainAt(c.t, other, clock.Set(noon))
	theirs.ann, theirs.bob = c.ann, c.bob
	theirs.Chain.KeySeal = secret.NewRing("audit-key", "another")
	forgedKID = theirs.lastHead().KID
	h := theirs.lastHead()
	c.run(`UPDATE audit_heads SET kid = $1, hash = $2, signature = $3 WHERE number = $4`, h.KID, []byte(h.Hash), []byte(h.Signature), number)
	var public, sealed []byte
	c.ok(other.Read().QueryRowContext(c.t.Context(), `SELECT public, private_sealed FROM audit_keys`).Scan(&public, &sealed))
	c.run(`INSERT INTO audit_keys (id, kid, public, private_sealed, is_current, created_at) VALUES ($1, $2, $3, $4, FALSE, $5)`,
		uuid.New(), h.KID, public, sealed, noon)
}

func TestACutOffEndIsFoundAgainstAHeadKeptOutside(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newChain(t, d)
		c.three()
		kept := c.lastHead()
		last := c.at(6)
		for _, table := range []string{"audit_events", "audit_personal"} {
			c.run(`DELETE FROM ` + table + ` WHERE created_at >= (SELECT created_at FROM audit_chain WHERE pos = 7)`)
		}
		c.run(`DELETE FROM audit_chain WHERE pos > 6`)
		c.run(`DELETE FROM audit_heads WHERE number > 2`)
		if r := c.verify(); !r.OK {
			t.Errorf("without a head: %v", r.Finding)
		}
		r := c.verify(kept)
		want := fmt.Sprintf("cut off: the head kept outside ends at position 9 (head 3), the database at 6 (head 2), event %s of 2026-03-15T12:01:06Z", last)
		if r.Finding == nil || r.Finding.String() != want {
			t.Errorf("got %v, want %s", r.Finding, want)
		}
		// The log goes on: the same numbers come again, with other heads.
		c.happen(audit.LoginSuccess)
		c.batch()
		r = c.verify(kept)
		if want := "changed: head 3: it is another than the one kept outside"; r.Finding == nil || r.Finding.String() != want {
			t.Errorf("got %v, want %s", r.Finding, want)
		}
		forged := kept
		forged.LastPos++
		if _, err := c.VerifyDatabase(t.Context(), c.keys(), []audit.Head{forged}, nil); err == nil || !strings.Contains(err.Error(), "not one of this log") {
			t.Errorf("a head that is none is believed: %v", err)
		}
	})
}

func TestErasureDoesNotBreakVerification(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newChain(t, d)
		c.three()
		c.ok(audit.Forget(t.Context(), d, c.ann))
		if r := c.verify(c.lastHead()); !r.OK || r.Erased != 9 || r.LastPos != 9 {
			t.Errorf("%+v", r)
		}
	})
}

func TestAPurgeDoesNotBreakVerification(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newChain(t, d)
		c.three()
		first := c.lastHead()
		cutoff := c.after(5) // so batch 2 stays, and its first two events go
		floor, err := c.Raise(t.Context(), cutoff)
		c.ok(err)
		if floor != 4 {
			t.Fatalf("the floor is %d, want 4: the batch of an event that is kept begins there", floor)
		}
		for _, step := range []func(tx *db.Tx) (int, error){
			func(tx *db.Tx) (int, error) { return audit.PurgeRows(t.Context(), tx, cutoff, 2) },
			func(tx *db.Tx) (int, error) { return audit.PurgeEntries(t.Context(), tx, floor, 2) },
			func(tx *db.Tx) (int, error) { return audit.PurgeRows(t.Context(), tx, cutoff, 100) },
			func(tx *db.Tx) (int, error) { return audit.PurgeEntries(t.Context(), tx, floor, 100) },
		} {
			c.ok(d.Write(t.Context(), func(tx *db.Tx) error { _, err := step(tx); return err }))
			if r := c.verify(first); !r.OK || r.FirstPos != 4 || r.LastPos != 9 {
				t.Errorf("%+v", r)
			}
		}
		if n := c.count(`SELECT COUNT(*) FROM audit_chain`); n != 6 {
			t.Errorf("%d entries are left, want 6", n)
		}
		if n := c.count(`SELECT COUNT(*) FROM audit_events`); n != 4 {
			t.Errorf("%d events are left, want 4", n)
		}
		// Another purge up to the end, and on.
		c.Clock.Advance(time.Hour)
		floor, err = c.Raise(t.Context(), c.lastHead().MadeAt)
		c.ok(err)
		if floor != 10 {
			t.Errorf("the floor is %d, want 10", floor)
		}
		c.ok(d.Write(t.Context(), func(tx *db.Tx) error {
			_, err := audit.PurgeRows(t.Context(), tx, c.lastHead().KeptFrom, 100)
			if err == nil {
				_, err = audit.PurgeEntries(t.Context(), tx, floor, 100)
			}
			return err
		}))
		c.happen(audit.LoginSuccess)
		c.batch()
		if r := c.verify(first); !r.OK || r.FirstPos != 10 || r.LastPos != 10 {
			t.Errorf("%+v: places go on where they were", r)
		}
		c.run(`DELETE FROM audit_events`)
		if r := c.verify(); r.Finding == nil || r.Finding.Pos != 10 {
			t.Errorf("what is deleted after a purge is not found: %+v", r)
		}
	})
}

func (c *chained) count(query string) (n int) {
	c.t.Helper()
	c.ok(c.DB.Read().QueryRowContext(c.t.Context(), query).Scan(&n))
	return n
}

func TestRaiseNeverTakesBackAndKeepsWhatIsYoung(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newChain(t, d)
		c.three()
		before := c.lastHead()
		floor, err := c.Raise(t.Context(), before.MadeAt.Add(time.Hour))
		c.ok(err)
		if h := c.lastHead(); floor != 10 || !h.KeptFrom.Equal(before.MadeAt) || h.Floor != 10 || h.Number != 4 || h.FirstPos != 10 || h.LastPos != 9 {
			t.Errorf("floor %d, head %+v: nothing younger than the last head is let go", floor, h)
		}
		if floor, err = c.Raise(t.Context(), noon); err != nil || floor != 10 || c.lastHead().Number != 4 {
			t.Errorf("a raise to an earlier time: %d, %v, head %d", floor, err, c.lastHead().Number)
		}
	})
}

// What was recorded a moment ago is in no batch yet: whoever deletes it before a
// head is made is not found out.
func TestYoungEventsAreOutside(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newChain(t, d)
		c.three()
		c.happen(audit.LoginSuccess, audit.UserLogout)
		_, err := c.Drain(t.Context())
		c.ok(err)
		c.happen(audit.LoginSuccess)
		if r := c.verify(); !r.OK || r.Outside != 3 || r.LastPos != 9 {
			t.Errorf("%+v", r)
		}
		c.run(`DELETE FROM audit_events WHERE created_at > $1`, c.lastHead().MadeAt)
		if r := c.verify(); !r.OK || r.Outside != 0 {
			t.Errorf("%+v", r)
		}
	})
}

func TestEventsFromBeforeTheChainAreCounted(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newChain(t, d)
		c.insert(uuid.New(), noon.Add(-time.Hour))
		c.insert(uuid.New(), noon.Add(-time.Microsecond))
		c.three()
		if r := c.verify(); !r.OK || r.BeforeChain != 2 {
			t.Errorf("%+v", r)
		}
	})
}

// A lost secret must not make the log useless: another key signs on, and the
// heads before it verify with the old public key, which was kept.
func TestAKeyThatCannotBeOpenedIsReplaced(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newChain(t, d)
		c.three()
		old := c.keys()
		c.KeySeal = secret.NewRing("audit-key", "a new secret")
		c.ok(c.Prepare(t.Context()))
		c.happen(audit.LoginSuccess)
		c.batch()
		now := c.keys()
		if len(now) != 1 || now[0].KID == old[0].KID {
			t.Fatalf("keys before %v, after %v", old, now)
		}
		if r := c.verify(); r.Finding == nil || !strings.Contains(r.Finding.String(), old[0].KID) {
			t.Errorf("a key that nobody can vouch for is believed: %+v", r)
		}
		r, err := c.VerifyDatabase(t.Context(), append(old, now...), nil, nil)
		if err != nil || !r.OK || r.LastPos != 10 {
			t.Errorf("with the old public key: %+v, %v", r, err)
		}
		c.KeySeal = secret.NewRing("audit-key", "a new secret", "test")
		if keys := c.keys(); len(keys) != 2 {
			t.Errorf("with both secrets %d keys are known", len(keys))
		}
	})
}

// Marks of a secret that is gone are counted; the heads still cover them.
func TestMarksOfALostSecretAreCounted(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newChain(t, d)
		c.three()
		c.Marks = secret.NewRing("audit-chain", "a new secret")
		if r := c.verify(); !r.OK || r.OtherKeys != 9 {
			t.Errorf("%+v", r)
		}
	})
}

func TestAHeadIsTheSameInJSON(t *testing.T) {
	d := dbtest.SQLite(t)
	c := newChain(t, d)
	c.three()
	h := c.lastHead()
	b, err := json.Marshal(h)
	c.ok(err)
	var back audit.Head
	c.ok(json.Unmarshal(b, &back))
	if diff := cmp.Diff(h, back); diff != "" {
		t.Error(diff)
	}
	if r := c.verify(back); !r.OK {
		t.Error(r.Finding)
	}
}
