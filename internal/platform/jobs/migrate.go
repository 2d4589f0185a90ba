package jobs

import (
	"context"
	"fmt"
	"strings"

	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/authsdk/authsdk/internal/foundation/db"
)

type migrator interface {
	Migrate(ctx context.Context, direction rivermigrate.Direction, opts *rivermigrate.MigrateOpts) (*rivermigrate.MigrateResult, error)
	ExistingVersions(ctx context.Context) ([]rivermigrate.Migration, error)
	AllVersions() []rivermigrate.Migration
}

func newMigrator(d *db.DB) (migrator, error) {
	if d.Engine() == db.Postgres {
		return rivermigrate.New(riverdatabasesql.New(d.Writer()), &rivermigrate.Config{Logger: silent})
	}
	return rivermigrate.New(sqliteBase(d), &rivermigrate.Config{Logger: silent})
}

// Migrate makes the queue's tables; run it inside db.Migrate, which holds the
// lock that River's own migrator lacks.
func Migrate(d *db.DB) func(context.Context) error {
	return func(ctx context.Context) error {
		m, err := newMigrator(d)
		if err != nil {
			return err
		}
		if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
			return fmt.Errorf("jobs: %w", err)
		}
		return nil
	}
}

// Pending lists the queue's migrations that this database has not seen. It
// only reads.
func Pending(ctx context.Context, d *db.DB) ([]db.Migration, error) {
	m, err := newMigrator(d)
	if err != nil {
		return nil, err
	}
	there, err := d.HasTable(ctx, "river_migration")
	if err != nil {
		return nil, err
	}
	seen := map[int]bool{}
	if there {
		existing, err := m.ExistingVersions(ctx)
		if err != nil {
			return nil, fmt.Errorf("jobs: %w", err)
		}
		for _, v := range existing {
			seen[v.Version] = true
		}
	}
	var pending []db.Migration
	for _, v := range m.AllVersions() {
		if !seen[v.Version] {
			// What River's own migrator does beside running the text: no schema,
			// and a row that says so (with the column line from 5 on).
			record := fmt.Sprintf("INSERT INTO river_migration (version) VALUES (%d);", v.Version)
			if v.Version >= 5 {
				record = fmt.Sprintf("INSERT INTO river_migration (line, version) VALUES ('main', %d);", v.Version)
			}
			pending = append(pending, db.Migration{
				Version: int64(v.Version), Name: fmt.Sprintf("river %03d: %s", v.Version, v.Name),
				SQL: strings.ReplaceAll(v.SQLUp, "/* TEMPLATE: schema */", "") + "\n" + record + "\n",
			})
		}
	}
	return pending, nil
}
