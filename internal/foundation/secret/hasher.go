package secret

import (
	"context"
	"encoding/base64"
	"errors"
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
	worker  *Worker       // computes the hashes; nil means that this process does
	here    chan struct{} // one place for each that this process computes in its stead
	running chan struct{} // one place for each that may be computed now
	waiting chan struct{} // one place per caller inside, running or not
	others  chan struct{} // half of those places: strangers and new hashes must not starve those who are known
	decoy   string
}

// NewHasher makes a pool of this process. workers 0 means one per core.
func NewHasher(cost Cost, workers int) *Hasher {
	if workers <= 0 {
		workers = min(runtime.GOMAXPROCS(0), runtime.NumCPU())
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

// In has the hashes computed by a worker of as many workers. It is sent one
// more, so that it has the next at hand when it is done with one.
func (h *Hasher) In(w *Worker) *Hasher {
	h.worker, h.here = w, make(chan struct{}, cap(h.running))
	w.most = cap(h.running)
	h.running = make(chan struct{}, w.most+1)
	return h
}

// Hash returns password hashed in PHC form: $argon2id$v=19$m=…,t=…,p=…$salt$hash.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	turn, err := h.Reserve(false)
	if err != nil {
		return "", err
	}
	defer turn.Leave()
	if err := turn.wait(ctx); err != nil {
		return "", err
	}
	salt := Bytes(16)
	key, err := h.derive(h.cost, password, salt, 32)
	if err != nil {
		return "", err
	}
	return encode(h.cost, salt, key), nil
}

// Verify reports whether password made the hash, in a turn of its own.
func (h *Hasher) Verify(ctx context.Context, hash, password string, known bool) (bool, error) {
	turn, err := h.Reserve(known)
	if err != nil {
		return false, err
	}
	return turn.Verify(ctx, hash, password)
}

// Verify reports whether password made the hash, Argon2id's or bcrypt's, and
// ends the turn. An empty hash stands for an account that is not there: it costs
// what Argon2id does and never matches.
func (t *Turn) Verify(ctx context.Context, hash, password string) (bool, error) {
	defer t.Leave()
	h := t.hasher
	there := hash != ""
	if !there {
		hash = h.decoy
	}
	if IsBcrypt(hash) {
		if err := t.wait(ctx); err != nil {
			return false, err
		}
		return h.matchesBcrypt(hash, password)
	}
	cost, salt, want, err := decode(hash)
	if err != nil {
		return false, err
	}
	if err := t.wait(ctx); err != nil {
		return false, err
	}
	key, err := h.derive(cost, password, salt, uint32(len(want)))
	return err == nil && Equal(key, want) && there, err
}

// Recognised reports whether Verify can read a hash.
func Recognised(hash string) bool {
	_, _, _, err := decode(hash)
	return err == nil || IsBcrypt(hash)
}

// Waiting is how many hashes wait for a worker or run.
func (h *Hasher) Waiting() int { return len(h.waiting) }

// Outdated reports whether the hash is not of today's making: of another cost,
// or bcrypt's.
func (h *Hasher) Outdated(hash string) bool {
	cost, _, _, err := decode(hash)
	return err != nil || cost != h.cost
}

// Turn is a place in the queue for one hash. Whoever takes one knows, before
// doing anything else, that it will be computed.
type Turn struct {
	hasher  *Hasher
	known   bool
	running bool
	left    bool
}

// Reserve takes a place, or refuses at once when too many wait. Half of the
// places are kept for those known to use the account from where they come.
func (h *Hasher) Reserve(known bool) (*Turn, error) {
	if !known {
		select {
		case h.others <- struct{}{}:
		default:
			return nil, h.shed()
		}
	}
	select {
	case h.waiting <- struct{}{}:
		return &Turn{hasher: h, known: known}, nil
	default:
		if !known {
			<-h.others
		}
		return nil, h.shed()
	}
}

// Busy is service_unavailable when every place is taken, so that Reserve would
// refuse anybody.
func (h *Hasher) Busy() error {
	if len(h.waiting) < cap(h.waiting) {
		return nil
	}
	return h.shed()
}

func (h *Hasher) shed() error {
	h.Metrics.Hash("shed")
	return fault.Retry(fault.ServiceUnavailable, 2*time.Second)
}

// wait waits until a worker is free.
func (t *Turn) wait(ctx context.Context) error {
	select {
	case t.hasher.running <- struct{}{}:
		t.running = true
		t.hasher.Metrics.Hash("done")
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Leave gives the place back; more than once is harmless.
func (t *Turn) Leave() {
	if t.left {
		return
	}
	t.left = true
	if t.running {
		<-t.hasher.running
	}
	<-t.hasher.waiting
	if !t.known {
		<-t.hasher.others
	}
}

// derive is the slow part of Argon2id.
func (h *Hasher) derive(c Cost, password string, salt []byte, n uint32) ([]byte, error) {
	r, err := h.compute(order{Cost: c, Salt: salt, Password: password, Length: n})
	return r.Key, err
}

// matchesBcrypt is the slow part of bcrypt.
func (h *Hasher) matchesBcrypt(hash, password string) (bool, error) {
	r, err := h.compute(order{Bcrypt: hash, Password: password})
	return r.Matches, err
}

func (h *Hasher) compute(o order) (result, error) {
	if h.worker == nil {
		return o.compute(), nil
	}
	r, err := h.worker.do(o)
	if errors.Is(err, errNoWorker) { // better slowly than not at all
		h.here <- struct{}{}
		defer func() { <-h.here }()
		return o.compute(), nil
	}
	return r, err
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
