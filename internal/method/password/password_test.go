package password_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/method/password"
)

var cheap = secret.Cost{MemoryKiB: 8, Iterations: 1, Parallelism: 1}

func service(cost secret.Cost) *password.Service {
	return &password.Service{Hasher: secret.NewHasher(cost, 2)}
}

func TestWhatAPasswordMustBe(t *testing.T) {
	s := service(cheap)
	const (
		short   = "must be at least 8 characters long"
		long    = "must be at most 128 characters long"
		notText = "must be text"
	)
	for _, row := range []struct {
		name, password, message string // no message: allowed
	}{
		{"upper case, digit and punctuation", "Correct-Horse-7", ""},
		{"no lower case is asked for", "ABCDEF-7", ""},
		{"eight characters", "Abcde-78", ""},
		{"seven characters", "Abcd-78", short},
		{"nothing", "", short},
		{"eight characters of several bytes each", "Äöüßéà-7", ""},
		{"seven characters of several bytes each", "Äöüßé-7", short},
		{"seven characters, typed as eight: e and an accent are one", "Abcde\u0301-7", short},
		{"128 characters", "A-7" + strings.Repeat("é", 125), ""},
		{"129 characters", "A-7" + strings.Repeat("é", 126), long},
		{"128 characters, typed as 253", "A-7" + strings.Repeat("e\u0301", 125), ""},
		{"a megabyte", "A-7" + strings.Repeat("a", 1<<20), long},
		{"no upper case", "correct-horse-7", "must contain an uppercase letter"},
		{"upper case of another script", "Жорж-жорж-7", ""},
		{"no digit", "Correct-Horse", "must contain a number"},
		{"a digit of another script", "Correct-Horse-٧", ""},
		{"a letter-like number is no digit", "Correct-Horse-Ⅷ", "must contain a number"},
		{"no punctuation", "CorrectHorse7", "must contain a special character"},
		{"punctuation of another script is none", "CorrectHorse7…", "must contain a special character"},
		{"a space is none", "Correct Horse 7", "must contain a special character"},
		{"nothing of the three", "correcthorse", "must contain an uppercase letter and a number and a special character"},
		{"a NUL", "Correct-Horse-7\x00", notText},
		{"bytes that are no text", "Correct-Horse-7\xff", notText},
		{"spaces at the ends are part of it", " Aa-7   ", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			hash, err := s.New(t.Context(), "new_password", row.password)
			var want []fault.Field
			if row.message != "" {
				want = []fault.Field{{Field: "new_password", Message: row.message}}
			}
			var got []fault.Field
			if err != nil {
				got = fault.From(err).Fields
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			if (hash == "") != (err != nil) {
				t.Errorf("hash %q with %v", hash, err)
			}
		})
	}
	t.Run("each of the 32 ASCII punctuation characters counts", func(t *testing.T) {
		n := 0
		for c := '!'; c <= '~'; c++ {
			if c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
				continue
			}
			n++
			if _, err := s.New(t.Context(), "password", "CorrectHorse7"+string(c)); err != nil {
				t.Errorf("%c: %v", c, err)
			}
		}
		if n != 32 {
			t.Errorf("%d characters", n)
		}
	})
}

func TestVerify(t *testing.T) {
	s := service(cheap)
	hash, err := s.New(t.Context(), "password", "Résumé-2026")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, hash, password string
		right                bool
	}{
		{"the password", hash, "Résumé-2026", true},
		{"the password of a keyboard that writes é in two", hash, "Re\u0301sume\u0301-2026", true},
		{"another password", hash, "Resume-2026", false},
		{"spaces at the end are part of it", hash, "Résumé-2026 ", false},
		{"no account", "", "Résumé-2026", false},
		{"a password that nobody could have chosen is wrong, not malformed", hash, strings.Repeat("x", 256), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			right, better, err := s.Verify(t.Context(), "password", row.hash, row.password, true)
			if err != nil || right != row.right || better != "" {
				t.Errorf("%v, better %q, %v; want %v", right, better, err, row.right)
			}
		})
	}
	for _, row := range []struct{ name, password, message string }{
		{"too short is malformed", "1234567", "must be at least 8 characters long"},
		{"too long is malformed", strings.Repeat("x", 257), "must be at most 256 characters long"},
		{"a NUL is malformed, with an account and without", "12345678\x00", "must be text"},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, h := range []string{hash, ""} {
				_, _, err := s.Verify(t.Context(), "password", h, row.password, true)
				if diff := cmp.Diff([]fault.Field{{Field: "password", Message: row.message}}, fault.From(err).Fields); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			}
		})
	}
	t.Run("a hash of another cost is made anew, if the password is right", func(t *testing.T) {
		dearer := service(secret.Cost{MemoryKiB: 16, Iterations: 2, Parallelism: 1})
		right, better, err := dearer.Verify(t.Context(), "password", hash, "Résumé-2026", true)
		if err != nil || !right || !strings.Contains(better, "$m=16,t=2,p=1$") {
			t.Fatalf("%v, %q, %v", right, better, err)
		}
		if right, again, err := dearer.Verify(t.Context(), "password", better, "Résumé-2026", true); err != nil || !right || again != "" {
			t.Errorf("%v, %q, %v", right, again, err)
		}
		if right, better, err := dearer.Verify(t.Context(), "password", hash, "Wrong-2026", true); err != nil || right || better != "" {
			t.Errorf("%v, %q, %v", right, better, err)
		}
	})
}
