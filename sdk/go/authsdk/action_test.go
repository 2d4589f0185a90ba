package authsdk

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const (
	bodyInvalidAction = `{"detail":"Invalid action token","code":"action_token_invalid"}`
	bodyActionOutage  = `{"detail":"Auth service unavailable","code":"service_unavailable"}`
)

func TestRequireActionToken(t *testing.T) {
	authd := newFakeAuthd(t)
	user := "Bearer " + authd.mint(userClaims())
	unbound := "Bearer " + authd.mint(userClaims().with(fields{"sid": nil}))
	service := "Bearer " + authd.mint(serviceClaims())
	action := func(changes fields) string { return authd.mint(actionClaims().with(changes)) }
	pay := []ActionOption{ActionTarget(func(r *http.Request) string { return "payment-7" })}
	blank := []ActionOption{ActionTarget(func(r *http.Request) string { return "" })}
	const (
		mismatch  = `{"detail":"Action mismatch","code":"action_token_invalid"}`
		otherUser = `{"detail":"Token user mismatch","code":"action_token_invalid"}`
		required  = `{"detail":"Action token required","code":"otp_required"}`
		nobody    = `{"detail":"Invalid token.","code":"invalid_token"}`
		found     = `{"found":true,"id":"0198c0de-0000-7000-8000-000000000001"}` + "\n"
	)

	for _, row := range []struct {
		name           string
		opts           []ActionOption
		bearer, action string
		status         int
		body           string
	}{
		{"a token for the act passes", nil, user, action(nil), 200, found},
		{"space around it is trimmed", nil, user, " " + action(nil) + " ", 200, found},
		{"one of an audience list passes", nil, user, action(fields{"aud": []string{"auth-service", "orders-api"}}), 200, found},
		{"a stranger is refused", nil, "", action(nil), 401, nobody},
		{"a service is refused", nil, service, action(nil), 401, nobody},
		{"no token is refused, and told what is missing", nil, user, "", 403, required},
		{"a blank token is none", nil, user, "  ", 403, required},
		{"garbage is refused", nil, user, "x", 403, bodyInvalidAction},
		{"a forged token is refused", nil, user, sign(testKeys().rsaOther, rsHeader().String(), actionClaims().String()), 403, bodyInvalidAction},
		{"an expired token is refused", nil, user, action(fields{"exp": epoch.Add(-31 * time.Second).Unix()}), 403, bodyInvalidAction},
		{"a token without jti is refused", nil, user, action(fields{"jti": nil}), 403, bodyInvalidAction},
		{"a token of another audience is refused", nil, user, action(fields{"aud": "billing-api"}), 403, bodyInvalidAction},
		{"an access token is no action token", nil, user, action(fields{"type": "access"}), 403, bodyInvalidAction},
		{"nor is a challenge", nil, user, action(fields{"type": "otp_challenge"}), 403, bodyInvalidAction},
		{"another action is refused", nil, user, action(fields{"action": "orders-api:cancel"}), 403, mismatch},
		{"no action is refused", nil, user, action(fields{"action": nil}), 403, mismatch},
		{"an action that is no string is refused", nil, user, action(fields{"action": []string{"orders-api:refund"}}), 403, mismatch},
		{"another user's token is refused", nil, user, action(fields{"sub": "u-2"}), 403, otherUser},
		{"another action has its say before another user", nil, user, action(fields{"action": "x", "sub": "u-2"}), 403, mismatch},
		{"another session's token is refused", nil, user, action(fields{"sid": "s-2"}), 403, bodyInvalidAction},
		{"a session that is no string is refused", nil, user, action(fields{"sid": 3}), 403, bodyInvalidAction},
		{"a token that names no session passes", nil, user, action(fields{"sid": nil}), 200, found},
		{"so does a caller without one", nil, unbound, action(nil), 200, found},
		{"a token for the target passes", pay, user, action(fields{"target": "payment-7"}), 200, found},
		{"another target is refused", pay, user, action(fields{"target": "payment-8"}), 403, bodyInvalidAction},
		{"no target is refused where there is one", pay, user, action(nil), 403, bodyInvalidAction},
		{"a target that is no string is refused", blank, user, action(fields{"target": 7}), 403, bodyInvalidAction},
		{"a target is refused where there is none", nil, user, action(fields{"target": "payment-7"}), 403, bodyInvalidAction},
	} {
		t.Run(row.name, func(t *testing.T) {
			authd.consumed = map[string]int{}
			h := authd.client(t).RequireActionToken("orders-api:refund", row.opts...)(whoami)
			w := serve(h, "POST", "Authorization", row.bearer, "X-Action-Token", row.action)
			if w.Code != row.status || w.Body.String() != row.body {
				t.Errorf("got  %d %s\nwant %d %s", w.Code, w.Body, row.status, row.body)
			}
			otp := ""
			if row.body == required {
				otp = "true orders-api:refund"
			}
			if got := strings.TrimSpace(w.Header().Get("X-OTP-Required") + " " + w.Header().Get("X-OTP-Action")); got != otp {
				t.Errorf("X-OTP-Required and X-OTP-Action: got %q, want %q", got, otp)
			}
			if spent := len(authd.consumed) == 1; spent != (row.status == 200) {
				t.Errorf("it was spent: %v", spent)
			}
		})
	}
}

