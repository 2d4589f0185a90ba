package httpapi_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

func TestAdminsListTheAuditLog(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		id, access := s.admin(t, "op@x.io")
		bearer := []string{"Authorization", "Bearer " + access}
		r := s.get("/admin/audit-log?event_type=user.login.&actor_id="+id.String(), bearer...)
		var page struct {
			Data []map[string]any `json:"data"`
			More bool             `json:"has_more"`
		}
		if err := json.Unmarshal([]byte(r.body), &page); err != nil || r.status != 200 || len(page.Data) != 1 {
			t.Fatal(r)
		}
		item := page.Data[0]
		if item["event_type"] != "user.login.success" || item["actor_id"] != id.String() || item["ip_address"] != "127.0.0.1" || item["success"] != true || item["personal_erased"] != false {
			t.Errorf("%v", item)
		}
		s.get("/admin/audit-log?cursor=x", bearer...).refused(t, fault.InvalidCursor)
		s.get("/admin/audit-log?success=true", bearer...).refused(t, fault.ValidationError,
			fault.Field{Field: "date_from", Message: "give date_from and date_to, at most 31 days apart, or an actor, a target or a type"})
		s.get("/admin/audit-log?ip_address=here&event_type=user.", bearer...).refused(t, fault.ValidationError,
			fault.Field{Field: "ip_address", Message: "must be an IP address"})
		s.account(t, "ann@x.io", "user")
		person, _ := s.login(t, "ann@x.io")
		s.get("/admin/audit-log", "Authorization", "Bearer "+person).refused(t, fault.InsufficientRole)
	})
}

func TestAnExportIsRecordedAndVerifiesWithThePublishedKeys(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		_, access := s.admin(t, "op@x.io")
		if _, err := s.Chain.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Chain.Seal(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		r := s.post("/admin/audit-log/export", `{"event_type":"user."}`, "Authorization", "Bearer "+access)
		if r.status != 200 || r.header.Get("Content-Type") != "application/x-ndjson" {
			t.Fatal(r)
		}
		s.recorded(t, `audit.exported by op@x.io {"event_type":"user."}`)
		var keys audit.KeySet
		if err := json.Unmarshal([]byte(s.get("/.well-known/audit-keys.json").body), &keys); err != nil {
			t.Fatal(err)
		}
		var head audit.Head
		if err := json.Unmarshal([]byte(s.get("/admin/audit-log/head", "Authorization", "Bearer "+access).body), &head); err != nil || head.Number != 1 {
			t.Fatal(head, err)
		}
		report, _, err := audit.VerifyExport(t.Context(), strings.NewReader(r.body), keys.Keys, []audit.Head{head})
		if err != nil || !report.OK || report.LastPos == 0 {
			t.Errorf("%+v, %v", report, err)
		}
		s.post("/admin/audit-log/export", `{"ip_address":"here"}`, "Authorization", "Bearer "+access).refused(t, fault.ValidationError,
			fault.Field{Field: "ip_address", Message: "must be an IP address"})
		s.stale()
		s.post("/admin/audit-log/export", ``, "Authorization", "Bearer "+access).refused(t, fault.ReauthRequired)
		s.recorded(t, `stepup.refused by op@x.io: reauth_required {"action":"export_audit","session_id":"<id>"}`)
	})
}

func TestBeforeTheFirstHeadThereIsNone(t *testing.T) {
	d := dbtest.SQLite(t)
	s, _ := build(t, d)
	_, access := s.admin(t, "op@x.io")
	if _, err := d.Writer().ExecContext(t.Context(), `DELETE FROM audit_heads`); err != nil {
		t.Fatal(err)
	}
	s.get("/admin/audit-log/head", "Authorization", "Bearer "+access).refused(t, fault.NotFound)
}
