package httpapi_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

const formType = "application/x-www-form-urlencoded"

// client makes a machine client over the API.
func (s *service) client(t *testing.T, access, body string) (id, clientID, secret string) {
	t.Helper()
	r := s.post("/admin/clients", body, bearer(access)...)
	return r.field(t, "id"), r.field(t, "client_id"), r.field(t, "client_secret")
}

// grant asks for a token with a form; headers come in pairs.
func (s *service) grant(form url.Values, headers ...string) reply {
	return s.post("/auth/token", form.Encode(), append([]string{"Content-Type", formType}, headers...)...)
}

func credentialsOf(id, secret string, more ...string) url.Values {
	v := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}
	for i := 0; i < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return v
}

func basic(id, secret string) []string {
	return []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))}
}

// patch sends a PATCH.
func (s *service) patch(target, body string, headers ...string) reply {
	return s.send(request("PATCH", target, body, headers...))
}

func payload(t *testing.T, token string) (claims map[string]any) {
	t.Helper()
	raw := must(base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1]))(t)
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestAClientGetsTokensByBodyAndByBasic(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, _ := build(t, d)
		_, access := s.admin(t, "root@example.com")
		_, clientID, secret := s.client(t, access, `{"name":"billing","scopes":[" orders:read ","orders:write","orders:read",""],"audiences":["orders-api"],"token_ttl_seconds":120}`)
		s.recorded(t, `client.created by root@example.com on a oauth_client {"client_id":"`+clientID+`","scopes":["orders:read","orders:write"]}`)

		r := s.grant(credentialsOf(clientID, secret, "audience", "orders-api", "scope", "orders:write  orders:write"))
		token := r.field(t, "access_token")
		r.want(t, 200, `{"access_token":"`+token+`","token_type":"Bearer","expires_in":120,"scope":"orders:write"}`)
		if r.header.Get("Cache-Control") != "no-store" || r.header.Get("Pragma") != "no-cache" {
			t.Errorf("headers %v", r.header)
		}
		claims := payload(t, token)
		now := float64(s.clock.Now().Unix())
		for name, want := range map[string]any{
			"iss": baseURL, "sub": clientID, "client_id": clientID, "type": "m2m", "role": "service", "scope": "orders:write", "epoch": 1.0,
			"iat": now, "exp": now + 120,
		} {
			if claims[name] != want {
				t.Errorf("%s is %v, want %v", name, claims[name], want)
			}
		}
		if aud, _ := json.Marshal(claims["aud"]); string(aud) != `["auth-service","orders-api"]` {
			t.Errorf("aud %s", aud)
		}
		r = s.grant(url.Values{"grant_type": {"client_credentials"}}, basic(clientID, secret)...)
		if got := r.field(t, "scope"); r.status != 200 || got != "orders:read orders:write" {
			t.Errorf("by Basic: %d %s", r.status, r.body)
		}
		s.get("/auth/validate", bearer(token)...).refused(t, fault.InvalidToken) // it is nobody's session
	})
}

func TestRefusalsOfATokenAreThoseOfRFC6749AndOurEnvelope(t *testing.T) {
	s, _ := build(t, dbtest.SQLite(t))
	_, access := s.admin(t, "root@example.com")
	_, id, secret := s.client(t, access, `{"name":"billing","scopes":["a"],"audiences":["orders-api"]}`)
	s.events(t)
	good := credentialsOf(id, secret)
	with := func(more ...string) url.Values { return credentialsOf(id, secret, more...) }
	for name, c := range map[string]struct {
		form    url.Values
		headers []string
		status  int
		error   string
		code    string
		detail  string
		basic   bool
	}{
		"another grant type": {form: with("grant_type", "password"), status: 400, error: "unsupported_grant_type", code: "invalid_credentials", detail: "Unsupported grant type."},
		"no secret":          {form: credentialsOf(id, ""), status: 401, error: "invalid_client", code: "invalid_credentials", detail: "Invalid client credentials."},
		"another secret":     {form: credentialsOf(id, secret+"x"), status: 401, error: "invalid_client", code: "invalid_credentials", detail: "Invalid client credentials."},
		"unknown":            {form: credentialsOf("client_unknown", secret), status: 401, error: "invalid_client", code: "invalid_credentials", detail: "Invalid client credentials."},
		"wrong by Basic":     {form: url.Values{"grant_type": {"client_credentials"}}, headers: basic(id, "no"), status: 401, error: "invalid_client", code: "invalid_credentials", detail: "Invalid client credentials.", basic: true},
		"both methods":       {form: good, headers: basic(id, secret), status: 400, error: "invalid_request", code: "validation_error", detail: fault.ValidationError.Detail},
		"too long":           {form: with("audience", strings.Repeat("x", 513)), status: 400, error: "invalid_request", code: "validation_error", detail: fault.ValidationError.Detail},
		"a NUL":              {form: with("scope", "a\x00"), status: 400, error: "invalid_request", code: "validation_error", detail: fault.ValidationError.Detail},
		"another scope":      {form: with("scope", "a b"), status: 400, error: "invalid_scope", code: "invalid_scope", detail: "Invalid scope."},
		"another audience":   {form: with("audience", "users-api"), status: 400, error: "invalid_target", code: "audience_not_allowed", detail: "This audience is not allowed."},
		"no audience":        {form: with("audience", "a b"), status: 400, error: "invalid_target", code: "audience_not_allowed", detail: "This audience is not allowed."},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.grant(c.form, c.headers...)
			r.want(t, c.status, string(must(json.Marshal(map[string]string{
				"error": c.error, "error_description": c.detail, "detail": c.detail, "code": c.code,
			}))(t)))
			want := ""
			if c.basic {
				want = `Basic realm="authd"`
			}
			if got := r.header.Get("WWW-Authenticate"); got != want {
				t.Errorf("WWW-Authenticate %q, want %q", got, want)
			}
		})
	}
	s.post("/auth/token", "a=%zz", "Content-Type", formType).want(t, 400,
		`{"error":"invalid_request","error_description":"Some fields are not valid.","detail":"Some fields are not valid.","code":"validation_error"}`)
	if r := s.post("/auth/token", strings.Repeat("a", 17<<10), "Content-Type", formType); r.status != 413 || r.field(t, "error") != "invalid_request" {
		t.Errorf("a form of 17 KiB: %d %s", r.status, r.body)
	}
	for _, line := range s.events(t) {
		if strings.Contains(line, secret) || strings.Contains(line, "client_unknown") {
			t.Errorf("what a stranger typed is recorded: %s", line)
		}
	}
}

