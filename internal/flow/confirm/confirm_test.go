package confirm_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/core/risk"
	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/core/token"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/flow/confirm"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/method/otp"
	"github.com/authsdk/authsdk/internal/platform/jobs"
	"github.com/authsdk/authsdk/internal/platform/mail"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

// world is the flow whose mails go into the development mailbox.
type world struct {
	*confirm.Service
	box    *mail.Mailbox
	user   user.User
	caller session.Identity
}

func newWorld(t *testing.T, d *db.DB, verified bool) *world {
	t.Helper()
	c := clock.Set(time.Now())
	queue, err := jobs.New(d, dbtest.Log)
	noError(t, err)
	feed, err := revocation.NewFeed(t.Context(), d, c, dbtest.Log)
	noError(t, err)
	keys, err := keyring.Load(t.Context(), d, secret.NewRing("signing-keys", "test"), c, dbtest.Log, keyring.Options{Algorithm: keyring.EdDSA})
	noError(t, err)
	tokens := token.NewIssuer(keys, c, "https://auth.example.com", "auth-service", time.Minute)
	box := &mail.Mailbox{DB: d, Clock: c, From: "auth@example.com"}
	codes := &otp.Service{DB: d, Clock: c, Jobs: queue, Mail: box, Codes: secret.NewRing("otp-codes", "test"), Length: 6, TTL: time.Minute, MaxAttempts: 5}
	queue.Handle(map[string]jobs.Handler{otp.CodeMail: codes.SendCode})
	noError(t, queue.Start(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		noError(t, queue.Stop(ctx))
	})
	w := &world{
		Service: &confirm.Service{
			DB: d, Clock: c, Codes: codes,
			StepUp: &stepup.Service{DB: d, Clock: c, Tokens: tokens, Lifetime: time.Minute},
			Risk:   &risk.Service{DB: d, Clock: c, Ring: secret.NewRing("lockouts", "test")},
		},
		box:  box,
		user: user.User{ID: uuid.Must(uuid.NewV7()), Email: "jo@example.com", Role: user.RoleUser, Active: true, EmailVerified: verified},
	}
	noError(t, d.Write(t.Context(), func(tx *db.Tx) error {
		_, err := user.Create(t.Context(), tx, c.Now(), w.user)
		return err
	}))
	sessions := session.New(d, c, dbtest.Log, feed, tokens, secret.NewRing("refresh-token", "test"), nil, session.Settings{RefreshTTL: time.Hour})
	started, pair, err := sessions.Begin(w.user, session.Start{Provider: "password", Audiences: []string{"orders-api"}})
	noError(t, err)
	noError(t, d.Write(t.Context(), func(tx *db.Tx) error {
		_, err := sessions.Save(t.Context(), tx, started, w.user)
		return err
	}))
	w.caller, err = sessions.Check(t.Context(), pair.Access)
	noError(t, err)
	return w
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// code asks for a code and reads it in the mail that comes.
func (w *world) code(t *testing.T, action, target string) string {
	t.Helper()
	before, err := w.box.List(t.Context(), w.user.Email)
	noError(t, err)
	_, err = w.Request(t.Context(), w.caller, action, target)
	noError(t, err)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		list, err := w.box.List(t.Context(), w.user.Email)
		noError(t, err)
		if len(list) > len(before) {
			return list[0].Codes()[0]
		}
	}
	t.Fatal("no mail after 10 s")
	return ""
}

func TestACodeBecomesAConfirmationOfThatActOnly(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d, true)
		code := w.code(t, "orders-api:refund", "order-17")
		for range 10 { // costs no guess
			if _, err := w.Verify(t.Context(), w.caller, code, "orders-api:other"); !fault.Has(err, fault.OTPActionMismatch) {
				t.Fatalf("for another act: %v", err)
			}
		}
		signed, err := w.Verify(t.Context(), w.caller, code, "orders-api:refund")
		noError(t, err)
		claims, _, _, err := w.StepUp.Tokens.VerifyOnce(t.Context(), token.TypeAction, signed)
		noError(t, err)
		if len(claims.Audience) != 1 || claims.Audience[0] != "orders-api" || claims.Target != "order-17" || claims.Action != "orders-api:refund" {
			t.Errorf("the token says %+v", claims)
		}
		for _, target := range []string{"order-18", ""} {
			if err := w.StepUp.Consume(t.Context(), w.caller, signed, "orders-api:refund", target); !fault.Has(err, fault.ActionTokenInvalid) {
				t.Errorf("for target %q: %v", target, err)
			}
		}
		noError(t, w.StepUp.Consume(t.Context(), w.caller, signed, "orders-api:refund", "order-17"))
		if err := w.StepUp.Consume(t.Context(), w.caller, signed, "orders-api:refund", "order-17"); !fault.Has(err, fault.ActionTokenInvalid) {
			t.Errorf("spent twice: %v", err)
		}
		if _, err := w.Verify(t.Context(), w.caller, code, "orders-api:refund"); !fault.Has(err, fault.OTPExpired) {
			t.Errorf("the code again: %v", err)
		}
	})
}

func TestOfManyWhoTypeTheCodeOneGetsTheConfirmation(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d, true)
		code := w.code(t, stepup.EnableOTP, "")
		errs := make([]error, 32)
		var racing sync.WaitGroup
		for i := range errs {
			racing.Go(func() { _, errs[i] = w.Verify(t.Context(), w.caller, code, stepup.EnableOTP) })
		}
		racing.Wait()
		won := 0
		for _, err := range errs {
			switch {
			case err == nil:
				won++
			case !fault.Has(err, fault.OTPExpired) && !fault.Has(err, fault.AccountLocked):
				t.Errorf("a loser is told %v", err)
			}
		}
		if won != 1 {
			t.Errorf("%d won", won)
		}
	})
}

func TestANewRequestReplacesTheLast(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d, true)
		first := w.code(t, stepup.EnableOTP, "")
		second := w.code(t, stepup.EnableOTP, "")
		if first == second {
			t.Skip("the two codes happen to be the same")
		}
		if _, err := w.Verify(t.Context(), w.caller, first, stepup.EnableOTP); !fault.Has(err, fault.InvalidOTP) {
			t.Errorf("the first code: %v", err)
		}
		_, err := w.Verify(t.Context(), w.caller, second, stepup.EnableOTP)
		noError(t, err)
	})
}

func TestRequestRefuses(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d, false)
		for _, row := range []struct {
			action, target string
			want           fault.Code
		}{
			{"enable_otp", "", fault.EmailNotVerified},
			{"no_such_act", "", fault.ValidationError},
			{"Orders:refund", "", fault.ValidationError},
			{"enable_otp", "line\nbreak", fault.ValidationError},
		} {
			_, err := w.Request(t.Context(), w.caller, row.action, row.target)
			var f *fault.Fault
			if !errors.As(err, &f) || f.Code.Slug != row.want.Slug {
				t.Errorf("%+v: %v", row, err)
			}
		}
		if _, err := w.Verify(t.Context(), w.caller, "123456", "enable_otp"); !fault.Has(err, fault.OTPExpired) {
			t.Errorf("without a request: %v", err)
		}
	})
}
