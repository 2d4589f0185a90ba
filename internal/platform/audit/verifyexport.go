package audit

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// longestLine bounds what is read of an export at once.
const longestLine = 16 << 20

// exportReader is one run of VerifyExport.
type exportReader struct {
	lines  *bufio.Scanner
	held   *wireLine // was looked at and put back
	number int       // of lines read
	begin  exportBegin
	heads  heads
	report *Report

	batch  Head // that is being read
	root   fold
	pos    int64 // the next
	loose  bool  // events without a head have begun
	events int
}

// wireLine is any line after the first.
type wireLine struct {
	Kind string
	raw  []byte
	wireEntry
}

// VerifyExport looks for the first thing that was changed in an export. Without
// keys it believes those that the export brings, and returns them as own.
func VerifyExport(ctx context.Context, r io.Reader, keys []PublicKey, outside []Head) (report Report, own []PublicKey, err error) {
	defer fault.Wrap(&err, "audit.VerifyExport")
	e := &exportReader{lines: bufio.NewScanner(r), report: &report}
	e.lines.Buffer(make([]byte, 64<<10), longestLine)
	if !e.lines.Scan() || json.Unmarshal(e.lines.Bytes(), &e.begin) != nil || e.begin.Kind != exportBegins {
		return report, nil, errors.Join(errors.New("this is no export of an audit log"), e.lines.Err())
	}
	if e.begin.Version != exportVersion {
		return report, nil, fmt.Errorf("the export has version %d: a newer authd verifies it", e.begin.Version)
	}
	if keys == nil {
		keys, own = e.begin.Keys, e.begin.Keys
	}
	e.heads = heads{keys: keysByID(keys), outside: outside}
	if err := Kept(keys, outside); err != nil {
		return report, own, err
	}
	newest := e.begin.Head
	report.FirstHead, report.LastHead, report.FirstPos, report.LastPos = newest.Number, newest.Number, newest.LastPos+1, newest.LastPos
	return report, own, report.ends(e.run(ctx))
}

func (e *exportReader) run(ctx context.Context) error {
	if err := e.heads.signed(e.begin.Head); err != nil {
		return err
	}
	for n := 0; ; n++ {
		if n%1_000 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		line, err := e.next()
		if err != nil {
			return err
		}
		if line == nil {
			return e.short()
		}
		switch line.Kind {
		case exportHead:
			err = e.head(line)
		case exportEvent, exportEntry:
			err = e.entry(line)
		case exportEnds:
			return e.ends(line)
		default:
			err = fmt.Errorf("line %d is of no kind that is known", e.number)
		}
		if err != nil {
			return err
		}
	}
}

// next is the next line; nil at the end.
func (e *exportReader) next() (*wireLine, error) {
	if line := e.held; line != nil {
		e.held = nil
		return line, nil
	}
	if !e.lines.Scan() {
		return nil, e.lines.Err()
	}
	e.number++
	line := &wireLine{raw: bytes.Clone(e.lines.Bytes())}
	if err := json.Unmarshal(line.raw, &line.wireEntry); err != nil {
		if !e.lines.Scan() { // half a line, and nothing behind it
			return nil, errors.Join(e.lines.Err(), e.short())
		}
		return nil, &Finding{Kind: changed, Pos: e.pos, Detail: fmt.Sprintf("line %d of the export cannot be read", e.number+1)}
	}
	line.Kind = line.wireEntry.Kind
	return line, nil
}

func (e *exportReader) short() *Finding {
	return &Finding{Kind: cutOff, Pos: e.pos, Detail: fmt.Sprintf("the export ends without its last line, before position %d", e.pos)}
}

func (e *exportReader) head(line *wireLine) error {
	var w wireHead
	if err := json.Unmarshal(line.raw, &w); err != nil {
		return fmt.Errorf("line %d: %w", e.number+1, err)
	}
	if err := e.closes(); err != nil {
		return err
	}
	if e.loose {
		return atHead(reordered, w.Number, ": it stands behind events that have no head")
	}
	first := !e.heads.any
	if err := e.heads.take(w.Head); err != nil {
		return err
	}
	if first {
		e.report.FirstHead, e.report.FirstPos = w.Number, w.FirstPos
	}
	e.report.LastHead, e.report.LastPos = w.Number, w.LastPos
	e.batch, e.root, e.pos = w.Head, newFold(), w.FirstPos
	return nil
}

// closes checks that a batch is whole.
func (e *exportReader) closes() error {
	switch {
	case !e.heads.any || e.loose:
		return nil
	case e.pos <= e.batch.LastPos:
		return missing(e.pos, e.batch.LastPos+1)
	case !bytes.Equal(e.root, e.batch.Root):
		return atHead(changed, e.batch.Number, "").as("batch %d (positions %d–%d): its entries do not match the signed head", e.batch.Number, e.batch.FirstPos, e.batch.LastPos)
	}
	return nil
}

