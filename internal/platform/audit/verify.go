package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

// Report is what a verification found.
type Report struct {
	OK          bool     `json:"ok"`
	FirstHead   int64    `json:"first_head"`
	LastHead    int64    `json:"last_head"`
	FirstPos    int64    `json:"first_pos"`
	LastPos     int64    `json:"last_pos"`
	Erased      int64    `json:"erased"`       // personal parts that are gone
	Outside     int64    `json:"outside"`      // events younger than the last head
	BeforeChain int64    `json:"before_chain"` // events from before the first head
	OtherKeys   int64    `json:"other_keys"`   // entries marked with a key that is not here any more
	Without     int64    `json:"without"`      // places of an export whose events are not in it
	Finding     *Finding `json:"finding"`      // the first that was found
}

// String is the sentence about a log that nothing was found in.
func (r Report) String() string {
	positions := fmt.Sprintf("positions %d–%d", r.FirstPos, r.LastPos)
	if r.LastPos < r.FirstPos {
		positions = "no positions"
	}
	text := fmt.Sprintf("verified: heads %d–%d, %s, %d personal parts erased, %d rows younger than the last head are outside, %d from before the chain.",
		r.FirstHead, r.LastHead, positions, r.Erased, r.Outside, r.BeforeChain)
	if r.Without > 0 {
		text += fmt.Sprintf(" %d positions are there without their events, which the filter left out or which were purged.", r.Without)
	}
	if r.OtherKeys > 0 {
		text += fmt.Sprintf(" %d positions are marked with a key that is not here any more: only the heads vouch for them.", r.OtherKeys)
	}
	return text
}

// Finding is where a log was tampered with.
type Finding struct {
	Kind    string     `json:"kind"` // changed, deleted, inserted, reordered, cut off
	Pos     int64      `json:"pos,omitempty"`
	EventID *uuid.UUID `json:"event_id,omitempty"`
	Head    *int64     `json:"head,omitempty"`
	Detail  string     `json:"detail"`
}

// The kinds of findings.
const (
	changed   = "changed"
	deleted   = "deleted"
	inserted  = "inserted"
	reordered = "reordered"
	cutOff    = "cut off"
)

// String is the line that says it.
func (f *Finding) String() string { return f.Kind + ": " + f.Detail }

// Error implements error, so that a finding ends a verification.
func (f *Finding) Error() string { return f.String() }

// atHead and atEntry make findings.
func atHead(kind string, number int64, format string, args ...any) *Finding {
	return &Finding{Kind: kind, Head: &number, Detail: fmt.Sprintf("head %d", number) + fmt.Sprintf(format, args...)}
}

func atEntry(kind string, e entry, kindOfEvent, detail string) *Finding {
	if kindOfEvent != "" {
		kindOfEvent = " (" + kindOfEvent + ")"
	}
	return &Finding{Kind: kind, Pos: e.pos, EventID: &e.id, Detail: fmt.Sprintf("position %d, event %s of %s%s: %s", e.pos, e.id, e.at.Format(time.RFC3339), kindOfEvent, detail)}
}

func missing(pos, next int64) *Finding {
	return &Finding{Kind: deleted, Pos: pos, Detail: fmt.Sprintf("position %d is missing between %d and %d", pos, pos-1, next)}
}

// ends takes the finding out of an error, so that it stands in the report.
func (r *Report) ends(err error) error {
	if found := (*Finding)(nil); errors.As(err, &found) {
		r.Finding = found
		return nil
	}
	r.OK = err == nil
	return err
}

// heads checks heads one after the other.
type heads struct {
	keys    map[string]ed25519.PublicKey
	last    Head
	any     bool
	outside []Head // kept elsewhere, of which those in the log are taken out
}

// take checks that a head is signed and follows the one before.
func (s *heads) take(h Head) error {
	if s.any && h.Number != s.last.Number+1 {
		return atHead(deleted, s.last.Number+1, " is missing")
	}
	if err := s.signed(h); err != nil {
		return err
	}
	switch {
	case !s.any && h.Number == 0 && !bytes.Equal(h.Prev, make([]byte, sha256.Size)),
		s.any && (!bytes.Equal(h.Prev, s.last.Hash) || h.FirstPos != s.last.LastPos+1):
		return atHead(changed, h.Number, ": it does not follow head %d", h.Number-1)
	case h.LastPos < h.FirstPos-1, s.any && (h.Floor < s.last.Floor || h.KeptFrom.Before(s.last.KeptFrom)):
		return atHead(changed, h.Number, ": it takes back what the heads before it say")
	}
	for i, o := range s.outside {
		if o.Number == h.Number {
			if !o.same(h) {
				return atHead(changed, h.Number, ": it is another than the one kept outside")
			}
			s.outside = slices.Delete(slices.Clone(s.outside), i, i+1)
			break
		}
	}
	s.last, s.any = h, true
	return nil
}

