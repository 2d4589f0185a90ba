package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/internal/config"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/server"
)

func onEach(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, "sqlite://"+dbtest.SQLite(t).Path()) })
	t.Run("postgres", func(t *testing.T) { test(t, dbtest.PostgresURL(t)) })
}

func seed(t *testing.T, args ...string) (said string, err error) {
	t.Helper()
	var out bytes.Buffer
	err = run(t.Context(), args, &out)
	return out.String(), err
}

// It ends by comparing the schema, so this also shows that nothing is lost of it.
func TestASeededDatabaseIsWhatWasAskedFor(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		said, err := seed(t, "-database", url, "-users", "300")
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		if said, err = seed(t, "-database", url, "-users", "300", "-check"); err != nil {
			t.Errorf("%v\n%s", err, said)
		}
		if _, err := seed(t, "-database", url, "-users", "301", "-check"); err == nil {
			t.Error("one account less than asked for, and the check passed")
		}
		if _, err := seed(t, "-database", url, "-users", "300"); err == nil || !strings.Contains(err.Error(), "has users already") {
			t.Errorf("filled again: %v", err)
		}
	})
}

func TestADatabaseThatIsNotMigratedIsRefused(t *testing.T) {
	for _, url := range []string{"sqlite://" + t.TempDir() + "/authd.db", dbtest.EmptyPostgresURL(t)} {
		if _, err := seed(t, "-database", url, "-users", "10"); err == nil || !strings.Contains(err.Error(), "authd migrate up") {
			t.Errorf("%v", err)
		}
	}
}

// Some have a thousand, most have few.
func TestSessionsAreUnevenlySpread(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		if said, err := seed(t, "-database", url, "-users", "400", "-sessions", "4000", "-audit", "100"); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		d := dbtest.Open(t, url)
		var most, few int
		err := d.Read().QueryRowContext(t.Context(), `SELECT MAX(n), SUM(CASE WHEN n BETWEEN 1 AND 20 THEN 1 ELSE 0 END)
			FROM (SELECT COUNT(*) AS n FROM sessions GROUP BY user_id) s`).Scan(&most, &few)
		if err != nil || most < 800 || most > 1200 || few < 390 {
			t.Errorf("most %d, few %d: %v", most, few, err)
		}
	})
}

// What is in there must be what authd would have written.
func TestSeededAccountsAreUsedLikeAnyOther(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		if said, err := seed(t, "-database", url, "-users", "50"); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		a := start(t, url)
		var tokens struct {
			Access  string `json:"access_token"`
			Refresh string `json:"refresh_token"`
		}
		a.call("POST", "/auth/login", map[string]string{"email": "user0000001@example.com", "password": "Correct-Horse-7", "audience": "auth-service"}, 200, &tokens)
		a.bearer = tokens.Access
		var list struct {
			Data []struct {
				Suspicious bool `json:"is_suspicious"`
			} `json:"data"`
		}
		a.call("GET", "/auth/sessions?status=all", nil, 200, &list)
		if len(list.Data) < 2 || list.Data[0].Suspicious {
			t.Errorf("sessions: %+v", list)
		}
		a.call("GET", "/auth/history", nil, 200, &list)
		if len(list.Data) < 5 { // two of which are of this sign-in
			t.Errorf("history: %+v", list)
		}
		a.call("POST", "/auth/token", map[string]string{"refresh_token": tokens.Refresh}, 200, &tokens)
		a.call("POST", "/auth/logout", map[string]string{"refresh_token": tokens.Refresh}, 204, nil)
		a.call("GET", "/auth/sessions", nil, 401, nil)
	})
}

// authd is a built server, called without a network.
type authd struct {
	t       *testing.T
	handler http.Handler
	bearer  string
}

func start(t *testing.T, url string) *authd {
	t.Helper()
	cfg, err := config.Load([]string{"DATABASE__URL=" + url}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(t.Context(), cfg, slog.New(slog.DiscardHandler), server.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Background(context.Background()))
	return &authd{t: t, handler: s.Handler()}
}

func (a *authd) call(method, path string, body any, want int, into any) {
	a.t.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		a.t.Fatal(err)
	}
	r := httptest.NewRequest(method, path, bytes.NewReader(encoded))
	if body == nil {
		r = httptest.NewRequest(method, path, nil)
	}
	r.RemoteAddr = "127.0.0.1:1"
	r.Header.Set("User-Agent", "Go-http-client/1.1")
	r.Header.Set("Content-Type", "application/json")
	if a.bearer != "" {
		r.Header.Set("Authorization", "Bearer "+a.bearer)
	}
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	answer, _ := io.ReadAll(w.Result().Body)
	if w.Code != want {
		a.t.Fatalf("%s: %d %s", path, w.Code, answer)
	}
	if into != nil {
		if err := json.Unmarshal(answer, into); err != nil {
			a.t.Fatal(err)
		}
	}
}
