package trace

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// collector takes spans as an OpenTelemetry collector does.
type collector struct {
	*httptest.Server
	answer func(w http.ResponseWriter, r *http.Request) // 200 if nil

	mu     sync.Mutex
	bodies [][]byte
}

func newCollector(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) *collector {
	t.Helper()
	c := &collector{answer: answer}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != "POST" || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%v: %s %s %v", err, r.Method, r.URL, r.Header)
		}
		c.mu.Lock()
		c.bodies = append(c.bodies, body)
		c.mu.Unlock()
		if c.answer != nil {
			c.answer(w, r)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// record sends spans to an endpoint for the length of a test. stop is what
// Setup returned.
func record(t *testing.T, endpoint string, ratio float64, log *slog.Logger) (stop func(context.Context) error) {
	t.Helper()
	stop, err := Setup(t.Context(), endpoint, "auth-service", ratio, log)
	if err != nil {
		t.Fatal(err)
	}
	before := tracer // which is bound to the first provider there was
	tracer = otel.GetTracerProvider().Tracer("test")
	t.Cleanup(func() {
		tracer = before
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		stop(gone)
	})
	return stop
}

// A span as it came.
type sent struct {
	Name, Parent string
	Trace        string
	Kind         uint64
	Status       uint64
	Attributes   map[string]string
}

// fields reads one protobuf message: its numbers and its bytes, by field.
func fields(t *testing.T, message []byte) (numbers map[uint64]uint64, parts map[uint64][][]byte) {
	t.Helper()
	numbers, parts = map[uint64]uint64{}, map[uint64][][]byte{}
	for len(message) > 0 {
		tag, n := binary.Uvarint(message)
		message = message[n:]
		switch tag & 7 {
		case 0:
			numbers[tag>>3], n = binary.Uvarint(message)
		case 1:
			n = 8
		case 2:
			length, m := binary.Uvarint(message)
			n = m + int(length)
			parts[tag>>3] = append(parts[tag>>3], message[m:n])
		case 5:
			n = 4
		default:
			t.Fatalf("not protobuf: %x", message)
		}
		message = message[n:]
	}
	return numbers, parts
}

func first(parts [][]byte) []byte {
	if len(parts) == 0 {
		return nil
	}
	return parts[0]
}

// spans reads what came, by name; resource is the attributes of the sender.
func (c *collector) spans(t *testing.T) (spans map[string]sent, resource map[string]string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	spans = map[string]sent{}
	for _, body := range c.bodies {
		_, request := fields(t, body)
		for _, group := range request[1] { // resource_spans
			_, group := fields(t, group)
			_, about := fields(t, first(group[1]))
			resource = attributes(t, about[1])
			for _, scope := range group[2] {
				_, scope := fields(t, scope)
				for _, span := range scope[2] {
					numbers, parts := fields(t, span)
					status, _ := fields(t, first(parts[15]))
					s := sent{
						Name: string(first(parts[5])), Parent: hex.EncodeToString(first(parts[4])), Trace: hex.EncodeToString(first(parts[1])),
						Kind: numbers[6], Status: status[3], Attributes: attributes(t, parts[9]),
					}
					if len(parts[11]) > 0 { // events
						t.Errorf("%s has events: %q", s.Name, parts[11])
					}
					spans[s.Name] = s
				}
			}
		}
	}
	return spans, resource
}

func attributes(t *testing.T, list [][]byte) map[string]string {
	m := map[string]string{}
	for _, pair := range list {
		_, pair := fields(t, pair)
		number, text := fields(t, first(pair[2]))
		value := string(first(text[1]))
		if n, ok := number[3]; ok {
			value = fmt.Sprint(n)
		}
		m[string(first(pair[1]))] = value
	}
	return m
}

const (
	callersTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	callersSpan  = "00f067aa0ba902b7"
	callers      = "00-" + callersTrace + "-" + callersSpan + "-"
)

// serve is a request to a route as the edge sees it.
func serve(traceparent, route string, status int, inside func(ctx context.Context)) {
	r := httptest.NewRequest("GET", "/raw/s3cret?token=s3cret", nil)
	r.Header.Set("Authorization", "Bearer s3cret")
	r.Header.Set("Baggage", "user=s3cret")
	if traceparent != "" {
		r.Header.Set("Traceparent", traceparent)
	}
	ctx, span := StartRequest(r.Context(), r)
	if inside != nil {
		inside(ctx)
	}
	span.EndRequest("GET", route, status)
}

func TestBeforeSetupNothingIsRecorded(t *testing.T) {
	if _, called := otel.GetTracerProvider().(*sdk.TracerProvider); called {
		t.Skip("this process has called Setup")
	}
	serve(callers+"01", "/a", 200, func(ctx context.Context) {
		ctx, span := Start(ctx, "step")
		if id := ID(ctx); id != callersTrace { // the caller's trace goes on, recorded elsewhere
			t.Errorf("the trace is %q", id)
		}
		span.End(errors.New("x"))
	})
	serve("", "/a", 200, func(ctx context.Context) {
		if id := ID(ctx); id != "" {
			t.Errorf("the trace is %q", id)
		}
	})
}

func TestSpans(t *testing.T) {
	c := newCollector(t, nil)
	stop := record(t, c.URL, 1, slog.New(slog.DiscardHandler))
	rows := []struct {
		name, traceparent string
		status            int
		parent, trace     string // empty trace: one of its own
		failed            bool
		lost              bool
	}{
		{name: "a request of nobody's trace", status: 200},
		{name: "a request of a caller's trace", traceparent: callers + "01", status: 200, parent: callersSpan, trace: callersTrace},
		{name: "a caller that does not record", traceparent: callers + "00", status: 200, lost: true},
		{name: "a traceparent that is none", traceparent: "s3cret", status: 200},
		{name: "a traceparent of zeros", traceparent: "00-" + strings.Repeat("0", 32) + "-" + strings.Repeat("0", 16) + "-01", status: 200},
		{name: "a traceparent of a later version", traceparent: "cc-" + callersTrace + "-" + callersSpan + "-01-what", status: 200, parent: callersSpan, trace: callersTrace},
		{name: "a refusal is no failure", status: 404},
		{name: "a failure", status: 500, failed: true},
	}
	for i, row := range rows {
		serve(row.traceparent, fmt.Sprintf("/route/%d/{id}", i), row.status, nil)
	}
	serve(callers+"01", "/with/steps", 200, func(ctx context.Context) {
		if id := ID(ctx); id != callersTrace {
			t.Errorf("the log would name trace %q", id)
		}
		_, good := Start(ctx, "step.good")
		good.End(nil)
		_, bad := Start(ctx, "step.bad")
		bad.End(errors.New("s3cret@example.com is taken"))
	})
	if err := stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, resource := c.spans(t)
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			name := fmt.Sprintf("GET /route/%d/{id}", i)
			span, there := got[name]
			if there == row.lost {
				t.Fatalf("sent: %t", there)
			}
			if row.lost {
				return
			}
			if row.trace == "" && len(span.Trace) == 32 && span.Trace != callersTrace {
				row.trace = span.Trace
			}
			want := sent{Name: name, Parent: row.parent, Trace: row.trace, Kind: 2, Attributes: map[string]string{
				"http.request.method": "GET", "http.route": fmt.Sprintf("/route/%d/{id}", i), "http.response.status_code": fmt.Sprint(row.status)}}
			if row.failed {
				want.Status = 2
			}
			if diff := cmp.Diff(want, span); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("steps are within their request", func(t *testing.T) {
		if good := got["step.good"]; good.Trace != callersTrace || good.Parent == "" || good.Parent == callersSpan || good.Status != 0 {
			t.Errorf("%+v", good)
		}
		if bad := got["step.bad"]; bad.Status != 2 || bad.Parent != got["step.good"].Parent || len(bad.Attributes) != 0 {
			t.Errorf("%+v", bad)
		}
	})
	t.Run("the sender is named", func(t *testing.T) {
		if diff := cmp.Diff(map[string]string{"service.name": "auth-service"}, resource); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("nothing of the request itself is told", func(t *testing.T) {
		for _, body := range c.bodies {
			if bytes.Contains(body, []byte("s3cret")) {
				t.Errorf("%q", body)
			}
		}
	})
}

func TestOfTracesThatStartHereAShareIsKept(t *testing.T) {
	c := newCollector(t, nil)
	stop := record(t, c.URL, 0, slog.New(slog.DiscardHandler))
	for range 20 {
		serve("", "/own", 500, nil)
	}
	serve(callers+"01", "/callers", 200, nil)
	if err := stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, _ := c.spans(t); len(got) != 1 || got["GET /callers"].Trace != callersTrace {
		t.Errorf("%v", got)
	}
}

func TestWhereSpansAreSent(t *testing.T) {
	for _, row := range []struct{ name, endpoint, want string }{
		{"a collector", "http://localhost:4318", "http://localhost:4318/v1/traces"},
		{"with a slash", "http://localhost:4318/", "http://localhost:4318/v1/traces"},
		{"below a path", "https://otlp.example.com/otlp", "https://otlp.example.com/otlp/v1/traces"},
		{"the whole address", "https://otlp.example.com/otlp/v1/traces", "https://otlp.example.com/otlp/v1/traces"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got, err := tracesURL(row.endpoint); err != nil || got != row.want {
				t.Errorf("%s, %v", got, err)
			}
		})
	}
	if _, err := Setup(t.Context(), "http://[::1", "auth-service", 1, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("what is no URL is accepted")
	}
}

func TestACollectorThatFails(t *testing.T) {
	release := make(chan struct{})
	down := newCollector(t, nil)
	down.Close()
	rows := []struct {
		name     string
		endpoint string
		stops    string // what stop answers
	}{
		{"is down", down.URL, ""},
		{"refuses", newCollector(t, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", 404) }).URL, ""},
		{"asks to wait", newCollector(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) }).URL, "deadline"},
		{"never answers", newCollector(t, func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}).URL, "deadline"},
	}
	t.Cleanup(func() { close(release) }) // before the collectors close
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var said bytes.Buffer
			stop := record(t, row.endpoint, 1, slog.New(slog.NewTextHandler(&said, nil)))
			begin := time.Now()
			for range 10_000 { // more than the queue holds
				serve("", "/a", 200, nil)
			}
			if took := time.Since(begin); took > 30*time.Second {
				t.Errorf("requests took %v", took)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			stopped := make(chan error, 1)
			go func() { stopped <- stop(ctx) }()
			select {
			case err := <-stopped:
				if (row.stops == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), row.stops) {
					t.Errorf("stop: %v", err)
				}
			case <-time.After(30 * time.Second):
				t.Fatal("stop does not end")
			}
			if row.stops == "" { // else an attempt may still be under way
				if n := strings.Count(said.String(), "level=WARN"); n != 1 || !strings.Contains(said.String(), "traces cannot be sent") {
					t.Errorf("said %d times: %s", n, &said)
				}
			}
		})
	}
}

func TestACollectorThatComesBack(t *testing.T) {
	var said bytes.Buffer
	fail := true
	exporter := &reporting{SpanExporter: exporterFunc(func() error {
		if fail {
			return errors.New("connection refused")
		}
		return nil
	}), log: slog.New(slog.NewTextHandler(&said, nil))}
	for _, down := range []bool{false, true, true, false, false, true} {
		fail = down
		if err := exporter.ExportSpans(t.Context(), nil); err != nil {
			t.Error(err)
		}
	}
	if warned, told := strings.Count(said.String(), "level=WARN"), strings.Count(said.String(), "level=INFO"); warned != 2 || told != 1 {
		t.Errorf("%s", &said)
	}
}

type exporterFunc func() error

func (f exporterFunc) ExportSpans(context.Context, []sdk.ReadOnlySpan) error { return f() }
func (f exporterFunc) Shutdown(context.Context) error                        { return nil }
