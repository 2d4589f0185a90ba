package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

func (p *person) me(email, otp, passwordSet string) string {
	return `200 {"user_id":"me","email":"` + email + `","email_verified":true,"email_otp_enabled":` + otp +
		`,"role":"user","created_at":"<time>","password_set":` + passwordSet + `,"session_id":"` + p.names[p.sid()] + `","auth_time":"<time>"}`
}

func revoked(reason, ended string, count int) string {
	return fmt.Sprintf(`session.revoked ok me>user me {"reason":"%s","revoked_session_count":%d,"session_ids":[%s]}`, reason, count, ended)
}

// signedOut is that a session ended because its owner signed out.
func signedOut(name string) string {
	return `session.revoked ok me>user me {"provider":"password","reason":"logout","session_id":"` + name + `"}`
}

const refreshIssued = `token.issued ok me {"provider":"password","token_kind":"refresh"}`

// renew refreshes, as a client does that is told token_expired.
func (p *person) renew() {
	p.t.Helper()
	name := p.names[p.sid()]
	p.use(p.ask("POST /auth/token", in{"refresh_token": p.tokens.Refresh}, tokensAnswer,
		`token.refreshed ok me {"provider":"password","session_id":"`+name+`"}`, refreshIssued), name)
}

func walkPassword(p *person) {
	p.enter("here")
	p.signed("GET /auth/users/me", nil, p.me("<me>", "false", "true"))
	other := p.another("other")
	const change = "POST /auth/password/change"
	about := ` me {"provider":"password","session_id":"here"}`
	p.signed(change, in{"current_password": wrongPassword, "new_password": password + "2"}, `401 invalid_credentials current_password`, `user.reauth.failure invalid_credentials`+about)
	p.signed(change, in{"current_password": password, "new_password": "weak-password"}, `422 validation_error new_password`)
	p.signed(change, in{"current_password": password}, `422 validation_error new_password`)
	p.signed(change, in{"current_password": password, "new_password": password}, `400 password_reused`)
	p.with("X-Action-Token", "no-token-at-all").signed(change, in{"current_password": password, "new_password": password + "2"},
		`403 action_token_invalid; X-OTP-Required: true; X-OTP-Action: change_password`,
		`stepup.refused action_token_invalid me {"action":"change_password","session_id":"here"}`)
	p.ended(other.sid(), "")

	done := func(ended string, count int) []string {
		return []string{`user.password.changed ok me>user me {"reason":"password_change"}`, revoked("password_change", ended, count)}
	}
	p.signed(change, in{"current_password": password, "new_password": password + "2"}, `200 {"changed":true}`, done(`"other"`, 1)...)
	p.letter("Your password has been changed")
	p.ended(other.sid(), "password_change")
	other.dies(other.tokens.Access, "session_expired")
	p.ended(p.sid(), "")
	p.dies(p.tokens.Access, "token_expired")
	p.renew()
	p.ask("POST /auth/login", p.creds(password), `401 invalid_credentials`, rowWrong)

	// Without the current password, a recent sign-in is asked for.
	p.signed(change, in{"new_password": password + "3"}, `200 {"changed":true}`, done(``, 0)...)
	p.letter("Your password has been changed")
	p.renew()
	p.change(p.t, `UPDATE sessions SET auth_time = $1 WHERE id = $2`, longAgo(), p.sid())
	p.signed(change, in{"new_password": password + "4"}, `403 reauth_required; X-Reauth-Required: true`,
		`stepup.refused reauth_required me {"action":"change_password","session_id":"here"}`)
	p.with("X-Action-Token", p.confirm("change_password", "")).signed(change, in{"new_password": password + "4"}, `200 {"changed":true}`, done(``, 0)...)
	p.letter("Your password has been changed")
	p.renew()
	for range 3 { // after the login above
		p.signed(change, in{"current_password": wrongPassword, "new_password": password + "5"}, `401 invalid_credentials current_password`, `user.reauth.failure invalid_credentials`+about)
	}
	p.signed(change, in{"current_password": wrongPassword, "new_password": password + "5"}, `401 account_locked; Retry-After: 60`,
		locked("60", "5"), `user.reauth.failure account_locked`+about)
	p.ask("POST /auth/login", p.creds(password+"4"), `401 account_locked; Retry-After: 60`, rowShut)
}

