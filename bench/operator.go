package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// operator measures what operators ask of the seeded database of o.database: its
// lists, one after another, and how fast events reach webhooks.
func (o options) operator(ctx context.Context) error {
	v, err := startServices(o.authd, nil)
	if err != nil {
		return err
	}
	defer v.close()
	if err := pinPostgres(ctx, o.database); err != nil {
		return err
	}
	s, err := v.siteAt(ctx, o.database)
	if err != nil {
		return err
	}
	defer s.close()
	s.settings = append(s.settings, "WEBHOOK__ALLOW_PRIVATE_TARGETS=true")
	if err := s.run(ctx, "admin", "create", s.emails[0]); err != nil {
		return err
	}
	defer s.run(context.WithoutCancel(ctx), "user", "set-role", s.emails[0], "user") // or the next run's import refuses it
	if err := s.start(ctx); err != nil {
		return err
	}
	access, err := s.adminToken(ctx)
	if err != nil {
		return err
	}
	asked, err := s.questions(ctx)
	if err != nil {
		return err
	}
	fmt.Print("| list, a page of 50 | rows | p50 ms | p99 ms | CPU ms/request (authd) | requests |\n|---|---|---|---|---|---|\n")
	for _, q := range asked {
		if !o.wants(q.name) {
			continue
		}
		rows, err := s.length(ctx, access, q.path)
		if err != nil {
			return fmt.Errorf("%s: %w", q.name, err)
		}
		c := &crowd{}
		for range people { // so many may be in flight
			c.join(reading{path: q.path, access: access})
		}
		if _, _, err := closed(s.address, c, 1, time.Second, anyNumber); err != nil {
			return fmt.Errorf("%s: %w", q.name, err)
		}
		before, _ := s.cpu()
		some := (&stream{address: s.address, crowd: c, rate: 20}).run(time.Duration(o.plan.rounds) * o.plan.slice)
		after, _ := s.cpu()
		var good []time.Duration
		for _, one := range some {
			if one.err != nil || one.status != http.StatusOK {
				return fmt.Errorf("%s: %d (%w)", q.name, one.status, one.err)
			}
			good = append(good, one.latency)
		}
		fmt.Printf("| %s | %d | %s | %s | %s | %d |\n", q.name, rows, millis(percentile(good, 50)), millis(percentile(good, 99)),
			digits(float64((after-before).Microseconds())/1e3/float64(max(len(good), 1))), len(good))
	}
	if o.wants("fan-out") {
		return s.fanOut(ctx, access)
	}
	return nil
}

type question struct{ name, path string }

// questions are the lists, about people and days that the seed has made.
func (s *site) questions(ctx context.Context) ([]question, error) {
	d, err := sql.Open("pgx", s.database)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var user string
	if err := d.QueryRowContext(ctx, `SELECT CAST(id AS TEXT) FROM users WHERE email_key = 'user1000000@example.com'`).Scan(&user); err != nil {
		return nil, err
	}
	var newest time.Time
	if err := d.QueryRowContext(ctx, `SELECT MAX(created_at) FROM audit_events`).Scan(&newest); err != nil {
		return nil, err
	}
	day := url.Values{"date_from": {newest.AddDate(0, 0, -1).UTC().Format(time.RFC3339)}, "date_to": {newest.UTC().Format(time.RFC3339)}}.Encode()
	return []question{
		{"users, newest", "/admin/users"},
		{"users, a part of the address", "/admin/users?email=user09999"},
		{"users, an address nobody has", "/admin/users?email=nobody-at-all"},
		{"users, admins", "/admin/users?role=admin"},
		{"users, locked", "/admin/users?locked=true"},
		{"audit log, newest", "/admin/audit-log"},
		{"audit log, of one actor", "/admin/audit-log?actor_id=" + user},
		{"audit log, on one target", "/admin/audit-log?target_id=" + user},
		{"audit log, a type", "/admin/audit-log?event_type=session.revoked"},
		{"audit log, a prefix of types", "/admin/audit-log?event_type=user."},
		{"audit log, a day", "/admin/audit-log?" + day},
		{"audit log, refused in a day", "/admin/audit-log?success=false&" + day},
		{"sessions, suspicious", "/admin/sessions/suspicious"},
		{"sessions of one user (1,000)", "/admin/users/" + user + "/sessions"},
		{"history of one user", "/admin/users/" + user + "/history"},
	}, nil
}

