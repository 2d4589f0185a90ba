package userimport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/flow/userimport"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/method/password"
)

// Hashes of other programs: libxcrypt's and the reference implementation's.
const (
	bcrypt = "$2b$04$abcdefghijklmnopqrstuuIhSHOYW62MYzOCiBO1FrAHfyr5D9TxS"                         // Correct-Horse-7
	argon  = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4" // password
	idJo   = "0190c3a6-7b2e-7000-8000-000000000001"
	idAl   = "0190c3a6-7b2e-7000-8000-000000000002"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type result struct {
	userimport.Counts
	refusals []userimport.Refusal
}

// attempt imports a text.
func attempt(t *testing.T, d *db.DB, text string, dry bool) (result, error) {
	t.Helper()
	var r result
	var err error
	s := &userimport.Service{DB: d, Clock: clock.Set(now)}
	r.Counts, err = s.Import(t.Context(), strings.NewReader(text), userimport.Guess, dry, func(x userimport.Refusal) { r.refusals = append(r.refusals, x) })
	return r, err
}

func imports(t *testing.T, d *db.DB, text string) result {
	t.Helper()
	r, err := attempt(t, d, text, false)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// want compares the counts and the reasons, "7: …".
func (r result) want(t *testing.T, imported, there int, reasons ...string) {
	t.Helper()
	var got []string
	for _, x := range r.refusals {
		got = append(got, fmt.Sprintf("%d: %s", x.Line, x.Reason))
	}
	if diff := cmp.Diff(reasons, got); diff != "" {
		t.Errorf("refusals (-want +got):\n%s", diff)
	}
	want := userimport.Counts{Imported: imported, AlreadyThere: there, Refused: len(reasons)}
	if diff := cmp.Diff(want, r.Counts); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func count(t *testing.T, d *db.DB, query string, args ...any) (n int) {
	t.Helper()
	if err := d.Read().QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func change(t *testing.T, d *db.DB, statement string, args ...any) {
	t.Helper()
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		_, err := tx.ExecContext(t.Context(), statement, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func jsonLine(id, email, hash string, verified bool, role string) string {
	return fmt.Sprintf(`{"id":%q,"email":%q,"hash":%q,"verified":%t,"role":%q}`+"\n", id, email, hash, verified, role)
}

func TestAnImportedAccountIsAsTheFileSays(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		imports(t, d, "id,email,hash,verified,role\n"+
			idJo+",Jo@Example.com,"+bcrypt+",true,admin\n"+
			`,al@example.com,"`+argon+`",,`+"\n"+
			",bo@example.com,,no,service\n").want(t, 3, 0)
		passwords := &password.Service{Hasher: secret.NewHasher(secret.Cost{MemoryKiB: 8, Iterations: 1, Parallelism: 1}, 2)}
		for _, row := range []struct {
			email, password string
			want            user.User
		}{
			{"jo@example.com", "Correct-Horse-7", user.User{ID: uuid.MustParse(idJo), Role: user.RoleAdmin, EmailVerified: true}},
			{"al@example.com", "password", user.User{Role: user.RoleUser}},
			{"bo@example.com", "", user.User{Role: "service"}},
		} {
			u, hash, found, err := password.Find(t.Context(), d.Read(), row.email)
			if err != nil || !found {
				t.Fatalf("%s: found %t, %v", row.email, found, err)
			}
			row.want.Email, row.want.Active = row.email, true
			if row.want.ID == uuid.Nil {
				row.want.ID = u.ID
			}
			if diff := cmp.Diff(row.want, u); diff != "" || u.ID == uuid.Nil {
				t.Errorf("%s (-want +got):\n%s", row.email, diff)
			}
			if (hash == "") != (row.password == "") {
				t.Errorf("%s: hash %q", row.email, hash)
			}
			if hash != "" {
				if right, better, err := passwords.Verify(t.Context(), "password", hash, row.password, true); !right || better == "" || err != nil {
					t.Errorf("%s: right %t, better %q, %v", row.email, right, better, err)
				}
			}
			n := count(t, d, `SELECT COUNT(*) FROM audit_events WHERE event_type = 'user.created' AND actor_type = 'system' AND actor_id IS NULL
				AND target_id = $1 AND success AND created_at = $2`, u.ID, now)
			if n != 1 {
				t.Errorf("%s: %d events", row.email, n)
			}
		}
		var metadata string
		if err := d.Read().QueryRowContext(t.Context(), `SELECT metadata FROM audit_events LIMIT 1`).Scan(&metadata); err != nil || strings.ReplaceAll(metadata, " ", "") != `{"provider":"import"}` {
			t.Errorf("metadata %s, %v", metadata, err)
		}
	})
}

func TestJSONLinesSayTheSame(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		imports(t, d, jsonLine(idJo, "jo@example.com", argon, true, "user")+"\n"+
			`{"email":"al@example.com"}`+"\r\n"+
			` {"email": "bo@example.com", "hash": null, "email_verified": true, "verified": true, "role": "", "id": ""}`).want(t, 3, 0)
		if n := count(t, d, `SELECT COUNT(*) FROM users WHERE email_verified`); n != 2 {
			t.Errorf("%d are confirmed, want jo and bo", n)
		}
		if n := count(t, d, `SELECT COUNT(*) FROM passwords WHERE hash = $1 AND user_id = $2`, argon, uuid.MustParse(idJo)); n != 1 {
			t.Errorf("%d hashes", n)
		}
	})
}

func TestASecondRunChangesNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		file := "id,email,hash,verified\n" + idJo + ",jo@example.com," + bcrypt + ",true\n,al@example.com," + bcrypt + ",true\n"
		imports(t, d, file).want(t, 2, 0)
		// They have lived since.
		change(t, d, `UPDATE passwords SET hash = 'another'`)
		change(t, d, `UPDATE users SET role = 'admin', is_active = FALSE, epoch = 5 WHERE id = $1`, uuid.MustParse(idJo))
		imports(t, d, file+",bo@example.com,,\n").want(t, 1, 2)
		if n := count(t, d, `SELECT COUNT(*) FROM passwords WHERE hash = 'another'`); n != 2 {
			t.Errorf("%d hashes are as they were", n)
		}
		if n := count(t, d, `SELECT COUNT(*) FROM users WHERE id = $1 AND role = 'admin' AND NOT is_active AND epoch = 5`, uuid.MustParse(idJo)); n != 1 {
			t.Error("jo was changed")
		}
		if n := count(t, d, `SELECT COUNT(*) FROM audit_events`); n != 3 {
			t.Errorf("%d events, want one an account", n)
		}
	})
}

