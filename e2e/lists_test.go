package e2e

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// Two servers of one engine, one with an almost empty database and one with a
// full one, are asked in turns for the same page: what the lists cost must not
// grow with the table, nor with what one user has in it.
func TestListsCostTheSameInAFullTable(t *testing.T) {
	size, rounds := 10_000, 20
	if soak {
		size, rounds = 1_000_000, 1_000
	}
	for _, engine := range []struct {
		name  string
		store func(*testing.T) *store
	}{{"on SQLite", sqliteStore}, {"on PostgreSQL", postgresStore}} { // one after the other: this measures
		t.Run(engine.name, func(t *testing.T) {
			small, full := engine.store(t).serve(t), engine.store(t).serve(t)
			few := small.lister()
			small.fill(t, 10, []share{{few, 1, 0}})
			ten, thousand, worn := full.lister(), full.lister(), full.lister()
			full.fill(t, size, []share{{ten, size / 10, 0}, {thousand, size / 1000, 0}, {worn, size / 1000, 100}})

			for _, path := range []string{"/auth/sessions?limit=10", "/auth/sessions?limit=10&status=all", "/auth/history?limit=10"} {
				readers := []*reader{
					{"10 of 10", small, few, path, nil},
					{fmt.Sprintf("10 of %d", size), full, ten, path, nil},
					{fmt.Sprintf("1,000 of %d", size), full, thousand, path, nil},
					{"the middle of 1,000", full, thousand, path + "&cursor=" + full.middle(thousand, path), nil},
					{"1,000, of which 10 have not run out", full, worn, path, nil},
				}
				for range rounds {
					for _, i := range rand.Perm(len(readers)) { // whoever comes after the slowest fares worse
						readers[i].read()
					}
				}
				for i, r := range readers {
					ratio := float64(r.median()) / float64(readers[0].median())
					t.Logf("%-36s %-36s median %8v  %.2f ×", path, r.name, r.median(), ratio)
					// What has run out is in no index: the last reader's page costs what
					// lies between the sessions that have not.
					if soak && i < 4 && ratio >= 1.5 {
						t.Errorf("%s, %s: %.2f times the cost in an almost empty table", path, r.name, ratio)
					}
				}
			}
			if n := full.pages(thousand, "/auth/sessions?limit=200"); n != 1001 {
				t.Errorf("%d sessions are listed, want 1001", n)
			}
			if n := full.pages(worn, "/auth/sessions?limit=200"); n != 11 {
				t.Errorf("%d sessions have not run out, want 11", n)
			}
		})
	}
}

// lister is a signed-in user.
type lister struct {
	id     string
	access string
}

func (v *server) lister() lister {
	v.t.Helper()
	access := v.login(v.account()).Access
	_, c := claims(v.t, access)
	return lister{c["sub"].(string), access}
}

// share makes every every-th session somebody's. Of those all but each alive-th
// have run out; with 0 none has.
type share struct {
	who   lister
	every int
	alive int
}

