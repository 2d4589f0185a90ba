package httpapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

func TestOnlyAFreshAdminRotatesAndRevokes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		_, access := s.admin(t, "ann@example.com")
		s.account(t, "bob@example.com", "user")
		user, _ := s.login(t, "bob@example.com")
		key := s.Keys.Active().KID
		bearer := func(token string) []string { return []string{"Authorization", "Bearer " + token} }
		for _, path := range []string{"/admin/signing-keys/rotate", "/admin/signing-keys/" + key + "/revoke"} {
			if r := s.post(path, "", bearer(user)...); r.status != 403 || !strings.Contains(r.body, "insufficient_role") {
				t.Errorf("%s: a user: %d %s", path, r.status, r.body)
			}
		}
		if r := s.post("/admin/signing-keys/rotate", `{"overlap_seconds":2592001}`, bearer(access)...); r.status != 422 {
			t.Errorf("%d %s", r.status, r.body)
		}
		if r := s.post("/admin/signing-keys/rotate", `{"overlap_seconds":null}`, bearer(access)...); r.status != 200 || s.Keys.Active().KID == key {
			t.Errorf("%d %s", r.status, r.body)
		}
		if r := s.post("/admin/signing-keys/rotate", "", bearer(access)...); r.status != 409 || r.header.Get("Retry-After") != "60" {
			t.Errorf("%d %s, retry after %q", r.status, r.body, r.header.Get("Retry-After"))
		}
		s.clock.Advance(6 * time.Minute)
		if r := s.post("/admin/signing-keys/rotate", "", bearer(access)...); r.status != 403 {
			t.Errorf("a sign-in of long ago: %d %s", r.status, r.body)
		}
		if r := s.send(request("GET", "/admin/signing-keys", "", bearer(access)...)); r.status != 200 || strings.Count(r.body, `"kid"`) != 3 {
			t.Errorf("%d %s", r.status, r.body)
		}
	})
}
