package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/core/client"
	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/core/risk"
	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/core/token"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/core/webhook"
	"github.com/authsdk/authsdk/internal/flow/account"
	"github.com/authsdk/authsdk/internal/flow/confirm"
	"github.com/authsdk/authsdk/internal/flow/directory"
	"github.com/authsdk/authsdk/internal/flow/erasure"
	"github.com/authsdk/authsdk/internal/flow/machine"
	"github.com/authsdk/authsdk/internal/flow/recovery"
	"github.com/authsdk/authsdk/internal/flow/signin"
	"github.com/authsdk/authsdk/internal/flow/signup"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/method/apikey"
	"github.com/authsdk/authsdk/internal/method/otp"
	"github.com/authsdk/authsdk/internal/method/password"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/jobs"
	"github.com/authsdk/authsdk/internal/platform/limit"
	"github.com/authsdk/authsdk/internal/platform/mail"
	"github.com/authsdk/authsdk/internal/platform/revocation"
	"github.com/authsdk/authsdk/internal/transport/httpapi"
	"github.com/authsdk/authsdk/internal/transport/pages"
	"github.com/authsdk/authsdk/internal/transport/web"
)

const (
	baseURL = "http://localhost:8000"
	good    = "Correct-Horse-7" // a password that the rules allow

	accessTTL = 15 * time.Minute
	verifyTTL = 24 * time.Hour
)

// browser is sessions in cookies, with the default names.
var browser = web.Browser{
	Enabled: true, Infer: true, TransportHeader: transportHeader, CSRFHeader: csrfHeader,
	Access:   web.Cookie{Name: "__Host-auth_access", Path: "/"},
	Refresh:  web.Cookie{Name: "__Host-auth_refresh", Path: "/"},
	CSRF:     web.Cookie{Name: "__Host-auth_csrf", Path: "/"},
	SameSite: "lax", Secure: true, Origins: []string{baseURL, "https://app.example.com"},
}

const (
	transportHeader = "X-Auth-Session-Transport"
	csrfHeader      = "X-CSRF-Token"
)

// service is the whole HTTP face over a database, put together as server.go
// does, with a clock that stands still.
type service struct {
	httpapi.API
	handler http.Handler
	db      *db.DB
	clock   *clock.Clock
	mailbox *mail.Mailbox
	heard   map[string]bool // audit events that were read
}

