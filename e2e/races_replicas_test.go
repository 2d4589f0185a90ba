package e2e

import "testing"

// TestWhatEndsASessionAtOneReplicaIsKnownAtTheOther: within a second, whatever
// the reason. The other replica has the token in its cache.
func TestWhatEndsASessionAtOneReplicaIsKnownAtTheOther(t *testing.T) {
	t.Parallel()
	s := postgresStore(t)
	a := s.serve(t, anywhere)
	b := s.serve(t, anywhere, "EMAIL__PUBLIC_BASE_URL="+a.Base)
	for _, row := range []struct {
		reason string // stored with the session
		end    func(p, other *person)
	}{
		{"logout", func(_, other *person) {
			other.answer("POST /auth/logout", in{"refresh_token": other.tokens.Refresh}, `204`)
		}},
		{"password_reset", func(p, _ *person) {
			p.answer("POST /auth/password/reset", in{"token": p.forgot(), "new_password": password + "2"}, `200 {"reset":true}`)
		}},
		{"password_change", func(p, _ *person) {
			p.bearing().answer("POST /auth/password/change", in{"current_password": password, "new_password": password + "2"}, `200 {"changed":true}`)
		}},
		{"self_targeted", func(p, other *person) {
			p.bearing().answer("DELETE /auth/sessions/"+other.sid(), nil, `200 {"session_id":"other","revoke_reason":"self_targeted"}`)
		}},
		{"self_revoke_others", func(p, _ *person) {
			p.bearing().answer("DELETE /auth/sessions", nil, `200 {"revoked_session_ids":["other"],"revoked_session_count":1,"revoke_reason":"self_revoke_others"}`)
		}},
		{"email_change_undone", func(p, _ *person) {
			next := p.stranger()
			p.bearing().answer("POST /auth/email/change", in{"new_email": next.email, "current_password": password}, `200 {"sent":true}`)
			p.answer("POST /auth/email/change/confirm", in{"token": next.token("Confirm your new email", "/confirm-email-change")}, `200 {"changed":true}`)
			p.answer("POST /auth/email/change/undo", in{"token": p.token("Your email has been changed", "/undo-email-change")}, `200 {"undone":true}`)
		}},
		{"erased", func(p, _ *person) {
			p.with("X-Action-Token", p.confirm("erase_account", "")).signed("POST /auth/users/me/erase", nil, `200 {"erased":true,"user_id":"me","remains":[`+
				`"the account's id and role, and that and when it was erased","its sessions, without address and browser","its audit events, without address and browser"]}`,
				`user.erased ok me>user me {"deleted_identity_count":0,"revoked_api_key_count":0,"revoked_session_count":2}`)
		}},
	} {
		t.Run(row.reason, func(t *testing.T) {
			t.Parallel()
			p := a.on(t).person().enter("here")
			other := p.another("other")
			at := *other
			at.server = b.on(t)
			at.signed("GET /auth/validate", nil, `204`)
			at.signed("GET /auth/users/me", nil, at.me("<me>", "false", "true"))
			row.end(p, other)
			at.dies(other.tokens.Access, "session_expired")
			at.answer("POST /auth/token", in{"refresh_token": other.tokens.Refresh}, `401 session_expired`)
			at.ended(other.sid(), row.reason)
		})
	}
}

// TestWhatTokensSayChangesAtEveryReplica: what is not so any more is refused at
// the other replica within a second, and a refresh there tells the new facts.
func TestWhatTokensSayChangesAtEveryReplica(t *testing.T) {
	t.Parallel()
	s := postgresStore(t)
	a := s.serve(t, anywhere)
	b := s.serve(t, anywhere, "EMAIL__PUBLIC_BASE_URL="+a.Base)
	p := a.on(t).person().enter("here")
	at := *p
	at.server = b.on(t)
	at.signed("GET /auth/validate", nil, `204`)
	p.signed("POST /auth/otp/enable", nil, `200 {"email_otp_enabled":true}`, `otp.enabled ok me>user me`)
	at.dies(p.tokens.Access, "token_expired")
	at.renew()
	if _, c := claims(t, at.tokens.Access); c["email_otp_enabled"] != true {
		t.Errorf("the claims are %v", c)
	}
	p.signed("GET /auth/validate", nil, `401 token_expired`)

	// A challenge of one replica is met at the other, and spent at both.
	token := p.challenge()
	body := in{"challenge_token": token, "code": p.code(loginMail)}
	at.ask(verifyCode, body, tokensAnswer, rowRight, rowSuccess, rowCreated, rowIssued)
	p.ask(verifyCode, body, `401 otp_expired`, `otp.expired otp_expired me {"context":"login"}`)
}
