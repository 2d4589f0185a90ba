package secret

import (
	"context"
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/metric"
)

// Cost is what one Argon2id hash costs (RFC 9106; OWASP: 19456 KiB, 2, 1).
type Cost struct {
	MemoryKiB   uint32
	Iterations  uint32
	Parallelism uint8
}

// queueFor is how many hashes may wait for each worker. More would only wait
// longer than a person does.
const queueFor = 32

// Hasher hashes passwords in a bounded pool: each hash takes a core for tens of
// milliseconds and tens of MiB, so no more run at once than there are workers,
// and when too many wait the rest are refused at once with service_unavailable.
type Hasher struct {
	Metrics *metric.Metrics // may be nil

	cost    Cost
	running chan struct{} // one place per worker
	waiting chan struct{} // one place per caller inside, running or not
	others  chan struct{} // half of those places: strangers and new hashes must not starve those who are known
	decoy   string
}

// NewHasher makes a pool. workers 0 means one per core.
func NewHasher(cost Cost, workers int) *Hasher {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	h := &Hasher{
		cost:    cost,
		running: make(chan struct{}, workers),
		waiting: make(chan struct{}, workers*queueFor),
		others:  make(chan struct{}, workers*queueFor/2),
	}
	h.decoy = encode(cost, Bytes(16), Bytes(32))
	return h
}

// Hash returns password hashed in PHC form: $argon2id$v=19$m=…,t=…,p=…$salt$hash.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	leave, err := h.enter(ctx, false)
	if err != nil {
		return "", err
	}
	defer leave()
	salt := Bytes(16)
	return encode(h.cost, salt, h.cost.key(password, salt, 32)), nil
}

// Verify reports whether password made the hash, Argon2id's or bcrypt's. An
// empty hash stands for an account that is not there: it costs what Argon2id
// does and never matches. Half of the places are kept for who is known to use
// the account from where the request comes.
func (h *Hasher) Verify(ctx context.Context, hash, password string, known bool) (bool, error) {
	there := hash != ""
	if !there {
		hash = h.decoy
	}
	matches, err := matcher(hash)
	if err != nil {
		return false, err
	}
	leave, err := h.enter(ctx, known)
	if err != nil {
		return false, err
	}
	defer leave()
	return matches(password) && there, nil
}

// matcher reads a hash and returns the slow part: whether a password made it.
func matcher(hash string) (func(password string) bool, error) {
	if IsBcrypt(hash) {
		return func(password string) bool { return matchesBcrypt(hash, password) }, nil
	}
	cost, salt, want, err := decode(hash)
	if err != nil {
		return nil, err
	}
	return func(password string) bool { return Equal(cost.key(password, salt, uint32(len(want))), want) }, nil
}

// Waiting is how many hashes wait for a worker or run.
func (h *Hasher) Waiting() int { return len(h.waiting) }

// Outdated reports whether the hash is not of today's making: of another cost,
// or bcrypt's.
func (h *Hasher) Outdated(hash string) bool {
	cost, _, _, err := decode(hash)
	return err != nil || cost != h.cost
}

// enter waits for a worker, or refuses at once when too many wait.
func (h *Hasher) enter(ctx context.Context, known bool) (leave func(), err error) {
	shed := func() (func(), error) {
		h.Metrics.Hash("shed")
		return nil, fault.Retry(fault.ServiceUnavailable, 2*time.Second)
	}
	release := func() {}
	if !known {
		select {
		case h.others <- struct{}{}:
			release = func() { <-h.others }
		default:
			return shed()
		}
	}
	select {
	case h.waiting <- struct{}{}:
	default:
		release()
		return shed()
	}
	select {
	case h.running <- struct{}{}:
		h.Metrics.Hash("done")
		return func() { <-h.running; <-h.waiting; release() }, nil
	case <-ctx.Done():
		<-h.waiting
		release()
		return nil, ctx.Err()
	}
}

func (c Cost) key(password string, salt []byte, n uint32) []byte {
	return argon2.IDKey([]byte(password), salt, c.Iterations, c.MemoryKiB, c.Parallelism, n)
}

func encode(c Cost, salt, key []byte) string {
	b := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s",
		argon2.Version, c.MemoryKiB, c.Iterations, c.Parallelism, b.EncodeToString(salt), b.EncodeToString(key))
}

func decode(hash string) (c Cost, salt, key []byte, err error) {
	parts := strings.Split(hash, "$")
	var version int
	if len(parts) != 6 || parts[1] != "argon2id" {
		return c, nil, nil, fmt.Errorf("password hash is neither in argon2id PHC form nor bcrypt's")
	}
	if _, err = fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return c, nil, nil, fmt.Errorf("password hash has an unknown argon2 version")
	}
	if _, err = fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &c.MemoryKiB, &c.Iterations, &c.Parallelism); err != nil {
		return c, nil, nil, fmt.Errorf("password hash costs: %w", err)
	}
	if c.MemoryKiB > 4<<20 || c.Iterations < 1 || c.Iterations > 1000 || c.Parallelism < 1 {
		return c, nil, nil, fmt.Errorf("password hash costs are out of range")
	}
	if salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil {
		return c, nil, nil, fmt.Errorf("password hash salt: %w", err)
	}
	if key, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil || len(key) < 16 {
		return c, nil, nil, fmt.Errorf("password hash key is malformed")
	}
	return c, salt, key, nil
}
