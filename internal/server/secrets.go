package server

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/authsdk/authsdk/internal/config"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

// secrets are the key rings of this process.
type secrets struct {
	signingKeys *secret.Ring // seals signing keys
	refresh     *secret.Ring // makes refresh tokens
	links       *secret.Ring // makes the tokens of links in mails
	codes       *secret.Ring // makes one-time codes
	lockouts    *secret.Ring // hides the addresses whose failures are counted
	webhooks    *secret.Ring // seals the secrets of webhooks
	auditKeys   *secret.Ring // seals the keys that sign heads of the audit chain
	auditMarks  *secret.Ring // marks entries of the audit chain as ours
}

const (
	encryptionKey = "SIGNING_KEYS__ENCRYPTION_KEY"
	refreshKey    = "SESSION_SECURITY__REFRESH_TOKEN_HASH_KEY"
	webhookKey    = "WEBHOOK__SECRET_ENCRYPTION_KEY"
)

// loadSecrets takes the configured secrets. In development it makes those that
// are missing, once, and keeps them beside the data they protect.
func loadSecrets(ctx context.Context, cfg *config.Config, d *db.DB, log *slog.Logger) (secrets, error) {
	configured := map[string]config.Secret{
		encryptionKey: cfg.SigningKeys.EncryptionKey,
		refreshKey:    cfg.SessionSecurity.RefreshTokenHashKey,
		webhookKey:    cfg.Webhook.SecretEncryptionKey,
	}
	var missing []string
	for _, name := range []string{encryptionKey, refreshKey, webhookKey} {
		if configured[name] == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		if !cfg.Development() {
			return secrets{}, fmt.Errorf("%v must be set outside development", missing) // config.Load refuses first
		}
		made, where, err := devSecrets(ctx, d, missing)
		if err != nil {
			return secrets{}, fmt.Errorf("secrets for development: %w", err)
		}
		for _, name := range missing { // made may hold more: what is configured wins
			configured[name] = config.Secret(made[name])
		}
		log.Warn("development secrets are in use; set your own before production", "kept_in", where)
	}
	ring := func(purpose, name string, previous []config.Secret) *secret.Ring {
		var old []string
		for _, p := range previous {
			old = append(old, p.Reveal())
		}
		return secret.NewRing(purpose, configured[name].Reveal(), old...)
	}
	return secrets{
		signingKeys: ring("signing-keys", encryptionKey, cfg.SigningKeys.EncryptionKeyPrevious),
		refresh:     ring("refresh-token", refreshKey, cfg.SessionSecurity.RefreshTokenHashKeyPrevious),
		links:       ring("mail-links", refreshKey, cfg.SessionSecurity.RefreshTokenHashKeyPrevious),
		codes:       ring("otp-codes", refreshKey, cfg.SessionSecurity.RefreshTokenHashKeyPrevious),
		lockouts:    ring("lockouts", refreshKey, cfg.SessionSecurity.RefreshTokenHashKeyPrevious),
		webhooks:    ring("webhook-secrets", webhookKey, cfg.Webhook.SecretEncryptionKeyPrevious),
		auditKeys:   ring("audit-key", encryptionKey, cfg.SigningKeys.EncryptionKeyPrevious),
		auditMarks:  ring("audit-chain", encryptionKey, cfg.SigningKeys.EncryptionKeyPrevious),
	}, nil
}

// existingSeal returns the ring that opens the signing keys, without making a
// secret; nil if development has made none yet.
func existingSeal(ctx context.Context, cfg *config.Config, d *db.DB) (*secret.Ring, error) {
	current := cfg.SigningKeys.EncryptionKey.Reveal()
	if current == "" && d.Engine() == db.SQLite {
		values := map[string]string{}
		text, err := os.ReadFile(filepath.Join(filepath.Dir(d.Path()), "secrets.json"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err == nil {
			err = json.Unmarshal(text, &values)
		}
		if err != nil {
			return nil, err
		}
		current = values[encryptionKey]
	} else if current == "" {
		err := d.Read().QueryRowContext(ctx, `SELECT value FROM dev_secrets WHERE name = $1`, encryptionKey).Scan(&current)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
	}
	if current == "" {
		return nil, nil
	}
	var old []string
	for _, p := range cfg.SigningKeys.EncryptionKeyPrevious {
		old = append(old, p.Reveal())
	}
	return secret.NewRing("signing-keys", current, old...), nil
}

// devSecrets returns the development secrets of these names, made once: in
// secrets.json beside a SQLite file, in a table on PostgreSQL, where replicas
// must agree.
func devSecrets(ctx context.Context, d *db.DB, names []string) (values map[string]string, where string, err error) {
	if d.Engine() == db.SQLite {
		path := filepath.Join(filepath.Dir(d.Path()), "secrets.json")
		values, err = secretsFile(path, names)
		return values, path, err
	}
	values = map[string]string{}
	err = d.Write(ctx, func(tx *db.Tx) error {
		for _, name := range names {
			_, err := tx.ExecContext(ctx, `INSERT INTO dev_secrets (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, name, secret.Token(32))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	for _, name := range names {
		var value string
		if err := d.Read().QueryRowContext(ctx, `SELECT value FROM dev_secrets WHERE name = $1`, name).Scan(&value); err != nil {
			return nil, "", err
		}
		values[name] = value
	}
	return values, "the table dev_secrets", nil
}

// secretsFile reads the file and adds what it lacks. The process owns the
// SQLite file beside it, so nobody else writes.
func secretsFile(path string, names []string) (map[string]string, error) {
	values := map[string]string{}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(text, &values); err != nil {
			return nil, fmt.Errorf("%s is not valid JSON: %w", path, err)
		}
	}
	added := false
	for _, name := range names {
		if values[name] == "" {
			values[name] = secret.Token(32)
			added = true
		}
	}
	if !added {
		return values, nil
	}
	text, err = json.MarshalIndent(values, "", "  ")
	if err != nil {
		return nil, err
	}
	// A rename replaces the file whole: a crash leaves the old one or the new.
	temporary := path + ".new"
	if err := os.WriteFile(temporary, append(text, '\n'), 0o600); err != nil {
		return nil, err
	}
	return values, os.Rename(temporary, path)
}