func TestWhatIsInTheWayIsNamed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		const head = "id,email,hash,verified,role\n"
		imports(t, d, head+idJo+",jo@example.com,,true,user\n"+idAl+",al@example.com,,false,user\n").want(t, 2, 0)
		gone := uuid.NewString()
		imports(t, d, head+gone+",gone@example.com,,true,user\n").want(t, 1, 0)
		change(t, d, `UPDATE users SET deleted_at = $1 WHERE id = $2`, now, uuid.MustParse(gone))
		change(t, d, `INSERT INTO email_changes (id, user_id, old_email, new_email, issued_at, expires_at, confirmed_at, undo_until)
			VALUES ($1, $2, 'old@example.com', 'jo@example.com', $3, $4, $5, $6)`, uuid.New(), uuid.MustParse(idJo), now, now, now, now.Add(time.Hour))
		const next = "0190c3a6-7b2e-7000-8000-000000000009"
		file := head +
			idJo + ",other@example.com,,true,user\n" + // 2
			next + ",jo@example.com,,true,user\n" +
			idJo + ",al@example.com,,true,user\n" +
			",jo@example.com,,true,admin\n" + // 5
			",al@example.com,,true,user\n" +
			gone + ",gone@example.com,,true,user\n" +
			",old@example.com,,true,user\n" + // 8
			",gone@example.com,,true,user\n" +
			",jo@example.com,,false,user\n" +
			",new@example.com,,true,user\n" + // 11
			next + ",new@example.com,,true,user\n" +
			",NEW@example.com,,true,user\n" +
			",new@example.com,,true,admin\n"
		reasons := []string{
			"2: id belongs to an account with another address",
			"3: email belongs to an account with another id",
			"4: id belongs to an account with another address",
			"5: email belongs to an account with another role",
			"6: email belongs to an account that has not confirmed it",
			"7: id belongs to an account that was deleted or erased",
			"8: email was another account's until lately, which may still take it back: import it in a few days",
			"9: email belongs to a deleted account: erase that one first",
			"12: email belongs to an account with another id",
			"14: email belongs to an account with another role",
		}
		before := count(t, d, `SELECT COUNT(*) FROM users`)
		dry, err := attempt(t, d, file, true)
		if err != nil {
			t.Fatal(err)
		}
		dry.want(t, 1, 2, reasons...)
		if n := count(t, d, `SELECT COUNT(*) FROM users`) - before; n != 0 {
			t.Errorf("a dry run added %d accounts", n)
		}
		imports(t, d, file).want(t, 1, 2, reasons...)
	})
}

