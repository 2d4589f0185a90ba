package db_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

var errRefused = errors.New("refused")

// scratch makes a table of numbers, and one whose rows point at it; that is
// checked at commit.
func scratch(t *testing.T, d *db.DB) {
	t.Helper()
	write(t, d, `CREATE TABLE scratch (id BIGINT PRIMARY KEY, n BIGINT NOT NULL UNIQUE CHECK (n >= 0))`)
	write(t, d, `CREATE TABLE pointer (id BIGINT PRIMARY KEY, at BIGINT NOT NULL REFERENCES scratch (id) DEFERRABLE INITIALLY DEFERRED)`)
}

func write(t *testing.T, d *db.DB, query string, args ...any) {
	t.Helper()
	if err := d.Write(t.Context(), exec(t.Context(), query, args...)); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func exec(ctx context.Context, query string, args ...any) func(tx *db.Tx) error {
	return func(tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	}
}

func count(t *testing.T, d *db.DB, query string, args ...any) (n int) {
	t.Helper()
	if err := d.Read().QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func TestWriteIsAllOrNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		scratch(t, d)
		cancelled, cancel := context.WithCancel(t.Context())
		tests := []struct {
			name string
			ctx  context.Context
			end  func(tx *db.Tx) error
			kept bool
		}{
			{"an act without error is kept", t.Context(), func(*db.Tx) error { return nil }, true},
			{"an act with an error is undone", t.Context(), func(*db.Tx) error { return errRefused }, false},
			{"an act that panics is undone", t.Context(), func(*db.Tx) error { panic("no") }, false},
			{"an act whose caller has gone is undone", cancelled, func(*db.Tx) error { cancel(); return nil }, false},
			{"an act that cannot commit is undone", t.Context(), exec(t.Context(), `INSERT INTO pointer (id, at) VALUES (1, 404)`), false},
		}
		for i, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				told := false
				err := safely(func() error {
					return d.Write(tt.ctx, func(tx *db.Tx) error {
						tx.AfterCommit(func() { told = true })
						if _, err := tx.ExecContext(tt.ctx, `INSERT INTO scratch (id, n) VALUES ($1, $2)`, i, i); err != nil {
							return err
						}
						return tt.end(tx)
					})
				})
				if (err == nil) != tt.kept {
					t.Errorf("Write answers %v", err)
				}
				if kept := count(t, d, `SELECT COUNT(*) FROM scratch WHERE id = $1`, i) == 1; kept != tt.kept {
					t.Errorf("kept = %v, want %v", kept, tt.kept)
				}
				if told != tt.kept {
					t.Errorf("AfterCommit ran = %v, want %v", told, tt.kept)
				}
				write(t, d, `UPDATE scratch SET n = n`) // the next act is not harmed
			})
		}
	})
}

// safely makes a panic an error.
func safely(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}

func TestAfterCommitRunsOnceTheRowsAreThereAndInOrder(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		scratch(t, d)
		var got []string
		err := d.Write(t.Context(), func(tx *db.Tx) error {
			for _, name := range []string{"first", "second"} {
				tx.AfterCommit(func() { got = append(got, fmt.Sprint(name, " ", count(t, d, `SELECT COUNT(*) FROM scratch`))) })
			}
			if len(got) > 0 {
				t.Error("AfterCommit ran before the commit")
			}
			return exec(t.Context(), `INSERT INTO scratch (id, n) VALUES (1, 1)`)(tx)
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"first 1", "second 1"}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestIsConflictMeansABrokenUniqueRule(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		scratch(t, d)
		write(t, d, `INSERT INTO scratch (id, n) VALUES (1, 1)`)
		write(t, d, `CREATE UNIQUE INDEX scratch_small ON scratch (n) WHERE n < 10`)
		for query, want := range map[string]bool{
			`INSERT INTO scratch (id, n) VALUES (1, 2)`:        true, // primary key
			`INSERT INTO scratch (id, n) VALUES (2, 1)`:        true, // unique
			`INSERT INTO scratch (id, n) VALUES (2, NULL)`:     false,
			`INSERT INTO scratch (id, n) VALUES (2, -1)`:       false, // check
			`INSERT INTO pointer (id, at) VALUES (1, 404)`:     false, // foreign key
			`INSERT INTO scratch (id, nonsense) VALUES (2, 2)`: false,
		} {
			err := d.Write(t.Context(), exec(t.Context(), query))
			if err == nil {
				t.Errorf("%s: no error", query)
			}
			if got := db.IsConflict(fmt.Errorf("act: %w", err)); got != want {
				t.Errorf("%s: IsConflict = %v, want %v (%v)", query, got, want, err)
			}
			if db.IsUnavailable(err) {
				t.Errorf("%s: IsUnavailable, but it can never succeed (%v)", query, err)
			}
		}
		if db.IsConflict(nil) || db.IsConflict(errRefused) {
			t.Error("IsConflict of errors from elsewhere")
		}
	})
}

