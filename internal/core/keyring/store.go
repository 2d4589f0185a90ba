package keyring

import (
	"context"
	"crypto"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
)

type row struct {
	id        uuid.UUID
	kid       string
	algorithm string
	status    string
	sealed    []byte // empty once it can sign no more
	jwk       string
	created   time.Time
	published time.Time // zero: since the first JWKS
	activated time.Time // zero: not yet
	retires   time.Time // zero: not known yet
	retired   time.Time // zero: not yet
}

const columns = `id, kid, algorithm, status, private_sealed, public_jwk, created_at, published_at, activated_at, retires_at, retired_at`

func scan(from func(...any) error) (r row, err error) {
	var published, activated, retires, retired sql.NullTime
	err = from(&r.id, &r.kid, &r.algorithm, &r.status, &r.sealed, &r.jwk, &r.created, &published, &activated, &retires, &retired)
	r.created = r.created.UTC()
	for _, t := range []struct {
		from sql.NullTime
		to   *time.Time
	}{{published, &r.published}, {activated, &r.activated}, {retires, &r.retires}, {retired, &r.retired}} {
		if t.from.Valid {
			*t.to = t.from.Time.UTC()
		}
	}
	return r, err
}

func scanAll(rows *sql.Rows, err error) (list []row, _ error) {
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		r, err := scan(rows.Scan)
		if err != nil {
			return nil, fmt.Errorf("keyring: %w", err)
		}
		list = append(list, r)
	}
	return list, rows.Err()
}

// published returns the keys that are in the JWKS, by key id.
func published(ctx context.Context, c db.Conn) ([]row, error) {
	return scanAll(c.QueryContext(ctx, `
		SELECT `+columns+` FROM signing_keys
		WHERE status IN ('next', 'active', 'retiring') ORDER BY kid`))
}

// newest returns the keys of all states.
func newest(ctx context.Context, c db.Conn) ([]row, error) {
	return scanAll(c.QueryContext(ctx, `SELECT `+columns+` FROM signing_keys ORDER BY created_at DESC, id DESC LIMIT 200`))
}

func find(ctx context.Context, c db.Conn, kid string) (r row, found bool, err error) {
	r, err = scan(c.QueryRowContext(ctx, `SELECT `+columns+` FROM signing_keys WHERE kid = $1`, kid).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return r, false, nil
	}
	return r, err == nil, err
}

// only returns the one key in a state that no two can be in, nil if none is.
func only(keys []row, status string) *row {
	for i := range keys {
		if keys[i].status == status {
			return &keys[i]
		}
	}
	return nil
}

// lock has changes of the keys take turns. SQLite has one writer anyway.
func lock(ctx context.Context, tx *db.Tx) error {
	if tx.Engine() != db.Postgres {
		return nil
	}
	_, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtext('signing keys'))`)
	return err
}

// insert adds a key unless another one has its place already.
func insert(ctx context.Context, tx *db.Tx, r row) (created bool, err error) {
	done, err := tx.ExecContext(ctx, `
		INSERT INTO signing_keys (id, kid, algorithm, status, private_sealed, public_jwk, created_at, published_at, activated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING`,
		r.id, r.kid, r.algorithm, r.status, r.sealed, r.jwk, r.created, orNull(r.published), orNull(r.activated))
	if err != nil {
		return false, err
	}
	n, err := done.RowsAffected()
	return n == 1, err
}

func activate(ctx context.Context, tx *db.Tx, now time.Time, id uuid.UUID) error {
	_, err := tx.ExecContext(ctx, `UPDATE signing_keys SET status = 'active', activated_at = $1 WHERE id = $2`, now, id)
	return err
}

func beginRetiring(ctx context.Context, tx *db.Tx, id uuid.UUID, until time.Time) error {
	_, err := tx.ExecContext(ctx, `UPDATE signing_keys SET status = 'retiring', retires_at = $1 WHERE id = $2`, until, id)
	return err
}

// noKey stands where the private half was.
var noKey = []byte{}

// retire puts the keys out of use whose time is over.
func retire(ctx context.Context, tx *db.Tx, now time.Time) (kids []string, err error) {
	rows, err := tx.QueryContext(ctx, `
		UPDATE signing_keys SET status = 'retired', retired_at = $1, private_sealed = $2
		WHERE status = 'retiring' AND retires_at <= $3 RETURNING kid`, now, noKey, now)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var kid string
		if err := rows.Scan(&kid); err != nil {
			return nil, err
		}
		kids = append(kids, kid)
	}
	return kids, rows.Err()
}

func revoke(ctx context.Context, tx *db.Tx, now time.Time, id uuid.UUID) error {
	_, err := tx.ExecContext(ctx, `
		UPDATE signing_keys SET status = 'revoked', retired_at = COALESCE(retired_at, $1), private_sealed = $2 WHERE id = $3`, now, noKey, id)
	return err
}

// remove takes away a key that has never signed.
func remove(ctx context.Context, tx *db.Tx, id uuid.UUID) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM signing_keys WHERE id = $1 AND status = 'next'`, id)
	return err
}

// replaceSeal stores what was sealed anew, unless the row has changed since.
func replaceSeal(ctx context.Context, tx *db.Tx, r row, sealed []byte) error {
	_, err := tx.ExecContext(ctx, `UPDATE signing_keys SET private_sealed = $1 WHERE id = $2 AND private_sealed = $3`, sealed, r.id, r.sealed)
	return err
}

// PurgeRetired deletes the keys that went out of use before a time.
func PurgeRetired(ctx context.Context, tx *db.Tx, before time.Time) (int, error) {
	done, err := tx.ExecContext(ctx, `DELETE FROM signing_keys WHERE status IN ('retired', 'revoked') AND retired_at < $1`, before)
	if err != nil {
		return 0, fmt.Errorf("keyring.PurgeRetired: %w", err)
	}
	n, err := done.RowsAffected()
	return int(n), err
}

// CountRetired counts what PurgeRetired would delete.
func CountRetired(ctx context.Context, c db.Conn, before time.Time) (n int, err error) {
	err = c.QueryRowContext(ctx, `SELECT COUNT(*) FROM signing_keys WHERE status IN ('retired', 'revoked') AND retired_at < $1`, before).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("keyring.CountRetired: %w", err)
	}
	return n, nil
}

func orNull(t time.Time) sql.NullTime { return sql.NullTime{Time: t, Valid: !t.IsZero()} }

func (k *Keyring) open(r row) (crypto.Signer, error) {
	der, err := k.seal.Open(r.sealed, r.id.String())
	if err != nil {
		return nil, fmt.Errorf("keyring: the signing key cannot be opened with SIGNING_KEYS__ENCRYPTION_KEY: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("keyring: key %s: %w", r.kid, err)
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("keyring: key %s cannot sign", r.kid)
	}
	return signer, nil
}
