package user_test

import (
	"context"
	"sync"
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

const racers = 32

// retire takes the accounts of the rows before, and their addresses, out of the way.
const retire = `UPDATE users SET deleted_at = created_at, email = CAST(id AS TEXT), email_key = CAST(id AS TEXT)`

func newAccounts(t *testing.T, d *db.DB) *user.Accounts {
	t.Helper()
	feed, err := revocation.NewFeed(t.Context(), d, clock.Set(noon), dbtest.Log)
	if err != nil {
		t.Fatal(err)
	}
	return &user.Accounts{Feed: feed, TokenLife: time.Hour}
}

// within runs something in a transaction.
func within[T any](t *testing.T, d *db.DB, act func(ctx context.Context, tx *db.Tx) (T, error)) (got T) {
	t.Helper()
	err := d.Write(t.Context(), func(tx *db.Tx) (err error) {
		got, err = act(t.Context(), tx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func byID(t *testing.T, d *db.DB, id uuid.UUID) user.User {
	t.Helper()
	u, found, err := user.ByID(t.Context(), d.Read(), id)
	if err != nil || !found {
		t.Fatal(found, err)
	}
	return u
}

func TestEachChangeOfAnAccountRaisesItsEpoch(t *testing.T) {
	rows := []struct {
		name    string
		act     func(a *user.Accounts, ctx context.Context, tx *db.Tx, id uuid.UUID) (bool, error)
		becomes func(u *user.User)
		again   bool // the same once more is a change, too
	}{
		{"codes at sign-in", func(a *user.Accounts, ctx context.Context, tx *db.Tx, id uuid.UUID) (bool, error) {
			return a.SetOTP(ctx, tx, noon, id, true)
		}, func(u *user.User) { u.EmailOTPEnabled = true }, false},
		{"no codes at sign-in", func(a *user.Accounts, ctx context.Context, tx *db.Tx, id uuid.UUID) (bool, error) {
			if _, err := a.SetOTP(ctx, tx, noon, id, true); err != nil {
				return false, err
			}
			return a.SetOTP(ctx, tx, noon, id, false)
		}, func(u *user.User) { u.Epoch++ }, true},
		{"another address", func(a *user.Accounts, ctx context.Context, tx *db.Tx, id uuid.UUID) (bool, error) {
			return a.SetEmail(ctx, tx, noon, id, "new@example.com")
		}, func(u *user.User) { u.Email, u.EmailVerified = "new@example.com", true }, true},
		{"its tokens end", func(a *user.Accounts, ctx context.Context, tx *db.Tx, id uuid.UUID) (bool, error) {
			return true, a.EndTokens(ctx, tx, noon, id)
		}, func(*user.User) {}, true},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				change(t, d, retire) // those of the rows before
				accounts, u := newAccounts(t, d), jo()
				create(t, d, u)
				act := func(id uuid.UUID) bool {
					t.Helper()
					return within(t, d, func(ctx context.Context, tx *db.Tx) (bool, error) { return row.act(accounts, ctx, tx, id) })
				}
				if !act(u.ID) {
					t.Error("nothing changed")
				}
				row.becomes(&u)
				u.Epoch++
				if diff := cmp.Diff(u, byID(t, d, u.ID)); diff != "" {
					t.Error(diff)
				}
				if got := accounts.Feed.Epoch(revocation.User, u.ID.String()); got != u.Epoch {
					t.Errorf("the feed refuses tokens below epoch %d, want %d", got, u.Epoch)
				}
				if act(u.ID) != row.again {
					t.Errorf("again: changed %t", !row.again)
				}
			})
		}
	})
}

func TestADeletedAccountDoesNotChange(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		accounts, u := newAccounts(t, d), jo()
		create(t, d, u)
		change(t, d, retire)
		for name, act := range map[string]func(ctx context.Context, tx *db.Tx) (bool, error){
			"codes": func(ctx context.Context, tx *db.Tx) (bool, error) { return accounts.SetOTP(ctx, tx, noon, u.ID, true) },
			"address": func(ctx context.Context, tx *db.Tx) (bool, error) {
				return accounts.SetEmail(ctx, tx, noon, u.ID, "new@example.com")
			},
			"hold": func(ctx context.Context, tx *db.Tx) (bool, error) { return user.Hold(ctx, tx, u) },
			"lock": func(ctx context.Context, tx *db.Tx) (bool, error) {
				_, found, err := user.Lock(ctx, tx, u.ID)
				return found, err
			},
		} {
			if within(t, d, act) {
				t.Errorf("%s: it did", name)
			}
		}
		// Whoever erases an account ends its tokens afterwards.
		within(t, d, func(ctx context.Context, tx *db.Tx) (bool, error) {
			return true, accounts.EndTokens(ctx, tx, noon, u.ID)
		})
		if got := accounts.Feed.Epoch(revocation.User, u.ID.String()); got != 2 {
			t.Errorf("the feed refuses tokens below epoch %d, want 2", got)
		}
	})
}

