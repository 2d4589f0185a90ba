package dbtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db"
)

// Plan tells how the engine would run a query, a line each step. On PostgreSQL
// it is the plan that serves any arguments, which a prepared statement soon gets;
// the tables are looked at first, as its autovacuum would.
func Plan(t testing.TB, d *db.DB, query string, args ...any) string {
	t.Helper()
	if d.Engine() == db.Postgres {
		return planPostgres(t, d, query, args)
	}
	rows, err := d.Read().QueryContext(t.Context(), `EXPLAIN QUERY PLAN `+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var id, parent, unused int
		var step string
		if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
			t.Fatal(err)
		}
		plan.WriteString(step + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan.String()
}

func planPostgres(t testing.TB, d *db.DB, query string, args []any) string {
	t.Helper()
	ctx := t.Context()
	pooled, err := d.Pool().Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	conn := pooled.Hijack() // its settings must not go back to the pool
	defer conn.Close(ctx)
	for _, statement := range []string{`ANALYZE`, `SET plan_cache_mode = force_generic_plan`} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Prepare(ctx, "planned", query); err != nil {
		t.Fatal(err)
	}
	var values []string
	for _, arg := range args {
		if at, ok := arg.(time.Time); ok {
			arg = at.Format(time.RFC3339Nano)
		}
		values = append(values, fmt.Sprintf("'%v'", arg))
	}
	rows, err := conn.Query(ctx, `EXPLAIN (COSTS OFF) EXECUTE planned(`+strings.Join(values, ", ")+`)`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var step string
		if err := rows.Scan(&step); err != nil {
			t.Fatal(err)
		}
		plan.WriteString(step + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan.String()
}