func walkEmailChange(p *person) {
	const change, confirm, undo = "POST /auth/email/change", "POST /auth/email/change/confirm", "POST /auth/email/change/undo"
	p.enter("here")
	other := p.another("other")
	about := ` me {"provider":"password","session_id":"here"}`
	next := p.stranger()
	next.names = p.names
	next.names[next.email] = "<next>"
	to := func(more ...string) in {
		body := in{"new_email": next.email}
		for i := 0; i < len(more); i += 2 {
			body[more[i]] = more[i+1]
		}
		return body
	}
	p.signed(change, to("current_password", wrongPassword), `401 invalid_credentials current_password`, `user.reauth.failure invalid_credentials`+about)
	p.signed(change, in{"new_email": "nobody"}, `422 validation_error new_email`)
	p.signed(change, in{"new_email": strings.ToUpper(p.email)}, `422 validation_error new_email`)
	p.with("X-Action-Token", "no-token-at-all").signed(change, to(), `403 action_token_invalid; X-OTP-Required: true; X-OTP-Action: change_email`,
		`stepup.refused action_token_invalid me {"action":"change_email","session_id":"here"}`)
	p.change(p.t, `UPDATE sessions SET auth_time = $1 WHERE id = $2`, longAgo(), p.sid())
	p.signed(change, to(), `403 reauth_required; X-Reauth-Required: true`, `stepup.refused reauth_required me {"action":"change_email","session_id":"here"}`)

	p.signed(change, to("current_password", password), `200 {"sent":true}`, `user.email.change_requested ok me>user me`)
	token := next.token("Confirm your new email", "/confirm-email-change")
	p.ask(confirm, in{"token": strings.Repeat("x", 43)}, `400 invalid_email_change`, `user.email.changed invalid_email_change - {"operation":"confirm"}`)
	p.ask(confirm, in{"token": "short"}, `422 validation_error token`)
	p.signed("GET /auth/users/me", nil, p.me("<me>", "false", "true"))
	p.ask(confirm, in{"token": token}, `200 {"changed":true}`, `user.email.changed ok me>user me {"operation":"confirm"}`)
	p.ask(confirm, in{"token": token}, `400 invalid_email_change`, `user.email.changed invalid_email_change - {"operation":"confirm"}`)
	undoToken := p.token("Your email has been changed", "/undo-email-change")
	p.dies(p.tokens.Access, "token_expired")
	p.renew()
	other.renew() // other sessions stay
	p.signed("GET /auth/users/me", nil, p.me("<next>", "false", "true"))
	if _, c := claims(p.t, p.tokens.Access); c["email"] != next.email {
		p.t.Errorf("the new token says %v", c["email"])
	}
	p.ask("POST /auth/login", p.creds(password), `401 invalid_credentials`, `user.login.failure invalid_credentials - `+byPassword)
	next.ask("POST /auth/login", next.creds(password), tokensAnswer, rowSuccess,
		`user.login.suspicious ok me {"new_ip":true,"new_user_agent":false,"prior_failures":0,"provider":"password"}`, rowCreated, rowIssued)

	// While it can be undone, nobody else gets the old address.
	p.ask("POST /auth/signup", p.creds(password+"2"), `201 {"accepted":true}`, `user.signup.accepted ok - {"created":false,"provider":"password"}`)
	if n := p.count(p.t, `SELECT COUNT(*) FROM users WHERE email = $1`, p.email); n != 0 {
		p.t.Error("somebody signed up with an address that its owner may take back")
	}

	p.ask(undo, in{"token": strings.Repeat("x", 43)}, `400 invalid_email_change`, `user.email.change_undone invalid_email_change - {"operation":"undo"}`)
	p.ask(undo, in{"token": undoToken}, `200 {"undone":true}`, `user.email.change_undone ok me>user me {"operation":"undo"}`,
		revoked("email_change_undone", `"here","new","other"`, 3))
	p.ask(undo, in{"token": undoToken}, `400 invalid_email_change`, `user.email.change_undone invalid_email_change - {"operation":"undo"}`)
	p.ended(p.sid(), "email_change_undone")
	p.dies(p.tokens.Access, "session_expired")
	p.ask("POST /auth/login", p.creds(password), `401 invalid_credentials`, rowWrong) // the password is gone
	next.ask("POST /auth/login", next.creds(password), `401 invalid_credentials`, `user.login.failure invalid_credentials - `+byPassword)
	token = p.token("Your email has been restored: choose a new password", "/reset-password")
	p.ask("POST /auth/password/reset", in{"token": token, "new_password": password}, `200 {"reset":true}`, resetRows(``, 0)...)
	p.use(p.answer("POST /auth/login", p.creds(password), tokensAnswer), "again")
	p.signed("GET /auth/users/me", nil, p.me("<me>", "false", "true"))

	// The same by the pages.
	third := p.stranger()
	p.signed(change, in{"new_email": third.email, "current_password": password}, `200 {"sent":true}`, `user.email.change_requested ok me>user me`)
	p.letter("Your password has been reset") // of the reset above
	token = third.token("Confirm your new email", "/confirm-email-change")
	for _, page := range []string{"/confirm-email-change", "/undo-email-change"} {
		p.ask("GET "+page, nil, `400 page`)
		if a := p.ask("GET "+page+"?token="+token, nil, `200 page`); !strings.Contains(string(a.Body), "<form") {
			p.t.Errorf("there is no button: %s", a.Body)
		}
	}
	p.form("/undo-email-change", url.Values{"token": {token}}, `400 page`, `user.email.change_undone invalid_email_change - {"operation":"undo"}`)
	p.form("/confirm-email-change", url.Values{"token": {token}}, `200 page`, `user.email.changed ok me>user me {"operation":"confirm"}`)
	p.form("/undo-email-change", url.Values{"token": {p.token("Your email has been changed", "/undo-email-change")}}, `200 page`,
		`user.email.change_undone ok me>user me {"operation":"undo"}`, revoked("email_change_undone", `"again"`, 1))
}