func (e *exportReader) entry(line *wireLine) error {
	if line.Event != nil {
		e.events++
	}
	if line.Pos == nil {
		return e.single(line)
	}
	if !e.heads.any || e.loose || *line.Pos > e.batch.LastPos {
		return e.stray(line)
	}
	p := entry{pos: *line.Pos, hash: line.RowHash}
	r, err := line.stored()
	if err != nil {
		return &Finding{Kind: changed, Pos: p.pos, Detail: fmt.Sprintf("position %d: %v", p.pos, err)}
	}
	p.id, p.at = r.ID, r.At
	switch {
	case p.pos < e.pos:
		return atEntry(inserted, p, r.Type, "this position is there already")
	case p.pos > e.pos:
		return e.gap(p.pos)
	case line.Event != nil && !bytes.Equal(r.Hash(), p.hash):
		return atEntry(changed, p, r.Type, "the row does not match its hash")
	case line.Event != nil && r.salt != nil && !r.personalFits():
		return atEntry(changed, p, r.Type, "the personal part does not match its hash")
	case line.Event != nil && r.erased():
		e.report.Erased++
	case line.Event == nil:
		if e.begin.Filters.whole() && e.begin.Filters.between(p.at) && !p.at.Before(e.begin.Head.KeptFrom) {
			return atEntry(deleted, p, "", "the row is gone")
		}
		e.report.Without++
	}
	e.root = e.root.add(p)
	e.pos++
	return nil
}

// gap tells whether the expected place is missing or stands further on.
func (e *exportReader) gap(met int64) error {
	for {
		line, err := e.next()
		if err != nil {
			return err
		}
		if line == nil || line.Kind == exportHead || line.Kind == exportEnds || line.Pos == nil {
			return missing(e.pos, met)
		}
		if *line.Pos == e.pos {
			r, _ := line.stored()
			return atEntry(reordered, entry{pos: e.pos, place: place{r.At, r.ID}}, r.Type, fmt.Sprintf("it stands behind position %d", met))
		}
	}
}

func (e *exportReader) stray(line *wireLine) error {
	return &Finding{Kind: inserted, Pos: *line.Pos, Detail: fmt.Sprintf("position %d: it is in no batch", *line.Pos)}
}

// single is an event without a head: nothing proves it.
func (e *exportReader) single(line *wireLine) error {
	if err := e.closes(); err != nil {
		return err
	}
	e.loose = true
	if r, err := line.stored(); err != nil || line.Event == nil || !bytes.Equal(r.Hash(), line.RowHash) || r.salt != nil && !r.personalFits() {
		return &Finding{Kind: changed, Detail: fmt.Sprintf("line %d of the export, an event without a head, does not match its hash", e.number+1)}
	}
	e.report.Outside++
	return nil
}

func (e *exportReader) ends(line *wireLine) error {
	if err := e.closes(); err != nil {
		return err
	}
	var end exportEnd
	if err := json.Unmarshal(line.raw, &end); err != nil {
		return fmt.Errorf("line %d: %w", e.number+1, err)
	}
	if end.Events != e.events {
		return &Finding{Kind: changed, Detail: fmt.Sprintf("the export ends with a count of %d events, and holds %d", end.Events, e.events)}
	}
	if more, err := e.next(); err != nil || more != nil {
		return errors.Join(err, &Finding{Kind: inserted, Detail: "something stands behind the export's last line"})
	}
	return e.reaches()
}

// reaches compares the end of the export with the heads kept outside. Those from
// before it are left alone.
func (e *exportReader) reaches() error {
	newest := e.begin.Head
	for _, o := range e.heads.outside {
		switch {
		case o.Number == newest.Number && !o.same(newest):
			return atHead(changed, o.Number, ": it is another than the one kept outside")
		case o.Number > newest.Number:
			return atHead(cutOff, o.Number, "").as("the head kept outside ends at position %d (head %d), the export at %d (head %d)", o.LastPos, o.Number, newest.LastPos, newest.Number)
		}
	}
	return nil
}

// stored is the event of a line, or its place alone.
func (l *wireLine) stored() (r stored, err error) {
	w := l.Event
	if w == nil {
		if l.EventID == nil || l.CreatedAt == nil {
			return r, errors.New("the entry has no event_id or created_at")
		}
		r.ID, r.At = *l.EventID, l.CreatedAt.UTC()
		return r, sameMicro(r.At)
	}
	r.Row = Row{
		ID: w.ID, At: w.CreatedAt.UTC(), Type: w.Type, ActorType: w.ActorType, Actor: idOf(w.Actor), TargetType: textOf(w.TargetType), Target: idOf(w.Target),
		Success: w.Success, Failure: textOf(w.Failure), CorrelationID: textOf(w.CorrelationID), PersonalHash: l.PersonalHash, History: w.History,
	}
	if len(w.Metadata) > 0 && string(w.Metadata) != "null" {
		r.Metadata = text(string(w.Metadata))
	}
	if p := l.Personal; p != nil {
		r.salt, r.ip, r.userAgent = append([]byte{}, p.Salt...), textOf(p.IP), textOf(p.UserAgent)
	}
	return r, sameMicro(r.At)
}

// sameMicro refuses times that are finer than what is hashed.
func sameMicro(t time.Time) error {
	if t.Nanosecond()%1_000 != 0 || t.Year() > math.MaxInt16 {
		return errors.New("its time is not one of the log")
	}
	return nil
}

func idOf(id *uuid.UUID) uuid.NullUUID {
	if id == nil {
		return uuid.NullUUID{}
	}
	return uuid.NullUUID{UUID: *id, Valid: true}
}

func textOf(s *string) sql.NullString {
	if s == nil {
		return sql.NullString{}
	}
	return sql.NullString{String: *s, Valid: true}
}
