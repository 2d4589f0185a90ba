package e2e

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/e2e/authapi"
)

// acceptable is a body that every act of an admin accepts: what an act does not
// know it ignores.
var acceptable = obj{
	"email": "nobody-yet@example.com", "role": "user", "email_otp_enabled": true, "is_suspicious": true, "name": "a name",
	"scope": "orders:read", "service": "orders", "scopes": []string{"orders:read"}, "url": "https://example.com/hook", "events": []string{},
}

// adminOperation is one that admins alone may do.
type adminOperation struct {
	pattern string
	codes   []string
	body    bool
}

func (v *server) adminOperations() (list []adminOperation) {
	v.t.Helper()
	var description struct {
		Paths map[string]map[string]struct {
			RequestBody *struct{}
			Responses   map[string]struct{ Description string }
		}
	}
	if err := json.Unmarshal(v.do("GET", "/openapi.json", nil).Body, &description); err != nil {
		v.t.Fatal(err)
	}
	for path, methods := range description.Paths {
		for method, op := range methods {
			o := adminOperation{pattern: strings.ToUpper(method) + " " + path, body: op.RequestBody != nil}
			for status, response := range op.Responses {
				if status >= "400" {
					o.codes = append(o.codes, strings.Split(response.Description, ", ")...)
				}
			}
			if slices.Contains(o.codes, "insufficient_role") {
				list = append(list, o)
			}
		}
	}
	if len(list) < 17 {
		v.t.Fatalf("only %d operations are for admins", len(list))
	}
	return list
}

// TestNobodyButAFreshlyProvedAdminGetsIn walks every operation of admins.
func TestNobodyButAFreshlyProvedAdminGetsIn(t *testing.T) {
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t)
		plain := v.operator(v.account(), password)
		shared := v.colleague()
		tokens, err := v.Login(t.Context(), shared.Email, password, "orders-api")
		if err != nil {
			t.Fatal(err)
		}
		shared.Tokens = tokens
		stale, coded, fresh := v.colleague(), v.colleague(), v.colleague()
		s.change(t, `UPDATE sessions SET auth_time = $1 WHERE user_id = $2`, longAgo(), s.idOf(t, stale.Email))
		s.change(t, `UPDATE users SET email_otp_enabled = TRUE WHERE email = $1`, coded.Email)
		nobody := &authapi.Operator{Client: v.Client}
		rows := s.count(t, `SELECT COUNT(*) FROM users`)

		for _, o := range v.adminOperations() {
			method, path, _ := strings.Cut(o.pattern, " ")
			path = parameters.ReplaceAllString(path, nobodys)
			var body any
			if o.body {
				body = acceptable
			}
			ask := func(by *authapi.Operator, want string, header ...string) {
				t.Helper()
				a, err := by.Ask(t.Context(), method, path, body, header...)
				if err != nil {
					t.Fatal(err)
				}
				if got := fmt.Sprintf("%d %s", a.Status, a.Envelope().Code); got != want {
					t.Errorf("%s is answered %s, want %s", o.pattern, a, want)
				}
			}
			ask(nobody, "401 invalid_token")
			ask(plain, "403 insufficient_role")
			ask(shared, "403 audience_not_allowed")
			if method == "GET" {
				continue
			}
			unproved := []string{"403 reauth_required", "403 otp_required"}
			if !slices.Contains(o.codes, "reauth_required") { // it always takes a token
				unproved = []string{"403 action_token_invalid", "403 action_token_invalid"}
			}
			ask(stale, unproved[0])
			ask(coded, unproved[1])
			ask(fresh, "403 action_token_invalid", "X-Action-Token", fresh.Tokens.Access)
		}
		if n := s.count(t, `SELECT COUNT(*) FROM users`); n != rows {
			t.Errorf("%d accounts, there were %d", n, rows)
		}
	})
}

var parameters = regexp.MustCompile(`\{[^}]*\}`)
