package webhook

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/cursor"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

// The bounds of what operators give.
const (
	mostName    = 255
	leastSecret = 8
	mostSecret  = 512

	// MostOverlap is how long a secret may sign beside its successor.
	MostOverlap = 7 * 24 * time.Hour
)

// New is what an endpoint is made of.
type New struct {
	Name   string
	URL    string
	Secret string   // empty: one is made
	Events []string // none: every event but the explicit ones
}

// Create registers an endpoint. shown is the secret, if it was made here: it
// cannot be read again. Faults: validation_error, invalid_webhook_url.
func (s *Service) Create(ctx context.Context, by audit.By, n New) (e Endpoint, shown string, err error) {
	defer fault.Wrap(&err, "webhook.Create")
	e = Endpoint{ID: uuid.Must(uuid.NewV7()), Active: true}
	if e.Name, err = name(n.Name); err != nil {
		return e, "", err
	}
	if e.Events, err = events(n.Events); err != nil {
		return e, "", err
	}
	key, shown, err := secretOr(n.Secret)
	if err != nil {
		return e, "", err
	}
	if e.URL, err = s.Guard.Check(ctx, n.URL); err != nil {
		return e, "", err
	}
	sealed := s.Seal.Seal([]byte(key), place(e.ID))
	list, err := json.Marshal(e.Events)
	if err != nil {
		return e, "", err
	}
	e.Created = s.Clock.Now()
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := by.Admit(ctx, tx, e.Created); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO webhook_endpoints (id, name, url, events, secret_sealed, is_active, failures, created_at, updated_at)
			VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8)`, e.ID, e.Name, e.URL, string(list), sealed, true, e.Created, e.Created)
		if err != nil {
			return err
		}
		return audit.Record(ctx, tx, e.Created, e.event(by, audit.WebhookCreated))
	})
	if err != nil {
		return Endpoint{}, "", err
	}
	return e, shown, nil
}

// place is what the sealed secrets of an endpoint are bound to.
func place(id uuid.UUID) string { return "webhook:" + id.String() }

// event says what an endpoint is now.
func (e Endpoint) event(by audit.By, t audit.Type) audit.Event {
	event := of(by, t, e.ID)
	event.Metadata = map[string]any{"name": e.Name, "url": hostOf(e.URL), "events": e.Events, "is_active": e.Active}
	return event
}

// of is an event about an endpoint.
func of(by audit.By, t audit.Type, id uuid.UUID) audit.Event {
	event := by.Event(t)
	event.TargetType, event.Target = "webhook_endpoint", id
	return event
}

func name(given string) (string, error) {
	trimmed := strings.TrimSpace(given)
	switch n := utf8.RuneCountInString(trimmed); {
	case n == 0:
		return "", fault.Invalid("name", "must not be blank")
	case n > mostName:
		return "", fault.Invalid("name", fmt.Sprintf("must have %d characters or fewer", mostName))
	}
	return trimmed, nil
}

// secretOr checks a given secret, or makes one to show.
func secretOr(given string) (key, shown string, err error) {
	if given == "" {
		shown = secretPrefix + base64.StdEncoding.EncodeToString(secret.Bytes(24))
		return shown, shown, nil
	}
	key = strings.TrimSpace(given)
	if n := utf8.RuneCountInString(key); n < leastSecret || n > mostSecret {
		return "", "", fault.Invalid("secret", fmt.Sprintf("must have %d to %d characters", leastSecret, mostSecret))
	}
	return key, "", nil
}

// events checks names of events: sorted, each once.
func events(given []string) ([]string, error) {
	list := []string{}
	for _, name := range given {
		name = strings.TrimSpace(name)
		if !slices.Contains(subscribable(), name) {
			return nil, fault.Invalid("events", fmt.Sprintf("unknown event: did you mean %s?", nearest(name)))
		}
		list = append(list, name)
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// subscribable are the events that an endpoint may ask for.
func subscribable() (names []string) {
	for _, t := range audit.Catalogue {
		if t.Webhook && t.Name != audit.WebhookTest.Name {
			names = append(names, t.Name)
		}
	}
	return names
}

// nearest is the event whose name differs the least from this one.
func nearest(name string) (best string) {
	least := -1
	name = cut(name, 64)
	for _, candidate := range subscribable() {
		if d := distance(name, candidate); least < 0 || d < least {
			best, least = candidate, d
		}
	}
	return best
}

// distance is Levenshtein's, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			above := row[j+1]
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, above, row[j])
			}
			diagonal, row[j+1] = above, cost
		}
	}
	return row[len(b)]
}

const endpointColumns = `id, name, url, events, is_active, COALESCE(disabled_why, ''), failures, failing_since, old_until, created_at`

func scanEndpoint(row interface{ Scan(...any) error }) (e Endpoint, err error) {
	var list string
	var since, until sql.NullTime
	if err := row.Scan(&e.ID, &e.Name, &e.URL, &list, &e.Active, &e.DisabledWhy, &e.Failures, &since, &until, &e.Created); err != nil {
		return e, err
	}
	e.FailingSince, e.OldUntil, e.Created = utc(since), utc(until), e.Created.UTC()
	if err := json.Unmarshal([]byte(list), &e.Events); err != nil {
		return e, fmt.Errorf("events of %s: %w", e.ID, err)
	}
	return e, nil
}

func utc(t sql.NullTime) time.Time {
	if !t.Valid {
		return time.Time{}
	}
	return t.Time.UTC()
}

// Find returns an endpoint. Fault: webhook_not_found.
func (s *Service) Find(ctx context.Context, id uuid.UUID) (Endpoint, error) {
	return s.find(ctx, s.DB.Read(), id)
}

func (s *Service) find(ctx context.Context, c db.Conn, id uuid.UUID) (Endpoint, error) {
	e, err := scanEndpoint(c.QueryRowContext(ctx, `SELECT `+endpointColumns+` FROM webhook_endpoints WHERE id = $1 AND deleted_at IS NULL`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return e, fault.New(fault.WebhookNotFound)
	}
	if err == nil && !e.OldUntil.After(s.Clock.Now()) {
		e.OldUntil = time.Time{}
	}
	return e, err
}

// lock is find in a transaction that will change the endpoint: others wait.
func (s *Service) lock(ctx context.Context, tx *db.Tx, id uuid.UUID) (Endpoint, error) {
	if tx.Engine() == db.Postgres { // SQLite has one writer
		if _, err := tx.ExecContext(ctx, `SELECT 1 FROM webhook_endpoints WHERE id = $1 FOR NO KEY UPDATE`, id); err != nil {
			return Endpoint{}, err
		}
	}
	return s.find(ctx, tx, id)
}

// List returns the endpoints, the newest first; after is the cursor of the page
// before. Fault: invalid_cursor.
func (s *Service) List(ctx context.Context, after string, limit int) (page cursor.Page[Endpoint], err error) {
	defer fault.Wrap(&err, "webhook.List")
	from, err := cursor.Decode(after, "webhooks")
	if err != nil {
		return page, err
	}
	rows, err := s.DB.Read().QueryContext(ctx, `SELECT `+endpointColumns+` FROM webhook_endpoints
		WHERE deleted_at IS NULL AND (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT $3`, from.At, from.ID, limit+1)
	if err != nil {
		return page, err
	}
	defer rows.Close()
	var list []Endpoint
	now := s.Clock.Now()
	for rows.Next() {
		e, err := scanEndpoint(rows)
		if err != nil {
			return page, err
		}
		if !e.OldUntil.After(now) {
			e.OldUntil = time.Time{}
		}
		list = append(list, e)
	}
	return cursor.Cut(list, limit, func(e Endpoint) cursor.Place { return cursor.Place{At: e.Created, ID: e.ID} }, "webhooks"), rows.Err()
}

// Patch is what an update changes; nil leaves a field alone.
type Patch struct {
	Name   *string
	URL    *string
	Events *[]string
	Active *bool
}

// Update changes an endpoint. Switching it off abandons what waits; switching
// it on forgets that it failed. Faults: webhook_not_found, validation_error,
// invalid_webhook_url.
func (s *Service) Update(ctx context.Context, by audit.By, id uuid.UUID, p Patch) (e Endpoint, err error) {
	defer fault.Wrap(&err, "webhook.Update")
	var newName, newURL string
	var newEvents []string
	if p.Name != nil {
		if newName, err = name(*p.Name); err != nil {
			return e, err
		}
	}
	if p.Events != nil {
		if newEvents, err = events(*p.Events); err != nil {
			return e, err
		}
	}
	if _, err := s.Find(ctx, id); err != nil { // before names are resolved for it
		return e, err
	}
	if p.URL != nil {
		if newURL, err = s.Guard.Check(ctx, *p.URL); err != nil {
			return e, err
		}
	}
	now := s.Clock.Now()
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := by.Admit(ctx, tx, now); err != nil {
			return err
		}
		if e, err = s.lock(ctx, tx, id); err != nil {
			return err
		}
		wasActive := e.Active
		if p.Name != nil {
			e.Name = newName
		}
		if p.URL != nil {
			e.URL = newURL
		}
		if p.Events != nil {
			e.Events = newEvents
		}
		if p.Active != nil {
			e.switchTo(*p.Active)
		}
		list, err := json.Marshal(e.Events)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE webhook_endpoints SET name = $1, url = $2, events = $3, is_active = $4, disabled_why = $5, updated_at = $6 WHERE id = $7`,
			e.Name, e.URL, string(list), e.Active, orNull(e.DisabledWhy), now, id)
		if err != nil {
			return err
		}
		if p.Active != nil && *p.Active {
			if err := forgetFailures(ctx, tx, id); err != nil {
				return err
			}
		}
		if wasActive && !e.Active {
			if _, err := abandon(ctx, tx, id); err != nil {
				return err
			}
		}
		return audit.Record(ctx, tx, now, e.event(by, audit.WebhookUpdated))
	})
	return e, err
}

