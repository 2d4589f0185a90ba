package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/e2e/authapi"
)

type signingKey struct {
	KID       string  `json:"kid"`
	Status    string  `json:"status"`
	RetiresAt *string `json:"retires_at"`
	RetiredAt *string `json:"retired_at"`
}

// keys lists the key ids by state.
func keysOf(t *testing.T, o *authapi.Operator) map[string][]string {
	t.Helper()
	var out struct{ Data []signingKey }
	if _, err := o.Signed(t.Context(), &out, "GET", "/admin/signing-keys", nil); err != nil {
		t.Fatal(err)
	}
	by := map[string][]string{}
	for _, k := range out.Data {
		by[k.Status] = append(by[k.Status], k.KID)
	}
	return by
}

type rotation struct {
	New      string `json:"new_kid"`
	Retiring string `json:"retiring_kid"`
	Overlap  int    `json:"rotation_overlap_seconds"`
}

func (v *server) publishes(t *testing.T, kid string) bool {
	t.Helper()
	return strings.Contains(v.do("GET", "/.well-known/jwks.json", nil).String(), `"`+kid+`"`)
}

// rotateByHand runs the command.
func (s *store) rotateByHand(t *testing.T, command ...string) (r rotation) {
	t.Helper()
	p := s.authd(t, nil, command...)
	if err := json.Unmarshal([]byte(p.Stdout.String()), &r); err != nil || p.ExitCode() != 0 || strings.Count(p.Stdout.String(), "\n") != 1 {
		t.Fatalf("%s: %v\n%s", command, err, p.Output())
	}
	return r
}

// ripen lets the next key sign at once: as if a minute had passed.
func (v *server) ripen() { v.change(v.t, `UPDATE signing_keys SET published_at = NULL`) }

