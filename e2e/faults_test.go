package e2e

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/authsdk/authsdk/e2e/authapi"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest/engines"
)

// crowd is clients who log in, refresh and validate all the time. Each keeps
// its session whatever happens: a client presents its token until it is
// answered.
type crowd struct {
	good, unavailable atomic.Int64

	mu       sync.Mutex
	problems []string
	stop     context.CancelFunc
	done     sync.WaitGroup
}

func (v *server) crowd(n int) *crowd {
	v.t.Helper()
	ctx, cancel := context.WithCancel(v.t.Context())
	c := &crowd{stop: cancel}
	for range n {
		email := v.account()
		tokens := v.login(email)
		c.done.Go(func() { c.live(ctx, v, email, tokens) })
	}
	v.t.Cleanup(func() { c.end(v.t) })
	return c
}

func (c *crowd) live(ctx context.Context, v *server, email string, t authapi.Tokens) {
	for i := 0; ctx.Err() == nil; i++ {
		var err error
		switch i % 3 {
		case 0:
			var next authapi.Tokens
			if next, err = v.Refresh(ctx, t.Refresh); err == nil {
				t = next
			}
		case 1:
			_, err = v.Validate(ctx, t.Access)
		case 2:
			_, err = v.Login(ctx, email, password, "")
		}
		c.count(ctx, err)
	}
}

// count accepts success, and 503 that says when to come back; a connection that
// breaks is the fault itself. Nothing else.
func (c *crowd) count(ctx context.Context, err error) {
	var refused *authapi.Refused
	switch {
	case err == nil:
		c.good.Add(1)
	case ctx.Err() != nil:
	case errors.As(err, &refused) && refused.Status == http.StatusServiceUnavailable && refused.Header.Get("Retry-After") != "":
		c.unavailable.Add(1)
	default:
		c.mu.Lock()
		c.problems = append(c.problems, err.Error())
		c.mu.Unlock()
	}
}

// goesOn waits until the crowd had n more good answers.
func (c *crowd) goesOn(t *testing.T, n int64) {
	t.Helper()
	want := c.good.Load() + n
	await(t, patience, "the clients go on", func() bool { return c.good.Load() >= want })
}

func (c *crowd) end(t *testing.T) {
	c.stop()
	c.done.Wait()
	if len(c.problems) > 0 {
		t.Errorf("%d wrong answers, the first: %s", len(c.problems), c.problems[0])
	}
}

// ready asks for readiness: the status, and the whole answer.
func (v *server) ready() authapi.Answer {
	a, _ := v.Do(v.t.Context(), "GET", "/health/ready", nil)
	return a
}

func TestRedisDiesAndComesBackUnderLoad(t *testing.T) {
	redis, err := engines.StartRedis()
	noError(t, err)
	t.Cleanup(func() { redis.Close() })
	s := &store{engine: "pgx", dir: t.TempDir(), dsn: dbtest.PostgresURL(t)}
	s.env = []string{"DATABASE__URL=" + s.dsn, "REDIS__URL=" + redis.URL}
	v := s.serve(t)
	c := v.crowd(6)
	c.goesOn(t, 50)
	noError(t, redis.Kill())
	await(t, patience, "readiness tells that Redis is down", func() bool {
		a := v.ready()
		return a.Status == http.StatusOK && strings.Contains(string(a.Body), `"degraded":["redis"]`)
	})
	c.goesOn(t, 200)
	noError(t, redis.Start())
	await(t, patience, "Redis is used again", func() bool { return string(v.ready().Body) == `{"status":"ready"}`+"\n" })
	c.goesOn(t, 50)
	c.end(t)
	if n := c.unavailable.Load(); n > 0 {
		t.Errorf("%d answers were 503; without Redis everything works", n)
	}
	if n := strings.Count(v.program.Output(), "redis"); n == 0 || n > 10 {
		t.Errorf("the log tells %d times of Redis; once when it goes and once when it comes is right", n)
	}
}

