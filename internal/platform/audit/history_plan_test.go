package audit

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/cursor"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

// What the history costs must not grow with the table, nor with what one person
// has in it: both halves read an index in its order and stop at the limit.
func TestTheHistoryReadsIndexesInTheirOrder(t *testing.T) {
	march := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for month := range 3 {
			if err := EnsurePartitions(t.Context(), d, march.AddDate(0, month, 0)); err != nil {
				t.Fatal(err)
			}
		}
		var people []uuid.UUID
		for range 50 {
			people = append(people, uuid.New())
		}
		for day := range 80 {
			var events []Event
			for i := range 100 {
				events = append(events, Event{Type: SessionRevoked, Actor: people[i%50], TargetType: "user", Target: people[i/2]})
			}
			at := march.AddDate(0, 0, day)
			if err := d.Write(t.Context(), func(tx *db.Tx) error { return Record(t.Context(), tx, at, events...) }); err != nil {
				t.Fatal(err)
			}
		}
		top, err := cursor.Decode("")
		if err != nil {
			t.Fatal(err)
		}
		plan := dbtest.Plan(t, d, pastEvents, people[0], top.At, top.ID, 51, time.Time{})
		wanted := []string{
			"USING INDEX audit_events_actor_history (actor_id=? AND ", "USING INDEX audit_events_target_history (target_id=? AND ",
			"audit_personal_1 (created_at=? AND event_id=?)",
		}
		refused := []string{"SCAN audit", "SCAN p"}
		if d.Engine() == db.Postgres {
			wanted = []string{
				"Index Scan Backward using audit_events_202603_actor_id_created_at_id_idx1", "Index Scan Backward using audit_events_202605_target_id_created_at_id_idx1",
				"Merge Append", "Index Scan using audit_personal_202604_pkey",
			}
			refused = []string{"Seq Scan on audit_events", "Seq Scan on audit_personal_202604", "Bitmap", "Hash Join"} // empty partitions may be scanned
		}
		for _, part := range wanted {
			if !strings.Contains(plan, part) {
				t.Errorf("no %q in\n%s", part, plan)
			}
		}
		for _, part := range refused {
			if strings.Contains(plan, part) {
				t.Errorf("%q in\n%s", part, plan)
			}
		}
		if d.Engine() == db.Postgres {
			below := dbtest.Plan(t, d, pastEvents, people[0], march.AddDate(0, 0, 9), top.ID, 51, time.Time{})
			if !strings.Contains(below, "Subplans Removed: 5") { // April to August
				t.Errorf("partitions above the cursor are read too:\n%s", below)
			}
			since := dbtest.Plan(t, d, pastEvents, people[0], top.At, top.ID, 51, time.Date(2026, 5, 2, 0, 0, 0, 0, time.UTC))
			if !strings.Contains(since, "Subplans Removed: 2") { // March and April
				t.Errorf("partitions too old are read too:\n%s", since)
			}
		}
	})
}