// switchTo turns the endpoint on or off, as an operator does.
func (e *Endpoint) switchTo(on bool) {
	switch {
	case on:
		e.Active, e.DisabledWhy, e.Failures, e.FailingSince = true, "", 0, time.Time{}
	case e.Active:
		e.Active, e.DisabledWhy = false, DisabledByOperator
	}
}

func orNull(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }

func forgetFailures(ctx context.Context, tx *db.Tx, id uuid.UUID) error {
	_, err := tx.ExecContext(ctx, `UPDATE webhook_endpoints SET failures = 0, failing_since = NULL, blocked_until = NULL WHERE id = $1 AND failures > 0`, id)
	return err
}

// abandon gives up what waits for an endpoint. The result of a sender at work is
// not wanted any more; its lease stays, so that Retry knows of it.
func abandon(ctx context.Context, tx *db.Tx, id uuid.UUID) (ids []uuid.UUID, err error) {
	return idsOf(ctx, tx, `UPDATE webhook_deliveries SET status = 'abandoned', due_at = NULL, next_retry_at = NULL
		WHERE endpoint_id = $1 AND due_at IS NOT NULL RETURNING id`, id)
}

func idsOf(ctx context.Context, c db.Conn, query string, args ...any) (ids []uuid.UUID, err error) {
	rows, err := c.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id uuid.UUID
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// Delete removes an endpoint and returns the deliveries that were given up; the
// others stay as they are. Fault: webhook_not_found.
func (s *Service) Delete(ctx context.Context, by audit.By, id uuid.UUID) (abandoned []uuid.UUID, err error) {
	defer fault.Wrap(&err, "webhook.Delete")
	now := s.Clock.Now()
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := by.Admit(ctx, tx, now); err != nil {
			return err
		}
		if _, err := s.lock(ctx, tx, id); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE webhook_endpoints SET is_active = $1, deleted_at = $2, updated_at = $3, old_sealed = NULL, old_until = NULL WHERE id = $4`, false, now, now, id)
		if err != nil {
			return err
		}
		if abandoned, err = abandon(ctx, tx, id); err != nil {
			return err
		}
		event := of(by, audit.WebhookDeleted, id)
		event.Metadata = map[string]any{"abandoned_delivery_count": len(abandoned)}
		return audit.Record(ctx, tx, now, event)
	})
	return abandoned, err
}

// RotateSecret gives an endpoint another secret; an empty one is made, and shown
// is then what was made. The one before signs too until until, which is zero
// without an overlap. Faults: webhook_not_found, validation_error.
func (s *Service) RotateSecret(ctx context.Context, by audit.By, id uuid.UUID, given string, overlap time.Duration) (shown string, until time.Time, err error) {
	defer fault.Wrap(&err, "webhook.RotateSecret")
	if overlap < 0 || overlap > MostOverlap {
		return "", until, fault.Invalid("overlap_seconds", fmt.Sprintf("must be from 0 to %d", int(MostOverlap.Seconds())))
	}
	key, shown, err := secretOr(given)
	if err != nil {
		return "", until, err
	}
	sealed := s.Seal.Seal([]byte(key), place(id))
	now := s.Clock.Now()
	if overlap > 0 {
		until = now.Add(overlap)
	}
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := by.Admit(ctx, tx, now); err != nil {
			return err
		}
		if _, err := s.lock(ctx, tx, id); err != nil {
			return err
		}
		var err error
		if overlap > 0 {
			_, err = tx.ExecContext(ctx, `UPDATE webhook_endpoints SET old_sealed = secret_sealed, old_until = $1, secret_sealed = $2, updated_at = $3 WHERE id = $4`, until, sealed, now, id)
		} else {
			_, err = tx.ExecContext(ctx, `UPDATE webhook_endpoints SET old_sealed = NULL, old_until = NULL, secret_sealed = $1, updated_at = $2 WHERE id = $3`, sealed, now, id)
		}
		if err != nil {
			return err
		}
		event := of(by, audit.WebhookSecretRotated, id)
		event.Metadata = map[string]any{"overlap_seconds": int64(overlap.Seconds())}
		return audit.Record(ctx, tx, now, event)
	})
	if err != nil {
		return "", time.Time{}, err
	}
	return shown, until, nil
}
