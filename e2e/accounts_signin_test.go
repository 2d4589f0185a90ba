package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/e2e/authapi"
)

const (
	tokensAnswer = `200 {"access_token":"<jwt>","refresh_token":"<rt>","token_type":"bearer","expires_in":900}`

	byPassword = `{"provider":"password"}`
	rowSuccess = `user.login.success ok me ` + byPassword
	rowCreated = `session.created ok me>session new ` + byPassword
	rowIssued  = `token.issued ok me {"provider":"password","token_kind":"login"}`
	rowWrong   = `user.login.failure invalid_credentials me ` + byPassword
	rowShut    = `user.login.failure account_locked me ` + byPassword
)

// in is the body of a request.
type in = map[string]string

func (p *person) creds(pass string) in { return in{"email": p.email, "password": pass} }

const wrongPassword = password + "-wrong"

func walkLogin(p *person) {
	const login = "POST /auth/login"
	p.ask(login, p.creds(wrongPassword), `401 invalid_credentials`, rowWrong)
	p.ask(login, in{"email": newEmail(), "password": password}, `401 invalid_credentials`, `user.login.failure invalid_credentials - `+byPassword)
	p.ask(login, p.creds("short"), `422 validation_error password`)
	p.ask(login, in{"email": "nobody", "password": password}, `422 validation_error email`)
	p.ask(login, in{"email": p.email, "password": password, "audience": "two words"}, `422 validation_error audience`)
	a := p.ask(login, in{"email": " " + strings.ToUpper(p.email) + " ", "password": password, "audience": "orders-api"}, tokensAnswer, rowSuccess, rowCreated, rowIssued)
	p.use(a, "here")
	if _, c := claims(p.t, p.tokens.Access); string(must(json.Marshal(c["aud"]))) != `["auth-service","orders-api"]` || c["sub"] != p.id {
		p.t.Errorf("claims %v", c)
	}
	var ip, agent, reasons string
	if err := p.db.QueryRow(`SELECT ip_address, user_agent, suspicious_reasons FROM sessions WHERE id = $1`, p.sid()).Scan(&ip, &agent, &reasons); err != nil {
		p.t.Fatal(err)
	}
	if !strings.HasPrefix(ip, "10.") || !strings.HasPrefix(agent, "Go-http-client") || reasons != "[]" {
		p.t.Errorf("the session is from %q with %q and stands out by %s", ip, agent, reasons)
	}

	unverified := p.stranger()
	if _, err := unverified.Signup(p.t.Context(), unverified.email, password); err != nil {
		p.t.Fatal(err)
	}
	unverified.ask(login, unverified.creds(password), `400 email_not_verified`, `user.login.failure email_not_verified <uuid> `+byPassword)
	for range 6 { // a right password is never a failure
		unverified.do("POST", "/auth/login", unverified.creds(password), unverified.header...)
	}
	unverified.ask(login, unverified.creds(wrongPassword), `401 invalid_credentials`, `user.login.failure invalid_credentials <uuid> `+byPassword)

	listed := p.listed(`AUTH__AUDIENCES=["orders-api"]`)
	listed.ask(login, in{"email": listed.email, "password": password, "audience": "billing-api"}, `403 audience_not_allowed`)
	listed.ask("GET /auth/csrf", nil, `404 not_found`) // sessions in cookies are off
}

// listed is somebody at a server of the same engine with other settings.
func (p *person) listed(settings ...string) *person {
	p.t.Helper()
	s := sqliteStore(p.t)
	if p.engine != s.engine {
		s = postgresStore(p.t)
	}
	v := s.serve(p.t, append(settings, anywhere)...)
	if seen, ok := p.HTTP.Transport.(*recorder); ok {
		v.HTTP.Transport = &recorder{v.HTTP.Transport, seen.coverage}
	}
	return v.person()
}

