package mail_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/platform/mail"
)

func TestTheMailboxKeepsWhatItIsSent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := clock.Set(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
		box := &mail.Mailbox{DB: d, Clock: c, From: "auth@localhost"}
		if list, err := box.List(t.Context(), ""); err != nil || list == nil || len(list) > 0 {
			t.Errorf("an empty mailbox lists %v, %v", list, err)
		}
		for i, to := range []string{"jo@example.org", "sam@example.org", "jo@example.org"} {
			m := mail.Message{ID: fmt.Sprint("m", i), To: to, Subject: fmt.Sprint("s", i), Text: "t", HTML: "h"}
			for range 2 { // a job that runs twice
				if err := box.Send(t.Context(), m); err != nil {
					t.Fatal(err)
				}
			}
			if i > 0 {
				c.Advance(time.Second) // the first two come at the same moment
			}
		}
		tests := []struct {
			name, to string
			want     []string
		}{
			{"everybody, the newest first", "", []string{"s2", "s1", "s0"}},
			{"one recipient", "jo@example.org", []string{"s2", "s0"}},
			{"a part of an address", "jo", nil},
			{"nobody", "li@example.org", nil},
			{"what looks like a pattern", "%", nil},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				list, err := box.List(t.Context(), tt.to)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, m := range list {
					got = append(got, m.Subject)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Error(diff)
				}
			})
		}
		list, err := box.List(t.Context(), "sam@example.org")
		if err != nil {
			t.Fatal(err)
		}
		want := mail.Stored{
			ID: list[0].ID, From: "auth@localhost", CreatedAt: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
			Message: mail.Message{ID: "m1", To: "sam@example.org", Subject: "s1", Text: "t", HTML: "h"},
		}
		if diff := cmp.Diff(want, list[0]); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWhatAMailAsksForIsFoundInItsText(t *testing.T) {
	tests := []struct {
		name, text           string
		links, tokens, codes []string
	}{
		{"nothing", "Welcome.\n", []string{}, []string{}, []string{}},
		{"a link with a token", "Open\n\nhttps://a.io/verify?token=A-b_1\n", []string{"https://a.io/verify?token=A-b_1"}, []string{"A-b_1"}, []string{}},
		{"a link without", "http://localhost:8000/x.", []string{"http://localhost:8000/x."}, []string{}, []string{}},
		{"a token among other things", "<https://a.io/?x=1&token=A%2Bb&y=2>", []string{"https://a.io/?x=1&token=A%2Bb&y=2"}, []string{"A+b"}, []string{}},
		{"two links, one of them repeated", "https://a.io/1\nhttps://a.io/2?token=T\nhttps://a.io/1\n",
			[]string{"https://a.io/1", "https://a.io/2?token=T"}, []string{"T"}, []string{}},
		{"an empty token", "https://a.io/?token=", []string{"https://a.io/?token="}, []string{}, []string{}},
		{"a code on a line of its own", "Your code:\n\n  123456  \n\nIt works for 10 minutes.\n", []string{}, []string{}, []string{"123456"}},
		{"numbers that are no code", "In 2026, 12\n123\n1234567890123\n12 34\n", []string{}, []string{}, []string{}},
		{"two codes after another, lines ended as in mail", "0042\r\n12345678\r\n", []string{}, []string{}, []string{"0042", "12345678"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := mail.Stored{Message: mail.Message{Text: tt.text}}
			for what, lists := range map[string][2][]string{
				"links": {tt.links, m.Links()}, "tokens": {tt.tokens, m.Tokens()}, "codes": {tt.codes, m.Codes()},
			} {
				if diff := cmp.Diff(lists[0], lists[1]); diff != "" {
					t.Errorf("%s: %s", what, diff)
				}
			}
		})
	}
}
