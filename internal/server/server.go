// Package server is the floor plan: it builds everything once, in order, and
// runs it.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/authsdk/authsdk/internal/config"
	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/core/risk"
	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/core/stepup"
	"github.com/authsdk/authsdk/internal/core/token"
	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/flow/account"
	"github.com/authsdk/authsdk/internal/flow/confirm"
	"github.com/authsdk/authsdk/internal/flow/erasure"
	"github.com/authsdk/authsdk/internal/flow/recovery"
	"github.com/authsdk/authsdk/internal/flow/signin"
	"github.com/authsdk/authsdk/internal/flow/signup"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/metric"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/foundation/trace"
	"github.com/authsdk/authsdk/internal/method/otp"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/jobs"
	"github.com/authsdk/authsdk/internal/platform/limit"
	"github.com/authsdk/authsdk/internal/platform/mail"
	"github.com/authsdk/authsdk/internal/platform/revocation"
	"github.com/authsdk/authsdk/internal/transport/httpapi"
	"github.com/authsdk/authsdk/internal/transport/pages"
	"github.com/authsdk/authsdk/internal/transport/web"
	"github.com/authsdk/authsdk/internal/transport/worker"
)

// lameFor is how long a stopping server still accepts: connections that the
// kernel has taken would get no answer, and balancers need to see the readiness.
const lameFor = 250 * time.Millisecond

// drainFor is how long requests and jobs in flight get to finish.
const drainFor = 20 * time.Second

// tracesFor is how much of that a collector gets that does not answer.
const tracesFor = 3 * time.Second

// Server is a built authd.
type Server struct {
	// FirstAdmin is the admin that this start made, in development only.
	FirstAdmin *Admin

	cfg      *config.Config
	log      *slog.Logger
	clock    *clock.Clock
	db       *db.DB
	release  func() // of the SQLite file
	metrics  *metric.Metrics
	limiter  *limit.Limiter
	feed     *revocation.Feed
	keys     *keyring.Keyring
	sessions *session.Service
	jobs     *jobs.Queue
	hashes   *secret.Worker // nil: this process hashes
	handler  http.Handler
	traces   func(context.Context) error // sends the spans that wait
	draining atomic.Bool
}

// Options of New beyond the configuration.
type Options struct {
	// Migrate brings a PostgreSQL schema up to date first. SQLite's always is.
	Migrate bool

	// Hash is the command of a process that hashes passwords (secret.Worker);
	// empty means that this process does.
	Hash []string
}

// New builds everything and checks that it can work: it opens the database,
// migrates it or refuses, and loads or makes the signing key.
func New(ctx context.Context, cfg *config.Config, log *slog.Logger, o Options) (_ *Server, err error) {
	s := &Server{cfg: cfg, log: log, metrics: metric.New(), release: func() {}, traces: func(context.Context) error { return nil }}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if endpoint := cfg.Tracing.OTLPEndpoint; endpoint != "" {
		if s.traces, err = trace.Setup(ctx, endpoint, cfg.App.Service, float64(cfg.Tracing.SamplePercent)/100, log); err != nil {
			return nil, err
		}
	}
	if s.db, err = OpenDB(ctx, cfg); err != nil {
		return nil, err
	}
	release, err := s.db.Own()
	if err != nil {
		return nil, err
	}
	s.release = release
	if err := s.migrate(ctx, o.Migrate); err != nil {
		return nil, err
	}
	secrets, err := loadSecrets(ctx, cfg, s.db, log)
	if err != nil {
		return nil, err
	}
	if s.limiter, err = limit.Open(ctx, cfg.Redis.URL.Reveal(), log, s.clock); err != nil {
		return nil, err
	}
	s.limiter.Metrics = s.metrics
	if s.feed, err = revocation.NewFeed(ctx, s.db, s.clock, log); err != nil {
		return nil, err
	}
	s.keys, err = keyring.Load(ctx, s.db, secrets.signingKeys, s.clock, log, keyring.Options{
		Algorithm: cfg.JWT.Algorithm, PrivatePEM: cfg.JWT.PrivateKeyPEM.Reveal(), PublicPEM: cfg.JWT.PublicKeyPEM.Reveal(),
	})
	if err != nil {
		return nil, err
	}
	if s.jobs, err = jobs.New(s.db, log); err != nil {
		return nil, err
	}
	s.jobs.Metrics = s.metrics
	return s, s.build(ctx, secrets, o)
}

