package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/transport/web"
)

const (
	firefox    = "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0"
	iosChrome  = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/126.0 Mobile/15E148 Safari/604.1"
	nobodys    = "01890a5d-ac96-774b-bcce-b302099a8057"
	refreshTTL = 7 * 24 * time.Hour
)

// device is a signed-in user.
type device struct{ id, access, refresh string }

func (s *service) loginWith(t *testing.T, email, userAgent string) device {
	t.Helper()
	r := s.post("/auth/login", credentials(email, good), "User-Agent", userAgent)
	d := device{access: r.field(t, "access_token"), refresh: r.field(t, "refresh_token")}
	for _, item := range s.page(t, "/auth/sessions", d.access).Data {
		if item["is_current"] == true {
			d.id = item["session_id"].(string)
		}
	}
	return d
}

type page struct {
	Data       []map[string]any `json:"data"`
	NextCursor *string          `json:"next_cursor"`
	HasMore    bool             `json:"has_more"`
}

func (s *service) page(t *testing.T, target, access string) (p page) {
	t.Helper()
	r := s.get(target, bearer(access)...)
	if err := json.Unmarshal([]byte(r.body), &p); err != nil || r.status != http.StatusOK {
		t.Fatalf("%s: %d %s", target, r.status, r.body)
	}
	if p.HasMore != (p.NextCursor != nil) || p.Data == nil {
		t.Errorf("%s: %s", target, r.body)
	}
	return p
}

// whole reads a list page by page.
func (s *service) whole(t *testing.T, target, access string) (list []map[string]any) {
	t.Helper()
	after := ""
	for {
		p := s.page(t, target+after, access)
		list = append(list, p.Data...)
		if p.NextCursor == nil {
			return list
		}
		after = "&cursor=" + *p.NextCursor
	}
}

func (s *service) delete(target, body string, headers ...string) reply {
	return s.send(request("DELETE", target, body, headers...))
}

func TestSessionsAreListed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		s.verified(t, "ann@example.com")
		s.verified(t, "bob@example.com")
		s.loginWith(t, "bob@example.com", firefox)
		start := s.clock.Now()
		second := func(n int) string { return start.Add(time.Duration(n) * time.Second).Format("2006-01-02T15:04:05Z") }
		laptop := s.loginWith(t, "ann@example.com", firefox)
		s.clock.Advance(time.Second)
		phone := s.loginWith(t, "ann@example.com", iosChrome)
		item := func(d device, at int, userAgent, label string, more map[string]any) map[string]any {
			m := map[string]any{
				"session_id": d.id, "created_at": second(at), "last_seen_at": second(at), "expires_at": second(at + int(refreshTTL.Seconds())),
				"revoked_at": nil, "revoke_reason": nil, "ip_address": "127.0.0.1", "user_agent": userAgent, "device_label": label,
				"is_suspicious": false, "suspicious_reasons": []any{}, "is_current": false,
			}
			for key, value := range more {
				m[key] = value
			}
			return m
		}
		other := map[string]any{"is_current": true, "is_suspicious": true, "suspicious_reasons": []any{"new_user_agent"}}
		for _, row := range []struct {
			name, target string
			want         []map[string]any
		}{
			{"live ones, unless asked otherwise", "/auth/sessions", []map[string]any{
				item(phone, 1, iosChrome, "Chrome on iOS", other), item(laptop, 0, firefox, "Firefox on Linux", nil),
			}},
			{"those that ended", "/auth/sessions?status=revoked", []map[string]any{}},
		} {
			t.Run(row.name, func(t *testing.T) {
				p := s.page(t, row.target, phone.access)
				if diff := cmp.Diff(page{Data: row.want}, p); diff != "" {
					t.Error(diff)
				}
			})
		}
		t.Run("the microseconds of times are told", func(t *testing.T) {
			s.clock.Advance(120 * time.Microsecond)
			tv := s.loginWith(t, "ann@example.com", "tv")
			first := s.page(t, "/auth/sessions?limit=1", tv.access).Data[0]
			if at := first["created_at"].(string); !strings.HasSuffix(at, ".000120Z") || first["device_label"] != "Unknown" {
				t.Errorf("%v", first)
			}
		})
		t.Run("page by page", func(t *testing.T) {
			s.delete("/auth/sessions/"+laptop.id, `{"reason":"sold"}`, bearer(phone.access)...)
			for _, status := range []string{"active", "revoked", "all"} {
				want := s.page(t, "/auth/sessions?limit=200&status="+status, phone.access).Data
				if diff := cmp.Diff(want, s.whole(t, "/auth/sessions?limit=1&status="+status, phone.access)); diff != "" || len(want) == 0 {
					t.Errorf("%s: %s", status, diff)
				}
			}
		})
		t.Run("a cursor is good for its query only", func(t *testing.T) {
			next := *s.page(t, "/auth/sessions?limit=1", phone.access).NextCursor
			s.page(t, "/auth/sessions?limit=2&status=active&cursor="+next, phone.access) // another limit is the same query
			bob := s.loginWith(t, "bob@example.com", firefox)
			for _, target := range []string{"/auth/sessions?status=all&cursor=" + next, "/auth/history?cursor=" + next, "/auth/sessions?cursor=" + next + "A"} {
				s.get(target, bearer(phone.access)...).refused(t, fault.InvalidCursor)
			}
			s.get("/auth/sessions?cursor="+next, bearer(bob.access)...).refused(t, fault.InvalidCursor)
			s.get("/auth/sessions?cursor="+strings.Repeat("A", 5000), bearer(phone.access)...).refused(t, fault.InvalidCursor)
			s.get("/auth/sessions?cursor="+url.QueryEscape("é≠"), bearer(phone.access)...).refused(t, fault.InvalidCursor)
		})
		for _, row := range []struct{ query, field, message string }{
			{"limit=0", "limit", "must be at least 1"},
			{"limit=201", "limit", "must be at most 200"},
			{"limit=-1", "limit", "must be at least 1"},
			{"limit=ten", "limit", "must be a whole number"},
		} {
			t.Run(row.query, func(t *testing.T) {
				for _, path := range []string{"/auth/sessions?", "/auth/history?"} {
					s.get(path+row.query).refused(t, fault.ValidationError, fault.Field{Field: row.field, Message: row.message})
				}
			})
		}
		t.Run("an unknown status", func(t *testing.T) {
			s.get("/auth/sessions?status=expired").refused(t, fault.ValidationError, fault.Field{Field: "status", Message: "must be one of active, revoked, all"})
		})
		t.Run("to nobody else", func(t *testing.T) {
			s.get("/auth/sessions").refused(t, fault.InvalidToken)
			s.get("/auth/history").refused(t, fault.InvalidToken)
		})
	})
}

