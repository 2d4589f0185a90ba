package server

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"

	"github.com/authsdk/authsdk/internal/config"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/metric"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

var errNotMigrated = errors.New("the database is not ready: run `authd migrate up`, then this again")

var errStarting = errors.New("another authd is starting on this database: run this again in a moment")

// makesSecrets reports whether development makes secrets of its own: whoever owns
// the SQLite file does.
func makesSecrets(cfg *config.Config) bool {
	return cfg.SigningKeys.EncryptionKey == "" || cfg.SessionSecurity.RefreshTokenHashKey == "" || cfg.Webhook.SecretEncryptionKey == ""
}

// Operator makes the services for a command: they can act and enqueue jobs, and
// nothing runs beside them. A server may run on the same database; what the
// command does reaches it by SQL, as the acts of another replica do.
func Operator(ctx context.Context, cfg *config.Config, log *slog.Logger) (_ *Services, end func(), err error) {
	if !db.Exists(cfg.Database.URL.Reveal()) {
		return nil, nil, errNotMigrated
	}
	s := &Services{By: audit.By{Type: "system"}, Log: log, Metrics: metric.New(), release: func() {}}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.DB, err = OpenDB(ctx, cfg); err != nil {
		return nil, nil, err
	}
	pending, err := Pending(ctx, s.DB)
	if err != nil {
		return nil, nil, err
	}
	if len(pending) > 0 {
		return nil, nil, errNotMigrated
	}
	// Owned while secrets and keys may be made, and no longer: a server may start
	// beside a long command.
	release, err := s.DB.Own()
	switch {
	case err == nil:
		defer release()
	case !errors.Is(err, db.ErrInUse):
		return nil, nil, err
	case makesSecrets(cfg) && !db.Exists("sqlite://"+filepath.Join(filepath.Dir(s.DB.Path()), "secrets.json")):
		return nil, nil, errStarting
	}
	// Limits are counted here: what a command does uses up nobody's.
	if err := s.build(ctx, cfg, "", nil); err != nil {
		return nil, nil, err
	}
	return s, s.close, nil
}
