package audit

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"encoding/binary"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

const (
	drainRows  = 1_000
	drainEvery = 500 * time.Millisecond

	sealRows  = 10_000 // a batch at most
	sealEvery = 30 * time.Second
)

// Chain gives recorded events their places and signs what stands there, so that
// what is changed afterwards is found (verify.go). Every process of the worker
// role may run one: they take turns.
type Chain struct {
	DB    *db.DB
	Clock *clock.Clock
	Log   *slog.Logger

	KeySeal *secret.Ring // seals the key that signs heads
	Marks   *secret.Ring // marks places as ours

	// FanOut hands events on to webhooks, in the transaction that gives them their
	// places. OnHead hears of a new head, in its transaction. Both may be nil.
	FanOut func(ctx context.Context, tx *db.Tx, now time.Time, events []Outgoing) error
	OnHead func(ctx context.Context, tx *db.Tx, h Head) error

	// HeadsFile gets every head as a line of JSON; empty for none.
	HeadsFile string

	mu     sync.Mutex
	signer ed25519.PrivateKey // by Prepare
	kid    string
}

// Outgoing is an event that webhooks may hear of.
type Outgoing struct {
	EventID uuid.UUID
	Type    string
	At      time.Time
	Data    string // a JSON object
}

// Run gives places and makes heads until ctx ends, and gives places once more
// then.
func (c *Chain) Run(ctx context.Context) {
	poll := time.NewTicker(drainEvery)
	defer poll.Stop()
	down := false
	for {
		select {
		case <-ctx.Done():
			last, cancel := db.Settle(ctx)
			defer cancel()
			if err := c.drainAll(last); err != nil {
				c.Log.Warn("some audit events have no place yet; the next start gives them one", "error", err)
			}
			return
		case <-poll.C:
		}
		err := c.drainAll(ctx)
		if err == nil {
			_, err = c.Seal(ctx, sealEvery)
		}
		switch {
		case err != nil && ctx.Err() == nil && !down:
			down = true
			c.Log.Error("audit events get no places and webhooks hear of nothing; it is tried again", "error", err)
		case err == nil && down:
			down = false
			c.Log.Info("audit events get their places again")
		}
	}
}

// drainAll asks first, so that nothing is written while nothing happens.
func (c *Chain) drainAll(ctx context.Context) error {
	for {
		some, err := c.Waiting(ctx, 1)
		if err != nil || some == 0 {
			return err
		}
		if n, err := c.Drain(ctx); err != nil || n == 0 {
			return err
		}
	}
}

// Waiting counts the events without a place, up to a bound.
func (c *Chain) Waiting(ctx context.Context, most int) (n int, err error) {
	err = c.DB.Read().QueryRowContext(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM audit_outbox WHERE event_id > $1 ORDER BY event_id LIMIT $2) waiting`, uuid.Nil, most).Scan(&n)
	return n, err
}

// waits is a row of audit_outbox.
type waits struct {
	place
	kind string
	hash []byte
	data sql.NullString
	has  bool // a place already
}

// Drain gives the next events their places and hands them on. n is 0 when none
// wait, or when another process is at it.
func (c *Chain) Drain(ctx context.Context) (n int, err error) {
	defer fault.Wrap(&err, "audit.Drain")
	err = c.DB.Write(ctx, func(tx *db.Tx) error {
		n = 0
		if tx.Engine() == db.Postgres {
			var alone bool
			if err := tx.QueryRowContext(ctx, `SELECT pg_try_advisory_xact_lock(hashtext('audit chain'))`).Scan(&alone); err != nil || !alone {
				return err
			}
		}
		waiting, err := readOutbox(ctx, tx)
		if err != nil || len(waiting) == 0 {
			return err
		}
		n = len(waiting)
		return c.append(ctx, tx, waiting)
	})
	return n, err
}

// readOutbox is in the order of ids, which is the order of time and of the index.
func readOutbox(ctx context.Context, tx *db.Tx) (list []waits, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT o.event_id, o.created_at, o.event_type, o.row_hash, o.data,
			(SELECT c.pos FROM audit_chain c WHERE c.event_id = o.event_id) IS NOT NULL
		FROM audit_outbox o WHERE o.event_id > $1 ORDER BY o.event_id LIMIT $2`, uuid.Nil, drainRows)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var w waits
		if err := rows.Scan(&w.id, &w.at, &w.kind, &w.hash, &w.data, &w.has); err != nil {
			return nil, err
		}
		w.at = w.at.UTC()
		list = append(list, w)
	}
	return list, rows.Err()
}

func (c *Chain) append(ctx context.Context, tx *db.Tx, waiting []waits) error {
	last, err := lastPos(ctx, tx)
	if err != nil {
		return err
	}
	pos := last
	var values []any
	var out []Outgoing
	for _, w := range waiting {
		if w.has { // a row came back from a backup: its event has its place and was handed on
			if _, err := tx.ExecContext(ctx, `DELETE FROM audit_outbox WHERE event_id = $1`, w.id); err != nil {
				return err
			}
			continue
		}
		pos++
		e := entry{pos: pos, place: w.place, hash: w.hash}
		values = append(values, pos, w.id, w.at, w.hash, c.mark(e)) // the MAC names the place, which is known here only
		if w.data.Valid {
			out = append(out, Outgoing{w.id, w.kind, w.at, w.data.String})
		}
	}
	if pos == last {
		return nil
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO audit_chain (pos, event_id, created_at, row_hash, mac) VALUES `+db.Values(len(values)/5, 5), values...); err != nil {
		return err
	}
	if c.FanOut != nil && len(out) > 0 {
		if err := c.FanOut(ctx, tx, c.Clock.Now(), out); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM audit_outbox WHERE event_id >= $1 AND event_id <= $2
		AND event_id IN (SELECT event_id FROM audit_chain WHERE pos > $3 AND pos <= $4)`, waiting[0].id, waiting[len(waiting)-1].id, last, pos)
	return err
}

// lastPos is the last place that was given, also if its entry is purged.
func lastPos(ctx context.Context, tx *db.Tx) (pos int64, err error) {
	err = tx.QueryRowContext(ctx, `SELECT COALESCE((SELECT pos FROM audit_chain WHERE pos > 0 ORDER BY pos DESC LIMIT 1), 0)`).Scan(&pos)
	if err != nil {
		return 0, err
	}
	h, found, err := lastHead(ctx, tx)
	if found {
		pos = max(pos, h.LastPos)
	}
	return pos, err
}

// entry is a place in the chain.
type entry struct {
	pos int64
	place
	hash []byte
	mac  []byte
}

// marked is what the mark of an entry covers.
func (e entry) marked() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(e.pos))
	b = append(b, e.id[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(e.at.UnixMicro()))
	return append(b, e.hash...)
}

// mark proves that this service gave an entry its place: the head tells that
// something in a batch was changed, the mark what.
func (c *Chain) mark(e entry) []byte {
	return append(append([]byte{}, c.Marks.KeyID()...), c.Marks.MAC(e.marked())...)
}

// readEntries returns the entries after a place up to another, in their order.
func readEntries(ctx context.Context, conn db.Conn, after, to int64, limit int) (list []entry, err error) {
	rows, err := conn.QueryContext(ctx, `SELECT pos, event_id, created_at, row_hash, mac FROM audit_chain
		WHERE pos > $1 AND pos <= $2 ORDER BY pos LIMIT $3`, after, to, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var e entry
		if err := rows.Scan(&e.pos, &e.id, &e.at, &e.hash, &e.mac); err != nil {
			return nil, err
		}
		e.at = e.at.UTC()
		list = append(list, e)
	}
	return list, rows.Err()
}
