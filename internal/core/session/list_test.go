package session

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/cursor"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// listed reads a whole list page by page.
func (w *world) listed(status Status, limit int) (list []Listed) {
	w.t.Helper()
	for after, more := "", true; more; more = after != "" {
		page, err := w.List(w.t.Context(), w.jo.ID, status, after, limit)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(page.Rows) > limit {
			w.t.Fatalf("%d rows on a page of %d", len(page.Rows), limit)
		}
		list, after = append(list, page.Rows...), page.Next
		if len(list) > 1000 {
			w.t.Fatal("the pages do not end")
		}
	}
	return list
}

func ids(list []Listed) (ids []uuid.UUID) {
	for _, l := range list {
		ids = append(ids, l.ID)
	}
	return ids
}

func TestTheListTellsWhatIsKnownOfASession(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		from := audit.WithOrigin(t.Context(), audit.Origin{IP: "2001:db8::1", UserAgent: "Firefox/127 Linux"})
		suspicious, pair, err := w.Begin(w.jo, Start{Provider: "password", Suspicious: []string{"new_ip", "new_user_agent"}})
		if err != nil {
			t.Fatal(err)
		}
		w.write(func(tx *db.Tx) error { return saved(w.Save(from, tx, suspicious, w.jo)) })
		w.clock.Advance(time.Minute)
		w.mustRotate(pair.Refresh)
		w.clock.Advance(time.Minute)
		plain, _ := w.signIn()
		w.clock.Advance(time.Minute)
		if err := w.RevokeOne(t.Context(), Identity{User: w.jo.ID}, plain.ID, "lost"); err != nil {
			t.Fatal(err)
		}
		min := time.Minute
		want := []Listed{
			{
				ID: plain.ID, Created: noon.Add(2 * min), LastSeen: noon.Add(2 * min), Expires: noon.Add(2*min + settings.RefreshTTL),
				RevokedAt: noon.Add(3 * min), Reason: "lost", Suspicious: []string{},
			},
			{
				ID: suspicious.ID, Created: noon, LastSeen: noon.Add(min), Expires: noon.Add(min + settings.RefreshTTL),
				IP: "2001:db8::1", UserAgent: "Firefox/127 Linux", Flagged: true, Suspicious: []string{"new_ip", "new_user_agent"},
			},
		}
		if diff := cmp.Diff(want, w.listed(All, 50)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTheListShowsSessionsByStatus(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		runOut, _ := w.signIn()
		endedAndRunOut, pair := w.signIn()
		w.logout("", pair.Refresh)
		w.clock.Advance(settings.RefreshTTL / 2)
		ended, pair := w.signIn()
		w.logout("", pair.Refresh)
		alive, _ := w.signIn()
		jo := w.jo
		w.jo = w.addUser()
		w.signIn() // somebody else's
		w.jo = jo
		for _, tt := range []struct {
			after  time.Duration
			status Status
			want   []Session
		}{
			{0, Active, []Session{alive, runOut}},
			{0, Revoked, []Session{ended, endedAndRunOut}},
			{settings.RefreshTTL/2 - time.Microsecond, Active, []Session{alive, runOut}},
			{time.Microsecond, Active, []Session{alive}}, // at this very moment one runs out
			{0, Revoked, []Session{ended, endedAndRunOut, runOut}},
			{0, All, []Session{alive, ended, endedAndRunOut, runOut}},
			{settings.RefreshTTL, Active, nil},
			{0, Revoked, []Session{alive, ended, endedAndRunOut, runOut}},
		} {
			w.clock.Advance(tt.after)
			var want []uuid.UUID
			for _, s := range tt.want {
				want = append(want, s.ID)
			}
			sortAsListed(want)
			got := ids(w.listed(tt.status, 50))
			sortAsListed(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s at %v: %s", tt.status, w.clock.Now(), diff)
			}
		}
	})
}

// sortAsListed orders ids, which are made in the order of time.
func sortAsListed(ids []uuid.UUID) {
	slices.SortFunc(ids, func(a, b uuid.UUID) int { return strings.Compare(b.String(), a.String()) })
}

