package config

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A made password (password.Service.Generate) fits every policy within these
// bounds, and a minimum is never above a maximum.
func TestThePasswordPolicyHasBounds(t *testing.T) {
	for setting, want := range map[string]string{
		"MIN_LENGTH=0":   "PASSWORD__MIN_LENGTH must be a whole number from 1 to 64.",
		"MIN_LENGTH=1":   "",
		"MIN_LENGTH=64":  "",
		"MIN_LENGTH=65":  "PASSWORD__MIN_LENGTH must be a whole number from 1 to 64.",
		"MAX_LENGTH=63":  "PASSWORD__MAX_LENGTH must be a whole number from 64 to 256.",
		"MAX_LENGTH=64":  "",
		"MAX_LENGTH=256": "",
		"MAX_LENGTH=257": "PASSWORD__MAX_LENGTH must be a whole number from 64 to 256.",
	} {
		var problems []string
		if want != "" {
			problems = []string{want}
		}
		_, got := load(t, []string{"PASSWORD__" + setting}, nil)
		if diff := cmp.Diff(problems, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", setting, diff)
		}
	}
}

func TestTheDefaultPolicyIsTheContract(t *testing.T) {
	got := mustLoad(t, nil, nil).Password
	got.Argon2MemoryKiB, got.Argon2Iterations, got.Argon2Parallelism, got.HashWorkers, got.HashNiceness = 0, 0, 0, 0, 0
	want := Password{MinLength: 8, MaxLength: 128, RequireUppercase: true, RequireDigit: true, RequireSpecial: true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAShortMinimumIsWarnedOfOutsideDevelopment(t *testing.T) {
	const warning = "PASSWORD__MIN_LENGTH is below 8: such passwords are guessed. Raise it once nobody needs a short one."
	for _, row := range []struct {
		vars []string
		want bool
	}{
		{with(production, "PASSWORD__MIN_LENGTH=7"), true},
		{with(production, "PASSWORD__MIN_LENGTH=8"), false},
		{[]string{"PASSWORD__MIN_LENGTH=7"}, false},
	} {
		if got := slices.Contains(mustLoad(t, row.vars, nil).Warnings(), warning); got != row.want {
			t.Errorf("%q: warned %t", row.vars, got)
		}
	}
}

// So that `authd config check` tells before a start does.
func TestADenyListThatCannotBeReadIsAProblem(t *testing.T) {
	const want = "PASSWORD__DENY_LIST_FILE cannot be read: name a file that this user may read, or leave it empty."
	_, got := load(t, []string{"PASSWORD__DENY_LIST_FILE=" + t.TempDir() + "/none"}, nil)
	if diff := cmp.Diff([]string{want}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
