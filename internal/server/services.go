package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/config"
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
	"github.com/authsdk/authsdk/internal/flow/retention"
	"github.com/authsdk/authsdk/internal/flow/signin"
	"github.com/authsdk/authsdk/internal/flow/signup"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/cron"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/metric"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/method/apikey"
	"github.com/authsdk/authsdk/internal/method/otp"
	"github.com/authsdk/authsdk/internal/method/password"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/jobs"
	"github.com/authsdk/authsdk/internal/platform/limit"
	"github.com/authsdk/authsdk/internal/platform/mail"
	"github.com/authsdk/authsdk/internal/platform/revocation"
	"github.com/authsdk/authsdk/internal/transport/worker"
)

// Services is what acts: made once, the same for a server and for a command.
type Services struct {
	By audit.By // who acts at the command line: the operator, without a proof

	DB      *db.DB
	Clock   *clock.Clock
	Log     *slog.Logger
	Metrics *metric.Metrics
	Limiter *limit.Limiter
	Feed    *revocation.Feed
	Jobs    *jobs.Queue
	Mailbox *mail.Mailbox // nil: a mail server takes the mail

	Keys      *keyring.Keyring
	Sessions  *session.Service
	Clients   *client.Service
	APIKeys   *apikey.Service
	Machines  *machine.Service
	Accounts  *user.Accounts
	Passwords *password.Service
	Risk      *risk.Service
	StepUp    *stepup.Service
	Codes     *otp.Service
	Signup    *signup.Service
	Signin    *signin.Service
	Confirm   *confirm.Service
	Recovery  *recovery.Service
	Account   *account.Service
	Erasure   *erasure.Service
	Users     *directory.Service
	Retention *retention.Service
	Webhooks  *webhook.Service
	Audit     *audit.Log
	Chain     *audit.Chain
	Batch     *audit.Batcher // of events that are counted

	hasher  *secret.Hasher
	hashes  *secret.Worker // nil: this process hashes
	release func()         // of the SQLite file
}

