package audit_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

var (
	errRefused = errors.New("refused")
	noon       = time.Date(2026, 3, 15, 12, 0, 0, 123456000, time.UTC)
	origin     = audit.Origin{IP: "2001:db8::1", UserAgent: "curl/8", CorrelationID: "c-1"}
)

// A row is an event and what stands apart from it, as stored.
type row struct {
	CreatedAt                     time.Time
	Type, ActorType               string
	Actor, Target                 uuid.NullUUID
	TargetType, Failure           sql.NullString
	Success                       bool
	Correlation, Metadata, IP, UA sql.NullString
	hash, salt                    []byte
}

func stored(t *testing.T, d *db.DB) (list []row) {
	t.Helper()
	rows, err := d.Read().QueryContext(t.Context(), `
		SELECT e.created_at, e.event_type, e.actor_type, e.actor_id, e.target_id, e.target_type, e.failure_reason, e.success,
			e.correlation_id, e.metadata, p.ip_address, p.user_agent, e.personal_hash, p.salt
		FROM audit_events e JOIN audit_personal p ON p.event_id = e.id AND p.created_at = e.created_at ORDER BY e.id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var r row
		err := rows.Scan(&r.CreatedAt, &r.Type, &r.ActorType, &r.Actor, &r.Target, &r.TargetType, &r.Failure, &r.Success,
			&r.Correlation, &r.Metadata, &r.IP, &r.UA, &r.hash, &r.salt)
		if err != nil {
			t.Fatal(err)
		}
		r.CreatedAt = r.CreatedAt.UTC()
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

func record(ctx context.Context, d *db.DB, now time.Time, events ...audit.Event) error {
	return d.Write(ctx, func(tx *db.Tx) error { return audit.Record(ctx, tx, now, events...) })
}

func text(s string) sql.NullString { return sql.NullString{String: s, Valid: true} }

func id(u uuid.UUID) uuid.NullUUID { return uuid.NullUUID{UUID: u, Valid: true} }

func TestRecordStoresWhatHappenedAndWhoItWasApart(t *testing.T) {
	actor, target := uuid.New(), uuid.New()
	full := audit.WithOrigin(t.Context(), origin)
	tests := []struct {
		name   string
		ctx    context.Context
		events []audit.Event
		want   []row
	}{
		{"everything is known", full, []audit.Event{{
			Type: audit.LoginSuccess, ActorType: "system", Actor: actor, TargetType: "user", Target: target, Metadata: map[string]any{"provider": "password"},
		}}, []row{{
			Type: "user.login.success", ActorType: "system", Actor: id(actor), TargetType: text("user"), Target: id(target), Success: true,
			Correlation: text("c-1"), Metadata: text(`{"provider":"password"}`), IP: text("2001:db8::1"), UA: text("curl/8"),
		}}},
		{"nothing is known: NULL, never an empty text", t.Context(), []audit.Event{{Type: audit.UserCreated}},
			[]row{{Type: "user.created", ActorType: "user", Success: true}}},
		{"a failure says why", t.Context(), []audit.Event{{Type: audit.LoginFailure, Failure: "invalid_credentials"}},
			[]row{{Type: "user.login.failure", ActorType: "user", Failure: text("invalid_credentials")}}},
		{"several keep their order", t.Context(), []audit.Event{{Type: audit.LoginSuccess}, {Type: audit.SessionCreated}, {Type: audit.TokenIssued}},
			[]row{{Type: "user.login.success", ActorType: "user", Success: true},
				{Type: "session.created", ActorType: "user", Success: true},
				{Type: "token.issued", ActorType: "user", Success: true}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, d *db.DB) {
				if err := record(tt.ctx, d, noon, tt.events...); err != nil {
					t.Fatal(err)
				}
				for i := range tt.want {
					tt.want[i].CreatedAt = noon
				}
				if diff := cmp.Diff(tt.want, stored(t, d), cmp.FilterPath(unexported, cmp.Ignore())); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func unexported(p cmp.Path) bool {
	field, ok := p.Last().(cmp.StructField)
	return ok && strings.ToLower(field.Name()) == field.Name()
}

func TestRecordIsPartOfTheAct(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		err := d.Write(t.Context(), func(tx *db.Tx) error {
			if err := audit.Record(t.Context(), tx, noon, audit.Event{Type: audit.UserCreated}); err != nil {
				return err
			}
			return errRefused
		})
		if !errors.Is(err, errRefused) {
			t.Fatal(err)
		}
		for _, table := range []string{"audit_events", "audit_personal"} {
			var n int
			if err := d.Read().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM `+table).Scan(&n); err != nil || n != 0 {
				t.Errorf("%d rows in %s (%v)", n, table, err)
			}
		}
	})
}

