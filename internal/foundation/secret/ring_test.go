package secret_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/authsdk/authsdk/internal/foundation/secret"
)

func TestWhatARingOpens(t *testing.T) {
	const purpose, current, place = "signing keys", "the secret of today", "row 1"
	plain := []byte("a private key")
	sealed := secret.NewRing(purpose, current).Seal(plain, place)
	rows := []struct {
		name  string
		ring  *secret.Ring
		value []byte
		place string
		want  string // "opens", "unknown key" or "refused"
	}{
		{"its own value", secret.NewRing(purpose, current), sealed, place, "opens"},
		{"its own value after the secret was replaced", secret.NewRing(purpose, "new", current), sealed, place, "opens"},
		{"its own value when two secrets came after", secret.NewRing(purpose, "newer", "new", current), sealed, place, "opens"},
		{"a value of a secret that was not kept", secret.NewRing(purpose, "new", "other"), sealed, place, "unknown key"},
		{"a value of another purpose", secret.NewRing("mail", current), sealed, place, "unknown key"},
		{"a value moved to another row", secret.NewRing(purpose, current), sealed, "row 2", "refused"},
		{"a value moved to no row", secret.NewRing(purpose, current), sealed, "", "refused"},
		{"a value cut by a byte", secret.NewRing(purpose, current), sealed[:len(sealed)-1], place, "refused"},
		{"a value cut to its key id", secret.NewRing(purpose, current), sealed[:secret.IDLen], place, "refused"},
		{"a value cut into its key id", secret.NewRing(purpose, current), sealed[:secret.IDLen-1], place, "refused"},
		{"nothing", secret.NewRing(purpose, current), nil, place, "refused"},
		{"a value made longer", secret.NewRing(purpose, current), append(bytes.Clone(sealed), 0), place, "refused"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			got, err := row.ring.Open(row.value, row.place)
			switch verdict := outcome(err); {
			case verdict != row.want:
				t.Errorf("%s (%v), want %s", verdict, err, row.want)
			case err == nil && !bytes.Equal(got, plain):
				t.Errorf("it opens to %q", got)
			case err != nil && got != nil:
				t.Error("an error came with a value")
			}
		})
	}
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "opens"
	case errors.Is(err, secret.ErrUnknownKey):
		return "unknown key"
	}
	return "refused"
}

func TestNoBitOfASealedValueMayChange(t *testing.T) {
	ring := secret.NewRing("p", "s")
	sealed := ring.Seal([]byte("plain"), "row")
	for i := range len(sealed) * 8 {
		flipped := bytes.Clone(sealed)
		flipped[i/8] ^= 1 << (i % 8)
		if _, err := ring.Open(flipped, "row"); err == nil {
			t.Errorf("opens with bit %d flipped", i)
		}
	}
}

func TestSealingTwiceGivesTwoValues(t *testing.T) {
	ring := secret.NewRing("p", "s")
	if bytes.Equal(ring.Seal([]byte("plain"), "row"), ring.Seal([]byte("plain"), "row")) {
		t.Error("the nonce does not change")
	}
}

func TestAnEmptyValueIsSealedToo(t *testing.T) {
	ring := secret.NewRing("p", "s")
	got, err := ring.Open(ring.Seal(nil, ""), "")
	if err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
}

func TestWhichMACsAreGood(t *testing.T) {
	ring := secret.NewRing("refresh", "today", "yesterday")
	old := secret.NewRing("refresh", "yesterday")
	strange := secret.NewRing("refresh", "never")
	other := secret.NewRing("links", "today")
	data := []byte("session 1, generation 2")
	rows := []struct {
		name          string
		id, data, mac []byte
		want          bool
	}{
		{"its own", ring.KeyID(), data, ring.MAC(data), true},
		{"one of the previous secret", old.KeyID(), data, old.MAC(data), true},
		{"one of a secret it never had", strange.KeyID(), data, strange.MAC(data), false},
		{"one of another purpose", other.KeyID(), data, other.MAC(data), false},
		{"one of another purpose under its key id", ring.KeyID(), data, other.MAC(data), false},
		{"the previous secret's under the current key id", ring.KeyID(), data, old.MAC(data), false},
		{"one over other data", ring.KeyID(), []byte("session 1, generation 3"), ring.MAC(data), false},
		{"one that is cut", ring.KeyID(), data, ring.MAC(data)[:secret.MACLen-1], false},
		{"none", ring.KeyID(), data, nil, false},
		{"one without a key id", nil, data, ring.MAC(data), false},
		{"one with a key id cut short", ring.KeyID()[:2], data, ring.MAC(data), false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if got := ring.CheckMAC(row.id, row.data, row.mac); got != row.want {
				t.Errorf("good: %t, want %t", got, row.want)
			}
		})
	}
}

// What is stored in databases must open after every upgrade.
func TestTheDerivationNeverChanges(t *testing.T) {
	ring := secret.NewRing("purpose", "secret")
	if got, want := ring.KeyID(), []byte{0xdc, 0x42, 0x70, 0xaf}; !bytes.Equal(got, want) {
		t.Errorf("key id %#v, want %#v", got, want)
	}
	sealed := []byte{0xdc, 0x42, 0x70, 0xaf, 0xb6, 0xf0, 0x52, 0xd6, 0x81, 0x74, 0xf6, 0x64, 0x49, 0xb1, 0x62, 0xf0, 0x43, 0xcd, 0xff, 0xd9, 0x7d, 0x91, 0x24, 0x2d, 0xe4, 0x5c, 0x54, 0x7e, 0x54, 0x65, 0xc1, 0xed, 0x49, 0x38, 0xbf, 0xdf, 0xca}
	got, err := ring.Open(sealed, "row")
	if err != nil || string(got) != "plain" {
		t.Errorf("a value sealed by an earlier version: %q, %v", got, err)
	}
}

func TestRandomTokens(t *testing.T) {
	a, b := secret.Token(32), secret.Token(32)
	if a == b {
		t.Error("two tokens are the same")
	}
	if len(a) != 43 { // 32 bytes in unpadded base64
		t.Errorf("32 bytes give %d characters", len(a))
	}
	if n := len(secret.Bytes(7)); n != 7 {
		t.Errorf("asked for 7 bytes, got %d", n)
	}
	if got, want := secret.Hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; got != want { // FIPS 180-2
		t.Errorf("Hash(abc) = %s", got)
	}
	if !secret.Equal([]byte("a"), []byte("a")) || secret.Equal([]byte("a"), []byte("b")) || secret.Equal([]byte("a"), nil) {
		t.Error("Equal is wrong")
	}
}
