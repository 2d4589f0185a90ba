package signin_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/token"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/flow/signin"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/method/password"
	"github.com/authsdk/authsdk/internal/platform/limit"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

const good = "Correct-Horse-7"

func hashing(memory uint32) *password.Service {
	return &password.Service{Hasher: secret.NewHasher(secret.Cost{MemoryKiB: memory, Iterations: 1, Parallelism: 1}, 2)}
}

func newService(t *testing.T, d *db.DB) *signin.Service {
	t.Helper()
	ctx := context.Background()
	c := clock.Set(time.Now())
	limiter, err := limit.Open(ctx, "", dbtest.Log, c)
	if err != nil {
		t.Fatal(err)
	}
	feed, err := revocation.NewFeed(ctx, d, c, dbtest.Log)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := keyring.Load(ctx, d, secret.NewRing("signing-keys", "test"), c, dbtest.Log, keyring.Options{Algorithm: keyring.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	tokens := &token.Issuer{Keys: keys, Clock: c, URL: "https://auth.example.com", Service: "auth-service", Lifetime: time.Minute}
	return &signin.Service{
		DB: d, Clock: c, Passwords: hashing(8), Service: "auth-service", RequireVerified: true,
		Sessions: session.New(d, c, dbtest.Log, feed, tokens, secret.NewRing("refresh-token", "test"), limiter, session.Settings{RefreshTTL: time.Hour}),
	}
}

// account adds a confirmed account with a password; hash is how it is stored.
func account(t *testing.T, s *signin.Service, email string) (id uuid.UUID, hash string) {
	t.Helper()
	ctx := context.Background()
	hash, err := s.Passwords.New(ctx, "password", good)
	if err != nil {
		t.Fatal(err)
	}
	id = uuid.Must(uuid.NewV7())
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		now := s.Clock.Now()
		if _, err := user.Create(ctx, tx, now, user.User{ID: id, Email: email, Role: user.RoleUser, Active: true, EmailVerified: true}); err != nil {
			return err
		}
		return password.Save(ctx, tx, now, id, hash)
	})
	if err != nil {
		t.Fatal(err)
	}
	return id, hash
}

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
			_, err := s.Login(ctx, "ann@example.com", pass, "")
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
		if _, err := s.Login(ctx, "federated@example.com", good, ""); !fault.Has(err, fault.InvalidCredentials) {
			t.Errorf("%v, want invalid_credentials", err)
		}
	})
}