func TestAClientIsChangedRotatedAndDeleted(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, _ := build(t, d)
		_, access := s.admin(t, "root@example.com")
		row, id, first := s.client(t, access, `{"name":"billing","scopes":["a","b"]}`)
		path := "/admin/clients/" + row
		works := func(secret string) bool { return s.grant(credentialsOf(id, secret)).status == 200 }
		if !works(first) {
			t.Fatal("the first secret does not work")
		}

		r := s.post(path+"/rotate-secret", `{"overlap_seconds":60}`, bearer(access)...)
		second := r.field(t, "client_secret")
		if got, want := r.field(t, "old_secret_until"), s.clock.Now().Add(time.Minute).Format(time.RFC3339); got != want {
			t.Errorf("old_secret_until %s, want %s", got, want)
		}
		if !works(first) || !works(second) {
			t.Error("both secrets should work in the overlap")
		}
		s.clock.Advance(61 * time.Second)
		if works(first) || !works(second) {
			t.Error("after the overlap only the second should work")
		}
		r = s.post(path+"/rotate-secret", "", bearer(access)...)
		third := r.field(t, "client_secret")
		if works(second) || !works(third) || !strings.Contains(r.body, `"old_secret_until":null`) {
			t.Errorf("without an overlap: %s", r.body)
		}

		if r := s.patch(path, `{"scopes":["a"],"name":"bills","token_ttl_seconds":null}`, bearer(access)...); r.status != 200 || !strings.Contains(r.body, `"scopes":["a"]`) {
			t.Errorf("%d %s", r.status, r.body)
		}
		if r := s.grant(credentialsOf(id, third, "scope", "b")); r.status != 400 {
			t.Errorf("a scope taken away: %d", r.status)
		}
		s.patch(path, `{"is_active":false}`, bearer(access)...)
		if works(third) {
			t.Error("an inactive client gets tokens")
		}
		if r := s.get("/admin/clients?active=false", bearer(access)...); !strings.Contains(r.body, row) {
			t.Errorf("the list of inactive clients: %s", r.body)
		}
		if r := s.get("/admin/clients?active=true", bearer(access)...); strings.Contains(r.body, row) {
			t.Errorf("the list of active clients: %s", r.body)
		}
		s.patch(path, `{"is_active":true}`, bearer(access)...)
		if !works(third) {
			t.Error("an active client gets none")
		}
		if r := s.delete(path, "", bearer(access)...); r.status != 200 || !strings.Contains(r.body, `"is_active":false`) {
			t.Errorf("%d %s", r.status, r.body)
		}
		if works(third) {
			t.Error("a deleted client gets tokens")
		}
		s.get(path, bearer(access)...).refused(t, fault.ClientNotFound)
		s.delete(path, "", bearer(access)...).refused(t, fault.ClientNotFound)
		s.patch(path, `{}`, bearer(access)...).refused(t, fault.ClientNotFound)
		s.post(path+"/rotate-secret", "", bearer(access)...).refused(t, fault.ClientNotFound)
	})
}

