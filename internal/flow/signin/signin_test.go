package signin_test

import (
	"context"
	"strings"
	"testing"

	"github.com/authsdk/authsdk/internal/flow/signin"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/method/password"
)

func stored(t *testing.T, d *db.DB, email string) string {
	t.Helper()
	_, hash, _, err := password.Find(context.Background(), d.Read(), email)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

func TestLoginMakesAnOldHashAnew(t *testing.T) {
	ctx := context.Background()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newService(t, d)
		id, old := account(t, s, "ann@example.com")
		login := func(pass string) error {
			_, err := s.Login(ctx, signin.Input{Email: "ann@example.com", Password: pass})
			return err
		}
		t.Run("at the same cost the hash stays", func(t *testing.T) {
			if err := login(good); err != nil || stored(t, d, "ann@example.com") != old {
				t.Errorf("%v: %s", err, stored(t, d, "ann@example.com"))
			}
		})
		s.Passwords = hashing(16)
		t.Run("a wrong password changes nothing", func(t *testing.T) {
			if err := login("Wrong-Horse-7"); !fault.Has(err, fault.InvalidCredentials) || stored(t, d, "ann@example.com") != old {
				t.Errorf("%v: %s", err, stored(t, d, "ann@example.com"))
			}
		})
		t.Run("the right one is stored at today's cost and still works", func(t *testing.T) {
			if err := login(good); err != nil || !strings.Contains(stored(t, d, "ann@example.com"), "$m=16,") {
				t.Errorf("%v: %s", err, stored(t, d, "ann@example.com"))
			}
			if err := login(good); err != nil {
				t.Error(err)
			}
		})
		t.Run("a password that was changed meanwhile is left alone", func(t *testing.T) {
			now := stored(t, d, "ann@example.com")
			err := d.Write(ctx, func(tx *db.Tx) error { return password.Replace(ctx, tx, id, old, "better") })
			if err != nil || stored(t, d, "ann@example.com") != now {
				t.Errorf("%v: %s", err, stored(t, d, "ann@example.com"))
			}
		})
	})
}

func TestLoginOfAnAccountWithoutPassword(t *testing.T) {
	ctx := context.Background()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newService(t, d)
		id, _ := account(t, s, "federated@example.com")
		err := d.Write(ctx, func(tx *db.Tx) error {
			_, err := tx.ExecContext(ctx, `DELETE FROM passwords WHERE user_id = $1`, id)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Login(ctx, signin.Input{Email: "federated@example.com", Password: good}); !fault.Has(err, fault.InvalidCredentials) {
			t.Errorf("%v, want invalid_credentials", err)
		}
	})
}
