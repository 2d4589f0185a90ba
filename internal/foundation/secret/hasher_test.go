package secret

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// cheap is the smallest cost that Argon2 knows.
var cheap = Cost{MemoryKiB: 8, Iterations: 1, Parallelism: 1}

func hash(t *testing.T, h *Hasher, password string) string {
	t.Helper()
	out, err := h.Hash(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWhichPasswordsVerify(t *testing.T) {
	h := NewHasher(cheap, 1)
	const right = "Correct horse 1!"
	stored := hash(t, h, right)
	foreign := hash(t, NewHasher(Cost{MemoryKiB: 16, Iterations: 2, Parallelism: 2}, 1), right)
	rows := []struct {
		name, hash, password string
		want                 bool
	}{
		{"the right one", stored, right, true},
		{"the right one, hashed at another cost", foreign, right, true},
		{"a wrong one", stored, "Correct horse 2!", false},
		{"the right one with a NUL behind it", stored, right + "\x00", false},
		{"the right one in another case", stored, strings.ToUpper(right), false},
		{"none", stored, "", false},
		{"any, of an account that is not there", "", right, false},
		{"none, of an account that is not there", "", "", false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			got, err := h.Verify(t.Context(), row.hash, row.password, true)
			if err != nil || got != row.want {
				t.Errorf("%t, %v; want %t", got, err, row.want)
			}
		})
	}
}

// The hash of an account that is not there is random, so its password does not
// exist; but were it found, it must not open anything.
func TestTheDecoyNeverMatches(t *testing.T) {
	h := NewHasher(cheap, 1)
	h.decoy = hash(t, h, "the decoy's own password")
	if got, err := h.Verify(t.Context(), "", "the decoy's own password", true); got || err != nil {
		t.Errorf("%t, %v", got, err)
	}
	cost, _, _, err := decode(NewHasher(cheap, 1).decoy)
	if err != nil || cost != cheap {
		t.Errorf("the decoy costs %+v (%v), want %+v like any other", cost, err, cheap)
	}
}

func TestHashesAreInPHCForm(t *testing.T) {
	h := NewHasher(Cost{MemoryKiB: 16, Iterations: 2, Parallelism: 1}, 1)
	a, b := hash(t, h, "same"), hash(t, h, "same")
	form := regexp.MustCompile(`^\$argon2id\$v=19\$m=16,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`)
	if !form.MatchString(a) {
		t.Errorf("%s is not in PHC form", a)
	}
	if a == b {
		t.Error("the salt does not change")
	}
}

// A vector of the reference implementation: hashes made elsewhere verify here.
func TestAHashOfTheReferenceImplementationVerifies(t *testing.T) {
	// printf password | argon2 somesalt -id -t 2 -k 256 -p 1 -e
	const reference = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
	h := NewHasher(cheap, 1)
	if ok, err := h.Verify(t.Context(), reference, "password", true); !ok || err != nil {
		t.Errorf("%t, %v", ok, err)
	}
}

func TestWhichHashesAreOutdated(t *testing.T) {
	h := NewHasher(cheap, 1)
	rows := []struct {
		name, hash string
		want       bool
	}{
		{"one of today", hash(t, h, "x"), false},
		{"one of more memory", hash(t, NewHasher(Cost{16, 1, 1}, 1), "x"), true},
		{"one of more iterations", hash(t, NewHasher(Cost{8, 2, 1}, 1), "x"), true},
		{"one of more lanes", hash(t, NewHasher(Cost{8, 1, 2}, 1), "x"), true},
		{"one that cannot be read", "$2b$12$abcdefghijklmnopqrstuv", true},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if got := h.Outdated(row.hash); got != row.want {
				t.Errorf("outdated: %t, want %t", got, row.want)
			}
		})
	}
}

