package directory_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/flow/directory"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

func TestListsShowWhatIsAskedForNewestFirst(t *testing.T) {
	yes, no := true, false
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		var names []string // newest first
		for i := range 12 {
			role, email := user.RoleUser, fmt.Sprintf("u%02d@example.com", i)
			if i%4 == 0 {
				role, email = user.RoleAdmin, fmt.Sprintf("u%02d_x%%!@example.org", i)
			}
			id := w.account(t, email, role)
			names = append([]string{email}, names...)
			switch i {
			case 3:
				_, err := w.Deactivate(t.Context(), system, id)
				noError(t, err)
			case 5, 8:
				w.lock(t, id, email)
			case 6:
				_, err := w.Delete(t.Context(), system, id)
				noError(t, err)
				names = names[1:]
			}
		}
		pick := func(keep func(i int, email string) bool) (list []string) {
			for _, email := range names {
				var i int
				fmt.Sscanf(email, "u%d", &i)
				if keep(i, email) {
					list = append(list, email)
				}
			}
			return list
		}
		for _, row := range []struct {
			name   string
			filter directory.Filter
			want   []string
		}{
			{"all", directory.Filter{}, names},
			{"admins", directory.Filter{Role: " admin "}, pick(func(i int, _ string) bool { return i%4 == 0 })},
			{"no such role", directory.Filter{Role: "king"}, nil},
			{"a part of the address, in any case", directory.Filter{Email: " EXAMPLE.ORG"}, pick(func(i int, _ string) bool { return i%4 == 0 })},
			{"wildcards are letters", directory.Filter{Email: "_x%!"}, pick(func(i int, _ string) bool { return i%4 == 0 })},
			{"a wildcard alone", directory.Filter{Email: "%"}, pick(func(i int, _ string) bool { return i%4 == 0 })},
			{"a part and a role", directory.Filter{Email: "u0", Role: "admin"}, pick(func(i int, _ string) bool { return i%4 == 0 && i < 10 })},
			{"a part that nobody has", directory.Filter{Email: "zz"}, nil},
			{"open", directory.Filter{Active: &yes}, pick(func(i int, _ string) bool { return i != 3 })},
			{"closed", directory.Filter{Active: &no}, []string{"u03@example.com"}},
			{"closed, by a part", directory.Filter{Active: &no, Email: "u0"}, []string{"u03@example.com"}},
			{"locked", directory.Filter{Locked: &yes}, pick(func(i int, _ string) bool { return i == 5 || i == 8 })},
			{"locked users", directory.Filter{Locked: &yes, Role: "user"}, []string{"u05@example.com"}},
			{"locked, by a part", directory.Filter{Locked: &yes, Email: "example.org"}, pick(func(i int, _ string) bool { return i == 8 })},
			{"not locked", directory.Filter{Locked: &no}, pick(func(i int, _ string) bool { return i != 5 && i != 8 })},
		} {
			for _, limit := range []int{1, 2, 50} {
				if got := w.listed(t, row.filter, limit); !slices.Equal(got, row.want) {
					t.Errorf("%s, %d a page:\n got %s\nwant %s", row.name, limit, strings.Join(got, " "), strings.Join(row.want, " "))
				}
			}
		}
		page, err := w.List(t.Context(), directory.Filter{}, "", 2)
		noError(t, err)
		for _, bad := range []directory.Filter{{Role: "admin"}, {Email: "u"}, {Locked: &yes}, {Active: &yes}} {
			if _, err := w.List(t.Context(), bad, page.Next, 2); code(err) != "invalid_cursor" {
				t.Errorf("the cursor of another list: %v", err)
			}
		}
		locked, err := w.List(t.Context(), directory.Filter{Locked: &yes}, "", 50)
		if err != nil || locked.Rows[0].LockedFor <= 0 {
			t.Errorf("locked for %v (%v)", locked.Rows[0].LockedFor, err)
		}
	})
}

// listed reads a whole list page by page.
func (w *world) listed(t *testing.T, f directory.Filter, limit int) (emails []string) {
	t.Helper()
	for after, more := "", true; more; more = after != "" {
		page, err := w.List(t.Context(), f, after, limit)
		noError(t, err)
		if len(page.Rows) > limit || len(emails) > 50 {
			t.Fatalf("%d rows on a page of %d, %d in all", len(page.Rows), limit, len(emails))
		}
		for _, r := range page.Rows {
			emails = append(emails, r.Email)
		}
		after = page.Next
	}
	return emails
}
