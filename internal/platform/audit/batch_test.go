package audit_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

func use(scope string, who uuid.UUID) audit.Event {
	return audit.Event{Type: audit.ClientAuthenticated, ActorType: "service", TargetType: "oauth_client", Target: who, Metadata: map[string]any{"client_id": "c1", "scope": scope}}
}

func TestEqualEventsBecomeOneRowWithTheirCount(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := audit.NewBatcher(d, clock.Set(noon), dbtest.Log, nil)
		here := audit.WithOrigin(t.Context(), origin)
		there := audit.WithOrigin(t.Context(), audit.Origin{IP: "192.0.2.7"})
		one, two := uuid.New(), uuid.New()
		for range 3 {
			b.Add(here, use("a", one))
		}
		b.Add(there, use("a", one)) // from elsewhere
		b.Add(here, use("b", one))  // other metadata
		b.Add(here, use("a", two))  // another target
		refused := use("a", one)
		refused.Failure = "invalid_credentials"
		b.Add(here, refused)
		if err := b.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		for _, r := range stored(t, d) {
			got[fmt.Sprintf("%s %s %v %s", r.IP.String, r.Metadata.String, r.Target.UUID == one, r.Failure.String)]++
		}
		for _, want := range []string{
			`2001:db8::1 {"client_id":"c1","count":3,"scope":"a"} true `, `192.0.2.7 {"client_id":"c1","count":1,"scope":"a"} true `,
			`2001:db8::1 {"client_id":"c1","count":1,"scope":"b"} true `, `2001:db8::1 {"client_id":"c1","count":1,"scope":"a"} false `,
			`2001:db8::1 {"client_id":"c1","count":1,"scope":"a"} true invalid_credentials`,
		} {
			if got[want] != 1 {
				t.Errorf("%d of %s", got[want], want)
			}
		}
		if len(got) != 5 {
			t.Errorf("%v", got)
		}
		if err := b.Flush(t.Context()); err != nil || len(stored(t, d)) != 5 {
			t.Errorf("events are recorded twice: %v", err)
		}
	})
}

func TestWhatWaitsIsRecordedOnStop(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := audit.NewBatcher(d, clock.Set(noon), dbtest.Log, nil)
		b.Add(t.Context(), use("a", uuid.New()))
		ctx, stop := context.WithCancel(t.Context())
		stop()
		b.Run(ctx)
		if n := len(stored(t, d)); n != 1 {
			t.Errorf("%d events", n)
		}
	})
}

func TestBeyondABoundEventsAreDroppedAndThoseThatWaitGoOnCounting(t *testing.T) {
	d := dbtest.SQLite(t)
	b := audit.NewBatcher(d, clock.Set(noon), dbtest.Log, nil)
	who := uuid.New()
	for i := range 10_500 {
		b.Add(t.Context(), use(fmt.Sprint(i), who))
	}
	b.Add(t.Context(), use("0", who))
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	list := stored(t, d)
	twice := 0
	for _, r := range list {
		if r.Metadata.String == `{"client_id":"c1","count":2,"scope":"0"}` {
			twice++
		}
	}
	if len(list) != 10_000 || twice != 1 {
		t.Errorf("%d events, %d of them counted twice", len(list), twice)
	}
}

func TestWhatCannotBeRecordedGoesOnWaiting(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := audit.NewBatcher(d, clock.Set(noon), dbtest.Log, nil)
		who := uuid.New()
		b.Add(t.Context(), use("a", who))
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := b.Flush(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("a flush that could not: %v", err)
		}
		b.Add(t.Context(), use("a", who))
		if err := b.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if list := stored(t, d); len(list) != 1 || list[0].Metadata.String != `{"client_id":"c1","count":2,"scope":"a"}` {
			t.Errorf("%+v", list)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	batch := audit.NewBatcher(nil, nil, nil, nil)
	ctx := audit.WithOrigin(b.Context(), origin)
	e := use("orders:read", uuid.New())
	b.ReportAllocs()
	for b.Loop() {
		batch.Add(ctx, e)
	}
}