func TestOfManyAccountsThatChangeToOneAddressOneGetsIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		accounts := newAccounts(t, d)
		ids := make([]uuid.UUID, racers)
		for i := range ids {
			u := jo()
			u.Email, ids[i] = u.ID.String()+"@example.com", u.ID
			create(t, d, u)
		}
		got, conflicts := make([]bool, racers), make([]bool, racers)
		start := make(chan struct{})
		var running sync.WaitGroup
		for i, id := range ids {
			running.Go(func() {
				<-start
				err := d.Write(t.Context(), func(tx *db.Tx) (err error) {
					got[i], err = accounts.SetEmail(t.Context(), tx, noon, id, "jo@example.com")
					return err
				})
				if conflicts[i] = db.IsConflict(err); err != nil && !conflicts[i] {
					t.Error(err)
				}
			})
		}
		close(start)
		running.Wait()
		winners := 0
		for i := range ids {
			if got[i] == conflicts[i] {
				t.Errorf("account %d: changed %t, conflict %t", i, got[i], conflicts[i])
			}
			if got[i] {
				winners++
				if u, _, err := user.ByEmail(t.Context(), d.Read(), "jo@example.com"); err != nil || u.ID != ids[i] {
					t.Errorf("the address is that of %v, not of %v (%v)", u.ID, ids[i], err)
				}
			}
		}
		if winners != 1 {
			t.Errorf("%d of %d got the address", winners, racers)
		}
	})
}

func TestAnAddressIsKeptForItsOldOwner(t *testing.T) {
	rows := []struct {
		name string
		sql  string // what became of a change away from old@example.com, two days ago
		kept bool
	}{
		{"it can be undone", `UPDATE email_changes SET confirmed_at = issued_at, undo_until = '2026-03-02 12:00:00+00:00'`, true},
		{"it was not confirmed", `UPDATE email_changes SET undo_until = NULL`, false},
		{"it was undone", `UPDATE email_changes SET undo_until = '2026-03-02 12:00:00+00:00', undone_at = issued_at`, false},
		{"it can be undone no more", `UPDATE email_changes SET undo_until = '2026-03-01 12:00:00+00:00'`, false},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				change(t, d, `DELETE FROM email_changes`)
				change(t, d, retire)
				owner, other := jo(), jo()
				create(t, d, owner)
				change(t, d, `INSERT INTO email_changes (id, user_id, old_email, new_email, issued_at, expires_at) VALUES ($1, $2, 'old@example.com', 'jo@example.com', $3, $4)`,
					uuid.New(), owner.ID, noon, noon)
				change(t, d, row.sql)
				for but, want := range map[uuid.UUID]bool{uuid.Nil: row.kept, other.ID: row.kept, owner.ID: false} {
					if kept, err := user.Kept(t.Context(), d.Read(), noon, "old@example.com", but); err != nil || kept != want {
						t.Errorf("kept: %t (%v), want %t", kept, err, want)
					}
				}
				if kept, err := user.Kept(t.Context(), d.Read(), noon, "free@example.com", uuid.Nil); err != nil || kept {
					t.Errorf("an address that nobody had: %t, %v", kept, err)
				}
				other.Email = "old@example.com"
				if created := create(t, d, other); created == row.kept {
					t.Errorf("somebody else signs up with it: %t", created)
				}
			})
		}
	})
}