// build puts a service together without working its jobs.
func build(t testing.TB, d *db.DB) (*service, *jobs.Queue) {
	t.Helper()
	ctx := context.Background()
	log := dbtest.Log
	c := clock.Set(time.Now().Truncate(time.Second))
	limiter := must(limit.Open(ctx, "", log, c))(t)
	feed := must(revocation.NewFeed(ctx, d, c, log))(t)
	keys := must(keyring.Load(ctx, d, secret.NewRing("signing-keys", "test"), c, log, keyring.Options{Algorithm: keyring.ES256, Feed: feed, Overlap: accessTTL}))(t)
	queue := must(jobs.New(d, log))(t)

	tokens := token.NewIssuer(keys, c, baseURL, "auth-service", accessTTL)
	sessions := session.New(d, c, log, feed, tokens, secret.NewRing("refresh-token", "test"), limiter, session.Settings{
		RefreshTTL: 7 * 24 * time.Hour, AbsoluteTTL: 30 * 24 * time.Hour, ReuseGrace: 10 * time.Second,
	})
	passwords := &password.Service{Hasher: secret.NewHasher(secret.Cost{MemoryKiB: 8, Iterations: 1, Parallelism: 1}, 2)}
	mailbox := &mail.Mailbox{DB: d, Clock: c, From: "auth@localhost"}
	accounts := &user.Accounts{Feed: feed, TokenLife: session.TokenMemory(accessTTL)}
	signups := &signup.Service{
		DB: d, Clock: c, Jobs: queue, Limiter: limiter, Mail: mailbox, Passwords: passwords, Accounts: accounts,
		Links: secret.NewRing("mail-links", "test"), BaseURL: baseURL, VerifyTTL: verifyTTL,
	}
	risks := &risk.Service{DB: d, Clock: c, Ring: secret.NewRing("lockouts", "test")}
	steps := &stepup.Service{DB: d, Clock: c, Tokens: tokens, Lifetime: 5 * time.Minute}
	codes := &otp.Service{
		DB: d, Clock: c, Jobs: queue, Mail: mailbox, Codes: secret.NewRing("otp-codes", "test"), Length: 6, TTL: 10 * time.Minute, MaxAttempts: 5,
	}
	recoveries := &recovery.Service{
		DB: d, Clock: c, Jobs: queue, Limiter: limiter, Mail: mailbox, Accounts: accounts, Passwords: passwords, Risk: risks,
		Links: signups.Links, BaseURL: baseURL, ResetTTL: time.Hour,
	}
	changes := &account.Service{
		DB: d, Clock: c, Jobs: queue, Limiter: limiter, Mail: mailbox, Accounts: accounts, Passwords: passwords, Risk: risks, StepUp: steps,
		Links: signups.Links, MailReset: recoveries.MailLink, BaseURL: baseURL, ConfirmTTL: verifyTTL,
	}
	erasures := &erasure.Service{DB: d, Clock: c, Jobs: queue, Accounts: accounts, StepUp: steps, Risk: risks}
	guard := &webhook.Guard{AllowPrivate: true}
	webhooks := &webhook.Service{
		DB: d, Clock: c, Log: log, Seal: secret.NewRing("webhook-secrets", "test"), Guard: guard, Client: webhook.NewClient(guard), Timeout: 10 * time.Second, BodyChars: 1000,
	}
	batch := audit.NewBatcher(d, c, log, nil)
	clients := client.NewService(d, c, log, feed, 24*time.Hour)
	apikeys := apikey.NewService(d, c, log, feed, limiter)
	queue.Handle(map[string]jobs.Handler{
		signup.VerifyMail: signups.SendVerification, otp.CodeMail: codes.SendCode, erasure.ForgetEvents: erasures.Forget,
		recovery.ResetMail: recoveries.SendReset, recovery.DoneMail: recoveries.SendDone,
		account.PasswordMail: changes.SendPasswordChanged, account.ChangeMail: changes.SendChange, account.ChangedMail: changes.SendChanged,
	})
	chain := &audit.Chain{DB: d, Clock: c, Log: log, KeySeal: secret.NewRing("audit-key", "test"), Marks: secret.NewRing("audit-chain", "test")}
	if err := chain.Prepare(ctx); err != nil {
		t.Fatal(err)
	}
	s := &service{
		API: httpapi.API{
			Log: log, Sessions: sessions, Signup: signups, Keys: keys, Webhooks: webhooks, Mailbox: mailbox, Service: "auth-service", Docs: true,
			Signin: &signin.Service{
				DB: d, Clock: c, Sessions: sessions, Passwords: passwords, Codes: codes, Tokens: tokens, Risk: risks,
				Service: "auth-service", RequireVerified: true,
			},
			Clients: clients, APIKeys: apikeys,
			Machines: &machine.Service{
				Clients: clients, Keys: apikeys, Tokens: tokens, Feed: feed, Batch: batch, Limiter: limiter, Service: "auth-service",
			},
			Confirm: &confirm.Service{DB: d, Clock: c, Codes: codes, StepUp: steps, Risk: risks}, StepUp: steps,
			Recovery: recoveries, Account: changes, Erasure: erasures,
			Ready: func(context.Context) httpapi.Readiness { return httpapi.Readiness{} }, History: &audit.History{DB: d}, Audit: &audit.Log{DB: d}, Chain: chain,
			Users: &directory.Service{
				DB: d, Clock: c, Accounts: accounts, Sessions: sessions, Passwords: passwords, Risk: risks, Invite: recoveries.Invite,
			},
		},
		db: d, clock: c, mailbox: mailbox, heard: map[string]bool{},
	}
	s.mount()
	s.events(t) // the signing key's
	return s, queue
}

