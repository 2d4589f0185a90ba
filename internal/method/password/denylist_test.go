package password_test

import (
	"crypto/sha1"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/authsdk/authsdk/internal/method/password"
)

const known = "is on a list of known passwords: choose another"

func listFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "list.txt")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sha is a line of the HIBP list.
func sha(text string) string { return fmt.Sprintf("%X", sha1.Sum([]byte(text))) }

func TestWhichPasswordsAListBars(t *testing.T) {
	const first = "Another-One-1\n"
	for _, row := range []struct {
		name, list, password string
		barred               bool
	}{
		{"one on a plain list", first + "Correct-Horse-7\n", "Correct-Horse-7", true},
		{"the first", "Correct-Horse-7\nx\n", "Correct-Horse-7", true},
		{"the last, without a line end", first + "Correct-Horse-7", "Correct-Horse-7", true},
		{"behind a line end of Windows", first + "Correct-Horse-7\r\nx\r\n", "Correct-Horse-7", true},
		{"behind the mark of Windows", "\uFEFFCorrect-Horse-7\n", "Correct-Horse-7", true},
		{"one that is on it in lower case", first + "correct-horse-7\n", "Correct-Horse-7", true},
		{"one that is on it in upper case only", first + "CORRECT-HORSE-7\n", "Correct-Horse-7", false},
		{"one that is not on it", first + "Correct-Horse-8\n", "Correct-Horse-7", false},
		{"part of one", first + "Correct-Horse-77\n", "Correct-Horse-7", false},
		{"with a space on the list", first + "Correct-Horse-7 \n", "Correct-Horse-7", false},
		{"that is typed otherwise than on the list", first + "Re\u0301sume\u0301-2026\n", "Résumé-2026", true},
		{"that is typed otherwise than it is on the list", first + "résumé-2026\n", "Re\u0301sume\u0301-2026", true},
		{"beside lines that are no UTF-8", first + "Correct-Horse-7\n\xff\xfe\n", "Correct-Horse-7", true},
		{"beside empty lines", "\n\n" + first + "\nCorrect-Horse-7\n\n", "Correct-Horse-7", true},

		{"one on an HIBP list", sha("x") + ":3\n" + sha("Correct-Horse-7") + ":17\n", "Correct-Horse-7", true},
		{"one on an HIBP list without counts", sha("x") + "\n" + sha("Correct-Horse-7") + "\n", "Correct-Horse-7", true},
		{"one on an HIBP list in lower case", strings.ToLower(sha("Correct-Horse-7")) + ":17\r\n", "Correct-Horse-7", true},
		{"an HIBP list knows one spelling", sha("correct-horse-7") + ":17\n", "Correct-Horse-7", false},
		{"one that is not on an HIBP list", sha("Correct-Horse-8") + ":17\n", "Correct-Horse-7", false},
		{"a plain list may hold hex", "DEADBEEF\nCorrect-Horse-7\n", "Correct-Horse-7", true},
		{"a plain list may hold a colon", "a1:5\nCorrect-Horse-7\n", "Correct-Horse-7", true},
		{"a hash on a plain list is a password like others", first + sha("Correct-Horse-7") + ":17\n", "Correct-Horse-7", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			list, err := password.OpenDenyList(listFile(t, row.list))
			if err != nil {
				t.Fatal(err)
			}
			s := service(cheap)
			s.Known = list
			hash, err := s.New(t.Context(), "new_password", row.password)
			want := ""
			if row.barred {
				want = known
			}
			if got := message(t, err); got != want || (hash == "") != row.barred {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

// A login must not tell that a password is known, and must not lock its owner
// out.
func TestAKnownPasswordStillOpensItsAccount(t *testing.T) {
	list, err := password.OpenDenyList(listFile(t, "Correct-Horse-7\n"))
	if err != nil {
		t.Fatal(err)
	}
	s := service(cheap)
	hash, err := s.New(t.Context(), "password", "Correct-Horse-7")
	if err != nil {
		t.Fatal(err)
	}
	s.Known = list
	if right, _, err := s.Verify(t.Context(), "password", hash, "Correct-Horse-7", true); !right || err != nil {
		t.Errorf("%t, %v", right, err)
	}
}

func TestAListThatCannotBeUsedIsRefused(t *testing.T) {
	hibp := sha("x") + ":3\n"
	for _, row := range []struct{ name, list, want string }{
		{"nothing", "", "it is empty"},
		{"line ends only", "\n\r\n\n", "it is empty"},
		{"a NUL", "one\ntwo\x00\n", "line 2: it holds a NUL, so it is not text in UTF-8"},
		{"text in UTF-16", "\xff\xfeo\x00n\x00e\x00\n\x00", "line 2: it holds a NUL, so it is not text in UTF-8"},
		{"bytes", "\xff\xfe\n", "it is not text in UTF-8"},
		{"mostly bytes", "one\n\xff\n\xfe\n", "most of it is not text in UTF-8"},
		{"a line without end", "one\n" + strings.Repeat("x", 5000), "line 2 is longer than 4096 bytes"},
		{"a line without end, longer than what is read at once", strings.Repeat("x", 1<<20), "line 1 is longer than 4096 bytes"},
		{"an HIBP list with a word in it", hibp + "hunter2\n", "line 2: it is not a SHA-1 in hex and a count, as the first line is"},
		{"an HIBP list that is cut off", hibp + sha("y")[:30], "line 2: it is not a SHA-1 in hex and a count, as the first line is"},
		{"an HIBP list with another count", hibp + sha("y") + ":many\n", "line 2: it is not a SHA-1 in hex and a count, as the first line is"},
		{"an HIBP list with a hash that is none", hibp + strings.Repeat("g", 40) + ":1\n", "line 2: it is not a SHA-1 in hex and a count, as the first line is"},
		{"the HIBP list of another hash", "32ED87BDB5FDC5E9CBA88547376818D4:24230577\n", "line 1: it holds NTLM hashes: get the list of SHA-1 hashes"},
		{"a part of the HIBP list", sha("x")[5:] + ":3\n", "line 1: it holds the ends of hashes only: get the list as one file"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if list, err := password.OpenDenyList(listFile(t, row.list)); err == nil || err.Error() != row.want {
				t.Errorf("%v, %v; want %q", list, err, row.want)
			}
		})
	}
	for name, path := range map[string]string{
		"no such file or directory": filepath.Join(t.TempDir(), "missing"),
		"it is not a regular file":  t.TempDir(),
	} {
		if _, err := password.OpenDenyList(path); err == nil || err.Error() != name {
			t.Errorf("%v, want %q", err, name)
		}
	}
}

// Nothing on the list gets through, however full the table, and hardly anything
// else is taken for it: of a million strangers 0.003 are expected.
func TestAListForgetsNothingAndBarsNobodyElse(t *testing.T) {
	const n = 200_000
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "Known-%d\n", i)
	}
	list, err := password.OpenDenyList(listFile(t, b.String()))
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if !list.Has(fmt.Sprintf("Known-%d", i)) {
			t.Fatalf("Known-%d is forgotten", i)
		}
	}
	strangers := 0
	for i := range 1_000_000 {
		if list.Has(fmt.Sprintf("Stranger-%d", i)) {
			strangers++
		}
	}
	if strangers > 1 {
		t.Errorf("%d of 1,000,000 that are not on the list are barred", strangers)
	}
}

