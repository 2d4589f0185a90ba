package e2e

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/authsdk/authsdk/e2e/authapi"
)

// do sends a request that must get an answer.
func (v *server) do(method, path string, body any, header ...string) authapi.Answer {
	v.t.Helper()
	a, err := v.Do(v.t.Context(), method, path, body, header...)
	if err != nil {
		v.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// on lets a subtest report what goes wrong with a server of its parent.
func (v *server) on(t *testing.T) *server {
	w := *v
	w.t = t
	return &w
}

func TestEveryEndpointKeepsTheContract(t *testing.T) {
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t)
		for _, part := range []struct {
			says string
			test func(v *server)
		}{
			{"signing up answers the same for a new and a taken address", signingUp},
			{"a link confirms an address once, by GET, by POST and by the page", confirming},
			{"logging in answers tokens that say what the contract says", loggingIn},
			{"a refresh answers new tokens and keeps who one is", refreshing},
			{"logging out ends the session, with the refresh token alone", loggingOut},
			{"a token is good or it is refused with the reason", validating},
			{"another mail may be asked for three times", askingForMail},
			{"the keys are published and may be cached", publishingKeys},
			{"health, description and documents are there", describing},
			{"the mailbox is for this machine only", showingMail},
			{"every answer carries the headers", carryingHeaders},
			{"unknown paths and methods get the envelope", unknown},
		} {
			t.Run(part.says, func(t *testing.T) { part.test(v.on(t)) })
		}
	})
}

func signingUp(v *server) {
	t, email := v.t, newEmail()
	first, err := v.Signup(t.Context(), email, password)
	if err != nil {
		t.Fatal(err)
	}
	v.mail(email, 1) // or the second mail may overtake it, and it is not sent
	second, err := v.Signup(t.Context(), strings.ToUpper(email), password+"-other")
	if err != nil {
		t.Fatal(err)
	}
	if first.String() != `201 {"accepted":true}` || second.String() != first.String() {
		t.Errorf("answers %s and %s", first, second)
	}
	mail := v.mail(email, 2)
	if !strings.Contains(mail.Subject+mail.Text, "already") {
		t.Errorf("the mail to a taken address does not say so: %s\n%s", mail.Subject, mail.Text)
	}
	_, err = v.Login(t.Context(), email, password, "")
	refuses(t, err, http.StatusBadRequest, "email_not_verified")
	_, err = v.Login(t.Context(), email, password+"-other", "")
	refuses(t, err, http.StatusUnauthorized, "invalid_credentials")
}

func confirming(v *server) {
	t := v.t
	for _, way := range []struct {
		says    string
		confirm func(token string) authapi.Answer
		good    string
		bad     int
	}{
		{"GET", func(token string) authapi.Answer {
			return v.do("GET", "/auth/verify-email?token="+url.QueryEscape(token), nil)
		}, `200 {"verified":true}`, http.StatusBadRequest},
		{"POST", func(token string) authapi.Answer {
			return v.do("POST", "/auth/verify-email", map[string]string{"token": token})
		}, `200 {"verified":true}`, http.StatusBadRequest},
		{"page", func(token string) authapi.Answer {
			return v.do("POST", "/verify-email", url.Values{"token": {token}}.Encode(), "Content-Type", "application/x-www-form-urlencoded")
		}, "200 <!doctype html>", http.StatusBadRequest},
	} {
		email := newEmail()
		if _, err := v.Signup(t.Context(), email, password); err != nil {
			t.Fatal(err)
		}
		mail := v.mail(email, 1)
		link, token := mail.Links[0], mail.Tokens[0]
		if page := v.do("GET", strings.TrimPrefix(link, v.Base), nil); page.Status != http.StatusOK || !strings.Contains(string(page.Body), "<form") {
			t.Errorf("%s: the link answers %s", way.says, page)
		}
		if a := way.confirm(token); !strings.HasPrefix(strings.ToLower(a.String()), way.good) {
			t.Errorf("%s: a good token is answered %s", way.says, a)
		}
		for what, token := range map[string]string{"a used": token, "an unknown": strings.Repeat("x", 43)} {
			a := way.confirm(token)
			if a.Status != way.bad || way.says != "page" && a.Envelope().Code != "invalid_verify_token" {
				t.Errorf("%s: %s token is answered %s", way.says, what, a)
			}
		}
		v.login(email)
	}
}

