package httpapi

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/flow/directory"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// adminSessionsAPI is what operators see and end of people's sessions, and what
// happened to an account.
type adminSessionsAPI struct {
	users    *directory.Service
	sessions *session.Service
	log      *audit.Log
}

func (a adminSessionsAPI) routes() []Route {
	const id = "user_id"
	return []Route{
		query("GET /admin/sessions/suspicious", "List live sessions whose sign-in stood out, newest first", a.suspicious, fault.InvalidCursor).
			tag(administration).auth(Admin),
		query("GET /admin/users/{user_id}/sessions", "List an account's sessions, newest first", a.list, fault.InvalidUser, fault.InvalidCursor).
			tag(administration).auth(Admin),
		query("GET /admin/users/{user_id}/sessions/{session_id}", "Show a session and what happened in it", a.show, fault.InvalidUser, fault.InvalidSession).
			tag(administration).auth(Admin),
		query("DELETE /admin/users/{user_id}/sessions/{session_id}", "End a session", a.end, fault.InvalidUser, fault.InvalidSession, fault.SessionRevoked).
			tag(administration).auth(Admin).stepUp(stepup.RevokeSessions, id).optionalBody(),
		query("DELETE /admin/users/{user_id}/sessions", "End every session of an account", a.endAll, fault.InvalidUser).
			tag(administration).auth(Admin).stepUp(stepup.RevokeSessions, id).optionalBody(),
		query("POST /admin/users/{user_id}/sessions/revoke-by-filter", "End those sessions of an account that match, or tell which would", a.endMatching, fault.InvalidUser).
			tag(administration).auth(Admin).stepUp(stepup.RevokeSessions, id),
		query("GET /admin/users/{user_id}/history", "List what happened to an account, newest first", a.history, fault.InvalidUser, fault.InvalidCursor).
			tag(administration).auth(Admin),
	}
}

// AdminSession is a session as operators see it. It is exported, as the other
// parts of inputs and outputs here, because huma passes by embedded types that are not.
type AdminSession struct {
	SessionID         string   `json:"session_id" format:"uuid"`
	UserID            string   `json:"user_id" format:"uuid"`
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
}

func adminSessionOf(l session.Listed, userID uuid.UUID) AdminSession {
	return AdminSession{
		SessionID: l.ID.String(), UserID: userID.String(), CreatedAt: stamp(l.Created), LastSeenAt: orNull(stamp(l.LastSeen)), ExpiresAt: stamp(l.Expires),
		RevokedAt: orNull(stamp(l.RevokedAt)), RevokeReason: orNull(l.Reason), IPAddress: orNull(l.IP), UserAgent: orNull(l.UserAgent),
		DeviceLabel: session.DeviceLabel(l.UserAgent), IsSuspicious: l.Flagged, SuspiciousReasons: append([]string{}, l.Suspicious...),
	}
}

type suspiciousQuery struct {
	Email  string `query:"email" maxLength:"254" doc:"Only of accounts whose address has this in it."`
	Role   string `query:"role" maxLength:"32" doc:"Only of accounts of this role."`
	Cursor string `query:"cursor" doc:"next_cursor of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

type suspect struct {
	AdminSession
	UserEmail string `json:"user_email"`
	UserRole  string `json:"user_role" enum:"user,admin,service"`
}

func (a adminSessionsAPI) suspicious(ctx context.Context, in suspiciousQuery) (pageOf[suspect], error) {
	page, err := a.sessions.Suspicious(ctx, session.Filter{Email: in.Email, Role: in.Role}, in.Cursor, in.Limit)
	return pageFrom(page, func(s session.Suspect) suspect {
		return suspect{adminSessionOf(s.Listed, s.UserID), s.Email, s.Role}
	}), err
}

type adminSessionsQuery struct {
	UserPath
	Status string `query:"status" enum:"active,revoked,all" default:"active" doc:"active: neither revoked nor expired; revoked: the others."`
	Cursor string `query:"cursor" doc:"next_cursor of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (a adminSessionsAPI) list(ctx context.Context, in adminSessionsQuery) (pageOf[AdminSession], error) {
	id, err := in.id()
	if err != nil {
		return pageOf[AdminSession]{}, err
	}
	page, err := a.sessions.ListOf(ctx, id, session.Status(in.Status), in.Cursor, in.Limit)
	return pageFrom(page, func(l session.Listed) AdminSession { return adminSessionOf(l, id) }), err
}

