package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// Head is signed: it names a batch of entries and the head before it. Whoever
// keeps one elsewhere can tell whether the log was cut off.
type Head struct {
	Number    int64     `json:"number"`    // 0 is the beginning
	FirstPos  int64     `json:"first_pos"` // last_pos + 1 in an empty batch
	LastPos   int64     `json:"last_pos"`
	Root      Bytes     `json:"root"`      // of the batch's entries
	Prev      Bytes     `json:"prev_hash"` // of the head before
	Floor     int64     `json:"floor_pos"` // entries below may be gone: purged
	KeptFrom  time.Time `json:"kept_from"` // events before may be gone: purged
	MadeAt    time.Time `json:"made_at"`
	KID       string    `json:"kid"`
	Hash      Bytes     `json:"hash"`
	Signature Bytes     `json:"signature"`
}

// Bytes are base64url in JSON.
type Bytes []byte

// MarshalText implements encoding.TextMarshaler.
func (b Bytes) MarshalText() ([]byte, error) {
	return base64.RawURLEncoding.AppendEncode(nil, b), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Bytes) UnmarshalText(text []byte) (err error) {
	*b, err = base64.RawURLEncoding.Strict().AppendDecode(nil, text)
	return err
}

// made is the hash of all that the signature covers.
func (h Head) made() []byte {
	b := []byte("authsdk audit head 1")
	number := func(n int64) { b = binary.BigEndian.AppendUint64(b, uint64(n)) }
	number(h.Number)
	number(h.FirstPos)
	number(h.LastPos)
	b = append(append(b, h.Root...), h.Prev...)
	number(h.Floor)
	number(h.KeptFrom.UnixMicro())
	number(h.MadeAt.UnixMicro())
	b = binary.BigEndian.AppendUint32(b, uint32(len(h.KID)))
	b = append(b, h.KID...)
	sum := sha256.Sum256(b)
	return sum[:]
}

// same reports whether two heads are equal in every byte.
func (h Head) same(other Head) bool {
	return bytes.Equal(h.made(), other.made()) && bytes.Equal(h.Hash, other.Hash) && bytes.Equal(h.Signature, other.Signature)
}

// fold is the root of a batch, entry by entry.
type fold []byte

func newFold() fold {
	sum := sha256.Sum256([]byte("authsdk audit batch 1"))
	return sum[:]
}

func (f fold) add(e entry) fold {
	sum := sha256.Sum256(append(append([]byte{}, f...), e.marked()...))
	return sum[:]
}

const headColumns = `number, first_pos, last_pos, root, prev_hash, floor_pos, kept_from, made_at, kid, hash, signature`

func scanHead(row interface{ Scan(...any) error }) (h Head, err error) {
	err = row.Scan(&h.Number, &h.FirstPos, &h.LastPos, &h.Root, &h.Prev, &h.Floor, &h.KeptFrom, &h.MadeAt, &h.KID, &h.Hash, &h.Signature)
	h.KeptFrom, h.MadeAt = h.KeptFrom.UTC(), h.MadeAt.UTC()
	return h, err
}

func lastHead(ctx context.Context, c db.Conn) (h Head, found bool, err error) {
	h, err = scanHead(c.QueryRowContext(ctx, `SELECT `+headColumns+` FROM audit_heads WHERE number >= 0 ORDER BY number DESC LIMIT 1`))
	if errors.Is(err, sql.ErrNoRows) {
		return Head{}, false, nil
	}
	return h, err == nil, err
}

// LastHead returns the newest head. Fault: not_found, before the first worker
// has started.
func LastHead(ctx context.Context, c db.Conn) (h Head, err error) {
	defer fault.Wrap(&err, "audit.LastHead")
	h, found, err := lastHead(ctx, c)
	if err == nil && !found {
		err = fault.New(fault.NotFound)
	}
	return h, err
}

// readHeads returns heads from a number on, in their order.
func readHeads(ctx context.Context, c db.Conn, from int64, limit int) (list []Head, err error) {
	rows, err := c.QueryContext(ctx, `SELECT `+headColumns+` FROM audit_heads WHERE number >= $1 ORDER BY number LIMIT $2`, from, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		h, err := scanHead(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, h)
	}
	return list, rows.Err()
}

// Seal makes a head of the entries after the last one, if there are any and it is
// atMost old or a batch is full. It returns nil if there is nothing to do or
// another process was faster.
func (c *Chain) Seal(ctx context.Context, atMost time.Duration) (_ *Head, err error) {
	defer fault.Wrap(&err, "audit.Seal")
	last, found, err := lastHead(ctx, c.DB.Read())
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errors.New("there is no first head: Prepare was not called")
	}
	young := c.Clock.Now().Sub(last.MadeAt) < atMost
	if young { // which is most of the time: only a full batch cannot wait
		var full bool
		err := c.DB.Read().QueryRowContext(ctx, `SELECT COUNT(*) > 0 FROM audit_chain WHERE pos = $1`, last.LastPos+sealRows).Scan(&full)
		if err != nil || !full {
			return nil, err
		}
	}
	list, err := readEntries(ctx, c.DB.Read(), last.LastPos, math.MaxInt64, sealRows)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	root := newFold()
	for _, e := range list {
		root = root.add(e)
	}
	next := last.next(c.Clock.Now())
	next.LastPos, next.Root = list[len(list)-1].pos, Bytes(root)
	if next.LastPos-last.LastPos != int64(len(list)) {
		c.Log.Error("places are missing in the audit chain: somebody deleted them; run authd audit verify --database", "after", last.LastPos)
	}
	won, err := c.put(ctx, &next)
	if err != nil || !won {
		return nil, err
	}
	return &next, nil
}

