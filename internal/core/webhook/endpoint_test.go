package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

func TestAnEndpointIsRegistered(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		e, shown, err := w.Create(t.Context(), system, New{Name: "  orders ", URL: "HTTP://LOCALHOST:80/a?token=geheim", Events: []string{"user.deleted", " session.created ", "user.deleted"}})
		if err != nil {
			t.Fatal(err)
		}
		want := Endpoint{ID: e.ID, Name: "orders", URL: "http://localhost/a?token=geheim", Events: []string{"session.created", "user.deleted"}, Active: true, Created: noon}
		if got := w.now(e.ID); !reflect.DeepEqual(got, want) || !reflect.DeepEqual(e, want) {
			t.Errorf("stored %+v, answered %+v, want %+v", got, e, want)
		}
		if !strings.HasPrefix(shown, "whsec_") || len(keyOf(shown)) != 24 {
			t.Errorf("the secret that was made is %q", shown)
		}
		recorded := w.recorded(audit.WebhookCreated)
		if len(recorded) != 1 || recorded[0]["url"] != "http://localhost" || recorded[0]["name"] != "orders" || recorded[0]["is_active"] != true {
			t.Errorf("recorded: %v", recorded)
		}
		var stored []byte
		if err := d.Read().QueryRowContext(t.Context(), `SELECT secret_sealed FROM webhook_endpoints WHERE id = $1`, e.ID).Scan(&stored); err != nil || strings.Contains(string(stored), shown[6:]) {
			t.Errorf("the secret is stored as %q (%v)", stored, err)
		}
	})
}

func TestWhatCannotBeAnEndpointIsRefused(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	good := New{Name: "orders", URL: "http://127.0.0.1/", Secret: "hook-secret-1"}
	for says, tt := range map[string]struct {
		change func(n *New)
		field  string // of a validation error
		text   string
	}{
		"a blank name":          {func(n *New) { n.Name = " \t" }, "name", "blank"},
		"a long name":           {func(n *New) { n.Name = strings.Repeat("ä", 256) }, "name", "255"},
		"a short secret":        {func(n *New) { n.Secret = "1234567" }, "secret", "8"},
		"a blank secret":        {func(n *New) { n.Secret = "          " }, "secret", "8"},
		"a long secret":         {func(n *New) { n.Secret = strings.Repeat("x", 513) }, "secret", "512"},
		"an event misspelt":     {func(n *New) { n.Events = []string{"user.deleted", "session.craeted"} }, "events", "did you mean session.created?"},
		"an event of another":   {func(n *New) { n.Events = []string{"customer.deleted"} }, "events", "user.deleted"},
		"an event of no kind":   {func(n *New) { n.Events = []string{strings.Repeat("☠", 1000)} }, "events", "did you mean"},
		"an event for the log":  {func(n *New) { n.Events = []string{"token.issued"} }, "events", "did you mean"},
		"the event of pings":    {func(n *New) { n.Events = []string{"webhook.test"} }, "events", "did you mean"},
		"a URL that is no such": {func(n *New) { n.URL = "ftp://127.0.0.1/" }, "", ""},
	} {
		n := good
		tt.change(&n)
		_, shown, err := w.Create(t.Context(), system, n)
		var f *fault.Fault
		switch {
		case !errors.As(err, &f), shown != "":
			t.Errorf("%s: %q %v", says, shown, err)
		case tt.field == "" && f.Code != fault.InvalidWebhookURL:
			t.Errorf("%s: %v", says, err)
		case tt.field != "" && (len(f.Fields) != 1 || f.Fields[0].Field != tt.field || !strings.Contains(f.Fields[0].Message, tt.text)):
			t.Errorf("%s: %v", says, err)
		}
	}
	if page, err := w.List(t.Context(), "", 10); err != nil || len(page.Rows) != 0 || len(w.recorded(audit.WebhookCreated)) != 0 {
		t.Errorf("something was registered: %v %v", page, err)
	}
}

