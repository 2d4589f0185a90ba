package cursor

import (
	"encoding/base64"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/fault"
)

var (
	noon  = time.Date(2026, 3, 15, 12, 0, 0, 123_456_000, time.UTC)
	row   = Place{noon, uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057")}
	query = []string{"sessions", "0190", "active"}
)

func itself(p Place) Place { return p }

// next is the cursor of a page that ends with p.
func next(p Place, query ...string) string {
	return Cut([]Place{p, {}}, 1, itself, query...).Next
}

func TestACursorIsThePlaceOfThePagesLastRow(t *testing.T) {
	for _, p := range []Place{row, {time.UnixMicro(0).UTC(), uuid.Nil}, {earliest, uuid.Max}, {latest, uuid.Nil}, {noon.AddDate(-200, 0, 0), row.ID}} {
		got, err := Decode(next(p, query...), query...)
		if err != nil || got != p {
			t.Errorf("%v: got %v, %v", p, got, err)
		}
	}
}

func TestWithoutACursorAPageBeginsAboveEveryRow(t *testing.T) {
	p, err := Decode("", query...)
	if err != nil || !p.At.After(noon.AddDate(1000, 0, 0)) || p.ID != uuid.Max {
		t.Errorf("%v, %v", p, err)
	}
}

func TestOnlyAFullerListHasANextPage(t *testing.T) {
	rows := []Place{{noon, uuid.Max}, row, {noon, uuid.Nil}}
	for _, tt := range []struct{ limit, rows, more int }{{4, 3, 0}, {3, 3, 0}, {2, 2, 1}, {1, 1, 1}} {
		page := Cut(slices.Clone(rows), tt.limit, itself, query...)
		if len(page.Rows) != tt.rows || (page.Next != "") != (tt.more == 1) {
			t.Errorf("limit %d: %d rows, next %q", tt.limit, len(page.Rows), page.Next)
		}
		if tt.more == 1 {
			if at, err := Decode(page.Next, query...); err != nil || at != rows[tt.limit-1] {
				t.Errorf("limit %d: the next page begins below %v, %v", tt.limit, at, err)
			}
		}
	}
	if page := Cut(nil, 1, itself); page.Next != "" || len(page.Rows) != 0 {
		t.Errorf("nothing at all: %+v", page)
	}
}

func TestACursorIsGoodForItsQueryOnly(t *testing.T) {
	text := next(row, query...)
	for _, other := range [][]string{
		{"history", "0190", "active"}, {"sessions", "0191", "active"}, {"sessions", "0190", "all"}, {"sessions", "0190"},
		{"sessions", "0190", "active", ""}, {"sessions", "0190active"}, {"sessions", "0190a", "ctive"}, {},
	} {
		if p, err := Decode(text, other...); !fault.Has(err, fault.InvalidCursor) || p != (Place{}) {
			t.Errorf("%q: %v, %v", other, p, err)
		}
	}
}

func TestAMalformedCursorIsRefused(t *testing.T) {
	good := next(row, query...)
	raw, err := base64.RawURLEncoding.DecodeString(good)
	if err != nil {
		t.Fatal(err)
	}
	changed := func(at int, to ...byte) string {
		b := slices.Clone(raw)
		copy(b[at:], to)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	at := func(micro int64) string { return next(Place{time.UnixMicro(micro), row.ID}, query...) }
	for name, text := range map[string]string{
		"one letter":           "a",
		"a space":              " ",
		"shorter":              good[:len(good)-1],
		"longer":               good + "A",
		"much longer":          strings.Repeat(good, 1000),
		"padded":               good + "==",
		"with a new line":      good[:len(good)-2] + "\n" + good[len(good)-1:],
		"another alphabet":     strings.Repeat("+/", len(good)/2),
		"not ASCII":            strings.Repeat("é", len(good)/2),
		"another version":      changed(0, 2),
		"another query's hash": changed(queryAt, raw[queryAt]+1),
		"before every time":    at(math.MinInt64),
		"before year 1":        at(earliest.UnixMicro() - 1),
		"after year 9999":      at(latest.UnixMicro() + 1),
		"after every time":     at(math.MaxInt64),
	} {
		if p, err := Decode(text, query...); !fault.Has(err, fault.InvalidCursor) || p != (Place{}) {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
}

// What is taken is what was given, letter by letter, and can be stored.
func FuzzDecode(f *testing.F) {
	f.Add(next(row, "q"), "q")
	f.Add(next(Place{latest, uuid.Max}, "q"), "q")
	f.Add("", "")
	f.Add(strings.Repeat("A", 44), "q")
	f.Add(strings.Repeat("é", 22), "q")
	f.Fuzz(func(t *testing.T, text, query string) {
		p, err := Decode(text, query)
		switch {
		case err != nil && !fault.Has(err, fault.InvalidCursor):
			t.Fatal(err)
		case err != nil:
			return
		case p.At.Year() < 1 || p.At.Year() > 9999 || p.At.Location() != time.UTC:
			t.Errorf("%q is at %v", text, p.At)
		case text != "" && next(p, query) != text:
			t.Errorf("%q is also %q", text, next(p, query))
		}
	})
}
