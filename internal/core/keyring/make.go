package keyring

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// makeFirst makes the first two keys of an empty database.
func (k *Keyring) makeFirst(ctx context.Context) error {
	first, err := k.first()
	if err != nil {
		return err
	}
	next, err := k.make(k.o.Algorithm)
	if err != nil {
		return err
	}
	return k.db.Write(ctx, func(tx *db.Tx) error {
		now := k.clock.Now()
		first.status, first.created, first.activated = Active, now, now
		next.status, next.created = Next, now
		created, err := insert(ctx, tx, first)
		if err != nil || !created {
			return err
		}
		if _, err := insert(ctx, tx, next); err != nil {
			return err
		}
		return audit.Record(ctx, tx, now, creation(first, k.o.PrivatePEM != ""), creation(next, false))
	})
}

// first is the key that the settings name, or a new one.
func (k *Keyring) first() (row, error) {
	if k.o.PrivatePEM == "" {
		return k.make(k.o.Algorithm)
	}
	signer, err := parsePEM(k.o.PrivatePEM)
	if err != nil {
		return row{}, err
	}
	return k.keep(signer, k.o.PublicPEM)
}

// make makes a key, outside any transaction: RSA takes a while.
func (k *Keyring) make(algorithm string) (row, error) {
	signer, err := generate(algorithm)
	if err != nil {
		return row{}, err
	}
	return k.keep(signer, "")
}

// keep seals a key. What its row lacks is the state and the times.
func (k *Keyring) keep(signer crypto.Signer, public string) (r row, err error) {
	if public == "" {
		if public, err = publicPEM(signer.Public()); err != nil {
			return r, err
		}
	}
	r = row{id: uuid.Must(uuid.NewV7()), kid: kid(public)}
	if r.algorithm, err = algorithmOf(signer.Public()); err != nil {
		return r, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return r, err
	}
	jwk, err := json.Marshal((&Key{KID: r.kid, Algorithm: r.algorithm, Public: signer.Public()}).JWK())
	if err != nil {
		return r, fmt.Errorf("keyring: %w", err)
	}
	r.sealed, r.jwk = k.seal.Seal(der, r.id.String()), string(jwk)
	return r, nil
}

func creation(r row, imported bool) audit.Event {
	event := system.Event(audit.SigningKeyCreated)
	event.Metadata = map[string]any{"kid": r.kid, "algorithm": r.algorithm, "imported": imported}
	return event
}
