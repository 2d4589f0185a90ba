package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/authsdk/authsdk/e2e/authapi"
)

// racers is how many requests start at the same moment.
const racers = 32

// field is where a race is run: a server or replicas, and who tells.
type field struct {
	*testing.T
	servers []*server
}

// TestRacesHaveOneWinner: what works once works once, however many try at the
// same moment.
func TestRacesHaveOneWinner(t *testing.T) {
	settings := []string{anywhere, "PASSWORD__HASH_WORKERS=8"} // the pool must not shed the racers
	for _, world := range []struct {
		says    string
		servers func(t *testing.T) []*server
	}{
		{"on SQLite", func(t *testing.T) []*server { return []*server{sqliteStore(t).serve(t, settings...)} }},
		{"on PostgreSQL and Redis", func(t *testing.T) []*server { return []*server{postgresStore(t).serve(t, settings...)} }},
		{"on two replicas", func(t *testing.T) []*server {
			s := postgresStore(t)
			a := s.serve(t, settings...)
			return []*server{a, s.serve(t, append(settings, "EMAIL__PUBLIC_BASE_URL="+a.Base)...)}
		}},
	} {
		t.Run(world.says, func(t *testing.T) {
			t.Parallel()
			servers := world.servers(t)
			for _, race := range []struct {
				says string
				run  func(c field)
			}{
				{"a link that confirms an address", raceVerify},
				{"a right code at sign-in", raceRightCode},
				{"wrong codes at sign-in", raceWrongCodes},
				{"wrong passwords", raceWrongPasswords},
				{"right passwords, of which none is a failure", raceRightPasswords},
				{"a right code that confirms an act", raceActionCode},
				{"a reset with one link", raceReset},
				{"a reset against logins with the old password", raceResetLogins},
				{"refreshes with one token", raceRefresh},
				{"refreshes against a logout", raceLogout},
				{"spending a confirmation for a service", raceConsume},
				{"changing the password with one confirmation", racePassword},
				{"confirming one change of address", raceEmailChange},
				{"two accounts that want one address", raceOneAddress},
				{"erasing with one confirmation", raceErase},
				{"an erasure against logins", raceEraseLogins},
				{"an erasure against refreshes", raceEraseRefreshes},
				{"an erasure against a mailed code", raceEraseCode},
				{"two admins who erase themselves", raceAdmins},
			} {
				t.Run(race.says, func(t *testing.T) { race.run(field{t, servers}) })
			}
		})
	}
}

// person of this race.
func (c field) person() *person {
	c.Helper()
	return c.servers[0].on(c.T).person()
}

// all starts everybody at once; act is told which, and at which server.
func (c field) all(n int, act func(i int, at *authapi.Client) (authapi.Answer, error)) []authapi.Answer {
	c.Helper()
	answers, errs := make([]authapi.Answer, n), make([]error, n)
	var start, done sync.WaitGroup
	start.Add(1)
	for i := range n {
		at := c.servers[i%len(c.servers)].Client
		done.Go(func() {
			start.Wait()
			answers[i], errs[i] = act(i, at)
		})
	}
	start.Done()
	done.Wait()
	for i := range n {
		if errs[i] != nil {
			c.Fatal(errs[i])
		}
		if answers[i].Status >= 500 {
			c.Errorf("somebody is answered %s", answers[i])
		}
	}
	return answers
}

// race is all with the same request, whose body may differ.
func (c field) race(p *person, request string, body func(i int) any, header ...string) map[string]int {
	c.Helper()
	method, path, _ := strings.Cut(request, " ")
	return answersOf(c.all(racers, func(i int, at *authapi.Client) (authapi.Answer, error) {
		return at.Do(c.Context(), method, path, body(i), append(slices.Clone(p.header), header...)...)
	}))
}

// answersOf counts the answers by status and code.
func answersOf(answers []authapi.Answer) map[string]int {
	counts := map[string]int{}
	for _, a := range answers {
		counts[strings.TrimSpace(fmt.Sprint(a.Status, " ", a.Envelope().Code))]++
	}
	return counts
}

