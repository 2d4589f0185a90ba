package audit_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// names are the types of all pages of a list, the newest first.
func names(t *testing.T, l *audit.Log, f audit.Filter, limit int) (list []string) {
	t.Helper()
	seen := map[uuid.UUID]bool{}
	for after := ""; ; {
		page, err := l.List(t.Context(), f, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Rows {
			if seen[e.ID] {
				t.Errorf("%s is listed twice", e.ID)
			}
			seen[e.ID] = true
			list = append(list, fmt.Sprintf("%d %s", int(e.At.Sub(noon).Hours()), e.Type))
		}
		if after = page.Next; after == "" {
			return list
		}
	}
}

func TestTheLogIsListedByWhatIsAskedFor(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ann, bob := uuid.New(), uuid.New()
		here, there := audit.WithOrigin(t.Context(), origin), audit.WithOrigin(t.Context(), audit.Origin{IP: "192.0.2.9", CorrelationID: "c-2"})
		for hour, e := range []audit.Event{
			{Type: audit.LoginFailure, Actor: ann, Failure: "invalid_credentials"},
			{Type: audit.LoginSuccess, Actor: ann},
			{Type: audit.SessionRevoked, ActorType: "admin", Actor: bob, TargetType: "user", Target: ann},
			{Type: audit.LoginSuccess, Actor: bob},
			{Type: audit.UserRoleChanged, ActorType: "admin", Actor: bob, TargetType: "user", Target: bob},
		} {
			ctx := here
			if hour == 3 {
				ctx = there
			}
			if err := record(ctx, d, noon.Add(time.Duration(hour)*time.Hour), e); err != nil {
				t.Fatal(err)
			}
		}
		l := &audit.Log{DB: d}
		yes, no := true, false
		all := []string{"4 user.role_changed", "3 user.login.success", "2 session.revoked", "1 user.login.success", "0 user.login.failure"}
		day := audit.Filter{From: noon, To: noon.Add(24 * time.Hour)}
		with := func(change func(*audit.Filter)) audit.Filter { f := day; change(&f); return f }
		tests := []struct {
			name   string
			filter audit.Filter
			want   []string
		}{
			{"all", audit.Filter{}, all},
			{"an actor", audit.Filter{Actor: ann}, all[3:]},
			{"a target", audit.Filter{Target: ann}, all[2:3]},
			{"actor and target", audit.Filter{Actor: bob, Target: bob}, all[:1]},
			{"a prefix", audit.Filter{Type: "user.login."}, []string{all[1], all[3], all[4]}},
			{"a whole type", audit.Filter{Type: "user.login.success"}, []string{all[1], all[3]}},
			{"a prefix of nothing", audit.Filter{Type: "user_login%"}, nil},
			{"a prefix and an actor", audit.Filter{Type: "user.", Actor: bob}, []string{all[0], all[1]}},
			{"a prefix and an outcome", audit.Filter{Type: "user.", Success: &no}, all[4:]},
			{"an outcome", with(func(f *audit.Filter) { f.Success = &yes }), all[:4]},
			{"an address, written otherwise", with(func(f *audit.Filter) { f.IP = "::ffff:192.0.2.9" }), all[1:2]},
			{"a request", with(func(f *audit.Filter) { f.CorrelationID = "c-2" }), all[1:2]},
			{"a time, its ends included", audit.Filter{From: noon.Add(time.Hour), To: noon.Add(3 * time.Hour)}, all[1:4]},
			{"from a time", audit.Filter{From: noon.Add(4 * time.Hour)}, all[:1]},
			{"to a time", audit.Filter{Type: "user.", To: noon.Add(time.Hour)}, all[3:]},
		}
		for _, tt := range tests {
			for _, limit := range []int{1, 2, 200} {
				if diff := cmp.Diff(tt.want, names(t, l, tt.filter, limit)); diff != "" {
					t.Errorf("%s, %d a page (-want +got):\n%s", tt.name, limit, diff)
				}
			}
		}
		page, err := l.List(t.Context(), audit.Filter{Actor: ann}, "", 1)
		if err != nil || page.Rows[0].IP != origin.IP || page.Rows[0].UserAgent != origin.UserAgent || page.Rows[0].Erased {
			t.Errorf("%+v, %v", page, err)
		}
		if _, err := l.List(t.Context(), audit.Filter{Actor: bob}, page.Next, 1); !fault.Has(err, fault.InvalidCursor) {
			t.Errorf("a cursor of another filter: %v", err)
		}
		if err := audit.Forget(t.Context(), d, ann); err != nil {
			t.Fatal(err)
		}
		page, err = l.List(t.Context(), audit.Filter{Actor: ann}, "", 1)
		if err != nil || page.Rows[0].IP != "" || !page.Rows[0].Erased {
			t.Errorf("after erasure: %+v, %v", page, err)
		}
	})
}