// build makes the services on a database that is up to date. redis may be empty.
// hash is the command of a process that hashes passwords; empty means that this
// one does.
func (s *Services) build(ctx context.Context, cfg *config.Config, redis string, hash []string) error {
	secrets, err := loadSecrets(ctx, cfg, s.DB, s.Log)
	if err != nil {
		return err
	}
	if s.Limiter, err = limit.Open(ctx, redis, s.Log, s.Clock); err != nil {
		return err
	}
	s.Limiter.Metrics = s.Metrics
	if s.Feed, err = revocation.NewFeed(ctx, s.DB, s.Clock, s.Log); err != nil {
		return err
	}
	if s.Keys, err = keyring.Load(ctx, s.DB, secrets.signingKeys, s.Clock, s.Log, signing(cfg, s.Feed)); err != nil {
		return err
	}
	if s.Jobs, err = jobs.New(s.DB, s.Log); err != nil {
		return err
	}
	s.Jobs.Metrics = s.Metrics
	s.Audit = &audit.Log{DB: s.DB}
	s.Batch = audit.NewBatcher(s.DB, s.Clock, s.Log, s.Metrics)

	tokens := token.NewIssuer(s.Keys, s.Clock, cfg.Email.PublicBaseURL, cfg.App.Service, cfg.JWT.AccessTokenTTL)
	s.Sessions = session.New(s.DB, s.Clock, s.Log, s.Feed, tokens, secrets.refresh, s.Limiter, session.Settings{
		RefreshTTL: cfg.JWT.RefreshTokenTTL, AbsoluteTTL: cfg.SessionSecurity.AbsoluteTTL, ReuseGrace: cfg.SessionSecurity.RefreshReuseGrace,
		RefreshPerMinute: cfg.RateLimit.TokenPerMinute,
	})
	s.Sessions.Metrics = s.Metrics
	s.hasher = secret.NewHasher(secret.Cost{
		MemoryKiB:   uint32(cfg.Password.Argon2MemoryKiB),
		Iterations:  uint32(cfg.Password.Argon2Iterations),
		Parallelism: uint8(cfg.Password.Argon2Parallelism),
	}, cfg.Password.HashWorkers)
	s.hasher.Metrics = s.Metrics
	if len(hash) > 0 {
		s.hashes = secret.NewWorker(s.Log, hash...)
		s.hasher.In(s.hashes)
	}
	if s.Passwords, err = passwordsOf(cfg, s.hasher); err != nil {
		return err
	}
	s.Clients = client.NewService(s.DB, s.Clock, s.Log, s.Feed, cfg.Clients.MaxTokenTTL)
	s.APIKeys = apikey.NewService(s.DB, s.Clock, s.Log, s.Feed, s.Limiter)
	s.Machines = &machine.Service{
		Clients: s.Clients, Keys: s.APIKeys, Tokens: tokens, Feed: s.Feed, Batch: s.Batch, Limiter: s.Limiter, Metrics: s.Metrics,
		Service: cfg.App.Service, PerMinute: cfg.RateLimit.TokenPerMinute,
	}
	s.Accounts = &user.Accounts{Feed: s.Feed, TokenLife: session.TokenMemory(cfg.JWT.AccessTokenTTL)}

	sender := s.mail(cfg)
	s.Signup = &signup.Service{
		DB: s.DB, Clock: s.Clock, Jobs: s.Jobs, Limiter: s.Limiter, Metrics: s.Metrics, Mail: sender, Accounts: s.Accounts, Passwords: s.Passwords,
		Links: secrets.links, BaseURL: cfg.Email.PublicBaseURL, VerifyTTL: cfg.Email.EmailVerifyTTL,
	}
	s.Risk = &risk.Service{DB: s.DB, Clock: s.Clock, Ring: secrets.lockouts}
	s.StepUp = &stepup.Service{DB: s.DB, Clock: s.Clock, Tokens: tokens, Lifetime: cfg.Email.ActionTokenTTL}
	s.Codes = &otp.Service{
		DB: s.DB, Clock: s.Clock, Jobs: s.Jobs, Mail: sender, Metrics: s.Metrics, Codes: secrets.codes,
		Length: cfg.Email.OTPCodeLength, TTL: cfg.Email.OTPTTL, MaxAttempts: cfg.Email.OTPMaxAttempts,
	}
	revokeKeys := func(ctx context.Context, tx *db.Tx, now time.Time, userID uuid.UUID) (int, error) {
		return apikey.RevokeOf(ctx, tx, s.Feed, now, userID)
	}
	s.Erasure = &erasure.Service{DB: s.DB, Clock: s.Clock, Jobs: s.Jobs, Accounts: s.Accounts, StepUp: s.StepUp, Risk: s.Risk, Keys: revokeKeys}
	s.Confirm = &confirm.Service{DB: s.DB, Clock: s.Clock, Codes: s.Codes, StepUp: s.StepUp, Risk: s.Risk}
	s.Signin = &signin.Service{
		DB: s.DB, Clock: s.Clock, Sessions: s.Sessions, Passwords: s.Passwords, Limiter: s.Limiter, Metrics: s.Metrics,
		Codes: s.Codes, Tokens: tokens, Risk: s.Risk,
		PerMinute: cfg.RateLimit.LoginPerMinute,
		Service:   cfg.App.Service, Audiences: cfg.Auth.Audiences, RequireVerified: cfg.Auth.RequireVerifiedEmail,
	}
	s.Recovery = &recovery.Service{
		DB: s.DB, Clock: s.Clock, Jobs: s.Jobs, Limiter: s.Limiter, Metrics: s.Metrics, Mail: sender, Accounts: s.Accounts, Passwords: s.Passwords,
		Risk: s.Risk, Links: secrets.links, BaseURL: cfg.Email.PublicBaseURL, ResetTTL: cfg.Email.PasswordResetTTL,
	}
	s.Users = &directory.Service{
		DB: s.DB, Clock: s.Clock, Accounts: s.Accounts, Sessions: s.Sessions, Passwords: s.Passwords, Risk: s.Risk, Invite: s.Recovery.Invite, Keys: revokeKeys,
	}
	s.Account = &account.Service{
		DB: s.DB, Clock: s.Clock, Jobs: s.Jobs, Limiter: s.Limiter, Metrics: s.Metrics, Mail: sender, Accounts: s.Accounts, Passwords: s.Passwords,
		Risk: s.Risk, StepUp: s.StepUp, Links: secrets.links, MailReset: s.Recovery.MailLink, BaseURL: cfg.Email.PublicBaseURL, ConfirmTTL: cfg.Email.EmailVerifyTTL,
	}
	guard := &webhook.Guard{AllowPrivate: cfg.Webhook.AllowPrivateTargets}
	s.Webhooks = &webhook.Service{
		DB: s.DB, Clock: s.Clock, Log: s.Log, Metrics: s.Metrics, Seal: secrets.webhooks, Guard: guard, Client: webhook.NewClient(guard),
		Timeout: cfg.Webhook.RequestTimeout, BodyChars: cfg.Webhook.ResponseBodyMaxChars,
	}
	s.Chain = &audit.Chain{
		DB: s.DB, Clock: s.Clock, Log: s.Log, KeySeal: secrets.auditKeys, Marks: secrets.auditMarks,
		FanOut: s.Webhooks.FanOut, OnHead: s.Webhooks.Announce, HeadsFile: cfg.Audit.HeadsFile,
	}
	s.Retention = &retention.Service{DB: s.DB, Clock: s.Clock, Log: s.Log, Chain: s.Chain, Jobs: s.Jobs, Settings: retention.Settings{
		AuditDays: cfg.Retention.AuditLogDays, SessionDays: cfg.Retention.SessionLogDays, DeliveryDays: cfg.Retention.DeliveryDays,
	}}
	var purgeAt cron.Schedule
	if cfg.Retention.Enabled {
		if purgeAt, err = cron.Parse(cfg.Retention.PurgeCron); err != nil {
			return err
		}
	}
	(&worker.Worker{DB: s.DB, Log: s.Log, Clock: s.Clock, Signup: s.Signup, Codes: s.Codes, Recovery: s.Recovery, Account: s.Account, Erasure: s.Erasure, Keys: s.Keys, Retention: s.Retention, PurgeAt: purgeAt}).Register(s.Jobs)
	return nil
}

