package e2e

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/authsdk/authsdk/e2e/authapi"
)

// TestOfTwoAdminsWhoRemoveEachOtherOneRemains: at the same moment, a hundred
// times, at one server or at two replicas.
func TestOfTwoAdminsWhoRemoveEachOtherOneRemains(t *testing.T) {
	for _, world := range []struct {
		says    string
		servers func(t *testing.T) []*server
	}{
		{"on SQLite", func(t *testing.T) []*server { return []*server{sqliteStore(t).serve(t)} }},
		{"on two replicas", func(t *testing.T) []*server {
			a, b := replicas(t, postgresStore(t))
			return []*server{a, b}
		}},
	} {
		t.Run(world.says, func(t *testing.T) {
			t.Parallel()
			c := field{t, world.servers(t)}
			first := c.servers[0]
			people := []string{first.account(), first.account()}
			ids := []string{first.idOf(t, people[0]), first.idOf(t, people[1])}
			db := first.sql(t)
			ways := []struct {
				method, after string
				body          any
			}{{"PATCH", "", obj{"role": "user"}}, {"POST", "/deactivate", nil}, {"PATCH", "", obj{"role": "user"}}}
			got := map[string]int{}
			for round := range 100 {
				first.change(t, `UPDATE users SET role = 'user' WHERE role = 'admin'`)
				first.change(t, `UPDATE users SET role = 'admin', is_active = TRUE, epoch = epoch + 1 WHERE id = $1 OR id = $2`, ids[0], ids[1])
				admins := []*authapi.Operator{c.servers[0].operator(people[0], password), c.servers[len(c.servers)-1].operator(people[1], password)}
				answers := c.all(2, func(i int, _ *authapi.Client) (authapi.Answer, error) {
					way := ways[(round+i)%len(ways)]
					return admins[i].Ask(t.Context(), way.method, "/admin/users/"+ids[1-i]+way.after, way.body)
				})
				for answer, n := range answersOf(answers) {
					got[answer] += n
				}
				var left int
				if err := db.QueryRow(`SELECT COUNT(*) FROM users WHERE role = 'admin' AND is_active AND deleted_at IS NULL`).Scan(&left); err != nil {
					t.Fatal(err)
				}
				if left != 1 {
					t.Fatalf("round %d: %d admins are left: %v", round, left, answers)
				}
			}
			c.are(got, "200", 100, "403 insufficient_role", "409 last_admin_protected", "401 session_expired", "401 token_expired")
			t.Log(fmt.Sprint(slices.Sorted(maps.Keys(got))), got)
		})
	}
}
