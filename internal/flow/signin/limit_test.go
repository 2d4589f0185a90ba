package signin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/flow/signin"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/metric"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/limit"
)

// guarded is a service that allows three tries a minute, by a clock that the
// test moves.
func guarded(t *testing.T, d *db.DB) *signin.Service {
	t.Helper()
	s := newService(t, d)
	var err error
	if s.Limiter, err = limit.Open(t.Context(), "", dbtest.Log, s.Clock); err != nil {
		t.Fatal(err)
	}
	s.PerMinute, s.Metrics = 3, metric.New()
	return s
}

// try says how a login from an address ends.
func try(t *testing.T, s *signin.Service, ip, email, pass string) string {
	t.Helper()
	_, err := s.Login(audit.WithOrigin(t.Context(), audit.Origin{IP: ip}), signin.Input{Email: email, Password: pass})
	var f *fault.Fault
	switch {
	case err == nil:
		return "in"
	case !errors.As(err, &f):
		t.Fatal(err)
	case f.RetryAfter > 0:
		return fmt.Sprintf("%s, back in %v", f.Code.Slug, f.RetryAfter)
	}
	return f.Code.Slug
}

const (
	wrong   = "Wrong-Horse-7"
	refused = "invalid_credentials"
	limited = "rate_limited, back in 20s"
)

// spend uses up the tries at an account from an address.
func spend(t *testing.T, s *signin.Service, ip, email string) {
	t.Helper()
	for i, want := range []string{refused, refused, refused, limited} {
		if got := try(t, s, ip, email, wrong); got != want {
			t.Errorf("try %d: %s, want %s", i+1, got, want)
		}
	}
}

func TestTriesAtAnAccountAreBoundedByNetwork(t *testing.T) {
	const ann = "ann@example.com"
	for _, row := range []struct {
		name, attacker string
		ip, email      string
		pass, want     string
	}{
		{"the right password is refused too", "203.0.113.7", "203.0.113.7", ann, good, limited},
		{"from a neighbour too", "203.0.113.7", "203.0.113.250", ann, good, limited},
		{"in another spelling of the account too", "203.0.113.7", "203.0.113.7", " Ann <ANN@Example.COM> ", good, limited},
		{"its owner elsewhere comes in", "203.0.113.7", "198.51.100.1", ann, good, "in"},
		{"the network beside has tries of its own", "203.0.113.7", "203.0.114.7", ann, good, "in"},
		{"another account has tries of its own", "203.0.113.7", "203.0.113.7", "bob@example.com", wrong, refused},
		{"from an IPv6 network of /48", "2001:db8:1:2::3", "2001:db8:1:ffff::1", ann, good, limited},
		{"and not from the next", "2001:db8:1:2::3", "2001:db8:2:2::3", ann, good, "in"},
		{"who comes from nowhere shares a network", "", "", ann, good, limited},
		{"which is nobody else's", "", "198.51.100.1", ann, good, "in"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, d *db.DB) {
				s := guarded(t, d)
				account(t, s, ann)
				spend(t, s, row.attacker, ann)
				if got := try(t, s, row.ip, row.email, row.pass); got != row.want {
					t.Errorf("%s, want %s", got, row.want)
				}
			})
		})
	}
}

func TestAnUnknownAccountIsBoundedLikeAKnownOne(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := guarded(t, d)
		account(t, s, "ann@example.com")
		story := func(email string) (said []string) {
			for _, ip := range []string{"203.0.113.7", "203.0.113.8", "198.51.100.1", "203.0.113.9", "203.0.113.7", "198.51.100.1"} {
				said = append(said, try(t, s, ip, email, wrong))
			}
			return said
		}
		known, unknown := strings.Join(story("ann@example.com"), "; "), strings.Join(story("nobody@example.com"), "; ")
		if known != unknown || !strings.Contains(known, "rate_limited") {
			t.Errorf("known:   %s\nunknown: %s", known, unknown)
		}
	})
}

func TestTriesComeBackWithTime(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := guarded(t, d)
		account(t, s, "ann@example.com")
		spend(t, s, "203.0.113.7", "ann@example.com")
		for _, step := range []struct {
			after time.Duration
			want  string
		}{{19 * time.Second, "rate_limited, back in 1s"}, {time.Second, "in"}, {0, limited}, {20 * time.Second, "in"}} {
			s.Clock.Advance(step.after)
			if got := try(t, s, "203.0.113.7", "ann@example.com", good); got != step.want {
				t.Errorf("after another %v: %s, want %s", step.after, got, step.want)
			}
		}
	})
}

func TestARefusedTryCostsNoHashAndLeavesNoTrace(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := guarded(t, d)
		account(t, s, "ann@example.com")
		s.Passwords.Hasher.Metrics = s.Metrics
		for range 10 {
			try(t, s, "203.0.113.7", "ann@example.com", wrong)
		}
		var events int
		if err := d.Read().QueryRowContext(context.Background(), `SELECT COUNT(*) FROM audit_events WHERE event_type = 'user.login.failure'`).Scan(&events); err != nil || events != 3 {
			t.Errorf("%d events, %v: the log can be flooded", events, err)
		}
		counted := counters(s.Metrics)
		for _, want := range []string{
			`auth_service_logins_total{outcome="invalid_credentials",provider="password"} 3`,
			`auth_service_logins_total{outcome="rate_limited",provider="password"} 7`,
			`auth_service_password_hashes_total{outcome="done"} 3`,
		} {
			if !strings.Contains(counted, want) {
				t.Errorf("not counted: %s", want)
			}
		}
	})
}

func counters(m *metric.Metrics) string {
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func TestWithoutALimitThereIsTheLadderOnly(t *testing.T) {
	d := dbtest.Postgres(t)
	s := guarded(t, d)
	s.PerMinute = 0
	account(t, s, "ann@example.com")
	for i, want := range []string{refused, refused, refused, refused, "account_locked, back in 1m0s", "account_locked, back in 1m0s"} {
		if got := try(t, s, "203.0.113.7", "ann@example.com", wrong); got != want {
			t.Errorf("try %d: %s, want %s", i+1, got, want)
		}
	}
}
