package token_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/core/token"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

// Whatever a revoked key has signed is refused, also where its signature was
// found good before.
func TestTokensOfEachKindAskWhetherTheirKeyIsRevoked(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := clock.Set(noon)
		replica := func() (*token.Issuer, *revocation.Feed) {
			feed, err := revocation.NewFeed(t.Context(), d, c, dbtest.Log)
			if err != nil {
				t.Fatal(err)
			}
			keys, err := keyring.Load(t.Context(), d, secret.NewRing("signing keys", "test"), c, dbtest.Log, keyring.Options{Algorithm: keyring.EdDSA, Feed: feed})
			if err != nil {
				t.Fatal(err)
			}
			return token.NewIssuer(keys, c, "https://auth.example.com", "auth-service", lifetime), feed
		}
		a, _ := replica()
		b, feed := replica()
		id, expires := uuid.Must(uuid.NewV7()), noon.Add(time.Minute)
		sign := func(raw string, err error) string {
			if err != nil {
				t.Fatal(err)
			}
			return raw
		}
		access, challenge := sign(a.Access(jo())), sign(a.Challenge(id, id, nil, expires))
		action := sign(a.Action(token.Once{ID: id.String(), Subject: id.String(), Audience: token.Audience{"auth-service"}}, expires))
		machine := sign(a.Machine(token.MachineClaims{ClientID: "robot"}, time.Hour))
		ways := map[string]func() error{
			"access":  func() error { _, err := b.Verify(t.Context(), access); return err },
			"machine": func() error { _, err := b.VerifyMachine(t.Context(), machine); return err },
			"challenge": func() error {
				_, _, _, err := b.VerifyOnce(t.Context(), token.TypeChallenge, challenge)
				return err
			},
			"action": func() error {
				_, _, _, err := b.VerifyOnce(t.Context(), token.TypeAction, action)
				return err
			},
		}
		for kind, verify := range ways {
			if err := verify(); err != nil {
				t.Errorf("%s, before: %v", kind, err)
			}
		}
		if _, err := a.Keys.Revoke(t.Context(), audit.By{Type: "system"}, a.Keys.Active().KID); err != nil {
			t.Fatal(err)
		}
		if err := feed.Read(t.Context()); err != nil { // and not the keys
			t.Fatal(err)
		}
		for kind, verify := range ways {
			if err := verify(); !fault.Has(err, fault.InvalidToken) {
				t.Errorf("%s, after: %v", kind, err)
			}
		}
		if err := func() error { _, err := a.Verify(t.Context(), sign(b.Access(jo()))); return err }(); err != nil {
			t.Errorf("what B signs now: %v", err)
		}
	})
}