func TestAClientMustBeOneThatTokensCanDescribe(t *testing.T) {
	s, _ := build(t, dbtest.SQLite(t))
	_, access := s.admin(t, "root@example.com")
	for body, field := range map[string]string{
		`{"name":" ","scopes":["a"]}`:                                 "name",
		`{"name":"x","scopes":["a b"]}`:                               "scopes",
		`{"name":"x","scopes":["a"],"audiences":["a b"]}`:             "audiences",
		`{"name":"x","scopes":["a"],"token_ttl_seconds":86401}`:       "token_ttl_seconds",
		`{"name":"x","scopes":["a"],"token_ttl_seconds":99999999999}`: "token_ttl_seconds",
	} {
		r := s.post("/admin/clients", body, bearer(access)...)
		if r.status != 422 || !strings.Contains(r.body, `"field":"`+field+`"`) {
			t.Errorf("%s: %d %s", body, r.status, r.body)
		}
	}
	s.post("/admin/clients", `{"name":"x","scopes":[" "]}`, bearer(access)...).refused(t, fault.InvalidScope)
}

func (s *service) introspect(key string, headers ...string) reply {
	return s.post("/auth/introspect", `{"api_key":"`+key+`"}`, headers...)
}

func TestAnAPIKeyIsIntrospectedRotatedAndRevoked(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, _ := build(t, d)
		_, access := s.admin(t, "root@example.com")
		owner := s.account(t, "jo@example.com", "user").String()
		until := s.clock.Now().Add(time.Hour)
		r := s.post("/auth/apikeys", `{"name":"ci","scope":"orders:read, orders:write,","user_id":"`+owner+`","expires_at":"`+until.Format(time.RFC3339)+`"}`, bearer(access)...)
		id, key := r.field(t, "key_id"), r.field(t, "api_key")
		if r.field(t, "service") != "orders" || r.field(t, "user_id") != owner {
			t.Errorf("made %s", r.body)
		}
		good := `{"valid":true,"user_id":"` + owner + `","scopes":["orders:read","orders:write"],"key_id":"` + id + `","expires_at":"` +
			until.UTC().Format("2006-01-02T15:04:05+00:00") + `","service":"orders"}`
		s.introspect(key).want(t, 200, good)
		s.post("/auth/introspect", ` { "api_key" : "`+key+`" } `).want(t, 200, good)
		s.post("/auth/introspect", `{"more":1,"api_key":"\u0073`+key[1:]+`"}`).want(t, 200, good) // not the quick way
		s.introspect("sk_unknown").want(t, 200, `{"valid":false,"code":"invalid_api_key"}`)
		s.introspect(key[:51]+"_").want(t, 200, `{"valid":false,"code":"invalid_api_key"}`)

		r = s.post("/admin/api-keys/"+id+"/rotate", `{"overlap_seconds":60}`, bearer(access)...)
		second := r.field(t, "api_key")
		s.introspect(key).want(t, 200, good)
		s.introspect(second).want(t, 200, good)
		s.clock.Advance(61 * time.Second)
		s.introspect(key).want(t, 200, `{"valid":false,"code":"invalid_api_key"}`)
		s.introspect(second).want(t, 200, good)

		first := s.post("/auth/apikeys/"+id+"/revoke", "", bearer(access)...)
		s.introspect(second).want(t, 200, `{"valid":false,"code":"revoked_api_key"}`)
		again := s.delete("/admin/api-keys/"+id, "", bearer(access)...)
		at := s.clock.Now().UTC().Format("2006-01-02T15:04:05")
		first.want(t, 200, `{"detail":"API key revoked.","code":"revoked_api_key","key_id":"`+id+`","revoked_at":"`+at+`+00:00"}`)
		again.want(t, 200, `{"key_id":"`+id+`","revoked_at":"`+at+`Z"}`)
		s.post("/admin/api-keys/"+id+"/rotate", "", bearer(access)...).refused(t, fault.APIKeyRevoked)
		s.post("/admin/api-keys/"+nobody+"/rotate", "", bearer(access)...).refused(t, fault.APIKeyNotFound)
		s.post("/auth/apikeys/"+nobody+"/revoke", "", bearer(access)...).refused(t, fault.APIKeyNotFound)
		revocations := 0
		for _, line := range s.events(t) {
			if strings.HasPrefix(line, "api_key.revoked") {
				revocations++
			}
			if strings.Contains(line, key) {
				t.Errorf("a key is recorded: %s", line)
			}
		}
		if revocations != 1 {
			t.Errorf("%d revocations are recorded", revocations)
		}
	})
}

const nobody = "0199aaaa-0000-7000-8000-000000000000"

