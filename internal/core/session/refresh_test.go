package session

import (
	"encoding/base64"
	"math"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/secret"
)

var (
	ring    = secret.NewRing("refresh tokens", "today")
	someone = refreshToken{uuid.MustParse("019542d0-0000-7000-8000-000000000002"), 7, 2}
)

func TestARefreshTokenComesBackAsItWasMade(t *testing.T) {
	rows := []struct {
		name  string
		token refreshToken
	}{
		{"the first of a session", refreshToken{session: uuid.New()}},
		{"a later one", someone},
		{"the last one there can be", refreshToken{uuid.Max, math.MaxUint32, math.MaxUint32}},
		{"one of no session", refreshToken{}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			text := encodeRefresh(ring, row.token)
			if got, ok := decodeRefresh(ring, text); !ok || got != row.token {
				t.Errorf("%+v, %t; want %+v", got, ok, row.token)
			}
			if text != encodeRefresh(ring, row.token) {
				t.Error("an echo would not be the same token")
			}
			if len(text) > 128 || strings.ContainsAny(text, "+/=. ") { // a cookie value, a URL parameter
				t.Errorf("%q", text)
			}
		})
	}
}

func TestWhichRefreshTokensDecode(t *testing.T) {
	good := encodeRefresh(ring, someone)
	body := strings.TrimPrefix(good, refreshPrefix)
	older := secret.NewRing("refresh tokens", "yesterday")
	rows := []struct {
		name, text string
		ring       *secret.Ring
		want       bool
	}{
		{"a good one", good, ring, true},
		{"one made before the secret was replaced", good, secret.NewRing("refresh tokens", "new", "today"), true},
		{"a new one, while the previous secret is still listed", encodeRefresh(ring, someone), secret.NewRing("refresh tokens", "today", "yesterday"), true},
		{"one of a secret that is not listed", encodeRefresh(older, someone), ring, false},
		{"one of another purpose", encodeRefresh(secret.NewRing("links", "today"), someone), ring, false},
		{"nothing", "", ring, false},
		{"the prefix alone", refreshPrefix, ring, false},
		{"one without its prefix", body, ring, false},
		{"one with another prefix", "at_" + body, ring, false},
		{"one with the prefix in capitals", "RT_" + body, ring, false},
		{"one with the prefix twice", refreshPrefix + good, ring, false},
		{"one with space behind it", good + " ", ring, false},
		{"one with padding", good + "==", ring, false},
		{"one with more behind it", good + "AAAA", ring, false},
		{"two", good + good, ring, false},
		{"zeros", refreshPrefix + strings.Repeat("A", len(body)), ring, false},
		{"as many line breaks as characters, which base64 skips", refreshPrefix + strings.Repeat("\n", len(body)), ring, false},
		{"as many characters, most of them line breaks", refreshPrefix + "AQAA" + strings.Repeat("\r\n", len(body)/2-2), ring, false},
		{"one with a line break for its last character", good[:len(good)-1] + "\n", ring, false},
		{"a JWT", "eyJhbGciOiJub25lIn0.e30.", ring, false},
		{"bytes that are no text", refreshPrefix + strings.Repeat("\xff", len(body)), ring, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			got, ok := decodeRefresh(row.ring, row.text)
			if ok != row.want {
				t.Errorf("good: %t, want %t", ok, row.want)
			}
			if !ok && got != (refreshToken{}) {
				t.Errorf("a bad one says %+v", got)
			}
		})
	}
	for n := range len(good) {
		if _, ok := decodeRefresh(ring, good[:n]); ok {
			t.Errorf("its first %d characters decode", n)
		}
	}
}

func TestNoBitOfARefreshTokenMayChange(t *testing.T) {
	good := encodeRefresh(ring, someone)
	for i := range len(good) * 8 {
		flipped := []byte(good)
		flipped[i/8] ^= 1 << (i % 8)
		if _, ok := decodeRefresh(ring, string(flipped)); ok {
			t.Errorf("decodes with bit %d of its text flipped: %q", i, flipped)
		}
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(good, refreshPrefix))
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(raw) * 8 {
		raw[i/8] ^= 1 << (i % 8)
		if _, ok := decodeRefresh(ring, refreshPrefix+base64.RawURLEncoding.EncodeToString(raw)); ok {
			t.Errorf("decodes with bit %d of its bytes flipped", i)
		}
		raw[i/8] ^= 1 << (i % 8)
	}
}

// Sessions must outlive upgrades.
func TestARefreshTokenOfAnEarlierVersionDecodes(t *testing.T) {
	const earlier = "rt_ARZSIhUBlULQAABwAIAAAAAAAAACAAAABwAAAALWGpeNEcdxV-maRoPHit55tIA0_JnPl5mlACI2CoOOMg"
	if got, ok := decodeRefresh(ring, earlier); !ok || got != someone {
		t.Errorf("%+v, %t; want %+v", got, ok, someone)
	}
}

func FuzzDecodeRefresh(f *testing.F) {
	good := encodeRefresh(ring, someone)
	for _, seed := range []string{good, good[:40], refreshPrefix, "", refreshPrefix + strings.Repeat("\n", len(good)-len(refreshPrefix))} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := decodeRefresh(ring, text)
		if ok && encodeRefresh(ring, got) != text {
			t.Errorf("%q decodes to %+v, which is written otherwise", text, got)
		}
	})
}
