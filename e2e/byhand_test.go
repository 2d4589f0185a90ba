package e2e

import (
	"database/sql"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

// TestTheSQLOfMigrateMayBeRunByHand: whoever may not let authd change the
// schema runs what migrate up --sql prints, and authd then finds nothing left to
// do.
func TestTheSQLOfMigrateMayBeRunByHand(t *testing.T) {
	for _, row := range []struct {
		says  string
		store func(t *testing.T) (s *store, dsn string)
	}{
		{"on SQLite", func(t *testing.T) (*store, string) {
			s := sqliteStore(t)
			return s, filepath.Join(s.dir, "authd-data", "authd.db")
		}},
		{"on PostgreSQL", func(t *testing.T) (*store, string) {
			s := postgresAt(t, dbtest.EmptyPostgresURL(t))
			return s, s.dsn + with(s.dsn) + "default_query_exec_mode=simple_protocol"
		}},
	} {
		t.Run(row.says, func(t *testing.T) {
			t.Parallel()
			s, dsn := row.store(t)
			text := s.authd(t, nil, "migrate", "up", "--sql").Stdout.String()
			if err := os.Mkdir(filepath.Join(s.dir, "authd-data"), 0o700); err != nil {
				t.Fatal(err)
			}
			d, err := sql.Open(s.engine, dsn)
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range stepHead.Split(text, -1) { // each in a transaction of its own
				if _, err := d.Exec(step); err != nil {
					t.Fatalf("the printed SQL does not run: %v", err)
				}
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			if p := s.authd(t, nil, "migrate", "status"); p.Stdout.String() != "The database is up to date.\n" {
				t.Fatalf("afterwards: %s", p.Output())
			}
			v := s.serve(t)
			v.login(v.account())
		})
	}
}

// stepHead is the line above each step.
var stepHead = regexp.MustCompile(`(?m)^-- (\d{4}_.*\.sql|river \d{3}: .*)$`)

// with is what begins a parameter of a URL.
func with(url string) string {
	if strings.Contains(url, "?") {
		return "&"
	}
	return "?"
}
