package audit_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/cursor"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// pages reads a whole history page by page.
func pages(t *testing.T, d *db.DB, person uuid.UUID, limit int) (list []audit.Past) {
	t.Helper()
	h := &audit.History{DB: d}
	for after, more := "", true; more; more = after != "" {
		page, err := h.List(t.Context(), person, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Rows) > limit {
			t.Fatalf("%d rows on a page of %d", len(page.Rows), limit)
		}
		list, after = append(list, page.Rows...), page.Next
		if len(list) > 1000 {
			t.Fatal("the pages do not end")
		}
	}
	return list
}

func TestTheHistoryShowsEachTypeThatSaysSoAndNoOther(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		me := uuid.New()
		var shown []string
		for i, typ := range audit.Catalogue {
			if typ.Unstored {
				continue
			}
			at := noon.Add(time.Duration(i) * time.Minute)
			if err := record(t.Context(), d, at, audit.Event{Type: typ, Actor: me}); err != nil {
				t.Fatal(err)
			}
			if typ.History {
				shown = append([]string{typ.Name}, shown...)
			}
		}
		var got []string
		for _, p := range pages(t, d, me, 200) {
			got = append(got, p.Type)
		}
		if diff := cmp.Diff(shown, got); diff != "" || len(shown) < 20 {
			t.Error(diff)
		}
		for _, name := range []string{"user.password.reset.completed", "user.locked", "user.reauth.success", "otp.enabled", "otp.disabled", "session.revoked"} {
			if !slices.Contains(got, name) {
				t.Errorf("%s is not shown", name)
			}
		}
	})
}

func TestTheHistoryTellsWhatIsTheirsAndNothingOfOthers(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		me, admin, other := uuid.New(), uuid.New(), uuid.New()
		from := audit.WithOrigin(t.Context(), origin)
		at := noon
		for _, e := range []audit.Event{
			{Type: audit.LoginFailure, Actor: me, Failure: "invalid_credentials", Metadata: map[string]any{"provider": "password"}},
			{Type: audit.SessionRevoked, Actor: me, TargetType: "user", Target: me, Metadata: map[string]any{"reason": "x", "revoked_session_count": 2}},
			{Type: audit.SessionRevoked, Actor: admin, TargetType: "user", Target: me, Metadata: map[string]any{"reason": "admin_targeted"}},
			{Type: audit.SessionRevoked, ActorType: "system", TargetType: "user", Target: me},
			{Type: audit.SessionRevoked, Actor: other, TargetType: "user", Target: other},
			{Type: audit.LoginSuccess, Actor: other},
			{Type: audit.LoginFailure},
		} {
			at = at.Add(time.Second)
			if err := record(from, d, at, e); err != nil {
				t.Fatal(err)
			}
		}
		mine := func(seconds int, typ string, p audit.Past) audit.Past {
			p.At, p.Type, p.Success = noon.Add(time.Duration(seconds)*time.Second), typ, p.Failure == ""
			return p
		}
		want := []audit.Past{
			mine(4, "session.revoked", audit.Past{IP: origin.IP, UserAgent: origin.UserAgent}),
			mine(3, "session.revoked", audit.Past{Metadata: map[string]any{"reason": "admin_targeted"}}), // whence the admin came is not told
			mine(2, "session.revoked", audit.Past{IP: origin.IP, UserAgent: origin.UserAgent, Metadata: map[string]any{"reason": "x", "revoked_session_count": 2.0}}),
			mine(1, "user.login.failure", audit.Past{IP: origin.IP, UserAgent: origin.UserAgent, Failure: "invalid_credentials", Metadata: map[string]any{"provider": "password"}}),
		}
		got := pages(t, d, me, 50)
		for i := range got {
			if got[i].ID == uuid.Nil {
				t.Error("no id")
			}
			got[i].ID = uuid.Nil
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if list := pages(t, d, uuid.New(), 50); len(list) != 0 {
			t.Errorf("a stranger sees %v", list)
		}
		if err := d.Write(t.Context(), func(tx *db.Tx) error {
			_, err := tx.ExecContext(t.Context(), `DELETE FROM audit_personal`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if list := pages(t, d, me, 50); len(list) != 4 || list[0].IP != "" {
			t.Errorf("after an erasure: %+v", list)
		}
	})
}

// Rows of one moment are told apart by their ids; rows of both halves, where a
// person did something to the own account, come once.
func TestTheHistoryPagesOverEventsOfOneMoment(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for month := range 2 {
			if err := audit.EnsurePartitions(t.Context(), d, noon.AddDate(0, month, 0)); err != nil {
				t.Fatal(err)
			}
		}
		me, admin := uuid.New(), uuid.New()
		want := 0
		for i := range 12 {
			at := noon.AddDate(0, i/4, 0) // three months, one moment each
			var events []audit.Event
			for n := range 3 {
				events = append(events,
					audit.Event{Type: audit.LoginSuccess, Actor: me},
					audit.Event{Type: audit.SessionRevoked, Actor: me, TargetType: "user", Target: me},
					audit.Event{Type: audit.SessionRevoked, Actor: admin, TargetType: "user", Target: me, Metadata: map[string]any{"reason": fmt.Sprint(n)}},
					audit.Event{Type: audit.LoginSuccess, Actor: admin})
				want += 3
			}
			if err := record(t.Context(), d, at, events...); err != nil {
				t.Fatal(err)
			}
		}
		whole := pages(t, d, me, 200)
		if len(whole) != want {
			t.Fatalf("%d events, want %d", len(whole), want)
		}
		for i, p := range whole[1:] {
			if above := whole[i]; above.At.Before(p.At) || above.At.Equal(p.At) && above.ID.String() <= p.ID.String() {
				t.Errorf("%v %s stands above %v %s", above.At, above.ID, p.At, p.ID)
			}
		}
		for _, limit := range []int{1, 2, 5, want - 1, want} {
			if diff := cmp.Diff(whole, pages(t, d, me, limit)); diff != "" {
				t.Errorf("by pages of %d: %s", limit, diff)
			}
		}
	})
}