// build makes the services and what faces them.
func (s *Server) build(ctx context.Context, secrets secrets, o Options) error {
	cfg := s.cfg
	tokens := token.NewIssuer(s.keys, s.clock, cfg.Email.PublicBaseURL, cfg.App.Service, cfg.JWT.AccessTokenTTL)
	s.sessions = session.New(s.db, s.clock, s.log, s.feed, tokens, secrets.refresh, s.limiter, session.Settings{
		RefreshTTL: cfg.JWT.RefreshTokenTTL, AbsoluteTTL: cfg.SessionSecurity.AbsoluteTTL, ReuseGrace: cfg.SessionSecurity.RefreshReuseGrace,
		RefreshPerMinute: cfg.RateLimit.TokenPerMinute,
	})
	s.sessions.Metrics = s.metrics
	hasher := secret.NewHasher(secret.Cost{
		MemoryKiB:   uint32(cfg.Password.Argon2MemoryKiB),
		Iterations:  uint32(cfg.Password.Argon2Iterations),
		Parallelism: uint8(cfg.Password.Argon2Parallelism),
	}, cfg.Password.HashWorkers)
	hasher.Metrics = s.metrics
	if len(o.Hash) > 0 {
		s.hashes = secret.NewWorker(s.log, o.Hash...)
		hasher.In(s.hashes)
	}
	passwords, err := passwordsOf(cfg, hasher)
	if err != nil {
		return err
	}
	accounts := &user.Accounts{Feed: s.feed, TokenLife: session.TokenMemory(cfg.JWT.AccessTokenTTL)}

	sender, mailbox := s.mail()
	signups := &signup.Service{
		DB: s.db, Clock: s.clock, Jobs: s.jobs, Limiter: s.limiter, Metrics: s.metrics, Mail: sender, Accounts: accounts, Passwords: passwords,
		Links: secrets.links, BaseURL: cfg.Email.PublicBaseURL, VerifyTTL: cfg.Email.EmailVerifyTTL,
	}
	risks := &risk.Service{DB: s.db, Clock: s.clock, Ring: secrets.lockouts}
	steps := &stepup.Service{DB: s.db, Clock: s.clock, Tokens: tokens, Lifetime: cfg.Email.ActionTokenTTL}
	codes := &otp.Service{
		DB: s.db, Clock: s.clock, Jobs: s.jobs, Mail: sender, Metrics: s.metrics, Codes: secrets.codes,
		Length: cfg.Email.OTPCodeLength, TTL: cfg.Email.OTPTTL, MaxAttempts: cfg.Email.OTPMaxAttempts,
	}
	erasures := &erasure.Service{DB: s.db, Clock: s.clock, Jobs: s.jobs, Accounts: accounts, StepUp: steps, Risk: risks}
	confirms := &confirm.Service{DB: s.db, Clock: s.clock, Codes: codes, StepUp: steps, Risk: risks}
	signins := &signin.Service{
		DB: s.db, Clock: s.clock, Sessions: s.sessions, Passwords: passwords, Limiter: s.limiter, Metrics: s.metrics,
		Codes: codes, Tokens: tokens, Risk: risks,
		PerMinute: cfg.RateLimit.LoginPerMinute,
		Service:   cfg.App.Service, Audiences: cfg.Auth.Audiences, RequireVerified: cfg.Auth.RequireVerifiedEmail,
	}
	recoveries := &recovery.Service{
		DB: s.db, Clock: s.clock, Jobs: s.jobs, Limiter: s.limiter, Metrics: s.metrics, Mail: sender, Accounts: accounts, Passwords: passwords,
		Risk: risks, Links: secrets.links, BaseURL: cfg.Email.PublicBaseURL, ResetTTL: cfg.Email.PasswordResetTTL,
	}
	changes := &account.Service{
		DB: s.db, Clock: s.clock, Jobs: s.jobs, Limiter: s.limiter, Metrics: s.metrics, Mail: sender, Accounts: accounts, Passwords: passwords,
		Risk: risks, StepUp: steps, Links: secrets.links, MailReset: recoveries.MailLink, BaseURL: cfg.Email.PublicBaseURL, ConfirmTTL: cfg.Email.EmailVerifyTTL,
	}
	(&worker.Worker{DB: s.db, Clock: s.clock, Signup: signups, Codes: codes, Recovery: recoveries, Account: changes, Erasure: erasures}).Register(s.jobs)

	mux := web.NewMux(s.log)
	mux.Gate = &web.Gate{
		Hosts: cfg.App.AllowedHosts, Limiter: s.limiter,
		Limits: web.Limits{Default: cfg.RateLimit.DefaultPerMinute, Login: cfg.RateLimit.LoginPerMinute, Token: cfg.RateLimit.TokenPerMinute},
	}
	(&httpapi.API{
		Log: s.log, Sessions: s.sessions, Signin: signins, Signup: signups, Confirm: confirms, StepUp: steps, Recovery: recoveries, Account: changes, Erasure: erasures, Keys: s.keys, History: &audit.History{DB: s.db},
		Mailbox: mailbox, MailboxPublic: cfg.Dev.MailboxPublic, Ready: s.ready, Service: cfg.App.Service, Docs: cfg.App.ExposeDocs,
		Browser: browserOf(cfg), SharedAudience: cfg.Auth.AcceptSharedAudience,
	}).Mount(mux)
	(&pages.Pages{Log: s.log, Signup: signups, Recovery: recoveries, Account: changes, Mailbox: mailbox, MailboxPublic: cfg.Dev.MailboxPublic, Docs: cfg.App.ExposeDocs}).Mount(mux)
	s.measure(hasher)
	if cfg.Development() || cfg.Metrics.Token != "" {
		mux.HandleAs(web.Policy{AnyHost: true}, "GET /metrics", web.Quiet(web.Handle(s.log, s.showMetrics)))
	}
	s.handler = web.Wrap(mux, web.Edge{
		Log: s.log, Metrics: s.metrics, Proxies: web.ParseProxies(cfg.App.TrustedProxyCIDRs),
		Origins: cfg.App.CORSAllowedOrigins, HTTPS: strings.HasPrefix(cfg.Email.PublicBaseURL, "https://"),
	}.Chain())

	if cfg.Development() {
		admin, err := firstAdmin(ctx, s.db, s.clock, passwords)
		if err != nil {
			return err
		}
		s.FirstAdmin = admin
	}
	return nil
}