func loggingIn(v *server) {
	t, email := v.t, v.account()
	for _, row := range []struct{ says, email, password string }{
		{"a wrong password", email, password + "x"},
		{"an unknown address", newEmail(), password},
	} {
		a := v.do("POST", "/auth/login", map[string]string{"email": row.email, "password": row.password})
		if a.Status != http.StatusUnauthorized || a.Envelope().Code != "invalid_credentials" || !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s is answered %s %v", row.says, a, a.Header)
		}
	}
	for _, row := range []struct {
		says, audience string
		aud            any
	}{
		{"without an audience the token is good at authd only", "", "auth-service"},
		{"with one it is good at both", "orders-api", []any{"auth-service", "orders-api"}},
	} {
		tokens, err := v.Login(t.Context(), " "+strings.ToUpper(email)+" ", password, row.audience)
		if err != nil {
			t.Fatal(err)
		}
		if tokens.Type != "bearer" || tokens.ExpiresIn != 900 || !strings.HasPrefix(tokens.Refresh, "rt_") {
			t.Errorf("%s: %+v", row.says, tokens)
		}
		header, c := claims(t, tokens.Access)
		if header["alg"] != "RS256" || header["typ"] != "at+jwt" || header["kid"] == "" {
			t.Errorf("%s: header %v", row.says, header)
		}
		if got, _ := json.Marshal(c["aud"]); string(got) != string(must(json.Marshal(row.aud))) {
			t.Errorf("%s: aud is %s", row.says, got)
		}
		for name, want := range map[string]any{
			"iss": v.Base, "type": "access", "client_id": "auth-service", "role": "user", "email": email,
			"email_verified": true, "email_otp_enabled": false, "epoch": c["epoch"],
		} {
			if c[name] != want || want == nil {
				t.Errorf("%s: claim %s is %v, not %v", row.says, name, c[name], want)
			}
		}
		for _, name := range []string{"sub", "jti", "sid", "iat", "exp", "auth_time", "scopes"} {
			if c[name] == nil {
				t.Errorf("%s: claim %s is missing", row.says, name)
			}
		}
	}
	_, err := v.Login(t.Context(), email, password, "two words")
	refuses(t, err, http.StatusUnprocessableEntity, "validation_error")

	listed := (&store{engine: v.engine, dir: t.TempDir()}).serve(t, `AUTH__AUDIENCES=["orders-api"]`)
	other := listed.account()
	_, err = listed.Login(t.Context(), other, password, "billing-api")
	refuses(t, err, http.StatusForbidden, "audience_not_allowed")
	if _, err := listed.Login(t.Context(), other, password, "orders-api"); err != nil {
		t.Error(err)
	}
}

func refreshing(v *server) {
	t := v.t
	before, err := v.Login(t.Context(), v.account(), password, "orders-api")
	if err != nil {
		t.Fatal(err)
	}
	after := v.refresh(before.Refresh)
	if after.Refresh == before.Refresh || after.Access == before.Access || after.ExpiresIn != 900 || after.Type != "bearer" {
		t.Errorf("the refresh answers %+v", after)
	}
	_, old := claims(t, before.Access)
	_, now := claims(t, after.Access)
	for _, same := range []string{"sub", "sid", "auth_time", "email", "role", "epoch"} {
		if old[same] != now[same] {
			t.Errorf("claim %s changed from %v to %v", same, old[same], now[same])
		}
	}
	if string(must(json.Marshal(now["aud"]))) != `["auth-service","orders-api"]` || old["jti"] == now["jti"] {
		t.Errorf("aud %v, jti %v and %v", now["aud"], old["jti"], now["jti"])
	}
	for what, access := range map[string]string{"before": before.Access, "after": after.Access} {
		if _, err := v.Validate(t.Context(), access); err != nil {
			t.Errorf("the access token from %s the refresh: %v", what, err)
		}
	}
	a := v.do("POST", "/auth/token", map[string]string{"refresh_token": "rt_" + strings.Repeat("x", 80)})
	if a.Status != http.StatusUnauthorized || a.Envelope().Code != "session_expired" || a.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("garbage is answered %s", a)
	}
	for what, token := range map[string]string{"an access token": after.Access, "a changed token": flip(after.Refresh)} {
		if a := v.do("POST", "/auth/token", map[string]string{"refresh_token": token}); a.Status/100 != 4 {
			t.Errorf("%s is answered %s", what, a)
		}
	}
}

func loggingOut(v *server) {
	t, email := v.t, v.account()
	mine, other := v.login(email), v.login(email)
	a := v.do("POST", "/auth/logout", map[string]string{"refresh_token": mine.Refresh}, "Authorization", "Bearer "+other.Access)
	if a.Status != http.StatusUnauthorized || a.Envelope().Code != "invalid_token" {
		t.Errorf("two tokens of two sessions are answered %s", a)
	}
	for _, row := range []struct {
		says   string
		body   any
		status int
		code   string
	}{
		{"no body", nil, http.StatusUnauthorized, "invalid_token"},
		{"a body without the token", map[string]string{}, http.StatusUnprocessableEntity, "validation_error"},
		{"garbage", map[string]string{"refresh_token": strings.Repeat("x", 80)}, http.StatusUnauthorized, "invalid_token"},
	} {
		a := v.do("POST", "/auth/logout", row.body, "Authorization", "Bearer "+mine.Access)
		if a.Status != row.status || a.Envelope().Code != row.code {
			t.Errorf("logout with %s is answered %s", row.says, a)
		}
	}
	if _, err := v.Validate(t.Context(), mine.Access); err != nil {
		t.Fatal(err)
	}
	for range 2 { // again is no error
		if a, err := v.Logout(t.Context(), mine.Refresh); err != nil || len(a.Body) > 0 {
			t.Errorf("logout: %s %v", a, err)
		}
	}
	await(t, time.Second, "the access token is refused", func() bool {
		a := v.do("GET", "/auth/validate", nil, "Authorization", "Bearer "+mine.Access)
		return a.Status == http.StatusUnauthorized && a.Envelope().Code == "session_expired"
	})
	_, err := v.Refresh(t.Context(), mine.Refresh)
	refuses(t, err, http.StatusUnauthorized, "session_expired")
	v.refresh(other.Refresh) // the other session lives on
}

