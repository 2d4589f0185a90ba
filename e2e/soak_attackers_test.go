package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authsdk/authsdk/e2e/authapi"
)

// What decisions.md allows to be examined in an hour.
const (
	mostOfANetwork   = 20
	mostOfStrangers  = 100
	attackersAtATime = 16
)

func guesses() int {
	if soak {
		return 10_000
	}
	return 300 // enough to try every network
}

// TestManyGuessesAtAPasswordAreFewLooks attacks one account from many places at
// once: few guesses are examined, the rest are refused unseen, and the owner signs
// in from the usual network all along.
func TestManyGuessesAtAPasswordAreFewLooks(t *testing.T) {
	for _, attack := range []struct {
		name string
		from func(i int) string
		all  bool // all networks that the account is not known from are locked
	}{
		{"from 1 address", func(int) string { return "203.0.113.5" }, false},
		{"from 256 addresses of one /24", func(i int) string { return fmt.Sprintf("203.0.113.%d", i%256) }, false},
		{"from 256 /24s", func(i int) string { return fmt.Sprintf("172.20.%d.%d", i%256, i/256%256) }, true},
	} {
		t.Run(attack.name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, s *store) {
				settings := []string{anywhere}
				if soak {
					settings = append(settings, dear...)
				}
				v := s.serve(t, settings...)
				owner := v.person()
				owner.enter("before")
				hashed := v.hashes()

				begin := time.Now()
				done := make(chan struct{})
				var answers map[string]int
				go func() {
					defer close(done)
					answers = owner.guess(attack.from)
				}()
				entered := 0
				for attacking := true; attacking; {
					select {
					case <-done:
						attacking = false
					default:
					}
					owner.enter("meanwhile") // and once more when they are through
					entered++
				}
				took := time.Since(begin)

				looked, most := owner.looked()
				t.Logf("%d guesses in %.0f s: %d examined, at most %d of one network; answers %v; the owner signed in %d times",
					guesses(), took.Seconds(), looked, most, answers, entered)
				if most > mostOfANetwork || looked > mostOfStrangers || looked < 5 {
					t.Errorf("%d guesses were examined, %d of one network", looked, most)
				}
				if n := v.hashes() - hashed; n != looked+entered {
					t.Errorf("%d passwords were hashed for %d guesses and %d sign-ins of the owner", n, looked, entered)
				}
				if sum := answers["401 invalid_credentials"] + answers["401 account_locked"]; sum != guesses() {
					t.Errorf("only %d guesses were answered as they should", sum)
				}
				owner.refused(attack.from(7))
				if elsewhere := newNetwork(); attack.all {
					owner.refused(elsewhere)
				} else {
					owner.from(elsewhere).enter("elsewhere")
				}
				owner.enter("after")
			})
		})
	}
}

// guess tries wrong passwords, several at a time, and counts the answers.
func (p *person) guess(from func(i int) string) map[string]int {
	answers := map[string]int{}
	var mu sync.Mutex
	var guessing sync.WaitGroup
	for k := range attackersAtATime {
		guessing.Go(func() {
			for i := k; i < guesses(); i += attackersAtATime {
				a, err := p.Do(p.t.Context(), "POST", "/auth/login", p.creds(fmt.Sprintf("Wrong-Guess-%d", i)), "X-Forwarded-For", from(i))
				said := fmt.Sprint(err)
				if err == nil {
					said = says(a)
				}
				mu.Lock()
				answers[said]++
				mu.Unlock()
			}
		})
	}
	guessing.Wait()
	return answers
}

// says is the status and code of an answer.
func says(a authapi.Answer) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", a.Status, a.Envelope().Code))
}

// refused checks that even the right password is not looked at from there.
func (p *person) refused(ip string) {
	p.t.Helper()
	a := p.do("POST", "/auth/login", p.creds(password), "X-Forwarded-For", ip)
	if says(a) != "401 account_locked" || a.Header.Get("Retry-After") == "" {
		p.t.Errorf("the right password from %s is answered %s, Retry-After %q", ip, a, a.Header.Get("Retry-After"))
	}
}

// looked counts the guesses at the account that were examined: in all, and of the
// /24 with the most. Each left that it was wrong, or that it locked.
func (p *person) looked() (all, most int) {
	p.t.Helper()
	return p.countByNetwork(`(e.event_type = 'user.login.failure' AND e.failure_reason = 'invalid_credentials' OR e.event_type = 'user.locked')`)
}

func (p *person) countByNetwork(which string) (all, most int) {
	p.t.Helper()
	rows, err := p.db.Query(`SELECT p.ip_address, COUNT(*) FROM audit_events e
		JOIN audit_personal p ON p.created_at = e.created_at AND p.event_id = e.id
		WHERE e.actor_id = $1 AND `+which+` GROUP BY p.ip_address`, p.id)
	if err != nil {
		p.t.Fatal(err)
	}
	defer rows.Close()
	networks := map[string]int{}
	for rows.Next() {
		var ip string
		var n int
		if err := rows.Scan(&ip, &n); err != nil {
			p.t.Fatal(err)
		}
		all += n
		networks[ip[:strings.LastIndex(ip, ".")]] += n
	}
	if err := rows.Err(); err != nil {
		p.t.Fatal(err)
	}
	return all, slices.Max(append(slices.Collect(maps.Values(networks)), 0))
}

// hashes is how many passwords the server has hashed since it started.
func (v *server) hashes() (n int) {
	v.t.Helper()
	const name = `auth_service_password_hashes_total{outcome="done"} `
	for line := range strings.Lines(string(v.do("GET", "/metrics", nil).Body)) {
		if value, ok := strings.CutPrefix(line, name); ok {
			if _, err := fmt.Sscan(value, &n); err != nil {
				v.t.Fatal(err)
			}
			return n
		}
	}
	v.t.Fatal("the metrics count no hashes")
	return 0
}

// TestManyGuessesAtAMailedCodeAreFewLooks is the same for who knows the password
// and guesses codes, with as many challenges as there are.
func TestManyGuessesAtAMailedCodeAreFewLooks(t *testing.T) {
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t, anywhere)
		owner := v.person().secure()
		answers := map[string]int{}
		token := ""
		for i := range guesses() {
			from := []string{"X-Forwarded-For", fmt.Sprintf("172.20.%d.%d", i%256, i/256%256)}
			if token == "" {
				a := v.do("POST", "/auth/login", owner.creds(password), from...)
				var out struct {
					Token string `json:"challenge_token"`
				}
				json.Unmarshal(a.Body, &out)
				if token = out.Token; token == "" {
					answers["no challenge: "+says(a)]++
					continue
				}
			}
			a := v.do("POST", "/auth/otp/verify/login", in{"challenge_token": token, "code": fmt.Sprintf("%06d", i)}, from...)
			answers[says(a)]++
			if code := a.Envelope().Code; code != "invalid_otp" && code != "account_locked" {
				token = ""
			}
		}
		looked, most := owner.countByNetwork(`e.event_type = 'otp.failed'`)
		t.Logf("%d guesses: %d examined, at most %d of one network; answers %v", guesses(), looked, most, answers)
		if most > mostOfANetwork || looked > mostOfStrangers || looked < 5 {
			t.Errorf("%d codes were examined, %d of one network", looked, most)
		}
		for said := range answers {
			if strings.HasPrefix(strings.TrimPrefix(said, "no challenge: "), "5") {
				t.Errorf("an answer is %s", said)
			}
		}
	})
}
