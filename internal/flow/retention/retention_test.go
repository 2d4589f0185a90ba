package retention_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/flow/retention"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/jobs"
)

// patience is for work that is done at once, on a machine with too much to do.
const patience = 30 * time.Second

const day = 24 * time.Hour

// world is a database with a year of everything. The clock stands at now.
type world struct {
	*retention.Service
	t    *testing.T
	now  time.Time
	user uuid.UUID
}

// now is noon: the cutoffs are midnights.
var now = time.Date(2031, 6, 15, 12, 0, 0, 0, time.UTC)

func newWorld(t *testing.T, d *db.DB) *world {
	t.Helper()
	w := &world{t: t, now: now, user: uuid.Must(uuid.NewV7())}
	c := clock.Set(now)
	q, err := jobs.New(d, dbtest.Log)
	if err != nil {
		t.Fatal(err)
	}
	w.Service = &retention.Service{
		DB: d, Clock: c, Log: dbtest.Log, Jobs: q,
		Chain:    &audit.Chain{DB: d, Clock: c, Log: dbtest.Log, KeySeal: secret.NewRing("audit-key", "k"), Marks: secret.NewRing("audit-chain", "k")},
		Settings: retention.Settings{AuditDays: 90, SessionDays: 30, DeliveryDays: 20},
	}
	q.Handle(map[string]jobs.Handler{retention.Kind: w.Work})
	if err := w.chainAt(now.Add(-400 * day)).Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.exec(`INSERT INTO users (id, email, email_key, role, is_active, email_verified, email_otp_enabled, epoch, created_at, updated_at)
		VALUES ($1, 'jo@example.com', 'jo@example.com', 'user', TRUE, TRUE, FALSE, 0, $2, $2)`, w.user, now)
	return w
}

// chainAt is the chain as of a time.
func (w *world) chainAt(at time.Time) *audit.Chain {
	return &audit.Chain{DB: w.DB, Clock: clock.Set(at), Log: dbtest.Log, KeySeal: w.Chain.KeySeal, Marks: w.Chain.Marks}
}