// are checks the tally: winners exactly, and the rest one of the losers.
func (c field) are(got map[string]int, winner string, winners int, losers ...string) {
	c.Helper()
	for answer := range got {
		if answer != winner && !slices.Contains(losers, answer) {
			c.Errorf("somebody is answered %s", answer)
		}
	}
	if got[winner] != winners {
		c.Errorf("%d are answered %s, not %d: %v", got[winner], winner, winners, got)
	}
}

func same(body any) func(int) any { return func(int) any { return body } }

// events counts the audit rows of an account.
func (p *person) events(event, reason string) int {
	p.t.Helper()
	return p.count(p.t, `SELECT COUNT(*) FROM audit_events WHERE event_type = $1 AND COALESCE(failure_reason, 'ok') = $2 AND (actor_id = $3 OR target_id = $3)`, event, reason, p.id)
}

// live counts the sessions of an account.
func (p *person) live() int {
	p.t.Helper()
	return p.count(p.t, `SELECT COUNT(*) FROM sessions WHERE user_id = $1 AND revoked_at IS NULL`, p.id)
}

func (p *person) bearer() []string { return []string{"Authorization", "Bearer " + p.tokens.Access} }

func (p *person) bearing() *person { return p.with(p.bearer()...) }

func raceVerify(c field) {
	p := c.servers[0].on(c.T).stranger()
	if _, err := p.Signup(c.Context(), p.email, password); err != nil {
		c.Fatal(err)
	}
	token := p.token("Verify your email", "/verify-email")
	c.are(c.race(p, "POST /auth/verify-email", same(in{"token": token})), "200", 1, "400 invalid_verify_token")
}

func raceRightCode(c field) {
	p := c.person().secure()
	token := p.challenge()
	before := p.live()
	body := in{"challenge_token": token, "code": p.code(loginMail)}
	c.are(c.race(p, verifyCode, same(body)), "200", 1, "401 otp_expired")
	if n, right := p.live()-before, p.events("otp.verified", "ok"); n != 1 || right != 1 {
		c.Errorf("%d sessions began, %d codes were right", n, right)
	}
	p.challenge() // nobody is locked
}

func raceWrongCodes(c field) {
	for says, from := range map[string]func(i int) string{
		"one":  func(int) string { return "10.250.0.1" },
		"many": func(i int) string { return fmt.Sprintf("10.251.%d.1", i) },
	} {
		p := c.person().secure()
		token, before := p.challenge(), p.live()
		code := p.code(loginMail)
		got := answersOf(c.all(racers, func(i int, at *authapi.Client) (authapi.Answer, error) {
			guess := fmt.Sprintf("%06d", i)
			if guess == code {
				guess = "999999"
			}
			return at.Do(c.Context(), "POST", "/auth/otp/verify/login", in{"challenge_token": token, "code": guess}, "X-Forwarded-For", from(i))
		}))
		if got["401 invalid_otp"] != 4 || got["401 otp_max_attempts_exceeded"] != 1 || got["401 otp_expired"]+got["401 account_locked"] != racers-5 {
			c.Errorf("from %s: %v", says, got)
		}
		looked := p.events("otp.failed", "invalid_otp") + p.events("otp.failed", "otp_max_attempts_exceeded")
		if looked != 5 || p.live() != before {
			c.Errorf("from %s: %d guesses were looked at, and %d sessions began", says, looked, p.live()-before)
		}
		if n := p.events("user.locked", "account_locked"); n > 1 || n == 0 && says == "one" {
			c.Errorf("from %s: %d locks", says, n)
		}
		c.are(answersOf([]authapi.Answer{p.do("POST", "/auth/otp/verify/login", in{"challenge_token": token, "code": code}, p.header...)}), "401 otp_expired", 1)
	}
}

func raceWrongPasswords(c field) {
	p := c.person()
	got := c.race(p, "POST /auth/login", func(i int) any { return p.creds(fmt.Sprint(wrongPassword, i)) })
	if got["401 invalid_credentials"] != 4 || got["401 account_locked"] != racers-4 {
		c.Errorf("the answers are %v", got)
	}
	if n := p.events("user.locked", "account_locked"); n != 1 {
		c.Errorf("%d locks", n)
	}
}

