package audit

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
)

// By is who acts for the operator: an admin over the API, or "system" on the
// command line. It carries the proof that the act asked for.
type By struct {
	Type  string    // "admin" or "system"
	ID    uuid.UUID // uuid.Nil if it is no account
	Proof func(ctx context.Context, tx *db.Tx, now time.Time) error
}

// Admit spends the proof, in the act's own transaction and before all else in
// it. Fault: action_token_invalid.
func (b By) Admit(ctx context.Context, tx *db.Tx, now time.Time) error {
	if b.Proof == nil {
		return nil
	}
	return b.Proof(ctx, tx, now)
}

// Event is an event with who did it.
func (b By) Event(t Type) Event { return Event{Type: t, ActorType: b.Type, Actor: b.ID} }
