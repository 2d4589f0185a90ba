package limit

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

const (
	redisTimeout = 500 * time.Millisecond
	redisPause   = time.Second // between two attempts while it is down

	// Commands under way at once. rueidis queues them in a ring (2^redisRing
	// places) and, when the ring is full, waits without looking at the context;
	// staying below its size keeps every wait in our hands.
	redisCalls = 128
	redisRing  = 8
)

//go:embed gcra.lua
var gcraSource string

var gcraScript = rueidis.NewLuaScript(gcraSource)

var errDown = errors.New("redis is unreachable, events are counted in this process")

// remote holds counters in Redis.
//
// The first failure takes it down: from then on requests do not touch Redis,
// and the goroutine in keep alone tries it, once a second, until it answers. So
// a Redis that hangs delays the requests of one moment by the timeout, and no
// request after them.
type remote struct {
	option  rueidis.ClientOption
	timeout time.Duration // to connect, and for one answer
	log     *slog.Logger

	client rueidis.Client // made by the first probe that connects; requests read it only while up
	up     atomic.Bool
	why    atomic.Pointer[error] // it is not up
	failed chan error            // why up became false; room for one
	calls  chan struct{}         // holds one element for each command under way

	stop func()        // ends keep
	done chan struct{} // closed when keep has ended
	once sync.Once     // for close
}

func openRemote(ctx context.Context, url string, log *slog.Logger, timeout time.Duration) (*remote, error) {
	option, err := rueidis.ParseURL(url)
	if err != nil {
		// err quotes parts of the URL, and the password may be in them.
		return nil, errors.New("limit: the Redis URL is not of the form redis://user:password@host:port/database")
	}
	option.Dialer.Timeout = timeout
	option.Sentinel.Dialer.Timeout = timeout
	option.ConnWriteTimeout = timeout
	option.DisableRetry = true // the process's own counters are the second try
	option.DisableCache = true // not needed, and some proxies refuse CLIENT TRACKING
	// The defaults, made for bulk work, would take some megabytes. One
	// connection carries all commands, pipelined.
	option.PipelineMultiplex = -1
	option.RingScaleEachConn = redisRing
	option.ReadBufferEachConn = 16 << 10
	option.WriteBufferEachConn = 16 << 10

	r := &remote{
		option:  option,
		timeout: timeout,
		log:     log,
		failed:  make(chan error, 1),
		calls:   make(chan struct{}, redisCalls),
		done:    make(chan struct{}),
	}
	// The first attempt is made here, so that a Redis which is up is used from
	// the first event on.
	err = r.probe(ctx)
	why := err
	r.why.Store(&why)
	keepCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	r.up.Store(err == nil)
	go r.keep(keepCtx, err)
	return r, nil
}

// keep waits until Redis fails, tries it until it answers, and starts over; err
// is the result of the attempt made at the start. From then on only keep sets up
// to true, and only keep logs: a warning and an info per outage.
func (r *remote) keep(ctx context.Context, err error) {
	defer close(r.done)
	for {
		if err == nil {
			select {
			case <-ctx.Done():
				return
			case err = <-r.failed:
			}
		}
		r.log.Warn("redis does not answer: rate limits are counted in this process", "error", err)
		for err != nil {
			why := err
			r.why.Store(&why)
			select {
			case <-ctx.Done():
				return
			case <-time.After(redisPause):
			}
			err = r.probe(ctx)
		}
		r.log.Info("redis answers again: rate limits are shared")
		r.up.Store(true)
	}
}

// probe runs the script on a counter of its own. A PING would not do: a Redis
// that is read-only, full or still loading answers it and then fails the rest.
func (r *remote) probe(ctx context.Context) error {
	if r.client == nil {
		client, err := rueidis.NewClient(r.option)
		if err != nil {
			return err
		}
		r.client = client
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	_, err := r.run(ctx, identify("probe", ""), pace{burst: 1, interval: 1, tolerance: 1})
	return err
}

// take counts one event; ok is false if Redis did not.
func (r *remote) take(ctx context.Context, id id, p pace) (d Decision, ok bool) {
	err := r.call(ctx, func(ctx context.Context) (err error) {
		d, err = r.run(ctx, id, p)
		return err
	})
	return d, err == nil
}

func (r *remote) ping(ctx context.Context) error {
	err := r.call(ctx, func(ctx context.Context) error {
		return r.client.Do(ctx, r.client.B().Ping().Build()).Error()
	})
	if why := *r.why.Load(); err == errDown && why != nil {
		return fmt.Errorf("%w: %w", err, why)
	}
	return err
}

// call runs one command, unless Redis is down, and takes it down if the command
// fails.
func (r *remote) call(ctx context.Context, command func(context.Context) error) error {
	if !r.up.Load() {
		return errDown
	}
	// Not the caller's deadline: a client that hangs up early is counted like
	// any other, and its hanging up is no failure of Redis.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.timeout)
	defer cancel()

	select {
	case r.calls <- struct{}{}:
		defer func() { <-r.calls }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if !r.up.Load() { // it failed while this call was waiting for its turn
		return errDown
	}
	err := command(ctx)
	if err != nil && r.up.CompareAndSwap(true, false) {
		r.failed <- err
	}
	return err
}

func (r *remote) run(ctx context.Context, id id, p pace) (Decision, error) {
	allowed, now, tat, err := r.script(ctx, id, p)
	if err != nil {
		return Decision{}, err
	}
	return p.decision(allowed, now, tat), nil
}

func (r *remote) script(ctx context.Context, id id, p pace) (allowed bool, now, tat int64, err error) {
	reply, err := gcraScript.Exec(ctx, r.client, []string{id.String()}, []string{
		strconv.FormatInt(p.interval, 10),
		strconv.FormatInt(p.tolerance, 10),
	}).AsIntSlice()
	if err != nil {
		return false, 0, 0, err
	}
	if len(reply) != 3 {
		return false, 0, 0, fmt.Errorf("limit: the script answered %d numbers, not 3", len(reply))
	}
	return reply[0] == 1, reply[1], reply[2], nil
}

func (r *remote) close() {
	r.once.Do(func() {
		r.stop()
		<-r.done
		r.up.Store(false)
		// Taking every place waits for the commands under way. A client closed
		// under them could open a connection that nobody closes.
		for range cap(r.calls) {
			r.calls <- struct{}{}
		}
		if r.client != nil {
			r.client.Close()
		}
	})
}
