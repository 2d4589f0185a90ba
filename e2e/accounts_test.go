package e2e

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsdk/authsdk/e2e/authapi"
)

// inCookies offers sessions in cookies, with names that plain HTTP allows.
var inCookies = []string{
	"BROWSER_SESSIONS__ENABLED=true", "BROWSER_SESSIONS__ACCESS_COOKIE_NAME=auth_access", "BROWSER_SESSIONS__REFRESH_COOKIE_NAME=auth_refresh",
	"BROWSER_SESSIONS__CSRF_COOKIE_NAME=auth_csrf", "BROWSER_SESSIONS__REFRESH_COOKIE_PATH=/auth",
}

// anywhere lets a test say which address a request comes from.
const anywhere = `APP__TRUSTED_PROXY_CIDRS=["127.0.0.0/8"]`

// TestEveryAnswerOfTheAuthCore walks auth-core.md. Every answer is compared
// whole, with its headers and with the audit rows that its request left, and in
// the end nothing that the API description names was left out.
func TestEveryAnswerOfTheAuthCore(t *testing.T) {
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t, append(slices.Clone(inCookies), anywhere)...)
		seen := v.remember()
		t.Run("all", func(t *testing.T) {
			for _, part := range []struct {
				says string
				test func(p *person)
			}{
				{"a login answers tokens, or why not", walkLogin},
				{"five wrong passwords lock, longer each time", walkLockout},
				{"an unknown address locks like a known one", walkUnknown},
				{"fifty wrong passwords from anywhere lock strangers out, not the owner", walkStrangers},
				{"a login that stands out is marked", walkSuspicion},
				{"a refresh, a validation and a logout", walkSession},
				{"a renewed proof of the password", walkReauth},
				{"signing up and confirming", walkSignup},
				{"a forgotten password", walkForgot},
				{"a forgotten password, by the pages", walkResetPage},
				{"one's own profile and password", walkPassword},
				{"another address, confirmed and undone", walkEmailChange},
				{"another address that is not free", walkEmailTaken},
				{"one's own sessions", walkSessions},
				{"one's own history", walkHistory},
				{"mailed codes at sign-in", walkLoginCodes},
				{"wrong codes at sign-in", walkWrongCodes},
				{"too many wrong codes", walkBlockedCodes},
				{"a code that confirms an act", walkActionCodes},
				{"a confirmation is for one act, session and target", walkActionTokens},
				{"a service spends a confirmation", walkConsume},
				{"step-up asks whoever has no second factor for a recent sign-in", walkStepUp},
				{"erasing the own account", walkErasure},
				{"a session in cookies", walkCookies},
				{"a session in cookies that began with a code", walkCookieCode},
				{"who may call what", walkCallers},
				{"what is not input", walkInput},
				{"the public keys", walkKeys},
			} {
				t.Run(part.says, func(t *testing.T) {
					t.Parallel()
					part.test(v.on(t).person())
				})
			}
		})
		if !t.Failed() {
			seen.complete(t, v)
		}
	})
}

// person is somebody who uses the API.
type person struct {
	*server
	db     *sql.DB
	email  string
	id     string
	tokens authapi.Tokens  // of the newest login or refresh
	read   map[string]bool // mails, by id
	ip     string          // where it comes from
	header []string        // goes with every request
	names  map[string]string
}

// person has a confirmed account, and comes from a network of its own.
func (v *server) person() *person {
	v.t.Helper()
	p := v.stranger()
	p.email = v.account()
	p.letter("Verify your email")
	if err := p.db.QueryRow(`SELECT CAST(id AS TEXT) FROM users WHERE email = $1`, p.email).Scan(&p.id); err != nil {
		v.t.Fatal(err)
	}
	p.names[p.id], p.names[p.email] = "me", "<me>"
	return p
}

// stranger has no account yet.
func (v *server) stranger() *person {
	p := &person{server: v, db: v.sql(v.t), email: newEmail(), names: map[string]string{}, read: map[string]bool{}}
	p.names[p.email] = "<me>"
	return p.from(newNetwork())
}

// with sends more headers; the receiver is left as it is.
func (p *person) with(header ...string) *person {
	q := *p
	q.header = append(slices.Clone(p.header), header...)
	return &q
}

// from comes from an address.
func (p *person) from(ip string) *person {
	q := p.with("X-Forwarded-For", ip)
	q.ip = ip
	return q
}

// signed is ask with the access token.
func (p *person) signed(request string, body any, want string, rows ...string) authapi.Answer {
	p.t.Helper()
	return p.with("Authorization", "Bearer "+p.tokens.Access).ask(request, body, want, rows...)
}

