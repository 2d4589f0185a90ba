package authsdk

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxLifetime = 300 * time.Second // of a fetched key set
	minLifetime = 30 * time.Second  // whatever Cache-Control says

	// coolDown is the least time between two fetches that bad tokens can cause.
	coolDown = 10 * time.Second

	// failurePause is the least time between a failed fetch and the next.
	failurePause = time.Second

	// staleLimit is how long past its lifetime a key set serves while the auth
	// service is down. It matters to m2m tokens alone (user tokens need the session
	// check anyway). An hour outlasts a deployment gone wrong and about one life of
	// an m2m token: beyond it, no honest token signed before the outage is left.
	staleLimit = time.Hour
)

// keySet is one answer of /.well-known/jwks.json. It never changes.
type keySet struct {
	keys      map[string]publicKey // by kid
	lifetime  time.Duration
	fetchedAt time.Time
}

const (
	unknownKey   = reason("kid names no usable key of the auth service")
	wrongAlg     = reason("alg is not the key's")
	badSignature = reason("signature does not match")
)

// refusal returns one of the three reasons above, or "" for a good signature.
func (s *keySet) refusal(t token) reason {
	key, ok := s.keys[t.kid]
	switch {
	case !ok:
		return unknownKey
	case key.alg != t.alg:
		return wrongAlg
	case !key.verify(t.signed, t.signature):
		return badSignature
	}
	return ""
}

// keyCache holds the current key set. Fetches are started by requests, run on
// their own and are shared by all who wait: there is never more than one.
type keyCache struct {
	fetch func(context.Context) (*keySet, error)
	now   func() time.Time
	ctx   context.Context // ends when the client is closed

	mu       sync.Mutex
	set      *keySet // the last good answer; nil before the first
	flight   *flight // the fetch under way; nil if none
	failure  error   // why the last fetch failed; nil after a good one
	failedAt time.Time
	forcedAt time.Time // when a bad token last caused a fetch
}

type flight struct {
	done chan struct{} // closed when over
	err  error         // set before
}

func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// current returns a key set to verify with. A fresh one costs nothing; in the
// last fifth of its life it is renewed in the background; after that the caller
// waits for a new one, and takes the old one if the auth service fails.
func (k *keyCache) current(ctx context.Context) (*keySet, error) {
	k.mu.Lock()
	now, set := k.now(), k.set
	var age time.Duration
	if set != nil {
		age = now.Sub(set.fetchedAt)
		if age < set.lifetime*4/5 {
			k.mu.Unlock()
			return set, nil
		}
	}
	fresh := set != nil && age < set.lifetime
	stale := set != nil && age < set.lifetime+staleLimit
	failure := k.failure
	pausing := failure != nil && now.Sub(k.failedAt) < failurePause
	var f *flight
	if !pausing {
		f = k.start()
	}
	k.mu.Unlock()

	// Once a fetch has failed nobody waits for the next as long as there is an old set.
	if fresh || stale && failure != nil {
		return set, nil
	}
	if pausing {
		return nil, failure
	}
	if err := f.wait(ctx); err != nil {
		if stale {
			return set, nil
		}
		return nil, err
	}
	return k.latest(), nil
}

// refresh is for a token that seen could not verify: it returns a newer key set
// if there is one or the cool-down allows a fetch. Otherwise it returns seen, and
// the error of the last fetch if that failed.
func (k *keyCache) refresh(ctx context.Context, seen *keySet) (*keySet, error) {
	k.mu.Lock()
	if k.set != seen { // another request was faster
		set := k.set
		k.mu.Unlock()
		return set, nil
	}
	if k.flight == nil {
		if now := k.now(); k.forcedAt.IsZero() || now.Sub(k.forcedAt) >= coolDown {
			k.forcedAt = now
		} else {
			err := k.failure
			k.mu.Unlock()
			return seen, err
		}
	}
	f := k.start()
	k.mu.Unlock()
	err := f.wait(ctx)
	return k.latest(), err
}

func (k *keyCache) latest() *keySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.set
}

// start begins a fetch or joins the one under way. The caller holds the lock.
func (k *keyCache) start() *flight {
	if k.flight != nil {
		return k.flight
	}
	f := &flight{done: make(chan struct{})}
	k.flight = f
	go func() {
		set, err := k.fetch(k.ctx)
		k.mu.Lock()
		defer k.mu.Unlock()
		if err != nil {
			k.failedAt = k.now()
		} else {
			set.fetchedAt = k.now()
			k.set = set
		}
		k.failure, k.flight, f.err = err, nil, err
		close(f.done)
	}()
	return f
}

// fetchKeys asks the auth service for its JWK set (RFC 7517 section 5). Keys that
// cannot be used are skipped: one odd entry must not lock everybody out.
func (c *Client) fetchKeys(ctx context.Context) (*keySet, error) {
	answer, err := c.call(ctx, http.MethodGet, "/.well-known/jwks.json", nil, nil)
	if err != nil {
		return nil, err
	}
	if answer.status != http.StatusOK {
		return nil, errors.New("JWKS: status " + strconv.Itoa(answer.status))
	}
	body, err := parseObject(answer.body)
	if err != nil {
		return nil, errors.New("JWKS: " + err.Error())
	}
	entries, ok := elements(body.get("keys"))
	if !ok {
		return nil, errors.New("JWKS: no list of keys")
	}
	set := &keySet{keys: map[string]publicKey{}, lifetime: lifetime(answer.header.Get("Cache-Control"))}
	for _, entry := range entries {
		kid, key, err := parseJWK([]byte(entry))
		if _, twice := set.keys[kid]; err == nil && !twice {
			set.keys[kid] = key
		}
	}
	return set, nil
}

// lifetime reads max-age (RFC 9111 section 5.2.2.1), within our own bounds.
func lifetime(cacheControl string) time.Duration {
	for directive := range strings.SplitSeq(cacheControl, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		seconds, err := strconv.Atoi(value)
		if strings.EqualFold(name, "max-age") && err == nil {
			seconds = min(seconds, int(maxLifetime.Seconds())) // before it could overflow
			return max(time.Duration(seconds)*time.Second, minLifetime)
		}
	}
	return maxLifetime
}