func (s *heads) signed(h Head) error {
	key := s.keys[h.KID]
	if key == nil {
		return atHead(changed, h.Number, ": it is signed with a key that is not known here (%s)", h.KID)
	}
	if !bytes.Equal(h.Hash, h.made()) || len(h.Signature) != ed25519.SignatureSize || !ed25519.Verify(key, h.Hash, h.Signature) {
		return atHead(changed, h.Number, ": the signature does not fit")
	}
	return nil
}

// Kept checks heads that were kept outside, before they are believed.
func Kept(keys []PublicKey, outside []Head) error {
	s := heads{keys: keysByID(keys)}
	for _, h := range outside {
		if err := s.signed(h); err != nil {
			return fmt.Errorf("the head kept outside is not one of this log (%w)", err)
		}
	}
	return nil
}

const verifyRows = 5_000

// verification is one run of VerifyDatabase.
type verification struct {
	chain  *Chain
	conn   db.Conn
	heads  heads
	first  Head   // number 0
	todo   []Head // with entries to check, in their order
	report *Report
}

// VerifyDatabase looks for the first thing that was changed in the log since its
// heads were signed. keys are the ones that heads must be signed with; outside
// are heads that were kept elsewhere. The log may grow and be purged meanwhile.
func (c *Chain) VerifyDatabase(ctx context.Context, keys []PublicKey, outside []Head, progress func(pos int64)) (r Report, err error) {
	defer fault.Wrap(&err, "audit.VerifyDatabase")
	if err := Kept(keys, outside); err != nil {
		return r, err
	}
	v := &verification{chain: c, conn: c.DB.Read(), heads: heads{keys: keysByID(keys), outside: outside}, report: &r}
	return r, r.ends(v.run(ctx, progress))
}

func (v *verification) run(ctx context.Context, progress func(pos int64)) error {
	if err := v.readHeads(ctx); err != nil {
		return err
	}
	if !v.heads.any {
		return atHead(deleted, 0, " is missing")
	}
	v.report.FirstPos, v.report.LastPos, v.report.LastHead = v.heads.last.Floor, v.heads.last.LastPos, v.heads.last.Number
	if err := v.reaches(ctx); err != nil {
		return err
	}
	if err := v.batches(ctx, progress); err != nil {
		return err
	}
	if err := v.young(ctx); err != nil {
		return err
	}
	return v.strangers(ctx)
}

// readHeads checks the heads that are new since it was last called.
func (v *verification) readHeads(ctx context.Context) error {
	for {
		from := int64(0)
		if v.heads.any {
			from = v.heads.last.Number + 1
		}
		list, err := readHeads(ctx, v.conn, from, 1_000)
		if err != nil || len(list) == 0 {
			return err
		}
		if !v.heads.any {
			if list[0].Number != 0 {
				return atHead(deleted, 0, " is missing")
			}
			v.first = list[0]
		}
		for _, h := range list {
			if err := v.heads.take(h); err != nil {
				return err
			}
			if h.FirstPos <= h.LastPos {
				v.todo = append(v.todo, h)
			}
		}
	}
}

// reaches compares the end of the log with the heads kept outside.
func (v *verification) reaches(ctx context.Context) error {
	if len(v.heads.outside) == 0 {
		return nil
	}
	o := v.heads.outside[0]
	f := atHead(cutOff, o.Number, "")
	f.Detail = fmt.Sprintf("the head kept outside ends at position %d (head %d), the database at %d (head %d)", o.LastPos, o.Number, v.heads.last.LastPos, v.heads.last.Number)
	list, err := readEntries(ctx, v.conn, v.heads.last.LastPos-1, v.heads.last.LastPos, 1)
	if err != nil {
		return err
	}
	if len(list) > 0 {
		f.Pos, f.EventID = list[0].pos, &list[0].id
		f.Detail += fmt.Sprintf(", event %s of %s", list[0].id, list[0].at.Format(time.RFC3339))
	}
	return f
}

// purged asks again whether a place may be empty: a purge may have begun.
func (v *verification) purged(ctx context.Context, pos int64, at time.Time) (bool, error) {
	err := v.readHeads(ctx)
	return pos < v.heads.last.Floor || !at.IsZero() && at.Before(v.heads.last.KeptFrom), err
}

// batches checks the entries of every batch, their rows, and the batch's root.
func (v *verification) batches(ctx context.Context, progress func(pos int64)) error {
	for len(v.todo) > 0 {
		h := v.todo[0]
		v.todo = v.todo[1:]
		if h.Number > v.report.LastHead { // made meanwhile
			return nil
		}
		if h.LastPos < v.heads.last.Floor {
			continue
		}
		if err := v.batch(ctx, h); err != nil && !errors.Is(err, errPurged) {
			return err
		}
		if progress != nil {
			progress(h.LastPos)
		}
	}
	return nil
}

var errPurged = errors.New("the batch is being purged")

