package session

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

var system = audit.By{Type: "system"}

func TestAnAdminEndsOneSessionOfSomebody(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		one, onePair := w.signIn()
		_, otherPair := w.signIn()
		spent := audit.By{Type: "admin", Proof: func(context.Context, *db.Tx, time.Time) error { return fault.New(fault.ActionTokenInvalid) }}
		for _, row := range []struct {
			by       audit.By
			user, id uuid.UUID
			want     string
		}{
			{system, uuid.New(), one.ID, "invalid_user"},
			{system, w.addUser().ID, one.ID, "invalid_session"},
			{system, w.jo.ID, uuid.New(), "invalid_session"},
			{spent, w.jo.ID, one.ID, "action_token_invalid"},
			{system, w.jo.ID, one.ID, ""},
			{system, w.jo.ID, one.ID, "session_revoked"},
		} {
			if got := slug(w.End(t.Context(), row.by, row.user, row.id, "why")); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		}
		if w.ended(one.ID) != "why" || w.check(onePair.Access) != "session_expired" || w.check(otherPair.Access) != "" {
			t.Errorf("it ended for %q; %q, %q", w.ended(one.ID), w.check(onePair.Access), w.check(otherPair.Access))
		}
	})
}

func TestAnAdminEndsEverySessionWithOneEntryOfTheFeed(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		one, onePair := w.signIn()
		other, otherPair := w.signIn()
		ended, err := w.EndAllOf(t.Context(), system, w.jo.ID, "why")
		if err != nil || len(ended) != 2 || !slices.Contains(ended, one.ID) || !slices.Contains(ended, other.ID) {
			t.Errorf("%v, %v", ended, err)
		}
		if a, b := w.check(onePair.Access), w.check(otherPair.Access); a != "session_expired" || b != "session_expired" {
			t.Errorf("%q, %q", a, b)
		}
		if w.entries(one.ID) != 0 || w.entries(other.ID) != 0 || w.feed.Epoch(revocation.User, w.jo.ID.String()) != 2 {
			t.Error("the feed does not name the account, or names its sessions")
		}
		if ended, err := w.EndAllOf(t.Context(), system, w.jo.ID, "again"); err != nil || ended == nil || len(ended) != 0 {
			t.Errorf("with none left: %v, %v", ended, err)
		}
		if w.audited()["session.revoked"] != 2 {
			t.Errorf("recorded: %v", w.audited())
		}
		if _, err := w.EndAllOf(t.Context(), system, uuid.New(), "why"); slug(err) != "invalid_user" {
			t.Errorf("nobody's: %v", err)
		}
	})
}