func validating(v *server) {
	t := v.t
	good := v.login(v.account())
	parts := strings.Split(good.Access, ".")
	for _, row := range []struct{ says, authorization string }{
		{"no header", ""},
		{"another scheme", "Basic " + good.Access},
		{"no token", "Bearer "},
		{"a refresh token", "Bearer " + good.Refresh},
		{"a changed signature", "Bearer " + flip(good.Access)},
		{"no signature", "Bearer " + parts[0] + "." + parts[1] + "."},
		{"alg none", "Bearer eyJhbGciOiJub25lIn0." + parts[1] + "."},
		{"two parts", "Bearer " + parts[0] + "." + parts[1]},
		{"a long one", "Bearer " + strings.Repeat("a", 20_000)},
	} {
		var header []string
		if row.authorization != "" {
			header = []string{"Authorization", row.authorization}
		}
		a := v.do("GET", "/auth/validate", nil, header...)
		if a.Status != http.StatusUnauthorized || a.Envelope().Code != "invalid_token" || !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s is answered %s", row.says, a)
		}
	}
	for _, authorization := range []string{"Bearer " + good.Access, "bEARER  " + good.Access + " "} {
		if a := v.do("GET", "/auth/validate", nil, "Authorization", authorization); a.String() != "204" {
			t.Errorf("a good token is answered %s", a)
		}
	}
}

func askingForMail(v *server) {
	t, email := v.t, newEmail()
	if _, err := v.Signup(t.Context(), email, password); err != nil {
		t.Fatal(err)
	}
	first := v.mail(email, 1)
	for what, to := range map[string]string{"a waiting": email, "an unknown": newEmail()} {
		for i := range 4 {
			a := v.do("POST", "/auth/verify-email/resend/request", map[string]string{"email": to})
			if i < 3 && to == email {
				v.mail(email, i+2) // or the mail of a later request may overtake it, and it is not sent
			}
			switch {
			case i < 3 && a.String() != `200 {"sent":true}`:
				t.Errorf("request %d for %s address is answered %s", i+1, what, a)
			case i == 3 && (a.Status != http.StatusTooManyRequests || a.Envelope().Code != "rate_limited" || a.Header.Get("Retry-After") == ""):
				t.Errorf("the fourth for %s address is answered %s, Retry-After %q", what, a, a.Header.Get("Retry-After"))
			}
		}
		if mails, err := v.Mails(t.Context(), to); what == "an unknown" && (err != nil || len(mails) > 0) {
			t.Errorf("an unknown address got %d mails (%v)", len(mails), err)
		}
	}
	_, err := v.Verify(t.Context(), first.Tokens[0])
	refuses(t, err, http.StatusBadRequest, "invalid_verify_token")
	tokens := v.login(v.account())
	a := v.do("POST", "/auth/verify-email/resend", nil, "Authorization", "Bearer "+tokens.Access)
	if a.Status != http.StatusBadRequest || a.Envelope().Code != "already_verified" {
		t.Errorf("a confirmed user's resend is answered %s", a)
	}
	if a := v.do("POST", "/auth/verify-email/resend", nil); a.Status != http.StatusUnauthorized || a.Envelope().Code != "invalid_token" {
		t.Errorf("nobody's resend is answered %s", a)
	}
}

func publishingKeys(v *server) {
	t := v.t
	a := v.do("GET", "/.well-known/jwks.json", nil)
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(a.Body, &set); err != nil || a.Status != http.StatusOK {
		t.Fatalf("%s: %v", a, err)
	}
	header, _ := claims(t, v.login(v.account()).Access)
	signs := 0
	for _, key := range set.Keys {
		if key["kid"] == header["kid"] {
			signs++
		}
		names := slices.Sorted(maps.Keys(key))
		if !slices.Equal(names, []string{"alg", "e", "kid", "kty", "n", "use"}) || key["kty"] != "RSA" || key["use"] != "sig" {
			t.Errorf("key %v", key)
		}
	}
	if len(set.Keys) != 2 || signs != 1 || a.Header.Get("Cache-Control") != "public, max-age=60" || a.Header.Get("ETag") == "" {
		t.Errorf("%d keys, %v", len(set.Keys), a.Header)
	}
	if again := v.do("GET", "/.well-known/jwks.json", nil, "If-None-Match", a.Header.Get("ETag")); again.String() != "304" {
		t.Errorf("If-None-Match is answered %s", again)
	}
}
