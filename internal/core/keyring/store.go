package keyring

import (
	"context"
	"crypto"
	"crypto/x509"
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
	sealed    []byte
	jwk       string
}

// list returns the keys that verify, by key id.
func list(ctx context.Context, c db.Conn) ([]row, error) {
	rows, err := c.QueryContext(ctx, `
		SELECT id, kid, algorithm, status, private_sealed, public_jwk FROM signing_keys
		WHERE status IN ('next', 'active', 'retiring') ORDER BY kid`)
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	defer rows.Close()
	var keys []row
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.id, &r.kid, &r.algorithm, &r.status, &r.sealed, &r.jwk); err != nil {
			return nil, fmt.Errorf("keyring: %w", err)
		}
		keys = append(keys, r)
	}
	return keys, rows.Err()
}

// insert adds a key unless another one has its place already.
func insert(ctx context.Context, tx *db.Tx, now time.Time, r row) (created bool, err error) {
	done, err := tx.ExecContext(ctx, `
		INSERT INTO signing_keys (id, kid, algorithm, status, private_sealed, public_jwk, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`,
		r.id, r.kid, r.algorithm, r.status, r.sealed, r.jwk, now)
	if err != nil {
		return false, err
	}
	n, err := done.RowsAffected()
	return n == 1, err
}

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