// unlock lets the time of a lock pass, for this account and network.
func (p *person) unlock() {
	p.t.Helper()
	prefix := p.ip[:strings.LastIndex(p.ip, ".")] + ".0/24"
	p.change(p.t, `UPDATE lockouts SET locked_until = (SELECT created_at FROM users WHERE id = $1) WHERE network = $2`, p.id, prefix)
}

func locked(wait string, count string) string {
	return `user.locked account_locked me>user me {"attempt_count":` + count + `,"distributed_attack":false,"provider":"password","retry_after":` + wait + `}`
}

func walkLockout(p *person) {
	const login = "POST /auth/login"
	for range 4 {
		p.ask(login, p.creds(wrongPassword), `401 invalid_credentials`, rowWrong)
	}
	for _, step := range []struct{ wait, count string }{{"60", "5"}, {"300", "6"}, {"900", "7"}, {"3600", "8"}, {"3600", "9"}} {
		p.ask(login, p.creds(wrongPassword), `401 account_locked; Retry-After: `+step.wait, locked(step.wait, step.count), rowShut)
		p.ask(login, p.creds(password), `401 account_locked; Retry-After: `+step.wait, rowShut) // not looked at, not counted
		p.unlock()
	}
	p.ask(login, p.creds(password), tokensAnswer, rowSuccess,
		`user.login.suspicious ok me {"new_ip":false,"new_user_agent":false,"prior_failures":9,"provider":"password"}`, rowCreated, rowIssued)
	for range 4 { // the count began anew
		p.ask(login, p.creds(wrongPassword), `401 invalid_credentials`, rowWrong)
	}
	p.ask(login, p.creds(wrongPassword), `401 account_locked; Retry-After: 60`, locked("60", "5"), rowShut)
	elsewhere := p.from(newNetwork())
	elsewhere.ask(login, p.creds(wrongPassword), `401 invalid_credentials`, rowWrong) // a lock is of one network
	elsewhere.enter("elsewhere")

	p.answer("POST /auth/password/forgot", in{"email": p.email}, `200 {"sent":true}`)
	p.ask("POST /auth/password/reset", in{"token": p.token("Reset your password", "/reset-password"), "new_password": password + "2"},
		`200 {"reset":true}`, resetRows(`"elsewhere","new"`, 2)...)
	p.ask(login, p.creds(password+"2"), tokensAnswer, rowSuccess, `session.created ok me>session new `+byPassword, rowIssued) // a reset unlocks
}

func walkUnknown(p *person) {
	unknown := p.stranger()
	inactive := p.from(newNetwork())
	inactive.change(p.t, `UPDATE users SET is_active = FALSE WHERE id = $1`, p.id)
	for _, q := range []*person{unknown, inactive} {
		for i := range 6 {
			switch row := `user.login.failure invalid_credentials - ` + byPassword; {
			case i < 4:
				q.ask("POST /auth/login", q.creds(wrongPassword), `401 invalid_credentials`, row)
			case i == 4:
				q.ask("POST /auth/login", q.creds(wrongPassword), `401 account_locked; Retry-After: 60`,
					`user.locked account_locked - {"attempt_count":5,"distributed_attack":false,"provider":"password","retry_after":60}`,
					`user.login.failure account_locked - `+byPassword)
			default:
				q.ask("POST /auth/login", q.creds(password), `401 account_locked; Retry-After: 60`, `user.login.failure account_locked - `+byPassword)
			}
		}
	}
}

func walkStrangers(p *person) {
	const login = "POST /auth/login"
	p.enter("home")
	for range 49 {
		p.from(newNetwork()).ask(login, p.creds(wrongPassword), `401 invalid_credentials`, rowWrong)
	}
	shut := `401 account_locked; Retry-After: 3600`
	p.from(newNetwork()).ask(login, p.creds(wrongPassword), shut,
		`user.locked account_locked me>user me {"attempt_count":50,"distributed_attack":true,"provider":"password","retry_after":3600}`, rowShut)
	p.from(newNetwork()).ask(login, p.creds(password), shut, rowShut)
	p.ask(login, p.creds(password), tokensAnswer, rowSuccess, rowCreated, rowIssued)
}

