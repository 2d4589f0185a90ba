package metric_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/metric"
)

// scrape reads the counters as Prometheus does: series → value. Whatever it
// cannot read fails the test.
func scrape(t *testing.T, m *metric.Metrics) map[string]float64 {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	series := map[string]float64{}
	kind := map[string]string{}
	sample := regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*\})? (\S+)$`)
	for line := range strings.SplitSeq(strings.TrimSuffix(w.Body.String(), "\n"), "\n") {
		if words := strings.Fields(line); strings.HasPrefix(line, "# ") {
			if len(words) < 4 || words[1] != "HELP" && words[1] != "TYPE" {
				t.Errorf("what is %q?", line)
			} else if words[1] == "TYPE" {
				kind[words[2]] = words[3]
			}
			continue
		}
		found := sample.FindStringSubmatch(line)
		if found == nil {
			t.Errorf("what is %q?", line)
			continue
		}
		value, err := strconv.ParseFloat(found[3], 64)
		if err != nil {
			t.Errorf("%q: %v", line, err)
		}
		name := found[1]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, ok := strings.CutSuffix(name, suffix); ok && (kind[base] == "histogram" || kind[base] == "summary") {
				name = base
			}
		}
		if kind[name] == "" {
			t.Errorf("%q has no type", line)
		}
		if _, twice := series[found[1]+found[2]]; twice {
			t.Errorf("%q comes twice", line)
		}
		series[found[1]+found[2]] = value
	}
	return series
}

func TestWhatHappensIsCounted(t *testing.T) {
	failed := errors.New("refused")
	for _, row := range []struct {
		name   string
		happen func(m *metric.Metrics)
		series string
		value  float64
	}{
		{"an answer", func(m *metric.Metrics) { m.Request("GET", "/a/{id}", 404, time.Second) },
			`auth_service_http_requests_total{method="GET",path="/a/{id}",status="404"}`, 1},
		{"how long it took", func(m *metric.Metrics) { m.Request("GET", "/a/{id}", 404, 1500*time.Millisecond) },
			`auth_service_http_request_duration_seconds_sum{method="GET",path="/a/{id}"}`, 1.5},
		{"that it took long", func(m *metric.Metrics) { m.Request("GET", "/", 200, 1500*time.Millisecond) },
			`auth_service_http_request_duration_seconds_bucket{method="GET",path="/",le="1"}`, 0},
		{"but not very long", func(m *metric.Metrics) { m.Request("GET", "/", 200, 1500*time.Millisecond) },
			`auth_service_http_request_duration_seconds_bucket{method="GET",path="/",le="2.5"}`, 1},
		{"a sign-in", func(m *metric.Metrics) { m.Login("password", "success") }, `auth_service_logins_total{outcome="success",provider="password"}`, 1},
		{"a sign-up", func(m *metric.Metrics) { m.Signup("taken") }, `auth_service_signups_total{outcome="taken"}`, 1},
		{"a refresh", func(m *metric.Metrics) { m.Refresh("theft") }, `auth_service_refreshes_total{decision="theft"}`, 1},
		{"a check", func(m *metric.Metrics) { m.Check("cache") }, `auth_service_session_checks_total{source="cache"}`, 1},
		{"an event within its limit", func(m *metric.Metrics) { m.Limit("ip", true, "redis") },
			`auth_service_rate_limit_decisions_total{decision="allowed",rule="ip",store="redis"}`, 1},
		{"an event beyond it", func(m *metric.Metrics) { m.Limit("ip", false, "memory") },
			`auth_service_rate_limit_decisions_total{decision="denied",rule="ip",store="memory"}`, 1},
		{"a mail", func(m *metric.Metrics) { m.Mail(nil) }, `auth_service_mails_total{outcome="sent"}`, 1},
		{"a mail that was refused", func(m *metric.Metrics) { m.Mail(failed) }, `auth_service_mails_total{outcome="failed"}`, 1},
		{"a job", func(m *metric.Metrics) { m.Job("mail", nil, false, 0) }, `auth_service_jobs_total{kind="mail",outcome="done"}`, 1},
		{"a job that worked at the last attempt", func(m *metric.Metrics) { m.Job("mail", nil, true, 0) }, `auth_service_jobs_total{kind="mail",outcome="done"}`, 1},
		{"a job that failed", func(m *metric.Metrics) { m.Job("mail", failed, false, 0) }, `auth_service_jobs_total{kind="mail",outcome="failed"}`, 1},
		{"a job that failed for good", func(m *metric.Metrics) { m.Job("mail", failed, true, 0) }, `auth_service_jobs_total{kind="mail",outcome="given_up"}`, 1},
		{"how long a job took", func(m *metric.Metrics) { m.Job("mail", failed, true, 3*time.Second) }, `auth_service_job_duration_seconds_sum{kind="mail"}`, 3},
		{"a hash", func(m *metric.Metrics) { m.Hash("shed") }, `auth_service_password_hashes_total{outcome="shed"}`, 1},
		{"a value that is read", func(m *metric.Metrics) { m.Gauge("things", "Things.", func() float64 { return 7 }) }, `auth_service_things`, 7},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := metric.New()
			row.happen(m)
			got := scrape(t, m)
			if value, there := got[row.series]; !there || value != row.value {
				t.Errorf("%s: %v (there: %t), want %v", row.series, value, there, row.value)
			}
		})
	}
}

func TestTheProcessIsMeasured(t *testing.T) {
	got := scrape(t, metric.New())
	for _, name := range []string{"go_goroutines", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"} {
		if got[name] <= 0 && name != "process_cpu_seconds_total" {
			t.Errorf("%s is %v", name, got[name])
		}
	}
}

func TestALabelCannotBreakTheFormat(t *testing.T) {
	m := metric.New()
	m.Login("a\"b\\c\nd} 1", "x")
	if got := scrape(t, m)[`auth_service_logins_total{outcome="x",provider="a\"b\\c\nd} 1"}`]; got != 1 {
		t.Error(got)
	}
}

func TestEachMetricsCountsForItself(t *testing.T) {
	a, b := metric.New(), metric.New()
	a.Signup("created")
	if scrape(t, b)[`auth_service_signups_total{outcome="created"}`] != 0 {
		t.Error("they share a registry")
	}
}

func TestCountersAreForManyAtOnce(t *testing.T) {
	m := metric.New()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				m.Check("cache")
				m.Request("GET", "/", 200, time.Millisecond)
			}
		})
	}
	all.Wait()
	got := scrape(t, m)
	if got[`auth_service_session_checks_total{source="cache"}`] != 800 || got[`auth_service_http_requests_total{method="GET",path="/",status="200"}`] != 800 {
		t.Error(got)
	}
}

// Services take a nil *Metrics in tests and tools: every method must.
func TestNoMetricsCountNothing(t *testing.T) {
	var none *metric.Metrics
	v := reflect.ValueOf(none)
	for i := range v.NumMethod() {
		name := v.Type().Method(i).Name
		t.Run(name, func(t *testing.T) {
			var in []reflect.Value
			for j := range v.Method(i).Type().NumIn() {
				in = append(in, reflect.Zero(v.Method(i).Type().In(j)))
			}
			v.Method(i).Call(in)
		})
	}
	w := httptest.NewRecorder()
	none.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("it shows %d %s", w.Code, w.Body)
	}
}