// Every act spends its proof first, and leaves nothing behind when that fails.
func TestAnActWithASpentProofChangesNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		e := w.endpoint("http://127.0.0.1:1/")
		w.happen(1)
		before, delivery := w.now(e.ID), w.one(e.ID)
		spent := audit.By{Type: "admin", ID: uuid.New(), Proof: func(context.Context, *db.Tx, time.Time) error { return fault.New(fault.ActionTokenInvalid) }}
		off, name := false, "other"
		for says, act := range map[string]func() error{
			"create": func() error {
				_, _, err := w.Create(t.Context(), spent, New{Name: "x", URL: "http://127.0.0.1/"})
				return err
			},
			"update": func() error {
				_, err := w.Update(t.Context(), spent, e.ID, Patch{Active: &off, Name: &name})
				return err
			},
			"delete": func() error { _, err := w.Delete(t.Context(), spent, e.ID); return err },
			"rotate": func() error { _, _, err := w.RotateSecret(t.Context(), spent, e.ID, "", time.Hour); return err },
			"ping":   func() error { _, err := w.Ping(t.Context(), spent, e.ID); return err },
			"retry":  func() error { return w.Retry(t.Context(), spent, delivery.ID) },
		} {
			if err := act(); !fault.Has(err, fault.ActionTokenInvalid) {
				t.Errorf("%s: %v", says, err)
			}
		}
		page, err := w.List(t.Context(), "", 10)
		if err != nil || len(page.Rows) != 1 || !reflect.DeepEqual(page.Rows[0], before) || !reflect.DeepEqual(w.one(e.ID), delivery) {
			t.Errorf("left: %+v %v", page, err)
		}
	})
}

func TestAnEndpointThatIsNotThereIsToldSo(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	gone := w.endpoint("http://127.0.0.1:1/")
	w.happen(1)
	delivery := w.one(gone.ID).ID
	if _, err := w.Delete(t.Context(), system, gone.ID); err != nil {
		t.Fatal(err)
	}
	for _, id := range []uuid.UUID{uuid.New(), gone.ID} {
		_, find := w.Find(t.Context(), id)
		_, update := w.Update(t.Context(), system, id, Patch{})
		_, remove := w.Delete(t.Context(), system, id)
		_, _, rotate := w.RotateSecret(t.Context(), system, id, "", 0)
		_, ping := w.Ping(t.Context(), system, id)
		_, deliveries := w.Deliveries(t.Context(), id, "", "", 10)
		_, one := w.Delivery(t.Context(), id, delivery)
		for i, err := range []error{find, update, remove, rotate, ping, deliveries, one} {
			if !fault.Has(err, fault.WebhookNotFound) {
				t.Errorf("act %d on %s: %v", i, id, err)
			}
		}
	}
	here := w.endpoint("http://127.0.0.1:1/")
	if _, err := w.Delivery(t.Context(), here.ID, delivery); !fault.Has(err, fault.DeliveryNotFound) {
		t.Errorf("a delivery of another endpoint: %v", err)
	}
	for _, id := range []uuid.UUID{uuid.New(), delivery} {
		if err := w.Retry(t.Context(), system, id); !fault.Has(err, fault.DeliveryNotFound) {
			t.Errorf("a retry of %s: %v", id, err)
		}
	}
}

func TestSwitchingOffAndDeletingGiveUpWhatWaits(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		e, other := w.endpoint("http://127.0.0.1:1/"), w.endpoint("http://127.0.0.1:1/")
		w.happen(3)
		list := w.all(e.ID)
		w.write(func(tx *db.Tx) error {
			_, err := tx.ExecContext(t.Context(), `UPDATE webhook_deliveries SET status = 'delivered', due_at = NULL WHERE id = $1`, list[0].ID)
			return err
		})
		off := false
		if got, err := w.Update(t.Context(), system, e.ID, Patch{Active: &off}); err != nil || got.Active || got.DisabledWhy != DisabledByOperator {
			t.Fatalf("%+v %v", got, err)
		}
		for i, got := range w.all(e.ID) {
			if want := []Status{Delivered, Abandoned, Abandoned}[i]; got.Status != want {
				t.Errorf("%+v, want %s", got, want)
			}
		}
		if err := w.Retry(t.Context(), system, list[1].ID); !fault.Has(err, fault.DeliveryNotFound) {
			t.Errorf("a retry at one that is off: %v", err)
		}
		if _, err := w.Ping(t.Context(), system, e.ID); !fault.Has(err, fault.WebhookNotFound) {
			t.Errorf("a ping at one that is off: %v", err)
		}
		given, err := w.Delete(t.Context(), system, other.ID)
		want := []uuid.UUID{}
		for _, delivery := range w.all(other.ID) {
			want = append(want, delivery.ID)
			if delivery.Status != Abandoned {
				t.Errorf("%+v", delivery)
			}
		}
		slices.SortFunc(given, func(a, b uuid.UUID) int { return strings.Compare(a.String(), b.String()) })
		if err != nil || !slices.Equal(given, want) {
			t.Errorf("given up: %v, want %v (%v)", given, want, err)
		}
		if recorded := w.recorded(audit.WebhookDeleted); len(recorded) != 1 || recorded[0]["abandoned_delivery_count"] != 3.0 {
			t.Errorf("recorded: %v", recorded)
		}
	})
}