func walkEmailTaken(p *person) {
	p.enter("here")
	owner := p.on(p.t).person()
	const change = "POST /auth/email/change"
	body := in{"new_email": owner.email, "current_password": password}
	p.signed(change, body, `200 {"sent":true}`, `user.email.change_requested ok me>user me`) // as if it were free
	if m := owner.letter("Somebody asked to use your email"); len(m.Links) > 0 {
		p.t.Errorf("the mail to the owner has links: %s", m.Text)
	}
	free := p.stranger()
	var token string
	for range 2 { // each mail before the next request, which makes it pointless
		p.signed(change, in{"new_email": free.email, "current_password": password}, `200 {"sent":true}`, `user.email.change_requested ok me>user me`)
		token = free.token("Confirm your new email", "/confirm-email-change")
	}
	p.signed(change, body, `429 rate_limited; Retry-After: 1200`)

	// Taken between the mail and the click.
	if _, err := free.Signup(p.t.Context(), free.email, password); err != nil {
		p.t.Fatal(err)
	}
	p.ask("POST /auth/email/change/confirm", in{"token": token}, `400 invalid_email_change`,
		`user.email.changed invalid_email_change - {"operation":"confirm"}`)

	q := p.on(p.t).person().enter("q")
	for range 5 {
		q.do("POST", "/auth/login", q.creds(wrongPassword), q.header...)
	}
	q.signed(change, body, `401 account_locked; Retry-After: 60`, `user.reauth.failure account_locked me {"provider":"password","session_id":"q"}`)
}

