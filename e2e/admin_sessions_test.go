package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/authsdk/authsdk/e2e/authapi"
)

// seenSession is a session as an admin sees it.
type seenSession struct {
	ID         string   `json:"session_id"`
	User       string   `json:"user_id"`
	Email      string   `json:"user_email"`
	Reason     *string  `json:"revoke_reason"`
	Suspicious []string `json:"suspicious_reasons"`
	Timeline   []struct {
		Type     string         `json:"event_type"`
		Metadata map[string]any `json:"metadata"`
	} `json:"timeline"`
}

func TestAdminsSeeAndEndSessions(t *testing.T) {
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t, anywhere)
		boss := acts{v.admin(), t}
		p := v.person()
		one := "/admin/users/" + p.id
		sessions := one + "/sessions"
		sid := func(tokens authapi.Tokens) string {
			_, c := claims(t, tokens.Access)
			return c["sid"].(string)
		}
		dead := func(tokens authapi.Tokens) {
			t.Helper()
			_, err := v.Validate(t.Context(), tokens.Access)
			refuses(t, err, http.StatusUnauthorized, "session_expired")
		}
		list := func(path string) []seenSession {
			t.Helper()
			all, err := authapi.List[seenSession](t.Context(), boss.Operator, path)
			if err != nil {
				t.Fatal(err)
			}
			return all
		}
		home := p.another("home").tokens
		away := p.from(newNetwork()).enter("away").tokens

		t.Log("the queue of those that stand out")
		for _, path := range []string{"/admin/sessions/suspicious", "/admin/sessions/suspicious?role=user&email=" + p.email[:8]} {
			if found := list(path); len(found) != 1 || found[0].ID != sid(away) || found[0].Email != p.email || len(found[0].Suspicious) == 0 {
				t.Errorf("%s: %+v", path, found)
			}
		}
		if found := list("/admin/sessions/suspicious?role=admin"); len(found) != 0 {
			t.Errorf("of admins: %+v", found)
		}
		boss.is("422 invalid_cursor", "GET /admin/sessions/suspicious?cursor=rubbish", nil, nil)
		boss.is("422 validation_error", "GET /admin/sessions/suspicious?limit=0", nil, nil)

		t.Log("ending one")
		var ended struct {
			Reason string `json:"revoke_reason"`
		}
		boss.is("422 validation_error", "DELETE "+sessions+"/"+sid(away), obj{"reason": "  "}, nil)
		boss.is("200", "DELETE "+sessions+"/"+sid(away), obj{"reason": " stolen phone "}, &ended)
		if ended.Reason != "stolen phone" {
			t.Errorf("%+v", ended)
		}
		dead(away)
		boss.is("409 session_revoked", "DELETE "+sessions+"/"+sid(away), nil, nil)
		boss.is("404 invalid_session", "DELETE "+sessions+"/"+nobodys, nil, nil)
		boss.is("404 invalid_session", "DELETE "+sessions+"/"+sid(boss.Tokens), nil, nil)
		boss.is("404 invalid_user", "DELETE /admin/users/"+nobodys+"/sessions/"+sid(home), nil, nil)
		var shown seenSession
		boss.is("200", "GET "+sessions+"/"+sid(away), nil, &shown)
		if n := len(shown.Timeline); n < 3 || shown.Timeline[n-1].Type != "session.revoked" || shown.Timeline[n-1].Metadata["reason"] != "stolen phone" {
			t.Errorf("%+v", shown)
		}
		types := map[string]bool{}
		for _, e := range shown.Timeline {
			types[e.Type] = true
		}
		if !types["user.login.success"] || !types["session.created"] {
			t.Errorf("the timeline has %v", types)
		}
		boss.is("404 invalid_session", "GET "+sessions+"/"+nobodys, nil, nil)
		boss.is("404 invalid_user", "GET /admin/users/"+nobodys+"/sessions/"+sid(away), nil, nil)
		boss.is("422 validation_error", "GET "+sessions+"/"+sid(away)+"?timeline_limit=0", nil, nil)

		t.Log("lists")
		for status, want := range map[string]int{"active": 1, "revoked": 1, "all": 2} {
			if got := list(sessions + "?limit=1&status=" + status); len(got) != want || got[0].User != p.id {
				t.Errorf("%s: %+v", status, got)
			}
		}
		boss.is("404 invalid_user", "GET /admin/users/"+nobodys+"/sessions", nil, nil)
		boss.is("422 invalid_cursor", "GET "+sessions+"?cursor=rubbish", nil, nil)
		boss.is("422 validation_error", "GET "+sessions+"?status=lost", nil, nil)

		t.Log("ending those that match")
		third := p.from(newNetwork()).with("User-Agent", "Firefox/127 Linux").enter("third").tokens
		var matched struct {
			Matched []string `json:"matched_session_ids"`
			Revoked []string `json:"revoked_session_ids"`
			Reason  string   `json:"revoke_reason"`
			Dry     bool     `json:"dry_run"`
		}
		filter := "POST " + sessions + "/revoke-by-filter"
		boss.is("200", filter, obj{"user_agent_contains": "firefox/", "is_suspicious": true, "dry_run": true}, &matched)
		if len(matched.Matched) != 1 || matched.Matched[0] != sid(third) || len(matched.Revoked) != 0 || !matched.Dry {
			t.Errorf("a dry run: %+v", matched)
		}
		if _, err := v.Validate(t.Context(), third.Access); err != nil {
			t.Errorf("after the dry run: %v", err)
		}
		boss.is("200", filter, obj{"created_after": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}, &matched)
		if len(matched.Matched) != 0 {
			t.Errorf("of the future: %+v", matched)
		}
		boss.is("200", filter, obj{"user_agent_contains": "firefox/", "created_before": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}, &matched)
		if len(matched.Revoked) != 1 || matched.Revoked[0] != sid(third) || matched.Reason != "admin_filtered_revoke" {
			t.Errorf("%+v", matched)
		}
		dead(third)
		for _, bad := range []obj{{}, {"ip_address": "x"}, {"user_agent_contains": " "}, {"created_after": "2026-01-02T00:00:00Z", "created_before": "2026-01-01T00:00:00Z"}} {
			boss.is("422 validation_error", filter, bad, nil)
		}
		boss.is("404 invalid_user", "POST /admin/users/"+nobodys+"/sessions/revoke-by-filter", obj{"is_suspicious": false}, nil)

		t.Log("ending all")
		var all struct {
			Count  int    `json:"revoked_session_count"`
			Reason string `json:"revoke_reason"`
		}
		boss.is("200", "DELETE "+sessions, nil, &all)
		if all.Count != 1 || all.Reason != "admin_revoke_all" {
			t.Errorf("%+v", all)
		}
		dead(home)
		boss.is("404 invalid_user", "DELETE /admin/users/"+nobodys+"/sessions", nil, nil)
		boss.is("422 validation_error", "DELETE /admin/users/nobody/sessions", nil, nil)
		if n := s.count(t, `SELECT COUNT(*) FROM audit_events WHERE event_type = 'session.revoked' AND actor_type = 'admin' AND target_id = $1`, p.id); n != 4 {
			t.Errorf("%d times session.revoked, want 4", n)
		}

		t.Log("what happened to the account")
		history, err := authapi.List[struct {
			Type  string  `json:"event_type"`
			Actor string  `json:"actor_type"`
			IP    *string `json:"ip_address"`
		}](t.Context(), boss.Operator, one+"/history?limit=3")
		if err != nil || len(history) < 8 || history[0].Type != "session.revoked" || history[0].Actor != "admin" || history[0].IP == nil {
			t.Errorf("%+v (%v)", history, err)
		}
		boss.is("404 invalid_user", "GET /admin/users/"+nobodys+"/history", nil, nil)
		boss.is("422 invalid_cursor", "GET "+one+"/history?cursor=rubbish", nil, nil)
		boss.is("422 validation_error", "GET "+one+"/history?limit=0", nil, nil)
	})
}
