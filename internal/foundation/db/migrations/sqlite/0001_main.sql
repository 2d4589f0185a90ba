-- +goose Up

-- Accounts. email is as typed (domain lower-cased); email_key is what must be
-- unique among live rows. epoch rises when what tokens say of the user changes.
CREATE TABLE users (
	id                TEXT PRIMARY KEY,
	email             TEXT NOT NULL,
	email_key         TEXT NOT NULL,
	role              TEXT NOT NULL CHECK (role IN ('admin', 'user', 'service')),
	is_active         BOOLEAN NOT NULL,
	email_verified    BOOLEAN NOT NULL,
	email_otp_enabled BOOLEAN NOT NULL,
	epoch             BIGINT NOT NULL,
	created_at        TIMESTAMP NOT NULL,
	updated_at        TIMESTAMP NOT NULL,
	deleted_at        TIMESTAMP
);
CREATE UNIQUE INDEX users_email_live ON users (email_key) WHERE deleted_at IS NULL;

CREATE TABLE passwords (
	user_id    TEXT PRIMARY KEY REFERENCES users (id),
	hash       TEXT NOT NULL,
	changed_at TIMESTAMP NOT NULL
);

-- One live link per user and purpose; only the hash of its token is kept.
-- password_hash is of the sign-up that the link confirms: whoever reads the mail
-- chose it, unlike whoever signed the address up first.
CREATE TABLE email_tokens (
	user_id    TEXT NOT NULL REFERENCES users (id),
	purpose    TEXT NOT NULL,
	token_hash TEXT NOT NULL,
	issued_at  TIMESTAMP NOT NULL,
	expires_at TIMESTAMP NOT NULL,
	used_at    TIMESTAMP,
	password_hash TEXT,
	PRIMARY KEY (user_id, purpose)
);
CREATE UNIQUE INDEX email_tokens_hash ON email_tokens (token_hash);

-- The private half is sealed with the row id as associated data.
CREATE TABLE signing_keys (
	id             TEXT PRIMARY KEY,
	kid            TEXT NOT NULL UNIQUE,
	algorithm      TEXT NOT NULL,
	status         TEXT NOT NULL CHECK (status IN ('next', 'active', 'retiring', 'retired', 'revoked')),
	private_sealed BYTEA NOT NULL,
	public_jwk     TEXT NOT NULL,
	created_at     TIMESTAMP NOT NULL,
	retires_at     TIMESTAMP
);
CREATE UNIQUE INDEX signing_keys_active ON signing_keys (status) WHERE status = 'active';
CREATE UNIQUE INDEX signing_keys_next ON signing_keys (status) WHERE status = 'next';

-- generation, branch, prev_branch and rotated_at are the whole refresh state
-- (docs/architecture.md): no token is stored. No index may name a column that a
-- refresh or last_seen_at changes.
CREATE TABLE sessions (
	id                  TEXT PRIMARY KEY,
	user_id             TEXT NOT NULL REFERENCES users (id),
	provider            TEXT NOT NULL,
	audiences           TEXT NOT NULL,
	auth_time           TIMESTAMP NOT NULL,
	created_at          TIMESTAMP NOT NULL,
	absolute_expires_at TIMESTAMP,
	expires_at          TIMESTAMP NOT NULL,
	generation          BIGINT NOT NULL,
	branch              BIGINT NOT NULL,
	prev_branch         BIGINT NOT NULL,
	rotated_at          TIMESTAMP NOT NULL,
	last_seen_at        TIMESTAMP NOT NULL,
	revoked_at          TIMESTAMP,
	revoke_reason       TEXT,
	ip_address          TEXT,
	user_agent          TEXT
);
CREATE INDEX sessions_user ON sessions (user_id, created_at, id);

-- The append-only feed that every replica tails. xid orders commits on
-- PostgreSQL; SQLite has one writer, so seq does.
CREATE TABLE revocations (
	seq        INTEGER PRIMARY KEY AUTOINCREMENT,
	xid        BIGINT NOT NULL DEFAULT 0,
	kind       TEXT NOT NULL,
	subject    TEXT NOT NULL,
	epoch      BIGINT NOT NULL,
	created_at TIMESTAMP NOT NULL,
	expires_at TIMESTAMP NOT NULL
);
CREATE INDEX revocations_expiry ON revocations (expires_at);

-- personal_hash covers the row in audit_personal, so that erasing that row does
-- not break the chain.
CREATE TABLE audit_events (
	id             TEXT NOT NULL,
	created_at     TIMESTAMP NOT NULL,
	event_type     TEXT NOT NULL,
	actor_type     TEXT NOT NULL,
	actor_id       TEXT,
	target_type    TEXT,
	target_id      TEXT,
	success        BOOLEAN NOT NULL,
	failure_reason TEXT,
	correlation_id TEXT,
	metadata       TEXT,
	personal_hash  BYTEA,
	PRIMARY KEY (created_at, id)
);
CREATE INDEX audit_events_actor ON audit_events (actor_id, created_at, id);
CREATE INDEX audit_events_target ON audit_events (target_id, created_at, id);
CREATE INDEX audit_events_type ON audit_events (event_type, created_at, id);

CREATE TABLE audit_personal (
	event_id   TEXT NOT NULL,
	created_at TIMESTAMP NOT NULL,
	salt       BYTEA NOT NULL,
	ip_address TEXT,
	user_agent TEXT,
	PRIMARY KEY (created_at, event_id)
);

CREATE TABLE periodic (
	name    TEXT PRIMARY KEY,
	next_at TIMESTAMP NOT NULL
);

-- The development mailbox.
CREATE TABLE mailbox (
	id         TEXT PRIMARY KEY,
	message_id TEXT NOT NULL UNIQUE,
	recipient  TEXT NOT NULL,
	sender     TEXT NOT NULL,
	subject    TEXT NOT NULL,
	text_body  TEXT NOT NULL,
	html_body  TEXT NOT NULL,
	created_at TIMESTAMP NOT NULL
);
CREATE INDEX mailbox_recipient ON mailbox (recipient, created_at, id);

-- Secrets made for development on PostgreSQL, where replicas must agree.
CREATE TABLE dev_secrets (
	name  TEXT PRIMARY KEY,
	value TEXT NOT NULL
);
