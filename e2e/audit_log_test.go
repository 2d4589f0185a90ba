package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/e2e/authapi"
)

// past is a page of the log.
type past struct {
	Data []struct {
		ID        string
		EventType string  `json:"event_type"`
		ActorID   *string `json:"actor_id"`
		IP        *string `json:"ip_address"`
		Erased    bool    `json:"personal_erased"`
		Success   bool
	}
	NextCursor *string `json:"next_cursor"`
}

// TestTheAuditLogIsListedExportedAndVerified is an operator who answers for what
// happened: over the API, on the command line, and offline.
func TestTheAuditLogIsListedExportedAndVerified(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t, "AUDIT__HEADS_FILE="+filepath.Join(s.dir, "heads.jsonl"))
		admin := v.colleague()
		email := v.account()
		v.login(email)
		someone := s.idOf(t, email)
		if _, err := v.Do(t.Context(), "POST", "/auth/login", map[string]string{"email": email, "password": "Wrong-Horse-7"}); err != nil {
			t.Fatal(err)
		}

		list := func(query string) (p past) {
			t.Helper()
			if _, err := admin.Signed(t.Context(), &p, "GET", "/admin/audit-log?"+query, nil); err != nil {
				t.Fatal(err)
			}
			return p
		}
		if p := list("actor_id=" + someone + "&event_type=user.login.&success=false"); len(p.Data) != 1 || p.Data[0].EventType != "user.login.failure" || p.Data[0].IP == nil {
			t.Errorf("refused sign-ins: %+v", p)
		}
		first := list("event_type=user.&limit=1")
		if len(first.Data) != 1 || first.NextCursor == nil {
			t.Fatalf("a page of one: %+v", first)
		}
		if p := list("event_type=user.&limit=1&cursor=" + url.QueryEscape(*first.NextCursor)); len(p.Data) != 1 || p.Data[0].ID == first.Data[0].ID {
			t.Errorf("the page after: %+v", p)
		}

		// A head covers it within a minute.
		var kept authapi.Answer
		await(t, 3*patience, "a head", func() bool {
			var h struct {
				LastPos int `json:"last_pos"`
			}
			var err error
			if kept, err = admin.Signed(t.Context(), &h, "GET", "/admin/audit-log/head", nil); err != nil {
				t.Fatal(err)
			}
			return h.LastPos > 0
		})
		headFile, keyFile, export := filepath.Join(t.TempDir(), "head.json"), filepath.Join(t.TempDir(), "keys.json"), filepath.Join(t.TempDir(), "audit.jsonl")
		write(t, headFile, kept.Body)
		keys := v.do("GET", "/.well-known/audit-keys.json", nil)
		if keys.Status != 200 || !strings.Contains(string(keys.Body), `"Ed25519"`) {
			t.Fatal(keys)
		}
		write(t, keyFile, keys.Body)
		a, err := admin.Act(t.Context(), "", nil, "POST", "/admin/audit-log/export", nil)
		if err != nil || a.Header.Get("Content-Type") != "application/x-ndjson" || a.Header.Get("Cache-Control") != "no-store" {
			t.Fatal(a, a.Header, err)
		}
		write(t, export, a.Body)
		if n := s.count(t, `SELECT COUNT(*) FROM audit_events WHERE event_type = 'audit.exported'`); n != 1 {
			t.Errorf("the export is recorded %d times", n)
		}

		run := func(code int, want string, args ...string) string {
			t.Helper()
			p := s.authd(t, v.settings, append([]string{"audit"}, args...)...)
			if p.ExitCode() != code || !strings.Contains(p.Output(), want) {
				t.Errorf("authd audit %s: exit code %d, want %d and %q:\n%s", strings.Join(args, " "), p.ExitCode(), code, want, p.Output())
			}
			return p.Stdout.String()
		}
		run(0, "verified: heads 0–", "verify", "--database", "--head", headFile)
		run(0, "verified: heads 0–", "verify", "--database", "--head", filepath.Join(s.dir, "heads.jsonl"), "--keys", keyFile)
		run(0, "Nothing can tell whether newer rows were cut off", "verify", "--database")
		run(0, "user.login.failure", "list", "--actor", someone)
		run(0, `"event_type": "user.login.failure"`, "list", "--json", "--actor", someone, "--success", "false")
		run(0, `"number"`, "head")
		if got := run(0, `"Ed25519"`, "key"); !strings.Contains(got, `"kid"`) {
			t.Error(got)
		}
		run(0, `{"kind":"end"`, "export", "--type", "user.login")
		run(2, "name an export, or --database", "verify")
		run(1, "", "list", "--ip", "192.0.2.1")

		// Offline: an empty folder, no settings, the published key.
		offline := &store{engine: s.engine, dir: t.TempDir()}
		verify := func(code int, want string, args ...string) {
			t.Helper()
			p := offline.authd(t, nil, append([]string{"audit", "verify"}, args...)...)
			if p.ExitCode() != code || !strings.Contains(p.Output(), want) {
				t.Errorf("offline: exit code %d, want %d and %q:\n%s", p.ExitCode(), code, want, p.Output())
			}
			isEmpty(t, offline.dir)
		}
		verify(0, "verified: heads ", export, "--keys", keyFile, "--head", headFile)
		verify(0, "The keys are the file's own", export)
		text, err := os.ReadFile(export)
		if err != nil {
			t.Fatal(err)
		}
		write(t, export, []byte(strings.Replace(string(text), `"success":true`, `"success":false`, 1)))
		verify(1, "the row does not match its hash", export, "--keys", keyFile)
		write(t, export, text[:len(text)-20])
		verify(1, "cut off", export, "--keys", keyFile)

		// An erasure breaks nothing, a change is found.
		v.change(t, `DELETE FROM audit_personal WHERE event_id IN (SELECT event_id FROM audit_chain WHERE pos = 1)`)
		var report struct {
			OK     bool
			Erased int
		}
		if err := json.Unmarshal([]byte(run(0, "", "verify", "--database", "--json")), &report); err != nil || !report.OK || report.Erased != 1 {
			t.Errorf("%+v, %v", report, err)
		}
		v.change(t, `UPDATE audit_events SET actor_id = NULL, event_type = 'user.logout' WHERE id IN (SELECT event_id FROM audit_chain WHERE pos = 2)`)
		run(1, "changed: position 2, event ", "verify", "--database")
		run(1, `"kind": "changed"`, "verify", "--database", "--json")
	})
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestTheAuditLogIsForAdminsOnly asks for each refusal of its routes.
func TestTheAuditLogIsForAdminsOnly(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t)
		admin, shared, stale, coded := v.colleague(), v.colleague(), v.colleague(), v.colleague()
		person := v.login(v.account())
		if _, err := v.Do(t.Context(), "GET", "/auth/users/me", nil); err != nil {
			t.Fatal(err)
		}
		var wide authapi.Tokens
		a, err := v.Do(t.Context(), "POST", "/auth/login", map[string]string{"email": shared.Email, "password": shared.Password, "audience": "orders-api"})
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(a.Body, &wide); err != nil {
			t.Fatal(err)
		}
		v.change(t, `UPDATE sessions SET auth_time = '2020-01-01 00:00:00+00:00' WHERE user_id = $1`, s.idOf(t, stale.Email))
		v.change(t, `UPDATE users SET email_otp_enabled = TRUE WHERE email = $1`, coded.Email)

		want := func(says string, a authapi.Answer, err error, status int, code string) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			if a.Status != status || a.Envelope().Code != code {
				t.Errorf("%s: answered %s, want %d %s", says, a, status, code)
			}
		}
		for _, route := range []struct{ method, path string }{
			{"GET", "/admin/audit-log"}, {"GET", "/admin/audit-log/head"}, {"POST", "/admin/audit-log/export"},
		} {
			says := route.method + " " + route.path
			a, err := v.Do(t.Context(), route.method, route.path, nil)
			want(says, a, err, http.StatusUnauthorized, "invalid_token")
			a, err = v.Do(t.Context(), route.method, route.path, nil, "Authorization", "Bearer "+person.Access)
			want(says, a, err, http.StatusForbidden, "insufficient_role")
			a, err = v.Do(t.Context(), route.method, route.path, nil, "Authorization", "Bearer "+wide.Access)
			want(says, a, err, http.StatusForbidden, "audience_not_allowed")
		}
		const export = "/admin/audit-log/export"
		a, err = stale.Ask(t.Context(), "POST", export, nil)
		want("an old sign-in", a, err, http.StatusForbidden, "reauth_required")
		a, err = coded.Ask(t.Context(), "POST", export, nil)
		want("without a code", a, err, http.StatusForbidden, "otp_required")
		a, err = admin.Ask(t.Context(), "POST", export, nil, "X-Action-Token", "x")
		want("a bad confirmation", a, err, http.StatusForbidden, "action_token_invalid")
		for _, body := range []any{`{"actor_id":"x"}`, `{"date_from":"yesterday"}`, `{"ip_address":"here"}`} {
			a, err = admin.Ask(t.Context(), "POST", export, body)
			want("a bad filter", a, err, http.StatusUnprocessableEntity, "validation_error")
		}
		for query, code := range map[string]string{
			"actor_id=x": "validation_error", "success=maybe": "validation_error", "ip_address=192.0.2.1": "validation_error", "date_from=now": "validation_error",
			"ip_address=here&event_type=user.": "validation_error", "limit=0": "validation_error", "date_from=0000-01-01T00:00:00Z": "validation_error", "cursor=x": "invalid_cursor",
		} {
			a, err = admin.Ask(t.Context(), "GET", "/admin/audit-log?"+query, nil)
			want(query, a, err, http.StatusUnprocessableEntity, code)
		}
		v.change(t, `DELETE FROM audit_heads`)
		a, err = admin.Ask(t.Context(), "GET", "/admin/audit-log/head", nil)
		want("before the first head", a, err, http.StatusNotFound, "not_found")
		v.mayFail = true // without a head none can be made: it says so until the next start
	})
}
