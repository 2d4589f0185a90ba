package otp

import (
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

// More accounts than a batch has, and of each kind the ones that still count.
func TestCountsThatHaveBegunAnewAreForgotten(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		now := w.Clock.Now()
		const many = 1_203
		id := `substr('00000000-0000-7000-8000-', 1, 24) || printf('%012d', i)`
		if d.Engine() == db.Postgres {
			id = `CAST('00000000-0000-7000-8000-' || lpad(CAST(i AS TEXT), 12, '0') AS UUID)`
		}
		series := `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1203) `
		w.write(func(tx *db.Tx) error {
			if _, err := tx.ExecContext(t.Context(), series+`INSERT INTO users (id, email, email_key, role, is_active, email_verified, email_otp_enabled, epoch, created_at, updated_at)
				SELECT `+id+`, 'u' || i, 'u' || i, 'user', TRUE, TRUE, FALSE, 0, $1, $1 FROM n`, now); err != nil {
				return err
			}
			_, err := tx.ExecContext(t.Context(), series+`INSERT INTO otp_budgets (user_id, context, failures, mails, resets_at)
				SELECT `+id+`, 'login', 1, 1, $1 FROM n`, now.Add(-time.Second))
			return err
		})
		w.write(func(tx *db.Tx) error {
			for query, at := range map[string]time.Time{
				`UPDATE otp_budgets SET resets_at = $1 WHERE user_id IN (SELECT id FROM users WHERE email IN ('u1', 'u1100'))`:     now.Add(time.Second),
				`UPDATE otp_budgets SET blocked_until = $1 WHERE user_id IN (SELECT id FROM users WHERE email IN ('u2', 'u1203'))`: now.Add(time.Second),
				`UPDATE otp_budgets SET blocked_until = $1 WHERE user_id IN (SELECT id FROM users WHERE email IN ('u3', 'u1000'))`: now,
			} {
				if _, err := tx.ExecContext(t.Context(), query, at); err != nil {
					return err
				}
			}
			return nil
		})
		if n := w.count(`SELECT COUNT(*) FROM otp_budgets`); n != many {
			t.Fatalf("%d counts", n)
		}
		for _, step := range []struct {
			after time.Duration
			want  int
		}{{0, 4}, {0, 4}, {time.Second, 0}} {
			w.Clock.Advance(step.after)
			if err := PruneBudgets(t.Context(), d, w.Clock.Now()); err != nil {
				t.Fatal(err)
			}
			if n := w.count(`SELECT COUNT(*) FROM otp_budgets`); n != step.want {
				t.Errorf("%d counts are left, want %d", n, step.want)
			}
		}
	})
}
