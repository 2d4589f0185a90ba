package secret

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// Hashes of another program (libxcrypt): perl -e 'print crypt($password, "$2b$04$…")'.
const (
	salt04    = "$2b$04$abcdefghijklmnopqrstuu"
	bcryptOfA = salt04 + "IhSHOYW62MYzOCiBO1FrAHfyr5D9TxS" // Correct-Horse-7
	bcryptOf5 = "$2b$05$abcdefghijklmnopqrstuuprk/rqhgcPTYTHLq52sX1mIsVNYyi5u"
	bcryptMax = salt04 + "eN3fKmdl/ubKV4qoong4ofURmYEvZyO" // A-7 and 69 or more x
	bcryptCut = salt04 + "ZTToNQ0iZwup/7JVMiKm4QUl0xjZ2oW" // A-7- and 34 or more é
)

func TestBcryptHashesOfAnotherProgramVerify(t *testing.T) {
	h := NewHasher(cheap, 1)
	const right = "Correct-Horse-7"
	for _, row := range []struct {
		name, hash, password string
		want                 bool
	}{
		{"$2a$", strings.Replace(bcryptOfA, "$2b$", "$2a$", 1), right, true},
		{"$2b$", bcryptOfA, right, true},
		{"$2y$", strings.Replace(bcryptOfA, "$2b$", "$2y$", 1), right, true},
		{"another cost", bcryptOf5, right, true},
		{"a wrong password", bcryptOfA, "Correct-Horse-8", false},
		{"the right one in another case", bcryptOfA, strings.ToUpper(right), false},
		{"the right one with a space behind it", bcryptOfA, right + " ", false},
		{"none", bcryptOfA, "", false},
		{"72 bytes", bcryptMax, "A-7" + strings.Repeat("x", 69), true},
		{"71 bytes", bcryptMax, "A-7" + strings.Repeat("x", 68), false},
		{"what stands behind the 72nd byte does not count", bcryptMax, "A-7" + strings.Repeat("x", 69) + "whatever", true},
		{"the 72nd byte does", bcryptMax, "A-7" + strings.Repeat("x", 68) + "y", false},
		{"a character across the 72nd byte", bcryptCut, "A-7-" + strings.Repeat("é", 40), true},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := h.Verify(t.Context(), row.hash, row.password, true)
			if err != nil || got != row.want {
				t.Errorf("%t, %v; want %t", got, err, row.want)
			}
			if !h.Outdated(row.hash) || !IsBcrypt(row.hash) || !Recognised(row.hash) {
				t.Errorf("outdated %t, bcrypt %t, recognised %t", h.Outdated(row.hash), IsBcrypt(row.hash), Recognised(row.hash))
			}
		})
	}
}

func TestABcryptHashThatCannotBeReadIsAnError(t *testing.T) {
	h := NewHasher(cheap, 1)
	for _, row := range []struct{ name, hash string }{
		{"a cost beyond patience", strings.Replace(bcryptOfA, "$04$", "$17$", 1)},
		{"a cost of hours", strings.Replace(bcryptOfA, "$04$", "$31$", 1)},
		{"a cost below the least", strings.Replace(bcryptOfA, "$04$", "$03$", 1)},
		{"a cost that is no number", strings.Replace(bcryptOfA, "$04$", "$ab$", 1)},
		{"that of a program with a known mistake", strings.Replace(bcryptOfA, "$2b$", "$2x$", 1)},
		{"no letter", strings.Replace(bcryptOfA, "$2b$", "$2$", 1)},
		{"a character too few", bcryptOfA[:59]},
		{"a character too many", bcryptOfA + "."},
		{"a line break behind it", bcryptOfA + "\n"},
		{"a character that is none of base64", strings.Replace(bcryptOfA, "Ih", "I=", 1)},
		{"a word", "$2b$12$"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if ok, err := h.Verify(t.Context(), row.hash, "Correct-Horse-7", true); ok || err == nil {
				t.Errorf("%t, %v", ok, err)
			}
			if IsBcrypt(row.hash) || Recognised(row.hash) {
				t.Error("recognised")
			}
		})
	}
}

// bcrypt is as slow as Argon2id, so it waits in the same queue.
func TestBcryptWaitsForAWorkerToo(t *testing.T) {
	h := NewHasher(cheap, 1)
	h.running <- struct{}{} // the worker is busy
	ctx, leave := context.WithCancel(t.Context())
	leave()
	if ok, err := h.Verify(ctx, bcryptOfA, "Correct-Horse-7", true); ok || !errors.Is(err, context.Canceled) {
		t.Errorf("without a worker: %t, %v", ok, err)
	}
	<-h.running
	if ok, err := h.Verify(t.Context(), bcryptOfA, "Correct-Horse-7", true); !ok || err != nil {
		t.Errorf("with one: %t, %v", ok, err)
	}
}

func TestWhichHashesAreRecognised(t *testing.T) {
	argon := hash(t, NewHasher(cheap, 1), "x")
	for form, want := range map[string]bool{
		argon: true, bcryptOfA: true, "": false, "password": false, argon + "$": false,
		strings.Replace(argon, "argon2id", "argon2i", 1):      false,
		"5f4dcc3b5aa765d61d8327deb882cf99":                    false,
		"pbkdf2_sha256$260000$salt$hash":                      false,
		"$6$rounds=5000$saltstring$hash":                      false,
		strings.Replace(argon, "m=8", "m=4294967295", 1):      false,
		strings.Replace(argon, "argon2id$v=19$", "scrypt", 1): false,
	} {
		if got := Recognised(form); got != want {
			t.Errorf("%s: %t, want %t", form, got, want)
		}
	}
}
