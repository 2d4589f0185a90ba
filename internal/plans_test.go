package internal_test

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

// No statement may read the whole of a table that grows. Every SQL text of the
// program (statements_test.go) is planned on both engines, so that a new one is
// looked at without anybody naming it.

// small are the tables whose rows do not become more with use.
var small = map[string]string{
	"signing_keys":      "a handful",
	"audit_keys":        "one, and another each time a secret is lost",
	"webhook_endpoints": "made by operators, one by one",
	"periodic":          "a row for each kind of periodic work",
	"dev_secrets":       "a row for each secret",
	"goose_db_version":  "a row for each migration",
	"river_migration":   "a row for each migration",
	"river_leader":      "one row",
	"river_queue":       "one row",
	"sqlite_master":     "the schema",
}

// mayScan are the statements that read a whole table or index, by function and
// what they read, each with the reason why that is right.
var mayScan = map[string]string{
	"platform/audit.strangers audit_events": "authd audit verify: what is from before the chain is counted, once",
	"platform/audit.strangers audit_outbox": "likewise; what waits is few",

	"core/webhook.candidates webhook_deliveries": "the text of SQLite, which looks the rows up; PostgreSQL has one of its own",

	"platform/audit.CountRows audit_events":          "only the default partition, which as a rule is empty; the count ends at its limit",
	"platform/audit.InDefaultPartition audit_events": "as a rule it is empty, and the count ends at 10,000",
	"flow/account.Prune email_changes":               "hourly, and what it leaves is a few days of changes",
	"core/user.AnyAdmin users_admins":                "the index holds admins only",
	"core/user.LastAdmin users_admins":               "the index holds admins only",
	"core/user.StillAdmin users_admins":              "the index holds admins only",
	"platform/jobs.Drop river_job":                   "erasure only; finished jobs are gone after an hour",
	"platform/jobs.hasten river_job":                 "once a minute; finished jobs are gone after an hour",
	"platform/jobs.Waiting river_job":                "for the metrics; finished jobs are gone after an hour",
	"platform/mail.List mailbox":                     "the development mailbox",
}

// narrow are the statements that look for what lies beyond a bound. In general
// that may be any part of a table, but not for the bounds that they are given:
// PostgreSQL makes such a plan anew each time while that is the cheaper one.
var narrow = map[string]string{
	"platform/audit.PurgeRows":         `'2000-01-01', 1000`,
	"platform/audit.PurgeEntries":      `1, 1000`,
	"platform/audit.CountRows":         `'2000-01-01', 1000`,
	"platform/audit.CountEntries":      `1, 1000`,
	"core/session.CountEnded":          `'00000000-0000-7000-8000-000000000000', '2000-01-01', 1000`,
	"core/webhook.CountDeliveries":     `'2000-01-01', 1000`,
	"core/webhook.PurgeDeliveries":     `'2000-01-01', 1000`,
	"core/risk.Prune":                  `'2000-01-01'`,
	"core/stepup.Prune":                `'2000-01-01'`,
	"method/otp.Prune":                 `'2000-01-01'`,
	"platform/revocation.Prune":        `'2000-01-01'`,
	"platform/revocation.readPostgres": `'999999999'`,
}

func TestNoStatementReadsAWholeTableThatGrows(t *testing.T) {
	found := statements(t)
	needed, engines := map[string]bool{}, 0
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		p := newPlanner(t, d)
		engines++
		seen := 0
		for _, s := range found {
			if !speaks(s.text, d.Engine()) || !planned.MatchString(s.text) {
				continue
			}
			seen++
			scanned, plan := p.scans(s.text, narrow[s.function])
			for _, name := range scanned {
				if key := s.function + " " + name; mayScan[key] != "" {
					needed[key] = true
					continue
				}
				t.Errorf("%s: reads the whole of %s, which grows: give it an index, or name %q in mayScan with the reason\n%s\n%s",
					s.place, name, s.function+" "+name, strings.TrimSpace(s.text), plan)
			}
		}
		if seen < leastStatements {
			t.Errorf("only %d of %d texts were planned", seen, len(found))
		}
	})
	for key := range mayScan {
		if !needed[key] && engines == 2 && !t.Failed() {
			t.Errorf("mayScan names %q, which neither engine does: delete it", key)
		}
	}
	for function := range narrow {
		if !slices.ContainsFunc(found, func(s statement) bool { return s.function == function }) {
			t.Errorf("narrow names %s, which has no statement: delete it", function)
		}
	}
}

