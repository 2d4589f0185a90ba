package signin_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/flow/signin"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

// An account may change while a sign-in is under way: between reading it and
// storing the session.
func TestAnAccountThatChangesDuringASignIn(t *testing.T) {
	another, err := hashing(8).New(t.Context(), "password", "Another-Horse-7")
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name   string
		change []string // since it was read
		want   string
		codes  bool // the sign-in is to ask for a code
	}{
		{"its role", []string{`UPDATE users SET role = 'admin', epoch = epoch + 1`}, "", false},
		{"codes are switched on", []string{`UPDATE users SET email_otp_enabled = TRUE, epoch = epoch + 1`}, "", true},
		{"its password", []string{`UPDATE passwords SET hash = '` + another + `'`, `UPDATE users SET epoch = epoch + 1`}, "invalid_credentials", false},
		{"it is deactivated", []string{`UPDATE users SET is_active = FALSE`}, "invalid_credentials", false},
		{"it is deleted", []string{`UPDATE users SET deleted_at = created_at`}, "invalid_credentials", false},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				s := newService(t, d)
				change(t, s, retire) // of the rows before
				change(t, s, `DELETE FROM lockouts`)
				id, _ := account(t, s, ann)
				var access string
				var asked bool
				err := between(t, s, "lockouts", func() error {
					out, err := login(t, s, home, good)
					access, asked = out.Pair.Access, out.Challenge != nil
					return err
				}, func(tx *db.Tx) error {
					for _, statement := range row.change {
						if _, err := tx.ExecContext(t.Context(), statement); err != nil {
							return err
						}
					}
					return nil
				})
				if slug(err) != row.want || asked != row.codes || (access != "") != (err == nil && !asked) {
					t.Fatalf("%v, asked for a code: %t", err, asked)
				}
				if access != "" && check(t, s, access).Claims.Role != "admin" {
					t.Error("the token says what the account was")
				}
				live := count(t, s, `SELECT COUNT(*) FROM sessions WHERE user_id = $1`, id)
				if (live == 1) != (access != "") {
					t.Errorf("%d sessions", live)
				}
				failures := count(t, s, `SELECT COALESCE(MAX(failures), 0) FROM lockouts`)
				if want := map[string]int{"": 0, "invalid_credentials": 1}[row.want]; failures != want {
					t.Errorf("%d failures counted, want %d", failures, want)
				}
			})
		}
	})
}

func TestAnAccountThatChangesWhileItsCodeIsVerified(t *testing.T) {
	rows := []struct {
		name, change, want string
	}{
		{"its role", `UPDATE users SET role = 'admin', epoch = epoch + 1`, ""},
		{"it is deactivated", `UPDATE users SET is_active = FALSE`, "invalid_token"},
		{"it is deleted", `UPDATE users SET deleted_at = created_at`, "invalid_token"},
		{"another code is mailed", `UPDATE otp_challenges SET sends = sends + 1`, "invalid_otp"},
		{"somebody else is faster", `UPDATE otp_challenges SET spent_at = created_at`, "otp_expired"},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				s := newService(t, d)
				change(t, s, retire) // of the rows before
				id := guardedAccount(t, s, ann)
				token := challenged(t, s, home)
				code := mailed(t, s)
				var pair session.Pair
				err := between(t, s, "users", func() (err error) {
					pair, err = s.VerifyCode(from(t, home), token, code, "")
					return err
				}, func(tx *db.Tx) error { _, err := tx.ExecContext(t.Context(), row.change); return err })
				if slug(err) != row.want || (pair != session.Pair{}) != (err == nil) {
					t.Fatalf("%v", err)
				}
				if err == nil && check(t, s, pair.Access).Claims.Role != "admin" {
					t.Error("the token says what the account was")
				}
				live := count(t, s, `SELECT COUNT(*) FROM sessions WHERE user_id = $1`, id)
				if (live == 1) != (err == nil) {
					t.Errorf("%d sessions", live)
				}
			})
		}
	})
}

// A code that a resend mailed meanwhile is the right one, though it did not look
// so.
func TestACodeThatArrivesDuringItsVerification(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newService(t, d)
		guardedAccount(t, s, ann)
		token := challenged(t, s, home)
		change(t, s, `UPDATE otp_challenges SET sends = 2`)
		code := mailed(t, s)
		change(t, s, `UPDATE otp_challenges SET sends = 1`)
		err := between(t, s, "lockouts", func() error { _, err := s.VerifyCode(from(t, home), token, code, ""); return err },
			func(tx *db.Tx) error {
				_, err := tx.ExecContext(t.Context(), `UPDATE otp_challenges SET sends = 2`)
				return err
			})
		if err != nil {
			t.Error(err)
		}
		if n := count(t, s, `SELECT COALESCE(MAX(failures), 0) FROM lockouts`); n != 0 {
			t.Errorf("%d failures counted", n)
		}
	})
}

// deactivate is what an erasure does to a sign-in beside it.
func deactivate(ctx context.Context, tx *db.Tx, now time.Time, id uuid.UUID) error {
	if _, err := tx.ExecContext(ctx, `UPDATE users SET is_active = FALSE, epoch = epoch + 1 WHERE id = $1`, id); err != nil {
		return err
	}
	_, err := session.EndAll(ctx, tx, now, id, uuid.Nil, session.ReasonErased)
	return err
}

