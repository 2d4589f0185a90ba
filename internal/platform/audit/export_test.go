package audit_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// export returns the lines of an export.
func (c *chained) export(f audit.Filter) []string {
	c.t.Helper()
	var out bytes.Buffer
	_, err := c.Export(c.t.Context(), &out, f)
	c.ok(err)
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

func verifyLines(t *testing.T, lines []string, keys []audit.PublicKey, outside ...audit.Head) audit.Report {
	t.Helper()
	r, _, err := audit.VerifyExport(t.Context(), strings.NewReader(strings.Join(lines, "\n")+"\n"), keys, outside)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// kinds are what lines are, in their order: B for the beginning, h, v for an
// event, e for an entry, . for the end.
func kinds(lines []string) (s string) {
	letters := map[string]string{"authsdk.audit.export": "B", "head": "h", "event": "v", "entry": "e", "end": "."}
	for _, line := range lines {
		var l struct{ Kind string }
		json.Unmarshal([]byte(line), &l)
		s += letters[l.Kind]
	}
	return s
}

func TestAnExportVerifiesWithThePublicKeyAlone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newChain(t, d)
		c.insert(strange, noon.Add(-time.Hour)) // before the chain
		c.three()
		c.happen(audit.UserLogout)
		_, err := c.Drain(t.Context())
		c.ok(err)
		c.happen(audit.OTPSent)
		c.run(`DELETE FROM audit_personal WHERE event_id = (SELECT event_id FROM audit_chain WHERE pos = 2)`)
		login := audit.Filter{Type: "user.login"}
		second := audit.Filter{From: c.after(4).Add(-time.Microsecond), To: c.after(5).Add(-time.Microsecond)}
		tests := []struct {
			name    string
			filter  audit.Filter
			lines   string
			without int64
		}{
			{"all", audit.Filter{}, "Bhvvvhvvvhvvvvvv.", 0},
			{"a type", login, "Bhveehveehvee.", 6},
			{"a time", second, "Bhvve.", 1},
			{"an address", audit.Filter{IP: origin.IP}, "Bhvevhvvvhvvvvv.", 1},
			{"nobody", audit.Filter{Actor: strange}, "Bheeeheeeheee.", 9},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				c.t = t
				lines := c.export(tt.filter)
				if got := kinds(lines); got != tt.lines {
					t.Errorf("lines %s, want %s", got, tt.lines)
				}
				r := verifyLines(t, lines, c.keys(), c.lastHead())
				if !r.OK || r.Without != tt.without {
					t.Errorf("%+v: %v", r, r.Finding)
				}
				if _, own, err := audit.VerifyExport(t.Context(), strings.NewReader(strings.Join(lines, "\n")), nil, nil); err != nil || len(own) != 1 {
					t.Errorf("with its own keys: %v, %v", own, err)
				}
			})
		}
	})
}

func TestAnExportOfAPurgedLogVerifies(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newChain(t, d)
		c.three()
		floor, err := c.Raise(t.Context(), c.after(5))
		c.ok(err)
		c.ok(d.Write(t.Context(), func(tx *db.Tx) error {
			if _, err := audit.PurgeRows(t.Context(), tx, c.lastHead().KeptFrom, 100); err != nil {
				return err
			}
			_, err := audit.PurgeEntries(t.Context(), tx, floor, 100)
			return err
		}))
		lines := c.export(audit.Filter{})
		if got := kinds(lines); got != "Bheevhvvv." {
			t.Errorf("lines %s", got)
		}
		if r := verifyLines(t, lines, c.keys()); !r.OK || r.Without != 2 || r.FirstPos != 4 || r.LastPos != 9 {
			t.Errorf("%+v: %v", r, r.Finding)
		}
	})
}