// A planner that found nothing would let everything pass.
func TestAStatementThatReadsAWholeTableIsFound(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		p := newPlanner(t, d)
		for text, want := range map[string]string{
			`SELECT id FROM users WHERE email = $1`:                                                     "users",
			`SELECT COUNT(*) FROM users WHERE created_at > $1`:                                          "users", // the index has live ones only
			`UPDATE sessions SET revoked_at = $1 WHERE expires_at < $2`:                                 "sessions",
			`DELETE FROM audit_personal WHERE event_id = $1`:                                            "audit_personal",
			`SELECT 1 FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.ip_address = $1`:         "sessions",
			`SELECT 1 FROM users WHERE id = $1 AND EXISTS (SELECT 1 FROM seen WHERE value = $2)`:        "seen",
			`INSERT INTO periodic (name, next_at) SELECT user_agent, $1 FROM sessions WHERE branch = 1`: "sessions",
			`SELECT COUNT(*) FROM sessions WHERE created_at > $1`:                                       "sessions",
			`SELECT id FROM users WHERE id = $1`:                                                        "",
			`SELECT id FROM audit_events WHERE actor_id = $1 ORDER BY created_at, id LIMIT 5`:           "",
			`SELECT kid FROM signing_keys`:                                                              "",
		} {
			scanned, plan := p.scans(text, "")
			if want == "" && len(scanned) > 0 || want != "" && !slices.ContainsFunc(scanned, func(name string) bool { return strings.HasPrefix(name, want) || name == "s" }) {
				t.Errorf("%s: %q is read as a whole, want %q\n%s", text, scanned, want, plan)
			}
		}
	})
}

// planner asks an engine how it would run a text.
type planner struct {
	t    *testing.T
	d    *db.DB
	conn *pgx.Conn // PostgreSQL only
}

func newPlanner(t *testing.T, d *db.DB) *planner {
	t.Helper()
	p := &planner{t, d, nil}
	if d.Engine() != db.Postgres {
		return p // it plans by the schema, as if every table were large
	}
	pooled, err := d.Pool().Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.conn = pooled.Hijack() // its settings must not go back to the pool
	t.Cleanup(func() { p.conn.Close(context.Background()) })
	p.grow()
	return p
}

// scans lists the tables and indexes of which a text reads the whole, but for
// small ones.
func (p *planner) scans(text, arguments string) (scanned []string, plan string) {
	p.t.Helper()
	if p.d.Engine() == db.Postgres {
		scanned, plan = p.scansPostgres(text, arguments)
	} else {
		scanned, plan = p.scansSQLite(text)
	}
	return slices.DeleteFunc(scanned, func(name string) bool { return small[name] != "" }), plan
}

var (
	placeholder = regexp.MustCompile(`\$\d+`)
	sqliteScan  = regexp.MustCompile(`^SCAN (\S+)(?: USING (?:COVERING )?INDEX (\S+))?`)
	sqliteAside = regexp.MustCompile(`^(?:CO-ROUTINE|MATERIALIZE) (\S+)`)
)

func (p *planner) scansSQLite(text string) (scanned []string, plan string) {
	p.t.Helper()
	most := 0
	for _, name := range placeholder.FindAllString(text, -1) {
		var n int
		fmt.Sscanf(name, "$%d", &n)
		most = max(most, n)
	}
	rows, err := p.d.Writer().QueryContext(p.t.Context(), `EXPLAIN QUERY PLAN `+text, make([]any, most)...)
	if err != nil {
		p.t.Fatalf("%v\n%s", err, text)
	}
	defer rows.Close()
	aside := map[string]bool{"CONSTANT": true} // what a scan may name that is no table
	for rows.Next() {
		var id, parent, unused int
		var step string
		if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
			p.t.Fatal(err)
		}
		plan += step + "\n"
		if m := sqliteAside.FindStringSubmatch(step); m != nil {
			aside[m[1]] = true
		}
		switch m := sqliteScan.FindStringSubmatch(step); {
		case m != nil && m[2] != "" && small[m[1]] == "":
			scanned = append(scanned, m[2])
		case m != nil && m[2] == "" && !aside[m[1]]:
			scanned = append(scanned, m[1])
		case strings.Contains(step, "AUTOMATIC"): // an index made for this one query
			scanned = append(scanned, step)
		}
	}
	if err := rows.Err(); err != nil {
		p.t.Fatal(err)
	}
	return scanned, plan
}

// node is a step of a plan of PostgreSQL.
type node struct {
	Type     string `json:"Node Type"`
	Relation string `json:"Relation Name"`
	Index    string `json:"Index Name"`
	Cond     string `json:"Index Cond"`
	Plans    []node
}

func (n node) scans() (scanned []string) {
	switch {
	case strings.HasPrefix(n.Relation, "pg_"): // the schema
	case n.Type == "Seq Scan":
		scanned = append(scanned, strings.TrimSuffix(n.Relation, "_default")) // of a partitioned one, which has no months here
	case n.Index != "" && n.Cond == "":
		scanned = append(scanned, n.Index)
	}
	for _, inner := range n.Plans {
		scanned = append(scanned, inner.scans()...)
	}
	return scanned
}

