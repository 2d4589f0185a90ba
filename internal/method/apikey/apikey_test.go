package apikey

import (
	"strings"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/limit"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

func TestAMistypedKeyIsKnownByItsChecksum(t *testing.T) {
	for range 1000 {
		if key := Make(); !Valid(key) || len(key) != 52 {
			t.Fatalf("%d characters, valid: %t", len(key), Valid(key))
		}
	}
	body := "sk_" + strings.Repeat("A", 43)
	key := body + checksum(body)
	if !Valid(body) || !Valid(key) {
		t.Error("keys with and without a checksum should be valid")
	}
	for i := range key {
		other := key[:i] + "~" + key[i+1:]
		if key[i] != 'B' {
			if Valid(key[:i] + "B" + key[i+1:]) {
				t.Errorf("another character at %d is not noticed", i)
			}
		}
		if Valid(other) || Valid(key[:i]) && i != len(body) {
			t.Errorf("at %d", i)
		}
	}
}

func TestARevocationOnOneReplicaReachesTheCacheOfAnother(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := clock.Set(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
		limiter, err := limit.Open(t.Context(), "", dbtest.Log, c)
		if err != nil {
			t.Fatal(err)
		}
		replica := func() (*Service, *revocation.Feed) {
			feed, err := revocation.NewFeed(t.Context(), d, c, dbtest.Log)
			if err != nil {
				t.Fatal(err)
			}
			return NewService(d, c, dbtest.Log, feed, limiter), feed
		}
		a, _ := replica()
		b, feed := replica()
		ask := func(key string) Outcome {
			if err := feed.Read(t.Context()); err != nil {
				t.Fatal(err)
			}
			o, err := b.Introspect(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			return o
		}
		k, first, err := a.Create(t.Context(), audit.By{Type: "system"}, New{Name: "ci", Scope: "x"})
		if err != nil {
			t.Fatal(err)
		}
		if o := ask(first); o.Code != "" || o.Source != "sql" {
			t.Errorf("at first %+v", o)
		}
		if o := ask(first); o.Code != "" || o.Source != "cache" {
			t.Errorf("again %+v", o)
		}
		_, second, err := a.Rotate(t.Context(), audit.By{Type: "system"}, k.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		if ask(first).Code != Invalid || ask(second).Code != "" {
			t.Error("after one read of the feed the old secret is good, or the new one is not")
		}
		if _, err := a.Revoke(t.Context(), audit.By{Type: "system"}, k.ID); err != nil {
			t.Fatal(err)
		}
		if code := ask(second).Code; code != Revoked {
			t.Errorf("after its revocation: %q", code)
		}
		for range missRule.Burst + 1 { // unknown keys are counted by address
			_, err = b.Introspect(t.Context(), Make())
		}
		if !fault.Has(err, fault.RateLimited) {
			t.Errorf("many unknown keys: %v", err)
		}
	})
}
