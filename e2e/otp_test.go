package e2e

import (
	"encoding/json"
	"strings"

	"github.com/authsdk/authsdk/e2e/authapi"
)

const (
	loginMail  = "Your login verification code"
	rowAsked   = `user.login.otp_required ok me ` + byPassword
	rowSent    = `otp.sent ok me {"context":"login"}`
	rowRight   = `otp.verified ok me {"context":"login"}`
	verifyCode = "POST /auth/otp/verify/login"
	resendCode = "POST /auth/otp/resend/login"
)

// secure switches mailed codes on for an account.
func (p *person) secure() *person {
	p.t.Helper()
	if p.tokens.Access == "" {
		p.enter("setup")
	}
	p.signed("POST /auth/otp/enable", nil, `200 {"email_otp_enabled":true}`, `otp.enabled ok me>user me`)
	return p
}

// challenge logs in as far as the question for a code.
func (p *person) challenge() (token string) {
	p.t.Helper()
	a := p.ask("POST /auth/login", p.creds(password),
		`200 {"otp_required":true,"challenge_token":"<jwt>","masked_email":"`+masked(p.email)+`"}`, rowAsked, rowSent)
	return challengeOf(p, a)
}

func challengeOf(p *person, a authapi.Answer) string {
	p.t.Helper()
	var out struct {
		Token string `json:"challenge_token"`
	}
	if err := json.Unmarshal(a.Body, &out); err != nil || out.Token == "" {
		p.t.Fatalf("there is no challenge: %s", a)
	}
	return out.Token
}

func masked(email string) string {
	local, domain, _ := strings.Cut(email, "@")
	return local[:1] + strings.Repeat("*", len(local)-1) + "@" + domain
}

// not is a code of the same length that is wrong.
func not(code string) string {
	last := code[len(code)-1]
	return code[:len(code)-1] + string('0'+(last-'0'+1)%10)
}