// Each hash would be seen in the answer if a reason repeated it.
func TestALineThatIsWrongIsNamedAndTheOthersAreImported(t *testing.T) {
	const hash = "hash must be Argon2id in PHC form, or bcrypt ($2a$, $2b$, $2y$) of a cost up to 16, or empty"
	const object = `is not a JSON object such as {"id": "…", "email": "…", "hash": "…", "verified": true, "role": "user"}`
	for _, row := range []struct{ name, head, line, want string }{
		{"no address", "email,hash", ",", "email must be an e-mail address"},
		{"an address that is none", "email,hash", "jo," + bcrypt, "email must be an e-mail address"},
		{"an address that gets no mail", "email,hash", "jo@example.test,", "email must be at a domain that can receive mail"},
		{"another hash", "email,hash", "jo@example.com,5f4dcc3b5aa765d61d8327deb882cf99", hash},
		{"a hash that is cut off", "email,hash", "jo@example.com," + bcrypt[:59], hash},
		{"a hash of a cost beyond patience", "email,hash", "jo@example.com," + strings.Replace(bcrypt, "$04$", "$17$", 1), hash},
		{"an id that is none", "id,email,hash", "17,jo@example.com,", "id must be a UUID"},
		{"an id of 36 other characters", "id,email,hash", strings.Repeat("z", 36) + ",jo@example.com,", "id must be a UUID"},
		{"an id in braces", "id,email,hash", "{" + idJo + "},jo@example.com,", "id must be a UUID"},
		{"an id of noughts", "id,email,hash", uuid.Nil.String() + ",jo@example.com,", "id must be a UUID"},
		{"another role", "role,email,hash", "root,jo@example.com,", "role must be user, admin or service"},
		{"neither true nor false", "email,hash,verified", "jo@example.com,,maybe", "verified must be true or false"},
		{"a field too few", "email,hash,verified", "jo@example.com,", "has 2 fields and the first line has 3: put quotes around a hash with commas"},
		{"a hash without quotes", "email,hash", "jo@example.com," + argon, "has 4 fields and the first line has 2: put quotes around a hash with commas"},
		{"a quote that is never closed", "email,hash", `jo@example.com,"` + argon, "is not CSV: mend its quotes"},
		{"bytes", "email,hash", "jo\xff@example.com,", "is not text in UTF-8"},
		{"a line without end", "email,hash", "jo@example.com," + strings.Repeat("x", 1<<20), "is longer than 4096 bytes"},
		{"a line a little too long", "email,hash", "jo@example.com," + strings.Repeat("x", 4082), "is longer than 4096 bytes"},

		{"a key that is not known", "", `{"email":"jo@example.com","verifed":true}`, object},
		{"a number for an address", "", `{"email":7}`, object},
		{"a text for true", "", `{"email":"jo@example.com","verified":"true"}`, object},
		{"a list", "", `["jo@example.com"]`, object},
		{"nothing", "", `null`, object},
		{"an object that is cut off", "", `{"email":"jo@example.com"`, object},
		{"two objects", "", `{"email":"jo@example.com"}{}`, object},
		{"two opinions", "", `{"email":"jo@example.com","verified":true,"email_verified":false}`, "verified and email_verified differ"},
		{"a NUL", "", `{"email":"jo\u0000@example.com"}`, "email must be an e-mail address"},
		{"a hash with a NUL", "", `{"email":"jo@example.com","hash":"` + bcrypt + `\u0000"}`, hash},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := dbtest.SQLite(t)
			first, last := "first@example.com", "last@example.com"
			if row.head == "" {
				r := imports(t, d, `{"email":"`+first+`"}`+"\n"+row.line+"\n"+`{"email":"`+last+`"}`)
				r.want(t, 2, 0, "2: "+row.want)
				return
			}
			columns := strings.Split(row.head, ",")
			good := func(email string) string {
				values := make([]string, len(columns))
				for i, name := range columns {
					if name == "email" {
						values[i] = email
					}
				}
				return strings.Join(values, ",")
			}
			r := imports(t, d, row.head+"\n"+good(first)+"\n"+row.line+"\n"+good(last))
			r.want(t, 2, 0, "3: "+row.want)
		})
	}
}

