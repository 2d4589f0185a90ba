package audit_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

func TestEveryChangedByteIsFound(t *testing.T) {
	columns := map[string][]string{
		"audit_events":   {"event_type", "actor_type", "actor_id", "target_type", "target_id", "success", "failure_reason", "correlation_id", "metadata", "personal_hash", "history", "id", "created_at"},
		"audit_personal": {"salt", "ip_address", "user_agent"},
		"audit_chain":    {"pos", "event_id", "created_at", "row_hash", "mac"},
		"audit_heads":    {"number", "first_pos", "last_pos", "root", "prev_hash", "floor_pos", "kept_from", "made_at", "kid", "hash", "signature"},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newChain(t, d)
		ctx := audit.WithOrigin(t.Context(), origin)
		for range 2 {
			c.happen(audit.LoginSuccess, audit.UserLogout)
			c.Clock.Advance(time.Second)
			c.ok(record(ctx, d, c.Clock.Now(), audit.Event{Type: audit.LoginFailure, Actor: c.ann, TargetType: "user", Target: c.bob,
				Failure: "invalid_credentials", Metadata: map[string]any{"provider": "password"}}))
			c.batch()
		}
		pick := map[string]string{"audit_events": "failure_reason IS NOT NULL", "audit_personal": "ip_address IS NOT NULL", "audit_chain": "pos = 2", "audit_heads": "number = 1"}
		for table, names := range columns {
			for _, column := range names {
				c.mutate(table, column, pick[table])
			}
		}
		if r := c.verify(); !r.OK {
			t.Errorf("after all was put back: %v", r.Finding)
		}
	})
}

// mutate changes one value, byte by byte, and puts it back.
func (c *chained) mutate(table, column, where string) {
	c.t.Helper()
	ctx := c.t.Context()
	where = ` WHERE ` + where
	if table == "audit_events" || table == "audit_personal" { // one of them
		key := map[string]string{"audit_events": "id", "audit_personal": "event_id"}[table]
		where += ` AND ` + key + ` = (SELECT MAX(CAST(` + key + ` AS TEXT)) FROM ` + table + where + `)`
		if c.DB.Engine() == db.Postgres {
			where = strings.Replace(where, key+` = (`, `CAST(`+key+` AS TEXT) = (`, 1)
		}
	}
	was := must(c, func(tx *sql.Tx) (value any, err error) {
		return value, tx.QueryRowContext(ctx, `SELECT `+column+` FROM `+table+where).Scan(&value)
	})
	for _, now := range variants(was) {
		tx, err := c.DB.Writer().BeginTx(ctx, nil)
		c.ok(err)
		result, err := tx.ExecContext(ctx, `UPDATE `+table+` SET `+column+` = $1`+where, now)
		if err != nil { // not even the database takes it
			tx.Rollback()
			continue
		}
		if n, _ := result.RowsAffected(); n != 1 {
			c.t.Fatalf("%s.%s: %d rows changed", table, column, n)
		}
		c.ok(tx.Commit())
		r, err := c.VerifyDatabase(ctx, c.keys(), nil, nil)
		keyID := table == "audit_chain" && column == "mac" && r.OtherKeys == 1 // as if an old secret were gone: counted
		if err == nil && r.OK && !keyID {
			c.t.Errorf("%s.%s: %v instead of %v is not found", table, column, now, was)
		}
		back := where
		if strings.Contains(where, column+" = ") || strings.Contains(where, "("+column) || strings.Contains(where, column+" IS") {
			back = ` WHERE ` + column + ` = $2`
			c.run(`UPDATE `+table+` SET `+column+` = $1`+back, was, now)
			continue
		}
		c.run(`UPDATE `+table+` SET `+column+` = $1`+back, was)
	}
}

func must[T any](c *chained, read func(tx *sql.Tx) (T, error)) T {
	c.t.Helper()
	tx, err := c.DB.Writer().BeginTx(c.t.Context(), nil)
	c.ok(err)
	defer tx.Rollback()
	value, err := read(tx)
	c.ok(err)
	return value
}

// variants are values that differ in one byte, or by the least there is.
func variants(was any) (list []any) {
	switch v := was.(type) {
	case bool:
		return []any{!v}
	case int64:
		return []any{v + 1, v - 1, v + 256}
	case time.Time:
		return []any{v.Add(time.Microsecond), v.Add(-time.Microsecond), v.Add(time.Hour)}
	case []byte:
		for i := range v {
			other := bytes.Clone(v)
			other[i] ^= 1
			list = append(list, other)
		}
		return append(list, v[:len(v)-1], append(bytes.Clone(v), 0))
	case string:
		for i := range v {
			other := []byte(v)
			other[i] ^= 1
			list = append(list, string(other))
		}
		return append(list, v[:len(v)-1], v+" ", strings.ToUpper(v)+"x")
	case [16]byte:
		return []any{uuid.UUID(v).String()}
	}
	panic(fmt.Sprintf("%T", was))
}