func TestOneSessionIsEnded(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		s.verified(t, "ann@example.com")
		s.verified(t, "bob@example.com")
		bob := s.loginWith(t, "bob@example.com", firefox)
		mine, lost := s.loginWith(t, "ann@example.com", firefox), s.loginWith(t, "ann@example.com", iosChrome)
		path := func(d device) string { return "/auth/sessions/" + d.id }
		s.events(t)

		for _, row := range []struct {
			name, target, body string
			headers            []string
			code               fault.Code
			fields             []fault.Field
		}{
			{"not without a token", path(lost), "", nil, fault.InvalidToken, nil},
			{"not the current one", path(mine), "", bearer(mine.access), fault.CannotRevokeCurrent, nil},
			{"nor in capitals", "/auth/sessions/" + strings.ToUpper(mine.id), "", bearer(mine.access), fault.CannotRevokeCurrent, nil},
			{"not somebody else's", path(bob), "", bearer(mine.access), fault.InvalidSession, nil},
			{"not one that never was", "/auth/sessions/" + nobodys, "", bearer(mine.access), fault.InvalidSession, nil},
			{"an id is a UUID", "/auth/sessions/current", "", bearer(mine.access), fault.ValidationError, []fault.Field{{Field: "session_id", Message: "must be a UUID"}}},
			{"a reason says something", path(lost), `{"reason":""}`, bearer(mine.access), fault.ValidationError, []fault.Field{{Field: "reason", Message: "must not be empty"}}},
			{"but not much", path(lost), fmt.Sprintf(`{"reason":%q}`, strings.Repeat("é", 65)), bearer(mine.access), fault.ValidationError,
				[]fault.Field{{Field: "reason", Message: "must be at most 64 characters long"}}},
			{"a reason is text", path(lost), `{"reason":1}`, bearer(mine.access), fault.ValidationError, []fault.Field{{Field: "reason", Message: "must be text"}}},
			{"that can be stored", path(lost), `{"reason":"a\u0000"}`, bearer(mine.access), fault.ValidationError, []fault.Field{{Field: "reason", Message: "must be text"}}},
			{"a body is JSON", path(lost), `{`, bearer(mine.access), fault.MalformedRequest, nil},
		} {
			t.Run(row.name, func(t *testing.T) {
				s.delete(row.target, row.body, row.headers...).refused(t, row.code, row.fields...)
				s.recorded(t)
			})
		}
		t.Run("with a reason", func(t *testing.T) {
			s.get("/auth/validate", bearer(lost.access)...).want(t, http.StatusNoContent, "")
			reason := strings.Repeat("é", 64)
			s.delete(path(lost), fmt.Sprintf(`{"reason":%q}`, reason), bearer(mine.access)...).
				want(t, http.StatusOK, fmt.Sprintf(`{"session_id":%q,"revoke_reason":%q}`, lost.id, reason))
			s.recorded(t, fmt.Sprintf(`session.revoked by ann@example.com on ann@example.com {"reason":%q,"session_id":"<id>"}`, reason))
			s.get("/auth/validate", bearer(lost.access)...).refused(t, fault.SessionExpired)
			s.post("/auth/token", refreshBody(lost.refresh)).refused(t, fault.SessionExpired)
			s.events(t)
			ended := s.page(t, "/auth/sessions?status=revoked", mine.access).Data
			if len(ended) != 1 || ended[0]["revoke_reason"] != reason || ended[0]["revoked_at"] == nil {
				t.Errorf("%v", ended)
			}
		})
		t.Run("not twice", func(t *testing.T) {
			s.delete(path(lost), "", bearer(mine.access)...).refused(t, fault.SessionRevoked)
			s.recorded(t)
		})
		for _, body := range []string{"", "null", "{}", `{"reason":null}`, `{"other":1}`} {
			t.Run("without one: "+body, func(t *testing.T) {
				other := s.loginWith(t, "ann@example.com", firefox)
				s.events(t)
				s.delete(path(other), body, bearer(mine.access)...).
					want(t, http.StatusOK, fmt.Sprintf(`{"session_id":%q,"revoke_reason":"self_targeted"}`, other.id))
				s.recorded(t, `session.revoked by ann@example.com on ann@example.com {"reason":"self_targeted","session_id":"<id>"}`)
			})
		}
		s.get("/auth/validate", bearer(mine.access)...).want(t, http.StatusNoContent, "")
		s.get("/auth/validate", bearer(bob.access)...).want(t, http.StatusNoContent, "")
	})
}