func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	err := w.DB.Write(w.t.Context(), func(tx *db.Tx) error {
		_, err := tx.ExecContext(w.t.Context(), query, args...)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) count(query string, args ...any) (n int) {
	w.t.Helper()
	if err := w.DB.Read().QueryRowContext(w.t.Context(), query, args...).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// idAt is a UUIDv7 of that moment.
func idAt(at time.Time) uuid.UUID {
	id := uuid.Must(uuid.NewV7())
	millis := at.UnixMilli()
	for i := range 6 {
		id[i] = byte(millis >> (8 * (5 - i)))
	}
	return id
}

// session begins that long ago and expires after a life; ended is how long ago
// it was ended, 0 if it was not.
func (w *world) session(began, life, ended time.Duration) uuid.UUID {
	at := w.now.Add(-began)
	var revoked sql.NullTime
	if ended > 0 {
		revoked = sql.NullTime{Time: w.now.Add(-ended), Valid: true}
	}
	id := idAt(at)
	w.exec(`INSERT INTO sessions (id, user_id, provider, audiences, auth_time, created_at, expires_at, generation, branch, prev_branch, rotated_at, last_seen_at, revoked_at)
		VALUES ($1, $2, 'password', '[]', $3, $3, $4, 0, 0, 0, $3, $3, $5)`, id, w.user, at, at.Add(life), revoked)
	return id
}

func (w *world) event(ago time.Duration) {
	err := w.DB.Write(w.t.Context(), func(tx *db.Tx) error {
		return audit.Record(w.t.Context(), tx, w.now.Add(-ago), audit.Event{Type: audit.LoginSuccess, Actor: w.user})
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) endpoint() uuid.UUID {
	id := uuid.Must(uuid.NewV7())
	w.exec(`INSERT INTO webhook_endpoints (id, name, url, events, secret_sealed, is_active, failures, created_at, updated_at)
		VALUES ($1, 'n', 'https://example.com/', '[]', $2, TRUE, 0, $3, $3)`, id, []byte("s"), w.now)
	return id
}

func (w *world) delivery(endpoint uuid.UUID, ago time.Duration, status string) {
	w.exec(`INSERT INTO webhook_deliveries (id, endpoint_id, event_type, data, occurred_at, status, attempt_count, created_at)
		VALUES ($1, $2, 'user.created', '{}', $3, $4, 1, $3)`, uuid.Must(uuid.NewV7()), endpoint, w.now.Add(-ago), status)
}

func (w *world) key(ago time.Duration, status string) {
	id := uuid.Must(uuid.NewV7())
	w.exec(`INSERT INTO signing_keys (id, kid, algorithm, status, private_sealed, public_jwk, created_at, retired_at)
		VALUES ($1, $2, 'ES256', $3, $4, '{}', $5, $5)`, id, id.String(), status, []byte{}, w.now.Add(-ago))
}

// chain gives what was recorded its places, under a signed head.
func (w *world) chain() {
	w.t.Helper()
	if err := w.Chain.Prepare(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	for {
		n, err := w.Chain.Drain(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		if n == 0 {
			break
		}
	}
	if _, err := w.Chain.Seal(w.t.Context(), 0); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) purge(dry bool) retention.Counts {
	w.t.Helper()
	n, err := w.Purge(w.t.Context(), audit.By{Type: "system"}, dry)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) verify() {
	w.t.Helper()
	keys, err := w.Chain.Keys(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := w.Chain.VerifyDatabase(w.t.Context(), keys, nil, nil)
	if err != nil {
		w.t.Errorf("the log does not verify: %v (%+v)", err, r)
	}
}

// fill gives a year of everything, each kind with something on either side of
// its cutoff.
func (w *world) fill() {
	for _, ago := range []time.Duration{365 * day, 200 * day, 91 * day, 89 * day, day, time.Minute} {
		w.event(ago)
	}
	w.session(100*day, day, 0)          // expired long ago, nobody ended it
	w.session(100*day, 200*day, 40*day) // ended long ago
	w.session(100*day, 75*day, 0)       // expired 25 days ago
	w.session(100*day, 200*day, 20*day) // ended lately
	w.session(100*day, 200*day, 0)      // lives
	w.session(5*day, day, 0)
	hook := w.endpoint()
	w.delivery(hook, 21*day, "delivered")
	w.delivery(hook, 21*day, "abandoned")
	w.delivery(hook, 21*day, "pending")
	w.delivery(hook, 21*day, "failed")
	w.delivery(hook, 19*day, "delivered")
	w.key(91*day, "retired")
	w.key(91*day, "revoked")
	w.key(89*day, "retired")
}

func TestWhatIsTooOldIsDeletedAndNothingElse(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.fill()
		w.chain()
		want := retention.Counts{
			Before: time.Date(2031, 3, 17, 0, 0, 0, 0, time.UTC), AuditEvents: 3, Partitions: []string{}, Sessions: 2, Deliveries: 2, SigningKeys: 2, Finished: true,
		}
		dry := w.purge(true)
		if n := w.count(`SELECT COUNT(*) FROM audit_events`); n != 6 {
			t.Errorf("%d events after a dry run", n)
		}
		if n := w.count(`SELECT COUNT(*) FROM audit_heads`); n != 2 {
			t.Errorf("%d heads after a dry run", n)
		}
		got := w.purge(false)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		want.DryRun = true
		if diff := cmp.Diff(want, dry); diff != "" {
			t.Errorf("the dry run said otherwise: %s", diff)
		}
		for what, left := range map[string]int{
			`audit_events WHERE event_type = 'user.login.success'`: 3,
			`audit_personal`:     4, // and of the purge's own event
			`sessions`:           4,
			`webhook_deliveries`: 3,
			`webhook_deliveries WHERE status IN ('pending', 'failed')`: 2,
			`signing_keys`:      1,
			`users`:             1,
			`webhook_endpoints`: 1,
			`audit_events WHERE event_type = 'retention.purged'`:                     1,
			`audit_events WHERE actor_type = 'system' AND event_type LIKE 'retent%'`: 1,
		} {
			if n := w.count(`SELECT COUNT(*) FROM ` + what); n != left {
				t.Errorf("%s: %d left, want %d", what, n, left)
			}
		}
		w.verify()
		if again := w.purge(false); again.AuditEvents+again.Sessions+again.Deliveries+again.SigningKeys+again.Entries != 0 {
			t.Errorf("a second purge finds %+v", again)
		}
	})
}

func TestThePurgeIsRecordedWithWhatItDid(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.fill()
		w.chain()
		w.purge(false)
		var text string
		if err := d.Read().QueryRowContext(t.Context(), `SELECT metadata FROM audit_events WHERE event_type = 'retention.purged'`).Scan(&text); err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{"audit_events": 3., "sessions": 2., "deliveries": 2., "partitions": []any{}, "before": "2031-03-17T00:00:00Z", "finished": true}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// More of everything than a batch: the walk over sessions has to find its way.
func TestMoreThanABatchGoes(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		const many = 5_500
		series := `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5500)`
		id := `substr(printf('%012x', 1700000000000 + i * 1000), 1, 8) || '-' || substr(printf('%012x', 1700000000000 + i * 1000), 9) || '-7000-8000-000000000000'`
		if d.Engine() == db.Postgres {
			id = `CAST(lpad(to_hex(1700000000000 + CAST(i AS BIGINT) * 1000), 12, '0') || '7000' || '8000' || '000000000000' AS UUID)`
		}
		w.exec(series+` INSERT INTO sessions (id, user_id, provider, audiences, auth_time, created_at, expires_at, generation, branch, prev_branch, rotated_at, last_seen_at)
			SELECT `+id+`, $1, 'password', '[]', $2, $2, $2, 0, i, 0, $2, $2 FROM n`, w.user, now.Add(-100*day))
		w.exec(`UPDATE sessions SET expires_at = $1 WHERE branch % 2 = 1`, now)
		if n := w.purge(false); n.Sessions != many/2 {
			t.Errorf("%d sessions are gone, want %d", n.Sessions, many/2)
		}
		if n := w.count(`SELECT COUNT(*) FROM sessions WHERE expires_at < $1`, now.Add(-30*day)); n != 0 {
			t.Errorf("%d ended sessions are left", n)
		}
	})
}

func TestMonthsAreDroppedWhole(t *testing.T) {
	d := dbtest.Postgres(t)
	w := newWorld(t, d)
	if err := audit.EnsurePartitions(t.Context(), d, now.Add(-120*day)); err != nil { // from February on
		t.Fatal(err)
	}
	w.fill()
	w.chain()
	want := []string{"audit_events_203102", "audit_personal_203102"}
	if dry := w.purge(true); !cmp.Equal(dry.Partitions, want) {
		t.Errorf("a dry run names %v", dry.Partitions)
	}
	n := w.purge(false)
	if !cmp.Equal(n.Partitions, want) {
		t.Errorf("dropped: %v", n.Partitions)
	}
	// 365 and 200 days ago had no month; 91 days ago is in the cutoff's month.
	if n.AuditEvents != 2 || w.count(`SELECT COUNT(*) FROM audit_events WHERE created_at < $1`, n.Before) != 1 {
		t.Errorf("%d rows deleted", n.AuditEvents)
	}
	w.verify()
}

// What is below the floor of the last head, and no more: heads stay.
func TestTheChainIsCutAtTheFloorThatWasSignedBefore(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.event(200 * day)
		w.event(199 * day)
		w.chain()
		w.event(198 * day)
		w.event(day)
		w.chain()
		heads := w.count(`SELECT COUNT(*) FROM audit_heads`)
		// The heads were made now: nothing before now is younger than them.
		n := w.purge(false)
		if n.Entries != 2 || n.AuditEvents != 3 {
			t.Errorf("%d entries and %d events are gone, want 2 (a batch that is kept stays whole) and 3", n.Entries, n.AuditEvents)
		}
		if after := w.count(`SELECT COUNT(*) FROM audit_heads`); after != heads+1 {
			t.Errorf("%d heads, want one more than %d", after, heads)
		}
		w.chain()
		w.verify()
	})
}

func TestNothingYoungerThanTheLastHeadIsPurged(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		chain := w.Chain
		w.Chain = w.chainAt(now.Add(-200 * day)) // no worker has run since
		w.event(300 * day)
		w.chain()
		w.event(150 * day)
		w.Chain = chain
		if n := w.purge(false); n.AuditEvents != 1 || !n.Before.Equal(now.Add(-200*day)) {
			t.Errorf("got %+v, want the one event before the head", n)
		}
		w.chain()
		w.verify()
	})
}

