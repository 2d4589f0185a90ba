package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

func TestEachSettingOfThePolicyIsAsked(t *testing.T) {
	list := filepath.Join(t.TempDir(), "list.txt")
	if err := os.WriteFile(list, []byte("correct-horse-7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ setting, password, want string }{
		{"MIN_LENGTH=12", "Abcdefgh-78", "must be at least 12 characters long"},
		{"MAX_LENGTH=64", "A-7" + strings.Repeat("x", 62), "must be at most 64 characters long"},
		{"MAX_LENGTH=200", "A-7" + strings.Repeat("x", 197), ""},
		{"REQUIRE_UPPERCASE=false", "correct-horse-7", ""},
		{"REQUIRE_UPPERCASE=true", "correct-horse-7", "must contain an uppercase letter"},
		{"REQUIRE_LOWERCASE=true", "CORRECT-HORSE-7", "must contain a lowercase letter"},
		{"REQUIRE_LOWERCASE=false", "CORRECT-HORSE-7", ""},
		{"REQUIRE_DIGIT=false", "Correct-Horse", ""},
		{"REQUIRE_DIGIT=true", "Correct-Horse", "must contain a number"},
		{"REQUIRE_SPECIAL=false", "CorrectHorse7", ""},
		{"REQUIRE_SPECIAL=true", "CorrectHorse7", "must contain a special character"},
		{"DENY_LIST_FILE=" + list, "Correct-Horse-7", "is on a list of known passwords: choose another"},
		{"DENY_LIST_FILE=", "Correct-Horse-7", ""},
	} {
		t.Run(row.setting, func(t *testing.T) {
			s, err := passwordsOf(settings(t, "sqlite://unused", "PASSWORD__"+row.setting), secret.NewHasher(secret.Cost{MemoryKiB: 8, Iterations: 1, Parallelism: 1}, 1))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if _, err := s.New(t.Context(), "password", row.password); err != nil {
				got = fault.From(err).Fields[0].Message
			}
			if got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

func TestAListThatCannotBeUsedStopsTheStart(t *testing.T) {
	d := dbtest.SQLite(t)
	_, err := New(t.Context(), settings(t, urlOf(t, d), "PASSWORD__DENY_LIST_FILE="+t.TempDir()), dbtest.Log, Options{})
	const want = "PASSWORD__DENY_LIST_FILE names a list that cannot be used: "
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

// Whatever policy is set, a fresh database gets its admin.
func TestTheFirstAdminPassesTheStrictestPolicy(t *testing.T) {
	d := dbtest.SQLite(t)
	s := build(t, settings(t, urlOf(t, d), "PASSWORD__MIN_LENGTH=64", "PASSWORD__MAX_LENGTH=64", "PASSWORD__REQUIRE_LOWERCASE=true"), Options{})
	if s.FirstAdmin == nil || len(s.FirstAdmin.Password) != 64 {
		t.Errorf("%+v", s.FirstAdmin)
	}
}
