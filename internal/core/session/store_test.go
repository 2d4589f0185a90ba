package session

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
)

// The WHERE clause is the whole rule: whoever decided from an older state, or
// for a session that has ended since, moves nothing.
func TestWhoMovesTheRefreshState(t *testing.T) {
	read := rotation{generation: 4, branch: 2, previous: 1, at: noon}
	rows := []struct {
		name   string
		change func(w *world, s *Session) // since it was read
		moved  bool
	}{
		{"who comes first", func(*world, *Session) {}, true},
		{"who read it before it was rotated", func(w *world, s *Session) {
			w.change(`UPDATE sessions SET generation = 5 WHERE id = $1`, s.ID)
		}, false},
		{"who read it before it was retried", func(w *world, s *Session) {
			w.change(`UPDATE sessions SET branch = 3 WHERE id = $1`, s.ID)
		}, false},
		{"who read it before it ended", func(w *world, s *Session) {
			w.change(`UPDATE sessions SET revoked_at = $1 WHERE id = $2`, noon, s.ID)
		}, false},
		{"who means another session", func(_ *world, s *Session) { s.ID = uuid.New() }, false},
	}
	each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				w := newWorld(t, d)
				started, _, err := w.Begin(w.jo, Start{Provider: "password"})
				if err != nil {
					t.Fatal(err)
				}
				started.rotation = read
				w.write(func(tx *db.Tx) error { return saved(w.Save(t.Context(), tx, started, w.jo)) })
				stored := started.ID
				row.change(w, &started)
				later := noon.Add(time.Hour)
				next := rotation{generation: 5, branch: 0, previous: 2, at: later}
				var moved bool
				w.write(func(tx *db.Tx) (err error) {
					moved, err = advance(t.Context(), tx, started.ID, read, next, later, later)
					return err
				})
				got, _, _, err := load(t.Context(), d.Read(), stored)
				if err != nil {
					t.Fatal(err)
				}
				if moved != row.moved || (got.rotation == next) != row.moved {
					t.Errorf("told %t, stored %+v, want moved %t", moved, got.rotation, row.moved)
				}
			})
		}
	})
}