func walkSessions(p *person) {
	p = p.with("User-Agent", firefox)
	first := p.another("first")
	second := p.another("second")
	p.enter("here")
	item := func(name string, current bool) string {
		return fmt.Sprintf(`{"session_id":"%s","created_at":"<time>","last_seen_at":"<time>","expires_at":"<time>","revoked_at":null,"revoke_reason":null,`+
			`"ip_address":"%s","user_agent":"%s","device_label":"Firefox on Linux","is_suspicious":false,"suspicious_reasons":[],"is_current":%v}`, name, p.ip, firefox, current)
	}
	ended := func(name, reason string) string {
		return strings.Replace(item(name, false), `"revoked_at":null,"revoke_reason":null`, `"revoked_at":"<time>","revoke_reason":"`+reason+`"`, 1)
	}
	list := func(items ...string) string {
		return `200 {"data":[` + strings.Join(items, ",") + `],"next_cursor":null,"has_more":false}`
	}
	p.signed("GET /auth/sessions", nil, list(item("here", true), item("second", false), item("first", false)))
	p.signed("GET /auth/sessions?status=revoked", nil, list())
	p.signed("GET /auth/sessions?status=dead", nil, `422 validation_error status`)
	p.signed("GET /auth/sessions?limit=0", nil, `422 validation_error limit`)
	p.signed("GET /auth/sessions?limit=201", nil, `422 validation_error limit`)

	var page struct {
		Next *string `json:"next_cursor"`
		More bool    `json:"has_more"`
	}
	read := func(path string) string {
		a := p.do("GET", path, nil, append(p.header, "Authorization", "Bearer "+p.tokens.Access)...)
		if page.Next = nil; json.Unmarshal(a.Body, &page) != nil || page.Next == nil != !page.More {
			p.t.Fatalf("%s is answered %s", path, a)
		}
		return p.named(string(a.Body))
	}
	if got := read("/auth/sessions?limit=2"); !page.More || !strings.Contains(got, item("second", false)) || strings.Contains(got, `"first"`) {
		p.t.Fatalf("the first page is %s", got)
	}
	cursor := url.QueryEscape(*page.Next)
	p.signed("GET /auth/sessions?limit=2&cursor="+cursor, nil, list(item("first", false)))
	for _, bad := range []string{"/auth/sessions?cursor=x", "/auth/sessions?status=all&cursor=" + cursor, "/auth/history?cursor=" + cursor, "/auth/history?cursor=x"} {
		p.signed("GET "+bad, nil, `422 invalid_cursor`) // of another query
	}
	stranger := p.on(p.t).person().enter("theirs")
	stranger.signed("GET /auth/sessions?limit=2&cursor="+cursor, nil, `422 invalid_cursor`)

	revoke := func(id string) string { return "DELETE /auth/sessions/" + id }
	p.signed(revoke("no-uuid"), nil, `422 validation_error session_id`)
	p.signed(revoke(p.sid()), nil, `400 cannot_revoke_current_session`)
	p.signed(revoke(stranger.sid()), nil, `404 invalid_session`)
	p.signed(revoke(first.sid()), in{"reason": strings.Repeat("x", 65)}, `422 validation_error reason`)
	p.signed(revoke(first.sid()), in{"reason": ""}, `422 validation_error reason`)
	p.signed(revoke(first.sid()), in{"reason": "lost_phone"}, `200 {"session_id":"first","revoke_reason":"lost_phone"}`,
		`session.revoked ok me>user me {"reason":"lost_phone","session_id":"first"}`)
	p.signed(revoke(first.sid()), nil, `409 session_revoked`)
	p.ended(first.sid(), "lost_phone")
	first.dies(first.tokens.Access, "session_expired")
	p.signed(revoke(second.sid()), map[string]any{"reason": nil}, `200 {"session_id":"second","revoke_reason":"self_targeted"}`,
		`session.revoked ok me>user me {"reason":"self_targeted","session_id":"second"}`)
	p.signed("GET /auth/sessions?status=all", nil, list(item("here", true), ended("second", "self_targeted"), ended("first", "lost_phone")))
	p.signed("GET /auth/sessions?status=revoked", nil, list(ended("second", "self_targeted"), ended("first", "lost_phone")))

	third := p.another("third")
	p.signed("DELETE /auth/sessions", nil, `200 {"revoked_session_ids":["third"],"revoked_session_count":1,"revoke_reason":"self_revoke_others"}`,
		revoked("self_revoke_others", `"third"`, 1))
	p.ended(third.sid(), "self_revoke_others")
	third.dies(third.tokens.Access, "session_expired")
	p.signed("DELETE /auth/sessions", in{"reason": "holiday"}, `200 {"revoked_session_ids":[],"revoked_session_count":0,"revoke_reason":"holiday"}`,
		revoked("holiday", ``, 0))
	p.signed("GET /auth/validate", nil, `204`) // this session's token is still good
}

