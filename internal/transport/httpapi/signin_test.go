package httpapi_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

func TestLogin(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		s.verified(t, "ann@example.com")
		s.signUp(t, "new@example.com")
		s.verified(t, "off@example.com")
		deactivate(t, d, "off@example.com")
		s.events(t)

		field := func(field, message string) []fault.Field { return []fault.Field{{Field: field, Message: message}} }
		for _, row := range []struct {
			name   string
			body   string
			code   fault.Code
			fields []fault.Field
			audit  []string
		}{
			{"a wrong password is refused", credentials("ann@example.com", "Wrong-Horse-7"), fault.InvalidCredentials, nil,
				[]string{`user.login.failure by ann@example.com: invalid_credentials {"provider":"password"}`}},
			{"an unknown address is refused the same way", credentials("nobody@example.com", good), fault.InvalidCredentials, nil,
				[]string{`user.login.failure: invalid_credentials {"provider":"password"}`}},
			{"so is one that was deactivated", credentials("off@example.com", good), fault.InvalidCredentials, nil,
				[]string{`user.login.failure: invalid_credentials {"provider":"password"}`}},
			{"an unconfirmed address is told to who knows the password", credentials("new@example.com", good), fault.EmailNotVerified, nil,
				[]string{`user.login.failure by new@example.com: email_not_verified {"provider":"password"}`}},
			{"and to nobody else", credentials("new@example.com", "Wrong-Horse-7"), fault.InvalidCredentials, nil,
				[]string{`user.login.failure by new@example.com: invalid_credentials {"provider":"password"}`}},
			{"a short password is malformed, not wrong", credentials("ann@example.com", "short"), fault.ValidationError,
				field("password", "must be at least 8 characters long"), nil},
			{"a password of 257 characters is malformed", credentials("ann@example.com", strings.Repeat("é", 257)), fault.ValidationError,
				field("password", "must be at most 256 characters long"), nil},
			{"one of 256 is wrong", credentials("ann@example.com", strings.Repeat("é", 256)), fault.InvalidCredentials, nil,
				[]string{`user.login.failure by ann@example.com: invalid_credentials {"provider":"password"}`}},
			{"an audience is one word", `{"email":"ann@example.com","password":"` + good + `","audience":"two words"}`, fault.ValidationError,
				field("audience", "must be a name of at most 255 visible ASCII characters"), nil},
			{"an audience has at most 255 characters", `{"email":"ann@example.com","password":"` + good + `","audience":"` + strings.Repeat("a", 256) + `"}`,
				fault.ValidationError, field("audience", "must be at most 255 characters long"), nil},
		} {
			t.Run(row.name, func(t *testing.T) {
				s.post("/auth/login", row.body).refused(t, row.code, row.fields...)
				s.recorded(t, row.audit...)
			})
		}

		t.Run("the right password opens a session", func(t *testing.T) {
			r := s.post("/auth/login", credentials("Ann@Example.com", good))
			if !strings.HasPrefix(r.field(t, "refresh_token"), "rt_") {
				t.Errorf("refresh token %s", r.field(t, "refresh_token"))
			}
			r.want(t, http.StatusOK, fmt.Sprintf(`{"access_token":%q,"refresh_token":%q,"token_type":"bearer","expires_in":900}`,
				r.field(t, "access_token"), r.field(t, "refresh_token")))
			s.recorded(t,
				`user.login.success by ann@example.com {"provider":"password"}`,
				`session.created by ann@example.com on a session {"provider":"password"}`,
				`token.issued by ann@example.com {"provider":"password","token_kind":"login"}`)
			c := claims(t, r.field(t, "access_token"))
			for name, want := range map[string]any{
				"iss": baseURL, "aud": "auth-service", "type": "access", "client_id": "auth-service", "role": "user",
				"email": "ann@example.com", "email_verified": true, "email_otp_enabled": false, "scopes": []any{}, "epoch": 1.0,
				"auth_time": float64(s.clock.Now().Unix()), "iat": float64(s.clock.Now().Unix()), "exp": float64(s.clock.Now().Add(accessTTL).Unix()),
			} {
				if diff := cmp.Diff(want, c[name]); diff != "" {
					t.Errorf("claim %s (-want +got):\n%s", name, diff)
				}
			}
		})
	})
}

