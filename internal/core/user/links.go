package user

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
)

// EndLinks ends every link that was mailed for an account and not used: its
// password or its mailbox is no longer what they were mailed for. What can be
// undone stays so.
func EndLinks(ctx context.Context, tx *db.Tx, now time.Time, id uuid.UUID) error {
	if _, err := tx.ExecContext(ctx, `UPDATE email_tokens SET used_at = $1 WHERE user_id = $2 AND used_at IS NULL`, now, id); err != nil {
		return fmt.Errorf("user.EndLinks: %w", err)
	}
	return DropEmailChange(ctx, tx, id)
}

// DropEmailChange forgets a change of address that nobody has confirmed.
func DropEmailChange(ctx context.Context, tx *db.Tx, id uuid.UUID) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM email_changes WHERE user_id = $1 AND confirmed_at IS NULL`, id); err != nil {
		return fmt.Errorf("user.DropEmailChange: %w", err)
	}
	return nil
}