func walkHistory(p *person) {
	p.answer("POST /auth/login", p.creds(wrongPassword), `401 invalid_credentials`)
	p.enter("here")
	elsewhere := p.from(newNetwork())
	for range 5 {
		elsewhere.do("POST", "/auth/login", p.creds(wrongPassword), elsewhere.header...)
	}
	for _, pass := range []string{wrongPassword, password} {
		p.do("POST", "/auth/reauth", in{"password": pass}, p.bearing().header...)
	}
	p.with("X-Action-Token", p.confirm("enable_otp", "")).signed("POST /auth/otp/enable", nil, `200 {"email_otp_enabled":true}`, `otp.enabled ok me>user me`)
	p.renew()
	p.forgot()
	a := p.signed("GET /auth/history?limit=200", nil, p.named(p.do("GET", "/auth/history?limit=200", nil, append(p.header, "Authorization", "Bearer "+p.tokens.Access)...).String()))
	var out struct {
		Data []map[string]any
	}
	if err := json.Unmarshal(a.Body, &out); err != nil {
		p.t.Fatal(err)
	}
	var got []string
	for _, item := range out.Data {
		if len(item) != 8 || item["id"] == nil || item["created_at"] == nil || item["ip_address"] == nil || item["user_agent"] == nil {
			p.t.Errorf("an item is %v", item)
		}
		line := fmt.Sprint(item["event_type"], " ", item["success"])
		if reason := item["failure_reason"]; reason != nil {
			line += fmt.Sprint(" ", reason)
		}
		got = append(got, line)
	}
	want := []string{
		"user.password.reset.requested true", "otp.enabled true", "otp.verified true",
		"user.reauth.success true", "user.reauth.failure false invalid_credentials",
		"user.login.failure false account_locked", "user.locked false account_locked",
		"user.login.failure false invalid_credentials", "user.login.failure false invalid_credentials",
		"user.login.failure false invalid_credentials", "user.login.failure false invalid_credentials",
		"session.created true", "user.login.success true", "user.login.failure false invalid_credentials",
		"user.email.verified true", "user.created true",
	}
	if !slices.Equal(got, want) {
		p.t.Errorf("the history is\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
	p.signed("GET /auth/history?limit=0", nil, `422 validation_error limit`)
}

func walkErasure(p *person) {
	const erase = "POST /auth/users/me/erase"
	p.enter("here")
	other := p.another("other")
	required := `403 action_token_invalid; X-OTP-Required: true; X-OTP-Action: erase_account`
	refused := `stepup.refused action_token_invalid me {"action":"erase_account","session_id":"here"}`
	p.signed(erase, nil, required, refused)
	p.with("X-Action-Token", p.confirm("change_email", "")).signed(erase, nil, required, refused)

	p.change(p.t, `UPDATE users SET role = 'user' WHERE role = 'admin'`)
	p.change(p.t, `UPDATE users SET role = 'admin' WHERE id = $1`, p.id)
	p = p.with("X-Action-Token", p.confirm("erase_account", ""))
	p.signed(erase, nil, `409 last_admin_protected`, `user.erased last_admin_protected me>user me`)
	p.change(p.t, `UPDATE users SET role = 'admin' WHERE email = 'admin@example.com'`)

	a := p.signed(erase, nil, `200 {"erased":true,"user_id":"me","remains":["the account's id and role, and that and when it was erased",`+
		`"its sessions, without address and browser","its audit events, without address and browser"]}`,
		`user.erased ok me>user me {"deleted_identity_count":0,"revoked_api_key_count":0,"revoked_session_count":2}`)
	if a.Status != 200 {
		return
	}
	for _, q := range []*person{p, other} {
		q.ended(q.sid(), "erased")
		q.dies(q.tokens.Access, "session_expired")
		q.answer("POST /auth/token", in{"refresh_token": q.tokens.Refresh}, `401 session_expired`)
	}
	p.signed(erase, nil, `401 session_expired`)
	p.ask("POST /auth/login", p.creds(password), `401 invalid_credentials`, `user.login.failure invalid_credentials - `+byPassword)
	await(p.t, patience, "the personal part of the audit rows is erased", func() bool {
		var n int
		err := p.db.QueryRow(`SELECT COUNT(*) FROM audit_events e JOIN audit_personal p ON p.created_at = e.created_at AND p.event_id = e.id
			JOIN users u ON u.id = e.actor_id WHERE u.id = $1 AND e.created_at <= u.deleted_at`, p.id).Scan(&n)
		return err == nil && n == 0
	})
	var email string
	if err := p.db.QueryRow(`SELECT email FROM users WHERE id = $1 AND deleted_at IS NOT NULL AND NOT is_active`, p.id).Scan(&email); err != nil || email != "deleted_"+p.id+"@erased.invalid" {
		p.t.Errorf("the account is %q, %v", email, err)
	}
	for _, table := range []string{"passwords", "email_tokens", "otp_challenges", "otp_budgets", "action_tokens", "email_changes", "seen"} {
		if n := p.count(p.t, `SELECT COUNT(*) FROM `+table+` WHERE user_id = $1`, p.id); n != 0 {
			p.t.Errorf("%d rows are left in %s", n, table)
		}
	}
	if n := p.count(p.t, `SELECT COUNT(*) FROM sessions WHERE user_id = $1 AND (ip_address IS NOT NULL OR user_agent IS NOT NULL OR csrf_hash IS NOT NULL)`, p.id); n != 0 {
		p.t.Errorf("%d sessions still say where they were", n)
	}
	if mails, err := p.Mails(p.t.Context(), p.email); err != nil || len(mails) != 0 {
		p.t.Errorf("%d mails are left (%v)", len(mails), err)
	}

	// The address is free again.
	p.answer("POST /auth/signup", p.creds(password), `201 {"accepted":true}`)
	p.answer("POST /auth/verify-email", in{"token": p.token("Verify your email", "/verify-email")}, `200 {"verified":true}`)
	p.answer("POST /auth/login", p.creds(password), tokensAnswer)
}
