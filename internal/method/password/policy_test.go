package password_test

import (
	"strings"
	"testing"

	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/method/password"
)

// message is what a fault says of its one field; empty without a fault.
func message(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	f := fault.From(err)
	if f.Code.Slug != fault.ValidationError.Slug || len(f.Fields) != 1 || f.Fields[0].Field != "new_password" {
		t.Fatalf("%v, want a validation error about new_password", err)
	}
	return f.Fields[0].Message
}

func TestThePolicyDecidesWhatMayBeChosen(t *testing.T) {
	nothing := password.Policy{MinLength: 1, MaxLength: 256}
	all := password.Policy{MinLength: 12, MaxLength: 64, Uppercase: true, Lowercase: true, Digit: true, Special: true}
	for _, row := range []struct {
		name     string
		policy   password.Policy
		password string
		want     string // empty: allowed
	}{
		{"one character where one is enough", nothing, "x", ""},
		{"none is never enough", nothing, "", "must be at least 1 characters long"},
		{"256 characters", nothing, strings.Repeat("é", 256), ""},
		{"257 characters", nothing, strings.Repeat("é", 257), "must be at most 256 characters long"},
		{"all of it", all, "Correct-Horse-7", ""},
		{"eleven characters", all, "Correct-H-7", "must be at least 12 characters long"},
		{"65 characters", all, "Correct-Horse-7" + strings.Repeat("x", 50), "must be at most 64 characters long"},
		{"no lower case", all, "CORRECT-HORSE-7", "must contain a lowercase letter"},
		{"lower case of another script", all, "CORRECT-жорж-7", ""},
		{"none of the four", all, "            ", "must contain an uppercase letter and a lowercase letter and a number and a special character"},
		{"only a capital is asked for", password.Policy{MinLength: 8, MaxLength: 64, Uppercase: true}, "correct-horse-7", "must contain an uppercase letter"},
		{"only a number is asked for", password.Policy{MinLength: 8, MaxLength: 64, Digit: true}, "Correct-Horse", "must contain a number"},
		{"only punctuation is asked for", password.Policy{MinLength: 8, MaxLength: 64, Special: true}, "CorrectHorse7", "must contain a special character"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := service(cheap)
			s.Policy = row.policy
			_, err := s.New(t.Context(), "new_password", row.password)
			if got := message(t, err); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

func TestALoginFollowsALowerMinimumAndNoHigherOne(t *testing.T) {
	for _, row := range []struct {
		name     string
		least    int
		password string
		want     string
	}{
		{"four characters where four may be chosen", 4, "Ab-7", ""},
		{"three where four may be chosen", 4, "A-7", "must be at least 4 characters long"},
		{"eight where twelve must be chosen now", 12, "Abcde-78", ""},
		{"seven where twelve must be chosen now", 12, "Abcd-78", "must be at least 8 characters long"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := service(cheap)
			hash, err := s.Hasher.Hash(t.Context(), row.password)
			if err != nil {
				t.Fatal(err)
			}
			s.Policy = password.Policy{MinLength: row.least, MaxLength: 64}
			right, _, err := s.Verify(t.Context(), "new_password", hash, row.password, true)
			if got := message(t, err); got != row.want || right != (row.want == "") {
				t.Errorf("%t, %q, want %q", right, got, row.want)
			}
		})
	}
}

// The bounds of config: whatever it accepts, a made password must pass.
func TestAGeneratedPasswordPassesEveryPolicy(t *testing.T) {
	for _, p := range []password.Policy{
		{},
		{MinLength: 1, MaxLength: 64, Uppercase: true, Lowercase: true, Digit: true, Special: true},
		{MinLength: 20, MaxLength: 64, Uppercase: true, Lowercase: true, Digit: true, Special: true},
		{MinLength: 64, MaxLength: 64, Uppercase: true, Lowercase: true, Digit: true, Special: true},
	} {
		s := service(cheap)
		s.Policy = p
		made := map[string]bool{}
		for range 200 {
			one := s.Generate()
			made[one] = true
			if _, err := s.New(t.Context(), "new_password", one); err != nil || len(one) < 20 {
				t.Fatalf("%+v: %d characters, %v", p, len(one), err)
			}
		}
		if len(made) != 200 {
			t.Errorf("%+v: only %d of 200 differ", p, len(made))
		}
	}
}

// Hashes of another program (libxcrypt).
const (
	imported     = "$2b$04$abcdefghijklmnopqrstuuIhSHOYW62MYzOCiBO1FrAHfyr5D9TxS" // Correct-Horse-7
	importedTwo  = "$2b$04$abcdefghijklmnopqrstuuKOaCmG3kaEvOZZ2vT7gSGLY4bH.A/dq" // Résumé-2026, each é in two
	importedOne  = "$2b$04$abcdefghijklmnopqrstuufQl7lEOLVPRAJGgBLjyewY5DodjJSHW" // the same, each é in one
	importedLong = "$2b$04$abcdefghijklmnopqrstuueN3fKmdl/ubKV4qoong4ofURmYEvZyO" // A-7 and 69 or more x
)

func TestAnImportedHashOpensOnceAndIsReplaced(t *testing.T) {
	s := service(cheap)
	for _, row := range []struct {
		name, hash, password string
		right, replaced      bool
	}{
		{"the password", imported, "Correct-Horse-7", true, true},
		{"another password", imported, "Correct-Horse-8", false, false},
		{"as it was typed there, in two", importedTwo, "Re\u0301sume\u0301-2026", true, true},
		{"as it was typed there, in one", importedOne, "Résumé-2026", true, true},
		{"typed otherwise", importedTwo, "Résumé-2026", false, false},
		{"72 bytes", importedLong, "A-7" + strings.Repeat("x", 69), true, true},
		{"more than bcrypt reads: it opens, and a slip in the rest is not kept", importedLong, "A-7" + strings.Repeat("x", 69) + "slip", true, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			right, better, err := s.Verify(t.Context(), "password", row.hash, row.password, true)
			if err != nil || right != row.right || (better != "") != row.replaced {
				t.Fatalf("%t, better %q, %v; want %t, replaced %t", right, better, err, row.right, row.replaced)
			}
			if better == "" {
				return
			}
			if right, again, err := s.Verify(t.Context(), "password", better, row.password, true); err != nil || !right || again != "" || !strings.HasPrefix(better, "$argon2id$") {
				t.Errorf("the new hash %q: %t, better %q, %v", better, right, again, err)
			}
		})
	}
}