func TestMetadataHoldsOnlyWhatTheCatalogueNames(t *testing.T) {
	d := dbtest.SQLite(t)
	tests := []struct {
		name  string
		event audit.Event
		want  string
	}{
		{"a key of another event", audit.Event{Type: audit.LoginSuccess, Metadata: map[string]any{"kid": "x"}}, `user.login.success has no metadata key "kid"`},
		{"a key that nobody named, beside one that is right", audit.Event{Type: audit.LoginSuccess, Metadata: map[string]any{"provider": "password", "email": "a@b.io"}}, `"email"`},
		{"a value that is not JSON", audit.Event{Type: audit.LoginSuccess, Metadata: map[string]any{"provider": make(chan int)}}, "json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := record(t.Context(), d, noon, audit.Event{Type: audit.UserCreated}, tt.event)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "a@b.io") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if list := stored(t, d); len(list) > 0 {
		t.Errorf("%d events were stored", len(list))
	}
	// Ids are what metadata mostly holds.
	sessions := []uuid.UUID{uuid.New(), uuid.New()}
	err := record(t.Context(), d, noon, audit.Event{Type: audit.SessionRevoked, Metadata: map[string]any{"reason": "logout", "session_ids": sessions}})
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Reason     string      `json:"reason"`
		SessionIDs []uuid.UUID `json:"session_ids"`
	}
	if err := json.Unmarshal([]byte(stored(t, d)[0].Metadata.String), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sessions, got.SessionIDs); diff != "" || got.Reason != "logout" {
		t.Errorf("reason %q: %s", got.Reason, diff)
	}
}

// personalHash is written again here: a chain that others check must not change
// by accident.
func personalHash(salt []byte, fields ...string) []byte {
	b := bytes.Clone(salt)
	for _, f := range fields {
		b = binary.BigEndian.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

func TestThePersonalHashCoversWhatStandsApart(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, from := range []audit.Origin{origin, {}, origin} {
			if err := record(audit.WithOrigin(t.Context(), from), d, noon, audit.Event{Type: audit.LoginSuccess}); err != nil {
				t.Fatal(err)
			}
		}
		list := stored(t, d)
		for _, r := range list {
			if len(r.salt) != 16 || !bytes.Equal(r.hash, personalHash(r.salt, r.IP.String, r.UA.String)) {
				t.Errorf("the hash of %q, %q cannot be made again from a salt of %d bytes", r.IP.String, r.UA.String, len(r.salt))
			}
			others := map[string][]byte{
				"another address":                         personalHash(r.salt, r.IP.String+"1", r.UA.String),
				"another agent":                           personalHash(r.salt, r.IP.String, r.UA.String+" "),
				"a letter moved from one to the other":    personalHash(r.salt, r.IP.String+"c", strings.TrimPrefix(r.UA.String, "c")),
				"another salt":                            personalHash(append(bytes.Clone(r.salt[:15]), r.salt[15]^1), r.IP.String, r.UA.String),
				"the address and the agent the other way": personalHash(r.salt, r.UA.String, r.IP.String),
			}
			for what, other := range others {
				same := what == "the address and the agent the other way" && r.IP == r.UA
				if bytes.Equal(r.hash, other) != same {
					t.Errorf("%s gives the same hash", what)
				}
			}
		}
		if bytes.Equal(list[0].salt, list[2].salt) || bytes.Equal(list[0].hash, list[2].hash) {
			t.Error("two events of one person can be told by their hashes")
		}
	})
}

func TestTheOriginOfAContext(t *testing.T) {
	if got := audit.OriginOf(t.Context()); got != (audit.Origin{}) {
		t.Errorf("outside a request: %v", got)
	}
	inner := audit.WithOrigin(audit.WithOrigin(t.Context(), audit.Origin{IP: "192.0.2.1"}), origin)
	if got := audit.OriginOf(inner); got != origin {
		t.Errorf("got %v, want the innermost", got)
	}
}

func TestTheCatalogueIsInOrder(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range audit.Catalogue {
		switch {
		case seen[e.Name]:
			t.Errorf("%s is there twice", e.Name)
		case e.Name != strings.ToLower(e.Name) || strings.ContainsAny(e.Name, " -") || strings.Count(e.Name, ".") < 1:
			t.Errorf("%q is not named like subject.act", e.Name)
		case !strings.HasSuffix(e.Doc, "."):
			t.Errorf("%s has no sentence that says what happened", e.Name)
		}
		keys := map[string]bool{}
		for _, key := range e.Keys {
			if keys[key] || key == "" || key != strings.ToLower(key) {
				t.Errorf("%s: key %q is empty, repeated or not lower case", e.Name, key)
			}
			keys[key] = true
		}
		seen[e.Name] = true
	}
	if len(seen) < 10 {
		t.Errorf("only %d events", len(seen))
	}
}
