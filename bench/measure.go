package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// A figure is what one endpoint costs on one engine.
type figure struct {
	Engine   string `json:"engine"`
	Endpoint string `json:"endpoint"`

	CPU     float64 `json:"cpu_ms"`               // of the server, for one request; median of the rounds
	Ceiling float64 `json:"ceiling_ms,omitempty"` // the sum of its parts
	Ratio   float64 `json:"ratio,omitempty"`      // ceiling / CPU, median of the rounds
	Low     float64 `json:"ratio_low,omitempty"`  // of the rounds
	High    float64 `json:"ratio_high,omitempty"`
	Strict  float64 `json:"ratio_strict,omitempty"`
	Sign    float64 `json:"rsa_sign_ms"` // beside it: how quick the machine was

	Seen float64       `json:"requests_per_second"` // by 16 connections
	Rate float64       `json:"open_rate"`           // of the open model
	P50  time.Duration `json:"p50_ns"`
	P99  time.Duration `json:"p99_ns"`
	Peak int64         `json:"peak_bytes"`
}

// plan is how long things are measured.
type plan struct {
	rounds int           // each between two measurements of the ceilings
	slice  time.Duration // the load of one round
	warmUp time.Duration
	open   time.Duration // of the open model
}

// measureEndpoint puts load on the site in slices, with the ceilings measured
// before and after each: the machine is not as quick at one moment as at another.
func measureEndpoint(s *site, c *ceilings, p plan, sc scenario) (f figure, costs []map[part]float64, err error) {
	f = figure{Engine: s.engine, Endpoint: sc.name}
	run, err := sc.begin(s)
	if err != nil {
		return f, nil, err
	}
	if err := s.forgetPeak(); err != nil {
		return f, nil, err
	}
	if p.warmUp > 0 {
		if _, _, err := run.load(p.warmUp); err != nil {
			return f, nil, fmt.Errorf("warm-up: %w", err)
		}
	}
	parts := append(slices.Concat(sc.parts, sc.strict), sign)
	before, err := c.costs(parts)
	if err != nil {
		return f, nil, err
	}
	var cpu, sums, ratios, strict, signs, seen []float64
	for range p.rounds {
		n, took, used, err := run.measured(p.slice)
		if err != nil {
			return f, nil, err
		}
		after, err := c.costs(parts)
		if err != nil {
			return f, nil, err
		}
		beside := between(before, after)
		before = after
		micros := float64(used.Nanoseconds()) / 1e3 / float64(n)
		costs = append(costs, beside)
		cpu = append(cpu, micros)
		seen = append(seen, float64(n)/took.Seconds())
		signs = append(signs, beside[sign])
		if ceiling := sum(sc.parts, beside); ceiling > 0 {
			sums, ratios = append(sums, ceiling), append(ratios, ceiling/micros)
			strict = append(strict, sum(sc.strict, beside)/micros)
		}
	}
	f.CPU, f.Ceiling, f.Sign, f.Seen = median(cpu)/1e3, median(sums)/1e3, median(signs)/1e3, median(seen)
	if len(ratios) > 0 {
		f.Ratio, f.Low, f.High, f.Strict = median(ratios), slices.Min(ratios), slices.Max(ratios), median(strict)
	}
	if p.open > 0 {
		f.Rate = f.Seen / 2
		all, err := run.open(f.Rate, p.open)
		if err != nil {
			return f, nil, fmt.Errorf("open model: %w", err)
		}
		f.P50, f.P99 = percentile(all, 50), percentile(all, 99)
	}
	_, f.Peak, err = s.memory()
	return f, costs, err
}

// between is what parts cost in the middle of two measurements.
func between(before, after map[part]float64) map[part]float64 {
	mean := map[part]float64{}
	for p := range before {
		mean[p] = (before[p] + after[p]) / 2
	}
	return mean
}

// A running is a scenario on a site, prepared.
type running struct {
	scenario
	site  *site
	crowd *crowd
}

func (sc scenario) begin(s *site) (*running, error) {
	c, err := sc.prepare(s)
	if err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	return &running{sc, s, c}, nil
}

// ready brings the crowd up to a size, if it shrinks by asking.
func (r *running) ready(size int) error {
	if r.refill == nil {
		return nil
	}
	return r.refill(r.site, r.crowd, size)
}

func (r *running) load(d time.Duration) (n int, took time.Duration, err error) {
	n, took, _, err = r.measured(d)
	return n, took, err
}

// measured is a slice of load in a closed loop, and what it cost the server.
func (r *running) measured(d time.Duration) (n int, took, used time.Duration, err error) {
	if err := r.ready(r.fresh); err != nil {
		return 0, 0, 0, err
	}
	before, err := r.site.cpu()
	if err != nil {
		return 0, 0, 0, err
	}
	if r.slice != nil {
		n, took, err = r.slice(r.site, r.crowd, d)
	} else {
		n, took, err = closed(r.site.address, r.crowd, connections, d, anyNumber)
	}
	if err == nil && n == 0 {
		err = fmt.Errorf("nobody asked")
	}
	if err != nil {
		return 0, 0, 0, err
	}
	after, err := r.site.cpu()
	return n, took, after - before, err
}

// open lets requests arrive at a rate.
func (r *running) open(rate float64, d time.Duration) ([]time.Duration, error) {
	if err := r.ready(int(d.Seconds()) * r.fresh); err != nil {
		return nil, err
	}
	outcomes := (&stream{address: r.site.address, crowd: r.crowd, rate: rate}).run(d)
	if r.slice != nil { // the first step only; the others must not wait
		if _, _, err := r.site.prove(r.crowd); err != nil {
			return nil, err
		}
	}
	return latencies(outcomes)
}

// atRest is the memory of a server that was just started and left alone.
func atRest(ctx context.Context, s *site, d time.Duration) (int64, error) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	now, _, err := s.memory()
	return now, err
}
