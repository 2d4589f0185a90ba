package client

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

// TargetType is what audit events call a client.
const TargetType = "oauth_client"

// changedFor is how long a change stays in the feed: far longer than a client
// stays in a cache.
const changedFor = 10 * time.Minute

// margin is how long an entry that ends tokens stays in the feed beyond their
// life: for clocks that differ, and a minute.
const margin = 90 * time.Second

// New is what Create takes.
type New struct {
	Name      string
	Scopes    []string
	Audiences []string // none: any
	TTL       time.Duration
}

// Patch says what to change; nil leaves it.
type Patch struct {
	Name      *string
	Scopes    *[]string
	Audiences *[]string
	TTL       *time.Duration
	Active    *bool
}

// Create makes a client and its secret, which is told only here. Faults:
// validation_error, invalid_scope.
func (s *Service) Create(ctx context.Context, by audit.By, n New) (c Client, plain string, err error) {
	defer fault.Wrap(&err, "client.Create")
	if c.Name, err = checkName(n.Name); err != nil {
		return c, "", err
	}
	if c.Scopes, err = checkScopes(n.Scopes); err != nil {
		return c, "", err
	}
	if c.Audiences, err = checkAudiences(n.Audiences); err != nil {
		return c, "", err
	}
	if err = s.checkTTL(n.TTL); err != nil {
		return c, "", err
	}
	now := s.clock.Now()
	c.ID, c.ClientID = uuid.Must(uuid.NewV7()), "client_"+secret.Token(16)
	c.Active, c.TTL, c.longest, c.Epoch, c.version, c.Created, c.Updated = true, n.TTL, n.TTL, 1, 1, now, now
	plain = newSecret()
	c.SecretPrefix = plain[:shownOf]
	secretID := uuid.Must(uuid.NewV7())
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if err := by.Admit(ctx, tx, now); err != nil {
			return err
		}
		if err := insert(ctx, tx, c); err != nil {
			return err
		}
		if err := insertSecret(ctx, tx, now, c.ID, secretID, plain); err != nil {
			return err
		}
		e := by.Event(audit.ClientCreated)
		e.TargetType, e.Target = TargetType, c.ID
		e.Metadata = map[string]any{"client_id": c.ClientID, "scopes": c.Scopes}
		return audit.Record(ctx, tx, now, e)
	})
	return c, plain, err
}

// Update changes a client. What takes something away (a scope, an audience, the
// whole client) ends the tokens that it has. Faults: client_not_found,
// validation_error, invalid_scope.
func (s *Service) Update(ctx context.Context, by audit.By, id uuid.UUID, p Patch) (c Client, err error) {
	defer fault.Wrap(&err, "client.Update")
	var want Client
	if p.Name != nil {
		if want.Name, err = checkName(*p.Name); err != nil {
			return c, err
		}
	}
	if p.Scopes != nil {
		if want.Scopes, err = checkScopes(*p.Scopes); err != nil {
			return c, err
		}
	}
	if p.Audiences != nil {
		if want.Audiences, err = checkAudiences(*p.Audiences); err != nil {
			return c, err
		}
	}
	if p.TTL != nil {
		if err = s.checkTTL(*p.TTL); err != nil {
			return c, err
		}
	}
	now := s.clock.Now()
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if err := by.Admit(ctx, tx, now); err != nil {
			return err
		}
		before, err := lock(ctx, tx, id)
		if err != nil {
			return err
		}
		c = before
		if p.Name != nil {
			c.Name = want.Name
		}
		if p.Scopes != nil {
			c.Scopes = want.Scopes
		}
		if p.Audiences != nil {
			c.Audiences = want.Audiences
		}
		if p.TTL != nil {
			c.TTL = *p.TTL
		}
		if p.Active != nil {
			c.Active = *p.Active
		}
		if same(before, c) {
			return nil
		}
		narrower := lost(before.Scopes, c.Scopes) || lostAudience(before.Audiences, c.Audiences) || before.Active && !c.Active
		if err := s.save(ctx, tx, now, &c, narrower); err != nil {
			return err
		}
		e := by.Event(audit.ClientUpdated)
		e.TargetType, e.Target = TargetType, c.ID
		e.Metadata = map[string]any{
			"client_id": c.ClientID, "scopes": c.Scopes, "audiences": c.Audiences, "is_active": c.Active, "token_ttl_seconds": int(c.TTL.Seconds()),
		}
		return audit.Record(ctx, tx, now, e)
	})
	return c, err
}

func same(a, b Client) bool {
	return a.Name == b.Name && slices.Equal(a.Scopes, b.Scopes) && slices.Equal(a.Audiences, b.Audiences) && a.TTL == b.TTL && a.Active == b.Active
}