// OpenDB opens the configured database, without migrating it.
func OpenDB(ctx context.Context, cfg *config.Config) (*db.DB, error) {
	return db.Open(ctx, cfg.Database.URL.Reveal(), db.Options{
		MaxConns: cfg.Database.PoolSize + cfg.Database.MaxOverflow, MaxIdleTime: cfg.Database.PoolRecycle,
	})
}

// mail chooses the mail server, or the mailbox in development without one.
func (s *Server) mail() (mail.Sender, *mail.Mailbox) {
	if s.cfg.Email.SMTP().Host != "" {
		return smtpOf(s.cfg), nil
	}
	mailbox := &mail.Mailbox{DB: s.db, Clock: s.clock, From: s.cfg.Email.EmailFrom}
	return mailbox, mailbox
}

// Run serves on the listener until ctx ends, then drains: no new connections,
// then requests, jobs and what waits to be written.
func (s *Server) Run(ctx context.Context, listener net.Listener) error {
	defer s.close()
	failed := make(chan error, 2)
	stopMetrics, err := s.serveMetrics(failed) // first: a taken address must not stop what has begun
	if err != nil {
		return err
	}
	defer stopMetrics()
	if err := s.jobs.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	stop := s.Background(ctx)
	srv := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),

		DisableGeneralOptionsHandler: true, // OPTIONS * is ours to answer, too
	}
	go func() { failed <- srv.Serve(listener) }()
	select {
	case err = <-failed:
	case <-ctx.Done():
		s.log.Info("stopping: finishing what is in flight")
		s.draining.Store(true)
		time.Sleep(lameFor)
	}
	s.draining.Store(true)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainFor)
	defer cancel()
	if shutErr := srv.Shutdown(drain); shutErr != nil {
		s.log.Warn("some requests did not finish in time", "error", shutErr)
	}
	if stopErr := s.jobs.Stop(drain); stopErr != nil {
		s.log.Warn("some jobs did not finish in time; they run again at the next start", "error", stopErr)
	}
	stop()
	last, cancelLast := context.WithTimeout(drain, tracesFor)
	defer cancelLast()
	if traceErr := s.traces(last); traceErr != nil {
		s.log.Warn("the last traces were not sent", "error", traceErr)
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// Handler is the HTTP face, for tests and measurements that need no listener.
func (s *Server) Handler() http.Handler { return s.handler }

// Background starts what keeps memory up to date beside the requests: the
// revocation tail, the keys, last-seen times. stop ends it and waits.
func (s *Server) Background(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	for _, run := range []func(context.Context){s.feed.Run, s.keys.Run, s.sessions.Run} {
		running.Go(func() { run(ctx) })
	}
	return func() {
		cancel()
		running.Wait()
	}
}

func (s *Server) close() {
	s.hashes.Close()
	if s.limiter != nil {
		s.limiter.Close()
	}
	if s.db != nil {
		s.db.Close()
	}
	s.release()
}

// readyTimeout bounds each question of a readiness check.
const readyTimeout = time.Second

func (s *Server) ready(ctx context.Context) httpapi.Readiness {
	var r httpapi.Readiness
	if s.draining.Load() {
		r.Failing = append(r.Failing, "server")
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := s.db.Ping(ctx); err != nil {
		r.Failing = append(r.Failing, "database")
	}
	if err := s.limiter.Ping(ctx); err != nil {
		r.Degraded = append(r.Degraded, "redis")
	}
	return r
}

// migrate brings SQLite up to date; PostgreSQL only when asked, because there
// the operator decides when.
func (s *Server) migrate(ctx context.Context, asked bool) error {
	pending, err := Pending(ctx, s.db)
	if err != nil {
		return fmt.Errorf("the database cannot be read: %w", err)
	}
	if len(pending) > 0 {
		if s.db.Engine() == db.Postgres && !asked {
			return fmt.Errorf("the database lacks %d migrations: run `authd migrate up`, or start with `authd serve --migrate`", len(pending))
		}
		// Without the partitions: they are made below, and must not stop a start.
		if err := s.db.Migrate(ctx, jobs.Migrate(s.db)); err != nil {
			return err
		}
		s.log.Info("database migrated", "migrations", len(pending))
	}
	if err := audit.EnsurePartitions(ctx, s.db, s.clock.Now()); err != nil {
		s.log.Error("audit partitions could not be made; the default partition takes the rows", "error", err)
	}
	return nil
}

// Migrate brings the whole schema up to date.
func Migrate(ctx context.Context, d *db.DB) error {
	return d.Migrate(ctx, jobs.Migrate(d), func(ctx context.Context) error {
		return audit.EnsurePartitions(ctx, d, (*clock.Clock)(nil).Now())
	})
}

// Pending lists the migrations that the database lacks, ours first.
func Pending(ctx context.Context, d *db.DB) ([]db.Migration, error) {
	pending, err := d.Pending(ctx)
	if err != nil {
		return nil, err
	}
	queue, err := jobs.Pending(ctx, d)
	return append(pending, queue...), err
}
