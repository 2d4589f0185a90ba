package e2e

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/authsdk/authsdk/e2e/authapi"
)

func walkSignup(p *person) {
	const request = "POST /auth/signup"
	q := p.stranger()
	q.ask(request, in{"email": q.email, "password": "weak-password"}, `422 validation_error password`)
	q.ask(request, in{"email": "nobody@localhost", "password": password}, `422 validation_error email`)
	q.ask(request, in{}, `422 validation_error email password`)
	a := q.do("POST", "/auth/signup", q.creds(password), q.header...)
	if err := q.db.QueryRow(`SELECT CAST(id AS TEXT) FROM users WHERE email = $1`, q.email).Scan(&q.id); err != nil {
		p.t.Fatal(err)
	}
	q.names[q.id] = "me"
	if got := q.normal(a); got != `201 {"accepted":true}` {
		p.t.Errorf("signup is answered %s", got)
	}
	q.left(request, a, `user.signup.accepted ok me>user me {"created":true,"provider":"password"}`, `user.created ok me>user me `+byPassword)
	token := q.token("Verify your email", "/verify-email")

	q.ask("POST /auth/verify-email", in{"token": strings.Repeat("x", 43)}, `400 invalid_verify_token`,
		`user.email.verified invalid_verify_token - {"operation":"verify"}`)
	q.ask("POST /auth/verify-email", in{"token": "short"}, `422 validation_error token`)
	q.ask("GET /auth/verify-email?token=short", nil, `422 validation_error token`)
	q.ask("POST /auth/verify-email", in{"token": token}, `200 {"verified":true}`, `user.email.verified ok me>user me {"operation":"verify"}`)
	q.ask("GET /auth/verify-email?token="+token, nil, `400 invalid_verify_token`, `user.email.verified invalid_verify_token - {"operation":"verify"}`)

	q.ask(request, in{"email": strings.ToUpper(q.email), "password": password + "3"}, `201 {"accepted":true}`,
		`user.signup.accepted ok - {"created":false,"provider":"password"}`)
	if m := q.letter("You already have an account"); len(m.Links) != 0 {
		p.t.Errorf("the mail to a confirmed address has links: %s", m.Text)
	}
	q.ask("POST /auth/login", q.creds(password+"3"), `401 invalid_credentials`, rowWrong)

	r := p.stranger()
	if _, err := r.Signup(p.t.Context(), r.email, password); err != nil {
		p.t.Fatal(err)
	}
	r.letter("Verify your email")
	r.ask("POST /auth/verify-email/resend/request", in{"email": r.email}, `200 {"sent":true}`,
		`user.email.verification_resent ok - {"operation":"resend_request"}`)
	r.ask("GET /auth/verify-email?token="+r.token("Verify your email", "/verify-email"), nil, `200 {"verified":true}`,
		`user.email.verified ok <uuid>>user <uuid> {"operation":"verify"}`)
	nobody := p.stranger()
	for i := range 4 {
		if i < 3 {
			nobody.ask("POST /auth/verify-email/resend/request", in{"email": nobody.email}, `200 {"sent":true}`,
				`user.email.verification_resent ok - {"operation":"resend_request"}`)
			continue
		}
		nobody.ask("POST /auth/verify-email/resend/request", in{"email": nobody.email}, `429 rate_limited; Retry-After: 1200`)
	}
	p.enter("here").signed("POST /auth/verify-email/resend", nil, `400 already_verified`,
		`user.email.verification_resent already_verified me>user me {"operation":"resend"}`)

	u := p.listed("AUTH__REQUIRE_VERIFIED_EMAIL_FOR_PASSWORD_LOGIN=false")
	u.change(p.t, `UPDATE users SET email_verified = FALSE WHERE id = $1`, u.id)
	u.enter("here").signed("POST /auth/verify-email/resend", nil, `200 {"sent":true}`, `user.email.verification_resent ok me>user me {"operation":"resend"}`)
	u.signed("POST /auth/otp/request/action", in{"action": "erase_account"}, `400 email_not_verified`)
	u.signed("POST /auth/otp/enable", nil, `400 email_not_verified`)
	u.signed("POST /auth/password/change", in{"current_password": password, "new_password": password + "2"}, `400 email_not_verified`)
	u.ask("POST /auth/verify-email", in{"token": u.token("Verify your email", "/verify-email")}, `200 {"verified":true}`,
		`user.email.verified ok me>user me {"operation":"verify"}`)
	u.dies(u.tokens.Access, "token_expired") // so that its client refreshes
}

// resetRows are left by a reset that ended sessions.
func resetRows(ended string, count int) []string {
	return []string{
		`user.password.reset.completed ok me>user me`,
		`user.password.changed ok me>user me {"reason":"password_reset"}`,
		fmt.Sprintf(`session.revoked ok me>user me {"reason":"password_reset","revoked_session_count":%d,"session_ids":[%s]}`, count, ended),
	}
}

// forgot asks for a link and returns its token.
func (p *person) forgot() (token string) {
	p.t.Helper()
	a := p.answer("POST /auth/password/forgot", in{"email": p.email}, `200 {"sent":true}`)
	token = p.token("Reset your password", "/reset-password")
	p.left("POST /auth/password/forgot", a, `user.password.reset.requested ok me>user me`)
	return token
}

