package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authsdk/authsdk/e2e/authapi"
)

// ksLimit is the largest Kolmogorov–Smirnov D that two samples of 2,000 of one
// distribution have 99 times in 100.
const ksLimit = 0.052

// asking is an act that could tell whether an address has an account.
type asking struct {
	name, path string
	status     int
	body       func(email string) any
}

var askings = []asking{
	{"login, wrong password", "/auth/login", http.StatusUnauthorized, func(email string) any {
		return map[string]string{"email": email, "password": "Wrong-Battery-9"}
	}},
	{"signup", "/auth/signup", http.StatusCreated, func(email string) any {
		return map[string]string{"email": email, "password": password}
	}},
	{"forgot", "/auth/password/forgot", http.StatusOK, func(email string) any { return map[string]string{"email": email} }},
	{"resend", "/auth/verify-email/resend/request", http.StatusOK, func(email string) any { return map[string]string{"email": email} }},
}

// TestNoAnswerTellsWhetherAnAddressHasAnAccount asks for known and unknown
// addresses in random order: the answers are the same and, at full size, the
// times are of one distribution. The worker mails meanwhile.
func TestNoAnswerTellsWhetherAnAddressHasAnAccount(t *testing.T) {
	pairs := 20
	settings := []string(nil)
	if soak {
		pairs, settings = 2000, dear
	}
	for _, engine := range []struct {
		name string
		open func(*testing.T) *store
	}{{"on SQLite", sqliteStore}, {"on PostgreSQL and Redis", postgresStore}} {
		t.Run(engine.name, func(t *testing.T) { // not in parallel: it takes times
			v := engine.open(t).serve(t, settings...)
			seed := rand.Uint64()
			random := rand.New(rand.NewPCG(seed, 0))
			known := v.accounts(pairs)
			var again []asking
			for _, a := range askings {
				if !v.enumerate(a, known, random) {
					again = append(again, a)
				}
			}
			// One of a hundred measurements is beyond the limit by chance, two in a
			// row are not.
			if len(again) > 0 {
				known = v.accounts(pairs)
			}
			for _, a := range again {
				if !v.enumerate(a, known, random) {
					t.Errorf("%s: the times tell known addresses from unknown ones (seed %d)", a.name, seed)
				}
			}
		})
	}
}

// accounts signs n addresses up and waits for their mails.
func (v *server) accounts(n int) []string {
	v.t.Helper()
	emails := make([]string, n)
	var making sync.WaitGroup
	for k := range 4 {
		making.Go(func() {
			for i := k; i < n; i += 4 {
				emails[i] = newEmail()
				if _, err := v.Signup(v.t.Context(), emails[i], password); err != nil {
					v.t.Error(err)
					return
				}
			}
		})
	}
	making.Wait()
	if v.t.Failed() {
		v.t.FailNow()
	}
	v.rest()
	return emails
}

// rest waits until no job is left.
func (v *server) rest() {
	v.t.Helper()
	d := v.sql(v.t)
	await(v.t, 5*time.Minute, "the queue is empty", func() bool {
		var n int
		err := d.QueryRow(`SELECT COUNT(*) FROM river_job WHERE state IN ('available', 'running', 'retryable')`).Scan(&n)
		return err == nil && n == 0
	})
}

// enumerate asks for each known address and for as many unknown ones, over one
// connection. It reports whether the times look alike.
//
// The order is random throughout and not only inside each pair: the worker does
// more for an address that gets a mail, which slows what is asked meanwhile, and
// in strict turns that would be the other side more often. How much it slows the
// next request is logged, too.
func (v *server) enumerate(a asking, known []string, random *rand.Rand) bool {
	v.t.Helper()
	var took, next [2][]time.Duration // of unknown, of known; after unknown, after known
	want, before := "", -1
	order := append(random.Perm(2*len(known)), 0) // one more, which is only a next request
	for i, n := range order {
		side, email := n%2, newEmail()
		if side == 1 {
			email = known[n/2]
		}
		body, err := json.Marshal(a.body(email))
		if err != nil {
			v.t.Fatal(err)
		}
		begin := time.Now()
		got := v.do("POST", a.path, body)
		d := time.Since(begin)
		if want == "" {
			want = tells(got)
		}
		if got.Status != a.status || tells(got) != want {
			v.t.Fatalf("%s: an address (known: %d) is answered\n%s\nand another\n%s", a.name, side, tells(got), want)
		}
		if i < len(order)-1 {
			took[side] = append(took[side], d)
		}
		if before >= 0 {
			next[before] = append(next[before], d)
		}
		before = side
	}
	d := ks(took[0], took[1])
	v.t.Logf("%-21s  D %.4f  unknown %s  known %s  the next request D %.4f",
		a.name, d, quartiles(took[0]), quartiles(took[1]), ks(next[0], next[1]))
	return !soak || d < ksLimit
}

// tells is all of an answer that could tell something: not the request's own id,
// the time and how often one may ask.
func tells(a authapi.Answer) string {
	lines := []string{strings.ReplaceAll(a.String(), a.Header.Get("X-Correlation-ID"), "<id>")}
	for name, values := range a.Header {
		if name != "Date" && name != "X-Correlation-Id" && !strings.HasPrefix(name, "Ratelimit") {
			lines = append(lines, name+": "+strings.Join(values, ", "))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// ks is the Kolmogorov–Smirnov statistic: the largest distance between the
// shares of a and of b that are at most x, over all x.
func ks(a, b []time.Duration) (d float64) {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	for i, j := 0, 0; i < len(a) && j < len(b); {
		x := min(a[i], b[j])
		for i < len(a) && a[i] == x {
			i++
		}
		for j < len(b) && b[j] == x {
			j++
		}
		d = max(d, math.Abs(float64(i)/float64(len(a))-float64(j)/float64(len(b))))
	}
	return d
}

func quartiles(d []time.Duration) string {
	d = slices.Sorted(slices.Values(d))
	n := len(d)
	return fmt.Sprintf("%.2f %.2f %.2f ms", ms(d[n/4]), ms(d[n/2]), ms(d[n*3/4]))
}

func TestTheDistanceOfTwoSamples(t *testing.T) {
	times := func(n ...time.Duration) []time.Duration { return n }
	for _, tt := range []struct {
		a, b []time.Duration
		want float64
	}{
		{times(1, 2, 3, 4), times(4, 3, 2, 1), 0},
		{times(1, 2), times(3, 4), 1},
		{times(1, 2, 3, 4), times(3, 4, 5, 6), 0.5},
		{times(1, 1, 1, 2), times(1, 2, 2, 2), 0.5},
		{times(1, 5), times(2, 3, 4), 0.5},
	} {
		if got := ks(tt.a, tt.b); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%v and %v are %v apart, want %v", tt.a, tt.b, got, tt.want)
		}
	}
}
