package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// send sends any body and returns status and JSON.
func (v *server) send(method, path, kind, body string, header ...string) (status int, out map[string]any) {
	v.t.Helper()
	req, err := http.NewRequestWithContext(v.t.Context(), method, v.Base+path, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := v.HTTP.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		v.t.Fatal(err)
	}
	return res.StatusCode, out
}

// grant asks for a client's token.
func (v *server) grant(id, secret string, more ...string) (status int, out map[string]any) {
	v.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return v.send("POST", "/auth/token", "application/x-www-form-urlencoded", form.Encode())
}

// introspect asks about a key.
func (v *server) introspect(key string, header ...string) (status int, out map[string]any) {
	v.t.Helper()
	return v.send("POST", "/auth/introspect", "application/json", `{"api_key":"`+key+`"}`, header...)
}

// command runs a command that prints JSON.
func (s *store) command(t *testing.T, into any, args ...string) {
	t.Helper()
	p := s.authd(t, nil, append(args, "--json")...)
	out := []byte(p.Output())
	if at := bytes.IndexByte(out, '{'); at >= 0 {
		out = out[at:]
	}
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(into); err != nil {
		t.Fatalf("authd %v: %v\n%s", args, err, p.Output())
	}
}

type madeClient struct {
	ID       string `json:"id"`
	ClientID string `json:"client_id"`
	Secret   string `json:"client_secret"`
}

func TestAMachineClientFromItsMakingToItsEnd(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t)
		o := v.admin()
		var c madeClient
		if _, err := o.Act(t.Context(), "", &c, "POST", "/admin/clients", map[string]any{"name": "billing", "scopes": []string{"a", "b"}, "audiences": []string{"orders-api"}}); err != nil {
			t.Fatal(err)
		}
		status, out := v.grant(c.ClientID, c.Secret, "scope", "a", "audience", "orders-api")
		if status != 200 || out["token_type"] != "Bearer" || out["scope"] != "a" || out["expires_in"] != 3600.0 {
			t.Fatalf("%d %v", status, out)
		}
		header, payload := claims(t, out["access_token"].(string))
		if header["typ"] != "at+jwt" || payload["type"] != "m2m" || payload["sub"] != c.ClientID || payload["role"] != "service" || fmt.Sprint(payload["aud"]) != "[auth-service orders-api]" {
			t.Errorf("claims %v %v", header, payload)
		}
		for _, refused := range []struct {
			more   []string
			status int
			error  string
		}{
			{[]string{"client_secret", "no"}, 401, "invalid_client"},
			{[]string{"grant_type", "password"}, 400, "unsupported_grant_type"},
			{[]string{"scope", "c"}, 400, "invalid_scope"},
			{[]string{"audience", "users-api"}, 400, "invalid_target"},
			{[]string{"audience", strings.Repeat("x", 600)}, 400, "invalid_request"},
		} {
			if status, out := v.grant(c.ClientID, c.Secret, refused.more...); status != refused.status || out["error"] != refused.error || out["code"] == nil {
				t.Errorf("%v: %d %v", refused.more, status, out)
			}
		}
		var rotated madeClient
		path := "/admin/clients/" + c.ID
		if _, err := o.Act(t.Context(), c.ID, &rotated, "POST", path+"/rotate-secret", nil); err != nil {
			t.Fatal(err)
		}
		old, _ := v.grant(c.ClientID, c.Secret)
		fresh, _ := v.grant(c.ClientID, rotated.Secret)
		if old != 401 || fresh != 200 {
			t.Errorf("after the rotation: the old secret %d, the new one %d", old, fresh)
		}
		if _, err := o.Act(t.Context(), c.ID, nil, "PATCH", path, map[string]any{"is_active": false}); err != nil {
			t.Fatal(err)
		}
		if status, _ := v.grant(c.ClientID, rotated.Secret); status != 401 {
			t.Errorf("an inactive client: %d", status)
		}
		if a, err := o.Signed(t.Context(), nil, "GET", "/admin/clients?active=false", nil); err != nil || !bytes.Contains(a.Body, []byte(c.ID)) {
			t.Errorf("the list: %v", err)
		}
		if _, err := o.Act(t.Context(), c.ID, nil, "DELETE", path, nil); err != nil {
			t.Fatal(err)
		}
		for _, request := range []string{"GET " + path, "PATCH " + path, "DELETE " + path, "POST " + path + "/rotate-secret"} {
			method, path, _ := strings.Cut(request, " ")
			var body any
			if method == "PATCH" {
				body = map[string]any{}
			}
			_, err := o.Act(t.Context(), c.ID, nil, method, path, body)
			refuses(t, err, 404, "client_not_found")
		}
		_, err := o.Act(t.Context(), "", nil, "POST", "/admin/clients", map[string]any{"name": "x", "scopes": []string{" "}})
		refuses(t, err, 400, "invalid_scope")
		_, err = o.Signed(t.Context(), nil, "GET", "/admin/clients?cursor=x", nil)
		refuses(t, err, 422, "invalid_cursor")
	})
}

