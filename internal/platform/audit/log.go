package audit

import (
	"bytes"
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/cursor"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// Log shows operators what happened.
type Log struct{ DB *db.DB }

// Filter chooses events; what is empty chooses all.
type Filter struct {
	Actor, Target uuid.UUID
	Type          string // how it begins
	Success       *bool
	IP            string
	CorrelationID string
	From, To      time.Time // both inclusive
}

// widest is the longest time in which events are looked for that no index finds.
const widest = 31 * 24 * time.Hour

// check makes the address canonical and refuses what would read the whole log.
// Fault: validation_error.
func (f *Filter) check() error {
	if f.IP != "" {
		ip, err := netip.ParseAddr(strings.TrimSpace(f.IP))
		if err != nil {
			return fault.Invalid("ip_address", "must be an IP address")
		}
		f.IP = ip.Unmap().String()
	}
	indexed := f.Actor != uuid.Nil || f.Target != uuid.Nil || f.Type != ""
	bounded := !f.From.IsZero() && !f.To.IsZero() && f.To.Sub(f.From) <= widest
	if (f.IP != "" || f.CorrelationID != "" || f.Success != nil) && !indexed && !bounded {
		return fault.Invalid("date_from", "give date_from and date_to, at most 31 days apart, or an actor, a target or a type")
	}
	return nil
}

// ParseTime reads a bound of a filter; an empty text is none. Fault:
// validation_error.
func ParseTime(field, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.UTC().Year() < 1 || t.UTC().Year() > 9999 { // what a database stores
		return t, fault.Invalid(field, "must be a time like 2006-01-02T15:04:05Z")
	}
	return t.UTC().Truncate(time.Microsecond), nil
}

// names are the event types that a filter takes; all of them without one.
func (f Filter) names() (list []string) {
	for _, t := range Catalogue {
		if strings.HasPrefix(t.Name, f.Type) {
			list = append(list, t.Name)
		}
	}
	return list
}

// outcome is any, true or false.
func (f Filter) outcome() string {
	if f.Success == nil {
		return "any"
	}
	return strconv.FormatBool(*f.Success)
}

// query names the list for its cursors.
func (f Filter) query() []string {
	at := func(t time.Time) string { return strconv.FormatInt(t.UnixMicro(), 10) }
	return []string{"audit-log", f.Actor.String(), f.Target.String(), f.Type, f.outcome(), f.IP, f.CorrelationID, at(f.From), at(f.To)}
}

// The lists of the log, each along an index, the newest first.
const (
	listBelow = ` e.created_at <= $1 AND e.created_at >= $2 AND (e.created_at, e.id) < ($1, $3)
		AND ($5 = 'any' OR e.success = ($5 = 'true')) AND ($6 = '' OR e.correlation_id = $6)
		AND ($7 = '' OR (SELECT p.ip_address` + personalOf + ` = $7)
		AND ($8 = '' OR substr(e.event_type, 1, length($8)) = $8)
		ORDER BY e.created_at DESC, e.id DESC LIMIT $4`
	listFrom     = `SELECT ` + eventColumns + ` FROM audit_events e WHERE `
	listAll      = listFrom + listBelow
	listActor    = listFrom + `e.actor_id = $9 AND` + listBelow
	listTarget   = listFrom + `e.target_id = $9 AND` + listBelow
	listBetween  = listFrom + `e.actor_id = $9 AND e.target_id = $10 AND` + listBelow
	listOfAType  = listFrom + `e.event_type = $9 AND` + listBelow
	listPatience = 20 * time.Second
)

// List returns the events that a filter takes, the newest first; after is the
// cursor of the page before. Faults: invalid_cursor, validation_error.
func (l *Log) List(ctx context.Context, f Filter, after string, limit int) (page cursor.Page[Entry], err error) {
	defer fault.Wrap(&err, "audit.List")
	if err := f.check(); err != nil {
		return page, err
	}
	from, err := cursor.Decode(after, f.query()...)
	if err != nil {
		return page, err
	}
	if !f.To.IsZero() && f.To.Before(from.At) {
		from = cursor.Place{At: f.To, ID: uuid.Max}
	}
	ctx, cancel := context.WithTimeout(ctx, listPatience)
	defer cancel()
	found, err := l.find(ctx, f, from, limit+1)
	if err != nil {
		return page, err
	}
	list, err := entries(found)
	return cursor.Cut(list, limit, func(e Entry) cursor.Place { return cursor.Place{At: e.At, ID: e.ID} }, f.query()...), err
}

func (l *Log) find(ctx context.Context, f Filter, from cursor.Place, limit int) ([]stored, error) {
	args := []any{from.At, f.From, from.ID, limit, f.outcome(), f.CorrelationID, f.IP, f.Type}
	switch {
	case f.Actor != uuid.Nil && f.Target != uuid.Nil:
		return readRows(ctx, l.DB.Read(), listBetween, append(args, f.Actor, f.Target)...)
	case f.Actor != uuid.Nil:
		return readRows(ctx, l.DB.Read(), listActor, append(args, f.Actor)...)
	case f.Target != uuid.Nil:
		return readRows(ctx, l.DB.Read(), listTarget, append(args, f.Target)...)
	case f.Type == "":
		return readRows(ctx, l.DB.Read(), listAll, args...)
	}
	var all []stored
	for _, name := range f.names() { // a few each, of which the newest are taken
		list, err := readRows(ctx, l.DB.Read(), listOfAType, append(slices.Clone(args), name)...)
		if err != nil {
			return nil, err
		}
		all = newest(append(all, list...), limit)
	}
	return all, nil
}

// newest sorts and cuts; what is there twice becomes one.
func newest(list []stored, limit int) []stored {
	slices.SortFunc(list, func(a, b stored) int {
		if c := b.At.Compare(a.At); c != 0 {
			return c
		}
		return bytes.Compare(b.ID[:], a.ID[:])
	})
	list = slices.CompactFunc(list, func(a, b stored) bool { return a.ID == b.ID })
	return list[:min(limit, len(list))]
}

// pastEntries is pastEvents with all there is to know.
const pastEntries = `
	SELECT ` + eventColumns + ` FROM (
		SELECT * FROM (SELECT ` + rawColumns + ` FROM audit_events WHERE actor_id = $1` + pastBelow + `) did
		UNION
		SELECT * FROM (SELECT ` + rawColumns + ` FROM audit_events WHERE target_id = $1` + pastBelow + `) met
		ORDER BY created_at DESC, id DESC LIMIT $4
	) e ORDER BY e.created_at DESC, e.id DESC`

// History is what a person sees of the own account, as operators see it: with
// who else acted, and from where. Fault: invalid_cursor.
func (l *Log) History(ctx context.Context, person uuid.UUID, after string, limit int) (page cursor.Page[Entry], err error) {
	defer fault.Wrap(&err, "audit.Log.History")
	query := []string{"admin-history", person.String()}
	from, err := cursor.Decode(after, query...)
	if err != nil {
		return page, err
	}
	found, err := readRows(ctx, l.DB.Read(), pastEntries, person, from.At, from.ID, limit+1, time.Time{})
	if err != nil {
		return page, err
	}
	list, err := entries(found)
	return cursor.Cut(list, limit, func(e Entry) cursor.Place { return cursor.Place{At: e.At, ID: e.ID} }, query...), err
}

// What a timeline may show: at most so many events of each half.
const (
	timelineTypes = ` AND e.event_type IN ('otp.verified', 'user.login.success', 'user.login.suspicious', 'session.created', 'session.revoked', 'token.issued')
		AND e.created_at >= $2 ORDER BY e.created_at DESC, e.id DESC LIMIT 2000`
	timelineTarget = listFrom + `e.target_id = $1` + timelineTypes
	timelineActor  = listFrom + `e.actor_id = $1` + timelineTypes
)

// Timeline returns the newest events of a session, the oldest of them first:
// those that are about it, and those of the request that began it. created is
// when that was.
func (l *Log) Timeline(ctx context.Context, user, session uuid.UUID, created time.Time, limit int) (list []Entry, err error) {
	defer fault.Wrap(&err, "audit.Timeline")
	about, err := readRows(ctx, l.DB.Read(), timelineTarget, session, created)
	if err != nil {
		return nil, err
	}
	met, err := readRows(ctx, l.DB.Read(), timelineTarget, user, created)
	if err != nil {
		return nil, err
	}
	did, err := readRows(ctx, l.DB.Read(), timelineActor, user, created)
	if err != nil {
		return nil, err
	}
	all, err := entries(newest(slices.Concat(about, met, did), 3*2000))
	if err != nil {
		return nil, err
	}
	request := beginning(all, session)
	for _, e := range all {
		if len(list) < limit && (e.about(session) || request != "" && e.Actor == user && e.CorrelationID == request) {
			list = append(list, e)
		}
	}
	slices.Reverse(list)
	return list, nil
}

// beginning is the correlation id of the request that began a session; list is
// the newest first.
func beginning(list []Entry, session uuid.UUID) (request string) {
	for _, e := range list {
		if e.Type == SessionCreated.Name && e.about(session) {
			request = e.CorrelationID
		}
	}
	return request
}

// about reports whether an event names a session.
func (e Entry) about(session uuid.UUID) bool {
	if e.Target == session || e.Metadata["session_id"] == session.String() {
		return true
	}
	ids, _ := e.Metadata["session_ids"].([]any)
	return slices.Contains(ids, any(session.String()))
}
