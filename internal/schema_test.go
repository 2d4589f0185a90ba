package internal_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

// A schema is what both engines must agree on, in the words of SQLite.
type schema map[string]*table

type table struct {
	Columns    map[string]column
	PrimaryKey []string
	Indexes    map[string]string // name, or "constraint" for a UNIQUE column → definition
	References []string
	Checks     []string // the words that each CHECK names, sorted
}

type column struct {
	Type    string
	NotNull bool
}

// sqliteType is the type on SQLite of a column on PostgreSQL. An identity column
// is INTEGER PRIMARY KEY AUTOINCREMENT there.
var sqliteType = map[string]string{
	"uuid":                     "TEXT",
	"text":                     "TEXT",
	"timestamp with time zone": "TIMESTAMP",
	"bytea":                    "BYTEA",
	"boolean":                  "BOOLEAN",
	"bigint":                   "BIGINT",
	"xid8":                     "BIGINT",
	"bigint identity":          "INTEGER AUTOINCREMENT",
}

// onlyPostgres are indexes that SQLite need not have, each with the reason.
var onlyPostgres = map[string]string{
	"users.users_email_trgm":      "SQLite has no trigrams, and its tables are small",
	"revocations.revocations_xid": "SQLite has one writer, so seq orders the commits and is the primary key",
}

func TestBothEnginesHaveTheSameSchema(t *testing.T) {
	postgres, sqlite := postgresSchema(t, dbtest.Postgres(t)), sqliteSchema(t, dbtest.SQLite(t))
	if len(postgres) < 10 {
		t.Fatalf("only %d tables were found", len(postgres))
	}
	for name, why := range onlyPostgres {
		of, index, _ := strings.Cut(name, ".")
		if postgres[of] == nil || postgres[of].Indexes[index] == "" {
			t.Errorf("onlyPostgres names %s (%s), which is not there: delete it", name, why)
			continue
		}
		delete(postgres[of].Indexes, index)
	}
	if diff := cmp.Diff(postgres, sqlite); diff != "" {
		t.Errorf("the migrated schemas differ (- PostgreSQL, + SQLite):\n%s", diff)
	}
}

func TestMigrationsComeInPairs(t *testing.T) {
	names := func(engine string) []string {
		entries, err := os.ReadDir(filepath.Join("foundation/db/migrations", engine))
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, e := range entries {
			if !regexp.MustCompile(`^\d{4}_[a-z_]+\.sql$`).MatchString(e.Name()) {
				t.Errorf("%s/%s is not named like 0001_main.sql", engine, e.Name())
			}
			list = append(list, e.Name())
		}
		return list
	}
	if diff := cmp.Diff(names("postgres"), names("sqlite")); diff != "" {
		t.Errorf("a migration has one file for each engine, of one name (- PostgreSQL, + SQLite):\n%s", diff)
	}
}

// ours are the tables that our migrations make.
func ours(name string) bool {
	return !strings.HasPrefix(name, "river_") && !strings.HasPrefix(name, "goose_") && !strings.HasPrefix(name, "sqlite_")
}