// ask sends a request, "POST /auth/login", and compares the answer and the audit
// rows that it left. What differs from run to run has names: see normal. An
// error answer is wanted as "401 invalid_token", one that names fields as "422
// validation_error email".
func (p *person) ask(request string, body any, want string, rows ...string) authapi.Answer {
	p.t.Helper()
	a := p.answer(request, body, want)
	p.left(request, a, rows...)
	return a
}

// answer is ask without the audit rows.
func (p *person) answer(request string, body any, want string) authapi.Answer {
	p.t.Helper()
	method, path, _ := strings.Cut(request, " ")
	a := p.do(method, path, body, p.header...)
	p.checkHeaders(request, a)
	p.take(a)
	if got := p.normal(a); got != want {
		p.t.Errorf("%s\n got %s\nwant %s", request, got, want)
	}
	return a
}

// take remembers whose session a token is of: "new" in what is wanted.
func (p *person) take(a authapi.Answer) {
	var tokens authapi.Tokens
	if json.Unmarshal(a.Body, &tokens) == nil && tokens.Access != "" {
		_, c := claims(p.t, tokens.Access)
		if sid, _ := c["sid"].(string); p.names[sid] == "" {
			p.names[sid] = "new"
		}
	}
}

// checkHeaders looks at what every answer carries.
func (p *person) checkHeaders(request string, a authapi.Answer) {
	p.t.Helper()
	h := a.Header
	if a.Status >= 500 {
		p.t.Errorf("%s is answered %s", request, a)
	}
	forServices := strings.Contains(request, "/auth/validate") || strings.Contains(request, "/auth/otp/consume/action") // they know HTTP/1.1
	if !strings.Contains(request, "/.well-known/") && (h.Get("Cache-Control") != "no-store" || !forServices && h.Get("Pragma") != "no-cache") {
		p.t.Errorf("%s: the answer may be cached: %v", request, h)
	}
	if h.Get("X-Correlation-ID") == "" || h.Get("X-Content-Type-Options") != "nosniff" {
		p.t.Errorf("%s: headers are missing: %v", request, h)
	}
	if challenged := strings.HasPrefix(h.Get("WWW-Authenticate"), "Bearer"); challenged != (a.Status == 401) {
		p.t.Errorf("%s: WWW-Authenticate of a %d: %q", request, a.Status, h.Get("WWW-Authenticate"))
	}
	if kind := h.Get("Content-Type"); len(a.Body) > 0 && kind != "application/json" && !strings.HasPrefix(kind, "text/html") {
		p.t.Errorf("%s: Content-Type %q", request, kind)
	}
}

// details are the sentences of the contract.
var details = map[string]string{
	"invalid_credentials": "Invalid email or password.", "account_locked": "Account temporarily locked.", "email_not_verified": "Email is not verified.",
	"session_expired": "Session expired.", "invalid_token": "Invalid token.", "token_expired": "Token has expired.",
	"already_verified": "Email is already verified.", "rate_limited": "Rate limit exceeded.", "invalid_verify_token": "Invalid verification token.",
	"invalid_reset_token": "Invalid reset token.", "otp_required": "OTP required.", "reauth_required": "Re-authentication required.",
	"otp_expired": "OTP expired.", "otp_max_attempts_exceeded": "OTP attempts exceeded.", "invalid_otp": "Invalid OTP.",
	"otp_action_mismatch": "OTP action mismatch.", "otp_issuance_blocked": "OTP issuance temporarily blocked.", "action_token_invalid": "Invalid action token.",
	"invalid_user": "User not found.", "already_erased": "User already erased.", "cannot_revoke_current_session": "Use logout to end the current session.",
	"invalid_session": "Session not found.", "session_revoked": "Session already revoked.",
	"ambiguous_authentication_transport": "Conflicting authentication transports.", "invalid_csrf_token": "Invalid CSRF token.",
}

var varying = []struct {
	is   *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]+`), "<jwt>"},
	{regexp.MustCompile(`rt_[\w-]{40,}`), "<rt>"},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "<uuid>"},
	{regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z`), "<time>"},
	{regexp.MustCompile(`"csrf_token":"[\w-]{43}"`), `"csrf_token":"<csrf>"`},
}

var retryAfter = regexp.MustCompile(`"retry_after":\d+`)

// named puts names in the place of ids, tokens and times.
func (p *person) named(text string) string {
	for value, name := range p.names {
		text = strings.ReplaceAll(text, value, name)
	}
	for _, v := range varying {
		text = v.is.ReplaceAllString(text, v.name)
	}
	return retryAfter.ReplaceAllStringFunc(text, func(found string) string {
		key, seconds, _ := strings.Cut(found, ":")
		return key + ":" + roundUp(seconds)
	})
}