func TestSigningKeysAreRotatedAndRevoked(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t)
		admin := v.admin()
		email := v.account()
		before := v.login(email)
		header, _ := claims(t, before.Access)
		first := keysOf(t, admin)
		if len(first["active"]) != 1 || len(first["next"]) != 1 || header["kid"] != first["active"][0] || !v.publishes(t, first["next"][0]) {
			t.Fatalf("%v", first)
		}

		var r rotation
		if _, err := admin.Act(t.Context(), "", &r, "POST", "/admin/signing-keys/rotate", map[string]int{"overlap_seconds": 86400}); err != nil {
			t.Fatal(err)
		}
		if r.New != first["next"][0] || r.Retiring != first["active"][0] || r.Overlap != 86400 {
			t.Errorf("%+v after %v", r, first)
		}
		if _, err := v.Validate(t.Context(), before.Access); err != nil {
			t.Errorf("a token of the key before: %v", err)
		}
		after := v.login(email)
		if header, _ := claims(t, after.Access); header["kid"] != r.New {
			t.Errorf("%v signs, want %s", header["kid"], r.New)
		}
		a, err := admin.Signed(t.Context(), nil, "POST", "/admin/signing-keys/rotate", nil)
		refuses(t, err, http.StatusConflict, "rotation_too_soon")
		if a.Header.Get("Retry-After") == "" {
			t.Error("it does not say when")
		}
		_, err = admin.Signed(t.Context(), nil, "POST", "/admin/signing-keys/rotate", map[string]int{"overlap_seconds": -1})
		refuses(t, err, http.StatusUnprocessableEntity, "validation_error")
		_, err = admin.Signed(t.Context(), nil, "POST", "/admin/signing-keys/nobody/revoke", nil)
		refuses(t, err, http.StatusNotFound, "signing_key_not_found")

		// The command does the same beside the running server, which follows.
		v.ripen()
		byHand := s.rotateByHand(t, "rotate-signing-key", "--overlap-seconds", "0")
		if byHand.Retiring != r.New || byHand.Overlap < 900 {
			t.Errorf("%+v", byHand)
		}
		await(t, patience, "the server signs with the new key", func() bool {
			header, _ := claims(t, v.login(email).Access)
			return header["kid"] == byHand.New
		})
		for _, tokens := range []authapi.Tokens{before, after} {
			if _, err := v.Validate(t.Context(), tokens.Access); err != nil {
				t.Error(err)
			}
		}
		if p := s.authd(t, nil, "keys", "rotate", "--overlap-seconds", "-1"); p.ExitCode() != 2 {
			t.Errorf("exit code %d: %s", p.ExitCode(), p.Output())
		}
		if p := s.authd(t, nil, "keys", "rotate"); p.ExitCode() != 1 || p.Stdout.String() != "" {
			t.Errorf("too soon: exit code %d: %s", p.ExitCode(), p.Output())
		}
		if p := s.authd(t, nil, "keys", "list"); p.ExitCode() != 0 || !strings.Contains(p.Stdout.String(), byHand.New) {
			t.Errorf("%s", p.Output())
		}

		// Revoked: the tokens of that key are dead, of whatever kind, and others live.
		signed := v.login(email)
		var out struct {
			Revoked string `json:"revoked_kid"`
			Active  string `json:"active_kid"`
		}
		if _, err := admin.Act(t.Context(), byHand.New, &out, "POST", "/admin/signing-keys/"+byHand.New+"/revoke", nil); err != nil {
			t.Fatal(err)
		}
		if out.Revoked != byHand.New || out.Active == byHand.New {
			t.Errorf("%+v", out)
		}
		_, err = v.Validate(t.Context(), signed.Access)
		refuses(t, err, http.StatusUnauthorized, "invalid_token")
		if v.publishes(t, byHand.New) {
			t.Error("a revoked key is published")
		}
		if _, err := v.Validate(t.Context(), before.Access); err != nil {
			t.Errorf("a token of another key: %v", err)
		}
		renewed := v.refresh(signed.Refresh) // nobody has to sign in
		if header, _ := claims(t, renewed.Access); header["kid"] != out.Active {
			t.Errorf("%v signs, want %s", header["kid"], out.Active)
		}
		p := s.authd(t, nil, "keys", "revoke", out.Active)
		if p.ExitCode() != 0 || !strings.Contains(p.Stdout.String(), out.Active+" is revoked; ") {
			t.Errorf("%s", p.Output())
		}
		await(t, patience, "the server hears of it", func() bool {
			_, err := v.Validate(t.Context(), renewed.Access)
			return err != nil
		})
		v.kill()
		v.restart()
		_, err = v.Validate(t.Context(), renewed.Access)
		refuses(t, err, http.StatusUnauthorized, "invalid_token")
		if n := s.count(t, `SELECT COUNT(*) FROM audit_events WHERE event_type IN ('signing_key.rotate.success', 'signing_key.revoked')`); n != 4 {
			t.Errorf("%d events", n)
		}
	})
}

// The time of a replaced key ends on a server that only the row tells.
func TestAReplacedKeyVanishesOnTime(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t)
		email := v.account()
		old := v.login(email)
		r := s.rotateByHand(t, "keys", "rotate")
		await(t, patience, "the server follows", func() bool {
			header, _ := claims(t, v.login(email).Access)
			return header["kid"] == r.New
		})
		live := v.login(email)
		v.kill()
		v.change(t, fmt.Sprintf(`UPDATE signing_keys SET retires_at = '2026-01-01 00:00:00+00:00' WHERE kid = '%s'`, r.Retiring))
		v.restart()
		_, err := v.Validate(t.Context(), old.Access)
		refuses(t, err, http.StatusUnauthorized, "invalid_token")
		if v.publishes(t, r.Retiring) || !v.publishes(t, r.New) {
			t.Error("published are others")
		}
		if _, err := v.Validate(t.Context(), live.Access); err != nil {
			t.Error(err)
		}
		await(t, patience, "the worker retires it", func() bool {
			return s.count(t, `SELECT COUNT(*) FROM signing_keys WHERE status = 'retired'`) == 1
		})
	})
}