func TestActionTokensAreSpent(t *testing.T) {
	authd := newFakeAuthd(t)
	user := authd.mint(userClaims())
	token := authd.mint(actionClaims().with(fields{"target": `order "7"`}))
	target := ActionTarget(func(*http.Request) string { return `order "7"` })
	h := authd.client(t).RequireActionToken("orders-api:refund", target)(whoami)
	header := []string{"Authorization", "Bearer " + user, "X-Action-Token", token, "X-Correlation-ID", "c-1"}
	if w := serve(h, "POST", header...); w.Code != 200 {
		t.Fatalf("the first time: got %d %s", w.Code, w.Body)
	}
	if body := `{"action_token":"` + token + `","action":"orders-api:refund","target":"order \"7\""}`; authd.consumed[body] != 1 {
		t.Errorf("sent %v, want %s", authd.consumed, body)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer " + user, "Content-Type": "application/json", "X-Correlation-ID": "c-1", "User-Agent": "authsdk-go/" + Version,
	} {
		if got := authd.lastConsumed.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if w := serve(h, "POST", header...); w.Code != 403 || w.Body.String() != bodyInvalidAction {
		t.Errorf("the second time: got %d %s", w.Code, w.Body)
	}
}

func TestActionTokensOfCookieSessionsAreSpentWithTheCookiesToken(t *testing.T) {
	authd := newFakeAuthd(t)
	user := authd.mint(userClaims())
	h := authd.client(t, TokenSources("cookie")).RequireActionToken("orders-api:refund")(whoami)
	w := serve(h, "POST", "Cookie", "__Host-auth_access="+user+"; __Host-auth_csrf=abc", "X-CSRF-Token", "abc", "X-Action-Token", authd.mint(actionClaims()))
	if w.Code != 200 || authd.lastConsumed.Get("Authorization") != "Bearer "+user || authd.lastConsumed.Get("Cookie") != "" {
		t.Errorf("got %d %s, spent with %v", w.Code, w.Body, authd.lastConsumed)
	}
}

func TestReusableActionTokensAreNotSpent(t *testing.T) {
	authd := newFakeAuthd(t)
	h := authd.client(t).RequireActionToken("orders-api:refund", ActionReusable())(whoami)
	for range 2 {
		w := serve(h, "POST", "Authorization", "Bearer "+authd.mint(userClaims()), "X-Action-Token", authd.mint(actionClaims()))
		if w.Code != 200 || len(authd.consumed) > 0 {
			t.Errorf("got %d %s, spent %v", w.Code, w.Body, authd.consumed)
		}
	}
}

func TestSpendingFailsClosed(t *testing.T) {
	answer := func(status int, body, retryAfter string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/auth/otp/consume/action")
			w.Header().Set("Retry-After", retryAfter)
			w.WriteHeader(status)
			w.Write([]byte(body))
		}
	}
	const envelope = `{"detail":"No.","code":"action_token_invalid","request_id":"r"}`
	for _, row := range []struct {
		name       string
		answer     http.HandlerFunc
		status     int
		body       string
		retryAfter string
	}{
		{"403 is a bad token", answer(403, envelope, ""), 403, bodyInvalidAction, ""},
		{"403 of a proxy in between is an outage", answer(403, "<html>", ""), 503, bodyActionOutage, "1"},
		{"200 is an outage", answer(200, "{}", ""), 503, bodyActionOutage, "1"},
		{"307 is an outage, and not followed", answer(307, "", ""), 503, bodyActionOutage, "1"},
		{"401 is an outage", answer(401, envelope, ""), 503, bodyActionOutage, "1"},
		{"404 is an outage", answer(404, envelope, ""), 503, bodyActionOutage, "1"},
		{"429 is an outage for as long as the server says", answer(429, envelope, "17"), 503, bodyActionOutage, "17"},
		{"500 is an outage", answer(500, envelope, "9"), 503, bodyActionOutage, "1"},
		{"a cut connection is an outage", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 503, bodyActionOutage, "1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			authd := newFakeAuthd(t)
			var tries atomic.Int32
			authd.consume = func(w http.ResponseWriter, r *http.Request) { tries.Add(1); row.answer(w, r) }
			ran := false
			h := authd.client(t).RequireActionToken("orders-api:refund")(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { ran = true }))
			w := serve(h, "POST", "Authorization", "Bearer "+authd.mint(userClaims()), "X-Action-Token", authd.mint(actionClaims()))
			if w.Code != row.status || w.Body.String() != row.body || w.Header().Get("Retry-After") != row.retryAfter || ran {
				t.Errorf("got %d %s after %q, ran %v; want %d %s after %q", w.Code, w.Body, w.Header().Get("Retry-After"), ran, row.status, row.body, row.retryAfter)
			}
			if n := tries.Load(); n != 1 {
				t.Errorf("%d tries to spend it", n)
			}
		})
	}
}