func TestTheOtherSessionsAreEnded(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		s.verified(t, "ann@example.com")
		s.verified(t, "bob@example.com")
		bob := s.loginWith(t, "bob@example.com", firefox)
		a, mine, b := s.loginWith(t, "ann@example.com", firefox), s.loginWith(t, "ann@example.com", firefox), s.loginWith(t, "ann@example.com", iosChrome)
		s.events(t)

		s.delete("/auth/sessions", "").refused(t, fault.InvalidToken)
		s.delete("/auth/sessions", `{"reason":""}`, bearer(mine.access)...).
			refused(t, fault.ValidationError, fault.Field{Field: "reason", Message: "must not be empty"})
		r := s.delete("/auth/sessions", "", bearer(mine.access)...)
		var got struct {
			IDs    []string `json:"revoked_session_ids"`
			Count  int      `json:"revoked_session_count"`
			Reason string   `json:"revoke_reason"`
		}
		if err := json.Unmarshal([]byte(r.body), &got); err != nil || r.status != http.StatusOK {
			t.Fatalf("%d %s", r.status, r.body)
		}
		want := map[string]bool{a.id: true, b.id: true}
		for _, id := range got.IDs {
			delete(want, id)
		}
		if len(want) != 0 || len(got.IDs) != 2 || got.Count != 2 || got.Reason != "self_revoke_others" {
			t.Errorf("%s", r.body)
		}
		s.recorded(t, `session.revoked by ann@example.com on ann@example.com {"reason":"self_revoke_others","revoked_session_count":2,"session_ids":["<id>","<id>"]}`)
		for _, d := range []device{a, b} {
			s.get("/auth/validate", bearer(d.access)...).refused(t, fault.SessionExpired)
			s.post("/auth/token", refreshBody(d.refresh)).refused(t, fault.SessionExpired)
		}
		for _, d := range []device{mine, bob} {
			s.get("/auth/validate", bearer(d.access)...).want(t, http.StatusNoContent, "")
		}
		s.events(t)
		s.delete("/auth/sessions", `{"reason":"tidy"}`, bearer(mine.access)...).
			want(t, http.StatusOK, `{"revoked_session_ids":[],"revoked_session_count":0,"revoke_reason":"tidy"}`)
		s.recorded(t, `session.revoked by ann@example.com on ann@example.com {"reason":"tidy","revoked_session_count":0,"session_ids":[]}`)
	})
}

