package e2e

import (
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/authsdk/authsdk/e2e/authapi"
)

// noGrace makes every second use of a refresh token a late one.
const noGrace = "SESSION_SECURITY__REFRESH_REUSE_GRACE_SECONDS=0"

func TestTabsThatRefreshAtOnceAllStayLoggedIn(t *testing.T) {
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t)
		email := v.account()
		const rounds, tabs = 10, 4
		token := v.login(email).Refresh
		for range rounds {
			got := make([]authapi.Tokens, tabs)
			errs := make([]error, tabs)
			var start, done sync.WaitGroup
			start.Add(1)
			for i := range tabs {
				done.Go(func() {
					start.Wait()
					got[i], errs[i] = v.Refresh(t.Context(), token)
				})
			}
			start.Done()
			done.Wait()
			for i := range tabs {
				if errs[i] != nil {
					t.Fatalf("a tab was logged out: %v", errs[i])
				}
				if got[i].Refresh != got[0].Refresh {
					t.Fatalf("two tabs hold different refresh tokens")
				}
				if _, err := v.Validate(t.Context(), got[i].Access); err != nil {
					t.Errorf("an access token of a tab: %v", err)
				}
			}
			token = got[0].Refresh
		}
		if n := s.count(t, `SELECT COUNT(*) FROM audit_events WHERE event_type = 'session.reuse_detected'`); n != 0 {
			t.Errorf("%d thefts were seen", n)
		}
	})
}

func TestAUsedTokenEndsTheSessionOnceItsSuccessorWasUsed(t *testing.T) {
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t)
		email := v.account()
		first, other := v.login(email), v.login(email)
		second := v.refresh(first.Refresh)
		third := v.refresh(second.Refresh)

		_, err := v.Refresh(t.Context(), first.Refresh) // the thief, within the grace
		refuses(t, err, http.StatusUnauthorized, "session_expired")
		v.isEnded(third, "refresh_reuse")
		v.refresh(other.Refresh) // the other device is left alone
	})
}

func TestATokenReplayedWhileTheOwnerSleepsEndsTheSessionWhenTheOwnerReturns(t *testing.T) {
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t, noGrace)
		used := v.login(v.account())
		owner := v.refresh(used.Refresh)
		thief := v.refresh(used.Refresh) // looks like a lost answer
		if owner.Refresh == thief.Refresh {
			t.Fatal("owner and thief hold one token")
		}
		if _, err := v.Validate(t.Context(), thief.Access); err != nil {
			t.Fatal(err)
		}
		_, err := v.Refresh(t.Context(), owner.Refresh)
		refuses(t, err, http.StatusUnauthorized, "session_expired")
		v.isEnded(thief, "refresh_reuse")
	})
}

// isEnded checks that a session is dead for whoever holds these tokens, and
// that the database says why.
func (v *server) isEnded(tokens authapi.Tokens, reason string) {
	t := v.t
	t.Helper()
	_, err := v.Refresh(t.Context(), tokens.Refresh)
	refuses(t, err, http.StatusUnauthorized, "session_expired")
	await(t, time.Second, "its access token is refused", func() bool {
		_, err := v.Validate(t.Context(), tokens.Access)
		var refused *authapi.Refused
		return errors.As(err, &refused) && refused.Envelope().Code == "session_expired"
	})
	_, c := claims(t, tokens.Access)
	var got string
	if err := v.sql(t).QueryRow(`SELECT COALESCE(revoke_reason, '') FROM sessions WHERE id = $1`, c["sid"]).Scan(&got); err != nil || got != reason {
		t.Errorf("the session ended because of %q (%v), not %q", got, err, reason)
	}
	for event, success := range map[string]bool{"session.reuse_detected": false, "session.revoked": true} {
		n := v.count(t, `SELECT COUNT(*) FROM audit_events WHERE event_type = $1 AND target_id = $2 AND success = $3`, event, c["sub"], success)
		if n != 1 {
			t.Errorf("%d audit rows %s instead of one", n, event)
		}
	}
}

func TestALostAnswerLogsNobodyOut(t *testing.T) {
	for _, row := range []struct {
		says     string
		settings []string
		retries  int // audit rows of answers that were lost
	}{
		{"when the client asks again at once, it gets the same answer", nil, 0},
		{"when it asks again late, it gets another", []string{noGrace}, 3 * 2},
	} {
		t.Run(row.says, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, s *store) {
				v := s.serve(t, row.settings...)
				network, client := v.through(t)
				tokens := v.login(v.account())
				for _, losses := range []int{1, 2, 3} { // and as many answers lost one after the other
					network.loses.Store(true)
					for range losses {
						if _, err := client.Refresh(t.Context(), tokens.Refresh); err == nil {
							t.Fatal("the answer was not lost")
						}
					}
					network.loses.Store(false)
					after, err := client.Refresh(t.Context(), tokens.Refresh)
					if err != nil {
						t.Fatalf("after %d lost answers the client is logged out: %v", losses, err)
					}
					if _, err := client.Validate(t.Context(), after.Access); err != nil {
						t.Fatal(err)
					}
					tokens = after
				}
				if n := network.lost.Load(); n != 6 {
					t.Errorf("%d answers were lost instead of 6", n)
				}
				_, c := claims(t, tokens.Access)
				n := s.count(t, `SELECT COUNT(*) FROM audit_events WHERE event_type = 'token.refresh_retried' AND actor_id = $1`, c["sub"])
				if n != row.retries {
					t.Errorf("%d retries are on record instead of %d", n, row.retries)
				}
			})
		})
	}
}

func TestASessionMayLoseTenAnswersAnHour(t *testing.T) {
	v := sqliteStore(t).serve(t, noGrace)
	used := v.login(v.account())
	v.refresh(used.Refresh)
	for range 10 {
		v.refresh(used.Refresh)
	}
	a := v.do("POST", "/auth/token", map[string]string{"refresh_token": used.Refresh})
	if a.Status != http.StatusTooManyRequests || a.Envelope().Code != "rate_limited" || a.Header.Get("Retry-After") == "" {
		t.Errorf("the eleventh is answered %s, Retry-After %q", a, a.Header.Get("Retry-After"))
	}
	if _, err := v.Validate(t.Context(), used.Access); err != nil {
		t.Errorf("and the session has ended: %v", err)
	}
}

func TestLoggedOutSessionsLeaveTheirReason(t *testing.T) {
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t)
		tokens := v.login(v.account())
		if _, err := v.Logout(t.Context(), tokens.Refresh); err != nil {
			t.Fatal(err)
		}
		_, c := claims(t, tokens.Access)
		var reason string
		if err := s.sql(t).QueryRow(`SELECT revoke_reason FROM sessions WHERE id = $1`, c["sid"]).Scan(&reason); err != nil || reason != "logout" {
			t.Errorf("the session ended because of %q (%v)", reason, err)
		}
		for _, event := range []string{"user.signup.accepted", "user.created", "user.email.verified", "user.login.success", "session.created", "user.logout"} {
			n := s.count(t, `SELECT COUNT(*) FROM audit_events WHERE event_type = $1 AND actor_id = $2 AND success`, event, c["sub"])
			if n != 1 {
				t.Errorf("%d audit rows %s instead of one", n, event)
			}
		}
	})
}