func TestAnExpiredKeyAndOneOfAClosedAccountAreRefused(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, _ := build(t, d)
		_, access := s.admin(t, "root@example.com")
		owner := s.account(t, "jo@example.com", "user").String()
		expiring := s.post("/admin/api-keys", `{"name":"x","scope":"a","expires_at":"`+s.clock.Now().Add(time.Second).Format(time.RFC3339)+`"}`, bearer(access)...)
		owned := s.post("/auth/apikeys", `{"service":"x","scope":"a","user_id":"`+owner+`"}`, bearer(access)...).field(t, "api_key")
		s.introspect(owned)
		s.clock.Advance(2 * time.Second)
		s.introspect(expiring.field(t, "api_key")).want(t, 200, `{"valid":false,"code":"expired_api_key"}`)
		if r := s.post("/admin/users/"+owner+"/deactivate", "", bearer(access)...); r.status != 200 {
			t.Fatal(r.body)
		}
		s.introspect(owned).want(t, 200, `{"valid":false,"code":"revoked_api_key"}`)
		s.post("/auth/apikeys", `{"service":"x","scope":"a","user_id":"`+nobody+`"}`, bearer(access)...).refused(t, fault.InvalidUser)
		s.post("/auth/apikeys", `{"service":" ","scope":"a"}`, bearer(access)...).refused(t, fault.InvalidAPIKey)
		s.post("/admin/api-keys", `{"name":"x","scope":" , "}`, bearer(access)...).refused(t, fault.InvalidAPIKey)
		if r := s.post("/auth/apikeys", `{"scope":"a"}`, bearer(access)...); r.status != 422 {
			t.Errorf("neither name nor service: %d %s", r.status, r.body)
		}
		if r := s.post("/admin/api-keys", `{"name":"x","scope":"a","expires_at":"0001-01-01T00:00:00Z"}`, bearer(access)...); r.status != 422 {
			t.Errorf("an expiry in the year 1, which is no time at all in Go: %d %s", r.status, r.body)
		}
		var all []map[string]any
		if err := json.Unmarshal([]byte(s.get("/auth/apikeys?active=true&user_id="+owner, bearer(access)...).body), &all); err != nil || len(all) != 1 || all[0]["user_id"] != owner {
			t.Errorf("the list of a user: %v %v", all, err)
		}
		if r := s.get("/admin/api-keys?active=false", bearer(access)...); !strings.Contains(r.body, expiring.field(t, "key_id")) || strings.Contains(r.body, `"user_id"`) {
			t.Errorf("the list of those that are not good: %s", r.body)
		}
	})
}

func TestAKeysOwnLimitIsKept(t *testing.T) {
	s, _ := build(t, dbtest.SQLite(t))
	_, access := s.admin(t, "root@example.com")
	key := s.post("/admin/api-keys", `{"name":"x","scope":"a","rate_limit_per_minute":2}`, bearer(access)...).field(t, "api_key")
	for range 2 {
		if r := s.introspect(key); r.status != 200 {
			t.Fatal(r.body)
		}
	}
	r := s.introspect(key)
	r.refused(t, fault.RateLimited)
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestWhoIntrospectsMustShowACredentialIfTheSettingSaysSo(t *testing.T) {
	s, _ := build(t, dbtest.SQLite(t))
	_, access := s.admin(t, "root@example.com")
	row, id, secret := s.client(t, access, `{"name":"gateway","scopes":["a"]}`)
	key := s.post("/admin/api-keys", `{"name":"x","scope":"a"}`, bearer(access)...).field(t, "api_key")
	token := s.grant(credentialsOf(id, secret)).field(t, "access_token")
	s.RequireCaller = true
	s.mount()
	for name, headers := range map[string][]string{
		"nothing": nil, "a user's token": bearer(access), "a wrong secret": basic(id, "no"), "no key": {"X-API-Key", "sk_no"}, "no token": bearer("no"),
	} {
		if r := s.introspect(key, headers...); r.status != 401 || r.field(t, "code") != "invalid_token" {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
		if r := s.post("/auth/introspect", `{"x":1,"api_key":"`+key+`"}`, headers...); r.status != 401 {
			t.Errorf("%s, not the quick way: %d %s", name, r.status, r.body)
		}
	}
	for name, headers := range map[string][]string{
		"Basic": basic(id, secret), "a token": bearer(token), "a key": {"X-API-Key", key}, "a key as bearer": bearer(key),
	} {
		if r := s.introspect(key, headers...); r.status != 200 || !strings.Contains(r.body, `"valid":true`) {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
		if r := s.post("/auth/introspect", `{"x":1,"api_key":"`+key+`"}`, headers...); r.status != 200 {
			t.Errorf("%s, not the quick way: %d %s", name, r.status, r.body)
		}
	}
	s.post("/admin/clients/"+row+"/rotate-secret", "", bearer(access)...)
	if r := s.introspect(key, bearer(token)...); r.status != http.StatusUnauthorized {
		t.Errorf("a token of before the rotation: %d", r.status)
	}
}