func TestAFileThatIsNoImportIsRefusedWhole(t *testing.T) {
	d := dbtest.SQLite(t)
	const mend = "the first line must name the columns, separated by commas: email, hash and, if you like, id, verified, role"
	for _, row := range []struct{ name, file, want string }{
		{"nothing", "", mend},
		{"no head", "jo@example.com," + bcrypt + "\n", mend + "; column 1 is none of these"},
		{"another separator", "email;hash\n", mend + "; column 1 is none of these"},
		{"a column that is misspelt", "email,hash,verifed\n", mend + "; column 3 is none of these"},
		{"a column twice", "email,hash,verified,email_verified\n", mend + "; column 4 is there twice"},
		{"no address", "id,hash\n", mend},
		{"no hash", "id,email\n", mend},
		{"a head without end", strings.Repeat("x", 10_000), "line 1 is longer than 4096 bytes"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if r, err := attempt(t, d, row.file, false); err == nil || err.Error() != row.want || r.Lines() != 0 {
				t.Errorf("%+v, %v; want %q", r, err, row.want)
			}
		})
	}
	imports(t, d, "email,hash\n").want(t, 0, 0)
	imports(t, d, "\uFEFFHash , \"Email\"\r\n,jo@example.com\r\n\r\n").want(t, 1, 0)
}

func TestFormsAreToldByTheirNames(t *testing.T) {
	for name, want := range map[string]userimport.Form{
		"users.csv": userimport.CSV, "/a.b/USERS.CSV": userimport.CSV, "u.jsonl": userimport.JSONLines, "u.ndjson": userimport.JSONLines,
		"-": userimport.Guess, "users": userimport.Guess, "users.txt": userimport.Guess, "users.csv.gz": userimport.Guess,
	} {
		if got := userimport.FormOf(name); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}

// many is a file that takes several transactions.
func many(n int) string {
	var b strings.Builder
	b.WriteString("id,email,hash,verified,role\n")
	for i := range n {
		fmt.Fprintf(&b, "%s,user%d@example.com,%s,true,user\n", uuid.NewSHA1(uuid.NameSpaceURL, fmt.Append(nil, i)), i, bcrypt)
	}
	return b.String()
}

func TestLongFilesAreImportedWhole(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		const n = 1203
		file := many(n) + idJo + ",user7@example.com,,true,user\n" + // of a batch long done
			idAl + ",fresh@example.com,,true,user\n"
		const reason = "1205: email belongs to an account with another id"
		dry, err := attempt(t, d, file, true)
		if err != nil {
			t.Fatal(err)
		}
		dry.want(t, n+1, 0, reason)
		imports(t, d, file).want(t, n+1, 0, reason)
		imports(t, d, file).want(t, 0, n+1, reason)
		for _, table := range []string{`SELECT COUNT(*) FROM users`, `SELECT COUNT(*) FROM audit_events`} {
			if got := count(t, d, table); got != n+1 {
				t.Errorf("%s: %d, want %d", table, got, n+1)
			}
		}
	})
}

// cut is a file that cannot be read to its end.
type cut struct{ io.Reader }

