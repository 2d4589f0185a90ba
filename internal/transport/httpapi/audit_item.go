package httpapi

import (
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/platform/audit"
)

// auditItem is an event as operators see it.
type auditItem struct {
	ID             string         `json:"id" format:"uuid"`
	EventType      string         `json:"event_type" example:"user.login.success"`
	CreatedAt      string         `json:"created_at" format:"date-time"`
	ActorType      string         `json:"actor_type" enum:"user,service,admin,system"`
	ActorID        *string        `json:"actor_id" format:"uuid"`
	TargetType     *string        `json:"target_type" example:"user"`
	TargetID       *string        `json:"target_id" format:"uuid"`
	IPAddress      *string        `json:"ip_address"`
	UserAgent      *string        `json:"user_agent"`
	PersonalErased bool           `json:"personal_erased" doc:"Address and browser were there; their owner is erased."`
	CorrelationID  *string        `json:"correlation_id"`
	Success        bool           `json:"success"`
	FailureReason  *string        `json:"failure_reason"`
	Metadata       map[string]any `json:"metadata" nullable:"true"`
}

func auditItemOf(e audit.Entry) auditItem {
	return auditItem{
		ID: e.ID.String(), EventType: e.Type, CreatedAt: stamp(e.At), ActorType: e.ActorType, ActorID: idOrNull(e.Actor),
		TargetType: orNull(e.TargetType), TargetID: idOrNull(e.Target), IPAddress: orNull(e.IP), UserAgent: orNull(e.UserAgent),
		PersonalErased: e.Erased, CorrelationID: orNull(e.CorrelationID), Success: e.Success, FailureReason: orNull(e.Failure), Metadata: e.Metadata,
	}
}

// idOrNull is null for nobody.
func idOrNull(id uuid.UUID) *string {
	if id == uuid.Nil {
		return nil
	}
	text := id.String()
	return &text
}
