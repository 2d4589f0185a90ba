package internal_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

// Every SQL text of the program is prepared on both engines with a migrated
// database, so a misspelt column fails here with file and line. Texts are found
// by type: the query argument of database/sql, pgx and db.Conn, and of any
// function of ours that takes a parameter named query (resolve_test.go).

// markers tell a text that only one engine understands, where the function
// chooses by Engine().
var markers = []struct {
	pattern string
	engine  db.Engine
	why     string
}{
	{`\bpg_`, db.Postgres, "functions and views of the server"},
	{`\bxid8\b`, db.Postgres, "transaction ids order the revocation feed"},
	{`\b(current_setting|set_config|clock_timestamp)\(`, db.Postgres, "what the server says of itself"},
	{`^\s*LISTEN\b`, db.Postgres, "wakes the tail of the revocation feed"},
	{`\bFOR (NO KEY UPDATE|SHARE)\b`, db.Postgres, "SQLite has one writer and no row locks"},
	{`\bSKIP LOCKED\b`, db.Postgres, "SQLite has one writer and no row locks"},
	{`\bLATERAL\b`, db.Postgres, "SQLite joins by nested loops anyway"},
	{`\baudit_(events|personal)_default\b`, db.Postgres, "SQLite has no partitions"},
	{`\bAS \(\s*(INSERT|UPDATE|DELETE)\b`, db.Postgres, "one round trip; SQLite has none to save"},
	{`\bsqlite_(master|version)\b`, db.SQLite, "what tables there are, and which SQLite this is"},
	{`\bjson_extract\(`, db.SQLite, "PostgreSQL has an operator for it"},
	{`^\s*PRAGMA\b`, db.SQLite, "settings of a connection"},
}

// unresolvable are the functions that make a text at run time, each with the
// reason why that is right.
var unresolvable = map[string]string{
	"platform/audit.ensurePartition": "DDL takes no parameters, and names partitions after months; the audit tests run it",
	"platform/audit.dropPartition":   "likewise",
}

// printed are the functions whose texts are shown to operators and never run
// here; an e2e test runs what migrate up --sql prints.
var printed = map[string]bool{"foundation/db.historyTable": true, "platform/jobs.Pending": true}

// leastStatements guards against a test that finds nothing: a little below what
// there is.
const leastStatements = 30

func TestEveryStatementPreparesOnBothEngines(t *testing.T) {
	found := statements(t)
	if len(found) < leastStatements {
		t.Fatalf("only %d SQL texts were found, expected %d or more", len(found), leastStatements)
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		prepared := 0
		for _, s := range found {
			if !speaks(s.text, d.Engine()) {
				continue
			}
			prepared++
			if err := prepare(t.Context(), d, s.text); err != nil {
				t.Errorf("%s: %v\n%s", s.place, err, strings.TrimSpace(s.text))
			}
		}
		if prepared < leastStatements {
			t.Errorf("only %d of %d texts are for %s", prepared, len(found), d.Engine())
		}
	})
}

// speaks reports whether the text is for this engine.
func speaks(text string, engine db.Engine) bool {
	for _, m := range markers {
		if m.engine != engine && regexp.MustCompile(m.pattern).MatchString(text) {
			return false
		}
	}
	return true
}

// prepare has the engine read the text, and PostgreSQL plan it too: only then
// does it look for the index of ON CONFLICT.
func prepare(ctx context.Context, d *db.DB, text string) error {
	if d.Engine() == db.SQLite {
		statement, err := d.Writer().PrepareContext(ctx, text)
		if err != nil {
			return err
		}
		return statement.Close()
	}
	conn, err := d.Pool().Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	statement, err := conn.Conn().Prepare(ctx, "tried", text)
	if err != nil {
		return err
	}
	defer conn.Conn().Deallocate(ctx, "tried")
	if !planned.MatchString(text) {
		return nil
	}
	execute := "EXPLAIN EXECUTE tried"
	if n := len(statement.ParamOIDs); n > 0 {
		execute += "(" + strings.TrimPrefix(strings.Repeat(", NULL", n), ", ") + ")"
	}
	_, err = conn.Exec(ctx, execute)
	return err
}

var planned = regexp.MustCompile(`^\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b`)

// A driver that prepared lazily would let everything pass.
func TestAWrongStatementDoesNotPrepare(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for name, text := range map[string]string{
			"a column that is not there": `SELECT emial FROM users WHERE id = $1`,
			"a table that is not there":  `SELECT 1 FROM user_accounts`,
			"too few values":             `INSERT INTO periodic (name, next_at) VALUES ($1)`,
			"a conflict without index":   `INSERT INTO users (id) VALUES ($1) ON CONFLICT (role) DO NOTHING`,
		} {
			if err := prepare(t.Context(), d, text); err == nil {
				t.Errorf("%s: prepared", name)
			}
		}
	})
}

