package user

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// LockAny is Lock for accounts that are deleted, too.
func LockAny(ctx context.Context, tx *db.Tx, id uuid.UUID) (u User, deleted, found bool, err error) {
	query := `SELECT ` + Columns + `, u.deleted_at IS NOT NULL FROM users u WHERE u.id = $1`
	if tx.Engine() == db.Postgres {
		query = `SELECT ` + Columns + `, u.deleted_at IS NOT NULL FROM users u WHERE u.id = $1 FOR NO KEY UPDATE`
	}
	err = tx.QueryRowContext(ctx, query, id).Scan(append(u.Targets(), &deleted)...)
	return u, deleted, err == nil, noRows(err)
}

// StillAdmin refuses whoever acts as an admin and is none any more: somebody
// was faster, and LastAdmin has waited for it. uuid.Nil, the command line,
// passes. Fault: insufficient_role.
func StillAdmin(ctx context.Context, tx *db.Tx, id uuid.UUID) (err error) {
	defer fault.Wrap(&err, "user.StillAdmin")
	if id == uuid.Nil {
		return nil
	}
	var n int
	err = tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM users WHERE id = $1 AND role = 'admin' AND is_active AND deleted_at IS NULL`, id).Scan(&n)
	if err == nil && n == 0 {
		return fault.New(fault.InsufficientRole)
	}
	return err
}

// SetRole gives an account another role and raises the epoch. It reports false
// if it has that role.
func (a *Accounts) SetRole(ctx context.Context, tx *db.Tx, now time.Time, id uuid.UUID, role string) (changed bool, err error) {
	defer fault.Wrap(&err, "user.SetRole")
	return a.raised(ctx, tx, now, id, tx.QueryRowContext(ctx, `
		UPDATE users SET role = $1, epoch = epoch + 1, updated_at = $2
		WHERE id = $3 AND role <> $4 AND deleted_at IS NULL RETURNING epoch`, role, now, id, role))
}

// SetActive lets an account in or keeps it out, and raises the epoch. It
// reports false if nothing changed.
func (a *Accounts) SetActive(ctx context.Context, tx *db.Tx, now time.Time, id uuid.UUID, on bool) (changed bool, err error) {
	defer fault.Wrap(&err, "user.SetActive")
	return a.raised(ctx, tx, now, id, tx.QueryRowContext(ctx, `
		UPDATE users SET is_active = $1, epoch = epoch + 1, updated_at = $2
		WHERE id = $3 AND is_active <> $4 AND deleted_at IS NULL RETURNING epoch`, on, now, id, on))
}

// Delete ends an account. Its row keeps the address, so that nobody else gets
// it until the account is erased. It reports false if it is not live.
func (a *Accounts) Delete(ctx context.Context, tx *db.Tx, now time.Time, id uuid.UUID) (changed bool, err error) {
	defer fault.Wrap(&err, "user.Delete")
	return a.raised(ctx, tx, now, id, tx.QueryRowContext(ctx, `
		UPDATE users SET is_active = FALSE, epoch = epoch + 1, updated_at = $1, deleted_at = $2
		WHERE id = $3 AND deleted_at IS NULL RETURNING epoch`, now, now, id))
}

// Row is a live account as operators see it.
type Row struct {
	User
	Created, Updated time.Time
}

func scanRow(scan func(...any) error) (r Row, err error) {
	err = scan(append(r.Targets(), &r.Created, &r.Updated)...)
	r.Created, r.Updated = r.Created.UTC(), r.Updated.UTC()
	return r, err
}

const rowColumns = Columns + `, u.created_at, u.updated_at`

// Read returns a live account with its times.
func Read(ctx context.Context, c db.Conn, id uuid.UUID) (r Row, found bool, err error) {
	r, err = scanRow(c.QueryRowContext(ctx, `SELECT `+rowColumns+` FROM users u WHERE u.id = $1 AND u.deleted_at IS NULL`, id).Scan)
	return r, err == nil, noRows(err)
}

// ReadAll returns those of some accounts that are live, in no order.
func ReadAll(ctx context.Context, c db.Conn, ids []uuid.UUID) (list []Row, err error) {
	defer fault.Wrap(&err, "user.ReadAll")
	if len(ids) == 0 {
		return nil, nil
	}
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = id
	}
	return readRows(c.QueryContext(ctx, `SELECT `+rowColumns+` FROM users u WHERE u.id IN (`+db.Values(len(ids), 1)+`) AND u.deleted_at IS NULL`, args...))
}

func readRows(rows *sql.Rows, err error) (list []Row, _ error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		r, err := scanRow(rows.Scan)
		if err != nil {
			return nil, fmt.Errorf("accounts: %w", err)
		}
		list = append(list, r)
	}
	return list, rows.Err()
}