func FuzzDenyList(f *testing.F) {
	for _, seed := range []string{
		"password1!\nCorrect-Horse-7\n", sha("x") + ":3\n" + sha("y") + ":1\n", sha("x") + "\r\n", "\uFEFFa\n", "\xff\n", "a\x00", "\n\n", ":", "a:1\n", "\n" + strings.Repeat("0", 40),
		strings.Repeat("0", 40), strings.Repeat("f", 40) + "\n" + strings.Repeat("0", 40) + ":0",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		list, err := password.OpenDenyList(listFile(t, string(file)))
		if err != nil {
			if list != nil {
				t.Error("a list and an error")
			}
			return
		}
		first := true
		for line := range strings.Lines(strings.TrimPrefix(string(file), "\uFEFF")) {
			line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
			if line == "" || !utf8.ValidString(line) {
				continue
			}
			if first && len(strings.Split(line, ":")[0]) == 40 {
				break // hashes
			}
			first = false
			if !list.Has(line) {
				t.Errorf("%q is forgotten", line)
			}
		}
		list.Has("whatever") // ends
	})
}

// BenchmarkOpenDenyList tells what a million lines cost at the start.
func BenchmarkOpenDenyList(b *testing.B) {
	for _, form := range []string{"plain", "hibp"} {
		b.Run(form, func(b *testing.B) {
			var text strings.Builder
			for i := range 1_000_000 {
				if form == "plain" {
					fmt.Fprintf(&text, "Password-%d\n", i)
				} else {
					fmt.Fprintf(&text, "%s:%d\n", sha(fmt.Sprint(i)), i)
				}
			}
			path := listFile(b, text.String())
			b.ReportAllocs()
			for b.Loop() {
				if _, err := password.OpenDenyList(path); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
