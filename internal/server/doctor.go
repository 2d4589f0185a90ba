package server

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/authsdk/authsdk/internal/config"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/platform/limit"
	"github.com/authsdk/authsdk/internal/platform/mail"
)

// Finding is what the doctor says of one part.
type Finding struct {
	Part   string `json:"part"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Mend   string `json:"mend,omitempty"` // what to do, if not OK
}

// checkTimeout bounds each question.
const checkTimeout = 5 * time.Second

// maxSkew is how far the database's clock may be off before tokens and limits
// suffer.
const maxSkew = 5 * time.Second

// Doctor examines what a server with this configuration needs. It changes
// nothing.
func Doctor(ctx context.Context, cfg *config.Config) []Finding {
	findings := []Finding{{Part: "configuration", OK: true, Detail: cfg.App.Environment}}
	for _, w := range cfg.Warnings() {
		findings = append(findings, Finding{Part: "configuration", OK: true, Detail: "note: " + w})
	}
	findings = append(findings, examineDatabase(ctx, cfg)...)
	return append(findings, examineRedis(ctx, cfg), examineMail(ctx, cfg))
}

func examineDatabase(ctx context.Context, cfg *config.Config) []Finding {
	if !db.Exists(cfg.Database.URL.Reveal()) {
		return []Finding{{Part: "database", OK: true, Detail: "no file yet at " + strings.TrimPrefix(cfg.Database.URL.Reveal(), "sqlite://") + "; authd serve makes it"}}
	}
	d, err := OpenDB(ctx, cfg)
	if err != nil {
		return []Finding{{"database", false, err.Error(), "check DATABASE__URL"}}
	}
	defer d.Close()
	bounded, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	version, skew, err := askDatabase(bounded, d)
	if err != nil {
		return []Finding{{"database", false, err.Error(), "is it running, and do DATABASE__URL's host, user and password fit?"}}
	}
	findings := []Finding{{Part: "database", OK: true, Detail: version}}
	if skew.Abs() > maxSkew {
		findings = append(findings, Finding{"clock", false, fmt.Sprintf("the database's clock is %s off", skew.Round(time.Second)), "run NTP on both machines"})
	} else {
		findings = append(findings, Finding{Part: "clock", OK: true, Detail: "agrees with the database's"})
	}
	pending, err := Pending(bounded, d)
	switch {
	case err != nil:
		return append(findings, Finding{"migrations", false, err.Error(), "may this user read the schema?"})
	case len(pending) > 0 && d.Engine() == db.SQLite:
		return append(findings, Finding{Part: "migrations", OK: true, Detail: fmt.Sprintf("%d pending; authd serve applies them", len(pending))})
	case len(pending) > 0:
		return append(findings, Finding{"migrations", false, fmt.Sprintf("%d pending", len(pending)), "run authd migrate up"})
	}
	findings = append(findings, Finding{Part: "migrations", OK: true, Detail: "up to date"})
	return append(findings, examineKeys(bounded, cfg, d)...)
}

// askDatabase returns the engine's version, and how far its clock is ahead of
// this machine's.
func askDatabase(ctx context.Context, d *db.DB) (version string, skew time.Duration, err error) {
	if d.Engine() == db.SQLite {
		err = d.Read().QueryRowContext(ctx, `SELECT 'SQLite ' || sqlite_version()`).Scan(&version)
		return version, 0, err
	}
	var number string
	var now time.Time
	before := time.Now()
	err = d.Read().QueryRowContext(ctx, `SELECT current_setting('server_version'), clock_timestamp()`).Scan(&number, &now)
	middle := before.Add(time.Since(before) / 2)
	return "PostgreSQL " + number, now.Sub(middle), err
}

func examineRedis(ctx context.Context, cfg *config.Config) Finding {
	if cfg.Redis.URL.Reveal() == "" {
		return Finding{Part: "redis", OK: true, Detail: "not used; rate limits count in each process"}
	}
	limiter, err := limit.Open(ctx, cfg.Redis.URL.Reveal(), slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return Finding{"redis", false, err.Error(), "check REDIS__URL"}
	}
	defer limiter.Close()
	bounded, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := limiter.Ping(bounded); err != nil {
		return Finding{"redis", false, err.Error(), "start it, or mend REDIS__URL; until then authd serves, and each process counts rate limits for itself"}
	}
	return Finding{Part: "redis", OK: true, Detail: "answers"}
}

func examineMail(ctx context.Context, cfg *config.Config) Finding {
	m := cfg.Email.SMTP()
	if m.Host == "" {
		return Finding{Part: "mail", OK: true, Detail: "kept in the development mailbox, /dev/mailbox"}
	}
	bounded, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := smtpOf(cfg).Greet(bounded); err != nil {
		return Finding{"mail", false, err.Error(), "check EMAIL__SMTP_HOST, _PORT, _TLS, _USERNAME and _PASSWORD"}
	}
	return Finding{Part: "mail", OK: true, Detail: m.Host + " takes mail"}
}

func smtpOf(cfg *config.Config) *mail.SMTP {
	m := cfg.Email.SMTP()
	return &mail.SMTP{Host: m.Host, Port: m.Port, Username: m.Username, Password: m.Password.Reveal(), TLS: m.TLS, From: cfg.Email.EmailFrom}
}
