// Package fault is the one error type that reaches people.
//
// A Fault is made where a rule is broken and travels up unchanged; a transport
// turns it into bytes. Any other error is an internal_server_error: its text is
// logged once and never leaves the process.
package fault

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Field says what is wrong with one input field. Message never repeats the
// rejected value.
type Field struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Fault is an error with a code of the catalogue.
type Fault struct {
	Code       Code
	Fields     []Field           // set for validation_error
	RetryAfter time.Duration     // sent as Retry-After, rounded up to a second
	Allow      string            // sent as Allow, for method_not_allowed
	Header     map[string]string // sent with it
	cause      error
}

// New returns a Fault with the code's own text.
func New(code Code) *Fault { return &Fault{Code: code} }

// Invalid returns a validation_error about one field.
func Invalid(field, message string) *Fault {
	return &Fault{Code: ValidationError, Fields: []Field{{field, message}}}
}

// Retry returns a Fault that asks the client to wait.
func Retry(code Code, after time.Duration) *Fault {
	return &Fault{Code: code, RetryAfter: after}
}

// Because returns a copy of f that remembers why, for the log.
func (f *Fault) Because(cause error) *Fault {
	g := *f
	g.cause = cause
	return &g
}

func (f *Fault) Error() string {
	var b strings.Builder
	b.WriteString(f.Code.Slug)
	for _, field := range f.Fields {
		fmt.Fprintf(&b, " (%s: %s)", field.Field, field.Message)
	}
	if f.cause != nil {
		fmt.Fprintf(&b, ": %v", f.cause)
	}
	return b.String()
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.cause }

// Is makes errors.Is(err, fault.New(code)) compare codes.
func (f *Fault) Is(target error) bool {
	t, ok := target.(*Fault)
	return ok && t.Code.Slug == f.Code.Slug
}

// From returns the Fault inside err, or an internal_server_error caused by err.
func From(err error) *Fault {
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	return New(InternalServerError).Because(err)
}

// Has reports whether err is a Fault with this code.
func Has(err error, code Code) bool {
	var f *Fault
	return errors.As(err, &f) && f.Code.Slug == code.Slug
}

// Wrap adds the name of the act to *err, if there is one:
//
//	defer fault.Wrap(&err, "recovery.Reset")
func Wrap(err *error, act string) {
	if *err != nil {
		*err = fmt.Errorf("%s: %w", act, *err)
	}
}