// mail chooses the mail server, or the mailbox in development without one.
func (s *Services) mail(cfg *config.Config) mail.Sender {
	if cfg.Email.SMTP().Host != "" {
		return smtpOf(cfg)
	}
	s.Mailbox = &mail.Mailbox{DB: s.DB, Clock: s.Clock, From: cfg.Email.EmailFrom}
	return s.Mailbox
}

// The stages of what runs beside requests and jobs. A stopping server ends one
// after the other, so that the next takes up what the last has written.
const (
	delivering = iota // sends: ends when what is in flight has its answer
	gathering         // writes in batches: last-seen times, events that are counted
	following         // reads along: revocations, keys, the audit chain
	stages
)

// background is what a process of these roles runs until it stops. Each function
// runs until its ctx ends.
func (s *Services) background(r roles) (run [stages][]func(context.Context)) {
	run[following] = append(run[following], s.Feed.Run, s.Keys.Run)
	run[gathering] = append(run[gathering], s.Batch.Run)
	if r.api {
		run[gathering] = append(run[gathering], s.Sessions.Run, s.Clients.Run, s.APIKeys.Run)
	}
	if r.worker {
		run[delivering] = append(run[delivering], s.Webhooks.Run)
		run[gathering] = append(run[gathering], s.Keys.TendOnce)
		run[following] = append(run[following], s.Chain.Run)
	}
	return run
}

func (s *Services) close() {
	s.hashes.Close()
	if s.Limiter != nil {
		s.Limiter.Close()
	}
	if s.DB != nil {
		s.DB.Close()
	}
	s.release()
}
