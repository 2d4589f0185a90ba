// Package web is what every HTTP face shares: middleware, the origin of a
// request, and the one way an error becomes bytes.
package web

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// Envelope is the body of every error.
type Envelope struct {
	Detail    string        `json:"detail" doc:"A sentence for people."`
	Code      string        `json:"code" doc:"What programs match on; docs/reference/errors.md lists them."`
	RequestID string        `json:"request_id" doc:"Names this request in the log; also in X-Correlation-ID."`
	Errors    []fault.Field `json:"errors,omitempty" doc:"What is wrong with which field."`
}

// Explain turns an error into status, headers and body, and logs it if the
// service is at fault. It is the only place that does.
func Explain(ctx context.Context, log *slog.Logger, err error) (status int, header http.Header, body Envelope) {
	f := asFault(ctx, err)
	if f.Code.Status >= 500 {
		log.Log(ctx, severity(ctx, f), "request failed", "code", f.Code.Slug, "error", err)
	}
	header = http.Header{}
	if f.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(int(math.Ceil(f.RetryAfter.Seconds()))))
	}
	if f.Code == fault.RateLimited { // by whatever budget: the edge may have shown one that is not used up
		header.Set("RateLimit-Remaining", "0")
	}
	for name, value := range f.Header {
		header.Set(name, value)
	}
	if f.Allow != "" {
		header.Set("Allow", f.Allow)
	}
	if f.Code.Status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", challenge(err))
	}
	return f.Code.Status, header, Envelope{f.Code.Detail, f.Code.Slug, audit.OriginOf(ctx).CorrelationID, f.Fields}
}

// severity is low for what is not our fault: the caller hung up, or something we
// depend on is down.
func severity(ctx context.Context, f *fault.Fault) slog.Level {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return slog.LevelDebug
	case f.Code == fault.ServiceUnavailable:
		return slog.LevelWarn
	}
	return slog.LevelError
}

// TokenRefused marks the error of a request that came with an access token: a
// 401 then says that the token is the reason (RFC 6750 §3.1).
type TokenRefused struct{ Err error }

func (t TokenRefused) Error() string { return t.Err.Error() }

// Unwrap returns what is wrong with the token.
func (t TokenRefused) Unwrap() error { return t.Err }

func challenge(err error) string {
	if errors.As(err, &TokenRefused{}) {
		return `Bearer error="invalid_token"`
	}
	return "Bearer"
}

func asFault(ctx context.Context, err error) *fault.Fault {
	var f *fault.Fault
	if errors.As(err, &f) {
		return f
	}
	if errors.Is(err, context.Canceled) || ctx.Err() != nil || db.IsUnavailable(err) {
		return fault.Retry(fault.ServiceUnavailable, time.Second).Because(err)
	}
	return fault.From(err)
}

// Handler is an HTTP handler that returns its error instead of writing it.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Handle adapts a Handler.
func Handle(log *slog.Logger, h Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			WriteFault(w, r, log, err)
		}
	})
}

// WriteFault writes an error as the envelope.
func WriteFault(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	status, header, body := Explain(r.Context(), log, err)
	for name, values := range header {
		w.Header()[name] = values
	}
	WriteJSON(w, status, body)
}

// WriteJSON writes a value as JSON.
func WriteJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	EncodeJSON(w, value) // a failed write has nobody left to tell
}

// EncodeJSON writes JSON as it is, without the escapes that make it safe inside
// an HTML page: no answer of ours is read as one.
func EncodeJSON(w io.Writer, value any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(value)
}
