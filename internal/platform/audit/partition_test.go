package audit_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// partitions lists them without the default ones.
func partitions(t *testing.T, d *db.DB) (list []string) {
	t.Helper()
	rows, err := d.Read().QueryContext(t.Context(), `
		SELECT c.relname FROM pg_class c WHERE c.relispartition AND c.relkind = 'r' AND c.relname NOT LIKE '%default'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// months is the partitions of both tables from a month on.
func months(from time.Time, n int) (list []string) {
	for i := range n {
		month := time.Date(from.Year(), from.Month()+time.Month(i), 1, 0, 0, 0, 0, time.UTC).Format("200601")
		list = append(list, "audit_events_"+month, "audit_personal_"+month)
	}
	slices.Sort(list)
	return list
}

// homeOf is the partition that holds the rows of a moment.
func homeOf(t *testing.T, d *db.DB, table string, at time.Time) (name string) {
	t.Helper()
	err := d.Read().QueryRowContext(t.Context(), `SELECT CAST(CAST(tableoid AS regclass) AS TEXT) FROM `+table+` WHERE created_at = $1`, at).Scan(&name)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestPartitionsReachThreeMonthsAhead(t *testing.T) {
	d := dbtest.Postgres(t)
	december := time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC)
	for range 2 { // the second finds nothing to do
		if err := audit.EnsurePartitions(t.Context(), d, december); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(months(december, 4), partitions(t, d)); diff != "" {
			t.Error(diff)
		}
	}
	if err := audit.EnsurePartitions(t.Context(), d, december.Add(time.Second)); err != nil { // New Year
		t.Fatal(err)
	}
	if diff := cmp.Diff(months(december, 5), partitions(t, d)); diff != "" {
		t.Error(diff)
	}
}

func TestPartitionsOfAnyZoneAreMonthsOfUTC(t *testing.T) {
	d := dbtest.Postgres(t)
	stillFebruary := time.Date(2026, 3, 1, 5, 0, 0, 0, time.FixedZone("", 6*3600))
	if err := audit.EnsurePartitions(t.Context(), d, stillFebruary); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(months(stillFebruary.UTC(), 4), partitions(t, d)); diff != "" {
		t.Error(diff)
	}
}

func TestTenReplicasMakePartitionsAtOnce(t *testing.T) {
	url := dbtest.PostgresURL(t)
	var all sync.WaitGroup
	for range 10 {
		d := dbtest.Open(t, url)
		all.Go(func() {
			if err := audit.EnsurePartitions(t.Context(), d, noon); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if diff := cmp.Diff(months(noon, 4), partitions(t, dbtest.Open(t, url))); diff != "" {
		t.Error(diff)
	}
}

func TestARowGoesToItsMonthOrToTheDefaultPartition(t *testing.T) {
	d := dbtest.Postgres(t)
	if err := audit.EnsurePartitions(t.Context(), d, noon); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		at   time.Time
		want string
	}{
		{"this month", noon, "202603"},
		{"its first moment", time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), "202603"},
		{"its last moment", time.Date(2026, 3, 31, 23, 59, 59, 999999000, time.UTC), "202603"},
		{"the last month that is ready", time.Date(2026, 6, 30, 0, 0, 0, 0, time.UTC), "202606"},
		{"far ahead", time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC), "default"},
		{"long ago", time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), "default"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := record(t.Context(), d, tt.at, audit.Event{Type: audit.LoginSuccess}); err != nil {
				t.Fatal(err)
			}
			for _, table := range []string{"audit_events", "audit_personal"} {
				if got := homeOf(t, d, table, tt.at); got != table+"_"+tt.want {
					t.Errorf("it is in %s, want %s_%s", got, table, tt.want)
				}
			}
		})
	}
	if list := stored(t, d); len(list) != len(tests) {
		t.Errorf("%d of %d events are read through the parent", len(list), len(tests))
	}
}

// A month whose rows are in the default partition already cannot get one of its
// own. That must not cost the months after it theirs.
func TestAMonthThatCannotBeMadeDoesNotStopTheOthers(t *testing.T) {
	d := dbtest.Postgres(t)
	if err := record(t.Context(), d, noon, audit.Event{Type: audit.LoginSuccess}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := audit.EnsurePartitions(t.Context(), d, noon); err == nil {
			t.Error("no error, and nobody hears of it")
		}
		if diff := cmp.Diff(months(noon.AddDate(0, 1, 0), 3), partitions(t, d)); diff != "" {
			t.Error(diff)
		}
	}
	if err := record(t.Context(), d, noon.Add(time.Minute), audit.Event{Type: audit.LoginSuccess}); err != nil {
		t.Errorf("events of that month are still recorded: %v", err)
	}
}

func TestPartitionsAreMadeWhileOthersRecord(t *testing.T) {
	d := dbtest.Postgres(t)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for j := range 20 {
				at := noon.AddDate(1, 0, 0).Add(time.Duration(i*100+j) * time.Second)
				if err := record(t.Context(), d, at, audit.Event{Type: audit.LoginSuccess}); err != nil {
					t.Error(err)
				}
			}
		})
		all.Go(func() {
			if err := audit.EnsurePartitions(t.Context(), d, noon.AddDate(0, -4*i, 0)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if list := stored(t, d); len(list) != 80 {
		t.Errorf("%d of 80 events are there", len(list))
	}
}

func TestSQLiteHasNoPartitions(t *testing.T) {
	d := dbtest.SQLite(t)
	if err := audit.EnsurePartitions(t.Context(), d, noon); err != nil {
		t.Error(err)
	}
	if err := record(t.Context(), d, noon.AddDate(20, 0, 0), audit.Event{Type: audit.LoginSuccess}); err != nil {
		t.Error(err)
	}
}
