// Package cursor points into lists that are read page by page, newest first.
//
// Rows are ordered by time and id, and a page begins below the last row of the
// page before. A cursor holds that row's place and names its query: with another
// list, user or filter it is refused, because there it would skip rows silently.
// It grants nothing: whose rows are read is said by the query, not by the cursor.
package cursor

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// Place is where a row stands.
type Place struct {
	At time.Time
	ID uuid.UUID
}

// Page is a part of a list.
type Page[T any] struct {
	Rows []T
	Next string // the cursor of the next page; empty on the last
}

// A cursor is version, microseconds, id, and the hash of its query.
const (
	version    = 1
	idAt       = 1 + 8
	queryAt    = idAt + 16
	queryBytes = 8
	size       = queryAt + queryBytes
)

// Times beyond these cannot be stored.
var (
	earliest = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC)
)

var encoding = base64.RawURLEncoding.Strict()

// Decode returns the place below which the page begins; without a cursor that
// is above every row. query is what Cut was given. Fault: invalid_cursor.
func Decode(text string, query ...string) (Place, error) {
	if text == "" {
		return Place{latest, uuid.Max}, nil
	}
	invalid := fault.New(fault.InvalidCursor)
	if len(text) != encoding.EncodedLen(size) {
		return Place{}, invalid
	}
	raw, err := encoding.DecodeString(text)
	if err != nil || len(raw) != size || raw[0] != version || !bytes.Equal(raw[queryAt:], hash(query)) {
		return Place{}, invalid
	}
	p := Place{At: time.UnixMicro(int64(binary.BigEndian.Uint64(raw[1:]))).UTC()}
	copy(p.ID[:], raw[idAt:])
	if p.At.Before(earliest) || p.At.After(latest) {
		return Place{}, invalid
	}
	return p, nil
}

// Cut makes a page of rows that were read up to one more than its limit: that
// row tells whether there is a next page.
func Cut[T any](rows []T, limit int, place func(T) Place, query ...string) Page[T] {
	if len(rows) <= limit {
		return Page[T]{Rows: rows}
	}
	return Page[T]{Rows: rows[:limit], Next: encode(place(rows[limit-1]), query)}
}

func encode(p Place, query []string) string {
	raw := append(make([]byte, 0, size), version)
	raw = binary.BigEndian.AppendUint64(raw, uint64(p.At.UnixMicro()))
	raw = append(raw, p.ID[:]...)
	return encoding.EncodeToString(append(raw, hash(query)...))
}

// hash is of the length-prefixed parts.
func hash(query []string) []byte {
	h := sha256.New()
	for _, part := range query {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		h.Write([]byte(part))
	}
	return h.Sum(nil)[:queryBytes]
}
