-- +goose Up

-- Who may not be the last to go.
CREATE INDEX users_admins ON users (role) WHERE role = 'admin';

-- csrf_hash is of the CSRF token that a cookie session is bound to.
ALTER TABLE sessions ADD COLUMN is_suspicious BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE sessions ADD COLUMN suspicious_reasons TEXT NOT NULL DEFAULT '[]';
ALTER TABLE sessions ADD COLUMN csrf_hash TEXT;
CREATE INDEX sessions_live ON sessions (user_id, created_at, id) WHERE revoked_at IS NULL;

-- history marks what a person sees in the history of the account.
ALTER TABLE audit_events ADD COLUMN history BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX audit_events_actor_history ON audit_events (actor_id, created_at, id) WHERE history;
CREATE INDEX audit_events_target_history ON audit_events (target_id, created_at, id) WHERE history;

-- Failed proofs by account and network. account is a MAC of the address, so that
-- addresses without an account are counted alike and cannot be read here; network
-- is a prefix, or * for all networks that the account has not been used from.
-- pending are those of the failures that may still turn out right.
CREATE TABLE lockouts (
	account      TEXT NOT NULL,
	network      TEXT NOT NULL,
	failures     BIGINT NOT NULL,
	pending      BIGINT NOT NULL,
	locked_until TIMESTAMP NOT NULL,
	expires_at   TIMESTAMP NOT NULL,
	PRIMARY KEY (account, network)
);
CREATE INDEX lockouts_expiry ON lockouts (expires_at);

-- Where and with what an account was used.
CREATE TABLE seen (
	user_id TEXT NOT NULL REFERENCES users (id),
	kind    TEXT NOT NULL CHECK (kind IN ('network', 'device')),
	value   TEXT NOT NULL,
	seen_at TIMESTAMP NOT NULL,
	PRIMARY KEY (user_id, kind, value)
);

-- One mailed code, and those that replaced it: sends counts them. No code is
-- stored: it is made from id and sends with a key that the database does not hold.
CREATE TABLE otp_challenges (
	id         TEXT PRIMARY KEY,
	user_id    TEXT NOT NULL REFERENCES users (id),
	context    TEXT NOT NULL CHECK (context IN ('login', 'action')),
	session_id TEXT,
	action     TEXT,
	target     TEXT,
	audiences  TEXT NOT NULL,
	sends      BIGINT NOT NULL,
	failures   BIGINT NOT NULL,
	created_at TIMESTAMP NOT NULL,
	expires_at TIMESTAMP NOT NULL,
	spent_at   TIMESTAMP
);
CREATE INDEX otp_challenges_session ON otp_challenges (session_id, created_at, id) WHERE session_id IS NOT NULL;
CREATE INDEX otp_challenges_user ON otp_challenges (user_id);
CREATE INDEX otp_challenges_expiry ON otp_challenges (expires_at);

-- What one account may guess and have mailed until resets_at, over all its
-- challenges of a context: who asks for codes in a session must not use up those
-- of the sign-in.
CREATE TABLE otp_budgets (
	user_id       TEXT NOT NULL REFERENCES users (id),
	context       TEXT NOT NULL,
	failures      BIGINT NOT NULL,
	mails         BIGINT NOT NULL,
	resets_at     TIMESTAMP NOT NULL,
	blocked_until TIMESTAMP,
	PRIMARY KEY (user_id, context)
);

-- Confirmations of one act each; id is the token's jti.
CREATE TABLE action_tokens (
	id         TEXT PRIMARY KEY,
	user_id    TEXT NOT NULL REFERENCES users (id),
	session_id TEXT NOT NULL,
	action     TEXT NOT NULL,
	target     TEXT,
	expires_at TIMESTAMP NOT NULL,
	spent_at   TIMESTAMP
);
CREATE INDEX action_tokens_user ON action_tokens (user_id);
CREATE INDEX action_tokens_expiry ON action_tokens (expires_at);

-- A new mailbox confirms, and the old one can undo for a while, in which nobody
-- else gets its address.
CREATE TABLE email_changes (
	id           TEXT PRIMARY KEY,
	user_id      TEXT NOT NULL REFERENCES users (id),
	old_email    TEXT NOT NULL,
	new_email    TEXT NOT NULL,
	token_hash   TEXT UNIQUE,
	undo_hash    TEXT UNIQUE,
	issued_at    TIMESTAMP NOT NULL,
	expires_at   TIMESTAMP NOT NULL,
	confirmed_at TIMESTAMP,
	undo_until   TIMESTAMP,
	undone_at    TIMESTAMP
);
CREATE INDEX email_changes_user ON email_changes (user_id);
CREATE INDEX email_changes_old ON email_changes (old_email, undo_until);
