package httpapi

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/foundation/cursor"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// selfAPI is what people see and end of their own sessions.
type selfAPI struct {
	sessions *session.Service
	history  *audit.History
}

func (a selfAPI) routes() []Route {
	return []Route{
		query("GET /auth/sessions", "List the caller's sessions, newest first", a.list, fault.InvalidCursor).tag("Own account").auth(Session),
		endpoint("DELETE /auth/sessions", "End the caller's other sessions", a.revokeOthers).
			tag("Own account").auth(Session).optionalBody(),
		query("DELETE /auth/sessions/{session_id}", "End one of the caller's other sessions", a.revoke,
			fault.CannotRevokeCurrent, fault.InvalidSession, fault.SessionRevoked).tag("Own account").auth(Session).optionalBody(),
		query("GET /auth/history", "List what happened to the caller's account, newest first", a.past, fault.InvalidCursor).
			tag("Own account").auth(Session),
	}
}

// pageOf is one page of a list.
type pageOf[T any] struct {
	Data       []T     `json:"data"`
	NextCursor *string `json:"next_cursor" doc:"Opaque, good for the same query only; null on the last page."`
	HasMore    bool    `json:"has_more"`
}

func pageFrom[R, T any](page cursor.Page[R], item func(R) T) pageOf[T] {
	out := pageOf[T]{Data: []T{}, NextCursor: orNull(page.Next), HasMore: page.Next != ""}
	for _, row := range page.Rows {
		out.Data = append(out.Data, item(row))
	}
	return out
}

type sessionsQuery struct {
	Status string `query:"status" enum:"active,revoked,all" default:"active" doc:"active: neither revoked nor expired; revoked: the others."`
	Cursor string `query:"cursor" doc:"next_cursor of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

type sessionItem struct {
	SessionID         string   `json:"session_id" format:"uuid"`
	CreatedAt         string   `json:"created_at" format:"date-time"`
	LastSeenAt        *string  `json:"last_seen_at" format:"date-time" doc:"To the minute."`
	ExpiresAt         string   `json:"expires_at" format:"date-time" doc:"Moves on with every refresh."`
	RevokedAt         *string  `json:"revoked_at" format:"date-time"`
	RevokeReason      *string  `json:"revoke_reason"`
	IPAddress         *string  `json:"ip_address" doc:"Where the sign-in came from."`
	UserAgent         *string  `json:"user_agent" doc:"What signed in."`
	DeviceLabel       string   `json:"device_label" example:"Firefox on Linux"`
	IsSuspicious      bool     `json:"is_suspicious"`
	SuspiciousReasons []string `json:"suspicious_reasons"`
	IsCurrent         bool     `json:"is_current" doc:"The session of this request."`
}

func (a selfAPI) list(ctx context.Context, in sessionsQuery) (pageOf[sessionItem], error) {
	me := identity(ctx)
	page, err := a.sessions.List(ctx, me.User, session.Status(in.Status), in.Cursor, in.Limit)
	return pageFrom(page, func(l session.Listed) sessionItem {
		return sessionItem{
			SessionID: l.ID.String(), CreatedAt: stamp(l.Created), LastSeenAt: orNull(stamp(l.LastSeen)), ExpiresAt: stamp(l.Expires),
			RevokedAt: orNull(stamp(l.RevokedAt)), RevokeReason: orNull(l.Reason), IPAddress: orNull(l.IP), UserAgent: orNull(l.UserAgent),
			DeviceLabel: session.DeviceLabel(l.UserAgent), IsSuspicious: l.Flagged, SuspiciousReasons: append([]string{}, l.Suspicious...),
			IsCurrent: l.ID == me.Session,
		}
	}), err
}

type revokeInput struct {
	Reason *string `json:"reason,omitempty" nullable:"true" minLength:"1" maxLength:"64" doc:"Stored with the session and shown in the list." example:"lost_phone"`
}

func (in revokeInput) or(standard string) string {
	if in.Reason == nil {
		return standard
	}
	return *in.Reason
}

type revokeQuery struct {
	SessionID string `path:"session_id" format:"uuid"`
	Body      revokeInput
}

type revokeOutput struct {
	SessionID    string `json:"session_id" format:"uuid"`
	RevokeReason string `json:"revoke_reason"`
}

func (a selfAPI) revoke(ctx context.Context, in revokeQuery) (revokeOutput, error) {
	id, err := uuid.Parse(in.SessionID)
	if err != nil {
		return revokeOutput{}, fault.Invalid("session_id", "must be a UUID")
	}
	reason := in.Body.or(session.ReasonSelfTargeted)
	err = a.sessions.RevokeOne(ctx, identity(ctx), id, reason)
	return revokeOutput{id.String(), reason}, err
}

type revokeOthersOutput struct {
	RevokedSessionIDs   []uuid.UUID `json:"revoked_session_ids"`
	RevokedSessionCount int         `json:"revoked_session_count"`
	RevokeReason        string      `json:"revoke_reason"`
}

func (a selfAPI) revokeOthers(ctx context.Context, in revokeInput) (revokeOthersOutput, error) {
	reason := in.or(session.ReasonSelfOthers)
	ended, err := a.sessions.RevokeOthers(ctx, identity(ctx), reason)
	return revokeOthersOutput{ended, len(ended), reason}, err
}

type historyQuery struct {
	Cursor string `query:"cursor" doc:"next_cursor of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

type historyItem struct {
	ID            string         `json:"id" format:"uuid"`
	EventType     string         `json:"event_type" example:"user.login.success"`
	CreatedAt     string         `json:"created_at" format:"date-time"`
	IPAddress     *string        `json:"ip_address" doc:"Null where somebody else acted."`
	UserAgent     *string        `json:"user_agent" doc:"Null where somebody else acted."`
	Success       bool           `json:"success"`
	FailureReason *string        `json:"failure_reason"`
	Metadata      map[string]any `json:"metadata" nullable:"true"`
}

func (a selfAPI) past(ctx context.Context, in historyQuery) (pageOf[historyItem], error) {
	page, err := a.history.List(ctx, identity(ctx).User, in.Cursor, in.Limit)
	return pageFrom(page, func(p audit.Past) historyItem {
		return historyItem{
			p.ID.String(), p.Type, stamp(p.At), orNull(p.IP), orNull(p.UserAgent), p.Success, orNull(p.Failure), p.Metadata,
		}
	}), err
}

// stamp writes a time as RFC 3339 in UTC, with microseconds if it has any; a
// time that is not set is empty.
func stamp(t time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case t.Nanosecond() == 0:
		return t.UTC().Format("2006-01-02T15:04:05Z")
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000Z")
}

// orNull is null for an empty text.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