// mount serves what the fields say now.
func (s *service) mount() {
	mux := web.NewMux(s.Log)
	s.API.Mount(mux)
	(&pages.Pages{Log: s.Log, Signup: s.Signup, Recovery: s.Recovery, Account: s.Account, Mailbox: s.Mailbox, MailboxPublic: s.MailboxPublic}).Mount(mux)
	s.handler = web.Wrap(mux, web.Edge{Log: s.Log}.Chain())
}

// newAPI is a service whose jobs are worked, so that mails arrive.
func newAPI(t testing.TB, d *db.DB) *service {
	t.Helper()
	s, queue := build(t, d)
	if err := queue.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := queue.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// reply is what came back.
type reply struct {
	status int
	header http.Header
	body   string
}

// request is what a browser on this machine would send; headers come in pairs.
func request(method, target, body string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host, r.RemoteAddr = "localhost:8000", "127.0.0.1:50000"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func (s *service) send(r *http.Request) reply {
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return reply{w.Code, w.Header(), w.Body.String()}
}

func (s *service) post(target, body string, headers ...string) reply {
	return s.send(request("POST", target, body, headers...))
}

func (s *service) get(target string, headers ...string) reply {
	return s.send(request("GET", target, "", headers...))
}

// want compares an answer's status and JSON body with what it should be; the
// body of no answer is "".
func (r reply) want(t testing.TB, status int, body string) {
	t.Helper()
	if r.status != status {
		t.Errorf("status %d, want %d; body %s", r.status, status, r.body)
		return
	}
	if diff := cmp.Diff(parse(t, body), parse(t, r.body)); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
}

// refused compares an answer with the envelope of a code.
func (r reply) refused(t testing.TB, code fault.Code, fields ...fault.Field) {
	t.Helper()
	want := map[string]any{"detail": code.Detail, "code": code.Slug}
	if len(fields) > 0 {
		want["errors"] = fields
	}
	r.want(t, code.Status, string(must(json.Marshal(want))(t)))
}

// parse reads JSON and drops the request id, which differs each time.
func parse(t testing.TB, body string) any {
	t.Helper()
	if body == "" {
		return nil
	}
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("not JSON: %q", body)
	}
	if m, ok := v.(map[string]any); ok {
		delete(m, "request_id")
	}
	return v
}

// field reads one string of a JSON object.
func (r reply) field(t testing.TB, name string) string {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(r.body), &m); err != nil {
		t.Fatalf("%d, not JSON: %q", r.status, r.body)
	}
	value, ok := m[name].(string)
	if !ok {
		t.Fatalf("%d: no %s in %s", r.status, name, r.body)
	}
	return value
}

// credentials is a login body.
func credentials(email, pass string) string {
	return fmt.Sprintf(`{"email":%q,"password":%q}`, email, pass)
}

// signUp makes an account and returns the token that was mailed.
func (s *service) signUp(t testing.TB, email string) (linkToken string) {
	t.Helper()
	s.post("/auth/signup", credentials(email, good)).want(t, http.StatusCreated, `{"accepted":true}`)
	return s.mails(t, email, 1)[0].Tokens()[0]
}

// verified makes an account whose address is confirmed.
func (s *service) verified(t testing.TB, email string) {
	t.Helper()
	s.post("/auth/verify-email", fmt.Sprintf(`{"token":%q}`, s.signUp(t, email))).want(t, http.StatusOK, `{"verified":true}`)
}

// login returns the tokens of a new session.
func (s *service) login(t testing.TB, email string) (access, refresh string) {
	t.Helper()
	r := s.post("/auth/login", credentials(email, good))
	return r.field(t, "access_token"), r.field(t, "refresh_token")
}

func bearer(access string) []string { return []string{"Authorization", "Bearer " + access} }

