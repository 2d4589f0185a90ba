package server

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

func TestRolesAreReadByName(t *testing.T) {
	both := roles{api: true, worker: true}
	tests := []struct {
		names  []string
		engine db.Engine
		want   roles
		err    string
	}{
		{nil, db.SQLite, both, ""},
		{nil, db.Postgres, both, ""},
		{[]string{"api"}, db.Postgres, roles{api: true}, ""},
		{[]string{"worker"}, db.Postgres, roles{worker: true}, ""},
		{[]string{"worker", "api"}, db.SQLite, both, ""},
		{[]string{"api"}, db.SQLite, roles{}, "SQLite has one process"},
		{[]string{"worker", "worker"}, db.SQLite, roles{}, "SQLite has one process"},
		{[]string{"API"}, db.Postgres, roles{}, "api and worker"},
		{[]string{""}, db.Postgres, roles{}, "api and worker"},
	}
	for _, tt := range tests {
		r, err := rolesOf(tt.names, tt.engine)
		if tt.err == "" && (err != nil || r != tt.want) {
			t.Errorf("%q on %v: %+v, %v", tt.names, tt.engine, r, err)
		}
		if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%q on %v: %v, want %q", tt.names, tt.engine, err, tt.err)
		}
	}
}

func TestAWorkerMakesNoFirstAdmin(t *testing.T) {
	d := dbtest.Postgres(t)
	if s := build(t, settings(t, urlOf(t, d)), Options{Roles: []string{"worker"}}); s.FirstAdmin != nil || s.Serves() {
		t.Error("a worker made an admin whose password nobody sees")
	}
	if s := build(t, settings(t, urlOf(t, d)), Options{Roles: []string{"api"}}); s.FirstAdmin == nil || !s.Serves() {
		t.Error("the api made no admin")
	}
}

func TestACommandWorksBesideAServer(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		cfg := settings(t, urlOf(t, d))
		s := build(t, cfg, Options{})
		o, end, err := Operator(t.Context(), cfg, dbtest.Log)
		if err != nil {
			t.Fatal(err)
		}
		defer end()
		if o.Keys.Active().KID != s.Keys.Active().KID {
			t.Error("the command has another signing key than the server")
		}
		if o.By.Type != "system" || o.By.Proof != nil {
			t.Errorf("by %+v", o.By)
		}
	})
}

func TestACommandLeavesTheFileToAServerThatStarts(t *testing.T) {
	cfg := settings(t, urlOf(t, dbtest.SQLite(t)))
	_, end, err := Operator(t.Context(), cfg, dbtest.Log)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	build(t, cfg, Options{})
}

func TestACommandWaitsForAServerThatIsStillStarting(t *testing.T) {
	d := dbtest.SQLite(t)
	release, err := d.Own() // it has made no secrets yet
	if err != nil {
		t.Fatal(err)
	}
	cfg := settings(t, urlOf(t, d))
	if _, _, err := Operator(t.Context(), cfg, dbtest.Log); !errors.Is(err, errStarting) {
		t.Errorf("got %v, want errStarting", err)
	}
	release()
	if _, end, err := Operator(t.Context(), cfg, dbtest.Log); err != nil {
		t.Error(err)
	} else {
		end()
	}
}

func TestACommandRefusesADatabaseThatIsNotMigrated(t *testing.T) {
	for name, url := range map[string]string{
		"no file":         "sqlite://" + filepath.Join(t.TempDir(), "none.db"),
		"an empty schema": dbtest.EmptyPostgresURL(t),
	} {
		if _, _, err := Operator(context.Background(), settings(t, url), dbtest.Log); !errors.Is(err, errNotMigrated) {
			t.Errorf("%s: got %v, want errNotMigrated", name, err)
		}
	}
}
