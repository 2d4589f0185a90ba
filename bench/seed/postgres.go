package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// fillPostgres loads by COPY. What has a table's rows in no order of their own
// (the indexes by user, foreign keys) is dropped and made again, which takes a
// fraction of the time; each table is one transaction, so that an interrupted
// filling leaves the schema as it was.
func fillPostgres(ctx context.Context, d *db.DB, w *world, l *log) error {
	for _, at := range []time.Time{w.begin(), w.now} {
		if err := audit.EnsurePartitions(ctx, d, at); err != nil {
			return err
		}
	}
	before, err := schema(ctx, d)
	if err != nil {
		return err
	}
	p := &postgres{d, w, l}
	if err := p.table(ctx, copying{table: "users", columns: userColumns, rows: w.accounts(), kept: true}); err != nil {
		return err
	}
	all, within := errgroup.WithContext(ctx)
	all.Go(func() error { return p.ofAccounts(within) })
	all.Go(func() error { return p.partitions(within, "audit_events", eventColumns, w.events) })
	all.Go(func() error { return p.partitions(within, "audit_personal", personalColumns, w.personal) })
	if err := all.Wait(); err != nil {
		return err
	}
	if err := p.rest(ctx); err != nil {
		return err
	}
	since := time.Now()
	for _, statement := range []string{`VACUUM (FREEZE, ANALYZE)`, `CHECKPOINT`} {
		if _, err := d.Pool().Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	l.say("vacuum, analyze", 0, since)
	after, err := schema(ctx, d)
	if err != nil {
		return err
	}
	return same(before, after)
}

// The columns, in the order of the rows.
const (
	userColumns     = "id, email, email_key, role, is_active, email_verified, email_otp_enabled, epoch, created_at, updated_at"
	passwordColumns = "user_id, hash, changed_at"
	linkColumns     = "user_id, purpose, token_hash, issued_at, expires_at, used_at"
	seenColumns     = "user_id, kind, value, seen_at"
	sessionColumns  = "id, user_id, provider, audiences, auth_time, created_at, absolute_expires_at, expires_at, generation, branch, prev_branch, " +
		"rotated_at, last_seen_at, revoked_at, revoke_reason, ip_address, user_agent, is_suspicious, suspicious_reasons, csrf_hash"
	eventColumns = "id, created_at, event_type, actor_type, actor_id, target_type, target_id, success, failure_reason, correlation_id, " +
		"metadata, personal_hash, history"
	personalColumns  = "event_id, created_at, salt, ip_address, user_agent"
	lockoutColumns   = "account, network, failures, pending, locked_until, expires_at"
	challengeColumns = "id, user_id, context, audiences, sends, failures, created_at, expires_at, spent_at"
	budgetColumns    = "user_id, context, failures, mails, resets_at"

	confirmationColumns = "id, user_id, session_id, action, expires_at, spent_at"
	changeColumns       = "id, user_id, old_email, new_email, token_hash, undo_hash, issued_at, expires_at, confirmed_at, undo_until"
)

type postgres struct {
	d *db.DB
	w *world
	l *log
}

// copying is one table to fill. kept leaves its indexes in place.
type copying struct {
	table, columns string
	rows           rows
	kept           bool
}

func (p *postgres) ofAccounts(ctx context.Context) error {
	for _, c := range []copying{
		{"passwords", passwordColumns, p.w.passwords(), false},
		{"email_tokens", linkColumns, p.w.links(), false},
		{"seen", seenColumns, p.w.seen(), false},
		{"sessions", sessionColumns, p.w.signIns(), false},
		{"lockouts", lockoutColumns, p.w.lockouts(), true},
		{"otp_challenges", challengeColumns, p.w.challenges(), true},
		{"otp_budgets", budgetColumns, p.w.budgets(), true},
		{"action_tokens", confirmationColumns, p.w.confirmations(), true},
		{"email_changes", changeColumns, p.w.changes(), true},
	} {
		if err := p.table(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// table fills one in a transaction.
func (p *postgres) table(ctx context.Context, c copying) (err error) {
	since, n := time.Now(), int64(0)
	err = pgx.BeginFunc(ctx, p.d.Pool(), func(tx pgx.Tx) error {
		var undone []string
		if !c.kept {
			var err error
			if undone, err = strip(ctx, tx, c.table); err != nil {
				return err
			}
		}
		if n, err = load(ctx, tx, c); err != nil {
			return err
		}
		return each(ctx, tx, undone)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", c.table, err)
	}
	p.l.say(c.table, int(n), since)
	return nil
}

// partitions fills every month that has events: each is taken out of its table,
// filled and put back, which finds its indexes again by what they are.
func (p *postgres) partitions(ctx context.Context, parent, columns string, of func(first, end int) rows) error {
	months, err := months(ctx, p.d, parent)
	if err != nil {
		return err
	}
	for _, m := range months {
		first, end := p.w.numbers(m.from, m.to)
		if first == end {
			continue
		}
		since, n := time.Now(), int64(0)
		err := pgx.BeginFunc(ctx, p.d.Pool(), func(tx pgx.Tx) error {
			if err := each(ctx, tx, []string{fmt.Sprintf(`ALTER TABLE %s DETACH PARTITION %s`, parent, m.name)}); err != nil {
				return err
			}
			undone, err := strip(ctx, tx, m.name)
			if err != nil {
				return err
			}
			if n, err = load(ctx, tx, copying{table: m.name, columns: columns, rows: of(first, end)}); err != nil {
				return err
			}
			return each(ctx, tx, append(undone, fmt.Sprintf(`ALTER TABLE %s ATTACH PARTITION %s %s`, parent, m.name, m.bounds)))
		})
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		p.l.say(m.name, int(n), since)
	}
	return nil
}

// month is a partition; bounds is its FOR VALUES.
type month struct {
	name, bounds string
	from, to     time.Time
}

func months(ctx context.Context, d *db.DB, parent string) (list []month, err error) {
	rows, err := d.Pool().Query(ctx, `SELECT c.relname, pg_get_expr(c.relpartbound, c.oid)
		FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = CAST($1 AS TEXT)::regclass ORDER BY c.relname`, parent)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var m month
		if err := rows.Scan(&m.name, &m.bounds); err != nil {
			return nil, err
		}
		if m.bounds == "DEFAULT" {
			continue // what it holds no month can have any more
		}
		if m.from, err = time.Parse("200601", m.name[strings.LastIndexByte(m.name, '_')+1:]); err != nil {
			return nil, err
		}
		m.to = m.from.AddDate(0, 1, 0)
		list = append(list, m)
	}
	return list, rows.Err()
}

// strip drops the indexes and keys of a table and returns the statements that
// make them again, by the names they had.
func strip(ctx context.Context, tx pgx.Tx, table string) (undone []string, err error) {
	for _, query := range []string{
		`SELECT format('ALTER TABLE %I DROP CONSTRAINT %I', CAST($1 AS TEXT), conname),
				format('ALTER TABLE %I ADD CONSTRAINT %I %s', CAST($1 AS TEXT), conname, pg_get_constraintdef(oid))
			FROM pg_constraint WHERE conrelid = CAST($1 AS TEXT)::regclass AND contype IN ('p', 'u', 'f') ORDER BY contype DESC, conname`,
		`SELECT format('DROP INDEX %I', c.relname), pg_get_indexdef(c.oid)
			FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
			WHERE i.indrelid = CAST($1 AS TEXT)::regclass ORDER BY c.relname`,
	} {
		rows, err := tx.Query(ctx, query, table)
		if err != nil {
			return nil, err
		}
		type pair struct{ drop, make string }
		pairs, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p pair, err error) {
			return p, row.Scan(&p.drop, &p.make)
		})
		if err != nil {
			return nil, err
		}
		for _, p := range pairs {
			if err := each(ctx, tx, []string{p.drop}); err != nil {
				return nil, err
			}
			undone = append(undone, p.make)
		}
	}
	return undone, nil
}

func each(ctx context.Context, tx pgx.Tx, statements []string) error {
	for _, statement := range statements {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// load copies rows. A table that nobody refers to is emptied first, though it is
// empty: then its rows can be stored as long settled (FREEZE), and nobody has to
// vacuum them while we measure.
func load(ctx context.Context, tx pgx.Tx, c copying) (int64, error) {
	options := "FORMAT text"
	settings := []string{`SET LOCAL maintenance_work_mem = '512MB'`, `SET LOCAL synchronous_commit = off`}
	if c.table != "users" {
		options += ", FREEZE"
		settings = append(settings, `TRUNCATE `+c.table)
	}
	if err := each(ctx, tx, settings); err != nil {
		return 0, err
	}
	from, to := io.Pipe()
	go func() {
		out := bufio.NewWriterSize(to, 1<<18)
		to.CloseWithError(errors.Join(write(out, c.rows), out.Flush()))
	}()
	defer from.Close() // ends the writer if COPY failed
	done, err := tx.Conn().PgConn().CopyFrom(ctx, from, fmt.Sprintf(`COPY %s (%s) FROM STDIN WITH (%s)`, c.table, c.columns, options))
	return done.RowsAffected(), err
}

// write encodes rows as COPY's text.
func write(out *bufio.Writer, of rows) error {
	var line []byte
	for row := range of {
		line = line[:0]
		for i, v := range row {
			if i > 0 {
				line = append(line, '\t')
			}
			line = encode(line, v)
		}
		if _, err := out.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return nil
}

var special = strings.NewReplacer("\\", `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`)

func encode(line []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(line, `\N`...)
	case string:
		if strings.ContainsAny(v, "\\\t\n\r") {
			v = special.Replace(v)
		}
		return append(line, v...)
	case int:
		return strconv.AppendInt(line, int64(v), 10)
	case bool:
		return strconv.AppendBool(line, v)
	case uuid.UUID:
		n := len(line)
		line = append(line, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"...)
		at := line[n:]
		hex.Encode(at[0:8], v[0:4])
		hex.Encode(at[9:13], v[4:6])
		hex.Encode(at[14:18], v[6:8])
		hex.Encode(at[19:23], v[8:10])
		hex.Encode(at[24:36], v[10:16])
		return line
	case time.Time:
		return v.UTC().AppendFormat(line, "2006-01-02 15:04:05.999999+00")
	case []byte:
		return hex.AppendEncode(append(line, `\\x`...), v)
	}
	panic(fmt.Sprintf("no text for %T", v))
}

// rest is what other rows tell: the feed of the last hour, and finished jobs.
func (p *postgres) rest(ctx context.Context) error {
	since := time.Now()
	feed, err := p.d.Pool().Exec(ctx, `INSERT INTO revocations (kind, subject, epoch, created_at, expires_at)
		SELECT 'session', CAST(id AS TEXT), 0, revoked_at, revoked_at + INTERVAL '17 minutes'
		FROM sessions WHERE revoked_at > CAST($1 AS TIMESTAMPTZ) - INTERVAL '1 hour' ORDER BY revoked_at`, p.w.now)
	if err != nil {
		return err
	}
	p.l.say("revocations", int(feed.RowsAffected()), since)
	since = time.Now()
	done, err := p.d.Pool().Exec(ctx, `INSERT INTO river_job (state, attempt, max_attempts, attempted_at, created_at, finalized_at, scheduled_at, args, kind, queue)
		SELECT 'completed', 1, 8, at, at, at, at, jsonb_build_object('id', gen_random_uuid(), 'at', at, 'args', jsonb_build_object('email', 'user' || n || '@example.com')), $2, 'default'
		FROM (SELECT n, CAST($1 AS TIMESTAMPTZ) - n * INTERVAL '1 second' AS at FROM generate_series(1, 3000) n) j`, p.w.now, verifyMail)
	if err != nil {
		return err
	}
	p.l.say("river_job", int(done.RowsAffected()), since)
	return nil
}

// schema is every index, constraint and partition, a line each.
func schema(ctx context.Context, d *db.DB) ([]string, error) {
	rows, err := d.Pool().Query(ctx, `
		SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
		UNION ALL SELECT format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
		UNION ALL SELECT format('%s in %s %s', inhrelid::regclass, inhparent::regclass, pg_get_expr(c.relpartbound, c.oid)) FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid`)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	slices.Sort(list)
	return list, err
}

func same(before, after []string) error {
	if slices.Equal(before, after) {
		return nil
	}
	var lost, new []string
	for _, line := range before {
		if !slices.Contains(after, line) {
			lost = append(lost, line)
		}
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			new = append(new, line)
		}
	}
	return fmt.Errorf("the schema is not what it was:\nlost %s\nnew %s", strings.Join(lost, "\n     "), strings.Join(new, "\n    "))
}