func TestNoSignInOutlivesADeactivationBesideIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, codes := range []bool{false, true} {
			t.Run(map[bool]string{false: "by password", true: "by code"}[codes], func(t *testing.T) {
				s := newService(t, d)
				change(t, s, retire) // of the rows before
				change(t, s, `DELETE FROM lockouts`)
				var id uuid.UUID
				var tokens, right []string
				refusal := "invalid_credentials"
				if id, _ = account(t, s, ann); codes {
					refusal = "invalid_token"
					change(t, s, `UPDATE users SET email_otp_enabled = TRUE WHERE id = $1`, id)
					for range 32 {
						change(t, s, `DELETE FROM otp_budgets`)
						tokens = append(tokens, challenged(t, s, home))
						right = append(right, mailed(t, s))
						s.Clock.Advance(time.Millisecond)
					}
				}
				in := make(chan struct{}, 32)
				ended := make(chan error, 1)
				go func() {
					<-in // somebody is in, others are under way
					ended <- d.Write(t.Context(), func(tx *db.Tx) error { return deactivate(t.Context(), tx, s.Clock.Now(), id) })
				}()
				got := race(func(i int) (err error) {
					if codes {
						_, err = s.VerifyCode(from(t, elsewhere(i)), tokens[i], right[i], "")
					} else {
						_, err = login(t, s, elsewhere(i), good)
					}
					if err == nil {
						in <- struct{}{}
					}
					return err
				})
				if err := <-ended; err != nil {
					t.Fatal(err)
				}
				if got[""] == 0 || got[""]+got[refusal] != 32 {
					t.Errorf("%v", got)
				}
				if n := count(t, s, `SELECT COUNT(*) FROM sessions WHERE user_id = $1`, id); n != got[""] {
					t.Errorf("%d sessions of %d sign-ins", n, got[""])
				}
				if n := count(t, s, `SELECT COUNT(*) FROM sessions WHERE user_id = $1 AND revoked_at IS NULL`, id); n != 0 {
					t.Errorf("%d sessions are live, after %v", n, got)
				}
			})
		}
	})
}

// A database that fails then is no failure of whoever knew the password.
func TestARightPasswordIsNoFailureWhateverComesAfter(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newService(t, d)
		account(t, s, ann)
		change(t, s, `ALTER TABLE sessions RENAME TO elsewhere`)
		for i := range 6 {
			if out, err := login(t, s, home, good); slug(err) == "" || slug(err) == "account_locked" || out != (signin.Outcome{}) {
				t.Errorf("sign-in %d: %+v, %v", i+1, out, err)
			}
		}
		change(t, s, `ALTER TABLE elsewhere RENAME TO sessions`)
		if n := count(t, s, `SELECT COALESCE(MAX(failures), 0) FROM lockouts`); n != 0 {
			t.Errorf("%d failures counted", n)
		}
		mustLogin(t, s, home)
	})
}

func TestASessionIsStoredAsItWasBegun(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newService(t, d)
		id, _ := account(t, s, ann)
		type stored struct {
			suspicious bool
			reasons    string
		}
		signedIn := func(ip string) (got stored) {
			t.Helper()
			who := mustLogin(t, s, ip)
			err := d.Read().QueryRowContext(t.Context(), `SELECT is_suspicious, suspicious_reasons FROM sessions WHERE id = $1`, who.Session).Scan(&got.suspicious, &got.reasons)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		events := func(want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, recorded(t, s)); diff != "" {
				t.Error(diff)
			}
			forgetEvents(t, s)
		}
		if got := signedIn(home); got != (stored{false, "[]"}) {
			t.Errorf("the first: %+v", got)
		}
		events(success...)
		if got := signedIn(away); got != (stored{true, `["new_ip"]`}) {
			t.Errorf("from another network: %+v", got)
		}
		events("user.login.success", "user.login.suspicious", "session.created", "token.issued")
		for range 3 {
			if _, err := login(t, s, home, wrong); slug(err) != refused {
				t.Error(err)
			}
		}
		forgetEvents(t, s)
		if got := signedIn(home); got != (stored{true, `["prior_failures"]`}) {
			t.Errorf("after failures: %+v", got)
		}
		var metadata string
		err := d.Read().QueryRowContext(t.Context(), `SELECT CAST(metadata AS TEXT) FROM audit_events WHERE event_type = 'user.login.suspicious' AND actor_id = $1`, id).Scan(&metadata)
		var told map[string]any
		if err == nil {
			err = json.Unmarshal([]byte(metadata), &told)
		}
		want := map[string]any{"provider": "password", "new_ip": false, "new_user_agent": false, "prior_failures": 3.}
		if diff := cmp.Diff(want, told); diff != "" || err != nil {
			t.Error(err, diff)
		}
		events("user.login.success", "user.login.suspicious", "session.created", "token.issued")
		if got := signedIn(home); got != (stored{false, "[]"}) {
			t.Errorf("after a success: %+v", got)
		}
	})
}