// A purge that is stopped after any batch leaves a log that verifies, and the
// next one goes on.
func TestAPurgeThatBrokeOffGoesOn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.fill()
		w.chain()
		// The table of deliveries is out of reach for the first.
		w.exec(`ALTER TABLE webhook_deliveries RENAME TO hidden`)
		n, err := w.Purge(t.Context(), audit.By{Type: "system"}, false)
		if err == nil || n.Finished || n.AuditEvents != 3 || n.Sessions != 2 {
			t.Fatalf("got %+v, %v", n, err)
		}
		if w.count(`SELECT COUNT(*) FROM audit_events WHERE event_type = 'retention.purged' AND metadata LIKE '%"finished":false%'`) != 1 {
			t.Error("what was done is not recorded")
		}
		w.verify()
		w.exec(`ALTER TABLE hidden RENAME TO webhook_deliveries`)
		if n := w.purge(false); !n.Finished || n.AuditEvents != 0 || n.Deliveries != 2 || n.SigningKeys != 2 {
			t.Errorf("got %+v", n)
		}
		w.verify()
	})
}

func TestOfTwoPurgesOneWaits(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.fill()
		w.chain()
		w.exec(`INSERT INTO periodic (name, next_at) VALUES ('purge_running', $1)`, now.Add(30*time.Second)) // another process
		if _, err := w.Purge(t.Context(), audit.By{Type: "system"}, false); !errors.Is(err, retention.ErrBusy) {
			t.Errorf("got %v, want ErrBusy", err)
		}
		if n := w.count(`SELECT COUNT(*) FROM audit_events`); n != 6 {
			t.Errorf("%d events are left", n)
		}
		w.exec(`UPDATE periodic SET next_at = $1 WHERE name = 'purge_running'`, now) // it died
		w.purge(false)

		var all sync.WaitGroup
		var mu sync.Mutex
		done := 0
		for range 8 {
			all.Go(func() {
				_, err := w.Purge(t.Context(), audit.By{Type: "system"}, false)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					done++
				} else if !errors.Is(err, retention.ErrBusy) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if done == 0 {
			t.Error("none of eight was done")
		}
		w.chain()
		w.verify()
	})
}