func TestAnAPIKeyFromItsMakingToItsEnd(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t)
		o := v.admin()
		type made struct {
			ID  string `json:"key_id"`
			Key string `json:"api_key"`
		}
		var free, owned, rotated made
		act := func(target string, into any, method, path string, body any) error {
			_, err := o.Act(t.Context(), target, into, method, path, body)
			return err
		}
		owner := s.idOf(t, v.account())
		if err := act("", &free, "POST", "/admin/api-keys", map[string]any{"name": "ci", "scope": "orders:read"}); err != nil {
			t.Fatal(err)
		}
		if err := act("", &owned, "POST", "/auth/apikeys", map[string]any{"name": "jo", "scope": "a,b", "user_id": owner}); err != nil {
			t.Fatal(err)
		}
		if status, out := v.introspect(free.Key); status != 200 || out["valid"] != true || out["service"] != "orders" || out["key_id"] != free.ID {
			t.Errorf("%d %v", status, out)
		}
		if err := act(free.ID, &rotated, "POST", "/admin/api-keys/"+free.ID+"/rotate", nil); err != nil {
			t.Fatal(err)
		}
		_, old := v.introspect(free.Key)
		_, fresh := v.introspect(rotated.Key)
		if old["code"] != "invalid_api_key" || fresh["valid"] != true {
			t.Errorf("after the rotation: %v %v", old, fresh)
		}
		if err := act(free.ID, nil, "DELETE", "/admin/api-keys/"+free.ID, nil); err != nil {
			t.Fatal(err)
		}
		if _, out := v.introspect(rotated.Key); out["code"] != "revoked_api_key" {
			t.Errorf("after its revocation: %v", out)
		}
		if err := act(owner, nil, "POST", "/admin/users/"+owner+"/deactivate", nil); err != nil {
			t.Fatal(err)
		}
		if _, out := v.introspect(owned.Key); out["code"] != "revoked_api_key" {
			t.Errorf("of a closed account: %v", out)
		}
		refuses(t, act(free.ID, nil, "POST", "/admin/api-keys/"+free.ID+"/rotate", nil), 409, "api_key_revoked")
		for _, request := range []string{"POST /admin/api-keys/%s/rotate", "DELETE /admin/api-keys/%s", "POST /auth/apikeys/%s/revoke"} {
			method, path, _ := strings.Cut(fmt.Sprintf(request, nobodys), " ")
			refuses(t, act(nobodys, nil, method, path, nil), 404, "api_key_not_found")
		}
		if err := act(owned.ID, nil, "POST", "/auth/apikeys/"+owned.ID+"/revoke", nil); err != nil {
			t.Error(err)
		}
		refuses(t, act("", nil, "POST", "/auth/apikeys", map[string]any{"name": "x", "scope": "a", "user_id": nobodys}), 404, "invalid_user")
		refuses(t, act("", nil, "POST", "/auth/apikeys", map[string]any{"name": "x", "scope": ","}), 400, "invalid_api_key")
		refuses(t, act("", nil, "POST", "/admin/api-keys", map[string]any{"name": "x", "scope": ","}), 400, "invalid_api_key")
		refuses(t, act("", nil, "GET", "/admin/api-keys?cursor=x", nil), 422, "invalid_cursor")
		if a, err := o.Ask(t.Context(), "GET", "/auth/apikeys?active=false", nil); err != nil || !bytes.Contains(a.Body, []byte(free.ID)) {
			t.Errorf("the list: %v %s", err, a.Body)
		}
		if a, err := o.Ask(t.Context(), "GET", "/admin/api-keys", nil); err != nil || bytes.Contains(a.Body, []byte("user_id")) {
			t.Errorf("the admin's list: %v %s", err, a.Body)
		}
		await(t, 10*time.Second, "the uses are recorded", func() bool {
			return s.count(t, `SELECT COUNT(*) FROM audit_events WHERE event_type = 'api_key.used'`) >= 4
		})
	})
}

func TestMachinesAtTheCommandLineBesideARunningServer(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t, "INTROSPECTION__REQUIRE_CALLER=true")
		var c, rotated madeClient
		s.command(t, &c, "client", "create", "gateway", "--scope", "a", "--ttl", "5m")
		var key struct {
			ID  string `json:"key_id"`
			Key string `json:"api_key"`
		}
		s.command(t, &key, "apikey", "create", "--name", "ci", "--scope", "a")
		basic := func(secret string) string {
			return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.ClientID+":"+secret))
		}
		if status, out := v.introspect(key.Key); status != 401 || out["code"] != "invalid_token" {
			t.Errorf("without a credential: %d %v", status, out)
		}
		if status, out := v.introspect(key.Key, "Authorization", basic(c.Secret)); status != 200 || out["valid"] != true {
			t.Errorf("with one: %d %v", status, out)
		}
		_, out := v.grant(c.ClientID, c.Secret)
		token, _ := out["access_token"].(string)
		if status, _ := v.introspect(key.Key, "Authorization", "Bearer "+token); status != 200 {
			t.Errorf("with a token: %d", status)
		}
		s.command(t, &rotated, "client", "rotate-secret", c.ID)
		await(t, patience, "the server hears of the rotation", func() bool {
			status, _ := v.introspect(key.Key, "Authorization", basic(c.Secret))
			return status == 401
		})
		if status, _ := v.introspect(key.Key, "Authorization", "Bearer "+token); status != 401 {
			t.Errorf("with a token of before the rotation: %d", status)
		}
		s.command(t, &struct{}{}, "apikey", "revoke", key.ID)
		await(t, patience, "the server hears of the revocation", func() bool {
			_, out := v.introspect(key.Key, "Authorization", basic(rotated.Secret))
			return out["code"] == "revoked_api_key"
		})
		s.command(t, &struct{}{}, "client", "list")
		s.command(t, &struct{}{}, "apikey", "list")
		s.command(t, &struct{}{}, "client", "delete", c.ID)
		if p := s.authd(t, nil, "client", "show", c.ID); !strings.Contains(p.Output(), "Client not found.") {
			t.Errorf("a deleted client: %s", p.Output())
		}
	})
}
