package e2e

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/authsdk/authsdk/e2e/authapi"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

// replicas starts two servers that share a database, a base URL and a Redis.
func replicas(t *testing.T, s *store) (a, b *server) {
	a = s.serve(t)
	return a, s.serve(t, "EMAIL__PUBLIC_BASE_URL="+a.Base)
}

func TestWhatOneReplicaIsToldTheOtherKnows(t *testing.T) {
	t.Parallel()
	a, b := replicas(t, postgresStore(t))

	email := newEmail()
	if _, err := a.Signup(t.Context(), email, password); err != nil {
		t.Fatal(err)
	}
	_, err := b.Login(t.Context(), email, password, "")
	refuses(t, err, http.StatusBadRequest, "email_not_verified")
	if _, err := b.Verify(t.Context(), b.mail(email, 1).Tokens[0]); err != nil {
		t.Fatal(err)
	}
	fromA := a.login(email)
	if _, err := b.Validate(t.Context(), fromA.Access); err != nil {
		t.Errorf("a token of A at B: %v", err)
	}
	fromB := b.refresh(fromA.Refresh)
	echoed := a.refresh(fromA.Refresh) // a second tab, at the other replica
	if echoed.Refresh != fromB.Refresh {
		t.Error("two replicas answer one refresh with different tokens")
	}
	fromA = a.refresh(fromB.Refresh)
	if _, err := b.Validate(t.Context(), fromA.Access); err != nil {
		t.Error(err)
	}
	if x, y := a.do("GET", "/.well-known/jwks.json", nil), b.do("GET", "/.well-known/jwks.json", nil); x.String() != y.String() {
		t.Errorf("two key sets: %s and %s", x, y)
	}
	// The limit of four requests is counted in Redis, for both together.
	for i := range 4 {
		at := a
		if i%2 == 1 {
			at = b
		}
		status := at.do("POST", "/auth/verify-email/resend/request", map[string]string{"email": email}).Status
		if want := map[bool]int{false: http.StatusOK, true: http.StatusTooManyRequests}[i == 3]; status != want {
			t.Errorf("resend %d is answered %d, not %d", i+1, status, want)
		}
	}
}

func TestALogoutAtOneReplicaIsKnownAtTheOtherWithinASecond(t *testing.T) {
	t.Parallel()
	redis := ownRedis(t)
	s := postgresAt(t, dbtest.PostgresURL(t))
	s.env = append(s.env, "REDIS__URL="+redis.URL) // the later one wins
	a, b := replicas(t, s)
	email := a.account()

	t.Logf("with Redis:       %s", median(a.logouts(b, email)))
	if err := redis.Stop(); err != nil {
		t.Fatal(err)
	}
	t.Logf("Redis is stopped: %s", median(a.logouts(b, email)))
	await(t, patience, "B says that Redis is down, and stays ready", func() bool {
		ready := b.do("GET", "/health/ready", nil)
		return ready.Status == http.StatusOK && strings.Contains(string(ready.Body), `"degraded":["redis"]`)
	})
	if err := redis.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, patience, "B says that Redis is back", func() bool {
		return b.do("GET", "/health/ready", nil).String() == `200 {"status":"ready"}`
	})
	t.Logf("Redis is back:    %s", median(a.logouts(b, email)))
}

// logouts logs out at one replica, twenty times, and measures until the other
// refuses.
func (v *server) logouts(other *server, email string) []time.Duration {
	t := v.t
	t.Helper()
	var took []time.Duration
	for range 20 {
		tokens := v.login(email)
		if _, err := other.Validate(t.Context(), tokens.Access); err != nil { // it is in the cache now
			t.Fatal(err)
		}
		if _, err := v.Logout(t.Context(), tokens.Refresh); err != nil {
			t.Fatal(err)
		}
		took = append(took, await(t, time.Second, "the other replica refuses the token", func() bool {
			_, err := other.Validate(t.Context(), tokens.Access)
			var refused *authapi.Refused
			if err != nil && !errors.As(err, &refused) {
				t.Fatal(err)
			}
			return refused != nil && refused.Status == http.StatusUnauthorized && refused.Envelope().Code == "session_expired"
		}))
		_, err := other.Refresh(t.Context(), tokens.Refresh)
		refuses(t, err, http.StatusUnauthorized, "session_expired")
	}
	return took
}