func walkLoginCodes(p *person) {
	p.enter("setup")
	p.secure()
	p.dies(p.tokens.Access, "token_expired")
	p.renew()
	if _, c := claims(p.t, p.tokens.Access); c["email_otp_enabled"] != true {
		p.t.Errorf("the new token says email_otp_enabled %v", c["email_otp_enabled"])
	}
	p.signed("GET /auth/users/me", nil, p.me("<me>", "true", "true"))

	p.ask("POST /auth/login", p.creds(wrongPassword), `401 invalid_credentials`, rowWrong)
	token := p.challenge()
	p.ask(verifyCode, in{"challenge_token": token, "code": "123"}, `422 validation_error code`)
	p.ask(verifyCode, in{"challenge_token": "short", "code": "123456"}, `422 validation_error challenge_token`)
	p.ask(verifyCode, in{"challenge_token": flip(token), "code": "123456"}, `401 invalid_token`)
	p.ask(verifyCode, in{"challenge_token": p.tokens.Access, "code": "123456"}, `401 invalid_token`)
	p.with("Authorization", "Bearer "+token).ask("GET /auth/users/me", nil, `401 invalid_token`)
	code := p.code(loginMail)
	p.ask(verifyCode, in{"challenge_token": token, "code": not(code)}, `401 invalid_otp`, `otp.failed invalid_otp me {"context":"login"}`)
	a := p.ask(verifyCode, in{"challenge_token": token, "code": " " + code + " "}, tokensAnswer, rowRight, rowSuccess, rowCreated, rowIssued)
	p.use(a, "here")
	p.ask(verifyCode, in{"challenge_token": token, "code": code}, `401 otp_expired`, `otp.expired otp_expired me {"context":"login"}`)
	p.ask(resendCode, in{"challenge_token": token}, `401 otp_expired`)

	// Another code kills the one before, but not the challenge.
	token = p.challenge()
	code = p.code(loginMail)
	for range 3 {
		p.ask(resendCode, in{"challenge_token": token}, `200 {"sent":true}`, rowSent)
		again := p.code(loginMail)
		if again == code {
			continue // one in a million
		}
		p.ask(verifyCode, in{"challenge_token": token, "code": code}, `401 invalid_otp`, `otp.failed invalid_otp me {"context":"login"}`)
		code = again
	}
	p.ask(resendCode, in{"challenge_token": token}, `429 rate_limited; Retry-After: 600`)
	p.ask(resendCode, in{"challenge_token": flip(token)}, `401 invalid_token`)
	p.ask(resendCode, in{"challenge_token": "short"}, `422 validation_error challenge_token`)
	other := p.challenge() // two challenges, each with a code of its own
	otherCode := p.code(loginMail)
	p.ask(verifyCode, in{"challenge_token": token, "code": code}, tokensAnswer, rowRight, rowSuccess,
		`user.login.suspicious ok me {"new_ip":false,"new_user_agent":false,"prior_failures":3,"provider":"password"}`, `session.created ok me>session new `+byPassword, rowIssued)
	p.ask(verifyCode, in{"challenge_token": other, "code": otherCode}, tokensAnswer, rowRight, rowSuccess, `session.created ok me>session new `+byPassword, rowIssued)

	a = p.answer("POST /auth/login", in{"email": p.email, "password": password, "audience": "orders-api"},
		`200 {"otp_required":true,"challenge_token":"<jwt>","masked_email":"`+masked(p.email)+`"}`)
	q := *p
	q.use(q.answer(verifyCode, in{"challenge_token": challengeOf(p, a), "code": p.code(loginMail)}, tokensAnswer), "wide")
	if _, c := claims(p.t, q.tokens.Access); string(must(json.Marshal(c["aud"]))) != `["auth-service","orders-api"]` {
		p.t.Errorf("the audience is lost: %v", c["aud"])
	}

	// Off again takes the second factor.
	p.signed("POST /auth/otp/disable", nil, `403 otp_required; X-OTP-Required: true; X-OTP-Action: disable_otp`,
		`stepup.refused otp_required me {"action":"disable_otp","session_id":"here"}`)
	open := p.challenge()
	p.code(loginMail)
	off := p.with("X-Action-Token", p.confirm("disable_otp", ""))
	off.signed("POST /auth/otp/disable", nil, `200 {"email_otp_enabled":false}`, `otp.disabled ok me>user me`)
	p.ask(resendCode, in{"challenge_token": open}, `401 invalid_token`) // its codes are gone
	p.renew()
	p.signed("POST /auth/otp/disable", nil, `200 {"email_otp_enabled":false}`) // is so already
	p.ask("POST /auth/login", p.creds(password), tokensAnswer, rowSuccess, `session.created ok me>session new `+byPassword, rowIssued)
}

// failed are the rows of a wrong code.
func wrongCode(reason string) string { return `otp.failed ` + reason + ` me {"context":"login"}` }

func lockedByCode(wait, count string) string {
	return `user.locked account_locked me>user me {"attempt_count":` + count + `,"context":"login","distributed_attack":false,"provider":"password","retry_after":` + wait + `}`
}

func walkWrongCodes(p *person) {
	p.secure()
	token := p.challenge()
	code := p.code(loginMail)
	guess := in{"challenge_token": token, "code": not(code)}
	for range 4 {
		p.ask(verifyCode, guess, `401 invalid_otp`, wrongCode("invalid_otp"))
	}
	// The fifth kills the challenge, and locks as a fifth wrong password would.
	p.ask(verifyCode, guess, `401 otp_max_attempts_exceeded`, wrongCode("otp_max_attempts_exceeded"), lockedByCode("60", "5"))
	p.ask(verifyCode, in{"challenge_token": token, "code": code}, `401 account_locked; Retry-After: 60`, wrongCode("account_locked"))
	p.ask("POST /auth/login", p.creds(password), `401 account_locked; Retry-After: 60`, rowShut)
	p.from(newNetwork()).ask(verifyCode, in{"challenge_token": token, "code": code}, `401 otp_expired`, `otp.expired otp_expired me {"context":"login"}`)
	p.unlock()

	// The next wrong one locks at once, and the right one is no failure.
	token = p.challenge()
	code = p.code(loginMail)
	p.ask(verifyCode, in{"challenge_token": token, "code": not(code)}, `401 account_locked; Retry-After: 300`, wrongCode("invalid_otp"), lockedByCode("300", "6"))
	p.unlock()
	p.ask(verifyCode, in{"challenge_token": token, "code": code}, tokensAnswer, rowRight, rowSuccess,
		`user.login.suspicious ok me {"new_ip":false,"new_user_agent":false,"prior_failures":6,"provider":"password"}`, rowCreated, rowIssued)
	for range 4 { // the count began anew
		p.ask("POST /auth/login", p.creds(wrongPassword), `401 invalid_credentials`, rowWrong)
	}
}