func (c cut) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err == io.EOF {
		err = errors.New("the disk is gone")
	}
	return n, err
}

func TestAnImportThatBreaksOffIsFinishedByTheNext(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		file := many(1203)
		s := &userimport.Service{DB: d, Clock: clock.Set(now)}
		done, err := s.Import(t.Context(), cut{strings.NewReader(file)}, userimport.CSV, false, func(userimport.Refusal) {})
		if err == nil || done.Imported != 1000 {
			t.Fatalf("%+v, %v; want two batches and an error", done, err)
		}
		imports(t, d, file).want(t, 203, 1000)

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if done, err := s.Import(ctx, strings.NewReader(many(5)), userimport.CSV, false, func(userimport.Refusal) {}); !errors.Is(err, context.Canceled) || done.Lines() != 0 {
			t.Errorf("stopped: %+v, %v", done, err)
		}
	})
}

func TestTwoImportsAtOnceMakeEachAccountOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		const n, racers = 550, 3
		file := many(n)
		var all sync.WaitGroup
		done := make([]userimport.Counts, racers)
		for i := range racers {
			all.Go(func() {
				var err error
				s := &userimport.Service{DB: d, Clock: clock.Set(now), Beside: true}
				done[i], err = s.Import(t.Context(), strings.NewReader(file), userimport.CSV, false, func(r userimport.Refusal) { t.Errorf("%+v", r) })
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		imported := 0
		for _, c := range done {
			imported += c.Imported
			if c.Lines() != n {
				t.Errorf("%+v of %d lines", c, n)
			}
		}
		if events := count(t, d, `SELECT COUNT(*) FROM audit_events`); imported != n || events != n {
			t.Errorf("%d imported, %d events, want %d", imported, events, n)
		}
	})
}

// PostgreSQL lets both insert; the one that comes second must look again.
func TestAnIdThatComesMeanwhileIsFound(t *testing.T) {
	d := dbtest.Postgres(t)
	done := make(chan result, 1)
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		other := user.User{ID: uuid.MustParse(idJo), Email: "other@example.com", Role: user.RoleUser, Active: true}
		if _, err := user.Create(t.Context(), tx, now, other); err != nil {
			return err
		}
		go func() {
			r, err := attempt(t, d, "id,email,hash\n,first@example.com,\n"+idJo+",jo@example.com,\n", false)
			if err != nil {
				t.Error(err)
			}
			done <- r
		}()
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			if count(t, d, `SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) > 0 {
				return nil
			}
			if time.Now().After(deadline) {
				return errors.New("the import does not wait")
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	r := <-done
	r.want(t, 1, 0, "3: id belongs to an account with another address")
}

func FuzzImport(f *testing.F) {
	for _, seed := range []string{
		"email,hash\njo@example.com," + bcrypt + "\n", "id,email,hash,verified,role\n" + idJo + `,jo@example.com,"` + argon + `",true,admin`,
		jsonLine(idJo, "jo@example.com", argon, true, "user"), `{"email":"jo@example.com","email_verified":null}`, "\uFEFFhash,email\r\n,jo@x.io\r\n",
		"email,hash\n\"jo@x.io\",\"a\"\"b\"\n", "{\n{}\n", "email,hash\n\xff,\x00\n", "{\"email\":\"jo@x.io\",\"hash\":\"\\ud800\"}",
	} {
		f.Add(seed)
	}
	d := dbtest.SQLite(f)
	f.Fuzz(func(t *testing.T, file string) {
		r, err := attempt(t, d, file, true)
		if err != nil && r.Lines() > 0 {
			t.Errorf("%+v, %v", r, err)
		}
		lines, last := strings.Count(file, "\n")+1, 0
		if r.Lines() > lines || len(r.refusals) != r.Refused {
			t.Errorf("%d lines of %d, %d reasons", r.Lines(), lines, len(r.refusals))
		}
		for _, x := range r.refusals {
			if x.Line <= last || x.Line > lines || x.Reason == "" {
				t.Errorf("%+v after line %d of %d", x, last, lines)
			}
			last = x.Line
		}
	})
}