// normal is an answer on one line: the status; the body, or of a refusal code
// and fields; the headers that mean something; the cookies set, or with a minus
// deleted.
func (p *person) normal(a authapi.Answer) string {
	p.t.Helper()
	text := p.named(a.String())
	if a.Status >= 400 && strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") {
		e := a.Envelope()
		var keys map[string]any
		if json.Unmarshal(a.Body, &keys); len(keys) != 3 && !(len(keys) == 4 && len(e.Errors) > 0) || e.RequestID != a.Header.Get("X-Correlation-ID") {
			p.t.Errorf("this is not the envelope: %s", a)
		}
		if want, known := details[e.Code]; known && e.Detail != want {
			p.t.Errorf("%s says %q, not %q", e.Code, e.Detail, want)
		}
		text = fmt.Sprintf("%d %s", a.Status, e.Code)
		for _, field := range e.Errors {
			text += " " + field.Field
		}
	} else if strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") {
		text = fmt.Sprintf("%d page", a.Status)
	}
	for _, name := range []string{"X-OTP-Required", "X-OTP-Action", "X-Reauth-Required"} {
		if value := a.Header.Get(name); value != "" {
			text += "; " + name + ": " + value
		}
	}
	if after := a.Header.Get("Retry-After"); after != "" {
		text += "; Retry-After: " + roundUp(after)
	}
	var cookies []string
	for _, line := range a.Header.Values("Set-Cookie") {
		name, rest, _ := strings.Cut(line, "=")
		if strings.HasPrefix(rest, ";") {
			name = "-" + name
		}
		cookies = append(cookies, name)
	}
	if len(cookies) > 0 {
		text += "; cookies " + strings.Join(cookies, " ")
	}
	return text
}

// roundUp makes of the seconds that are left the wait that was begun.
func roundUp(seconds string) string {
	n, err := strconv.Atoi(seconds)
	for _, whole := range []int{60, 300, 600, 900, 1200, 3600} {
		if err == nil && n > 0 && n <= whole {
			return strconv.Itoa(whole)
		}
	}
	return seconds
}

