-- +goose Up

-- Accounts. email is as typed (domain lower-cased); email_key is what must be
-- unique among live rows. epoch rises when what tokens say of the user changes.
CREATE TABLE users (
	id                UUID PRIMARY KEY,
	email             TEXT NOT NULL,
	email_key         TEXT NOT NULL,
	role              TEXT NOT NULL CHECK (role IN ('admin', 'user', 'service')),
	is_active         BOOLEAN NOT NULL,
	email_verified    BOOLEAN NOT NULL,
	email_otp_enabled BOOLEAN NOT NULL,
	epoch             BIGINT NOT NULL,
	created_at        TIMESTAMPTZ NOT NULL,
	updated_at        TIMESTAMPTZ NOT NULL,
	deleted_at        TIMESTAMPTZ
);
CREATE UNIQUE INDEX users_email_live ON users (email_key) WHERE deleted_at IS NULL;

CREATE TABLE passwords (
	user_id    UUID PRIMARY KEY REFERENCES users (id),
	hash       TEXT NOT NULL,
	changed_at TIMESTAMPTZ NOT NULL
);

-- One live link per user and purpose; only the hash of its token is kept.
-- password_hash is of the sign-up that the link confirms: whoever reads the mail
-- chose it, unlike whoever signed the address up first.
CREATE TABLE email_tokens (
	user_id    UUID NOT NULL REFERENCES users (id),
	purpose    TEXT NOT NULL,
	token_hash TEXT NOT NULL,
	issued_at  TIMESTAMPTZ NOT NULL,
	expires_at TIMESTAMPTZ NOT NULL,
	used_at    TIMESTAMPTZ,
	password_hash TEXT,
	PRIMARY KEY (user_id, purpose)
);
CREATE UNIQUE INDEX email_tokens_hash ON email_tokens (token_hash);

-- The private half is sealed with the row id as associated data.
CREATE TABLE signing_keys (
	id             UUID PRIMARY KEY,
	kid            TEXT NOT NULL UNIQUE,
	algorithm      TEXT NOT NULL,
	status         TEXT NOT NULL CHECK (status IN ('next', 'active', 'retiring', 'retired', 'revoked')),
	private_sealed BYTEA NOT NULL,
	public_jwk     TEXT NOT NULL,
	created_at     TIMESTAMPTZ NOT NULL,
	retires_at     TIMESTAMPTZ
);
CREATE UNIQUE INDEX signing_keys_active ON signing_keys (status) WHERE status = 'active';
CREATE UNIQUE INDEX signing_keys_next ON signing_keys (status) WHERE status = 'next';

-- generation, branch, prev_branch and rotated_at are the whole refresh state
-- (docs/architecture.md): no token is stored. No index may name a column that a
-- refresh or last_seen_at changes.
CREATE TABLE sessions (
	id                  UUID PRIMARY KEY,
	user_id             UUID NOT NULL REFERENCES users (id),
	provider            TEXT NOT NULL,
	audiences           TEXT NOT NULL,
	auth_time           TIMESTAMPTZ NOT NULL,
	created_at          TIMESTAMPTZ NOT NULL,
	absolute_expires_at TIMESTAMPTZ,
	expires_at          TIMESTAMPTZ NOT NULL,
	generation          BIGINT NOT NULL,
	branch              BIGINT NOT NULL,
	prev_branch         BIGINT NOT NULL,
	rotated_at          TIMESTAMPTZ NOT NULL,
	last_seen_at        TIMESTAMPTZ NOT NULL,
	revoked_at          TIMESTAMPTZ,
	revoke_reason       TEXT,
	ip_address          TEXT,
	user_agent          TEXT
) WITH (fillfactor = 85);
CREATE INDEX sessions_user ON sessions (user_id, created_at, id);

-- The append-only feed that every replica tails. xid orders commits on
-- PostgreSQL; SQLite has one writer, so seq does.
CREATE TABLE revocations (
	seq        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
	kind       TEXT NOT NULL,
	subject    TEXT NOT NULL,
	epoch      BIGINT NOT NULL,
	created_at TIMESTAMPTZ NOT NULL,
	expires_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX revocations_xid ON revocations (xid);
CREATE INDEX revocations_expiry ON revocations (expires_at);

-- Partitioned by month; the audit package makes partitions ahead, and the
-- default one catches the rest: a missing partition never stops a login.
-- personal_hash covers the row in audit_personal, so that erasing that row does
-- not break the chain.
CREATE TABLE audit_events (
	id             UUID NOT NULL,
	created_at     TIMESTAMPTZ NOT NULL,
	event_type     TEXT NOT NULL,
	actor_type     TEXT NOT NULL,
	actor_id       UUID,
	target_type    TEXT,
	target_id      UUID,
	success        BOOLEAN NOT NULL,
	failure_reason TEXT,
	correlation_id TEXT,
	metadata       TEXT,
	personal_hash  BYTEA,
	PRIMARY KEY (created_at, id)
) PARTITION BY RANGE (created_at);
CREATE TABLE audit_events_default PARTITION OF audit_events DEFAULT;
CREATE INDEX audit_events_actor ON audit_events (actor_id, created_at, id);
CREATE INDEX audit_events_target ON audit_events (target_id, created_at, id);
CREATE INDEX audit_events_type ON audit_events (event_type, created_at, id);

CREATE TABLE audit_personal (
	event_id   UUID NOT NULL,
	created_at TIMESTAMPTZ NOT NULL,
	salt       BYTEA NOT NULL,
	ip_address TEXT,
	user_agent TEXT,
	PRIMARY KEY (created_at, event_id)
) PARTITION BY RANGE (created_at);
CREATE TABLE audit_personal_default PARTITION OF audit_personal DEFAULT;

CREATE TABLE periodic (
	name    TEXT PRIMARY KEY,
	next_at TIMESTAMPTZ NOT NULL
);

-- The development mailbox.
CREATE TABLE mailbox (
	id         UUID PRIMARY KEY,
	message_id TEXT NOT NULL UNIQUE,
	recipient  TEXT NOT NULL,
	sender     TEXT NOT NULL,
	subject    TEXT NOT NULL,
	text_body  TEXT NOT NULL,
	html_body  TEXT NOT NULL,
	created_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX mailbox_recipient ON mailbox (recipient, created_at, id);

-- Secrets made for development on PostgreSQL, where replicas must agree.
CREATE TABLE dev_secrets (
	name  TEXT PRIMARY KEY,
	value TEXT NOT NULL
);
