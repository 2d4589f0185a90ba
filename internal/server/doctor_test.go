package server

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/config"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

// used is a database that a server has worked on and left.
func used(t *testing.T, d *db.DB, more ...string) {
	t.Helper()
	s, err := New(t.Context(), settings(t, urlOf(t, d), more...), dbtest.Log, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.close()
}

// mailServer takes connections and greets, or says nothing.
func mailServer(t *testing.T, silent bool) (port string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				lines := bufio.NewScanner(conn)
				if !silent {
					fmt.Fprint(conn, "220 mail.example.org ESMTP\r\n")
				}
				for lines.Scan() {
					switch verb := strings.Fields(lines.Text() + " .")[0]; {
					case silent:
					case verb == "QUIT":
						fmt.Fprint(conn, "221 bye\r\n")
						return
					case verb == "EHLO":
						fmt.Fprint(conn, "250-mail.example.org\r\n250 HELP\r\n")
					default:
						t.Errorf("the doctor says %q to the mail server", lines.Text())
						fmt.Fprint(conn, "250 ok\r\n")
					}
				}
			}()
		}
	}()
	_, port, err = net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// said is what the doctor says of a part, a line each: ok, or the problem and
// what to do.
func said(findings []Finding, part string) (lines []string) {
	for _, f := range findings {
		switch {
		case f.Part != part:
		case f.OK:
			lines = append(lines, "ok: "+f.Detail)
		default:
			lines = append(lines, "PROBLEM: "+f.Detail+" → "+f.Mend)
		}
	}
	return lines
}

