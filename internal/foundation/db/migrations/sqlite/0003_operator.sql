-- +goose Up

-- Users.

-- A deleted account keeps its address; an erased one has a placeholder.
DROP INDEX users_email_live;
CREATE UNIQUE INDEX users_email ON users (email_key);
CREATE INDEX users_created ON users (created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX users_role ON users (role, created_at, id) WHERE deleted_at IS NULL;

ALTER TABLE lockouts ADD COLUMN user_id TEXT;               -- set where the account exists; no FK
CREATE INDEX lockouts_user ON lockouts (user_id, locked_until) WHERE user_id IS NOT NULL;

CREATE INDEX sessions_suspicious ON sessions (created_at, id) WHERE (is_suspicious AND (revoked_at IS NULL));
CREATE INDEX sessions_ended ON sessions (revoked_at) WHERE revoked_at IS NOT NULL;      -- purge

-- Signing keys.
ALTER TABLE signing_keys ADD COLUMN published_at TIMESTAMP;  -- NULL: since the first JWKS
ALTER TABLE signing_keys ADD COLUMN activated_at TIMESTAMP;
ALTER TABLE signing_keys ADD COLUMN retired_at TIMESTAMP;    -- retired or revoked; private_sealed is then empty
UPDATE signing_keys SET activated_at = created_at WHERE status = 'active';

-- Api keys.
CREATE TABLE api_keys (
	id                    TEXT PRIMARY KEY,
	user_id               TEXT REFERENCES users (id),
	name                  TEXT NOT NULL,
	service               TEXT NOT NULL,
	scope                 TEXT NOT NULL,             -- as given: comma-separated
	rate_limit_per_minute BIGINT,
	version               BIGINT NOT NULL,           -- + 1 with every change
	created_at            TIMESTAMP NOT NULL,
	expires_at            TIMESTAMP,
	revoked_at            TIMESTAMP,               -- the first time stays
	last_used_at          TIMESTAMP                -- in no index
);
CREATE INDEX api_keys_created ON api_keys (created_at, id);
CREATE INDEX api_keys_user ON api_keys (user_id, created_at, id) WHERE user_id IS NOT NULL;
CREATE INDEX api_keys_scope ON api_keys (scope, created_at, id);
CREATE TABLE api_key_secrets (
	hash       TEXT PRIMARY KEY,                     -- hex SHA-256 of the whole key
	key_id     TEXT NOT NULL REFERENCES api_keys (id),
	prefix     TEXT NOT NULL,                        -- first 8 characters
	created_at TIMESTAMP NOT NULL,
	expires_at TIMESTAMP                           -- NULL: the current one; else rotated, good until
);
CREATE INDEX api_key_secrets_key ON api_key_secrets (key_id);
CREATE INDEX api_key_secrets_expiry ON api_key_secrets (expires_at) WHERE expires_at IS NOT NULL;
CREATE UNIQUE INDEX api_key_secrets_current ON api_key_secrets (key_id) WHERE expires_at IS NULL;

-- Machine clients.
CREATE TABLE clients (
	id                  TEXT PRIMARY KEY,
	client_id           TEXT NOT NULL UNIQUE,
	name                TEXT NOT NULL,
	scopes              TEXT NOT NULL,               -- JSON list, order kept
	audiences           TEXT NOT NULL,               -- JSON list; [] = any
	is_active           BOOLEAN NOT NULL,
	token_ttl_seconds   BIGINT NOT NULL,
	longest_ttl_seconds BIGINT NOT NULL,             -- never falls: how long a token of this client may still live
	epoch               BIGINT NOT NULL,
	version             BIGINT NOT NULL,
	created_at          TIMESTAMP NOT NULL,
	updated_at          TIMESTAMP NOT NULL,
	deleted_at          TIMESTAMP,
	last_used_at        TIMESTAMP
);
CREATE INDEX clients_longest ON clients (longest_ttl_seconds);
CREATE INDEX clients_created ON clients (created_at, id) WHERE deleted_at IS NULL;
CREATE TABLE client_secrets (
	id         TEXT PRIMARY KEY,
	client     TEXT NOT NULL REFERENCES clients (id),
	hash       TEXT NOT NULL,
	prefix     TEXT NOT NULL,
	created_at TIMESTAMP NOT NULL,
	expires_at TIMESTAMP
);
CREATE UNIQUE INDEX client_secrets_current ON client_secrets (client) WHERE expires_at IS NULL;
CREATE INDEX client_secrets_client ON client_secrets (client);
CREATE INDEX client_secrets_expiry ON client_secrets (expires_at) WHERE expires_at IS NOT NULL;

-- Webhooks.
CREATE TABLE webhook_endpoints (
	id            TEXT PRIMARY KEY,
	name          TEXT NOT NULL,
	url           TEXT NOT NULL,
	events        TEXT NOT NULL,                     -- JSON list, sorted; [] = every event but the explicit ones
	secret_sealed BYTEA NOT NULL,                    -- bound to "webhook:<id>"
	old_sealed    BYTEA,                             -- the secret before, while it still signs too
	old_until     TIMESTAMP,
	is_active     BOOLEAN NOT NULL,
	disabled_why  TEXT,                              -- failing, operator
	failures      BIGINT NOT NULL,                   -- in a row
	failing_since TIMESTAMP,
	blocked_until TIMESTAMP,                       -- the breaker
	created_at    TIMESTAMP NOT NULL,
	updated_at    TIMESTAMP NOT NULL,
	deleted_at    TIMESTAMP
);
CREATE INDEX webhook_endpoints_created ON webhook_endpoints (created_at, id) WHERE deleted_at IS NULL;
CREATE TABLE webhook_deliveries (
	id                TEXT PRIMARY KEY,              -- = webhook-id = id in the body
	endpoint_id       TEXT NOT NULL REFERENCES webhook_endpoints (id),
	event_id          TEXT,                          -- of the audit event; NULL for pings and heads
	event_type        TEXT NOT NULL,
	data              TEXT NOT NULL,                 -- JSON object
	occurred_at       TIMESTAMP NOT NULL,          -- created_at of the body
	status            TEXT NOT NULL CHECK (status IN ('pending', 'delivered', 'failed', 'abandoned')),
	attempt_count     BIGINT NOT NULL,
	due_at            TIMESTAMP,                   -- when to try; while leased, when the lease ends; NULL: done
	lease             TEXT,                          -- the fence: who holds it
	last_attempted_at TIMESTAMP,
	next_retry_at     TIMESTAMP,
	response_status   BIGINT,
	response_body     TEXT,
	created_at        TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX webhook_deliveries_event ON webhook_deliveries (endpoint_id, event_id) WHERE event_id IS NOT NULL;
CREATE INDEX webhook_deliveries_list ON webhook_deliveries (endpoint_id, created_at, id);
CREATE INDEX webhook_deliveries_status ON webhook_deliveries (endpoint_id, status, created_at, id);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX webhook_deliveries_age ON webhook_deliveries (created_at, id);             -- purge

-- Outbox and chain.
CREATE TABLE audit_outbox (
	event_id   TEXT PRIMARY KEY,
	created_at TIMESTAMP NOT NULL,
	event_type TEXT NOT NULL,
	row_hash   BYTEA NOT NULL,
	data       TEXT                                  -- NULL: no webhook
);
CREATE TABLE audit_chain (
	pos        BIGINT PRIMARY KEY,                   -- 1, 2, 3 … without gaps
	event_id   TEXT NOT NULL UNIQUE,
	created_at TIMESTAMP NOT NULL,                 -- of the event
	row_hash   BYTEA NOT NULL,
	mac        BYTEA NOT NULL                        -- key id and MAC (§8): names the very row that was tampered with
);
CREATE INDEX audit_chain_created ON audit_chain (created_at, pos);
CREATE TABLE audit_heads (
	number    BIGINT PRIMARY KEY,                    -- 0 is the beginning
	first_pos BIGINT NOT NULL,                       -- first_pos = last_pos + 1: an empty batch
	last_pos  BIGINT NOT NULL,
	root      BYTEA NOT NULL,
	prev_hash BYTEA NOT NULL,                        -- 32 zero bytes before number 0
	floor_pos BIGINT NOT NULL,                       -- entries below may be gone: purged
	kept_from TIMESTAMP NOT NULL,                  -- rows before may be gone: purged
	made_at   TIMESTAMP NOT NULL,
	kid       TEXT NOT NULL,
	hash      BYTEA NOT NULL,
	signature BYTEA NOT NULL
);
CREATE TABLE audit_keys (
	id             TEXT PRIMARY KEY,
	kid            TEXT NOT NULL UNIQUE,
	public         BYTEA NOT NULL,
	private_sealed BYTEA NOT NULL,                   -- ring "audit-key" of SIGNING_KEYS__ENCRYPTION_KEY, bound to the row id
	is_current     BOOLEAN NOT NULL,
	created_at     TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX audit_keys_current ON audit_keys (is_current) WHERE is_current;