func walkBlockedCodes(p *person) {
	p.secure()
	for round := range 3 { // eleven wrong codes, five from one network at most
		q := p.from(newNetwork())
		token := q.challenge()
		code := p.code(loginMail)
		for guess := range 5 {
			want, rows := `401 invalid_otp`, []string{wrongCode("invalid_otp")}
			if guess == 4 {
				want, rows = `401 otp_max_attempts_exceeded`, []string{wrongCode("otp_max_attempts_exceeded"), lockedByCode("60", "5")}
			}
			if round == 2 {
				rows = append(rows, `otp.excessive_failures otp_issuance_blocked me {"context":"login"}`)
			}
			q.ask(verifyCode, in{"challenge_token": token, "code": not(code)}, want, rows...)
			if round == 2 {
				q.ask(resendCode, in{"challenge_token": token}, `429 otp_issuance_blocked; Retry-After: 900`, `otp.sent otp_issuance_blocked me {"context":"login"}`)
				q.ask(verifyCode, in{"challenge_token": token, "code": code}, tokensAnswer, rowRight, rowSuccess,
					`user.login.suspicious ok me {"new_ip":true,"new_user_agent":false,"prior_failures":11,"provider":"password"}`,
					`session.created ok me>session new `+byPassword, rowIssued) // a code that was sent still works
				break
			}
		}
	}
	blocked := `429 otp_issuance_blocked; Retry-After: 900`
	p.ask("POST /auth/login", p.creds(password), blocked, `otp.sent otp_issuance_blocked me {"context":"login"}`)
	p.renew()
	// Codes for acts have a budget of their own.
	act := in{"action": "disable_otp"}
	for range 20 {
		p.signed(requestAct, act, `200 {"sent":true,"action":"disable_otp","expires_in":600}`, `otp.sent ok me {"action":"disable_otp","context":"action"}`)
	}
	p.signed(requestAct, act, `429 otp_issuance_blocked; Retry-After: 3600`, `otp.sent otp_issuance_blocked me {"action":"disable_otp","context":"action"}`)
}

const (
	requestAct = "POST /auth/otp/request/action"
	verifyAct  = "POST /auth/otp/verify/action"
)