func raceRightPasswords(c field) {
	p := c.person()
	c.are(c.race(p, "POST /auth/login", same(p.creds(password))), "200", racers)
	if p.live() != racers || p.events("user.locked", "account_locked") != 0 {
		c.Errorf("%d sessions, %d locks", p.live(), p.events("user.locked", "account_locked"))
	}
}

func raceActionCode(c field) {
	p := c.person().enter("here")
	p.signed(requestAct, in{"action": "erase_account"}, `200 {"sent":true,"action":"erase_account","expires_in":600}`, `otp.sent ok me {"action":"erase_account","context":"action"}`)
	body := in{"action": "erase_account", "code": p.code("Verification code for erase_account")}
	c.are(c.race(p, verifyAct, same(body), p.bearer()...), "200", 1, "401 otp_expired")
	if n := p.count(p.t, `SELECT COUNT(*) FROM action_tokens WHERE user_id = $1`, p.id); n != 1 {
		c.Errorf("%d confirmations were made", n)
	}
}

func raceReset(c field) {
	p := c.person().enter("here")
	token := p.forgot()
	answers := c.all(racers, func(i int, at *authapi.Client) (authapi.Answer, error) {
		return at.Do(c.Context(), "POST", "/auth/password/reset", in{"token": token, "new_password": fmt.Sprint(password, i)}, p.header...)
	})
	c.are(answersOf(answers), "200", 1, "400 invalid_reset_token")
	winner := slices.IndexFunc(answers, func(a authapi.Answer) bool { return a.Status == 200 })
	if a := p.do("POST", "/auth/login", p.creds(fmt.Sprint(password, winner)), p.header...); a.Status != 200 {
		c.Errorf("the password of the winner is answered %s", a)
	}
	p.ended(p.sid(), "password_reset")
	if n := p.events("user.password.reset.completed", "ok"); n != 1 {
		c.Errorf("%d resets are on record", n)
	}
}

// strangerAt is where the i-th stranger comes from.
func strangerAt(i int) []string { return []string{"X-Forwarded-For", fmt.Sprintf("10.252.%d.1", i)} }

func raceResetLogins(c field) {
	p := c.person()
	token := p.forgot()
	answers := c.all(racers+1, func(i int, at *authapi.Client) (authapi.Answer, error) {
		if i == racers {
			return at.Do(c.Context(), "POST", "/auth/password/reset", in{"token": token, "new_password": password + "2"})
		}
		return at.Do(c.Context(), "POST", "/auth/login", p.creds(password), strangerAt(i)...)
	})
	if answers[racers].Status != 200 {
		c.Fatalf("the reset is answered %s", answers[racers])
	}
	c.are(answersOf(answers[:racers]), "", 0, "200", "401 invalid_credentials")
	if n := p.live(); n != 0 {
		c.Errorf("%d sessions of the old password live on", n)
	}
}

func raceRefresh(c field) {
	p := c.person().enter("here")
	answers := c.all(racers, func(_ int, at *authapi.Client) (authapi.Answer, error) {
		return at.Do(c.Context(), "POST", "/auth/token", in{"refresh_token": p.tokens.Refresh}, p.header...)
	})
	c.are(answersOf(answers), "200", racers)
	successors := map[string]bool{}
	for _, a := range answers {
		p.use(a, "here")
		successors[p.tokens.Refresh] = true
	}
	generation := p.count(p.t, `SELECT generation FROM sessions WHERE id = $1`, p.sid())
	if len(successors) != 1 || p.events("token.refreshed", "ok") != 1 {
		c.Errorf("%d successors, generation %d, %d rows", len(successors), generation, p.events("token.refreshed", "ok"))
	}
	p.refresh(p.tokens.Refresh)
}

