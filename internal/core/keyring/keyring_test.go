package keyring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var sealing = secret.NewRing("signing keys", "the encryption key of the tests")

func load(t *testing.T, d *db.DB, seal *secret.Ring, o Options) (*Keyring, error) {
	t.Helper()
	return Load(t.Context(), d, seal, clock.Set(noon), dbtest.Log, o)
}

func mustLoad(t *testing.T, d *db.DB, o Options) *Keyring {
	t.Helper()
	k, err := load(t, d, sealing, o)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// add puts a new key into the database, as a rotation on another replica does.
func add(t *testing.T, d *db.DB, algorithm, status string) (kid string) {
	t.Helper()
	signer, err := generate(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	key := Key{KID: uuid.NewString(), Algorithm: algorithm, Public: signer.Public()}
	jwk, err := json.Marshal(key.JWK())
	if err != nil {
		t.Fatal(err)
	}
	change(t, d, `INSERT INTO signing_keys (id, kid, algorithm, status, private_sealed, public_jwk, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		uuid.New(), key.KID, algorithm, status, []byte("sealed"), string(jwk), noon)
	return key.KID
}

func change(t *testing.T, d *db.DB, statement string, args ...any) {
	t.Helper()
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		_, err := tx.ExecContext(t.Context(), statement, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, d *db.DB, query string, args ...any) (n int) {
	t.Helper()
	if err := d.Read().QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestReplicasThatStartAtOnceAgreeOnTheFirstKey(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		kids := make([]string, 10)
		start := make(chan struct{})
		var starting sync.WaitGroup
		for i := range kids {
			starting.Go(func() {
				<-start
				k, err := load(t, d, sealing, Options{Algorithm: ES256})
				if err != nil {
					t.Error(err)
					return
				}
				kids[i] = k.Active().KID
			})
		}
		close(start)
		starting.Wait()
		if slices.Sort(kids); kids[0] == "" || kids[0] != kids[len(kids)-1] {
			t.Errorf("they sign with %v", kids)
		}
		if n := count(t, d, `SELECT COUNT(*) FROM signing_keys`); n != 2 {
			t.Errorf("%d keys were stored, want an active and a next one", n)
		}
		if n := count(t, d, `SELECT COUNT(*) FROM audit_events WHERE event_type = 'signing_key.created'`); n != 2 {
			t.Errorf("%d keys were reported", n)
		}
		if again := mustLoad(t, d, Options{Algorithm: RS256}).Active().KID; again != kids[0] {
			t.Errorf("after a restart the key is %s, not %s", again, kids[0])
		}
	})
}

func TestWhichEncryptionKeysOpenTheSigningKey(t *testing.T) {
	const current = "the encryption key of the tests"
	rows := []struct {
		name  string
		seal  *secret.Ring
		opens bool
	}{
		{"the one that sealed it", sealing, true},
		{"a new one that keeps it as the previous one", secret.NewRing("signing keys", "new", current), true},
		{"a new one that does not", secret.NewRing("signing keys", "new"), false},
		{"one that only lists others", secret.NewRing("signing keys", "new", "newer"), false},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		first := mustLoad(t, d, Options{Algorithm: ES256})
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				k, err := load(t, d, row.seal, Options{Algorithm: ES256})
				if row.opens {
					if err != nil || k.Active().KID != first.Active().KID {
						t.Error(err)
					}
					return
				}
				if !errors.Is(err, secret.ErrUnknownKey) || !strings.Contains(fmt.Sprint(err), "SIGNING_KEYS__ENCRYPTION_KEY") {
					t.Errorf("%v, want an error that says which setting is wrong", err)
				}
			})
		}
		change(t, d, `UPDATE signing_keys SET id = $1 WHERE status = 'active'`, uuid.New())
		if _, err := load(t, d, sealing, Options{Algorithm: ES256}); err == nil {
			t.Error("a sealed key that was moved to another row opens")
		}
		if n := count(t, d, `SELECT COUNT(*) FROM signing_keys`); n != 2 {
			t.Errorf("%d keys: one that does not open was replaced", n)
		}
	})
}

func TestThePrivateHalfIsSealedAtRest(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		k := mustLoad(t, d, Options{Algorithm: RS256, PrivatePEM: rsaPEM(t)})
		var sealed []byte
		var jwk string
		err := d.Read().QueryRowContext(t.Context(), `SELECT private_sealed, public_jwk FROM signing_keys WHERE status = 'active'`).Scan(&sealed, &jwk)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range privateParts(t, k.Active().Private) {
			if strings.Contains(string(sealed), string(part)) {
				t.Error("the sealed key holds a part of the private key")
			}
		}
		if members := membersOf(t, []byte(jwk)); len(members.private()) > 0 {
			t.Errorf("the public half is stored with %v", members.private())
		}
	})
}

func TestAnUnknownKeyIDReloads(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		k := mustLoad(t, d, Options{Algorithm: ES256})
		made := add(t, d, RS256, Retiring)
		k.asked = time.Time{}
		if key, found, err := k.Find(t.Context(), made); !found || err != nil || key.Algorithm != RS256 || key.Status != Retiring {
			t.Fatalf("the key made elsewhere: %+v, %t, %v", key, found, err)
		}
		last := add(t, d, EdDSA, Retiring)
		k.asked = time.Time{}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, found, err := k.Find(gone, last); !found || err != nil {
			t.Errorf("asked by a caller who has hung up: %t, %v", found, err)
		}
		k.asked = time.Time{}
		if _, found, err := k.Find(t.Context(), "made up"); found || err != nil {
			t.Errorf("a key id that nobody has: %t, %v", found, err)
		}
	})
}

func TestAFloodOfUnknownKeyIDsReloadsSeldom(t *testing.T) {
	d := dbtest.SQLite(t)
	k := mustLoad(t, d, Options{Algorithm: ES256})
	made := add(t, d, EdDSA, Retiring)
	k.asked = time.Now().Add(time.Hour) // the cool-down does not end
	if _, found, err := k.Find(t.Context(), made); found || err != nil {
		t.Errorf("read in the cool-down: %t, %v", found, err)
	}
	if _, found, err := k.Find(t.Context(), k.Active().KID); !found || err != nil {
		t.Errorf("a known key meanwhile: %t, %v", found, err)
	}
}

func TestInAnOutageKnownKeysStayAndUnknownOnesAreNotCalledBad(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		k := mustLoad(t, d, Options{Algorithm: ES256})
		active := k.Active().KID
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second falls into the cool-down of the first
			if _, _, err := k.Find(t.Context(), "unknown"); err == nil {
				t.Error("an unknown key id is called bad though nobody could look")
			}
		}
		if err := k.Reload(t.Context()); err == nil {
			t.Error("a reload without a database succeeded")
		}
		if _, found, err := k.Find(t.Context(), active); !found || err != nil || k.Active().KID != active {
			t.Errorf("the known key: %t, %v", found, err)
		}
	})
}

func TestWhichKeysVerify(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		k := mustLoad(t, d, Options{Algorithm: ES256})
		all := kids(t, d, "next", "active")
		for _, status := range []string{"retiring", "retired", "revoked"} {
			kid := add(t, d, ES256, status)
			if status == "retiring" {
				all = append(all, kid)
			}
			k.tried = time.Time{}
			if _, found, err := k.Find(t.Context(), kid); found != slices.Contains(all, kid) || err != nil {
				t.Errorf("a key that is %s verifies: %t, %v", status, found, err)
			}
		}
		for _, kid := range all {
			if _, found, err := k.Find(t.Context(), kid); !found || err != nil {
				t.Errorf("a published key: %t, %v", found, err)
			}
		}
		body, _ := k.JWKS()
		slices.Sort(all)
		if diff := cmp.Diff(all, membersOf(t, body).kids); diff != "" {
			t.Errorf("published are others, or in another order: %s", diff)
		}
		if h, err := Examine(t.Context(), d, sealing, k.clock); h.Published != len(all) || !h.HasNext || err != nil {
			t.Errorf("Examine says %+v, %v", h, err)
		}

		kept := k.Active().KID
		change(t, d, `UPDATE signing_keys SET status = 'retired' WHERE status = 'active'`)
		if err := k.Reload(t.Context()); err == nil {
			t.Error("a set without an active key was taken")
		}
		if k.Active().KID != kept {
			t.Error("the keys in memory were dropped for a set that cannot sign")
		}
	})
}

// kids returns the ids of the keys in some states, in the order of the states.
func kids(t *testing.T, d *db.DB, states ...string) (list []string) {
	t.Helper()
	all, err := newest(t.Context(), d.Read())
	if err != nil {
		t.Fatal(err)
	}
	for _, status := range states {
		for _, r := range all {
			if r.status == status {
				list = append(list, r.kid)
			}
		}
	}
	return list
}

func TestTheEntityTagChangesWithTheSet(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		k := mustLoad(t, d, Options{Algorithm: ES256})
		seen := map[string]string{}
		look := func(name string, isNew bool) {
			t.Helper()
			if err := k.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			body, tag := k.JWKS()
			if len(tag) < 3 || tag[0] != '"' || tag[len(tag)-1] != '"' {
				t.Errorf("%s is not an entity tag", tag)
			}
			if old, known := seen[tag]; known == isNew || known && old != string(body) {
				t.Errorf("%s: tag %s known %t", name, tag, known)
			}
			seen[tag] = string(body)
		}
		look("the first set", true)
		look("the same set", false)
		kid := add(t, d, ES256, "retiring")
		look("with a new key", true)
		look("the same set once more", false)
		other := mustLoad(t, d, Options{Algorithm: ES256})
		if _, tag := other.JWKS(); seen[tag] == "" {
			t.Error("two replicas tag one set differently")
		}
		change(t, d, `UPDATE signing_keys SET status = 'retired' WHERE kid = $1`, kid)
		look("without it", false) // the first set again
	})
}
