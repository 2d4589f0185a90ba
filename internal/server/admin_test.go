package server

import (
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/method/password"
)

func passwords() *password.Service {
	return &password.Service{Hasher: secret.NewHasher(secret.Cost{MemoryKiB: 8, Iterations: 1, Parallelism: 1}, 2)}
}

func TestAFreshDatabaseGetsOneAdminWhoCanSignIn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		p := passwords()
		admin, err := firstAdmin(t.Context(), d, nil, p)
		if err != nil || admin == nil {
			t.Fatalf("got %v, %v", admin, err)
		}
		u, hash, found, err := password.Find(t.Context(), d.Read(), admin.Email)
		if err != nil || !found || u.Role != user.RoleAdmin || !u.Active || !u.EmailVerified {
			t.Fatalf("the account is %+v (found %v, %v)", u, found, err)
		}
		if ok, _, err := p.Verify(t.Context(), "password", hash, admin.Password, true); err != nil || !ok {
			t.Errorf("the password does not open it: %v, %v", ok, err)
		}
		if again, err := firstAdmin(t.Context(), d, nil, p); err != nil || again != nil {
			t.Errorf("the next start makes %v, %v", again, err)
		}
		var events int
		err = d.Read().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM audit_events WHERE event_type = 'user.created' AND target_id = $1`, u.ID).Scan(&events)
		if err != nil || events != 1 {
			t.Errorf("%d events tell of it (%v)", events, err)
		}
	})
}

func TestAnAddressThatIsTakenMakesNoAdmin(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		taken := user.User{ID: uuid.New(), Email: firstAdminEmail, Role: user.RoleUser, Active: true}
		err := d.Write(t.Context(), func(tx *db.Tx) error {
			_, err := user.Create(t.Context(), tx, (*clock.Clock)(nil).Now(), taken)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if admin, err := firstAdmin(t.Context(), d, nil, passwords()); err != nil || admin != nil {
			t.Errorf("got %v, %v", admin, err)
		}
		if there, err := user.AnyAdmin(t.Context(), d.Read()); err != nil || there {
			t.Errorf("somebody became admin: %v, %v", there, err)
		}
	})
}

func TestOneOfTenReplicasMakesTheFirstAdmin(t *testing.T) {
	url := dbtest.PostgresURL(t)
	var all sync.WaitGroup
	made := make(chan *Admin, 10)
	for range 10 {
		d := dbtest.Open(t, url)
		all.Go(func() {
			admin, err := firstAdmin(t.Context(), d, nil, passwords())
			if err != nil {
				t.Error(err)
			}
			if admin != nil {
				made <- admin
			}
		})
	}
	all.Wait()
	if len(made) != 1 {
		t.Errorf("%d admins were made and shown", len(made))
	}
}
