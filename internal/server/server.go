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
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/metric"
	"github.com/authsdk/authsdk/internal/foundation/trace"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/jobs"
	"github.com/authsdk/authsdk/internal/transport/httpapi"
	"github.com/authsdk/authsdk/internal/transport/pages"
	"github.com/authsdk/authsdk/internal/transport/web"
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

	*Services

	cfg      *config.Config
	roles    roles
	handler  http.Handler
	traces   func(context.Context) error // sends the spans that wait
	draining atomic.Bool
}

// Options of New beyond the configuration.
type Options struct {
	// Migrate brings a PostgreSQL schema up to date first. SQLite's always is.
	Migrate bool

	// Roles are what this process does, of api and worker; empty means APP__ROLES.
	Roles []string

	// Hash is the command of a process that hashes passwords (secret.Worker);
	// empty means that this process does.
	Hash []string
}

// New builds everything and checks that it can work: it opens the database,
// migrates it or refuses, and loads or makes the signing key.
func New(ctx context.Context, cfg *config.Config, log *slog.Logger, o Options) (_ *Server, err error) {
	s := &Server{
		Services: &Services{Log: log, Metrics: metric.New(), release: func() {}},
		cfg:      cfg, traces: func(context.Context) error { return nil },
	}
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
	if s.DB, err = OpenDB(ctx, cfg); err != nil {
		return nil, err
	}
	if len(o.Roles) == 0 {
		o.Roles = cfg.App.Roles
	}
	if s.roles, err = rolesOf(o.Roles, s.DB.Engine()); err != nil {
		return nil, err
	}
	release, err := s.DB.Own()
	if err != nil {
		return nil, err
	}
	s.release = release
	if err := s.migrate(ctx, o.Migrate); err != nil {
		return nil, err
	}
	if err := s.Services.build(ctx, cfg, cfg.Redis.URL.Reveal(), o.Hash); err != nil {
		return nil, err
	}
	if err := s.Chain.Prepare(ctx); err != nil {
		return nil, err
	}
	s.face()
	if cfg.Development() && s.roles.api {
		if s.FirstAdmin, err = firstAdmin(ctx, s.DB, s.Clock, s.Passwords); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// face makes what faces the services: the API and the pages in the role api;
// health and metrics in each.
func (s *Server) face() {
	cfg := s.cfg
	mux := web.NewMux(s.Log)
	mux.Gate = &web.Gate{
		Hosts: cfg.App.AllowedHosts, Limiter: s.Limiter,
		Limits: web.Limits{Default: cfg.RateLimit.DefaultPerMinute, Login: cfg.RateLimit.LoginPerMinute, Token: cfg.RateLimit.TokenPerMinute},
	}
	(&httpapi.API{
		Log: s.Log, Sessions: s.Sessions, Signin: s.Signin, Signup: s.Signup, Confirm: s.Confirm, StepUp: s.StepUp, Recovery: s.Recovery, Account: s.Account, Erasure: s.Erasure, Keys: s.Keys, History: &audit.History{DB: s.DB}, Audit: s.Audit, Chain: s.Chain, Users: s.Users, Webhooks: s.Webhooks,
		Mailbox: s.Mailbox, MailboxPublic: cfg.Dev.MailboxPublic, Ready: s.ready, Service: cfg.App.Service, Docs: cfg.App.ExposeDocs,
		Browser: browserOf(cfg), SharedAudience: cfg.Auth.AcceptSharedAudience,
		Clients: s.Clients, APIKeys: s.APIKeys, Machines: s.Machines, RequireCaller: cfg.Introspection.RequireCaller, AdminKey: bootstrapKey(cfg), HealthOnly: !s.roles.api,
	}).Mount(mux)
	if s.roles.api {
		(&pages.Pages{Log: s.Log, Signup: s.Signup, Recovery: s.Recovery, Account: s.Account, Mailbox: s.Mailbox, MailboxPublic: cfg.Dev.MailboxPublic, Docs: cfg.App.ExposeDocs}).Mount(mux)
	}
	s.measure()
	if cfg.Development() || cfg.Metrics.Token != "" {
		mux.HandleAs(web.Policy{AnyHost: true}, "GET /metrics", web.Quiet(web.Handle(s.Log, s.showMetrics)))
	}
	s.handler = web.Wrap(mux, web.Edge{
		Log: s.Log, Metrics: s.Metrics, Proxies: web.ParseProxies(cfg.App.TrustedProxyCIDRs),
		Origins: cfg.App.CORSAllowedOrigins, HTTPS: strings.HasPrefix(cfg.Email.PublicBaseURL, "https://"),
	}.Chain())
}

// OpenDB opens the configured database, without migrating it.
func OpenDB(ctx context.Context, cfg *config.Config) (*db.DB, error) {
	return db.Open(ctx, cfg.Database.URL.Reveal(), db.Options{
		MaxConns: cfg.Database.PoolSize + cfg.Database.MaxOverflow, MaxIdleTime: cfg.Database.PoolRecycle,
	})
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
	if s.roles.worker {
		if err := s.Jobs.Start(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	stop := s.Background(ctx)
	srv := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),

		DisableGeneralOptionsHandler: true, // OPTIONS * is ours to answer, too
	}
	go func() { failed <- srv.Serve(listener) }()
	select {
	case err = <-failed:
	case <-ctx.Done():
		s.Log.Info("stopping: finishing what is in flight")
		s.draining.Store(true)
		time.Sleep(lameFor)
	}
	s.draining.Store(true)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainFor)
	defer cancel()
	if shutErr := srv.Shutdown(drain); shutErr != nil {
		s.Log.Warn("some requests did not finish in time", "error", shutErr)
	}
	if stopErr := s.Jobs.Stop(drain); stopErr != nil {
		s.Log.Warn("some jobs did not finish in time; they run again at the next start", "error", stopErr)
	}
	stop()
	last, cancelLast := context.WithTimeout(drain, tracesFor)
	defer cancelLast()
	if traceErr := s.traces(last); traceErr != nil {
		s.Log.Warn("the last traces were not sent", "error", traceErr)
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// Handler is the HTTP face, for tests and measurements that need no listener.
func (s *Server) Handler() http.Handler { return s.handler }

// Serves reports whether this process answers requests: has the role api.
func (s *Server) Serves() bool { return s.roles.api }

// Background starts what keeps memory up to date beside the requests: the
// revocation tail, the keys, last-seen times. stop ends it and waits.
func (s *Server) Background(ctx context.Context) (stop func()) {
	var ends []func()
	for _, stage := range s.background(s.roles) { // see stages
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		running := new(sync.WaitGroup)
		for _, run := range stage {
			running.Go(func() { run(ctx) })
		}
		ends = append(ends, func() {
			cancel()
			running.Wait()
		})
	}
	return func() {
		for _, end := range ends {
			end()
		}
	}
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
	if err := s.DB.Ping(ctx); err != nil {
		r.Failing = append(r.Failing, "database")
	}
	if err := s.Limiter.Ping(ctx); err != nil {
		r.Degraded = append(r.Degraded, "redis")
	}
	return r
}

// migrate brings SQLite up to date; PostgreSQL only when asked, because there
// the operator decides when.
func (s *Server) migrate(ctx context.Context, asked bool) error {
	pending, err := Pending(ctx, s.DB)
	if err != nil {
		return fmt.Errorf("the database cannot be read: %w", err)
	}
	if len(pending) > 0 {
		if s.DB.Engine() == db.Postgres && !asked {
			return fmt.Errorf("the database lacks %d migrations: run `authd migrate up`, or start with `authd serve --migrate`", len(pending))
		}
		// Without the partitions: they are made below, and must not stop a start.
		if err := s.DB.Migrate(ctx, jobs.Migrate(s.DB)); err != nil {
			return err
		}
		s.Log.Info("database migrated", "migrations", len(pending))
	}
	if err := audit.EnsurePartitions(ctx, s.DB, s.Clock.Now()); err != nil {
		s.Log.Error("audit partitions could not be made; the default partition takes the rows", "error", err)
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

// bootstrapKey is the key that acts as an admin, in development only.
func bootstrapKey(cfg *config.Config) string {
	if !cfg.Development() {
		return ""
	}
	return cfg.AdminAPIKey.Reveal()
}