func TestTheHistoryTakesItsOwnCursorsOnly(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		me, other := uuid.New(), uuid.New()
		for range 3 {
			if err := record(t.Context(), d, noon, audit.Event{Type: audit.LoginSuccess, Actor: me}); err != nil {
				t.Fatal(err)
			}
		}
		h := &audit.History{DB: d}
		page, err := h.List(t.Context(), me, "", 2)
		if err != nil || page.Next == "" {
			t.Fatal(page, err)
		}
		sessions := cursor.Cut([]uuid.UUID{me, me}, 1, func(id uuid.UUID) cursor.Place { return cursor.Place{At: noon, ID: id} }, "sessions", me.String(), "all").Next
		for name, try := range map[string]struct {
			person uuid.UUID
			after  string
		}{
			"somebody else's":     {other, page.Next},
			"the session list's":  {me, sessions},
			"a word":              {me, "next"},
			"one that was longer": {me, page.Next + "AAAA"},
		} {
			if _, err := h.List(t.Context(), try.person, try.after, 2); !fault.Has(err, fault.InvalidCursor) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// Metadata is what was recorded, whatever PostgreSQL makes of its spaces.
func TestTheHistoryKeepsMetadataAsItWas(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		me := uuid.New()
		ids := []uuid.UUID{uuid.New(), uuid.New()}
		recorded := map[string]any{"reason": "lost “phone”", "session_ids": ids, "revoked_session_count": 2}
		if err := record(t.Context(), d, noon, audit.Event{Type: audit.SessionRevoked, Actor: me, Metadata: recorded}); err != nil {
			t.Fatal(err)
		}
		want, _ := json.Marshal(recorded)
		got, _ := json.Marshal(pages(t, d, me, 1)[0].Metadata)
		if string(got) != string(want) {
			t.Errorf("%s, want %s", got, want)
		}
	})
}