func TestTheHistoryIsListed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		s.verified(t, "ann@example.com")
		s.verified(t, "bob@example.com")
		s.loginWith(t, "bob@example.com", firefox)
		s.clock.Advance(time.Second)
		ann := s.loginWith(t, "ann@example.com", firefox)
		s.clock.Advance(time.Second)
		s.post("/auth/login", credentials("ann@example.com", "Wrong-Horse-7"), "User-Agent", iosChrome)
		s.clock.Advance(time.Second)
		s.delete("/auth/sessions", `{"reason":"tidy"}`, append(bearer(ann.access), "User-Agent", firefox)...)

		list := s.page(t, "/auth/history?limit=2", ann.access).Data
		at := func(before time.Duration) string { return s.clock.Now().Add(-before).Format("2006-01-02T15:04:05Z") }
		want := []map[string]any{
			{
				"event_type": "session.revoked", "created_at": at(0), "ip_address": "127.0.0.1", "user_agent": firefox, "success": true,
				"failure_reason": nil, "metadata": map[string]any{"reason": "tidy", "revoked_session_count": 0.0, "session_ids": []any{}},
			},
			{
				"event_type": "user.login.failure", "created_at": at(time.Second), "ip_address": "127.0.0.1", "user_agent": iosChrome, "success": false,
				"failure_reason": "invalid_credentials", "metadata": map[string]any{"provider": "password"},
			},
		}
		for _, item := range list {
			if id, _ := item["id"].(string); uuid.Validate(id) != nil {
				t.Errorf("no id: %v", item)
			}
			delete(item, "id")
		}
		if diff := cmp.Diff(want, list); diff != "" {
			t.Error(diff)
		}
		whole := s.page(t, "/auth/history?limit=200", ann.access).Data
		if diff := cmp.Diff(whole, s.whole(t, "/auth/history?limit=1", ann.access)); diff != "" {
			t.Error(diff)
		}
		var types []string
		for _, item := range whole {
			types = append(types, item["event_type"].(string))
		}
		if n := strings.Count(strings.Join(types, " "), "user.login.success"); n != 1 {
			t.Errorf("%d sign-ins, bob's too: %v", n, types)
		}
	})
}

// A session in cookies lists and ends sessions too, with its CSRF token.
func TestOwnSessionsInCookies(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		s.Browser = web.Browser{
			Enabled: true, Infer: true, TransportHeader: "X-Auth-Session-Transport", CSRFHeader: "X-CSRF-Token", Origins: []string{baseURL}, SameSite: "lax",
			Access: web.Cookie{Name: "access", Path: "/"}, Refresh: web.Cookie{Name: "refresh", Path: "/auth"}, CSRF: web.Cookie{Name: "csrf", Path: "/"},
		}
		s.mount()
		s.verified(t, "ann@example.com")
		other := s.loginWith(t, "ann@example.com", firefox)
		csrf := s.get("/auth/csrf").field(t, "csrf_token")
		protected := func(access string) []string {
			return []string{"Cookie", "access=" + access + "; csrf=" + csrf, "X-CSRF-Token", csrf, "Sec-Fetch-Site", "same-origin"}
		}
		signedIn := s.post("/auth/login", credentials("ann@example.com", good), append(protected(""), "X-Auth-Session-Transport", "cookie")...)
		var access string
		for _, c := range (&http.Response{Header: signedIn.header}).Cookies() {
			if c.Name == "access" {
				access = c.Value
			}
		}
		if access == "" {
			t.Fatalf("%d %s", signedIn.status, signedIn.body)
		}
		if r := s.get("/auth/sessions", "Cookie", "access="+access); r.status != http.StatusOK || !strings.Contains(r.body, other.id) {
			t.Errorf("%d %s", r.status, r.body)
		}
		if r := s.get("/auth/history", "Cookie", "access="+access); r.status != http.StatusOK {
			t.Errorf("%d %s", r.status, r.body)
		}
		for _, target := range []string{"/auth/sessions", "/auth/sessions/" + other.id} {
			s.delete(target, "", "Cookie", "access="+access).refused(t, fault.InvalidCSRFToken)
		}
		s.delete("/auth/sessions/"+other.id, "", protected(access)...).
			want(t, http.StatusOK, fmt.Sprintf(`{"session_id":%q,"revoke_reason":"self_targeted"}`, other.id))
		s.delete("/auth/sessions", "", protected(access)...).
			want(t, http.StatusOK, `{"revoked_session_ids":[],"revoked_session_count":0,"revoke_reason":"self_revoke_others"}`)
	})
}
