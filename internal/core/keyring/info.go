package keyring

import (
	"context"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

// Info is what operators see of a key. Times that have not come are zero.
type Info struct {
	KID       string
	Algorithm string
	Status    string
	Created   time.Time
	Published time.Time
	Activated time.Time
	Retires   time.Time
	Retired   time.Time
}

// Keys lists the keys of all states, newest first, at most 200.
func (k *Keyring) Keys(ctx context.Context) (list []Info, err error) {
	defer fault.Wrap(&err, "keyring.Keys")
	keys, err := newest(ctx, k.db.Read())
	for _, r := range keys {
		if r.published.IsZero() {
			r.published = r.created
		}
		list = append(list, Info{r.kid, r.algorithm, r.status, r.created, r.published, r.activated, r.retires, r.retired})
	}
	return list, err
}

// Health is what an examination found.
type Health struct {
	Published int           // keys in the JWKS
	HasNext   bool          // a next key is there, and opens
	OldSeals  int           // keys that an older encryption key sealed
	Overdue   time.Duration // how long ago the time of a key ended that is not retired
	Age       time.Duration // for which the active key has signed
}

// Examine opens the keys that can sign and looks at their times; it changes
// nothing.
func Examine(ctx context.Context, d *db.DB, seal *secret.Ring, c *clock.Clock) (h Health, err error) {
	k := &Keyring{db: d, seal: seal, clock: c}
	keys, err := published(ctx, d.Read())
	if err != nil || len(keys) == 0 {
		return h, err
	}
	if err := k.Reload(ctx); err != nil {
		return h, err
	}
	h = Health{Published: len(keys), HasNext: k.usable(only(keys, Next)), Age: c.Now().Sub(only(keys, Active).since())}
	for _, r := range keys {
		if isOld(seal, r) {
			h.OldSeals++
		}
		if r.status == Retiring {
			h.Overdue = max(h.Overdue, c.Now().Sub(r.retires))
		}
	}
	return h, nil
}