func TestTheListPagesOverSessionsOfOneMoment(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		for i := range 24 {
			_, pair := w.signIn()
			if i%3 == 0 {
				w.logout("", pair.Refresh)
			}
			if i%8 == 7 {
				w.clock.Advance(time.Microsecond)
			}
		}
		for status, n := range map[Status]int{All: 24, Active: 16, Revoked: 8} {
			whole := w.listed(status, 200)
			if len(whole) != n {
				t.Errorf("%s: %d sessions, want %d", status, len(whole), n)
			}
			for i := range whole[1:] {
				above, below := whole[i], whole[i+1]
				if above.Created.Before(below.Created) || above.Created.Equal(below.Created) && above.ID.String() <= below.ID.String() {
					t.Errorf("%v %s stands above %v %s", above.Created, above.ID, below.Created, below.ID)
				}
			}
			for _, limit := range []int{1, 2, 5, 7, n - 1, n} {
				if diff := cmp.Diff(whole, w.listed(status, limit)); diff != "" {
					t.Errorf("%s by pages of %d: %s", status, limit, diff)
				}
			}
		}
	})
}

// A session that began after the first page was read does not move the others.
func TestTheListDoesNotMoveUnderItsReader(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		for range 4 {
			w.signIn()
			w.clock.Advance(time.Second)
		}
		whole := w.listed(All, 10)
		first, err := w.List(t.Context(), w.jo.ID, All, "", 2)
		if err != nil {
			t.Fatal(err)
		}
		w.signIn()
		second, err := w.List(t.Context(), w.jo.ID, All, first.Next, 2)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(whole, append(first.Rows, second.Rows...)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTheListTakesItsOwnCursorsOnly(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		for range 3 {
			w.signIn()
		}
		page, err := w.List(t.Context(), w.jo.ID, All, "", 2)
		if err != nil || page.Next == "" {
			t.Fatal(page, err)
		}
		history := cursor.Cut([]int{0, 1}, 1, func(int) cursor.Place { return cursor.Place{At: noon} }, "history", w.jo.ID.String()).Next
		for name, try := range map[string]struct {
			user   uuid.UUID
			status Status
			after  string
		}{
			"somebody else's":   {w.addUser().ID, All, page.Next},
			"another filter's":  {w.jo.ID, Active, page.Next},
			"the other filter":  {w.jo.ID, Revoked, page.Next},
			"the history's":     {w.jo.ID, All, history},
			"a word":            {w.jo.ID, All, "next"},
			"one cut short":     {w.jo.ID, All, page.Next[1:]},
			"one with a prefix": {w.jo.ID, All, "A" + page.Next},
		} {
			if _, err := w.List(t.Context(), try.user, try.status, try.after, 2); slug(err) != "invalid_cursor" {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// What a page costs must not grow with the table, nor with what one user has in
// it: the index is read in its order until the page is full.
func TestTheListReadsAnIndexInItsOrder(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		for range 40 {
			w.jo = w.addUser()
			w.fill(w.jo.ID, 250)
		}
		top, err := cursor.Decode("")
		if err != nil {
			t.Fatal(err)
		}
		now := w.clock.Now()
		for _, tt := range []struct {
			name, query, index string
			args               []any
		}{
			{"all", listAll + newestFirst, "sessions_user", nil},
			{"active", listActive + newestFirst, "sessions_live", []any{now}},
			{"revoked", listRevoked + newestFirst, "sessions_user", []any{now}},
		} {
			plan := dbtest.Plan(t, d, tt.query, append([]any{w.jo.ID, top.At, top.ID, 51}, tt.args...)...)
			wanted := "SEARCH sessions USING INDEX " + tt.index + " (user_id=? AND "
			if d.Engine() == db.Postgres {
				wanted = "Index Scan Backward using " + tt.index + " on sessions"
			}
			if !strings.Contains(plan, wanted) {
				t.Errorf("%s: no %q in\n%s", tt.name, wanted, plan)
			}
			for _, refused := range []string{"Sort", "B-TREE", "Seq Scan", "SCAN sessions", "Bitmap"} {
				if strings.Contains(plan, refused) {
					t.Errorf("%s: %q in\n%s", tt.name, refused, plan)
				}
			}
		}
	})
}

// fill gives a user n sessions, a third of them revoked.
func (w *world) fill(userID uuid.UUID, n int) {
	w.t.Helper()
	const into = `INSERT INTO sessions (id, user_id, provider, audiences, auth_time, created_at, expires_at,
		generation, branch, prev_branch, rotated_at, last_seen_at, revoked_at) VALUES `
	var rows []any
	for i := range n {
		at := noon.Add(time.Duration(i) * time.Minute)
		var revoked any
		if i%3 == 0 {
			revoked = at
		}
		rows = append(rows, uuid.New(), userID, "password", "[]", at, at, at.Add(settings.RefreshTTL), 0, 0, 0, at, at, revoked)
	}
	w.change(into+db.Values(n, 13), rows...)
}
