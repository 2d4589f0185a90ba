package main

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// anyNumber of requests.
const anyNumber = -1

// connections is how many requests a closed loop has in flight.
const connections = 16

// An act is somebody who asks: an account that logs in, a session that refreshes.
// It asks one thing at a time.
type act interface {
	request(b []byte) []byte
	// reply takes a good answer. again says that the act can ask once more.
	reply(body []byte) (again bool, err error)
}

// A crowd is the acts that wait for their turn, the longest waiting first.
type crowd struct {
	mu   sync.Mutex
	acts []act
}

func (c *crowd) join(acts ...act) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acts = append(c.acts, acts...)
}

func (c *crowd) next() (act, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.acts) == 0 {
		return nil, false
	}
	a := c.acts[0]
	c.acts = c.acts[1:]
	return a, true
}

func (c *crowd) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.acts)
}

// do has an act ask on a wire. Any answer but a good one is an error.
func (c *crowd) do(w *wire, a act) error {
	got, err := w.ask(a.request)
	if err != nil {
		return err
	}
	if got.status/100 != 2 {
		return refused(got)
	}
	again, err := a.reply(got.body)
	if again {
		c.join(a)
	}
	return err
}

// closed runs a closed loop: each of n connections asks as soon as it is
// answered, for a time and for at most that many requests (anyNumber sets no bound).
func closed(address string, c *crowd, n int, d time.Duration, most int) (done int, took time.Duration, err error) {
	var mu sync.Mutex
	var running sync.WaitGroup
	wires := make([]*wire, n)
	for i := range wires {
		if wires[i], err = dial(address); err != nil {
			return 0, 0, err
		}
		defer wires[i].close()
	}
	begun := 0
	start := time.Now()
	end := start.Add(d)
	begin := func() bool {
		mu.Lock()
		defer mu.Unlock()
		if err != nil || begun == most || !time.Now().Before(end) {
			return false
		}
		begun++
		return true
	}
	for _, w := range wires {
		running.Go(func() {
			for begin() {
				a, there := c.next()
				if !there {
					return
				}
				failed := c.do(w, a)
				mu.Lock()
				if done++; err == nil {
					err = failed
				}
				mu.Unlock()
			}
		})
	}
	running.Wait()
	return done, time.Since(start), err
}

// An outcome is what became of one arrival.
type outcome struct {
	latency    time.Duration // from when it was due, not from when it was sent
	status     int
	retryAfter bool
	err        error
}

// A stream is an open model: arrivals come at a rate, whether or not earlier
// ones are answered.
type stream struct {
	address string
	crowd   *crowd
	rate    float64 // per second

	mu       sync.Mutex
	idle     []*wire
	outcomes []outcome
}

// run lets arrivals come for a time, waits for their answers and tells them all.
// It ends early when nobody is left who could ask.
func (s *stream) run(d time.Duration) []outcome {
	var running sync.WaitGroup
	start := time.Now()
	due := start
	for {
		due = due.Add(time.Duration(rand.ExpFloat64() / s.rate * float64(time.Second)))
		if due.Sub(start) > d {
			break
		}
		time.Sleep(time.Until(due))
		a, there := s.crowd.next()
		if !there {
			break
		}
		at := due
		running.Go(func() { s.arrive(a, at) })
	}
	running.Wait()
	for _, w := range s.idle {
		w.close()
	}
	s.idle = nil
	return s.outcomes
}

func (s *stream) arrive(a act, due time.Time) {
	o := outcome{}
	w, err := s.wire()
	if err == nil {
		var got answer
		if got, err = w.ask(a.request); err == nil {
			o.latency, o.status, o.retryAfter = time.Since(due), got.status, got.retryAfter
			again := true
			if got.status/100 == 2 {
				again, err = a.reply(got.body)
			} else if got.status != 503 {
				err = refused(got)
			}
			if again {
				s.crowd.join(a)
			}
		}
		s.giveBack(w, err == nil && !got.last)
	}
	o.err = err
	s.mu.Lock()
	s.outcomes = append(s.outcomes, o)
	s.mu.Unlock()
}

func (s *stream) wire() (*wire, error) {
	s.mu.Lock()
	if n := len(s.idle); n > 0 {
		w := s.idle[n-1]
		s.idle = s.idle[:n-1]
		s.mu.Unlock()
		return w, nil
	}
	s.mu.Unlock()
	return dial(s.address)
}

func (s *stream) giveBack(w *wire, good bool) {
	if !good {
		w.close()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = append(s.idle, w)
}

// latencies of a run in which every answer had to be good.
func latencies(outcomes []outcome) (all []time.Duration, err error) {
	for _, o := range outcomes {
		if o.err == nil && o.status/100 != 2 {
			o.err = fmt.Errorf("answered %d", o.status)
		}
		if o.err != nil {
			return nil, o.err
		}
		all = append(all, o.latency)
	}
	return all, nil
}
