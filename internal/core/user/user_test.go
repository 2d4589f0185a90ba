package user_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func jo() user.User {
	return user.User{ID: uuid.Must(uuid.NewV7()), Email: "jo@example.com", Role: user.RoleUser, Active: true, Epoch: 1}
}

// create reports whether the account was made.
func create(t *testing.T, d *db.DB, u user.User) bool {
	t.Helper()
	var created bool
	err := d.Write(t.Context(), func(tx *db.Tx) (err error) {
		created, err = user.Create(t.Context(), tx, noon, u)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return created
}

func change(t *testing.T, d *db.DB, statement string, args ...any) {
	t.Helper()
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		_, err := tx.ExecContext(t.Context(), statement, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnAccountIsFoundAsItWasMade(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		want := user.User{
			ID: uuid.Must(uuid.NewV7()), Email: "jo@example.com", Role: user.RoleAdmin,
			Active: true, EmailVerified: true, EmailOTPEnabled: true, Epoch: 7,
		}
		other := jo()
		other.Email = "al@example.com"
		if !create(t, d, want) || !create(t, d, other) {
			t.Fatal("not created")
		}
		byID, found, err := user.ByID(t.Context(), d.Read(), want.ID)
		if diff := cmp.Diff(want, byID); diff != "" || !found || err != nil {
			t.Errorf("by id: %t, %v, %s", found, err, diff)
		}
		byEmail, found, err := user.ByEmail(t.Context(), d.Read(), want.Email)
		if diff := cmp.Diff(want, byEmail); diff != "" || !found || err != nil {
			t.Errorf("by address: %t, %v, %s", found, err, diff)
		}
		if _, found, err := user.ByID(t.Context(), d.Read(), uuid.New()); found || err != nil {
			t.Errorf("nobody's id: %t, %v", found, err)
		}
		if _, found, err := user.ByEmail(t.Context(), d.Read(), "nobody@example.com"); found || err != nil {
			t.Errorf("nobody's address: %t, %v", found, err)
		}
	})
}

func TestOfManyWhoTakeAnAddressAtOnceOneGetsIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		const racers = 32
		var created atomic.Int64
		var winner atomic.Value
		start := make(chan struct{})
		var running sync.WaitGroup
		for range racers {
			running.Go(func() {
				u := jo()
				<-start
				if create(t, d, u) {
					created.Add(1)
					winner.Store(u.ID)
				}
			})
		}
		close(start)
		running.Wait()
		if n := created.Load(); n != 1 {
			t.Fatalf("%d of %d were told that they made the account", n, racers)
		}
		u, found, err := user.ByEmail(t.Context(), d.Read(), "jo@example.com")
		if !found || err != nil || u.ID != winner.Load() {
			t.Errorf("the address belongs to %v (%t, %v), not to %v who was told so", u.ID, found, err, winner.Load())
		}
	})
}

func TestADeletedAccountKeepsItsAddressAndAnErasedOneGivesItBack(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		accounts := newAccounts(t, d)
		first, second := jo(), jo()
		if !create(t, d, first) || create(t, d, second) {
			t.Fatal("an address must be free once, and taken then")
		}
		act := func(act func(context.Context, *db.Tx, time.Time, uuid.UUID) (bool, error), want bool) {
			t.Helper()
			if got := within(t, d, func(ctx context.Context, tx *db.Tx) (bool, error) { return act(ctx, tx, noon, first.ID) }); got != want {
				t.Errorf("it says %t, want %t", got, want)
			}
		}
		taken := func(want bool) {
			t.Helper()
			if got, err := user.Taken(t.Context(), d.Read(), first.Email); got != want || err != nil {
				t.Errorf("the address is taken: %t (%v), want %t", got, err, want)
			}
		}
		act(accounts.Delete, true)
		act(accounts.Delete, false)
		if _, found, _ := user.ByID(t.Context(), d.Read(), first.ID); found {
			t.Error("a deleted account is found by id")
		}
		if _, found, _ := user.ByEmail(t.Context(), d.Read(), first.Email); found {
			t.Error("a deleted account is found by address")
		}
		taken(true)
		if create(t, d, second) {
			t.Error("somebody got the address of a deleted account")
		}
		act(accounts.Erase, true)
		act(accounts.Erase, false)
		taken(false)
		if !create(t, d, second) {
			t.Error("the address of an erased account is not free")
		}
		if u, found, err := user.ByEmail(t.Context(), d.Read(), second.Email); !found || err != nil || u.ID != second.ID {
			t.Errorf("the address belongs to %v (%t, %v)", u.ID, found, err)
		}
	})
}

func TestWhoCountsAsAnAdmin(t *testing.T) {
	rows := []struct {
		name   string
		change string
		want   bool
	}{
		{"an active admin", `UPDATE users SET role = 'admin'`, true},
		{"a user is none", `UPDATE users SET role = 'user'`, false},
		{"a deactivated admin is none", `UPDATE users SET role = 'admin', is_active = FALSE`, false},
		{"a deleted admin is none", `UPDATE users SET role = 'admin', deleted_at = created_at`, false},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		if any, err := user.AnyAdmin(t.Context(), d.Read()); any || err != nil {
			t.Errorf("in an empty database: %t, %v", any, err)
		}
		create(t, d, jo())
		for _, row := range rows {
			change(t, d, row.change)
			if any, err := user.AnyAdmin(t.Context(), d.Read()); any != row.want || err != nil {
				t.Errorf("%s: %t, %v", row.name, any, err)
			}
		}
	})
}

func TestConfirmingAnAddressRaisesTheEpochOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := clock.Set(noon)
		feed, err := revocation.NewFeed(t.Context(), d, c, dbtest.Log)
		if err != nil {
			t.Fatal(err)
		}
		accounts := &user.Accounts{Feed: feed, TokenLife: time.Hour}
		u, deleted := jo(), jo()
		create(t, d, deleted)
		change(t, d, retire)
		create(t, d, u)
		confirm := func(id uuid.UUID) (changed bool) {
			t.Helper()
			err := d.Write(t.Context(), func(tx *db.Tx) (err error) {
				changed, err = accounts.SetVerified(t.Context(), tx, c.Now(), id)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return changed
		}
		if !confirm(u.ID) || confirm(u.ID) {
			t.Error("it must change once, and not again")
		}
		if confirm(deleted.ID) || confirm(uuid.New()) {
			t.Error("an account that is gone was changed")
		}
		u.EmailVerified, u.Epoch = true, 2
		got, _, err := user.ByID(t.Context(), d.Read(), u.ID)
		if diff := cmp.Diff(u, got); diff != "" || err != nil {
			t.Error(err, diff)
		}
		if got := feed.Epoch(revocation.User, u.ID.String()); got != 2 {
			t.Errorf("the feed refuses tokens below epoch %d, want 2", got)
		}
		var entries int
		var expires time.Time
		err = d.Read().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM revocations`).Scan(&entries)
		if err != nil || entries != 1 {
			t.Fatalf("%d entries, %v", entries, err)
		}
		if err := d.Read().QueryRowContext(t.Context(), `SELECT expires_at FROM revocations`).Scan(&expires); err != nil || !expires.Equal(noon.Add(time.Hour)) {
			t.Errorf("the entry is kept until %v (%v)", expires, err)
		}
	})
}