// What browsers send.
const (
	firefox    = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	newFirefox = "Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0"
	edge       = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0"
)

func walkSuspicion(p *person) {
	const login = "POST /auth/login"
	suspicious := func(ip, agent string) string {
		return `user.login.suspicious ok me {"new_ip":` + ip + `,"new_user_agent":` + agent + `,"prior_failures":0,"provider":"password"}`
	}
	created := `session.created ok me>session new ` + byPassword
	home := p.with("User-Agent", firefox)
	home.ask(login, p.creds(password), tokensAnswer, rowSuccess, created, rowIssued) // the first of all
	neighbour := strings.TrimSuffix(p.ip, "7") + "99"
	home.from(neighbour).with("User-Agent", newFirefox).ask(login, p.creds(password), tokensAnswer, rowSuccess, created, rowIssued)
	a := home.with("User-Agent", edge).ask(login, p.creds(password), tokensAnswer, rowSuccess, suspicious("false", "true"), created, rowIssued)
	p.flagged(a, `["new_user_agent"]`)
	a = p.from(newNetwork()).with("User-Agent", "curl/8").ask(login, p.creds(password), tokensAnswer, rowSuccess, suspicious("true", "true"), created, rowIssued)
	p.flagged(a, `["new_ip","new_user_agent"]`)
	for range 3 {
		home.ask(login, p.creds(wrongPassword), `401 invalid_credentials`, rowWrong)
	}
	a = home.ask(login, p.creds(password), tokensAnswer, rowSuccess,
		`user.login.suspicious ok me {"new_ip":false,"new_user_agent":false,"prior_failures":3,"provider":"password"}`, created, rowIssued)
	p.flagged(a, `["prior_failures"]`)
}

// flagged checks why the session of an answer stands out.
func (p *person) flagged(a authapi.Answer, want string) {
	p.t.Helper()
	q := *p
	q.use(a, "new")
	var got string
	err := p.db.QueryRow(`SELECT CAST(suspicious_reasons AS TEXT) FROM sessions WHERE is_suspicious AND id = $1`, q.sid()).Scan(&got)
	if got = strings.ReplaceAll(got, " ", ""); err != nil || got != want {
		p.t.Errorf("the session stands out by %s (%v), not %s", got, err, want)
	}
}

func walkSession(p *person) {
	p.enter("here")
	old := p.tokens
	about := `{"provider":"password","session_id":"here"}`
	issued := `token.issued ok me {"provider":"password","token_kind":"refresh"}`
	for range 2 { // the second is the echo, which changes nothing
		rows := []string{`token.refreshed ok me ` + about, issued}
		if p.tokens != old {
			rows = nil
		}
		p.tokens = old
		p.use(p.ask("POST /auth/token", in{"refresh_token": old.Refresh}, tokensAnswer, rows...), "here")
	}
	p.signed("GET /auth/validate", nil, `204`)
	p.ask("POST /auth/token", in{"refresh_token": "rt_" + strings.Repeat("x", 80)}, `401 session_expired`)
	p.ask("POST /auth/token", in{"refresh_token": "short"}, `422 validation_error refresh_token`)
	p.ask("POST /auth/token", nil, `400 malformed_request`)

	other := p.another("other")
	p.signed("POST /auth/logout", in{"refresh_token": other.tokens.Refresh}, `401 invalid_token`)
	p.signed("POST /auth/logout", nil, `401 invalid_token`)
	p.signed("POST /auth/logout", in{}, `422 validation_error refresh_token`)
	p.ask("POST /auth/logout", in{"refresh_token": "rt_" + strings.Repeat("x", 80)}, `401 invalid_token`)
	p.signed("POST /auth/logout", in{"refresh_token": p.tokens.Refresh}, `204`, `user.logout ok me `+about, signedOut("here"))
	p.ask("POST /auth/logout", in{"refresh_token": p.tokens.Refresh}, `204`) // again is no error
	p.ended(p.sid(), "logout")
	p.dies(p.tokens.Access, "session_expired")
	p.signed("GET /auth/validate", nil, `401 session_expired`)
	p.ask("POST /auth/token", in{"refresh_token": p.tokens.Refresh}, `401 session_expired`, `token.refreshed session_expired me `+about)
	p.ended(other.sid(), "")
	other.ask("POST /auth/logout", in{"refresh_token": other.tokens.Refresh}, `204`, `user.logout ok me {"provider":"password","session_id":"other"}`, signedOut("other"))
}