func TestHoldingAnAccount(t *testing.T) {
	rows := []struct {
		name, change string
		same         bool
	}{
		{"nothing changed", `UPDATE users SET updated_at = created_at`, true},
		{"what its tokens say changed", `UPDATE users SET epoch = epoch + 1`, false},
		{"it was deactivated", `UPDATE users SET is_active = FALSE`, false},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			change(t, d, retire)
			u := jo()
			create(t, d, u)
			change(t, d, row.change)
			if same := within(t, d, func(ctx context.Context, tx *db.Tx) (bool, error) { return user.Hold(ctx, tx, u) }); same != row.same {
				t.Errorf("%s: the same %t", row.name, same)
			}
			locked := within(t, d, func(ctx context.Context, tx *db.Tx) (user.User, error) {
				u, _, err := user.Lock(ctx, tx, u.ID)
				return u, err
			})
			if diff := cmp.Diff(byID(t, d, u.ID), locked); diff != "" {
				t.Errorf("%s: %s", row.name, diff)
			}
		}
	})
}

// SQLite has one writer, so it is PostgreSQL that could let them pass each other.
func TestWhoWaitsForWhom(t *testing.T) {
	hold := func(ctx context.Context, tx *db.Tx, u user.User) error { _, err := user.Hold(ctx, tx, u); return err }
	lock := func(ctx context.Context, tx *db.Tx, u user.User) error {
		_, _, err := user.Lock(ctx, tx, u.ID)
		return err
	}
	end := func(ctx context.Context, tx *db.Tx, u user.User) error {
		_, err := tx.ExecContext(ctx, `UPDATE users SET is_active = FALSE WHERE id = $1`, u.ID)
		return err
	}
	// A row of another table that names the account, as sessions do.
	name := func(ctx context.Context, tx *db.Tx, u user.User) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO otp_budgets (user_id, context, failures, mails, resets_at) VALUES ($1, 'login', 0, 0, $2)`, u.ID, noon)
		return err
	}
	rows := []struct {
		name          string
		first, second func(context.Context, *db.Tx, user.User) error
		waits         bool
	}{
		{"two sign-ins", hold, hold, false},
		{"a deactivation after a sign-in", hold, end, true},
		{"a sign-in after a deactivation", end, hold, true},
		{"a sign-in after an act that locks", lock, hold, true},
		{"an act that locks after a sign-in", hold, lock, true},
		{"two acts that lock", lock, lock, true},
		{"what only names the account", lock, name, false},
	}
	d := dbtest.Postgres(t)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			change(t, d, retire)
			u := jo()
			create(t, d, u)
			done := make(chan error, 1)
			err := d.Write(t.Context(), func(tx *db.Tx) error {
				if err := row.first(t.Context(), tx, u); err != nil {
					return err
				}
				go func() {
					done <- d.Write(t.Context(), func(tx *db.Tx) error { return row.second(t.Context(), tx, u) })
				}()
				if !row.waits {
					return <-done
				}
				return waiting(t, d, done)
			})
			if err == nil && row.waits {
				err = <-done
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// waiting returns once another transaction waits for a lock; it is an error if
// that one ends.
func waiting(t *testing.T, d *db.DB, done chan error) error {
	t.Helper()
	deadline := time.After(30 * time.Second)
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for {
		select {
		case err := <-done:
			t.Error("it did not wait")
			done <- err
			return nil
		case <-deadline:
			t.Fatal("neither waiting nor done after 30 s")
		case <-poll.C:
			var n int
			err := d.Read().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n)
			if err != nil || n > 0 {
				return err
			}
		}
	}
}