func walkForgot(p *person) {
	const forgot, reset = "POST /auth/password/forgot", "POST /auth/password/reset"
	refused := func(reason string) string { return `user.password.reset.completed ` + reason + ` -` }
	check := func(q *person, token, want string) { q.ask("GET /auth/password/reset?token="+token, nil, want) }
	p.enter("here")
	other := p.another("other")

	nobody := p.stranger()
	a := nobody.answer(forgot, in{"email": nobody.email}, `200 {"sent":true}`)
	nobody.ask(forgot, in{"email": nobody.email}, `429 rate_limited; Retry-After: 60`)
	nobody.ask(forgot, in{"email": "nobody"}, `422 validation_error email`)
	token := p.forgot()
	await(p.t, patience, "the row of an unknown address", func() bool { return len(nobody.rowsOf(a)) > 0 })
	nobody.left(forgot, a, `user.password.reset.requested ok -`)
	p.ask(forgot, in{"email": strings.ToUpper(p.email)}, `429 rate_limited; Retry-After: 60`)

	check(p, token, `200 {"valid":true}`)
	check(p, strings.Repeat("x", 43), `400 invalid_reset_token`)
	check(p, "short", `422 validation_error token`)
	p.ask(reset, in{"token": strings.Repeat("x", 43), "new_password": password + "2"}, `400 invalid_reset_token`, refused("invalid_reset_token"))
	p.ask(reset, in{"token": token, "new_password": "weak-password"}, `422 validation_error new_password`)
	p.ask(reset, in{"token": token, "new_password": password}, `400 password_reused`, refused("password_reused"))
	check(p, token, `200 {"valid":true}`) // what was refused leaves the link alive
	p.signed("GET /auth/validate", nil, `204`)

	p.ask(reset, in{"token": token, "new_password": password + "2"}, `200 {"reset":true}`, resetRows(`"here","other"`, 2)...)
	p.letter("Your password has been reset")
	for _, q := range []*person{p, other} {
		q.ended(q.sid(), "password_reset")
		q.dies(q.tokens.Access, "session_expired")
		q.ask("POST /auth/token", in{"refresh_token": q.tokens.Refresh}, `401 session_expired`,
			`token.refreshed session_expired me {"provider":"password","session_id":"`+q.names[q.sid()]+`"}`)
	}
	check(p, token, `400 invalid_reset_token`)
	p.ask(reset, in{"token": token, "new_password": password + "3"}, `400 invalid_reset_token`, refused("invalid_reset_token"))
	p.ask("POST /auth/login", p.creds(password), `401 invalid_credentials`, rowWrong)
	p.ask("POST /auth/login", p.creds(password+"2"), tokensAnswer, rowSuccess, rowCreated, rowIssued)

	// A reset proves the mailbox.
	q := p.stranger()
	if _, err := q.Signup(p.t.Context(), q.email, password); err != nil {
		p.t.Fatal(err)
	}
	verify := q.token("Verify your email", "/verify-email")
	q.answer(forgot, in{"email": q.email}, `200 {"sent":true}`)
	q.answer(reset, in{"token": q.token("Reset your password", "/reset-password"), "new_password": password + "2"}, `200 {"reset":true}`)
	q.answer("POST /auth/login", q.creds(password+"2"), tokensAnswer)
	q.answer("POST /auth/verify-email", in{"token": verify}, `400 invalid_verify_token`) // or its sign-up's password would come back
}

// form sends what a page's form sends.
func (p *person) form(path string, fields url.Values, want string, rows ...string) authapi.Answer {
	p.t.Helper()
	return p.with("Content-Type", "application/x-www-form-urlencoded").ask("POST "+path, fields.Encode(), want, rows...)
}

func walkResetPage(p *person) {
	p.enter("here")
	token := p.forgot()
	const path = "/reset-password"
	page := p.ask("GET "+path+"?token="+token, nil, `200 page`)
	if !strings.Contains(string(page.Body), "<form") || !strings.Contains(string(page.Body), token) || strings.Contains(string(page.Body), "<script") {
		p.t.Errorf("the page is\n%s", page.Body)
	}
	p.ask("GET "+path+"?token="+strings.Repeat("x", 43), nil, `400 page`)
	again := p.form(path, url.Values{"token": {token}, "new_password": {"weak-password"}}, `422 page`)
	if !strings.Contains(string(again.Body), "must contain") || strings.Contains(string(again.Body), "weak-password") {
		p.t.Errorf("a weak password is answered\n%s", again.Body)
	}
	p.form(path, url.Values{"token": {token}, "new_password": {password}}, `400 page`, `user.password.reset.completed password_reused -`)
	p.form(path, url.Values{"token": {token}, "new_password": {password + "2"}}, `200 page`, resetRows(`"here"`, 1)...)
	p.form(path, url.Values{"token": {token}, "new_password": {password + "3"}}, `400 page`, `user.password.reset.completed invalid_reset_token -`)
	p.letter("Your password has been reset")
	p.ended(p.sid(), "password_reset")
	p.ask("POST /auth/login", p.creds(password+"2"), tokensAnswer, rowSuccess, rowCreated, rowIssued)
}