func walkActionCodes(p *person) {
	p.enter("here")
	event := func(kind, reason, action string) string {
		return kind + ` ` + reason + ` me {"action":"` + action + `","context":"action"}`
	}
	p.signed(verifyAct, in{"code": "123456", "action": "erase_account"}, `401 otp_expired`, event("otp.expired", "otp_expired", "erase_account"))
	p.signed(requestAct, in{"action": "fly_to_the_moon"}, `422 validation_error action`)
	p.signed(requestAct, in{"action": "Orders:refund"}, `422 validation_error action`)
	p.signed(requestAct, in{"action": "erase_account", "target": strings.Repeat("x", 255)}, `422 validation_error target`)
	p.signed(requestAct, in{}, `422 validation_error action`)
	p.signed(verifyAct, in{"code": "123", "action": "erase_account"}, `422 validation_error code`)

	sent := func(action string) string { return `200 {"sent":true,"action":"` + action + `","expires_in":600}` }
	p.signed(requestAct, in{"action": "erase_account"}, sent("erase_account"), event("otp.sent", "ok", "erase_account"))
	first := p.code("Verification code for erase_account")
	p.signed(requestAct, in{"action": "orders-api:refund", "target": "order-17"}, sent("orders-api:refund"), event("otp.sent", "ok", "orders-api:refund"))
	m := p.letter("Verification code for orders-api:refund")
	code := m.Codes[0]
	if !strings.Contains(m.Text, "order-17") || !strings.Contains(m.Text, "10 minutes") {
		p.t.Errorf("the mail does not say what the act is on, and how long: %s", m.Text)
	}
	p.signed(verifyAct, in{"code": first, "action": "erase_account"}, `401 otp_action_mismatch`) // replaced
	p.another("other").signed(verifyAct, in{"code": code, "action": "orders-api:refund"}, `401 otp_expired`, event("otp.expired", "otp_expired", "orders-api:refund"))
	p.signed(verifyAct, in{"code": not(code), "action": "orders-api:refund"}, `401 invalid_otp`, event("otp.failed", "invalid_otp", "orders-api:refund"))
	a := p.signed(verifyAct, in{"code": code, "action": "orders-api:refund"}, `200 {"action_token":"<jwt>","expires_in":300}`, event("otp.verified", "ok", "orders-api:refund"))
	var out struct {
		Token string `json:"action_token"`
	}
	if err := json.Unmarshal(a.Body, &out); err != nil {
		p.t.Fatal(err)
	}
	header, c := claims(p.t, out.Token)
	if header["typ"] != "JWT" || c["type"] != "action_token" || c["aud"] != "orders-api" || c["action"] != "orders-api:refund" || c["target"] != "order-17" ||
		c["sub"] != p.id || c["sid"] != p.sid() || c["exp"].(float64)-c["iat"].(float64) != 300 {
		p.t.Errorf("the action token says %v %v", header, c)
	}
	p.signed(verifyAct, in{"code": code, "action": "orders-api:refund"}, `401 otp_expired`, event("otp.expired", "otp_expired", "orders-api:refund"))
	p.with("Authorization", "Bearer "+out.Token).ask("GET /auth/users/me", nil, `401 invalid_token`)

	// Wrong ones lock as at sign-in.
	p.signed(requestAct, in{"action": "change_email"}, sent("change_email"), event("otp.sent", "ok", "change_email"))
	code = p.code("Verification code for change_email")
	for range 3 {
		p.signed(verifyAct, in{"code": not(code), "action": "change_email"}, `401 invalid_otp`, event("otp.failed", "invalid_otp", "change_email"))
	}
	lock := func(wait, count string) string {
		return `user.locked account_locked me>user me {"action":"change_email","attempt_count":` + count + `,"context":"action","distributed_attack":false,"retry_after":` + wait + `}`
	}
	p.signed(verifyAct, in{"code": not(code), "action": "change_email"}, `401 account_locked; Retry-After: 60`, event("otp.failed", "invalid_otp", "change_email"), lock("60", "5"))
	p.signed(verifyAct, in{"code": code, "action": "change_email"}, `401 account_locked; Retry-After: 60`, event("otp.failed", "account_locked", "change_email"))
	p.unlock()
	p.signed(verifyAct, in{"code": not(code), "action": "change_email"}, `401 otp_max_attempts_exceeded`,
		event("otp.failed", "otp_max_attempts_exceeded", "change_email"), lock("300", "6"))
	p.unlock()
	p.signed(verifyAct, in{"code": code, "action": "change_email"}, `401 otp_expired`, event("otp.expired", "otp_expired", "change_email"))
}

func walkActionTokens(p *person) {
	p.enter("here")
	other := p.another("other")
	stranger := p.on(p.t).person().enter("theirs")
	next := newEmail()
	act := func(q *person, token, target string) string {
		a := q.do("POST", "/auth/email/change", in{"new_email": target}, append(q.header, "Authorization", "Bearer "+q.tokens.Access, "X-Action-Token", token)...)
		return p.normal(a)
	}
	const bad = `403 action_token_invalid; X-OTP-Required: true; X-OTP-Action: change_email`
	token := p.confirm("change_email", next)
	for _, row := range []struct {
		says string
		got  string
	}{
		{"another session", act(other, token, next)},
		{"another account", act(stranger, token, next)},
		{"another target", act(p, token, newEmail())},
		{"a changed token", act(p, flip(token), next)},
		{"an access token", act(p, p.tokens.Access, next)},
	} {
		if row.got != bad {
			p.t.Errorf("a confirmation with %s is answered %s", row.says, row.got)
		}
	}
	if got := act(p, token, next); got != `200 {"sent":true}` {
		p.t.Errorf("the right use is answered %s", got)
	}
	if got := act(p, token, next); got != bad {
		p.t.Errorf("the second use is answered %s", got)
	}
	token = p.confirm("change_email", "") // for any
	if got := act(p, token, newEmail()); got != `200 {"sent":true}` {
		p.t.Errorf("a confirmation without a target is answered %s", got)
	}
}