// traces is everything a doctor might change: files and their content, tables
// and how many rows they have.
func traces(t *testing.T, d *db.DB) []string {
	t.Helper()
	var list []string
	query := `SELECT tablename FROM pg_tables WHERE schemaname = current_schema()`
	if d.Engine() == db.SQLite {
		query = `SELECT name FROM sqlite_master WHERE type = 'table'`
		list = slices.DeleteFunc(files(t, filepath.Dir(d.Path())), func(s string) bool { // of the test's own connection
			return strings.Contains(s, "-shm ") || strings.Contains(s, "-wal ")
		})
	}
	rows, err := d.Read().QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var tables []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		tables = append(tables, name)
	}
	slices.Sort(tables)
	for _, name := range tables {
		var n int
		if err := d.Read().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM "`+name+`"`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%s: %d rows", name, n))
	}
	return list
}

// files lists a folder: names and what is in them.
func files(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%s %x", e.Name(), sha256.Sum256(text)))
	}
	return list
}

const (
	oldKey = "Jp8sW1nQe6Tz4Vb9Mk2Xr7Yc3Lh5Fd0G"
	newKey = "Nz5vB8mK1qW4rT7yU0iO3pA6sD9fG2hJ"
)

func TestDoctor(t *testing.T) {
	sealed := func(key string) []string { return []string{"SIGNING_KEYS__ENCRYPTION_KEY=" + key} }
	for _, row := range []struct {
		name     string
		prepare  func(t *testing.T, d *db.DB)
		settings []string
		part     string
		want     string // a pattern of what is said of it
	}{
		{"all is well", func(t *testing.T, d *db.DB) { used(t, d) }, nil, "signing keys", `^ok: 2 published, the active one opens$`},
		{"a migrated database that nobody has used", nil, nil, "signing keys", `^ok: none yet; authd serve makes the first$`},

		{"the key that seals is another", func(t *testing.T, d *db.DB) { used(t, d, sealed(oldKey)...) }, sealed(newKey),
			"signing keys", `^PROBLEM: .*cannot be opened.* → set SIGNING_KEYS__ENCRYPTION_KEY to the secret the keys were sealed with, or list it in SIGNING_KEYS__ENCRYPTION_KEY_PREVIOUS$`},
		{"the old one is listed as previous", func(t *testing.T, d *db.DB) { used(t, d, sealed(oldKey)...) },
			append(sealed(newKey), `SIGNING_KEYS__ENCRYPTION_KEY_PREVIOUS=["`+oldKey+`"]`), "signing keys", `^ok: 2 published, .*; 2 still sealed with a previous encryption key`},
		{"the key that development made is lost", func(t *testing.T, d *db.DB) { used(t, d); loseSecrets(t, d) }, nil,
			"signing keys", `^PROBLEM: .*cannot be opened.* → .*secrets\.json.*dev_secrets`},
		{"keys without an active one", func(t *testing.T, d *db.DB) {
			used(t, d)
			change(t, d, `UPDATE signing_keys SET status = 'retired' WHERE status = 'active'`)
		}, nil, "signing keys", `^PROBLEM: .*no signing key is active`},
		{"keys without a next one", func(t *testing.T, d *db.DB) {
			used(t, d)
			change(t, d, `DELETE FROM signing_keys WHERE status = 'next'`)
		}, nil, "signing keys", `^ok: .*\nPROBLEM: there is no next key .*→ no worker tends them: start one`},
		{"a replaced key that nobody retires", func(t *testing.T, d *db.DB) {
			used(t, d)
			change(t, d, `UPDATE signing_keys SET status = 'retiring', retires_at = '2026-01-01 00:00:00+00:00' WHERE status = 'next'`)
		}, nil, "signing keys", `PROBLEM: the time of a replaced key ended .* ago, and it is not retired → `},
		{"a key that signs for ever", func(t *testing.T, d *db.DB) {
			used(t, d)
			change(t, d, `UPDATE signing_keys SET activated_at = '2026-01-01 00:00:00+00:00'`)
		}, nil, "signing keys", `PROBLEM: the active key has signed for \d+ days, and SIGNING_KEYS__ROTATION_DAYS is 90 → .*authd keys rotate$`},

		{"Redis is down", nil, []string{"REDIS__URL=redis://:pass-canary@127.0.0.1:1/0"}, "redis", `^PROBLEM: .*connection refused.* → start it, or mend REDIS__URL`},
		{"the mail server is down", nil, []string{"EMAIL__SMTP_HOST=127.0.0.1", "EMAIL__SMTP_PORT=1"}, "mail",
			`^PROBLEM: .*connection refused.* → check EMAIL__SMTP_HOST, _PORT, _TLS, _USERNAME and _PASSWORD$`},
	} {
		t.Run(row.name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, d *db.DB) {
				if row.prepare != nil {
					row.prepare(t, d)
				}
				before := traces(t, d)
				findings := Doctor(t.Context(), settings(t, urlOf(t, d), row.settings...))
				if diff := cmp.Diff(before, traces(t, d)); diff != "" {
					t.Errorf("it changed something: %s", diff)
				}
				judged(t, findings, row.part, row.want)
			})
		})
	}
}

// judged checks what is said of one part, and that the others are well.
func judged(t *testing.T, findings []Finding, part, want string) {
	t.Helper()
	of := said(findings, part)
	if len(of) == 0 || !regexp.MustCompile(`(?s)`+want).MatchString(strings.Join(of, "\n")) {
		t.Errorf("of %s it says %q, want %q", part, of, want)
	}
	for _, f := range findings {
		if f.Part != part && !f.OK {
			t.Errorf("a problem of another part: %+v", f)
		}
		if f.OK == (f.Mend != "") || f.Detail == "" {
			t.Errorf("what should one do? %+v", f)
		}
		if strings.Contains(fmt.Sprintf("%+v", f), "canary") || strings.Contains(fmt.Sprintf("%+v", f), oldKey) {
			t.Errorf("it tells a secret: %+v", f)
		}
	}
}

func change(t *testing.T, d *db.DB, statement string) {
	t.Helper()
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		_, err := tx.ExecContext(t.Context(), statement)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func loseSecrets(t *testing.T, d *db.DB) {
	t.Helper()
	if d.Engine() == db.Postgres {
		change(t, d, `DELETE FROM dev_secrets`)
		return
	}
	if err := os.Remove(filepath.Join(filepath.Dir(d.Path()), "secrets.json")); err != nil {
		t.Fatal(err)
	}
}

func TestDoctorOfWhatIsNotThere(t *testing.T) {
	t.Run("what is not used is said so", func(t *testing.T) {
		findings := Doctor(t.Context(), settings(t, urlOf(t, onePlace(t))))
		judged(t, findings, "redis", `^ok: not used`)
		judged(t, findings, "mail", `^ok: kept in the development mailbox`)
	})
	t.Run("a file that is not there is not made", func(t *testing.T) {
		dir := t.TempDir()
		findings := Doctor(t.Context(), settings(t, "sqlite://"+filepath.Join(dir, "new", "authd.db")))
		judged(t, findings, "database", `^ok: no file yet.*authd serve makes it$`)
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Errorf("%v, %v", entries, err)
		}
	})
	t.Run("a file that nobody has open is left as it is", func(t *testing.T) {
		dir := t.TempDir()
		cfg := settings(t, "sqlite://"+filepath.Join(dir, "authd.db"))
		s, err := New(t.Context(), cfg, dbtest.Log, Options{})
		if err != nil {
			t.Fatal(err)
		}
		s.close()
		before := files(t, dir)
		judged(t, Doctor(t.Context(), cfg), "signing keys", `^ok: 2 published`)
		if diff := cmp.Diff(before, files(t, dir)); diff != "" || len(before) < 2 {
			t.Errorf("%s %v", diff, before)
		}
	})
	t.Run("an empty SQLite file is not migrated", func(t *testing.T) {
		d := dbtest.Open(t, "sqlite://"+filepath.Join(t.TempDir(), "authd.db"))
		findings := Doctor(t.Context(), settings(t, urlOf(t, d)))
		judged(t, findings, "migrations", `^ok: \d+ pending; authd serve applies them$`)
		if left := traces(t, d); len(left) != 1 {
			t.Errorf("%v", left)
		}
	})
	t.Run("an empty PostgreSQL database is not migrated", func(t *testing.T) {
		url := dbtest.EmptyPostgresURL(t)
		judged(t, Doctor(t.Context(), settings(t, url)), "migrations", `^PROBLEM: \d+ pending → run authd migrate up$`)
		if left := traces(t, dbtest.Open(t, url)); len(left) > 0 {
			t.Errorf("%v", left)
		}
	})
	t.Run("a file that is no database", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "authd.db")
		text := []byte(strings.Repeat("not a database, but long enough to be looked at\n", 100))
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		judged(t, Doctor(t.Context(), settings(t, "sqlite://"+file)), "database", `^PROBLEM: .*not a database.* → .*DATABASE__URL`)
		if now, err := os.ReadFile(file); err != nil || string(now) != string(text) {
			t.Errorf("it changed the file: %v", err)
		}
	})
	t.Run("PostgreSQL is down", func(t *testing.T) {
		findings := Doctor(t.Context(), settings(t, "postgres://jo:pass-canary@127.0.0.1:1/authd?sslmode=disable"))
		judged(t, findings, "database", `^PROBLEM: .*connection refused.* → is it running, and do DATABASE__URL's host, user and password fit\?$`)
	})
	t.Run("PostgreSQL has no such database", func(t *testing.T) {
		url := strings.Replace(dbtest.EmptyPostgresURL(t), "/t_", "/no_such_", 1)
		judged(t, Doctor(t.Context(), settings(t, url)), "database", `^PROBLEM: .*does not exist.* → .*DATABASE__URL`)
	})
}