func TestARotatedSecretSignsBesideItsSuccessorForAWhile(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		r := newReceiver(t, status(http.StatusOK))
		e := w.endpoint(r.URL)
		shown, until, err := w.RotateSecret(t.Context(), system, e.ID, "", time.Hour)
		if err != nil || !until.Equal(noon.Add(time.Hour)) || !w.now(e.ID).OldUntil.Equal(until) {
			t.Fatalf("%v %v", until, err)
		}
		good := func(secret string) bool {
			w.happen(1)
			w.deliver()
			last := r.seen()[len(r.seen())-1]
			return Verify(secret, last.header, last.body, w.Clock.Now()) == nil
		}
		if !good(shown) || !good("hook-secret-1") {
			t.Error("within the overlap one of the secrets does not sign")
		}
		last := r.seen()[0]
		if _, legacy := Sign("hook-secret-1", "", noon, last.body); last.header.Get("X-Webhook-Signature-Previous") != legacy {
			t.Error("the header of old does not have the secret before")
		}
		w.Clock.Advance(time.Hour)
		if good("hook-secret-1") || !good(shown) || !w.now(e.ID).OldUntil.IsZero() {
			t.Error("the secret before signs after the overlap")
		}
		if err := Prune(t.Context(), d, w.Clock.Now()); err != nil {
			t.Fatal(err)
		}
		var left int
		if err := d.Read().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM webhook_endpoints WHERE old_sealed IS NOT NULL OR old_until IS NOT NULL`).Scan(&left); err != nil || left != 0 {
			t.Errorf("%d old secrets are left (%v)", left, err)
		}
		none, until, err := w.RotateSecret(t.Context(), system, e.ID, "hook-secret-3", 0)
		if err != nil || none != "" || !until.IsZero() || good(shown) || !good("hook-secret-3") {
			t.Errorf("without overlap: %q %v %v", none, until, err)
		}
		for _, overlap := range []time.Duration{-time.Second, MostOverlap + time.Second} {
			if _, _, err := w.RotateSecret(t.Context(), system, e.ID, "", overlap); !fault.Has(err, fault.ValidationError) {
				t.Errorf("an overlap of %v: %v", overlap, err)
			}
		}
	})
}

func TestAPingIsSentWhateverTheEndpointSubscribedTo(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		r := newReceiver(t, status(http.StatusOK))
		e := w.endpoint(r.URL, "user.deleted")
		ping, err := w.Ping(t.Context(), system, e.ID)
		if err != nil {
			t.Fatal(err)
		}
		w.deliver()
		got, err := w.Delivery(t.Context(), e.ID, ping.ID)
		if err != nil || got.Status != Delivered || got.Event != "webhook.test" || got.Data != `{"endpoint_id":"`+e.ID.String()+`"}` {
			t.Errorf("%+v %v", got, err)
		}
		if recorded := w.recorded(audit.WebhookPinged); len(recorded) != 1 || recorded[0]["delivery_id"] != ping.ID.String() {
			t.Errorf("recorded: %v", recorded)
		}
	})
}

func TestADeliveryIsRetriedByHandWhateverItsStatus(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		r := newReceiver(t, status(http.StatusOK))
		e := w.endpoint(r.URL)
		w.happen(1)
		for range 3 {
			w.deliver()
			if err := w.Retry(t.Context(), system, w.one(e.ID).ID); err != nil {
				t.Fatal(err)
			}
			if got := w.one(e.ID); got.Status != Pending || got.Attempts != 0 || got.ResponseStatus != 0 || got.ResponseBody != "" || !got.LastAttempted.IsZero() {
				t.Errorf("%+v", got)
			}
		}
		if seen := r.seen(); len(seen) != 3 || string(seen[0].body) != string(seen[2].body) || seen[0].header.Get("webhook-id") != seen[2].header.Get("webhook-id") {
			t.Errorf("%d requests", len(seen))
		}
		if recorded := w.recorded(audit.WebhookRetryQueued); len(recorded) != 3 || recorded[0]["endpoint_id"] != e.ID.String() {
			t.Errorf("recorded: %v", recorded)
		}
	})
}

// Somebody may be sending it: then the retry waits until that one's time is over.
func TestARetryDoesNotOverlapWithASenderAtWork(t *testing.T) {
	for says, before := range map[string]func(w *world, id uuid.UUID) error{
		"at once":          func(*world, uuid.UUID) error { return nil },
		"after another":    func(w *world, id uuid.UUID) error { return w.Retry(w.t.Context(), system, id) },
		"after off and on": offAndOn,
	} {
		t.Run(says, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, d *db.DB) {
				w := newWorld(t, d)
				r := newReceiver(t, status(http.StatusOK))
				e := w.endpoint(r.URL)
				w.happen(1)
				atWork := w.claimed(w.Service)[0]
				if err := before(w, atWork.ID); err != nil {
					t.Fatal(err)
				}
				if err := w.Retry(t.Context(), system, atWork.ID); err != nil {
					t.Fatal(err)
				}
				w.Clock.Advance(w.Timeout)
				if n := w.deliver(); n != 0 {
					t.Error("it is sent while another may be sending it")
				}
				if _, _, err := w.settle(t.Context(), atWork, result{status: 200}); !errors.Is(err, errLost) {
					t.Errorf("the sender at work wrote its result: %v", err)
				}
				w.Clock.Advance(w.leaseFor())
				if n := w.deliver(); n != 1 || w.one(e.ID).Status != Delivered {
					t.Errorf("%d attempts afterwards: %+v", n, w.one(e.ID))
				}
			})
		})
	}
}

func offAndOn(w *world, id uuid.UUID) error {
	page, err := w.List(w.t.Context(), "", 1)
	if err != nil {
		return err
	}
	for _, on := range []bool{false, true} {
		if _, err := w.Update(w.t.Context(), system, page.Rows[0].ID, Patch{Active: &on}); err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
	}
	return nil
}

func TestListsPageNewestFirst(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		var ids []uuid.UUID
		for range 5 {
			ids = append([]uuid.UUID{w.endpoint("http://127.0.0.1:1/").ID}, ids...)
			w.Clock.Advance(time.Second)
		}
		var got []uuid.UUID
		after := ""
		for range 4 {
			page, err := w.List(t.Context(), after, 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Rows {
				got = append(got, e.ID)
			}
			if after = page.Next; after == "" {
				break
			}
		}
		if !slices.Equal(got, ids) {
			t.Errorf("%v, want %v", got, ids)
		}
		w.happen(3)
		page, err := w.Deliveries(t.Context(), ids[0], Pending, "", 2)
		if err != nil || len(page.Rows) != 2 || page.Next == "" {
			t.Fatalf("%+v %v", page, err)
		}
		rest, err := w.Deliveries(t.Context(), ids[0], Pending, page.Next, 2)
		if err != nil || len(rest.Rows) != 1 || rest.Next != "" {
			t.Errorf("%+v %v", rest, err)
		}
		if _, err := w.Deliveries(t.Context(), ids[0], Failed, page.Next, 2); !fault.Has(err, fault.InvalidCursor) {
			t.Errorf("a cursor of another status: %v", err)
		}
		if _, err := w.Deliveries(t.Context(), ids[1], Pending, page.Next, 2); !fault.Has(err, fault.InvalidCursor) {
			t.Errorf("a cursor of another endpoint: %v", err)
		}
		if none, err := w.Deliveries(t.Context(), ids[0], Delivered, "", 2); err != nil || len(none.Rows) != 0 {
			t.Errorf("%+v %v", none, err)
		}
	})
}