// SessionPath names a session of an account.
type SessionPath struct {
	UserPath
	SessionID string `path:"session_id" format:"uuid"`
}

func (p SessionPath) ids() (userID, id uuid.UUID, err error) {
	if userID, err = p.id(); err != nil {
		return userID, id, err
	}
	id, err = idOf("session_id", p.SessionID)
	return userID, id, err
}

type sessionQuery struct {
	SessionPath
	TimelineLimit int `query:"timeline_limit" minimum:"1" maximum:"100" default:"20" doc:"At most so many events, the newest."`
}

type sessionDetail struct {
	AdminSession
	Timeline []auditItem `json:"timeline" doc:"What happened in the session, the oldest first."`
}

func (a adminSessionsAPI) show(ctx context.Context, in sessionQuery) (sessionDetail, error) {
	userID, id, err := in.ids()
	if err != nil {
		return sessionDetail{}, err
	}
	l, err := a.sessions.One(ctx, userID, id)
	if err != nil {
		return sessionDetail{}, err
	}
	out := sessionDetail{adminSessionOf(l, userID), []auditItem{}}
	events, err := a.log.Timeline(ctx, userID, id, l.Created, in.TimelineLimit)
	for _, e := range events {
		out.Timeline = append(out.Timeline, auditItemOf(e))
	}
	return out, err
}

// ReasonInput says why sessions end.
type ReasonInput struct {
	Reason *string `json:"reason,omitempty" nullable:"true" maxLength:"256" doc:"1 to 64 characters. Stored with the session, where its owner sees it, and in the audit log." example:"lost_phone"`
}

// or is the reason, or a standard one.
func (in ReasonInput) or(standard string) (string, error) {
	if in.Reason == nil {
		return standard, nil
	}
	reason := strings.TrimSpace(*in.Reason)
	if n := len([]rune(reason)); n < 1 || n > 64 {
		return "", fault.Invalid("reason", "must be 1 to 64 characters long")
	}
	return reason, nil
}

type endInput struct {
	SessionPath
	Body ReasonInput
}

type endedSession struct {
	UserID       string `json:"user_id" format:"uuid"`
	SessionID    string `json:"session_id" format:"uuid"`
	RevokeReason string `json:"revoke_reason"`
}

func (a adminSessionsAPI) end(ctx context.Context, in endInput) (endedSession, error) {
	userID, id, err := in.ids()
	if err != nil {
		return endedSession{}, err
	}
	reason, err := in.Body.or(session.ReasonAdminTargeted)
	if err != nil {
		return endedSession{}, err
	}
	return endedSession{userID.String(), id.String(), reason}, a.sessions.End(ctx, by(ctx), userID, id, reason)
}

type endAllInput struct {
	UserPath
	Body ReasonInput
}

type endedSessions struct {
	UserID              string      `json:"user_id" format:"uuid"`
	RevokedSessionIDs   []uuid.UUID `json:"revoked_session_ids"`
	RevokedSessionCount int         `json:"revoked_session_count"`
	RevokeReason        string      `json:"revoke_reason"`
}

func (a adminSessionsAPI) endAll(ctx context.Context, in endAllInput) (endedSessions, error) {
	id, err := in.id()
	if err != nil {
		return endedSessions{}, err
	}
	reason, err := in.Body.or(session.ReasonAdminAll)
	if err != nil {
		return endedSessions{}, err
	}
	ended, err := a.sessions.EndAllOf(ctx, by(ctx), id, reason)
	return endedSessions{id.String(), ended, len(ended), reason}, err
}

type endMatchingInput struct {
	UserPath
	Body filterInput
}

type filterInput struct {
	IsSuspicious      *bool   `json:"is_suspicious,omitempty" nullable:"true"`
	CreatedAfter      *string `json:"created_after,omitempty" nullable:"true" format:"date-time"`
	CreatedBefore     *string `json:"created_before,omitempty" nullable:"true" format:"date-time"`
	LastSeenAfter     *string `json:"last_seen_after,omitempty" nullable:"true" format:"date-time"`
	LastSeenBefore    *string `json:"last_seen_before,omitempty" nullable:"true" format:"date-time"`
	IPAddress         *string `json:"ip_address,omitempty" nullable:"true" maxLength:"64"`
	UserAgentContains *string `json:"user_agent_contains,omitempty" nullable:"true" maxLength:"512" doc:"1 to 128 characters, in any case."`
	DryRun            *bool   `json:"dry_run,omitempty" nullable:"true" doc:"Only tell which sessions match. The confirmation stays good."`
	ReasonInput
}