var looksLikeSQL = regexp.MustCompile(`^\s*(?:SELECT .* FROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM|WITH \w+ AS \(|CREATE (?:UNIQUE )?(?:TABLE|INDEX)|ALTER TABLE|DROP TABLE)\b`)

func TestNoStatementGoesUnseen(t *testing.T) {
	found := statements(t)
	for _, s := range program(t) {
		for _, literal := range literals(s) {
			if !looksLikeSQL.MatchString(literal.text) || isKnown(found, literal.text) || unresolvable[literal.function] != "" || printed[literal.function] {
				continue
			}
			t.Errorf("%s: this looks like SQL and no query was found that runs it, so nothing checks it:\n%s", literal.place, strings.TrimSpace(literal.text))
		}
	}
}

func isKnown(found []statement, text string) bool {
	for _, s := range found {
		if strings.Contains(s.text, text) {
			return true
		}
	}
	return false
}

// The tests of resolve: what it must find and what it must refuse.
func TestStatementsAreFoundAsTheyAreWritten(t *testing.T) {
	const head = `package p
		import ("context"; "database/sql"; "fmt"; "` + module + `/internal/foundation/db")
		const columns = "id, email"
		var table = "users"
		var _ context.Context
		var _ = fmt.Sprint
		var _ sql.NullString
		var _ db.Engine
		`
	tests := []struct {
		name, code string
		want       []string // texts
		refused    string
	}{
		{"a literal", "func f(ctx context.Context, c db.Conn) { c.QueryContext(ctx, `SELECT 1`) }", []string{"SELECT 1"}, ""},
		{"a literal on a transaction", "func f(ctx context.Context, tx *db.Tx) { tx.ExecContext(ctx, `SELECT 1`) }", []string{"SELECT 1"}, ""},
		{"a literal on a pool, without context", "func f(d *sql.DB) { d.Exec(`SELECT 1`) }", []string{"SELECT 1"}, ""},
		{"literals and constants joined", "func f(ctx context.Context, c db.Conn) { c.QueryRowContext(ctx, `SELECT `+columns+` FROM users`) }", []string{"SELECT id, email FROM users"}, ""},
		{"rows of placeholders", "func f(ctx context.Context, c db.Conn, n int) { c.ExecContext(ctx, `INSERT INTO t VALUES `+db.Values(n, 2)) }", []string{"INSERT INTO t VALUES ($1, $2)"}, ""},
		{"placeholders after others", "func f(ctx context.Context, c db.Conn, n int) { c.ExecContext(ctx, `INSERT INTO t VALUES `+db.ValuesAfter(3, n, 2)) }", []string{"INSERT INTO t VALUES ($4, $5)"}, ""},
		{"one of two texts", "func f(ctx context.Context, tx *db.Tx) { q := `SELECT 1`; if tx.Engine() == db.Postgres { q = `SELECT 2` }; tx.ExecContext(ctx, q) }", []string{"SELECT 1", "SELECT 2"}, ""},
		{"handed on by a function with a parameter named query", "func f(ctx context.Context, c db.Conn, query string) { c.ExecContext(ctx, query) }; func g(ctx context.Context, c db.Conn) { f(ctx, c, `SELECT 1`) }", []string{"SELECT 1"}, ""},
		{"a method kept in a variable", "func f(ctx context.Context, c db.Conn) { run := c.ExecContext; run(ctx, `SELECT 1`) }", []string{"SELECT 1"}, "as a value"},
		{"a text made by Sprintf", "func f(ctx context.Context, c db.Conn) { c.ExecContext(ctx, fmt.Sprintf(`SELECT %d`, 1)) }", nil, "cannot be read"},
		{"a text in a global variable", "func f(ctx context.Context, c db.Conn) { c.ExecContext(ctx, `SELECT id FROM `+table) }", nil, "table"},
		{"a text that grows", "func f(ctx context.Context, c db.Conn) { q := `SELECT 1`; q += ` LIMIT 1`; c.ExecContext(ctx, q) }", nil, "q"},
		{"columns counted at run time", "func f(ctx context.Context, c db.Conn, n int) { c.ExecContext(ctx, `INSERT INTO t VALUES `+db.Values(1, n)) }", nil, "columns"},
		{"a parameter of another name", "func f(ctx context.Context, c db.Conn, text string) { c.ExecContext(ctx, text) }", nil, "text"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found, refused := resolveCode(t, head+tt.code)
			var got []string
			for _, s := range found {
				got = append(got, s.text)
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if tt.refused == "" && len(refused) > 0 || tt.refused != "" && !strings.Contains(fmt.Sprint(refused), tt.refused) {
				t.Errorf("refused: %v, want %q", refused, tt.refused)
			}
		})
	}
}