func (n node) print(indent string) string {
	text := fmt.Sprintln(indent+n.Type, n.Relation, n.Index, n.Cond)
	for _, inner := range n.Plans {
		text += inner.print(indent + "  ")
	}
	return text
}

// scansPostgres takes the plan for any arguments, or where some are given the
// one that the server has settled on after a few runs with them.
func (p *planner) scansPostgres(text, arguments string) (scanned []string, plan string) {
	p.t.Helper()
	ctx := p.t.Context()
	statement, err := p.conn.Prepare(ctx, "planned", text)
	if err != nil {
		p.t.Fatalf("%v\n%s", err, text)
	}
	defer p.conn.Deallocate(ctx, "planned")
	mode, runs := "auto", 8
	if arguments == "" {
		mode, runs = "force_generic_plan", 1
		arguments = strings.TrimPrefix(strings.Repeat(", NULL", len(statement.ParamOIDs)), ", ")
	}
	execute := `EXPLAIN (FORMAT JSON, COSTS OFF) EXECUTE planned`
	if arguments != "" {
		execute += "(" + arguments + ")"
	}
	p.exec(`SET plan_cache_mode = ` + mode)
	var encoded string
	for range runs {
		if err := p.conn.QueryRow(ctx, execute).Scan(&encoded); err != nil {
			p.t.Fatalf("%v\n%s", err, text)
		}
	}
	var steps []struct{ Plan node }
	if err := json.Unmarshal([]byte(encoded), &steps); err != nil {
		p.t.Fatal(err)
	}
	for _, s := range steps {
		scanned, plan = append(scanned, s.Plan.scans()...), plan+s.Plan.print("")
	}
	return scanned, plan
}

func (p *planner) exec(statement string) {
	p.t.Helper()
	if _, err := p.conn.Exec(p.t.Context(), statement); err != nil {
		p.t.Fatalf("%v\n%s", err, statement)
	}
}

func (p *planner) column(query string) []string {
	p.t.Helper()
	rows, err := p.conn.Query(p.t.Context(), query)
	if err != nil {
		p.t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		p.t.Fatal(err)
	}
	return list
}

// grow gives every table that grows rows of anything, as PostgreSQL reads small
// tables as a whole whatever their indexes. What rows must not be is put aside.
func (p *planner) grow() {
	p.t.Helper()
	for _, drop := range p.column(`SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', CAST(conrelid AS regclass), conname)
		FROM pg_constraint WHERE contype IN ('c', 'f') AND conrelid <> 0 AND connamespace = CAST('public' AS regnamespace)`) {
		p.exec(drop)
	}
	for _, table := range p.column(`SELECT relname FROM pg_class
		WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = CAST('public' AS regnamespace)`) {
		if small[table] == "" {
			p.exec(p.filling(table))
		}
	}
	p.exec(`ANALYZE`)
}

// filling is the INSERT for a table: other values in every row, and nothing in
// half of the rows where a column may be empty.
func (p *planner) filling(table string) string {
	p.t.Helper()
	rows, err := p.conn.Query(p.t.Context(), `SELECT column_name, data_type, is_nullable = 'YES' FROM information_schema.columns
		WHERE table_schema = 'public' AND table_name = $1 AND column_default IS NULL AND is_identity = 'NO'`, table)
	if err != nil {
		p.t.Fatal(err)
	}
	defer rows.Close()
	var columns, values []string
	for rows.Next() {
		var column, kind string
		var empty bool
		if err := rows.Scan(&column, &kind, &empty); err != nil {
			p.t.Fatal(err)
		}
		value := map[string]string{
			"uuid": `gen_random_uuid()`, "text": `'v' || n`, "bigint": `n`, "boolean": `n % 3 > 0`, "jsonb": `CAST('{}' AS JSONB)`,
			"bytea": `CAST('v' || n AS BYTEA)`, "timestamp with time zone": `now() + n * INTERVAL '1 second'`,
		}[kind]
		switch {
		case value == "" && empty:
			continue
		case value == "":
			p.t.Fatalf("%s.%s: no value is known for the type %s: add one here", table, column, kind)
		case empty:
			value = `CASE WHEN n % 2 = 0 THEN ` + value + ` END`
		}
		columns, values = append(columns, column), append(values, value)
	}
	if err := rows.Err(); err != nil {
		p.t.Fatal(err)
	}
	return fmt.Sprintf(`INSERT INTO %s (%s) SELECT %s FROM generate_series(1, 5000) n`, table, strings.Join(columns, ", "), strings.Join(values, ", "))
}