// each runs a query and calls row for every row; all columns are text.
func each(t *testing.T, d *db.DB, query string, args []any, row func(v []string)) {
	t.Helper()
	rows, err := d.Read().QueryContext(context.Background(), query, args...)
	if err != nil {
		t.Fatalf("%v: %s", err, query)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatalf("%v: %s", err, query)
		}
		var v []string
		for _, value := range values {
			v = append(v, value.String)
		}
		row(v)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

func newTable() *table {
	return &table{Columns: map[string]column{}, Indexes: map[string]string{}}
}

func postgresSchema(t *testing.T, d *db.DB) schema {
	s := schema{}
	each(t, d, `
		SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attidentity <> '' THEN ' identity' ELSE '' END,
			CASE WHEN a.attnotnull THEN 'not null' ELSE '' END
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND c.relkind IN ('r', 'p') AND NOT c.relispartition`,
		nil, func(v []string) {
			if !ours(v[0]) {
				return
			}
			if s[v[0]] == nil {
				s[v[0]] = newTable()
			}
			kind, known := sqliteType[v[2]]
			if !known {
				t.Errorf("%s.%s is %s, which sqliteType does not know: say what it is on SQLite", v[0], v[1], v[2])
			}
			s[v[0]].Columns[v[1]] = column{kind, v[3] != ""}
		})
	each(t, d, `
		SELECT c.relname, i.relname, pg_get_indexdef(i.oid), CASE WHEN x.indisprimary THEN 'primary' ELSE '' END, COALESCE(k.conname, '')
		FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid
		LEFT JOIN pg_constraint k ON k.conindid = i.oid AND k.contype = 'u'
		WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND NOT c.relispartition`, nil, func(v []string) {
		of := s[v[0]]
		if of == nil {
			return // not ours
		}
		if onlyPostgres[v[0]+"."+v[1]] != "" {
			of.Indexes[v[1]] = v[2] // not compared
			return
		}
		switch definition := indexDefinition(t, v[2]); {
		case v[3] != "":
			of.PrimaryKey = columnsOf(definition)
		case v[4] != "":
			of.Indexes["constraint "+definition] = definition
		default:
			of.Indexes[v[1]] = definition
		}
	})
	each(t, d, `
		SELECT c.relname, k.contype, pg_get_constraintdef(k.oid) FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
		WHERE k.contype IN ('f', 'c') AND k.conparentid = 0`, nil, func(v []string) {
		switch of := s[v[0]]; {
		case of == nil:
		case v[1] == "f":
			of.References = append(of.References, v[2])
		default:
			of.Checks = append(of.Checks, wordsOf(v[2]))
		}
	})
	return s.sorted()
}

func sqliteSchema(t *testing.T, d *db.DB) schema {
	s, texts := schema{}, map[string]string{}
	each(t, d, `SELECT name, sql FROM sqlite_master WHERE type = 'table'`, nil, func(v []string) {
		if ours(v[0]) {
			s[v[0]], texts[v[0]] = newTable(), v[1]
		}
	})
	for name, of := range s {
		each(t, d, `SELECT name, type, "notnull", pk FROM pragma_table_info($1) ORDER BY pk`, []any{name}, func(v []string) {
			c := column{v[1], v[2] != "0" || v[3] != "0"} // a key holds no NULL in what we write
			if regexp.MustCompile(`(?m)^\s*` + v[0] + `\s+INTEGER PRIMARY KEY AUTOINCREMENT`).MatchString(texts[name]) {
				c.Type = "INTEGER AUTOINCREMENT"
			}
			of.Columns[v[0]] = c
			if v[3] != "0" {
				of.PrimaryKey = append(of.PrimaryKey, v[0])
			}
		})
		each(t, d, `
			SELECT l.name, l."unique", l.origin, COALESCE(m.sql, ''),
				(SELECT group_concat(name, ', ') FROM (SELECT name FROM pragma_index_info(l.name) ORDER BY seqno))
			FROM pragma_index_list($1) l LEFT JOIN sqlite_master m ON m.name = l.name`, []any{name}, func(v []string) {
			switch v[2] {
			case "c": // CREATE INDEX
				of.Indexes[v[0]] = indexDefinition(t, v[3])
			case "u": // UNIQUE
				definition := "UNIQUE (" + v[4] + ")"
				of.Indexes["constraint "+definition] = definition
			}
		})
		each(t, d, `SELECT "from", "table", "to", on_delete FROM pragma_foreign_key_list($1)`, []any{name}, func(v []string) {
			reference := "FOREIGN KEY (" + v[0] + ") REFERENCES " + v[1] + "(" + v[2] + ")"
			if v[3] != "NO ACTION" {
				reference += " ON DELETE " + v[3]
			}
			of.References = append(of.References, reference)
		})
		for _, check := range regexp.MustCompile(`CHECK \(.*\)`).FindAllString(texts[name], -1) {
			of.Checks = append(of.Checks, wordsOf(check))
		}
	}
	return s.sorted()
}

func (s schema) sorted() schema {
	for _, of := range s {
		slices.Sort(of.References)
		slices.Sort(of.Checks)
	}
	return s
}

var indexText = regexp.MustCompile(`^CREATE (UNIQUE )?INDEX \S+ ON (?:ONLY )?\S+ (?:USING btree )?\(([^()]*)\)(?: WHERE (.*))?$`)

// indexDefinition is what an index promises, in one spelling:
// "UNIQUE (email_key) WHERE deleted_at IS NULL".
func indexDefinition(t *testing.T, create string) string {
	t.Helper()
	m := indexText.FindStringSubmatch(create)
	if m == nil {
		t.Errorf("cannot read the index %q: teach indexText", create)
		return create
	}
	definition := m[1] + "(" + m[2] + ")"
	if where := strings.ReplaceAll(m[3], "::text", ""); where != "" {
		definition += " WHERE " + strings.TrimSuffix(strings.TrimPrefix(where, "("), ")")
	}
	return definition
}

func columnsOf(definition string) []string {
	_, list, _ := strings.Cut(definition, "(")
	return strings.Split(strings.TrimSuffix(list, ")"), ", ")
}

func wordsOf(check string) string {
	words := regexp.MustCompile(`'[^']*'`).FindAllString(check, -1)
	slices.Sort(words)
	return strings.Join(words, " ")
}