func raceLogout(c field) {
	p := c.person().enter("here")
	answers := c.all(racers, func(i int, at *authapi.Client) (authapi.Answer, error) {
		path := "/auth/token"
		if i%4 == 0 {
			path = "/auth/logout"
		}
		return at.Do(c.Context(), "POST", path, in{"refresh_token": p.tokens.Refresh}, p.header...)
	})
	c.are(answersOf(answers), "204", racers/4, "200", "401 session_expired")
	if p.live() != 0 || p.events("user.logout", "ok") != 1 {
		c.Errorf("%d sessions live, %d logouts are on record", p.live(), p.events("user.logout", "ok"))
	}
}

func raceConsume(c field) {
	p := c.person().enter("here")
	body := in{"action_token": p.confirm("orders-api:refund", "order-17"), "action": "orders-api:refund", "target": "order-17"}
	c.are(c.race(p, "POST /auth/otp/consume/action", same(body), p.bearer()...), "204", 1, "403 action_token_invalid")
	if n := p.events("action_token.consumed", "ok"); n != 1 {
		c.Errorf("it was spent %d times", n)
	}
}

func racePassword(c field) {
	p := c.person().enter("here")
	header := append(p.bearer(), "X-Action-Token", p.confirm("change_password", ""))
	got := c.race(p, "POST /auth/password/change", func(i int) any { return in{"new_password": fmt.Sprint(password, i)} }, header...)
	c.are(got, "200", 1, "403 action_token_invalid", "401 token_expired")
	if n := p.events("user.password.changed", "ok"); n != 1 {
		c.Errorf("it was changed %d times", n)
	}
}

func raceEmailChange(c field) {
	p := c.person().enter("here")
	next := p.stranger()
	p.bearing().answer("POST /auth/email/change", in{"new_email": next.email, "current_password": password}, `200 {"sent":true}`)
	confirm := same(in{"token": next.token("Confirm your new email", "/confirm-email-change")})
	c.are(c.race(p, "POST /auth/email/change/confirm", confirm), "200", 1, "400 invalid_email_change")
	undo := same(in{"token": p.token("Your email has been changed", "/undo-email-change")})
	c.are(c.race(p, "POST /auth/email/change/undo", undo), "200", 1, "400 invalid_email_change")
	if a, b := p.events("user.email.changed", "ok"), p.events("user.email.change_undone", "ok"); a != 1 || b != 1 {
		c.Errorf("changed %d times, undone %d times", a, b)
	}
}

func raceOneAddress(c field) {
	next := c.servers[0].on(c.T).stranger()
	var tokens []string
	for range 2 {
		c.person().enter("here").bearing().answer("POST /auth/email/change", in{"new_email": next.email, "current_password": password}, `200 {"sent":true}`)
		tokens = append(tokens, next.token("Confirm your new email", "/confirm-email-change"))
	}
	got := answersOf(c.all(racers, func(i int, at *authapi.Client) (authapi.Answer, error) {
		return at.Do(c.Context(), "POST", "/auth/email/change/confirm", in{"token": tokens[i/2%2]})
	}))
	c.are(got, "200", 1, "400 invalid_email_change")
	if n := next.count(c.T, `SELECT COUNT(*) FROM users WHERE email_key = $1`, next.email); n != 1 {
		c.Errorf("%d accounts have the address", n)
	}
}

// eraser is who may erase the own account now.
func (c field) eraser() (*person, []string) {
	p := c.person().enter("here")
	return p, append(p.bearer(), "X-Action-Token", p.confirm("erase_account", ""))
}

func raceErase(c field) {
	p, header := c.eraser()
	got := c.race(p, "POST /auth/users/me/erase", same(nil), header...)
	c.are(got, "200", 1, "403 action_token_invalid", "401 session_expired", "409 already_erased")
	if n := p.events("user.erased", "ok"); n != 1 || p.live() != 0 {
		c.Errorf("erased %d times, %d sessions live on", n, p.live())
	}
}