func TestWhatIsChangedInAnExportIsFound(t *testing.T) {
	d := dbtest.SQLite(t)
	c := newChain(t, d)
	c.three()
	c.happen(audit.UserLogout)
	kept := c.lastHead()
	c.happen(audit.LoginSuccess)
	good := c.export(audit.Filter{})
	if got := kinds(good); got != "Bhvvvhvvvhvvvvv." {
		t.Fatal(got)
	}
	line := func(pos int) int { return map[int]int{1: 2, 4: 6, 5: 7, 6: 8, 7: 10}[pos] }
	change := func(at int, old, new string) func([]string) []string {
		return func(l []string) []string {
			if !strings.Contains(l[at], old) {
				t.Fatalf("no %s in %s", old, l[at])
			}
			l[at] = strings.Replace(l[at], old, new, 1)
			return l
		}
	}
	event := c.at(5).String()
	at5 := "position 5, event " + event + " of 2026-03-15T12:01:05Z"
	tests := []struct {
		name   string
		tamper func([]string) []string
		want   string
	}{
		{"a value changed", change(line(5), `"success":true`, `"success":false`), "changed: " + at5 + " (session.created): the row does not match its hash"},
		{"the address changed", change(line(5), `2001:db8::1`, `2001:db8::2`), "changed: " + at5 + " (session.created): the personal part does not match its hash"},
		{"a row and its hash changed", func(l []string) []string {
			l[line(5)] = strings.Replace(l[line(6)], `"pos":6`, `"pos":5`, 1)
			return l
		}, "changed: batch 2 (positions 4–6): its entries do not match the signed head"},
		{"an event deleted", func(l []string) []string { return append(l[:line(5)], l[line(5)+1:]...) }, "deleted: position 5 is missing between 4 and 6"},
		{"an event left out as if by a filter", func(l []string) []string {
			var w map[string]any
			json.Unmarshal([]byte(l[line(5)]), &w)
			l[line(5)] = fmt.Sprintf(`{"kind":"entry","pos":5,"event_id":%q,"created_at":%q,"row_hash":%q}`, event, w["event"].(map[string]any)["created_at"], w["row_hash"])
			return l
		}, "deleted: " + at5 + ": the row is gone"},
		{"events swapped", func(l []string) []string { l[line(5)], l[line(6)] = l[line(6)], l[line(5)]; return l },
			"reordered: " + at5 + " (session.created): it stands behind position 6"},
		{"an event twice", func(l []string) []string {
			return append(l[:line(6):line(6)], append([]string{l[line(5)]}, l[line(6):]...)...)
		}, "inserted: " + at5 + " (session.created): this position is there already"},
		{"a place behind the batch", change(line(6), `"pos":6`, `"pos":60`), "inserted: position 60: it is in no batch"},
		{"a head changed", change(5, `"last_pos":6`, `"last_pos":5`), "changed: head 2: the signature does not fit"},
		{"a batch deleted", func(l []string) []string { return append(l[:5:5], l[9:]...) }, "deleted: head 2 is missing"},
		{"the last line cut off", func(l []string) []string { return l[:len(l)-1] }, "cut off: the export ends without its last line, before position 10"},
		{"cut off in a batch", func(l []string) []string { return l[:line(5)] }, "cut off: the export ends without its last line, before position 5"},
		{"cut off with a new last line", func(l []string) []string { return append(l[:line(5):line(5)], `{"kind":"end","events":4}`) },
			"deleted: position 5 is missing between 4 and 7"},
		{"an event without a head deleted", func(l []string) []string { return append(l[:len(l)-2:len(l)-2], l[len(l)-1]) },
			"changed: the export ends with a count of 11 events, and holds 10"},
		{"an event without a head changed", change(13, `"success":true`, `"success":false`), "changed: line 14 of the export, an event without a head, does not match its hash"},
		{"something behind the end", func(l []string) []string { return append(l, l[line(5)]) }, "inserted: something stands behind the export's last line"},
		{"a line that is no JSON", change(line(5), `{`, ``), "changed: line 8 of the export cannot be read"},
		{"the newest head changed", change(0, `"floor_pos":1`, `"floor_pos":2`), "changed: head 3: the signature does not fit"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := verifyLines(t, tt.tamper(append([]string{}, good...)), c.keys())
			if r.Finding == nil || r.Finding.String() != tt.want {
				t.Errorf("got %v, want %s", r.Finding, tt.want)
			}
		})
	}
	if r := verifyLines(t, good, c.keys(), kept); !r.OK {
		t.Error(r.Finding)
	}
	c.batch()
	if r := verifyLines(t, good, c.keys(), c.lastHead()); r.Finding == nil || r.Finding.Kind != "cut off" {
		t.Errorf("an older export passes for the newest: %+v", r)
	}
	if _, _, err := audit.VerifyExport(t.Context(), strings.NewReader("hello\n"), nil, nil); err == nil {
		t.Error("any text is an export")
	}
	other := newChain(t, dbtest.SQLite(t))
	if r := verifyLines(t, good, other.keys()); r.Finding == nil || !strings.Contains(r.Finding.Detail, "not known here") {
		t.Errorf("with another service's key: %+v", r)
	}
}

func TestWhoeverExportsSpendsTheProofAndIsRecorded(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newChain(t, d)
		by := audit.By{Type: "admin", ID: c.ann}
		c.ok(c.RecordExport(t.Context(), by, audit.Filter{Type: "user.", Actor: c.bob, From: noon}))
		list := stored(t, d)
		if len(list) != 1 || list[0].Type != "audit.exported" || list[0].Actor.UUID != c.ann ||
			list[0].Metadata.String != `{"actor_id":"`+c.bob.String()+`","date_from":"2026-03-15T12:00:00.123456Z","event_type":"user."}` {
			t.Errorf("%+v", list)
		}
	})
}
