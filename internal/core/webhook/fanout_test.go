package webhook

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

func kinds(list []Delivery) (names []string) {
	for _, d := range list {
		names = append(names, d.Event)
	}
	slices.Sort(names)
	return names
}

func TestAnEventGoesToThoseWhoWantIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		const url = "http://127.0.0.1:1/"
		all, some, heads := w.endpoint(url), w.endpoint(url, "user.deleted", "session.created"), w.endpoint(url, "audit.head")
		off, gone := w.endpoint(url), w.endpoint(url)
		no := false
		if _, err := w.Update(t.Context(), system, off.ID, Patch{Active: &no}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Delete(t.Context(), system, gone.ID); err != nil {
			t.Fatal(err)
		}
		w.happen(5, audit.SessionCreated, audit.UserErased, audit.UserDeleted, audit.TokenIssued /* not for webhooks */, audit.AuditHead)
		for _, tt := range []struct {
			says string
			id   uuid.UUID
			want []string
		}{
			{"for every event", all.ID, []string{"session.created", "user.deleted", "user.erased"}},
			{"for two", some.ID, []string{"session.created", "user.deleted"}},
			{"for heads", heads.ID, []string{"audit.head"}},
			{"switched off", off.ID, nil},
			{"deleted", gone.ID, nil},
		} {
			if got := kinds(w.all(tt.id)); !slices.Equal(got, tt.want) {
				t.Errorf("%s: %v, want %v", tt.says, got, tt.want)
			}
		}
		for _, got := range w.all(all.ID) {
			if got.Status != Pending || got.Attempts != 0 || got.Data == "" || !got.Occurred.Equal(noon) || !got.Created.Equal(noon) {
				t.Errorf("%+v", got)
			}
		}
	})
}

func TestFanningOutAgainMakesNoSecondDelivery(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		e := w.endpoint("http://127.0.0.1:1/")
		var events []audit.Outgoing
		for range 1200 { // more than one statement inserts
			events = append(events, audit.Outgoing{EventID: uuid.Must(uuid.NewV7()), Type: "session.created", At: noon, Data: "{}"})
		}
		w.fanOut(events)
		w.fanOut(events[:700])
		if n := len(w.all(e.ID)); n != 1200 {
			t.Errorf("%d deliveries of 1200 events", n)
		}
		w.fanOut(nil)
		w.fanOut([]audit.Outgoing{{EventID: uuid.Must(uuid.NewV7()), Type: "session.created", At: noon.Add(-time.Microsecond), Data: "{}"}})
		if n := len(w.all(e.ID)); n != 1200 {
			t.Error("an event from before the endpoint was sent to it")
		}
	})
}

func TestAHeadIsAnnouncedToThoseWhoNameIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		all, heads := w.endpoint("http://127.0.0.1:1/"), w.endpoint("http://127.0.0.1:1/", "audit.head")
		for n := range 2 {
			head := audit.Head{Number: int64(n + 1), LastPos: 42, MadeAt: noon, KID: "kid-1", Hash: []byte{1, 2}, Signature: []byte{3}}
			w.write(func(tx *db.Tx) error { return w.Announce(t.Context(), tx, head) })
		}
		if n := len(w.all(all.ID)); n != 0 {
			t.Errorf("%d heads for whoever names none", n)
		}
		list := w.all(heads.ID)
		if len(list) != 2 {
			t.Fatalf("%d deliveries", len(list))
		}
		data := map[string]any{}
		if err := json.Unmarshal([]byte(list[0].Data), &data); err != nil || data["number"] != 1.0 || data["last_pos"] != 42.0 || data["hash"] != "AQI" || data["signature"] != "Aw" || data["kid"] != "kid-1" {
			t.Errorf("%s %v", list[0].Data, err)
		}
	})
}

// The chain's own drain, from a recorded act to a delivery.
func TestWhatIsRecordedBecomesADelivery(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		e := w.endpoint("http://127.0.0.1:1/", "user.role_changed")
		person := uuid.Must(uuid.NewV7())
		w.write(func(tx *db.Tx) error {
			return audit.Record(t.Context(), tx, noon, audit.Event{
				Type: audit.UserRoleChanged, ActorType: "admin", TargetType: "user", Target: person, Metadata: map[string]any{"old_role": "user", "new_role": "admin"},
			})
		})
		chain := &audit.Chain{DB: d, Clock: w.Clock, Log: dbtest.Log, KeySeal: ring, Marks: ring, FanOut: w.FanOut, OnHead: w.Announce}
		if err := chain.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := chain.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := w.one(e.ID)
		data := map[string]any{}
		if err := json.Unmarshal([]byte(got.Data), &data); err != nil || len(data) != 3 || data["user_id"] != person.String() || data["new_role"] != "admin" || got.Event != "user.role_changed" {
			t.Errorf("%+v %v", got, err)
		}
	})
}

func TestWhatWaitsForAnEndpointThatIsOffIsSwept(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		off, on := w.endpoint("http://127.0.0.1:1/"), w.endpoint("http://127.0.0.1:1/")
		for range 3 {
			w.happen(400)
		}
		w.write(func(tx *db.Tx) error { // as if the events had come beside the act
			_, err := tx.ExecContext(t.Context(), `UPDATE webhook_endpoints SET is_active = $1 WHERE id = $2`, false, off.ID)
			return err
		})
		if err := w.sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, got := range w.all(off.ID) {
			if got.Status != Abandoned {
				t.Fatalf("%+v", got)
			}
		}
		for _, got := range w.all(on.ID) {
			if got.Status != Pending {
				t.Fatalf("%+v", got)
			}
		}
	})
}

func TestOldDeliveriesArePurged(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		e := w.endpoint("http://127.0.0.1:1/")
		w.happen(4)
		list := w.all(e.ID)
		w.write(func(tx *db.Tx) error {
			for i, status := range []Status{Delivered, Abandoned, Failed, Pending} {
				if _, err := tx.ExecContext(t.Context(), `UPDATE webhook_deliveries SET status = $1 WHERE id = $2`, string(status), list[i].ID); err != nil {
					return err
				}
			}
			return nil
		})
		purge := func(before time.Time, limit int) (n int) {
			w.write(func(tx *db.Tx) (err error) {
				n, err = PurgeDeliveries(t.Context(), tx, before, limit)
				return err
			})
			return n
		}
		if n := purge(noon, 10); n != 0 {
			t.Errorf("%d young ones were purged", n)
		}
		if n := purge(noon.Add(time.Second), 1); n != 1 {
			t.Errorf("%d were purged, with a limit of 1", n)
		}
		if n := purge(noon.Add(time.Second), 10); n != 1 {
			t.Errorf("%d were purged, want 1", n)
		}
		if got := w.all(e.ID); len(got) != 2 || got[0].Status != Failed || got[1].Status != Pending {
			t.Errorf("left: %+v", got)
		}
	})
}