func TestPostgreSQLRestartsUnderLoad(t *testing.T) {
	postgres, err := engines.StartPostgres(engines.PostgresOptions{Durable: true})
	noError(t, err)
	t.Cleanup(func() { postgres.Close() })
	v := postgresAt(t, postgres.URL).serve(t)
	v.mayFail = true
	c := v.crowd(6)
	c.goesOn(t, 50)
	noError(t, postgres.Kill())
	await(t, patience, "readiness names the database", func() bool {
		a := v.ready()
		return a.Status == http.StatusServiceUnavailable && strings.Contains(string(a.Body), `"field":"database"`)
	})
	before := c.unavailable.Load()
	await(t, patience, "clients are asked to come back", func() bool { return c.unavailable.Load() > before+20 })
	noError(t, postgres.Start())
	await(t, patience, "it is ready again", func() bool { return v.ready().Status == http.StatusOK })
	c.goesOn(t, 100)
	c.end(t)
}

func TestADatabaseThatTurnsReadOnlyRefusesWritesAndRecovers(t *testing.T) {
	s := postgresStore(t)
	v := s.serve(t)
	v.mayFail = true
	tokens := v.login(v.account())
	d := s.sql(t)
	var name string
	noError(t, d.QueryRow(`SELECT current_database()`).Scan(&name))
	readOnly := func(on string) {
		t.Helper()
		for _, statement := range []string{
			`ALTER DATABASE "` + name + `" SET default_transaction_read_only = ` + on,
			`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`,
		} {
			// A database that is read-only by default lets us say otherwise.
			_, err := d.Exec("SET default_transaction_read_only = off; " + statement)
			noError(t, err)
		}
	}
	readOnly("on")
	await(t, patience, "writes are refused with 503", func() bool {
		a, err := v.Do(t.Context(), "POST", "/auth/signup", map[string]string{"email": newEmail(), "password": password})
		return err == nil && a.Status == http.StatusServiceUnavailable && a.Header.Get("Retry-After") != ""
	})
	await(t, patience, "reading goes on", func() bool { _, err := v.Validate(t.Context(), tokens.Access); return err == nil })
	readOnly("off")
	await(t, patience, "it works again", func() bool {
		next, err := v.Refresh(t.Context(), tokens.Refresh)
		if err == nil {
			tokens = next
		}
		return err == nil
	})
}

func TestMailWaitsForItsServer(t *testing.T) {
	eachEngine(t, func(t *testing.T, s *store) {
		mails := newMailServer(t)
		mails.stop()
		host, port, _ := strings.Cut(mails.address, ":")
		v := s.serve(t, "EMAIL__SMTP_HOST="+host, "EMAIL__SMTP_PORT="+port)
		email := newEmail()
		noError(t, first(v.Signup(t.Context(), email, password)))
		await(t, patience, "the log tells", func() bool { return strings.Contains(v.program.Output(), "job failed, will be tried again") })
		mails.start(t)
		link := awaitLink(t, mails, email)
		noError(t, first(v.Verify(t.Context(), link[strings.Index(link, "=")+1:])))
		if n := len(mails.to(email)); n != 1 {
			t.Errorf("%d mails", n)
		}
	})
}

func TestAFullDiskLosesNothing(t *testing.T) {
	s := sqliteStore(t)
	data := filepath.Join(s.dir, "authd-data")
	noError(t, os.Mkdir(data, 0o700))
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size=6m"); err != nil {
		t.Skipf("mounting a small disk needs root: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(data, syscall.MNT_DETACH) })
	v := s.serve(t)
	v.mayFail = true
	email := v.account()
	tokens := v.login(email)

	filler := filepath.Join(data, "filler")
	fill(t, filler)
	var kept []string // acknowledged while the disk was filling up
	await(t, patience, "writes are refused with 503", func() bool {
		address := newEmail()
		a, err := v.Do(t.Context(), "POST", "/auth/signup", map[string]string{"email": address, "password": password})
		noError(t, err)
		if a.Status == http.StatusCreated {
			kept = append(kept, address)
		}
		return a.Status == http.StatusServiceUnavailable && a.Header.Get("Retry-After") != ""
	})
	noError(t, first(v.Validate(t.Context(), tokens.Access)))

	noError(t, os.Remove(filler))
	await(t, patience, "it works again, without a restart", func() bool {
		next, err := v.Refresh(t.Context(), tokens.Refresh)
		if err == nil {
			tokens = next
		}
		return err == nil
	})
	kept = append(kept, email)
	for _, address := range kept {
		if n := s.count(t, `SELECT COUNT(*) FROM users WHERE email_key = $1`, address); n != 1 {
			t.Errorf("%s was acknowledged and is gone", address)
		}
	}
	v.login(email)
}

// fill writes until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	noError(t, err)
	defer f.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		for block := make([]byte, size); err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		err = nil
	}
}