func TestAHashThatCannotBeReadIsAnError(t *testing.T) {
	h := NewHasher(cheap, 1)
	good := hash(t, h, "x")
	rows := []struct{ name, hash string }{
		{"another algorithm", strings.Replace(good, "argon2id", "argon2i", 1)},
		{"another version", strings.Replace(good, "v=19", "v=16", 1)},
		{"no version", strings.Replace(good, "v=19", "", 1)},
		{"no costs", strings.Replace(good, "m=8,t=1,p=1", "", 1)},
		{"memory for which there is no machine", strings.Replace(good, "m=8", "m=4294967295", 1)},
		{"no iterations", strings.Replace(good, "t=1", "t=0", 1)},
		{"iterations without end", strings.Replace(good, "t=1", "t=100000", 1)},
		{"no lanes", strings.Replace(good, "p=1", "p=0", 1)},
		{"more lanes than a byte holds", strings.Replace(good, "p=1", "p=256", 1)},
		{"a salt that is not base64", good[:strings.LastIndex(good, "$")-1] + "!" + good[strings.LastIndex(good, "$"):]},
		{"a short key", good[:strings.LastIndex(good, "$")] + "$AAAA"},
		{"no key", good[:strings.LastIndex(good, "$")] + "$"},
		{"a part too many", good + "$"},
		{"a part too few", good[:strings.LastIndex(good, "$")]},
		{"a word", "password"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if ok, err := h.Verify(t.Context(), row.hash, "x", true); ok || err == nil {
				t.Errorf("%t, %v", ok, err)
			}
		})
	}
}

// crowd makes n callers wait for the one worker, which the test holds, and
// returns what they got once ctx has ended.
func crowd(ctx context.Context, t *testing.T, h *Hasher, n int) (wait func() []error) {
	t.Helper()
	errs := make([]error, n)
	var callers sync.WaitGroup
	for i := range errs {
		callers.Go(func() { _, errs[i] = h.Verify(ctx, "", "x", true) })
	}
	deadline := time.After(30 * time.Second)
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for enough := len(h.others) + n; len(h.waiting) < enough; {
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("%d of %d callers wait", len(h.waiting), n)
		}
	}
	return func() []error { callers.Wait(); return errs }
}

func TestAFullQueueShedsLoad(t *testing.T) {
	h := NewHasher(cheap, 1)
	stored := hash(t, h, "x")
	h.running <- struct{}{} // the worker is busy until the test lets it go
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	wait := crowd(ctx, t, h, queueFor)

	_, hashErr := h.Hash(t.Context(), "x")
	_, verifyErr := h.Verify(t.Context(), stored, "x", true)
	_, decoyErr := h.Verify(t.Context(), "", "x", true) // an unknown account fares the same
	for _, err := range []error{hashErr, verifyErr, decoyErr} {
		if f := fault.From(err); f.Code.Slug != "service_unavailable" || f.RetryAfter <= 0 {
			t.Errorf("one too many got %v, retry after %v", err, f.RetryAfter)
		}
	}

	leave()
	for _, err := range wait() {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a caller who gave up got %v", err)
		}
	}
	<-h.running
	if ok, err := h.Verify(t.Context(), stored, "x", true); !ok || err != nil {
		t.Errorf("after the rush: %t, %v", ok, err)
	}
	if len(h.waiting) != 0 || len(h.running) != 0 {
		t.Errorf("%d places in the queue and %d workers are not given back", len(h.waiting), len(h.running))
	}
}

func TestStrangersAndNewHashesLeaveHalfOfTheQueueToWhoIsKnown(t *testing.T) {
	h := NewHasher(cheap, 1)
	h.running <- struct{}{}
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	var callers sync.WaitGroup
	shed := make(chan error, 2*queueFor)
	for range queueFor { // a rush of sign-ups and guesses
		callers.Go(func() { _, err := h.Hash(ctx, "x"); shed <- err })
		callers.Go(func() { _, err := h.Verify(ctx, "", "x", false); shed <- err })
	}
	for range 2*queueFor - queueFor/2 {
		if err := <-shed; !fault.Has(err, fault.ServiceUnavailable) {
			t.Errorf("one too many got %v", err)
		}
	}
	wait := crowd(ctx, t, h, queueFor/2) // the owners still find a place
	<-h.running
	for _, err := range wait() {
		if err != nil {
			t.Errorf("a sign-in got %v", err)
		}
	}
	callers.Wait()
}

func TestThoseInTheQueueAreServed(t *testing.T) {
	h := NewHasher(cheap, 2)
	h.running <- struct{}{}
	h.running <- struct{}{}
	wait := crowd(t.Context(), t, h, 2*queueFor)
	<-h.running
	<-h.running
	for _, err := range wait() {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestNoWorkersMeansOnePerCore(t *testing.T) {
	if h := NewHasher(cheap, 0); cap(h.running) < 1 || cap(h.waiting) != queueFor*cap(h.running) {
		t.Errorf("%d workers, %d places", cap(h.running), cap(h.waiting))
	}
}