func TestWhatNoIndexFindsNeedsAMonth(t *testing.T) {
	d := dbtest.SQLite(t)
	l := &audit.Log{DB: d}
	yes := true
	for name, tt := range map[string]struct {
		f     audit.Filter
		field string
	}{
		"an address alone":          {audit.Filter{IP: "192.0.2.1"}, "date_from"},
		"an outcome from a time on": {audit.Filter{Success: &yes, From: noon}, "date_from"},
		"a request in 32 days":      {audit.Filter{CorrelationID: "c", From: noon, To: noon.AddDate(0, 0, 32)}, "date_from"},
		"no address":                {audit.Filter{IP: "here", From: noon, To: noon}, "ip_address"},
		"an address of an actor":    {audit.Filter{IP: "192.0.2.1", Actor: uuid.New()}, ""},
		"a request in 31 days":      {audit.Filter{CorrelationID: "c", From: noon, To: noon.AddDate(0, 0, 31)}, ""},
	} {
		_, err := l.List(t.Context(), tt.f, "", 10)
		if tt.field == "" && err != nil || tt.field != "" && (!fault.Has(err, fault.ValidationError) || !strings.Contains(err.Error(), tt.field)) {
			t.Errorf("%s: %v, want %q", name, err, tt.field)
		}
	}
}

func TestATimelineIsOfOneSession(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		me, admin, mine, other := uuid.New(), uuid.New(), uuid.New(), uuid.New()
		begin := audit.WithOrigin(t.Context(), audit.Origin{CorrelationID: "sign-in"})
		ctx := audit.WithOrigin(t.Context(), audit.Origin{CorrelationID: "later"})
		at := noon
		add := func(ctx2 audit.Origin, e audit.Event) {
			t.Helper()
			at = at.Add(time.Second)
			if err := record(audit.WithOrigin(t.Context(), ctx2), d, at, e); err != nil {
				t.Fatal(err)
			}
		}
		first, later := audit.OriginOf(begin), audit.OriginOf(ctx)
		session := func(id uuid.UUID) audit.Event {
			return audit.Event{Type: audit.SessionCreated, Actor: me, TargetType: "session", Target: id}
		}
		add(later, audit.Event{Type: audit.LoginSuccess, Actor: me}) // another sign-in
		add(first, audit.Event{Type: audit.LoginSuccess, Actor: me})
		add(first, session(mine))
		add(first, audit.Event{Type: audit.TokenIssued, Actor: me})
		add(later, session(other))
		add(later, audit.Event{Type: audit.UserLogout, Actor: me, Metadata: map[string]any{"session_id": mine}}) // of no type that is shown
		add(later, audit.Event{Type: audit.SessionRevoked, ActorType: "admin", Actor: admin, TargetType: "user", Target: me, Metadata: map[string]any{"session_ids": []uuid.UUID{other, mine}}})
		l := &audit.Log{DB: d}
		for limit, want := range map[int][]string{
			10: {"user.login.success", "session.created", "token.issued", "session.revoked"},
			2:  {"token.issued", "session.revoked"},
		} {
			list, err := l.Timeline(t.Context(), me, mine, noon, limit)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range list {
				got = append(got, e.Type)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%d: (-want +got):\n%s", limit, diff)
			}
		}
	})
}

func TestOperatorsSeeWhoActedInAHistory(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		me, admin := uuid.New(), uuid.New()
		for i, e := range []audit.Event{
			{Type: audit.LoginSuccess, Actor: me},
			{Type: audit.TokenRefreshed, Actor: me}, // in no history
			{Type: audit.SessionRevoked, ActorType: "admin", Actor: admin, TargetType: "user", Target: me},
		} {
			if err := record(audit.WithOrigin(t.Context(), origin), d, noon.Add(time.Duration(i)*time.Hour), e); err != nil {
				t.Fatal(err)
			}
		}
		l := &audit.Log{DB: d}
		page, err := l.History(t.Context(), me, "", 1)
		if err != nil || len(page.Rows) != 1 || page.Rows[0].Actor != admin || page.Rows[0].IP != origin.IP || page.Next == "" {
			t.Fatalf("%+v, %v", page, err)
		}
		page, err = l.History(t.Context(), me, page.Next, 1)
		if err != nil || len(page.Rows) != 1 || page.Rows[0].Type != "user.login.success" || page.Next != "" {
			t.Errorf("%+v, %v", page, err)
		}
	})
}
