package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/e2e/authapi"
)

// acts is an operator in a test: what it asks is compared.
type acts struct {
	*authapi.Operator
	t *testing.T
}

// is sends a request and compares status and code; of a success the body is
// read into into.
func (a acts) is(want, request string, body, into any, header ...string) authapi.Answer {
	a.t.Helper()
	method, path, _ := strings.Cut(request, " ")
	var got authapi.Answer
	var err error
	if want == "200" {
		got, err = a.Signed(a.t.Context(), into, method, path, body, header...)
	} else {
		got, err = a.Ask(a.t.Context(), method, path, body, header...)
	}
	if code := strings.TrimSpace(fmt.Sprint(got.Status, " ", got.Envelope().Code)); err != nil || code != want {
		a.t.Errorf("%s is answered %s (%v), want %s", request, got, err, want)
	}
	return got
}

func TestAdminsManageAccounts(t *testing.T) {
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t)
		boss := acts{v.admin(), t}
		var me struct {
			ID string `json:"user_id"`
		}
		boss.is("200", "GET /auth/users/me", nil, &me)

		t.Log("making accounts")
		var ann, bo authapi.User
		email, invited := newEmail(), newEmail()
		boss.is("200", "POST /admin/users", obj{"email": email, "password": password, "email_verified": true}, &ann)
		if ann.Email != email || ann.Role != "user" || !ann.EmailVerified || !ann.PasswordSet || !ann.IsActive {
			t.Errorf("%+v", ann)
		}
		v.login(email)
		boss.is("200", "POST /admin/users", obj{"email": invited, "password": nil}, &bo)
		m := v.mail(invited, 1)
		if m.Subject != "An account was made for you" || len(m.Tokens) != 1 || bo.PasswordSet || bo.EmailVerified {
			t.Fatalf("%+v, %+v", m, bo)
		}
		if a := v.do("POST", "/auth/password/reset", obj{"token": m.Tokens[0], "new_password": password}); a.Status != 200 {
			t.Errorf("choosing a password: %s", a)
		}
		v.login(invited) // which also confirmed the address
		boss.is("409 email_taken", "POST /admin/users", obj{"email": strings.ToUpper(email)}, nil)
		boss.is("422 validation_error", "POST /admin/users", obj{"email": newEmail(), "password": "weak"}, nil)

		t.Log("looking them up")
		list, err := authapi.List[authapi.User](t.Context(), boss.Operator, "/admin/users?limit=1")
		if err != nil || len(list) != 3 || list[0].Email != invited || list[1].Email != email {
			t.Errorf("%v (%v)", list, err)
		}
		found, err := authapi.List[authapi.User](t.Context(), boss.Operator, "/admin/users?role=user&active=true&locked=false&email="+strings.ToUpper(email[3:9]))
		if err != nil || len(found) != 1 || found[0].ID != ann.ID {
			t.Errorf("%v (%v)", found, err)
		}
		boss.is("422 invalid_cursor", "GET /admin/users?cursor=rubbish", nil, nil)
		boss.is("422 validation_error", "GET /admin/users?limit=0", nil, nil)
		boss.is("422 validation_error", "GET /admin/users?locked=perhaps", nil, nil)
		one := "/admin/users/" + ann.ID
		if u, err := boss.User(t.Context(), ann.ID); err != nil || u.ActiveSessions != 1 {
			t.Errorf("%+v (%v)", u, err)
		}
		for _, request := range []string{"GET %s", "PATCH %s", "DELETE %s", "PATCH %s/otp", "POST %s/deactivate", "POST %s/reactivate", "POST %s/unlock"} {
			body := obj{"role": "user", "email_otp_enabled": true}
			boss.is("404 invalid_user", fmt.Sprintf(request, "/admin/users/"+nobodys), body, nil)
			boss.is("422 validation_error", fmt.Sprintf(request, "/admin/users/nobody"), body, nil)
		}
		boss.is("422 validation_error", "PATCH "+one, obj{"role": "service"}, nil)

		t.Log("a lock, and no lock")
		for range 5 {
			v.Login(t.Context(), email, "Wrong-Horse-7", "") // refused
		}
		locked, err := authapi.List[authapi.User](t.Context(), boss.Operator, "/admin/users?locked=true")
		if err != nil || len(locked) != 1 || !locked[0].Locked || locked[0].LockRetryAfter == nil || *locked[0].LockRetryAfter > 60 {
			t.Errorf("%+v (%v)", locked, err)
		}
		boss.is("200", "POST "+one+"/unlock", nil, &ann)
		if ann.Locked {
			t.Error("it is locked still")
		}
		tokens := v.login(email)

		t.Log("roles")
		boss.is("200", "PATCH "+one, obj{"role": "admin"}, &ann)
		_, err = v.Validate(t.Context(), tokens.Access)
		refuses(t, err, http.StatusUnauthorized, "token_expired")
		second := acts{v.operator(email, password), t}
		second.is("200", "GET /admin/users", nil, nil)
		boss.is("200", "PATCH "+one, obj{"role": "user"}, &ann)
		second.Tokens = v.refresh(second.Tokens.Refresh)
		second.is("403 insufficient_role", "GET /admin/users", nil, nil)
		boss.is("409 last_admin_protected", "PATCH /admin/users/"+me.ID, obj{"role": "user"}, nil)
		boss.is("409 last_admin_protected", "POST /admin/users/"+me.ID+"/deactivate", nil, nil)
		boss.is("409 last_admin_protected", "DELETE /admin/users/"+me.ID, nil, nil)

		t.Log("closing and opening")
		tokens = v.login(email)
		boss.is("200", "POST "+one+"/deactivate", nil, &ann)
		_, err = v.Validate(t.Context(), tokens.Access)
		refuses(t, err, http.StatusUnauthorized, "session_expired")
		_, err = v.Login(t.Context(), email, password, "")
		refuses(t, err, http.StatusUnauthorized, "invalid_credentials")
		boss.is("404 invalid_user", "PATCH "+one+"/otp", obj{"email_otp_enabled": true}, nil)
		boss.is("200", "POST "+one+"/reactivate", nil, &ann)
		v.login(email)

		t.Log("mailed codes")
		boss.is("200", "PATCH "+one+"/otp", obj{"email_otp_enabled": true}, nil)
		if a := v.do("POST", "/auth/login", obj{"email": email, "password": password}); !strings.Contains(a.String(), "otp_required") {
			t.Errorf("a sign-in then: %s", a)
		}
		boss.is("200", "PATCH "+one+"/otp", obj{"email_otp_enabled": false}, nil)
		v.login(email)
		var unconfirmed authapi.User
		boss.is("200", "POST /admin/users", obj{"email": newEmail(), "password": password}, &unconfirmed)
		boss.is("400 email_not_verified", "PATCH /admin/users/"+unconfirmed.ID+"/otp", obj{"email_otp_enabled": true}, nil)

		t.Log("deleting: a confirmation for one account is no good for another")
		token, err := boss.Confirm(t.Context(), "delete_user", bo.ID)
		if err != nil {
			t.Fatal(err)
		}
		boss.is("403 action_token_invalid", "DELETE "+one, nil, nil, "X-Action-Token", token)
		var deleted struct {
			ID       string   `json:"deleted_user_id"`
			Sessions []string `json:"revoked_session_ids"`
			Count    int      `json:"revoked_session_count"`
		}
		boss.is("200", "DELETE /admin/users/"+bo.ID, nil, &deleted, "X-Action-Token", token)
		if deleted.ID != bo.ID || len(deleted.Sessions) != 1 || deleted.Count != 1 {
			t.Errorf("%+v", deleted)
		}
		boss.is("403 action_token_invalid", "DELETE /admin/users/"+bo.ID, nil, nil, "X-Action-Token", token) // it is spent
		boss.is("404 invalid_user", "GET /admin/users/"+bo.ID, nil, nil)
		boss.is("409 email_taken", "POST /admin/users", obj{"email": invited}, nil)

		t.Log("erasing, also what is deleted")
		erase := func(want, id string, into any) {
			t.Helper()
			token, err := boss.Confirm(t.Context(), "admin_erase_user", id)
			if err != nil {
				t.Fatal(err)
			}
			boss.is(want, "DELETE /admin/users/"+id+"/erase", nil, into, "X-Action-Token", token)
		}
		boss.is("403 action_token_invalid", "DELETE /admin/users/"+bo.ID+"/erase", nil, nil)
		boss.is("422 validation_error", "DELETE /admin/users/nobody/erase", nil, nil)
		var erased struct {
			ID      string   `json:"erased_user_id"`
			Remains []string `json:"remains"`
		}
		erase("200", bo.ID, &erased)
		if erased.ID != bo.ID || len(erased.Remains) == 0 {
			t.Errorf("%+v", erased)
		}
		erase("409 already_erased", bo.ID, nil)
		erase("404 invalid_user", nobodys, nil)
		erase("409 last_admin_protected", me.ID, nil)
		boss.is("200", "POST /admin/users", obj{"email": invited}, nil)

		t.Log("what is on record")
		for event, want := range map[string]int{
			"user.role_changed": 2, "user.deactivated": 1, "user.reactivated": 1, "user.unlocked": 1, "otp.admin_toggled": 2, "user.deleted": 1,
		} {
			if n := s.count(t, `SELECT COUNT(*) FROM audit_events WHERE event_type = $1 AND success AND actor_type = 'admin' AND actor_id = $2 AND target_type = 'user'`, event, me.ID); n != want {
				t.Errorf("%d times %s, want %d", n, event, want)
			}
		}
	})
}