func walkReauth(p *person) {
	p.enter("here")
	const reauth = "POST /auth/reauth"
	about := ` me {"provider":"password","session_id":"here"}`
	_, before := claims(p.t, p.tokens.Access)
	p.change(p.t, `UPDATE sessions SET auth_time = $1 WHERE id = $2`, longAgo(), p.sid())
	p.signed(reauth, in{"password": wrongPassword}, `401 invalid_credentials`, `user.reauth.failure invalid_credentials`+about)
	p.signed(reauth, in{"password": "short"}, `422 validation_error password`)
	a := p.signed(reauth, in{"password": password}, `200 {"access_token":"<jwt>"}`, `user.reauth.success ok`+about)
	old := p.tokens
	p.use(a, "here")
	_, after := claims(p.t, p.tokens.Access)
	if after["auth_time"].(float64) < before["auth_time"].(float64) || after["sid"] != before["sid"] || after["jti"] == before["jti"] {
		p.t.Errorf("claims before %v, after %v", before, after)
	}
	p.tokens.Refresh = old.Refresh
	for range 4 { // the failure before is forgotten
		p.signed(reauth, in{"password": wrongPassword}, `401 invalid_credentials`, `user.reauth.failure invalid_credentials`+about)
	}
	p.signed(reauth, in{"password": wrongPassword}, `401 account_locked; Retry-After: 60`, locked("60", "5"), `user.reauth.failure account_locked`+about)
	p.signed(reauth, in{"password": password}, `401 account_locked; Retry-After: 60`, `user.reauth.failure account_locked`+about)
	p.ask("POST /auth/login", p.creds(password), `401 account_locked; Retry-After: 60`, rowShut) // one count for all proofs
	p.unlock()
	p.signed(reauth, in{"password": password}, `200 {"access_token":"<jwt>"}`, `user.reauth.success ok`+about)
	p.use(p.ask("POST /auth/token", in{"refresh_token": old.Refresh}, tokensAnswer, `token.refreshed ok me {"provider":"password","session_id":"here"}`,
		`token.issued ok me {"provider":"password","token_kind":"refresh"}`), "here")
	if _, c := claims(p.t, p.tokens.Access); c["auth_time"].(float64) < after["auth_time"].(float64) {
		p.t.Error("a refresh forgets the renewed proof")
	}
}

func walkKeys(p *person) {
	a := p.ask("GET /.well-known/jwks.json", nil, p.named(p.do("GET", "/.well-known/jwks.json", nil).String()))
	if a.Header.Get("Cache-Control") != "public, max-age=60" {
		p.t.Errorf("Cache-Control %q", a.Header.Get("Cache-Control"))
	}
	p.with("If-None-Match", a.Header.Get("ETag")).ask("GET /.well-known/jwks.json", nil, `304`)
}

func TestWithoutBrowserSessionsThereAreNoCookies(t *testing.T) {
	t.Parallel()
	p := sqliteStore(t).serve(t, anywhere).person()
	p.ask("GET /auth/csrf", nil, `404 not_found`)
	p.with("X-Auth-Session-Transport", "cookie", "Cookie", "auth_access=x; __Host-auth_access=y").ask("POST /auth/login", p.creds(password),
		tokensAnswer, rowSuccess, rowCreated, rowIssued)
	p.enter("here")
	p.with("Cookie", "__Host-auth_access="+p.tokens.Access).ask("GET /auth/users/me", nil, `401 invalid_token`)
}