// left compares the audit rows that a request left, in their order: type;
// "ok" or the reason; actor; ">type target"; metadata.
func (p *person) left(request string, a authapi.Answer, want ...string) {
	p.t.Helper()
	got := p.rowsOf(a)
	if !slices.Equal(got, want) {
		p.t.Errorf("%s left the audit rows\n got %s\nwant %s", request, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

func (p *person) rowsOf(a authapi.Answer) (list []string) {
	p.t.Helper()
	rows, err := p.db.Query(`
		SELECT e.event_type, e.success, COALESCE(e.failure_reason, ''), e.actor_type, COALESCE(CAST(e.actor_id AS TEXT), '-'), COALESCE(e.target_type, ''),
			COALESCE(CAST(e.target_id AS TEXT), ''), COALESCE(CAST(e.metadata AS TEXT), ''), COALESCE(p.ip_address, '')
		FROM audit_events e LEFT JOIN audit_personal p ON p.created_at = e.created_at AND p.event_id = e.id
		WHERE e.correlation_id = $1 ORDER BY e.created_at, e.id`, a.Header.Get("X-Correlation-ID"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var event, reason, actorType, actor, targetType, target, metadata, ip string
		var success bool
		if err := rows.Scan(&event, &success, &reason, &actorType, &actor, &targetType, &target, &metadata, &ip); err != nil {
			p.t.Fatal(err)
		}
		if success != (reason == "") || actorType != "user" || ip == "" && event != "user.erased" {
			p.t.Errorf("%s: success %v with reason %q, by a %s from %q", event, success, reason, actorType, ip)
		}
		if success {
			reason = "ok"
		}
		line := event + " " + reason + " " + actor
		if targetType != "" {
			line += ">" + targetType + " " + target
		}
		if metadata != "" { // PostgreSQL spaces it its own way
			var m map[string]any
			if err := json.Unmarshal([]byte(metadata), &m); err != nil {
				p.t.Fatal(err)
			}
			if ids, ok := m["session_ids"].([]any); ok { // in any order
				for i := range ids {
					ids[i] = p.named(ids[i].(string))
				}
				slices.SortFunc(ids, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
			}
			line += " " + string(must(json.Marshal(m)))
		}
		list = append(list, p.named(line))
	}
	if err := rows.Err(); err != nil {
		p.t.Fatal(err)
	}
	return list
}

// enter logs in and remembers the session under a name.
func (p *person) enter(name string) *person {
	p.t.Helper()
	a := p.do("POST", "/auth/login", map[string]string{"email": p.email, "password": password}, p.header...)
	p.use(a, name)
	return p
}

// use goes on with the tokens of an answer.
func (p *person) use(a authapi.Answer, name string) {
	p.t.Helper()
	if err := json.Unmarshal(a.Body, &p.tokens); err != nil || a.Status != 200 || p.tokens.Access == "" {
		p.t.Fatalf("no tokens: %s", a)
	}
	p.names[p.sid()] = name
}

// another is the same account with a session of its own.
func (p *person) another(name string) *person {
	p.t.Helper()
	q := *p
	return q.enter(name)
}

func (p *person) sid() string {
	_, c := claims(p.t, p.tokens.Access)
	return c["sid"].(string)
}

// letter is the newest mail with the subject, which nobody read before. Mails
// are sent by several at once: another may overtake it.
func (p *person) letter(subject string) authapi.Mail {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	m, err := p.AwaitMailThat(ctx, p.email, func(mails []authapi.Mail) (authapi.Mail, bool) {
		i := slices.IndexFunc(mails, func(m authapi.Mail) bool { return m.Subject == subject && !p.read[m.ID] })
		if i < 0 {
			return authapi.Mail{}, false
		}
		return mails[i], true
	})
	if err != nil {
		p.t.Fatalf("%q: %v", subject, err)
	}
	p.read[m.ID] = true
	return m
}

// code is that of the next mail.
func (p *person) code(subject string) string {
	p.t.Helper()
	m := p.letter(subject)
	if len(m.Codes) != 1 || len(m.Codes[0]) != 6 {
		p.t.Fatalf("the mail has the codes %q", m.Codes)
	}
	return m.Codes[0]
}

// token is that of the next mail, whose link leads to a page.
func (p *person) token(subject, page string) string {
	p.t.Helper()
	m := p.letter(subject)
	if len(m.Links) != 1 || m.Links[0] != p.Base+page+"?token="+url.QueryEscape(m.Tokens[0]) {
		p.t.Fatalf("the mail has the links %q", m.Links)
	}
	return m.Tokens[0]
}

// confirm gets the token that confirms an act.
func (p *person) confirm(action, target string) string {
	p.t.Helper()
	a := p.signed("POST /auth/otp/request/action", map[string]string{"action": action, "target": target},
		`200 {"sent":true,"action":"`+action+`","expires_in":600}`, `otp.sent ok me {"action":"`+action+`","context":"action"}`)
	if a.Status != 200 {
		p.t.FailNow()
	}
	a = p.signed("POST /auth/otp/verify/action", map[string]string{"action": action, "code": p.code("Verification code for " + action)},
		`200 {"action_token":"<jwt>","expires_in":300}`, `otp.verified ok me {"action":"`+action+`","context":"action"}`)
	var out struct {
		Token string `json:"action_token"`
	}
	if err := json.Unmarshal(a.Body, &out); err != nil || out.Token == "" {
		p.t.FailNow()
	}
	return out.Token
}

// ended checks why a session ended; "" means that it lives.
func (p *person) ended(sid, reason string) {
	p.t.Helper()
	var got string
	if err := p.db.QueryRow(`SELECT COALESCE(revoke_reason, '') FROM sessions WHERE id = $1`, sid).Scan(&got); err != nil || got != reason {
		p.t.Errorf("session %s ended because of %q, not %q (%v)", p.named(sid), got, reason, err)
	}
}

// dies waits until an access token is refused, at most a second.
func (p *person) dies(access, code string) {
	p.t.Helper()
	await(p.t, time.Second, "the access token is answered "+code, func() bool {
		return p.do("GET", "/auth/validate", nil, "Authorization", "Bearer "+access).Envelope().Code == code
	})
}

var networks atomic.Int32

// newNetwork is an address in a /24 that nobody has been at.
func newNetwork() string {
	n := networks.Add(1)
	return fmt.Sprintf("10.%d.%d.7", n/256, n%256)
}

// longAgo is when no proof is fresh any more.
func longAgo() time.Time { return time.Now().Add(-time.Hour).UTC().Truncate(time.Microsecond) }

// change moves something in the database that a test cannot wait for.
func (s *store) change(t *testing.T, query string, args ...any) {
	t.Helper()
	dsn := s.dsn
	if s.engine == "sqlite" {
		dsn = "file:" + filepath.Join(s.dir, "authd-data", "authd.db") + "?_pragma=busy_timeout(5000)&_txlock=immediate&_time_format=sqlite"
	}
	d, err := sql.Open(s.engine, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Exec(query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}
