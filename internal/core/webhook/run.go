package webhook

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
)

const (
	// senders is how many deliveries a process sends at once.
	senders = 64

	claimEvery = 500 * time.Millisecond
	sweepEvery = time.Minute
)

// sending is what this process sends now.
type sending struct {
	mu    sync.Mutex
	work  map[uuid.UUID]int
	total int
	freed chan struct{} // somebody ended
	all   sync.WaitGroup
}

func (b *sending) room() room {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := room{free: senders - b.total, work: map[uuid.UUID]int{}}
	for id, n := range b.work {
		r.work[id] = n
	}
	return r
}

// count is by how much the work for an endpoint grows or shrinks.
func (b *sending) count(endpoint uuid.UUID, by int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total += by
	if b.work[endpoint] += by; b.work[endpoint] == 0 {
		delete(b.work, endpoint)
	}
}

// Run claims deliveries and sends them until ctx ends; then it waits for those
// in flight, which end at their deadlines.
func (s *Service) Run(ctx context.Context) {
	b := &sending{work: map[uuid.UUID]int{}, freed: make(chan struct{}, 1)}
	defer b.all.Wait()
	tick := time.NewTicker(claimEvery)
	defer tick.Stop()
	var swept time.Time // zero: at once
	down := false
	for {
		if time.Since(swept) >= sweepEvery {
			swept = time.Now()
			if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
				s.Log.Warn("deliveries of webhooks that are switched off were not given up", "error", err)
			}
		}
		more, waiting, err := s.turn(ctx, b)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !down:
			down = true
			s.Log.Warn("webhooks cannot be claimed; they wait", "error", err)
		case err == nil && down:
			down = false
			s.Log.Info("webhooks are claimed again")
		}
		if more {
			continue
		}
		var freed chan struct{}
		if waiting { // for a sender: what ends makes room
			freed = b.freed
		}
		select {
		case <-tick.C:
		case <-freed:
		case <-ctx.Done():
			return
		}
	}
}

// turn is one claim. more tells to look again at once, waiting to look again
// when a sender ends.
func (s *Service) turn(ctx context.Context, b *sending) (more, waiting bool, err error) {
	r := b.room()
	if r.free == 0 {
		return false, true, nil
	}
	tasks, err := s.claim(ctx, r)
	if err != nil {
		return false, false, err
	}
	for _, t := range tasks {
		b.count(t.Endpoint, 1)
		b.all.Go(func() {
			s.work(context.WithoutCancel(ctx), t)
			b.count(t.Endpoint, -1)
			select {
			case b.freed <- struct{}{}:
			default:
			}
		})
	}
	return len(tasks) > 0, len(r.work) > 0, nil
}

// work sends one delivery and writes what came of it. Its ctx has no end: a
// stopping process finishes what it began.
func (s *Service) work(ctx context.Context, t task) {
	begin := time.Now()
	r := s.attempt(ctx, t)
	if r.deadline {
		s.Log.Warn("a webhook delivery was claimed too late to be sent; it comes again", "delivery", t.ID)
		return
	}
	ctx, cancel := db.Settle(ctx)
	defer cancel()
	outcome, disabled, err := s.settle(ctx, t, r)
	switch {
	case errors.Is(err, errLost):
		outcome = "lost"
		s.Log.Warn("the result of a webhook delivery came too late, or was not wanted any more", "delivery", t.ID, "status", r.status)
	case err != nil:
		outcome = "unknown"
		s.Log.Warn("the result of a webhook delivery was not written; it comes again", "delivery", t.ID, "error", err)
	}
	s.Metrics.Delivery(outcome, time.Since(begin))
	if disabled {
		s.Log.Warn("a webhook was switched off: it has been failing for days", "endpoint", t.Endpoint)
		if err := s.sweep(ctx); err != nil {
			s.Log.Warn("deliveries of webhooks that are switched off were not given up", "error", err)
		}
	}
}
