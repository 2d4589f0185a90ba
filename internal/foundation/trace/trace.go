// Package trace records what a request did, for OpenTelemetry. It is the only
// package that knows OpenTelemetry; until Setup is called nothing is recorded
// and a span costs nothing.
package trace

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Setup sends spans to an OTLP/HTTP endpoint such as http://localhost:4318.
// ratio of the traces that start here are kept; those that a caller started
// follow the caller's decision. Spans that cannot be sent are dropped; the log
// hears of the first and of the recovery. stop sends what waits.
func Setup(ctx context.Context, endpoint, service string, ratio float64, log *slog.Logger) (stop func(context.Context) error, err error) {
	address, err := tracesURL(endpoint)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(address))
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	provider := sdk.NewTracerProvider(
		sdk.WithBatcher(&reporting{SpanExporter: exporter, log: log}),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(ratio))),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", service))))
	otel.SetTracerProvider(provider)
	recording.Store(true)
	return provider.Shutdown, nil
}

// tracesURL is where a collector takes spans: below its base address (OTLP
// specification, OTLP/HTTP request). An address that ends so is one already.
func tracesURL(endpoint string) (string, error) {
	const path = "/v1/traces"
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", err
	}
	if !strings.HasSuffix(u.Path, path) {
		u = u.JoinPath(path)
	}
	return u.String(), nil
}

// reporting tells the log when spans cannot be sent, and when they can again.
type reporting struct {
	sdk.SpanExporter
	log     *slog.Logger
	failing atomic.Bool
}

// ExportSpans returns nil: OpenTelemetry would print the error of every batch.
func (e *reporting) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	switch was := e.failing.Swap(err != nil); {
	case err != nil && !was:
		e.log.Warn("traces cannot be sent, so they are dropped", "error", err)
	case err == nil && was:
		e.log.Info("traces are sent again")
	}
	return nil
}

var (
	tracer     = otel.Tracer("github.com/authsdk/authsdk")
	propagator = propagation.TraceContext{}

	recording atomic.Bool // Setup was called
)

// Span is one step of a trace; the zero Span records nothing.
type Span struct{ span trace.Span }

// Start begins a step. name comes from a small fixed set.
func Start(ctx context.Context, name string) (context.Context, Span) {
	if !recording.Load() {
		return ctx, Span{}
	}
	ctx, span := tracer.Start(ctx, name)
	return ctx, Span{span}
}

// StartRequest begins the span of a request, in the trace that its traceparent
// header names (W3C Trace Context), if it has one.
func StartRequest(ctx context.Context, r *http.Request) (context.Context, Span) {
	if r.Header.Get("Traceparent") != "" {
		ctx = propagator.Extract(ctx, propagation.HeaderCarrier(r.Header))
	}
	if !recording.Load() { // the caller's trace is known to the log all the same
		return ctx, Span{}
	}
	ctx, span := tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer))
	return ctx, Span{span}
}

// EndRequest names the span after the route template and ends it.
func (s Span) EndRequest(method, route string, status int) {
	if s.span == nil || !s.span.IsRecording() {
		return
	}
	s.span.SetName(method + " " + route)
	s.span.SetAttributes(
		attribute.String("http.request.method", method),
		attribute.String("http.route", route),
		attribute.Int("http.response.status_code", status))
	if status >= http.StatusInternalServerError {
		s.span.SetStatus(codes.Error, "")
	}
	s.span.End()
}

// End ends a step. The error's text stays out of the trace: it may name people.
func (s Span) End(err error) {
	if s.span == nil {
		return
	}
	if err != nil {
		s.span.SetStatus(codes.Error, "")
	}
	s.span.End()
}

// ID returns the trace id of ctx for the log, empty when nothing is recorded.
func ID(ctx context.Context) string {
	span := trace.SpanContextFromContext(ctx)
	if !span.IsSampled() {
		return ""
	}
	return span.TraceID().String()
}
