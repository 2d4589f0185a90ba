package server

import (
	"context"
	"io"
	"log/slog"

	"github.com/authsdk/authsdk/internal/config"
	"github.com/authsdk/authsdk/internal/foundation/trace"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// NewLog makes the logger: text on a terminal, one JSON object a line
// otherwise. Every line logged under a request carries its correlation id, and
// its trace id if it is traced.
func NewLog(w io.Writer, terminal bool, cfg *config.Config) *slog.Logger {
	o := &slog.HandlerOptions{Level: levels[cfg.App.LogLevel]}
	if terminal {
		return slog.New(correlated{slog.NewTextHandler(w, o)})
	}
	return slog.New(correlated{slog.NewJSONHandler(w, o)}).With("service", cfg.App.Service, "environment", cfg.App.Environment)
}

var levels = map[string]slog.Level{
	"DEBUG": slog.LevelDebug, "INFO": slog.LevelInfo, "WARNING": slog.LevelWarn,
	"ERROR": slog.LevelError, "CRITICAL": slog.LevelError,
}

type correlated struct{ slog.Handler }

func (h correlated) Handle(ctx context.Context, r slog.Record) error {
	if id := audit.OriginOf(ctx).CorrelationID; id != "" {
		r.AddAttrs(slog.String("correlation_id", id))
	}
	if id := trace.ID(ctx); id != "" {
		r.AddAttrs(slog.String("trace_id", id))
	}
	return h.Handler.Handle(ctx, r)
}

func (h correlated) WithAttrs(a []slog.Attr) slog.Handler { return correlated{h.Handler.WithAttrs(a)} }
func (h correlated) WithGroup(n string) slog.Handler      { return correlated{h.Handler.WithGroup(n)} }
