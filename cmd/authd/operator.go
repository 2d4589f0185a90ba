package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/server"
)

// withOperator acts on the configured database as its operator: with the same
// services as a server, so that every rule holds here, too. What is recorded
// says that it came from the command line.
func withOperator(e *env, act func(ctx context.Context, s *server.Services) error) error {
	cfg, err := load(e)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(e.err, &slog.HandlerOptions{Level: slog.LevelError}))
	s, end, err := server.Operator(e.ctx, cfg, log)
	if err != nil {
		return err
	}
	defer end()
	return sentence(act(audit.WithOrigin(e.ctx, audit.Origin{
		CorrelationID: "cli-" + uuid.NewString(), UserAgent: "authd " + version + " (command line)",
	}), s))
}

// sentence is a refusal in the words of the catalogue.
func sentence(err error) error {
	var f *fault.Fault
	if !errors.As(err, &f) {
		return err
	}
	text := f.Code.Detail
	for _, field := range f.Fields {
		text += fmt.Sprintf(" (%s %s)", field.Field, field.Message)
	}
	return errors.New(text)
}