func TestTheJobPurgesAndRecordsOnce(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.fill()
		w.chain()
		said := &heard{at: make(chan struct{}, 1)}
		w.Log = slog.New(slog.NewTextHandler(said, nil))
		if err := d.Write(t.Context(), func(tx *db.Tx) error { return w.Jobs.EnqueueOnce(t.Context(), tx, retention.Kind, struct{}{}) }); err != nil {
			t.Fatal(err)
		}
		if err := w.Jobs.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := w.Jobs.Stop(ctx); err != nil {
				t.Error(err)
			}
		}()
		select {
		case <-said.at:
		case <-time.After(patience):
			t.Fatal("the job has not finished")
		}
		if n := w.count(`SELECT COUNT(*) FROM audit_events WHERE event_type = 'retention.purged' AND actor_type = 'system'`); n != 1 {
			t.Errorf("%d purges are recorded", n)
		}
		if n := w.count(`SELECT COUNT(*) FROM sessions`); n != 4 {
			t.Errorf("%d sessions are left", n)
		}
	})
}

// heard is a log that tells when the purge says that it is done.
type heard struct{ at chan struct{} }

func (h *heard) Write(line []byte) (int, error) {
	if strings.Contains(string(line), "retention_purge_completed") {
		h.at <- struct{}{}
	}
	return len(line), nil
}