func walkConsume(p *person) {
	const consume = "POST /auth/otp/consume/action"
	p.enter("here")
	token := p.confirm("orders-api:refund", "order-17")
	body := func(more ...string) in {
		b := in{"action_token": token, "action": "orders-api:refund", "target": "order-17"}
		for i := 0; i < len(more); i += 2 {
			b[more[i]] = more[i+1]
		}
		return b
	}
	bad := func(action string) string {
		return `403 action_token_invalid; X-OTP-Required: true; X-OTP-Action: ` + action
	}
	p.signed(consume, in{"action_token": "short", "action": "orders-api:refund"}, `422 validation_error action_token`)
	p.signed(consume, body("action", "orders-api:delete"), bad("orders-api:delete"))
	p.signed(consume, body("target", "order-18"), bad("orders-api:refund"))
	p.signed(consume, body("target", ""), bad("orders-api:refund"))
	p.signed(consume, body("action_token", flip(token)), bad("orders-api:refund"))
	p.another("other").signed(consume, body(), bad("orders-api:refund"))
	p.with("X-Action-Token", token).signed("POST /auth/users/me/erase", nil, bad("erase_account"),
		`stepup.refused action_token_invalid me {"action":"erase_account","session_id":"here"}`)
	p.signed(consume, body(), `204`, `action_token.consumed ok me {"action":"orders-api:refund","session_id":"here"}`)
	p.signed(consume, body(), bad("orders-api:refund"))
}

func walkStepUp(p *person) {
	p.enter("here")
	refused := func(reason, action string) string {
		return `stepup.refused ` + reason + ` me {"action":"` + action + `","session_id":"here"}`
	}
	p.change(p.t, `UPDATE sessions SET auth_time = $1 WHERE id = $2`, longAgo(), p.sid())
	p.signed("POST /auth/otp/enable", nil, `403 reauth_required; X-Reauth-Required: true`, refused("reauth_required", "enable_otp"))
	p.signed("POST /auth/otp/disable", nil, `403 reauth_required; X-Reauth-Required: true`, refused("reauth_required", "disable_otp"))
	p.with("X-Action-Token", "nonsense").signed("POST /auth/otp/enable", nil, `403 action_token_invalid; X-OTP-Required: true; X-OTP-Action: enable_otp`,
		refused("action_token_invalid", "enable_otp"))
	p.with("X-Action-Token", "nonsense").signed("POST /auth/otp/disable", nil, `403 action_token_invalid; X-OTP-Required: true; X-OTP-Action: disable_otp`,
		refused("action_token_invalid", "disable_otp"))
	access := p.tokens.Access
	p.signed("POST /auth/reauth", in{"password": password}, `200 {"access_token":"<jwt>"}`, `user.reauth.success ok me {"provider":"password","session_id":"here"}`)
	p.signed("POST /auth/otp/enable", nil, `200 {"email_otp_enabled":true}`, `otp.enabled ok me>user me`) // SQL decides, not the claims
	p.dies(access, "token_expired")
	p.renew()
	p.signed("POST /auth/otp/enable", nil, `403 otp_required; X-OTP-Required: true; X-OTP-Action: enable_otp`, refused("otp_required", "enable_otp"))
	p.signed("POST /auth/reauth", in{"password": password}, `403 otp_required; X-OTP-Required: true`, `user.reauth.failure otp_required me {"provider":"password","session_id":"here"}`)
	// A second factor means that the password alone changes nothing.
	p.signed("POST /auth/password/change", in{"current_password": password, "new_password": password + "2"},
		`403 otp_required; X-OTP-Required: true; X-OTP-Action: change_password`, refused("otp_required", "change_password"))
	p.signed("POST /auth/email/change", in{"current_password": password, "new_email": newEmail()},
		`403 otp_required; X-OTP-Required: true; X-OTP-Action: change_email`, refused("otp_required", "change_email"))
}