func raceEraseLogins(c field) {
	p, header := c.eraser()
	answers := c.all(racers+1, func(i int, at *authapi.Client) (authapi.Answer, error) {
		if i == racers {
			return at.Do(c.Context(), "POST", "/auth/users/me/erase", nil, append(slices.Clone(p.header), header...)...)
		}
		return at.Do(c.Context(), "POST", "/auth/login", p.creds(password), strangerAt(i)...)
	})
	if answers[racers].Status != 200 {
		c.Fatalf("the erasure is answered %s", answers[racers])
	}
	c.are(answersOf(answers[:racers]), "", 0, "200", "401 invalid_credentials")
	if n := p.live(); n != 0 {
		c.Errorf("%d sessions live on", n)
	}
	for _, a := range answers[:racers] {
		if a.Status == 200 {
			q := *p
			q.use(a, "late")
			q.dies(q.tokens.Access, "session_expired")
		}
	}
	for table, condition := range map[string]string{"seen": "", "passwords": "", "action_tokens": "", "sessions": " AND ip_address IS NOT NULL"} {
		if n := p.count(p.t, `SELECT COUNT(*) FROM `+table+` WHERE user_id = $1`+condition, p.id); n != 0 {
			c.Errorf("%d rows are left in %s", n, table)
		}
	}
}

func raceEraseRefreshes(c field) {
	p, header := c.eraser()
	var tokens []string
	for range racers {
		tokens = append(tokens, p.another("other").tokens.Refresh)
	}
	answers := c.all(racers+1, func(i int, at *authapi.Client) (authapi.Answer, error) {
		if i == racers {
			return at.Do(c.Context(), "POST", "/auth/users/me/erase", nil, append(slices.Clone(p.header), header...)...)
		}
		return at.Do(c.Context(), "POST", "/auth/token", in{"refresh_token": tokens[i]}, p.header...)
	})
	if answers[racers].Status != 200 {
		c.Fatalf("the erasure is answered %s", answers[racers])
	}
	c.are(answersOf(answers[:racers]), "", 0, "200", "401 session_expired")
	if n := p.live(); n != 0 {
		c.Errorf("%d sessions live on", n)
	}
}

func raceEraseCode(c field) {
	p := c.person().secure()
	p.renew()
	body := in{"challenge_token": p.challenge(), "code": p.code(loginMail)}
	header := append(p.bearer(), "X-Action-Token", p.confirm("erase_account", ""))
	answers := c.all(racers+1, func(i int, at *authapi.Client) (authapi.Answer, error) {
		if i == racers {
			return at.Do(c.Context(), "POST", "/auth/users/me/erase", nil, append(slices.Clone(p.header), header...)...)
		}
		return at.Do(c.Context(), "POST", "/auth/otp/verify/login", body, strangerAt(i)...)
	})
	if answers[racers].Status != 200 {
		c.Fatalf("the erasure is answered %s", answers[racers])
	}
	got := answersOf(answers[:racers])
	c.are(got, "200", min(got["200"], 1), "401 otp_expired", "401 invalid_token")
	if n := p.live(); n != 0 {
		c.Errorf("%d sessions live on", n)
	}
}

func raceAdmins(c field) {
	var admins []*person
	var headers [][]string
	for range 2 {
		p, header := c.eraser()
		admins, headers = append(admins, p), append(headers, append(header, p.header...))
	}
	s := c.servers[0]
	s.change(c.T, `UPDATE users SET role = 'user' WHERE role = 'admin'`)
	for _, p := range admins {
		s.change(c.T, `UPDATE users SET role = 'admin' WHERE id = $1`, p.id)
	}
	got := answersOf(c.all(racers, func(i int, at *authapi.Client) (authapi.Answer, error) {
		return at.Do(c.Context(), "POST", "/auth/users/me/erase", nil, headers[i/2%2]...)
	}))
	c.are(got, "200", 1, "409 last_admin_protected", "403 action_token_invalid", "401 session_expired", "409 already_erased")
	if n := s.count(c.T, `SELECT COUNT(*) FROM users WHERE role = 'admin' AND is_active AND deleted_at IS NULL`); n != 1 {
		c.Errorf("%d admins are left: %v", n, slices.Sorted(maps.Keys(got)))
	}
}
