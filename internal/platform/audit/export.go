package audit

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// An export is lines of JSON: a beginning, each head followed by the entries of
// its batch, events without a head, and an end. An entry is there with its event,
// or without it where the filter leaves it out or it was purged: so a batch is
// whole, and its root can be made again.
const (
	exportBegins = "authsdk.audit.export"
	exportHead   = "head"
	exportEvent  = "event"
	exportEntry  = "entry"
	exportEnds   = "end"

	exportVersion = 1
	exportRows    = 2_000
)

type exportBegin struct {
	Kind       string      `json:"kind"`
	Version    int         `json:"version"`
	ExportedAt time.Time   `json:"exported_at"`
	Filters    wireFilter  `json:"filters"`
	Keys       []PublicKey `json:"keys"`
	Head       Head        `json:"head"` // the newest
}

type wireHead struct {
	Kind string `json:"kind"`
	Head
}

// wireEntry is a line with an entry, or with an event of no batch, which has no
// place.
type wireEntry struct {
	Kind         string        `json:"kind"`
	Pos          *int64        `json:"pos"`
	EventID      *uuid.UUID    `json:"event_id,omitempty"`   // without the event
	CreatedAt    *time.Time    `json:"created_at,omitempty"` // likewise
	RowHash      Bytes         `json:"row_hash"`
	Event        *wireEvent    `json:"event,omitempty"`
	PersonalHash Bytes         `json:"personal_hash,omitempty"`
	Personal     *wirePersonal `json:"personal,omitempty"`
}

type wireEvent struct {
	ID            uuid.UUID       `json:"id"`
	CreatedAt     time.Time       `json:"created_at"`
	Type          string          `json:"event_type"`
	ActorType     string          `json:"actor_type"`
	Actor         *uuid.UUID      `json:"actor_id"`
	TargetType    *string         `json:"target_type"`
	Target        *uuid.UUID      `json:"target_id"`
	Success       bool            `json:"success"`
	Failure       *string         `json:"failure_reason"`
	CorrelationID *string         `json:"correlation_id"`
	Metadata      json.RawMessage `json:"metadata"` // as it is stored, which is what is hashed
	History       bool            `json:"history"`
}

type wirePersonal struct {
	Salt      Bytes   `json:"salt"`
	IP        *string `json:"ip_address"`
	UserAgent *string `json:"user_agent"`
}

type exportEnd struct {
	Kind   string `json:"kind"`
	Events int    `json:"events"`
}

// wireFilter is a filter as an export names it.
type wireFilter struct {
	Actor         *uuid.UUID `json:"actor_id,omitempty"`
	Target        *uuid.UUID `json:"target_id,omitempty"`
	Type          string     `json:"event_type,omitempty"`
	Success       *bool      `json:"success,omitempty"`
	IP            string     `json:"ip_address,omitempty"`
	CorrelationID string     `json:"correlation_id,omitempty"`
	From          *time.Time `json:"date_from,omitempty"`
	To            *time.Time `json:"date_to,omitempty"`
}

func (f Filter) wire() wireFilter {
	w := wireFilter{Type: f.Type, Success: f.Success, IP: f.IP, CorrelationID: f.CorrelationID}
	w.Actor, w.Target = idOrNil(f.Actor), idOrNil(f.Target)
	if !f.From.IsZero() {
		w.From = &f.From
	}
	if !f.To.IsZero() {
		w.To = &f.To
	}
	return w
}

// between is the filter's time alone.
func (w wireFilter) between(at time.Time) bool {
	return (w.From == nil || !at.Before(*w.From)) && (w.To == nil || !at.After(*w.To))
}

// whole reports whether nothing but time leaves events out.
func (w wireFilter) whole() bool {
	w.From, w.To = nil, nil
	return w == wireFilter{}
}

func idOrNil(id uuid.UUID) *uuid.UUID {
	if id == uuid.Nil {
		return nil
	}
	return &id
}

// takes reports whether a filter chooses an event.
func (f Filter) takes(r stored) bool {
	return (f.Actor == uuid.Nil || r.Actor.UUID == f.Actor) && (f.Target == uuid.Nil || r.Target.UUID == f.Target) &&
		strings.HasPrefix(r.Type, f.Type) && (f.Success == nil || *f.Success == r.Success) && (f.IP == "" || r.ip.String == f.IP) &&
		(f.CorrelationID == "" || r.CorrelationID.String == f.CorrelationID) && f.wire().between(r.At)
}