// fill stores n sessions, a second apart up to now, and an event of each. Those
// that are in no share belong to 20,000 strangers. authd stops meanwhile: SQLite
// has one writer.
func (v *server) fill(t *testing.T, n int, shares []share) {
	t.Helper()
	v.kill()
	defer v.restart()
	d, err := sql.Open(v.engine, strings.Replace(v.dsn, "mode=ro", "mode=rw", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	run := func(text string) {
		t.Helper()
		if _, err := d.Exec(text); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	now := time.Now().UTC().Truncate(time.Second)
	const stranger, session = "00000000-0000-7000-8000-", "00000000-0000-7000-8001-"
	id := func(prefix, number string) string {
		if v.engine == "pgx" {
			return `CAST('` + prefix + `' || lpad(to_hex(` + number + `), 12, '0') AS UUID)`
		}
		return `printf('` + prefix + `%012x', ` + number + `)`
	}
	at := func(seconds string) string {
		if v.engine == "pgx" {
			return `timestamptz '` + now.Format(time.RFC3339) + `' + (` + seconds + `) * interval '1 second'`
		}
		return `strftime('%Y-%m-%d %H:%M:%S+00:00', ` + fmt.Sprint(now.Unix()) + ` + (` + seconds + `), 'unixepoch')`
	}
	numbers := func(most int) string {
		return fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) `, most)
	}
	strangers := min(20_000, n)
	run(numbers(strangers) + `INSERT INTO users (id, email, email_key, role, is_active, email_verified, email_otp_enabled, epoch, created_at, updated_at)
		SELECT ` + id(stranger, "i") + `, 'x' || i, 'x' || i, 'user', TRUE, TRUE, FALSE, 1, ` + at("0") + `, ` + at("0") + ` FROM n`)
	owner, expires := `CASE`, `CASE`
	for k, c := range shares {
		who := `'` + c.who.id + `'`
		if v.engine == "pgx" {
			who = `CAST(` + who + ` AS UUID)`
		}
		owner += fmt.Sprintf(` WHEN i %% %d = %d THEN %s`, c.every, k%c.every, who)
		if c.alive > 0 {
			expires += fmt.Sprintf(` WHEN i %% %d = %d AND i / %d %% %d <> 0 THEN %s`, c.every, k%c.every, c.every, c.alive, at("-1"))
		}
	}
	owner += fmt.Sprintf(` ELSE %s END`, id(stranger, fmt.Sprintf("1 + i %% %d", strangers)))
	expires += ` WHEN 1 = 0 THEN ` + at("0") + ` ELSE ` + at("86400") + ` END`
	began := at(fmt.Sprintf("i - %d", n))
	run(numbers(n) + `INSERT INTO sessions (id, user_id, provider, audiences, auth_time, created_at, expires_at,
			generation, branch, prev_branch, rotated_at, last_seen_at, ip_address, user_agent)
		SELECT ` + id(session, "i") + `, ` + owner + `, 'password', '[]', ` + began + `, ` + began + `, ` + expires + `,
			0, 0, 0, ` + began + `, ` + began + `, '203.0.113.9', 'Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0' FROM n`)
	run(`INSERT INTO audit_events (id, created_at, event_type, actor_type, actor_id, target_type, target_id, success, metadata, history)
		SELECT id, created_at, 'session.revoked', 'user', user_id, 'user', user_id, TRUE, '{"reason":"self_targeted"}', TRUE
		FROM sessions WHERE ip_address = '203.0.113.9'`)
	salt := `x'00'`
	if v.engine == "pgx" {
		salt = `'\x00'`
	}
	run(`INSERT INTO audit_personal (event_id, created_at, salt, ip_address, user_agent)
		SELECT id, created_at, ` + salt + `, ip_address, user_agent FROM sessions WHERE ip_address = '203.0.113.9'`)
	if v.engine == "pgx" {
		run(`VACUUM ANALYZE`) // autovacuum is off in tests
	}
}

// reader asks for one page again and again.
type reader struct {
	name string
	v    *server
	who  lister
	path string
	took []time.Duration
}

func (r *reader) read() {
	start := time.Now()
	page := r.v.page(r.who, r.path)
	r.took = append(r.took, time.Since(start))
	if len(page.Data) != 10 {
		r.v.t.Fatalf("%s, %s: %d rows", r.name, r.path, len(page.Data))
	}
}

func (r *reader) median() time.Duration {
	slices.Sort(r.took)
	return r.took[len(r.took)/2]
}

type listPage struct {
	Data       []json.RawMessage `json:"data"`
	NextCursor string            `json:"next_cursor"`
}

func (v *server) page(who lister, path string) (p listPage) {
	v.t.Helper()
	a := v.do("GET", path, nil, "Authorization", "Bearer "+who.access)
	if err := json.Unmarshal(a.Body, &p); err != nil || a.Status != http.StatusOK {
		v.t.Fatalf("%s: %s", path, a)
	}
	return p
}

// middle is the cursor of the page in the middle of a list of 1,000.
func (v *server) middle(who lister, path string) (cursor string) {
	v.t.Helper()
	for range 50 {
		cursor = v.page(who, path+"&cursor="+cursor).NextCursor
	}
	return cursor
}

// pages counts what a list shows page by page.
func (v *server) pages(who lister, path string) (n int) {
	v.t.Helper()
	p := v.page(who, path)
	for n = len(p.Data); p.NextCursor != ""; n += len(p.Data) {
		p = v.page(who, path+"&cursor="+p.NextCursor)
	}
	return n
}