// Rotate gives a client another secret, told only here. The old one is good for
// overlap longer; without an overlap it is dead at once, and so are the tokens
// that were got with it. until is zero then. Fault: client_not_found.
func (s *Service) Rotate(ctx context.Context, by audit.By, id uuid.UUID, overlap time.Duration) (c Client, plain string, until time.Time, err error) {
	defer fault.Wrap(&err, "client.Rotate")
	if err = CheckOverlap(overlap); err != nil {
		return c, "", until, err
	}
	plain = newSecret()
	secretID := uuid.Must(uuid.NewV7())
	now := s.clock.Now()
	if overlap > 0 {
		until = now.Add(overlap)
	}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if err := by.Admit(ctx, tx, now); err != nil {
			return err
		}
		if c, err = lock(ctx, tx, id); err != nil {
			return err
		}
		// One that overlaps from an earlier rotation ends now: at most two are good.
		if _, err := tx.ExecContext(ctx, `DELETE FROM client_secrets WHERE client = $1 AND expires_at IS NOT NULL`, id); err != nil {
			return err
		}
		if overlap > 0 {
			_, err = tx.ExecContext(ctx, `UPDATE client_secrets SET expires_at = $1 WHERE client = $2`, until, id)
		} else {
			_, err = tx.ExecContext(ctx, `DELETE FROM client_secrets WHERE client = $1`, id)
		}
		if err != nil {
			return err
		}
		if err := insertSecret(ctx, tx, now, id, secretID, plain); err != nil {
			return err
		}
		c.SecretPrefix = plain[:shownOf]
		if err := s.save(ctx, tx, now, &c, overlap == 0); err != nil {
			return err
		}
		e := by.Event(audit.ClientSecretRotated)
		e.TargetType, e.Target = TargetType, c.ID
		e.Metadata = map[string]any{"client_id": c.ClientID, "overlap_seconds": int(overlap.Seconds())}
		return audit.Record(ctx, tx, now, e)
	})
	return c, plain, until, err
}

// MaxOverlap is how long an old secret may stay good beside a new one.
const MaxOverlap = 30 * 24 * time.Hour

// CheckOverlap checks how long an old secret is to stay good. Fault:
// validation_error.
func CheckOverlap(overlap time.Duration) error {
	if overlap < 0 || overlap > MaxOverlap {
		return fault.Invalid("overlap_seconds", "must be between 0 and 2592000")
	}
	return nil
}

// Delete ends a client and its tokens. Its row stays: the log names it. Fault:
// client_not_found.
func (s *Service) Delete(ctx context.Context, by audit.By, id uuid.UUID) (c Client, err error) {
	defer fault.Wrap(&err, "client.Delete")
	now := s.clock.Now()
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if err := by.Admit(ctx, tx, now); err != nil {
			return err
		}
		if c, err = lock(ctx, tx, id); err != nil {
			return err
		}
		c.Active = false
		if err := s.save(ctx, tx, now, &c, true); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE clients SET deleted_at = $1 WHERE id = $2`, now, id); err != nil {
			return err
		}
		e := by.Event(audit.ClientDeleted)
		e.TargetType, e.Target = TargetType, c.ID
		e.Metadata = map[string]any{"client_id": c.ClientID}
		return audit.Record(ctx, tx, now, e)
	})
	return c, err
}

// save stores a client that lock returned and tells every replica that it has
// changed; if its tokens end, that too.
func (s *Service) save(ctx context.Context, tx *db.Tx, now time.Time, c *Client, ends bool) error {
	c.Updated = now
	c.version++
	c.longest = max(c.longest, c.TTL)
	told := []revocation.Entry{{Kind: revocation.Changed, Subject: changedName(c.ClientID), Epoch: c.version, Expires: now.Add(changedFor)}}
	if ends {
		c.Epoch++
		told = append(told, revocation.Entry{
			Kind: revocation.Client, Subject: c.ClientID, Epoch: c.Epoch, Expires: now.Add(c.longest + margin),
		})
	}
	scopes, audiences, err := lists(*c)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		UPDATE clients SET name = $1, scopes = $2, audiences = $3, is_active = $4, token_ttl_seconds = $5, longest_ttl_seconds = $6,
			epoch = $7, version = $8, updated_at = $9
		WHERE id = $10`,
		c.Name, scopes, audiences, c.Active, int64(c.TTL.Seconds()), int64(c.longest.Seconds()), c.Epoch, c.version, now, c.ID)
	if err != nil {
		return err
	}
	return s.feed.Append(ctx, tx, now, told...)
}

// changedName is the subject under which the feed tells changes of a client.
func changedName(clientID string) string { return "client:" + clientID }

func insert(ctx context.Context, tx *db.Tx, c Client) error {
	scopes, audiences, err := lists(c)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO clients (id, client_id, name, scopes, audiences, is_active, token_ttl_seconds, longest_ttl_seconds, epoch, version, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		c.ID, c.ClientID, c.Name, scopes, audiences, c.Active, int64(c.TTL.Seconds()), int64(c.longest.Seconds()), c.Epoch, c.version, c.Created, c.Updated)
	return err
}

func insertSecret(ctx context.Context, tx *db.Tx, now time.Time, client, id uuid.UUID, plain string) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO client_secrets (id, client, hash, prefix, created_at) VALUES ($1, $2, $3, $4, $5)`,
		id, client, secret.Hash(plain), plain[:shownOf], now)
	return err
}

// lists are the columns that hold lists.
func lists(c Client) (scopes, audiences string, err error) {
	first, err := json.Marshal(c.Scopes)
	if err != nil {
		return "", "", err
	}
	second, err := json.Marshal(c.Audiences)
	return string(first), string(second), err
}