func TestDoctorOfARunningServer(t *testing.T) {
	pattern := regexp.MustCompile(strings.Join([]string{`configuration true development`, `database true (SQLite|PostgreSQL) \d+\.\S.*`, `clock true agrees .*`,
		`migrations true up to date`, `signing keys true 2 published, the active one opens`, `redis true answers`, `mail true 127.0.0.1 takes mail`}, "\n"))
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		cfg := settings(t, urlOf(t, d), "REDIS__URL="+dbtest.RedisURL(t), "EMAIL__SMTP_HOST=127.0.0.1", "EMAIL__SMTP_PORT="+mailServer(t, false))
		s := build(t, cfg, Options{})
		var findings []Finding
		eventually(t, "Redis answers in time", func() bool {
			findings = Doctor(t.Context(), cfg)
			return strings.HasPrefix(said(findings, "redis")[0], "ok: ")
		})
		var parts []string
		for _, f := range findings {
			parts = append(parts, fmt.Sprintf("%s %t %s", f.Part, f.OK, f.Detail))
		}
		if text := strings.Join(parts, "\n"); !pattern.MatchString(text) {
			t.Error(text)
		}
		if status, failing, _ := readiness(t, s); status != 200 {
			t.Errorf("the server is harmed: %d, %v", status, failing)
		}
	})
}

func TestDoctorOfAProductionThatWarns(t *testing.T) {
	more := append([]string{"AUTH__AUDIENCES="}, slices.DeleteFunc(slices.Clone(production), func(s string) bool { return strings.HasPrefix(s, "AUTH__") })...)
	findings := Doctor(t.Context(), settings(t, urlOf(t, onePlace(t)), more...))
	if of := said(findings, "configuration"); len(of) < 2 || of[0] != "ok: production" || !strings.Contains(strings.Join(of, "|"), "|ok: note: AUTH__AUDIENCES") {
		t.Errorf("%q", of)
	}
	if of := said(findings, "mail"); len(of) != 1 || !strings.HasPrefix(of[0], "PROBLEM") {
		t.Errorf("%q", of)
	}
}

// Nothing that hangs makes the doctor hang.
func TestDoctorDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	port := mailServer(t, true)
	cfg, err := config.Load([]string{"DATABASE__URL=postgres://jo@127.0.0.1:" + port + "/authd?sslmode=disable",
		"REDIS__URL=redis://127.0.0.1:" + port, "EMAIL__SMTP_HOST=127.0.0.1", "EMAIL__SMTP_PORT=" + port}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	findings := Doctor(t.Context(), cfg)
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	for _, part := range []string{"database", "redis", "mail"} {
		if of := said(findings, part); len(of) != 1 || !strings.HasPrefix(of[0], "PROBLEM") {
			t.Errorf("%s: %q", part, of)
		}
	}
}
