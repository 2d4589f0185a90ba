package e2e

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/authsdk/authsdk/e2e/authapi"
)

// Two replicas under load while keys are rotated, in turn at one, at the other
// and by command: no valid token is refused by anybody. Then the key that signs
// is revoked.
func TestRotationsUnderLoadRefuseNobody(t *testing.T) {
	t.Parallel()
	rotations := 3
	if soak {
		rotations = 20
	}
	s := postgresStore(t)
	a, b := replicas(t, s)
	admin := a.admin()
	email := a.account()
	done := make(chan struct{})
	var mu sync.Mutex
	var valid []string // every access token that was handed out
	checks := 0
	var load sync.WaitGroup
	for i := range 4 {
		load.Go(func() {
			at, other := a, b
			if i%2 == 1 {
				at, other = b, a
			}
			tokens, err := at.Login(t.Context(), email, password, "")
			if err != nil {
				t.Error(err)
				return
			}
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				if tokens, err = at.Refresh(t.Context(), tokens.Refresh); err != nil {
					t.Errorf("a refresh: %v", err)
					return
				}
				mu.Lock()
				valid = append(valid, tokens.Access)
				pick := []string{tokens.Access, valid[0], valid[len(valid)*(n%7)/7]}
				checks += len(pick)
				mu.Unlock()
				for _, access := range pick {
					if _, err := other.Validate(t.Context(), access); err != nil {
						t.Errorf("a valid token is refused: %v", err)
						return
					}
				}
			}
		})
	}
	var last rotation
	for i := range rotations {
		a.ripen()
		switch i % 3 {
		case 0, 1:
			at := admin
			if i%3 == 1 {
				at = admin.At(b.Client)
			}
			if _, err := at.Act(t.Context(), "", &last, "POST", "/admin/signing-keys/rotate", nil); err != nil {
				t.Fatal(err)
			}
		case 2:
			last = s.rotateByHand(t, "rotate-signing-key")
		}
		await(t, patience, "both sign with the new key", func() bool {
			x, err1 := a.Login(t.Context(), email, password, "")
			y, err2 := b.Login(t.Context(), email, password, "")
			if err1 != nil || err2 != nil {
				t.Fatalf("a sign-in in a rotation: %v, %v", err1, err2)
			}
			hx, _ := claims(t, x.Access)
			hy, _ := claims(t, y.Access)
			return hx["kid"] == last.New && hy["kid"] == last.New
		})
	}
	close(done)
	load.Wait()
	for _, access := range valid {
		for _, v := range []*server{a, b} {
			if _, err := v.Validate(t.Context(), access); err != nil {
				t.Fatalf("after the rotations: %v", err)
			}
		}
	}
	t.Logf("%d rotations, %d tokens, %d checks meanwhile and %d after", rotations, len(valid), checks, 2*len(valid))

	// Revoked at A, the key verifies nothing at B within a second, and again never.
	victim := b.login(email)
	if _, err := b.Validate(t.Context(), victim.Access); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Act(t.Context(), last.New, nil, "POST", "/admin/signing-keys/"+last.New+"/revoke", nil); err != nil {
		t.Fatal(err)
	}
	limit := patience
	if soak {
		limit = time.Second
	}
	took := await(t, limit, "B refuses what the revoked key signed", func() bool {
		_, err := b.Validate(t.Context(), victim.Access)
		return err != nil
	})
	t.Logf("B refuses it after %s", took)
	renewed, err := b.Refresh(t.Context(), victim.Refresh)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []*server{a, b} {
		_, err := v.Validate(t.Context(), victim.Access)
		refuses(t, err, http.StatusUnauthorized, "invalid_token")
		if v.publishes(t, last.New) {
			t.Error("a revoked key is published")
		}
		if _, err := v.Validate(t.Context(), renewed.Access); err != nil {
			t.Errorf("the next key's: %v", err)
		}
		var out authapi.Tokens
		if out, err = v.Login(t.Context(), email, password, ""); err != nil {
			t.Error(err)
		}
		if header, _ := claims(t, out.Access); header["kid"] == last.New {
			t.Error("a revoked key signs")
		}
	}
}
