package httpapi_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/transport/httpapi"
)

// own are actions of one's own account; waiting is for routes of a later version.
var (
	own     = []string{stepup.EraseAccount, stepup.EnableOTP, stepup.DisableOTP, stepup.ChangePassword, stepup.ChangeEmail}
	waiting = []string{stepup.ManageProviders}
)

func TestEveryActOfAnAdminAsksForAConfirmationOfItsOwnAction(t *testing.T) {
	s, _ := build(t, dbtest.SQLite(t))
	d := s.description(t)
	action := regexp.MustCompile(`the action (\w+)`)
	used := map[string]bool{}
	admin := 0
	for _, r := range s.Routes() {
		if r.Auth != httpapi.Admin {
			continue
		}
		admin++
		text := ""
		for _, p := range d.of(r).Parameters {
			if p.Name == "X-Action-Token" {
				text = p.Schema.Description
			}
		}
		reads := strings.HasPrefix(r.Pattern, "GET ")
		if reads != (text == "") {
			t.Errorf("%s: confirmation %q", r.Pattern, text)
		}
		if m := action.FindStringSubmatch(text); m != nil {
			used[m[1]] = true
		} else if !reads {
			t.Errorf("%s names no action", r.Pattern)
		}
		if !reads && strings.Contains(r.Pattern, "{") && !strings.Contains(text, "target {") {
			t.Errorf("%s: the confirmation names no target", r.Pattern)
		}
	}
	if admin < 10 {
		t.Fatalf("only %d routes are for admins", admin)
	}
	for _, a := range stepup.Actions {
		if !used[a] && !slices.Contains(own, a) && !slices.Contains(waiting, a) {
			t.Errorf("no route asks for %s", a)
		}
	}
}
