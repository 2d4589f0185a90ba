// Package metric counts what happens, for Prometheus.
//
// Labels come from small fixed sets (route templates, codes, kinds), never from
// input. Every method works on a nil *Metrics, which counts nothing.
package metric

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics holds every counter of the process.
type Metrics struct {
	registry *prometheus.Registry

	requests  *prometheus.CounterVec
	answers   found[answer, answered]
	durations *prometheus.HistogramVec
	logins    *prometheus.CounterVec
	signups   *prometheus.CounterVec
	refreshes *prometheus.CounterVec
	checks    map[string]prometheus.Counter // by source: found once, as each request counts here
	limited   *prometheus.CounterVec
	decisions found[decision, prometheus.Counter]
	mails     *prometheus.CounterVec
	jobs      *prometheus.CounterVec
	jobTime   *prometheus.HistogramVec
	hashes    *prometheus.CounterVec
	dropped   *prometheus.CounterVec

	deliveries   *prometheus.CounterVec
	deliveryTime *prometheus.HistogramVec

	clientTokens   *prometheus.CounterVec
	introspections *prometheus.CounterVec
	introspected   found[introspection, prometheus.Counter]
}

const namespace = "auth_service"

// New makes the counters.
func New() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
		m.registry.MustRegister(h)
		return h
	}
	m.requests = counter("http_requests_total", "Requests answered. path is the route template, or unmatched.", "method", "path", "status")
	m.durations = histogram("http_request_duration_seconds", "Time to answer a request.",
		[]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15}, "method", "path")
	m.logins = counter("logins_total", "Sign-ins by method and outcome (success or the error code).", "provider", "outcome")
	m.signups = counter("signups_total", "Sign-ups answered: created or taken.", "outcome")
	m.refreshes = counter("refreshes_total", "Refresh tokens presented, by decision: rotate, echo, retry, theft, limited or refused.", "decision")
	checks := counter("session_checks_total", "Access tokens checked against sessions: from the cache, from SQL, or refused by the revocation set.", "source")
	m.checks = map[string]prometheus.Counter{}
	for _, source := range []string{"cache", "sql", "revocations"} {
		m.checks[source] = checks.WithLabelValues(source)
	}
	m.limited = counter("rate_limit_decisions_total", "Rate-limit decisions. store is redis, or memory in one process or while Redis is down.", "rule", "decision", "store")
	m.mails = counter("mails_total", "Mails handed to the mail server: sent or failed (failed ones are tried again).", "outcome")
	m.jobs = counter("jobs_total", "Job attempts: done, failed (tried again) or given_up.", "kind", "outcome")
	m.jobTime = histogram("job_duration_seconds", "Time a job attempt took.", prometheus.ExponentialBuckets(.001, 4, 9), "kind")
	m.hashes = counter("password_hashes_total", "Password hashes asked for: done, or shed because too many waited.", "outcome")
	m.dropped = counter("audit_events_dropped_total", "Events of uses that were not recorded, because too many different ones came at once.")
	m.deliveries = counter("webhook_deliveries_total", "Attempts at webhook deliveries: delivered, failed (tried again), abandoned, or lost and unknown, which come again.", "outcome")
	m.deliveryTime = histogram("webhook_delivery_seconds", "Time an attempt at a webhook delivery took.", prometheus.ExponentialBuckets(.004, 4, 8))
	m.clientTokens = counter("client_tokens_total", "Tokens that machine clients asked for: success or the error code.", "outcome")
	m.introspections = counter("introspections_total", "API keys introspected, by outcome (valid or the code) and source: cache, sql, or format if nothing was looked up.", "outcome", "source")
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Gauge adds a value that is read when it is asked for.
func (m *Metrics) Gauge(name, help string, read func() float64) {
	if m != nil {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, read))
	}
}