// next is an empty batch on top of a head.
func (h Head) next(now time.Time) Head {
	return Head{
		Number: h.Number + 1, FirstPos: h.LastPos + 1, LastPos: h.LastPos, Root: Bytes(newFold()), Prev: h.Hash,
		Floor: h.Floor, KeptFrom: h.KeptFrom, MadeAt: now,
	}
}

// put signs a head and stores it, unless there is one of its number.
func (c *Chain) put(ctx context.Context, h *Head) (won bool, err error) {
	signer, kid := c.key()
	if signer == nil {
		return false, errors.New("there is no key to sign with: Prepare was not called")
	}
	h.KID = kid
	h.Hash = h.made()
	h.Signature = ed25519.Sign(signer, h.Hash)
	err = c.DB.Write(ctx, func(tx *db.Tx) error {
		won = false
		result, err := tx.ExecContext(ctx, `INSERT INTO audit_heads (`+headColumns+`)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (number) DO NOTHING`,
			h.Number, h.FirstPos, h.LastPos, []byte(h.Root), []byte(h.Prev), h.Floor, h.KeptFrom, h.MadeAt, h.KID, []byte(h.Hash), []byte(h.Signature))
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		if err != nil || n == 0 {
			return err
		}
		won = true
		if c.OnHead != nil && h.Number > 0 {
			return c.OnHead(ctx, tx, *h)
		}
		return nil
	})
	if err == nil && won {
		c.keep(*h)
	}
	return won, err
}

// keep writes a head to the file outside the database.
func (c *Chain) keep(h Head) {
	if c.HeadsFile == "" {
		return
	}
	line, err := json.Marshal(h)
	if err == nil {
		err = appendLine(c.HeadsFile, line)
	}
	if err != nil {
		c.Log.Error("the head of the audit log was not written to AUDIT__HEADS_FILE", "number", h.Number, "error", err)
	}
}

func appendLine(path string, line []byte) error {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err = file.Write(append(line, '\n')); err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// raiseTries is how often Raise begins again because another head was faster.
const raiseTries = 10

// Raise makes a head that says what may be purged: events before keptFrom, and
// the entries below the floor that it returns. It comes before anything is
// deleted, and never lowers either.
func (c *Chain) Raise(ctx context.Context, keptFrom time.Time) (floor int64, err error) {
	defer fault.Wrap(&err, "audit.Raise")
	for range raiseTries {
		last, err := LastHead(ctx, c.DB.Read())
		if err != nil {
			return 0, err
		}
		if keptFrom.After(last.MadeAt) { // what is younger than the last head stays
			keptFrom = last.MadeAt
		}
		if !keptFrom.After(last.KeptFrom) {
			return last.Floor, nil
		}
		next := last.next(c.Clock.Now())
		next.KeptFrom = keptFrom
		if next.Floor, err = c.floor(ctx, last, keptFrom); err != nil {
			return 0, err
		}
		if won, err := c.put(ctx, &next); err != nil || won {
			return next.Floor, err
		}
	}
	return 0, fmt.Errorf("another head was faster %d times", raiseTries)
}

// floor is where the oldest batch begins of which an event is kept.
func (c *Chain) floor(ctx context.Context, last Head, keptFrom time.Time) (int64, error) {
	var pos int64
	err := c.DB.Read().QueryRowContext(ctx, `SELECT pos FROM audit_chain WHERE pos >= $1 AND created_at >= $2 ORDER BY pos LIMIT 1`,
		last.Floor, keptFrom).Scan(&pos)
	if errors.Is(err, sql.ErrNoRows) || err == nil && pos > last.LastPos {
		return last.LastPos + 1, nil
	}
	if err != nil {
		return 0, err
	}
	number, err := headAt(ctx, c.DB.Read(), last, pos)
	if err != nil {
		return 0, err
	}
	err = c.DB.Read().QueryRowContext(ctx, `SELECT first_pos FROM audit_heads WHERE number = $1`, number).Scan(&pos)
	return max(pos, last.Floor), err
}

// headAt is the number of the head whose batch has a place. Heads are in the
// order of their places.
func headAt(ctx context.Context, c db.Conn, last Head, pos int64) (int64, error) {
	low, high := int64(0), last.Number
	for low < high {
		middle := (low + high) / 2
		var ends int64
		if err := c.QueryRowContext(ctx, `SELECT last_pos FROM audit_heads WHERE number = $1`, middle).Scan(&ends); err != nil {
			return 0, err
		}
		if ends < pos {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, nil
}
