package db_test

import (
	"database/sql"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

func moments(t *testing.T, d *db.DB) {
	t.Helper()
	kind := map[db.Engine]string{db.SQLite: "TIMESTAMP", db.Postgres: "TIMESTAMPTZ"}[d.Engine()]
	write(t, d, `CREATE TABLE moments (id BIGINT PRIMARY KEY, at `+kind+` NOT NULL, other_at `+kind+`)`)
}

// moment draws a time as clock makes it.
func moment(t *rapid.T, label string) time.Time {
	from, to := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	seconds := rapid.OneOf(
		rapid.Int64Range(from.Unix(), to.Unix()),
		rapid.Int64Range(1767225600, 1767225603), // close together
	).Draw(t, label+" seconds")
	micros := rapid.OneOf(rapid.Int64Range(0, 999_999), rapid.SampledFrom([]int64{0, 1, 10, 100_000, 120_000, 999_999})).Draw(t, label+" micros")
	return time.Unix(seconds, micros*1000).UTC()
}

func TestATimeComesBackAsItWasWritten(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		moments(t, d)
		id := 0
		rapid.Check(t, func(rt *rapid.T) {
			id++
			at := moment(rt, "at")
			other := sql.NullTime{Valid: rapid.Bool().Draw(rt, "set")}
			if other.Valid {
				other.Time = moment(rt, "other")
			}
			var returned, read time.Time
			var returnedOther, readOther sql.NullTime
			err := d.Write(t.Context(), func(tx *db.Tx) error {
				return tx.QueryRowContext(t.Context(),
					`INSERT INTO moments (id, at, other_at) VALUES ($1, $2, $3) RETURNING at, other_at`, id, at, other).Scan(&returned, &returnedOther)
			})
			if err != nil {
				rt.Fatal(err)
			}
			err = d.Read().QueryRowContext(t.Context(),
				`SELECT at, other_at FROM moments WHERE id = $1 AND at = $2 AND at <= $3`, id, at, at).Scan(&read, &readOther)
			if err != nil {
				rt.Fatal(err)
			}
			for way, got := range map[string]time.Time{"RETURNING": returned, "SELECT": read} {
				if got.UTC() != at {
					rt.Errorf("%s gives %v, want %v", way, got.UTC(), at)
				}
			}
			for way, got := range map[string]sql.NullTime{"RETURNING": returnedOther, "SELECT": readOther} {
				if got.Time = got.Time.UTC(); got.Valid != other.Valid || got.Valid && got != other {
					rt.Errorf("%s gives %v, want %v", way, got, other)
				}
			}
		})
	})
}

// Comparisons in SQL are comparisons of what is stored: on SQLite, of text.
func TestTimesSortInSQLAsTheyDoInGo(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		moments(t, d)
		rapid.Check(t, func(rt *rapid.T) {
			a, b := moment(rt, "a"), moment(rt, "b")
			var order int64
			err := d.Write(t.Context(), func(tx *db.Tx) error {
				if _, err := tx.ExecContext(t.Context(), `DELETE FROM moments`); err != nil {
					return err
				}
				if _, err := tx.ExecContext(t.Context(), `INSERT INTO moments (id, at, other_at) VALUES (1, $1, $2)`, a, b); err != nil {
					return err
				}
				return tx.QueryRowContext(t.Context(),
					`SELECT CASE WHEN at < other_at THEN -1 WHEN at > other_at THEN 1 ELSE 0 END FROM moments WHERE at = $1`, a).Scan(&order)
			})
			if err != nil {
				rt.Fatal(err)
			}
			if int(order) != a.Compare(b) {
				rt.Errorf("SQL orders %v and %v as %d, Go as %d", a, b, order, a.Compare(b))
			}
		})
	})
}

func TestSQLiteStoresTimesAsTextThatSorts(t *testing.T) {
	d := dbtest.SQLite(t)
	rapid.Check(t, func(rt *rapid.T) {
		at := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) time.Time { return moment(t, "at") }), 2, 20).Draw(rt, "at")
		var list []string
		for _, a := range at {
			var text string
			if err := d.Read().QueryRowContext(t.Context(), `SELECT '' || CAST($1 AS TEXT) || '|'`, a).Scan(&text); err != nil {
				rt.Fatal(err)
			}
			list = append(list, strings.TrimSuffix(text, "|"))
		}
		slices.SortFunc(at, time.Time.Compare)
		slices.Sort(list)
		for i, text := range list {
			parsed, err := time.Parse("2006-01-02 15:04:05.999999-07:00", text)
			if err != nil || !parsed.Equal(at[i]) {
				rt.Fatalf("at place %d stands %s, want %v (%v)", i, text, at[i], err)
			}
		}
	})
}

// Whoever forgets .UTC() or the clock must not break the order of rows.
func TestATimeOfAnotherZoneIsStoredAsItsMoment(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		moments(t, d)
		noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		for id, zone := range []int{0, -11, 5, 14} {
			write(t, d, `INSERT INTO moments (id, at) VALUES ($1, $2)`, id, noon.Add(time.Duration(id)*time.Minute).In(time.FixedZone("", zone*3600)))
		}
		if n := count(t, d, `SELECT COUNT(*) FROM moments WHERE at >= $1 AND at <= $2`, noon, noon.Add(3*time.Minute)); n != 4 {
			t.Errorf("%d of 4 moments are between the first and the last", n)
		}
	})
}

func TestAggregatesOfTimesAreTimes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		moments(t, d)
		var none sql.NullTime
		if err := d.Read().QueryRowContext(t.Context(), `SELECT MAX(at) FROM moments`).Scan(&none); err != nil || none.Valid {
			t.Errorf("MAX of nothing: %v, %v", none, err)
		}
		now := (*clock.Clock)(nil).Now()
		write(t, d, `INSERT INTO moments (id, at) VALUES (1, $1)`, now)
		var latest, either time.Time
		err := d.Read().QueryRowContext(t.Context(), `SELECT MAX(at), COALESCE(MAX(other_at), MIN(at)) FROM moments`).Scan(&latest, &either)
		if err != nil || latest.UTC() != now || either.UTC() != now {
			t.Errorf("got %v and %v, want %v (%v)", latest, either, now, err)
		}
	})
}
