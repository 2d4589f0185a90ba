package erasure_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/method/otp"
)

// Anybody can name an address as the next one of a throw-away account.
func TestAnErasureTouchesNobodyWhoseAddressWasOnlyNamed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		const victim, formerly = "victim@example.com", "victim-formerly@example.com"
		w := newWorld(t, d)
		v, _ := w.person(t, victim, user.RoleUser)
		u, id := w.person(t, address, user.RoleUser)
		place, err := w.Risk.Look(w.ctx, v.ID)
		noError(t, err)
		w.write(t, func(tx *db.Tx) error {
			now := w.Clock.Now()
			if _, err := w.Risk.Charge(w.ctx, tx, now, victim, place); err != nil {
				return err
			}
			for _, email := range []string{victim, formerly} {
				if err := w.Jobs.Enqueue(w.ctx, tx, otp.CodeMail, map[string]string{"email": email}); err != nil {
					return err
				}
				if _, err := tx.ExecContext(w.ctx, `INSERT INTO email_changes (id, user_id, old_email, new_email, issued_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)`,
					uuid.New(), u.ID, address, email, now, now); err != nil {
					return err
				}
			}
			_, err := tx.ExecContext(w.ctx, `INSERT INTO email_changes (id, user_id, old_email, new_email, issued_at, expires_at, undo_until) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
				uuid.New(), v.ID, formerly, victim, now, now, now.Add(time.Hour))
			return err
		})

		noError(t, w.erase(t, id))

		if n := w.count(t, `lockouts`); n != 2 {
			t.Errorf("%d counts of failures at the other's address are left, want 2", n)
		}
		if n := w.count(t, `river_job WHERE kind = $1`, otp.CodeMail); n != 2 {
			t.Errorf("%d mails to the other's addresses wait, want 2", n)
		}
	})
}
