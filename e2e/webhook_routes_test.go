package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/e2e/authapi"
)

// Every route of webhooks, with every code that it may answer.
func TestWebhookRoutesRefuse(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t, private)
		o := v.admin()
		h := v.hook(o, "http://127.0.0.1:1/")
		v.must(o, nil, "POST", "/admin/webhooks/"+h.ID+"/ping", nil)
		d := v.deliveries(o, h.ID, "")[0]

		person := v.login(v.account()).Access
		shared := v.colleague()
		tokens, err := v.Login(t.Context(), shared.Email, shared.Password, "orders-api")
		if err != nil {
			t.Fatal(err)
		}
		stale, coded := v.colleague(), v.colleague()
		v.change(t, `UPDATE sessions SET auth_time = '2020-01-01 00:00:00+00:00' WHERE user_id = $1`, v.idOf(t, stale.Email))
		v.change(t, `UPDATE users SET email_otp_enabled = TRUE WHERE email = $1`, coded.Email)

		good := map[string]any{"name": "x", "url": "http://127.0.0.1:1/"}
		unknown := uuid.NewString()
		for _, op := range []struct {
			method, path string // with ID for the webhook, DELIVERY for the delivery
			body         any
			bad          string // a path or a body that is not valid
			more         map[string]string
		}{
			{"GET", "/admin/webhooks", nil, "/admin/webhooks?limit=0", map[string]string{"/admin/webhooks?cursor=x": "422 invalid_cursor"}},
			{"POST", "/admin/webhooks", good, `{"name":"x"}`, nil},
			{"GET", "/admin/webhooks/ID", nil, "/admin/webhooks/x", map[string]string{"/admin/webhooks/" + unknown: "404 webhook_not_found"}},
			{"PATCH", "/admin/webhooks/ID", map[string]any{}, "/admin/webhooks/x", map[string]string{"/admin/webhooks/" + unknown: "404 webhook_not_found"}},
			{"DELETE", "/admin/webhooks/ID", nil, "/admin/webhooks/x", map[string]string{"/admin/webhooks/" + unknown: "404 webhook_not_found"}},
			{"POST", "/admin/webhooks/ID/rotate-secret", nil, "/admin/webhooks/x/rotate-secret", map[string]string{"/admin/webhooks/" + unknown + "/rotate-secret": "404 webhook_not_found"}},
			{"POST", "/admin/webhooks/ID/ping", nil, "/admin/webhooks/x/ping", map[string]string{"/admin/webhooks/" + unknown + "/ping": "404 webhook_not_found"}},
			{"GET", "/admin/webhooks/ID/deliveries", nil, "/admin/webhooks/ID/deliveries?status=lost", map[string]string{
				"/admin/webhooks/" + unknown + "/deliveries": "404 webhook_not_found", "/admin/webhooks/ID/deliveries?cursor=x": "422 invalid_cursor"}},
			{"GET", "/admin/webhooks/ID/deliveries/DELIVERY", nil, "/admin/webhooks/ID/deliveries/x", map[string]string{
				"/admin/webhooks/" + unknown + "/deliveries/DELIVERY": "404 webhook_not_found", "/admin/webhooks/ID/deliveries/" + unknown: "404 delivery_not_found"}},
			{"POST", "/admin/webhooks/deliveries/DELIVERY/retry", nil, "/admin/webhooks/deliveries/x/retry", map[string]string{"/admin/webhooks/deliveries/" + unknown + "/retry": "404 delivery_not_found"}},
			{"GET", "/webhooks", nil, "", nil},
			{"POST", "/webhooks", good, `{"name":"x"}`, nil},
			{"GET", "/webhooks/ID/deliveries", nil, "/webhooks/x/deliveries", map[string]string{"/webhooks/" + unknown + "/deliveries": "404 webhook_not_found"}},
			{"POST", "/webhooks/deliveries/DELIVERY/retry", nil, "/webhooks/deliveries/x/retry", map[string]string{"/webhooks/deliveries/" + unknown + "/retry": "404 delivery_not_found"}},
		} {
			ids := strings.NewReplacer("ID", h.ID, "DELIVERY", d.ID)
			path := ids.Replace(op.path)
			check := func(says string, a authapi.Answer, err error, want string) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				if got := strings.TrimSpace(http.StatusText(a.Status)); !strings.HasPrefix(want, strings.Fields(a.String())[0]) || !strings.HasSuffix(want, a.Envelope().Code) {
					t.Errorf("%s %s, %s: answered %s (%s), want %s", op.method, path, says, a, got, want)
				}
			}
			bearer := func(token string) []string { return []string{"Authorization", "Bearer " + token} }
			a, err := v.Do(t.Context(), op.method, path, op.body)
			check("nobody", a, err, "401 invalid_token")
			a, err = v.Do(t.Context(), op.method, path, op.body, bearer(person)...)
			check("a user", a, err, "403 insufficient_role")
			a, err = v.Do(t.Context(), op.method, path, op.body, bearer(tokens.Access)...)
			check("a token for another service, too", a, err, "403 audience_not_allowed")
			if op.method != "GET" {
				a, err = stale.Ask(t.Context(), op.method, path, op.body)
				check("an old sign-in", a, err, "403 reauth_required")
				a, err = coded.Ask(t.Context(), op.method, path, op.body)
				check("without a code", a, err, "403 otp_required")
				a, err = o.Ask(t.Context(), op.method, path, op.body, "X-Action-Token", "x")
				check("with a bad confirmation", a, err, "403 action_token_invalid")
			}
			switch {
			case strings.HasPrefix(op.bad, "/"):
				a, err = o.Ask(t.Context(), op.method, ids.Replace(op.bad), op.body)
				check("not valid", a, err, "422 validation_error")
			case op.bad != "":
				a, err = o.Ask(t.Context(), op.method, path, []byte(op.bad))
				check("not valid", a, err, "422 validation_error")
			}
			for path, want := range op.more {
				a, err = o.Ask(t.Context(), op.method, ids.Replace(path), op.body)
				check(path, a, err, want)
			}
		}
		for _, path := range []string{"/admin/webhooks", "/webhooks"} {
			_, err := o.Signed(t.Context(), nil, "POST", path, map[string]any{"name": "x", "url": "ftp://example.com/"})
			refuses(t, err, http.StatusBadRequest, "invalid_webhook_url")
		}
		_, err = o.Signed(t.Context(), nil, "PATCH", "/admin/webhooks/"+h.ID, map[string]any{"url": "ftp://example.com/"})
		refuses(t, err, http.StatusBadRequest, "invalid_webhook_url")
		a, err := o.Ask(t.Context(), "POST", "/admin/webhooks", map[string]any{"name": "x", "url": "http://127.0.0.1:1/", "events": []string{"session.craeted"}})
		if err != nil || a.Status != http.StatusUnprocessableEntity || !strings.Contains(string(a.Body), "did you mean session.created?") || strings.Contains(string(a.Body), "craeted") {
			t.Errorf("an event misspelt: %s %v", a, err)
		}

		// A confirmation by code is good for one act.
		token, err := coded.Confirm(t.Context(), "manage_webhooks", h.ID)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := coded.Signed(t.Context(), nil, "POST", "/admin/webhooks/"+h.ID+"/ping", nil, "X-Action-Token", token); err != nil {
			t.Error(err)
		}
		_, err = coded.Signed(t.Context(), nil, "POST", "/admin/webhooks/"+h.ID+"/ping", nil, "X-Action-Token", token)
		refuses(t, err, http.StatusForbidden, "action_token_invalid")
	})
}
