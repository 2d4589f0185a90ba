package server

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/config"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// cheap settings make keys and hashes fast.
var cheap = []string{"JWT__ALGORITHM=ES256", "PASSWORD__ARGON2_MEMORY_KIB=8", "PASSWORD__ARGON2_ITERATIONS=1"}

func settings(t *testing.T, url string, more ...string) *config.Config {
	t.Helper()
	cfg, err := config.Load(slices.Concat(cheap, []string{"DATABASE__URL=" + url}, more), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func urlOf(t *testing.T, d *db.DB) string {
	t.Helper()
	if d.Engine() == db.SQLite {
		return "sqlite://" + d.Path()
	}
	return d.Pool().Config().ConnString()
}

func build(t *testing.T, cfg *config.Config, o Options) *Server {
	t.Helper()
	s, err := New(t.Context(), cfg, dbtest.Log, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// readiness asks as an orchestrator does.
func readiness(t *testing.T, s *Server) (status int, failing, degraded []string) {
	t.Helper()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/health/ready", nil))
	var body struct {
		Degraded []string `json:"degraded"`
		Errors   []struct {
			Field string `json:"field"`
		} `json:"errors"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	for _, e := range body.Errors {
		failing = append(failing, e.Field)
	}
	return w.Code, failing, body.Degraded
}

func TestReadyNamesThePartThatFails(t *testing.T) {
	const nothing = "REDIS__URL=redis://127.0.0.1:1/0"
	tests := []struct {
		name     string
		settings []string
		spoil    func(s *Server)
		status   int
		failing  []string
		degraded []string
	}{
		{"all is well", nil, func(*Server) {}, 200, nil, nil},
		{"the database is gone", nil, func(s *Server) { s.DB.Close() }, 503, []string{"database"}, nil},
		{"it is about to stop", nil, func(s *Server) { s.draining.Store(true) }, 503, []string{"server"}, nil},
		{"Redis is gone, which only makes limits local", []string{nothing}, func(*Server) {}, 200, nil, []string{"redis"}},
		{"several", []string{nothing}, func(s *Server) { s.draining.Store(true); s.DB.Close() }, 503, []string{"server", "database"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, d *db.DB) {
				s := build(t, settings(t, urlOf(t, d), tt.settings...), Options{})
				tt.spoil(s)
				status, failing, degraded := readiness(t, s)
				if status != tt.status {
					t.Errorf("status %d, want %d", status, tt.status)
				}
				if diff := cmp.Diff(tt.failing, failing); diff != "" {
					t.Errorf("failing: %s", diff)
				}
				if diff := cmp.Diff(tt.degraded, degraded); diff != "" {
					t.Errorf("degraded: %s", diff)
				}
			})
		})
	}
}

func TestPostgresIsMigratedOnlyWhenAsked(t *testing.T) {
	url := dbtest.EmptyPostgresURL(t)
	_, err := New(t.Context(), settings(t, url), dbtest.Log, Options{})
	if err == nil || !strings.Contains(err.Error(), "`authd migrate up`") || !strings.Contains(err.Error(), "`authd serve --migrate`") {
		t.Fatalf("got %v, want a sentence with both commands", err)
	}
	d := dbtest.Open(t, url)
	var tables int
	if err := d.Read().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM pg_tables WHERE schemaname = current_schema()`).Scan(&tables); err != nil || tables != 0 {
		t.Errorf("%d tables were made (%v)", tables, err)
	}
	build(t, settings(t, url), Options{Migrate: true})
	build(t, settings(t, url), Options{}) // nothing is pending any more
	if pending, err := Pending(t.Context(), d); err != nil || len(pending) > 0 {
		t.Errorf("pending: %v, %v", pending, err)
	}
}

func TestSQLiteIsAlwaysMigrated(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "authd.db")
	s := build(t, settings(t, "sqlite://"+file), Options{})
	if pending, err := Pending(t.Context(), s.DB); err != nil || len(pending) > 0 {
		t.Errorf("pending: %v, %v", pending, err)
	}
	if s.FirstAdmin == nil {
		t.Error("a fresh development database has no admin")
	}
}

func TestASecondServerOnOneSQLiteFileIsRefused(t *testing.T) {
	cfg := settings(t, "sqlite://"+filepath.Join(t.TempDir(), "authd.db"))
	first := build(t, cfg, Options{})
	if _, err := New(t.Context(), cfg, dbtest.Log, Options{}); !errors.Is(err, db.ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
	if status, failing, _ := readiness(t, first); status != 200 {
		t.Errorf("the first is harmed: %d, %v", status, failing)
	}
	first.close()
	build(t, cfg, Options{})
}

// A month whose events are in the default partition cannot be made any more.
func TestAMissingPartitionDoesNotStopAStart(t *testing.T) {
	d := dbtest.Postgres(t)
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		return audit.Record(t.Context(), tx, (*clock.Clock)(nil).Now(), audit.Event{Type: audit.LoginSuccess})
	})
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	s, err := New(t.Context(), settings(t, urlOf(t, d)), slog.New(slog.NewTextHandler(&said, nil)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.close()
	if !strings.Contains(said.String(), "level=ERROR") || !strings.Contains(said.String(), "default partition") {
		t.Errorf("nobody hears of it: %s", &said)
	}
}

func TestReplicasThatStartTogetherAgree(t *testing.T) {
	url := dbtest.EmptyPostgresURL(t)
	var mu sync.Mutex
	var all sync.WaitGroup
	var servers []*Server
	for range 5 {
		cfg := settings(t, url)
		all.Go(func() {
			s, err := New(t.Context(), cfg, dbtest.Log, Options{Migrate: true})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			servers = append(servers, s)
		})
	}
	all.Wait()
	admins, keys := 0, map[string]bool{}
	for _, s := range servers {
		defer s.close()
		keys[s.Keys.Active().KID] = true
		if s.FirstAdmin != nil {
			admins++
		}
	}
	if admins != 1 || len(keys) != 1 {
		t.Errorf("%d admins and %d signing keys among %d servers, want one of each", admins, len(keys), len(servers))
	}
	if there, err := user.AnyAdmin(t.Context(), dbtest.Open(t, url).Read()); err != nil || !there {
		t.Errorf("an admin is there: %v, %v", there, err)
	}
}

func TestRunServesUntilItIsToldToStop(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, err := New(t.Context(), settings(t, urlOf(t, d)), dbtest.Log, Options{})
		if err != nil {
			t.Fatal(err)
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx, listener) }()
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := client.Get("http://" + listener.Addr().String() + "/health/ready")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("ready answers %d", res.StatusCode)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		if _, err := client.Get("http://" + listener.Addr().String() + "/health/ready"); err == nil {
			t.Error("it answers after it stopped")
		}
		// Everything was given back: the next one starts.
		build(t, settings(t, urlOf(t, d)), Options{})
	})
}