// match is what is asked for. At least one selector must be given.
func (in filterInput) match() (m session.Match, err error) {
	m.Suspicious = in.IsSuspicious
	for _, at := range []struct {
		name string
		text *string
		into *time.Time
	}{
		{"created_after", in.CreatedAfter, &m.CreatedAfter}, {"created_before", in.CreatedBefore, &m.CreatedBefore},
		{"last_seen_after", in.LastSeenAfter, &m.LastSeenAfter}, {"last_seen_before", in.LastSeenBefore, &m.LastSeenBefore},
	} {
		if at.text == nil {
			continue
		}
		if *at.into, err = time.Parse(time.RFC3339, *at.text); err != nil {
			return m, fault.Invalid(at.name, "must be a time like 2006-01-02T15:04:05Z")
		}
	}
	if in.IPAddress != nil {
		ip, err := netip.ParseAddr(strings.TrimSpace(*in.IPAddress))
		if err != nil {
			return m, fault.Invalid("ip_address", "must be an IP address")
		}
		m.IP = ip.Unmap().String()
	}
	if in.UserAgentContains != nil {
		m.UserAgent = strings.TrimSpace(*in.UserAgentContains)
		if n := len([]rune(m.UserAgent)); n < 1 || n > 128 {
			return m, fault.Invalid("user_agent_contains", "must be 1 to 128 characters long")
		}
	}
	ordered := func(after, before time.Time) bool { return after.IsZero() || before.IsZero() || !before.Before(after) }
	switch {
	case m == session.Match{}:
		return m, fault.Invalid("is_suspicious", "or another selector must be given")
	case !ordered(m.CreatedAfter, m.CreatedBefore):
		return m, fault.Invalid("created_before", "must not be before created_after")
	case !ordered(m.LastSeenAfter, m.LastSeenBefore):
		return m, fault.Invalid("last_seen_before", "must not be before last_seen_after")
	}
	return m, nil
}

type endedMatching struct {
	UserID              string      `json:"user_id" format:"uuid"`
	MatchedSessionIDs   []uuid.UUID `json:"matched_session_ids"`
	MatchedSessionCount int         `json:"matched_session_count"`
	RevokedSessionIDs   []uuid.UUID `json:"revoked_session_ids" doc:"None in a dry run, else those that matched."`
	RevokedSessionCount int         `json:"revoked_session_count"`
	DryRun              bool        `json:"dry_run"`
	RevokeReason        string      `json:"revoke_reason"`
}

func (a adminSessionsAPI) endMatching(ctx context.Context, in endMatchingInput) (endedMatching, error) {
	id, err := in.id()
	if err != nil {
		return endedMatching{}, err
	}
	match, err := in.Body.match()
	if err != nil {
		return endedMatching{}, err
	}
	reason, err := in.Body.or(session.ReasonAdminFiltered)
	if err != nil {
		return endedMatching{}, err
	}
	dry := in.Body.DryRun != nil && *in.Body.DryRun
	matched, err := a.sessions.EndMatching(ctx, by(ctx), id, match, dry, reason)
	revoked := matched
	if dry {
		revoked = []uuid.UUID{}
	}
	return endedMatching{id.String(), matched, len(matched), revoked, len(revoked), dry, reason}, err
}

type userHistoryQuery struct {
	UserPath
	Cursor string `query:"cursor" doc:"next_cursor of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (a adminSessionsAPI) history(ctx context.Context, in userHistoryQuery) (pageOf[auditItem], error) {
	id, err := in.id()
	if err != nil {
		return pageOf[auditItem]{}, err
	}
	if _, err := a.users.Show(ctx, id); err != nil {
		return pageOf[auditItem]{}, err
	}
	page, err := a.log.History(ctx, id, in.Cursor, in.Limit)
	return pageFrom(page, auditItemOf), err
}