func TestActionTokensWithoutKeysAreAnOutage(t *testing.T) {
	authd := newFakeAuthd(t)
	c := authd.client(t)
	h := c.RequireActionToken("orders-api:refund")(whoami)
	// The caller is known already; then the token names a key that nobody can ask for.
	check(t, verifyService(c, authd, nil), 0, "")
	authd.clock.Advance(time.Minute)
	authd.change(func() { authd.jwksStatus = http.StatusServiceUnavailable })
	unknown := sign(testKeys().rsa, rsHeader().with(fields{"kid": "new"}).String(), actionClaims().String())
	w := serve(h, "POST", "Authorization", "Bearer "+authd.mint(userClaims()), "X-Action-Token", unknown)
	if w.Code != 503 || w.Body.String() != bodyActionOutage || len(authd.consumed) > 0 {
		t.Errorf("got %d %s, spent %v", w.Code, w.Body, authd.consumed)
	}
}

func TestAnActionThatNobodyCouldConfirmPanics(t *testing.T) {
	c := newFakeAuthd(t).client(t)
	for action, fine := range map[string]bool{
		"orders-api:refund": true, "delete_user": true,
		" ": false, "refund": false, "orders-api:": false, "billing-api:refund": false,
	} {
		func() {
			defer func() {
				got := recover()
				if (got == nil) != fine || !fine && !strings.HasSuffix(fmt.Sprint(got), "name it orders-api:<act>") {
					t.Errorf("%q: %v", action, got)
				}
			}()
			c.RequireActionToken(action)
		}()
	}
}

func TestActionGuardsAddUp(t *testing.T) {
	authd := newFakeAuthd(t)
	c := authd.client(t)
	h := c.RequireRole("admin")(c.RequireActionToken("orders-api:refund")(whoami))
	r := httptest.NewRequest("POST", "/", nil)
	r.Header.Set("Authorization", "Bearer "+authd.mint(userClaims()))
	r.Header.Set("X-Action-Token", authd.mint(actionClaims()))
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != 403 || len(authd.consumed) > 0 {
		t.Errorf("the wrong role: got %d %s, spent %v", w.Code, w.Body, authd.consumed)
	}
}