func TestLoginForAudience(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		s.verified(t, "ann@example.com")
		login := func(audience string) reply {
			return s.post("/auth/login", fmt.Sprintf(`{"email":"ann@example.com","password":%q,"audience":%q}`, good, audience))
		}
		s.Signin.Audiences = []string{"orders-api", "billing"}
		for _, row := range []struct {
			name     string
			audience string
			claim    any
		}{
			{"an audience on the list is in the token beside our own", "orders-api", []any{"auth-service", "orders-api"}},
			{"spaces around it do not matter", " billing ", []any{"auth-service", "billing"}},
			{"our own needs no list", "auth-service", "auth-service"},
			{"none is our own", "", "auth-service"},
		} {
			t.Run(row.name, func(t *testing.T) {
				r := login(row.audience)
				if diff := cmp.Diff(row.claim, claims(t, r.field(t, "access_token"))["aud"]); diff != "" {
					t.Errorf("aud (-want +got):\n%s", diff)
				}
				refreshed := s.post("/auth/token", fmt.Sprintf(`{"refresh_token":%q}`, r.field(t, "refresh_token")))
				if diff := cmp.Diff(row.claim, claims(t, refreshed.field(t, "access_token"))["aud"]); diff != "" {
					t.Errorf("aud after a refresh (-want +got):\n%s", diff)
				}
			})
		}
		t.Run("one that is not on the list is refused", func(t *testing.T) {
			login("payroll").refused(t, fault.AudienceNotAllowed)
		})
		t.Run("without a list any is allowed", func(t *testing.T) {
			s.Signin.Audiences = nil
			login("payroll").field(t, "access_token")
		})
	})
}

// Neither status, body nor headers tell whether an address has an account.
func TestAnswersDoNotTellWhoHasAnAccount(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		s.signUp(t, "unconfirmed@example.com")
		s.verified(t, "confirmed@example.com")
		s.verified(t, "off@example.com")
		deactivate(t, d, "off@example.com")
		for _, row := range []struct {
			name string
			send func(email string) reply
		}{
			{"signing up", func(email string) reply { return s.post("/auth/signup", credentials(email, good)) }},
			{"signing up with a weak password", func(email string) reply { return s.post("/auth/signup", credentials(email, "weak-pass")) }},
			{"logging in with a wrong password", func(email string) reply { return s.post("/auth/login", credentials(email, "Wrong-Horse-7")) }},
			{"asking for another mail", func(email string) reply {
				return s.post("/auth/verify-email/resend/request", fmt.Sprintf(`{"email":%q}`, email))
			}},
		} {
			t.Run(row.name, func(t *testing.T) {
				unknown := row.send(strings.ReplaceAll(row.name, " ", "-") + "@example.com")
				for _, email := range []string{"unconfirmed@example.com", "confirmed@example.com", "off@example.com"} {
					known := row.send(email)
					known.want(t, unknown.status, unknown.body)
					if diff := cmp.Diff(unknown.headers(), known.headers()); diff != "" {
						t.Errorf("%s: headers (-unknown +known):\n%s", email, diff)
					}
				}
			})
		}
	})
}

func deactivate(t *testing.T, d *db.DB, email string) {
	t.Helper()
	err := d.Write(context.Background(), func(tx *db.Tx) error {
		_, err := tx.ExecContext(context.Background(), `UPDATE users SET is_active = FALSE WHERE email_key = $1`, email)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// claims reads a token without checking it.
func claims(t *testing.T, token string) map[string]any {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(payload, &c); err != nil {
		t.Fatal(err)
	}
	return c
}