func TestOnlySessionsThatFitInEveryWayAreEnded(t *testing.T) {
	yes, no := true, false
	rows := []struct {
		name  string
		match Match
		want  []int // of four, made a minute apart
	}{
		{"suspicious", Match{Suspicious: &yes}, []int{1, 3}},
		{"not suspicious", Match{Suspicious: &no}, []int{0, 2}},
		{"made from a time on", Match{CreatedAfter: noon.Add(2 * time.Minute)}, []int{2, 3}},
		{"made up to a time", Match{CreatedBefore: noon.Add(2 * time.Minute)}, []int{0, 1, 2}},
		{"seen from a time on", Match{LastSeenAfter: noon.Add(3 * time.Minute)}, []int{3}},
		{"seen up to a time", Match{LastSeenBefore: noon}, []int{0}},
		{"of an address", Match{IP: "2001:db8::1"}, []int{0, 1}},
		{"of a browser, in any case", Match{UserAgent: "fireFOX"}, []int{0, 2}},
		{"wildcards are letters", Match{UserAgent: "%"}, nil},
		{"both", Match{Suspicious: &yes, IP: "2001:db8::1"}, []int{1}},
	}
	each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				w := newWorld(t, d)
				var made []uuid.UUID
				for i, from := range []audit.Origin{
					{IP: "2001:db8::1", UserAgent: "Firefox/127"}, {IP: "2001:db8::1", UserAgent: "Chrome/1"}, {IP: "192.0.2.1", UserAgent: "Firefox/128"}, {},
				} {
					var why []string
					if i%2 == 1 {
						why = []string{"new_ip"}
					}
					started, _, err := w.Begin(w.jo, Start{Provider: "password", Suspicious: why})
					if err != nil {
						t.Fatal(err)
					}
					w.write(func(tx *db.Tx) error { return saved(w.Save(audit.WithOrigin(t.Context(), from), tx, started, w.jo)) })
					made = append(made, started.ID)
					w.clock.Advance(time.Minute)
				}
				want := map[uuid.UUID]bool{}
				for _, i := range row.want {
					want[made[i]] = true
				}
				set := func(ids []uuid.UUID, err error) map[uuid.UUID]bool {
					t.Helper()
					if err != nil || ids == nil {
						t.Fatal(ids, err)
					}
					got := map[uuid.UUID]bool{}
					for _, id := range ids {
						got[id] = true
					}
					return got
				}
				if diff := cmp.Diff(want, set(w.EndMatching(t.Context(), system, w.jo.ID, row.match, true, "why"))); diff != "" {
					t.Errorf("a dry run: %s", diff)
				}
				if live := w.listed(Active, 10); len(live) != 4 || w.audited()["session.revoked"] != 0 {
					t.Errorf("%d live after the dry run, recorded %v", len(live), w.audited())
				}
				if diff := cmp.Diff(want, set(w.EndMatching(t.Context(), system, w.jo.ID, row.match, false, "why"))); diff != "" {
					t.Error(diff)
				}
				for _, id := range made {
					if (w.ended(id) == "why") != want[id] || w.feed.Revoked(revocation.Session, id.String()) != want[id] {
						t.Errorf("one ended for %q", w.ended(id))
					}
				}
				if w.audited()["session.revoked"] != 1 {
					t.Errorf("recorded: %v", w.audited())
				}
			})
		}
	})
}

func TestTheQueueShowsLiveSessionsThatStandOut(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.change(`UPDATE sessions SET is_suspicious = FALSE WHERE is_suspicious`) // those of other worlds
		suspicious := func() uuid.UUID {
			started, _, err := w.Begin(w.jo, Start{Provider: "password", Suspicious: []string{"new_ip"}})
			if err != nil {
				t.Fatal(err)
			}
			w.write(func(tx *db.Tx) error { return saved(w.Save(t.Context(), tx, started, w.jo)) })
			w.clock.Advance(time.Second)
			return started.ID
		}
		w.signIn()
		first, gone, second := suspicious(), suspicious(), suspicious()
		if err := w.End(t.Context(), system, w.jo.ID, gone, "why"); err != nil {
			t.Fatal(err)
		}
		queue := func(f Filter) (ids []uuid.UUID) {
			t.Helper()
			for after, more := "", true; more; more = after != "" {
				page, err := w.Suspicious(t.Context(), f, after, 1)
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range page.Rows {
					if s.UserID != w.jo.ID || s.Email != w.jo.Email || s.Role != w.jo.Role {
						t.Errorf("%+v", s)
					}
					ids = append(ids, s.ID)
				}
				after = page.Next
			}
			return ids
		}
		both := []uuid.UUID{second, first}
		for _, row := range []struct {
			filter Filter
			want   []uuid.UUID
		}{
			{Filter{}, both}, {Filter{Role: " user "}, both}, {Filter{Role: "admin"}, nil},
			{Filter{Email: w.jo.ID.String()[:13]}, both}, {Filter{Email: "nobody"}, nil}, {Filter{Email: "_"}, nil},
		} {
			if got := queue(row.filter); !slices.Equal(got, row.want) {
				t.Errorf("%+v: %v, want %v", row.filter, got, row.want)
			}
		}
		w.clock.Advance(settings.RefreshTTL)
		if got := queue(Filter{}); len(got) != 0 {
			t.Errorf("of those that ran out: %v", got)
		}
	})
}