func (v *verification) batch(ctx context.Context, h Head) error {
	root, erased := newFold(), v.report.Erased
	for pos := h.FirstPos; pos <= h.LastPos; {
		page, err := readPlaced(ctx, v.chain.DB, pos-1, h.LastPos, verifyRows)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			page = []placed{{entry: entry{pos: h.LastPos + 1}}}
		}
		for _, p := range page {
			if p.pos != pos {
				gone, err := v.purged(ctx, pos, time.Time{})
				switch {
				case err != nil:
					return err
				case gone:
					v.report.Erased = erased
					return errPurged
				}
				return missing(pos, p.pos)
			}
			if err := v.entry(ctx, p, h); err != nil {
				return err
			}
			root = root.add(p.entry)
			pos++
		}
	}
	if !bytes.Equal(root, h.Root) {
		return atHead(changed, h.Number, "").as("batch %d (positions %d–%d): its entries do not match the signed head", h.Number, h.FirstPos, h.LastPos)
	}
	return nil
}

func (f *Finding) as(format string, args ...any) *Finding {
	f.Detail = fmt.Sprintf(format, args...)
	return f
}

// entry checks an entry and its row.
func (v *verification) entry(ctx context.Context, p placed, h Head) error {
	if p.unread != nil {
		return atEntry(changed, p.entry, "", "it cannot be read: "+p.unread.Error())
	}
	if known, ours := v.chain.marked(p.entry); !known {
		v.report.OtherKeys++
	} else if !ours {
		for pos := h.FirstPos; pos <= h.LastPos; pos++ {
			moved := p.entry
			moved.pos = pos
			if _, ours := v.chain.marked(moved); ours {
				return atEntry(reordered, p.entry, p.Type, fmt.Sprintf("it stood elsewhere, at position %d", pos))
			}
		}
		return atEntry(changed, p.entry, p.Type, "its place in the chain was not written by this service")
	}
	return v.row(ctx, p)
}

// marked reports whether the key of an entry's mark is known, and whether it is
// ours.
func (c *Chain) marked(e entry) (known, ours bool) {
	if len(e.mac) != secret.IDLen+secret.MACLen {
		return true, false
	}
	id, mac := e.mac[:secret.IDLen], e.mac[secret.IDLen:]
	return c.Marks.Has(id), c.Marks.CheckMAC(id, e.marked(), mac)
}

func (v *verification) row(ctx context.Context, p placed) error {
	switch {
	case !p.there:
		if p.at.Before(v.heads.last.KeptFrom) {
			return nil
		}
		if gone, err := v.purged(ctx, p.pos, p.at); err != nil || gone {
			return err
		}
		return atEntry(deleted, p.entry, "", "the row is gone")
	case !bytes.Equal(p.Hash(), p.hash):
		return atEntry(changed, p.entry, p.Type, "the row does not match its hash")
	case p.erased():
		v.report.Erased++
	case p.salt != nil && !p.personalFits():
		return atEntry(changed, p.entry, p.Type, "the personal part does not match its hash")
	}
	return nil
}

// young checks the entries that no head covers yet as far as that goes: nobody
// else may have given them their places.
func (v *verification) young(ctx context.Context) error {
	after := v.report.LastPos
	for {
		list, err := readEntries(ctx, v.conn, after, math.MaxInt64, verifyRows)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, e := range list {
			if known, ours := v.chain.marked(e); known && !ours {
				return atEntry(inserted, e, "", "not written by this service")
			}
			after = e.pos
		}
	}
}

// strangers looks for events that have no place and wait for none.
func (v *verification) strangers(ctx context.Context) error {
	since := v.first.MadeAt
	if v.heads.last.KeptFrom.After(since) {
		since = v.heads.last.KeptFrom
	}
	at, id := since, uuid.Nil
	for {
		page, err := readRoamers(ctx, v.conn, at, id, verifyRows)
		if err != nil {
			return err
		}
		for _, e := range page {
			at, id = e.at, e.id
			switch {
			case e.waits || e.pos > v.report.LastPos:
				v.report.Outside++
			case e.pos == 0:
				if gone, err := v.purged(ctx, math.MaxInt64, e.at); err != nil {
					return err
				} else if gone {
					continue
				}
				return &Finding{Kind: inserted, EventID: &e.id, Detail: fmt.Sprintf("event %s of %s (%s): it is in no batch", e.id, e.at.Format(time.RFC3339), e.kind)}
			}
		}
		if len(page) < verifyRows {
			break
		}
	}
	return v.conn.QueryRowContext(ctx, `SELECT COUNT(*) FROM audit_events e WHERE e.created_at < $1
		AND NOT EXISTS (SELECT 1 FROM audit_chain c WHERE c.event_id = e.id AND c.created_at = e.created_at)
		AND NOT EXISTS (SELECT 1 FROM audit_outbox o WHERE o.event_id = e.id AND o.created_at = e.created_at)`, v.first.MadeAt).Scan(&v.report.BeforeChain)
}