// mails waits until a recipient has n mails and returns them, the newest first.
func (s *service) mails(t testing.TB, to string, n int) (list []mail.Stored) {
	t.Helper()
	s.eventually(t, fmt.Sprintf("%d mails for %s", n, to), func() bool {
		list = must(s.mailbox.List(context.Background(), to))(t)
		return len(list) >= n
	})
	if len(list) > n {
		t.Fatalf("%d mails for %s, want %d", len(list), to, n)
	}
	return list
}

// unverified makes an account that is signed in without a confirmed address.
func (s *service) unverified(t testing.TB, email string) (access, refresh string) {
	t.Helper()
	s.signUp(t, email)
	s.Signin.RequireVerified = false
	defer func() { s.Signin.RequireVerified = true }()
	return s.login(t, email)
}

// settled waits until every job that was enqueued has been worked.
func (s *service) settled(t testing.TB) {
	t.Helper()
	s.eventually(t, "all jobs worked", func() bool {
		var open int
		err := s.db.Read().QueryRowContext(context.Background(),
			`SELECT COUNT(*) FROM river_job WHERE kind = $1 AND state <> 'completed'`, signup.VerifyMail).Scan(&open)
		if err != nil {
			t.Fatal(err)
		}
		return open == 0
	})
}

// eventually looks again and again until what is wanted is there. It looks 7 ms
// apart, the first time too: on PostgreSQL only one enqueue in 5 ms wakes the
// workers, and the next is found by their poll.
func (s *service) eventually(t testing.TB, what string, there func() bool) {
	t.Helper()
	look := time.NewTicker(7 * time.Millisecond)
	defer look.Stop()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case <-look.C:
			if there() {
				return
			}
		case <-deadline:
			t.Fatalf("not after 10 s: %s", what)
		}
	}
}

var anyID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// events returns the audit events since it was last asked, a line each:
//
//	user.login.failure of ann@x.io: invalid_credentials {"provider":"password"}
//
// Users are named by their address, other ids are <id>.
func (s *service) events(t testing.TB) []string {
	t.Helper()
	if err := s.Machines.Batch.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	rows, err := s.db.Read().QueryContext(context.Background(), `
		SELECT e.id, e.event_type, e.success, e.failure_reason, e.metadata, e.actor_type, a.email, e.target_type, e.target_id, g.email
		FROM audit_events e LEFT JOIN users a ON a.id = e.actor_id LEFT JOIN users g ON g.id = e.target_id ORDER BY e.id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var id, kind, actorType string
		var success bool
		var failure, metadata, actor, targetType, targetID, target *string
		if err := rows.Scan(&id, &kind, &success, &failure, &metadata, &actorType, &actor, &targetType, &targetID, &target); err != nil {
			t.Fatal(err)
		}
		if s.heard[id] {
			continue
		}
		s.heard[id] = true
		line := kind
		switch {
		case actor != nil:
			line += " by " + *actor
		case actorType != "user":
			line += " by the " + actorType
		}
		switch {
		case target != nil:
			line += " on " + *target
		case targetID != nil:
			line += " on a " + *targetType
		}
		if success != (failure == nil) {
			t.Errorf("%s: success %v with failure %v", kind, success, failure)
		}
		if failure != nil {
			line += ": " + *failure
		}
		if metadata != nil { // PostgreSQL spaces and orders JSON in its own way
			line += " " + anyID.ReplaceAllString(string(must(json.Marshal(parse(t, *metadata)))(t)), "<id>")
		}
		lines = append(lines, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// recorded compares the audit events since it was last asked.
func (s *service) recorded(t testing.TB, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, s.events(t)); diff != "" {
		t.Errorf("audit events (-want +got):\n%s", diff)
	}
}

// headers are those of an answer that do not differ each time.
func (r reply) headers() http.Header {
	h := r.header.Clone()
	h.Del("X-Correlation-ID")
	h.Del("Date")
	return h
}

// served is the service behind a real listener, for what a recorder cannot
// tell: HEAD, odd methods, broken bodies.
func (s *service) served(t testing.TB) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(s.handler)
	t.Cleanup(srv.Close)
	return srv
}