// Two transactions each hold the row that the other wants next.
func TestADeadlockIsTriedAgain(t *testing.T) {
	t.Parallel()
	d := dbtest.Postgres(t)
	scratch(t, d)
	write(t, d, `INSERT INTO scratch (id, n) VALUES (0, 0), (1, 100)`)
	var tries, told atomic.Int32
	holds := [2]chan struct{}{make(chan struct{}), make(chan struct{})}
	var once [2]sync.Once
	act := func(me int) error {
		return d.Write(t.Context(), func(tx *db.Tx) error {
			tries.Add(1)
			tx.AfterCommit(func() { told.Add(1) })
			const raise = `UPDATE scratch SET n = n + 1 WHERE id = $1`
			if _, err := tx.ExecContext(t.Context(), raise, me); err != nil {
				return err
			}
			once[me].Do(func() { close(holds[me]) })
			<-holds[1-me]
			_, err := tx.ExecContext(t.Context(), raise, 1-me)
			return err
		})
	}
	failed := make(chan error, 2)
	for me := range 2 {
		go func() { failed <- act(me) }()
	}
	for range 2 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	if sum := count(t, d, `SELECT SUM(n) FROM scratch`); sum != 104 {
		t.Errorf("sum = %d, want 104: each act counts once", sum)
	}
	if tries.Load() < 3 || told.Load() != 2 {
		t.Errorf("%d tries and %d commits told, want 3 or more and 2", tries.Load(), told.Load())
	}
}

func TestASerializationFailureIsTriedAgainAFewTimes(t *testing.T) {
	tests := []struct {
		name      string
		disturbed int // how many tries lose the race
		tries     int
		wantErr   bool
	}{
		{"the first try loses", 1, 2, false},
		{"all but the last try lose", 4, 5, false},
		{"every try loses", 99, 5, true},
	}
	d := dbtest.Postgres(t)
	scratch(t, d)
	write(t, d, `INSERT INTO scratch (id, n) VALUES (1, 1)`)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tries, told := 0, 0
			err := d.Write(t.Context(), func(tx *db.Tx) error {
				tries++
				tx.AfterCommit(func() { told++ })
				if _, err := tx.ExecContext(t.Context(), `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ`); err != nil {
					return err
				}
				var n int
				if err := tx.QueryRowContext(t.Context(), `SELECT n FROM scratch WHERE id = 1`).Scan(&n); err != nil {
					return err
				}
				if tries <= tt.disturbed {
					write(t, d, `UPDATE scratch SET n = n + 10 WHERE id = 1`)
				}
				_, err := tx.ExecContext(t.Context(), `UPDATE scratch SET n = n + 1 WHERE id = 1`)
				return err
			})
			if (err != nil) != tt.wantErr || err != nil && !db.IsUnavailable(err) {
				t.Errorf("Write answers %v", err)
			}
			if commits := map[bool]int{true: 0, false: 1}[tt.wantErr]; tries != tt.tries || told != commits {
				t.Errorf("%d tries and %d commits told, want %d and %d", tries, told, tt.tries, commits)
			}
		})
	}
}

func TestOtherErrorsAreNotTriedAgain(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		tries := 0
		err := d.Write(t.Context(), func(tx *db.Tx) error { tries++; return errRefused })
		if !errors.Is(err, errRefused) || tries != 1 {
			t.Errorf("%d tries, %v", tries, err)
		}
	})
}

func TestManyWritersTakeTurns(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		scratch(t, d)
		write(t, d, `INSERT INTO scratch (id, n) VALUES (1, 0)`)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				err := d.Write(t.Context(), func(tx *db.Tx) error {
					var n int // read, then write: only a lock makes that safe
					const read = `UPDATE scratch SET n = n WHERE id = 1 RETURNING n`
					if err := tx.QueryRowContext(t.Context(), read).Scan(&n); err != nil {
						return err
					}
					_, err := tx.ExecContext(t.Context(), `UPDATE scratch SET n = $1 WHERE id = 1`, n+1)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := count(t, d, `SELECT n FROM scratch`); n != 20 {
			t.Errorf("n = %d, want 20", n)
		}
	})
}

func TestAWriterThatWaitsTooLongIsToldThatTheDatabaseIsBusy(t *testing.T) {
	d := dbtest.SQLite(t)
	err := d.Write(t.Context(), func(*db.Tx) error {
		short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		return d.Write(short, func(*db.Tx) error { return nil })
	})
	if !db.IsUnavailable(err) {
		t.Errorf("got %v, want one that IsUnavailable", err)
	}
}
