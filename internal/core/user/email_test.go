package user_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// long is a domain of n characters whose labels are as long as they may be.
func long(n int) string {
	var b strings.Builder
	for b.Len() < n-3 {
		b.WriteString(strings.Repeat("a", min(63, n-3-b.Len()-1)) + ".")
	}
	return b.String() + "com"
}

func TestParseEmail(t *testing.T) {
	const refused = ""
	rows := []struct{ name, input, want string }{
		{"a plain address stays as it is", "jo@example.com", "jo@example.com"},
		{"space around it is trimmed", " \t jo@example.com\n ", "jo@example.com"},
		{"it is compared in lower case", "Jo.Bloggs@Example.COM", "jo.bloggs@example.com"},
		{"a display name is dropped", "Jo <jo@example.com>", "jo@example.com"},
		{"a quoted display name too", `"Bloggs, Jo" <jo@example.com>`, "jo@example.com"},
		{"a display name in another script too", "Жо <jo@example.com>", "jo@example.com"},
		{"tags are part of the address", "jo+news@example.com", "jo+news@example.com"},
		{"so is what else an atom may hold", "!#$%&'*+-/=?^_`{|}~@example.com", "!#$%&'*+-/=?^_`{|}~@example.com"},
		{"a local part may be international", "józef@example.com", "józef@example.com"},
		{"both ways to write an accent are one address", "jo\u0301zef@example.com", "józef@example.com"},
		{"an international domain is stored in ASCII", "jo@BÜCHER.example", "jo@xn--bcher-kva.example"},
		{"both spellings of it are one address", "jo@xn--bcher-kva.example", "jo@xn--bcher-kva.example"},
		{"wide characters in a domain are the plain ones", "jo@ｅｘａｍｐｌｅ。com", "jo@example.com"},
		{"a local part of 64 characters", strings.Repeat("a", 64) + "@example.com", strings.Repeat("a", 64) + "@example.com"},
		{"254 characters are the most mail can carry", "jo@" + long(251), "jo@" + long(251)},
		{"a reserved word may begin a domain", "jo@test.example.com", "jo@test.example.com"},
		{"or end its last label", "jo@example.contest", "jo@example.contest"},

		{"nothing", "", refused},
		{"space only", "  ", refused},
		{"no @", "jo.example.com", refused},
		{"no local part", "@example.com", refused},
		{"no domain", "jo@", refused},
		{"two @", "jo@home@example.com", refused},
		{"two addresses", "jo@example.com, al@example.com", refused},
		{"a domain without a dot", "jo@localhost", refused},
		{"a domain that begins with a dot", "jo@.example.com", refused},
		{"a domain that ends with a dot", "jo@example.com.", refused},
		{"a domain that ends with a wide dot", "jo@example.com。", refused},
		{"an empty label", "jo@example..com", refused},
		{"an empty label between wide dots", "jo@example。。com", refused},
		{"a label of 64 characters", "jo@" + strings.Repeat("a", 64) + ".com", refused},
		{"a label that begins with a hyphen", "jo@-example.com", refused},
		{"an underscore in the domain", "jo@exa_mple.com", refused},
		{"a space in the domain", "jo@exam ple.com", refused},
		{"an IPv4 address", "jo@192.0.2.1", refused},
		{"an IPv4 address that some resolvers read", "jo@127.1", refused},
		{"an IPv4 literal", "jo@[192.0.2.1]", refused},
		{"an IPv6 literal", "jo@[IPv6:2001:db8::1]", refused},
		{"a quoted local part", `"jo bloggs"@example.com`, refused},
		{"a quoted local part that needs no quotes", `"jo"@example.com`, refused},
		{"a quoted local part behind a name", `Jo <"jo"@example.com>`, refused},
		{"a local part that begins with a dot", ".jo@example.com", refused},
		{"a local part that ends with a dot", "jo.@example.com", refused},
		{"two dots in the local part", "jo..bloggs@example.com", refused},
		{"a local part that is longer in lower case", strings.Repeat("Ⱥ", 32) + "@example.com", refused},
		{"a semicolon in disguise", "jo\u037ebloggs@example.com", refused},
		{"a space that does not look like one", "jo\u00a0bloggs@example.com", refused},
		{"a space hidden behind the trimming", "<\u2003jo@example.com>", refused},
		{"a character that turns the text around", "jo\u202egro@example.com", refused},
		{"a character without width", "jo\u200b@example.com", refused},
		{"a NUL", "jo\x00@example.com", refused},
		{"a line break", "jo@example.com\r\nBcc: al@example.com", refused},
		{"bytes that are not UTF-8", "jo\xff@example.com", refused},
		{"a local part of 65 characters", strings.Repeat("a", 65) + "@example.com", refused},
		{"255 characters", "jo@" + long(252), refused},
		{"a novel", strings.Repeat("jo ", 10_000) + "<jo@example.com>", refused},
		{"a reserved domain: test", "jo@example.test", refused},
		{"a reserved domain: invalid", "jo@example.invalid", refused},
		{"a reserved domain: local", "jo@printer.local", refused},
		{"a reserved domain: localhost", "jo@app.localhost", refused},
		{"a reserved domain: onion", "jo@example.onion", refused},
		{"a reserved domain: arpa", "jo@1.2.0.192.in-addr.arpa", refused},
		{"a reserved domain in capitals", "jo@example.TEST", refused},
		{"a reserved domain in wide characters", "jo@example.ｔｅｓｔ", refused},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			got, err := user.ParseEmail("contact", row.input)
			if got != row.want {
				t.Errorf("%q gives %q (%v), want %q", row.input, got, err, row.want)
			}
			if row.want == refused {
				checkRefusal(t, row.input, err)
			}
		})
	}
}

// checkRefusal: the fault names the field and never repeats the value.
func checkRefusal(t *testing.T, input string, err error) {
	t.Helper()
	f := fault.From(err)
	if f.Code.Slug != fault.ValidationError.Slug || len(f.Fields) != 1 {
		t.Fatalf("%v, want a validation error about one field", err)
	}
	texts := map[string]bool{"must be an e-mail address": true, "must be at a domain that can receive mail": true}
	if diff := cmp.Diff("contact", f.Fields[0].Field); diff != "" || !texts[f.Fields[0].Message] {
		t.Errorf("%+v for %q", f.Fields[0], input)
	}
}

func FuzzParseEmail(f *testing.F) {
	for _, seed := range []string{
		"jo@example.com", "Jo <jo@example.com>", `"jo"@example.com`, "jo@BÜCHER.example", "<\u00a0jo@x.io>", "a: jo@x.io;",
		"jo@x。io", "K@x.io", "jo(a)@x.io", "=?utf-8?q?Jo?= <jo@x.io>", "jo@xn--a.io", "İ@x.io", "\xff", "jo@[1.2.3.4]", "ſ@x.io",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input string) {
		got, err := user.ParseEmail("contact", input)
		if err != nil {
			if got != "" {
				t.Errorf("%q is refused, yet gives %q", input, got)
			}
			checkRefusal(t, input, err)
			return
		}
		again, err := user.ParseEmail("contact", got)
		if err != nil || again != got {
			t.Errorf("%q gives %q, and that gives %q (%v)", input, got, again, err)
		}
		if len(got) > 254 || strings.ToLower(got) != got || strings.ContainsAny(got, " \t\r\n\x00<>\"") {
			t.Errorf("%q gives %q", input, got)
		}
	})
}
