package authsdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// Whatever comes in, nothing panics, the answer is an *Error of 401, and nobody
// gets in but by a token we signed.
func FuzzVerify(f *testing.F) {
	authd, k := newFakeAuthd(f), testKeys()
	client := authd.client(f)
	header, claims := rsHeader(), userClaims().String()
	good := authd.mint(userClaims())
	signed := good[:strings.LastIndexByte(good, '.')]
	for _, seed := range []string{
		good, "", ".", "..", good + ".", good[:len(good)-2],
		sign(k.rsa, header.with(fields{"alg": "none"}).String(), claims),
		sign(k.rsa, header.with(fields{"kid": "ec", "alg": "ES256"}).String(), claims),
		sign(k.ed, header.with(fields{"kid": "ed", "alg": "EdDSA"}).String(), `{"exp":1e999}`),
		sign(k.rsa, `{"alg":"RS256","kid":"rsa","\u0061lg":"none"}`, `{"aud":[[[{}]]],"exp":-0.0}`),
		sign(k.rsa, header.String(), `{"a":"\ud800\"","b":[1,2,{"c":"}"}],"exp":1E+2}`),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		id, err := client.verifyLocal(context.Background(), raw)
		var e *Error
		switch {
		case err == nil && !strings.HasPrefix(raw, signed+"."):
			t.Errorf("accepted %q as %+v", raw, id)
		case err != nil && (!errors.As(err, &e) || e.Status != 401):
			t.Errorf("%q: %v", raw, err)
		}
	})
}

// The claims of a token with a good signature reach further than FuzzVerify does.
func FuzzClaims(f *testing.F) {
	r := rules{allOf: []string{"orders-api"}}
	f.Add(userClaims().String())
	f.Add(serviceClaims().String())
	f.Add(`{"exp":1e999,"iat":-0,"nbf":null,"aud":[null],"scopes":[{"a":[]}],"auth_time":1e3}`)
	f.Fuzz(func(t *testing.T, text string) {
		claims, err := parseObject([]byte(text))
		if err != nil {
			return
		}
		id, err := r.identify(claims, epoch)
		if err == nil && (id.Type == "" || id.UserID+id.ClientID == "" || !slices.Contains(id.Audience, "orders-api")) {
			t.Errorf("%s: %+v", text, id)
		}
	})
}

// encoding/json is right about what is JSON and what a member's value is.
func FuzzParseObject(f *testing.F) {
	for _, seed := range []string{
		userClaims().String(), `{}`, ` { "a" : [ 1 , -0.5e+3, {"b":null} ] } `, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`,
		`{"a":01}`, `{"a":1.}`, `{"a":.5}`, `{"a":1e}`, `{"a":-}`, `{"a":tru}`, `{"a":"\x"}`, `{"a":"\u12g4"}`, "{\"a\":\"\\u\x10000\"}",
		`{"a":1,}`, `{,}`, `{"a"}`, `{a:1}`, `[{}]`, `{"a":[1,]}`, `{"a":"` + "\n" + `"}`, `{"a":"\"}`, "{\"\xff\":1}", `{"a":"\ud800"}`,
		`{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		obj, err := parseObject(data)
		var want map[string]json.RawMessage
		wantErr := json.Unmarshal(data, &want)
		if err == nil && (wantErr != nil || len(want) != len(obj)) {
			t.Fatalf("accepted %q, which encoding/json reads as %v, %v", data, want, wantErr)
		}
		for _, m := range obj {
			if string(want[m.name]) != m.value {
				t.Errorf("%q of %q: got %q, want %q", m.name, data, m.value, want[m.name])
			}
		}
		// We are stricter about equal names, UTF-8, depth and size. What
		// encoding/json writes has each name once.
		again, _ := json.Marshal(want)
		modest := len(want) <= maxMembers && bytes.Count(again, []byte("["))+bytes.Count(again, []byte("{")) <= maxDepth
		if _, err := parseObject(again); err != nil && want != nil && utf8.Valid(again) && modest {
			t.Errorf("refused %q", again)
		}
	})
}