// RecordExport spends the proof of whoever exports and records that it is done,
// before the first byte leaves. Fault: validation_error.
func (c *Chain) RecordExport(ctx context.Context, by By, f Filter) (err error) {
	defer fault.Wrap(&err, "audit.RecordExport")
	if _, err := netip.ParseAddr(strings.TrimSpace(f.IP)); f.IP != "" && err != nil {
		return fault.Invalid("ip_address", "must be an IP address")
	}
	e := by.Event(AuditExported)
	e.Metadata = map[string]any{}
	for key, value := range map[string]string{"event_type": f.Type, "actor_id": some(f.Actor), "target_id": some(f.Target), "date_from": when(f.From), "date_to": when(f.To)} {
		if value != "" {
			e.Metadata[key] = value
		}
	}
	now := c.Clock.Now()
	return c.DB.Write(ctx, func(tx *db.Tx) error {
		if err := by.Admit(ctx, tx, now); err != nil {
			return err
		}
		return Record(ctx, tx, now, e)
	})
}

func some(id uuid.UUID) string {
	if id == uuid.Nil {
		return ""
	}
	return id.String()
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// exporting is one run of Export.
type exporting struct {
	chain  *Chain
	filter Filter
	to     *json.Encoder
	rows   int
	seen   map[uuid.UUID]bool // events without a head that are written already
}

// Export writes the events that a filter takes, with what proves them, as lines
// of JSON. It may be long: w gets it as it is read. rows is how many events.
func (c *Chain) Export(ctx context.Context, w io.Writer, f Filter) (rows int, err error) {
	defer fault.Wrap(&err, "audit.Export")
	if ip, err := netip.ParseAddr(strings.TrimSpace(f.IP)); err == nil {
		f.IP = ip.Unmap().String()
	}
	newest, err := LastHead(ctx, c.DB.Read())
	if err != nil {
		return 0, err
	}
	keys, err := c.Keys(ctx)
	if err != nil {
		return 0, err
	}
	e := &exporting{chain: c, filter: f, to: json.NewEncoder(w), seen: map[uuid.UUID]bool{}}
	if err := e.to.Encode(exportBegin{exportBegins, exportVersion, c.Clock.Now(), f.wire(), keys, newest}); err != nil {
		return 0, err
	}
	if err := e.batches(ctx, newest); err != nil {
		return e.rows, err
	}
	if err := e.loose(ctx, newest); err != nil {
		return e.rows, err
	}
	return e.rows, e.to.Encode(exportEnd{exportEnds, e.rows})
}

// batches writes the heads whose batches touch the filter's time.
func (e *exporting) batches(ctx context.Context, newest Head) error {
	first, last, err := e.span(ctx, newest)
	if err != nil || first > last {
		return err
	}
	number, err := headAt(ctx, e.chain.DB.Read(), newest, first)
	if err != nil {
		return err
	}
	for {
		list, err := readHeads(ctx, e.chain.DB.Read(), number, 1_000)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, h := range list {
			if h.FirstPos > last || h.Number > newest.Number {
				return nil
			}
			if err := e.batch(ctx, h); err != nil {
				return err
			}
		}
		number = list[len(list)-1].Number + 1
	}
}

// span is from the first to the last place with an event of the filter's time.
func (e *exporting) span(ctx context.Context, newest Head) (first, last int64, err error) {
	first, last = newest.Floor, newest.LastPos
	if e.filter.From.IsZero() && e.filter.To.IsZero() {
		return first, last, nil
	}
	to := e.filter.To
	if to.IsZero() {
		to = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	var low, high int64
	err = e.chain.DB.Read().QueryRowContext(ctx, `SELECT COALESCE(MIN(pos), 0), COALESCE(MAX(pos), 0) FROM audit_chain WHERE created_at >= $1 AND created_at <= $2`,
		e.filter.From, to).Scan(&low, &high)
	if high == 0 {
		return 1, 0, err
	}
	return max(first, low), min(last, high), err
}

func (e *exporting) batch(ctx context.Context, h Head) error {
	if err := e.to.Encode(wireHead{exportHead, h}); err != nil {
		return err
	}
	for after := h.FirstPos - 1; after < h.LastPos; {
		page, err := readPlaced(ctx, e.chain.DB, after, h.LastPos, exportRows)
		if err != nil {
			return err
		}
		if len(page) == 0 { // purged meanwhile, or deleted: verification tells
			return nil
		}
		for _, p := range page {
			if err := e.entry(p); err != nil {
				return err
			}
			after = p.pos
		}
	}
	return nil
}

func (e *exporting) entry(p placed) error {
	if p.unread != nil {
		return p.unread
	}
	if !p.there || !e.filter.takes(p.stored) {
		return e.to.Encode(wireEntry{Kind: exportEntry, Pos: &p.pos, EventID: &p.id, CreatedAt: &p.at, RowHash: p.hash})
	}
	line := p.stored.wire()
	line.Pos, line.RowHash = &p.pos, p.hash
	e.rows++
	return e.to.Encode(line)
}

// loose writes the events without a head: those that wait for a place, those
// whose batch is not full, those from before the chain.
func (e *exporting) loose(ctx context.Context, newest Head) error {
	conn := e.chain.DB.Read()
	if err := e.waiting(ctx, conn); err != nil {
		return err
	}
	for after := newest.LastPos; ; {
		page, err := readPlaced(ctx, e.chain.DB, after, math.MaxInt64, exportRows)
		if err != nil {
			return err
		}
		for _, p := range page {
			after = p.pos
			if err := errors.Join(p.unread, e.single(p.stored)); p.there && err != nil {
				return err
			}
		}
		if len(page) < exportRows {
			break
		}
	}
	first, err := readHeads(ctx, conn, 0, 1)
	if err != nil || len(first) == 0 {
		return err
	}
	at := e.filter.From
	return pages(func(after uuid.UUID) ([]stored, error) {
		list, err := readRows(ctx, conn, `SELECT `+eventColumns+` FROM audit_events e
			WHERE e.created_at < $1 AND e.created_at >= $2 AND (e.created_at, e.id) > ($2, $3)
			AND NOT EXISTS (SELECT 1 FROM audit_chain c WHERE c.event_id = e.id) ORDER BY e.created_at, e.id LIMIT $4`,
			first[0].MadeAt, at, after, exportRows)
		if len(list) > 0 {
			at = list[len(list)-1].At
		}
		return list, err
	}, e.single)
}

// waiting writes the events that have no place yet.
func (e *exporting) waiting(ctx context.Context, conn db.Conn) error {
	after := uuid.Nil
	for {
		places, err := readWaiting(ctx, conn, after)
		if err != nil {
			return err
		}
		for _, p := range places {
			after = p.id
			found, err := readRows(ctx, conn, `SELECT `+eventColumns+` FROM audit_events e WHERE e.created_at = $1 AND e.id = $2`, p.at, p.id)
			if err != nil {
				return err
			}
			for _, r := range found {
				if err := e.single(r); err != nil {
					return err
				}
			}
		}
		if len(places) < exportRows {
			return nil
		}
	}
}

func readWaiting(ctx context.Context, c db.Conn, after uuid.UUID) (list []place, err error) {
	rows, err := c.QueryContext(ctx, `SELECT created_at, event_id FROM audit_outbox WHERE event_id > $1 ORDER BY event_id LIMIT $2`, after, exportRows)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var p place
		if err := rows.Scan(&p.at, &p.id); err != nil {
			return nil, err
		}
		p.at = p.at.UTC()
		list = append(list, p)
	}
	return list, rows.Err()
}

// pages reads page by page until one is not full.
func pages(read func(after uuid.UUID) ([]stored, error), use func(stored) error) error {
	after := uuid.Nil
	for {
		page, err := read(after)
		if err != nil {
			return err
		}
		for _, r := range page {
			after = r.ID
			if err := use(r); err != nil {
				return err
			}
		}
		if len(page) < exportRows {
			return nil
		}
	}
}

func (e *exporting) single(r stored) error {
	if e.seen[r.ID] || !e.filter.takes(r) {
		return nil
	}
	e.seen[r.ID] = true
	e.rows++
	line := r.wire()
	line.RowHash = r.Hash()
	return e.to.Encode(line)
}

func (r stored) wire() wireEntry {
	line := wireEntry{Kind: exportEvent, PersonalHash: r.PersonalHash, Event: &wireEvent{
		ID: r.ID, CreatedAt: r.At, Type: r.Type, ActorType: r.ActorType, TargetType: textOrNil(r.TargetType), Success: r.Success,
		Failure: textOrNil(r.Failure), CorrelationID: textOrNil(r.CorrelationID), History: r.History,
	}}
	if r.Actor.Valid {
		line.Event.Actor = &r.Actor.UUID
	}
	if r.Target.Valid {
		line.Event.Target = &r.Target.UUID
	}
	if text := r.Metadata.String; r.Metadata.Valid && json.Valid([]byte(text)) { // if it is not, verification tells
		line.Event.Metadata = json.RawMessage(text)
	}
	if r.salt != nil {
		line.Personal = &wirePersonal{r.salt, textOrNil(r.ip), textOrNil(r.userAgent)}
	}
	return line
}