// Handler serves the counters in the Prometheus text format.
func (m *Metrics) Handler() http.Handler {
	if m == nil {
		return http.NotFoundHandler()
	}
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Request counts an answered request.
func (m *Metrics) Request(method, route string, status int, took time.Duration) {
	if m == nil {
		return
	}
	a := m.answers.of(answer{method, route, status}, func() answered {
		return answered{m.requests.WithLabelValues(method, route, strconv.Itoa(status)), m.durations.WithLabelValues(method, route)}
	})
	a.count.Inc()
	a.time.Observe(took.Seconds())
}

type answer struct {
	method, route string
	status        int
}

type answered struct {
	count prometheus.Counter
	time  prometheus.Observer
}

// found remembers counters that are asked for all the time: finding one by its
// labels costs more than to count.
type found[K comparable, V any] struct {
	mu sync.RWMutex
	by map[K]V
}

func (f *found[K, V]) of(k K, find func() V) V {
	f.mu.RLock()
	v, ok := f.by[k]
	f.mu.RUnlock()
	if ok {
		return v
	}
	v = find()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.by == nil {
		f.by = map[K]V{}
	}
	f.by[k] = v
	return v
}

// Login counts a sign-in: outcome is success or an error code.
func (m *Metrics) Login(provider, outcome string) {
	if m != nil {
		m.logins.WithLabelValues(provider, outcome).Inc()
	}
}

// Signup counts an answered sign-up.
func (m *Metrics) Signup(outcome string) {
	if m != nil {
		m.signups.WithLabelValues(outcome).Inc()
	}
}

// Refresh counts a presented refresh token.
func (m *Metrics) Refresh(decision string) {
	if m != nil {
		m.refreshes.WithLabelValues(decision).Inc()
	}
}

// Check counts where the answer to a session check came from.
func (m *Metrics) Check(source string) {
	if m != nil {
		m.checks[source].Inc()
	}
}

// Limit counts a rate-limit decision.
func (m *Metrics) Limit(rule string, allowed bool, store string) {
	if m == nil {
		return
	}
	m.decisions.of(decision{rule, store, allowed}, func() prometheus.Counter {
		return m.limited.WithLabelValues(rule, pick(allowed, "allowed", "denied"), store)
	}).Inc()
}

type decision struct {
	rule, store string
	allowed     bool
}

// Mail counts a mail that was handed over, or was not.
func (m *Metrics) Mail(err error) {
	if m != nil {
		m.mails.WithLabelValues(pick(err == nil, "sent", "failed")).Inc()
	}
}

// Job counts a job attempt.
func (m *Metrics) Job(kind string, err error, last bool, took time.Duration) {
	if m == nil {
		return
	}
	outcome := "done"
	if err != nil {
		outcome = pick(last, "given_up", "failed")
	}
	m.jobs.WithLabelValues(kind, outcome).Inc()
	m.jobTime.WithLabelValues(kind).Observe(took.Seconds())
}

// Hash counts a password hash, or one that was shed.
func (m *Metrics) Hash(outcome string) {
	if m != nil {
		m.hashes.WithLabelValues(outcome).Inc()
	}
}

// Delivery counts an attempt at a webhook delivery.
func (m *Metrics) Delivery(outcome string, took time.Duration) {
	if m != nil {
		m.deliveries.WithLabelValues(outcome).Inc()
		m.deliveryTime.WithLabelValues().Observe(took.Seconds())
	}
}

// AuditDropped counts events of uses that were not recorded.
func (m *Metrics) AuditDropped(n int) {
	if m != nil {
		m.dropped.WithLabelValues().Add(float64(n))
	}
}

// ClientToken counts a token that a machine client asked for.
func (m *Metrics) ClientToken(outcome string) {
	if m != nil {
		m.clientTokens.WithLabelValues(outcome).Inc()
	}
}

// Introspection counts an API key that was introspected.
func (m *Metrics) Introspection(outcome, source string) {
	if m == nil {
		return
	}
	m.introspected.of(introspection{outcome, source}, func() prometheus.Counter {
		return m.introspections.WithLabelValues(outcome, source)
	}).Inc()
}

type introspection struct{ outcome, source string }

func pick(yes bool, a, b string) string {
	if yes {
		return a
	}
	return b
}