func (s *site) adminToken(ctx context.Context) (string, error) {
	var t session
	err := s.call(ctx, "POST", "/auth/login", "", map[string]string{"email": s.emails[0], "password": password}, &t)
	return t.Access, err
}

func (s *site) length(ctx context.Context, access, path string) (int, error) {
	var page struct{ Data []json.RawMessage }
	err := s.call(ctx, "GET", path, access, nil, &page)
	return len(page.Data), err
}

// call asks once, with bodies in JSON.
func (s *site) call(ctx context.Context, method, path, access string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = strings.NewReader(string(b))
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+s.address+path, body)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if access != "" {
		r.Header.Set("Authorization", "Bearer "+access)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %d %.300s", method, path, res.StatusCode, b)
	}
	return json.Unmarshal(b, out)
}

// fanned is how many events are handed to webhooks at once.
const fanned = 10_000

// fanOut puts events into the outbox and waits until the drain has made
// deliveries of them, and with one webhook until it has them all.
func (s *site) fanOut(ctx context.Context, access string) error {
	var got atomic.Int64
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	receiver := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		got.Add(1)
		w.WriteHeader(http.StatusNoContent)
	})}
	go receiver.Serve(l)
	defer receiver.Close()
	d, err := sql.Open("pgx", s.database)
	if err != nil {
		return err
	}
	defer d.Close()
	fmt.Print("\n| webhooks | events | deliveries made | seconds until made | made/s | seconds until all were sent | sent/s |\n|---|---|---|---|---|---|---|\n")
	made := 0
	for _, webhooks := range []int{0, 1, 10} {
		for ; made < webhooks; made++ {
			body := map[string]any{"name": fmt.Sprintf("bench %d", made), "url": "http://" + l.Addr().String() + "/", "events": []string{"session.revoked"}}
			if err := s.call(ctx, "POST", "/admin/webhooks", access, body, &struct{}{}); err != nil {
				return err
			}
		}
		got.Store(0)
		start := time.Now()
		_, err := d.ExecContext(ctx, `
			INSERT INTO audit_outbox (event_id, created_at, event_type, row_hash, data)
			SELECT gen_random_uuid(), now(), 'session.revoked', sha256(CAST(CAST(n AS TEXT) AS BYTEA)), '{"reason":"logout"}' FROM generate_series(1, $1) n`, fanned)
		if err != nil {
			return err
		}
		waiting := func() (n int, err error) {
			return n, d.QueryRowContext(ctx, `SELECT COUNT(*) FROM audit_outbox`).Scan(&n)
		}
		if err := until(ctx, waiting); err != nil {
			return err
		}
		took := time.Since(start)
		if err := until(ctx, func() (int, error) { return int(int64(fanned*webhooks) - got.Load()), nil }); err != nil {
			return err
		}
		sent := time.Since(start)
		line := []any{webhooks, fanned, fanned * webhooks, took.Seconds(), float64(fanned) / took.Seconds(), "", ""}
		if webhooks > 0 {
			line[5], line[6] = fmt.Sprintf("%.1f", sent.Seconds()), fmt.Sprintf("%.0f", float64(fanned*webhooks)/sent.Seconds())
		}
		fmt.Printf("| %d | %d | %d | %.1f | %.0f events | %s | %s |\n", line...)
	}
	return nil
}

// until waits for a number to fall to zero, ten minutes at most.
func until(ctx context.Context, left func() (int, error)) error {
	for end := time.Now().Add(10 * time.Minute); ; {
		n, err := left()
		if err != nil {
			return err
		}
		if n <= 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d are still waiting after ten minutes", n)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}
