package audit

import (
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// encode is the metadata as it is stored. It refuses keys that the catalogue
// does not name: what is not documented is not stored.
func (e Event) encode() (sql.NullString, error) {
	if e.Type.Unstored {
		return sql.NullString{}, fmt.Errorf("audit: %s is not for the log", e.Type.Name)
	}
	if len(e.Metadata) == 0 {
		return sql.NullString{}, nil
	}
	for key := range e.Metadata {
		if !e.Type.allows(key) {
			return sql.NullString{}, fmt.Errorf("audit: %s has no metadata key %q", e.Type.Name, key)
		}
	}
	b, err := json.Marshal(redacted(e.Metadata))
	return text(string(b)), err
}

// subjects is what webhooks call the target of an event.
var subjects = map[string]string{
	"user": "user_id", "session": "session_id", "api_key": "key_id", "oauth_client": "id", "webhook_endpoint": "endpoint_id", "webhook_delivery": "delivery_id",
}

// payload is what webhooks are told of an event, NULL if they are not: its
// metadata, the target, and the user who acted, if no other user is the target.
// Refused acts are not told, but that an account was locked.
func (e Event) payload() (sql.NullString, error) {
	if !e.Type.Webhook || e.Failure != "" && e.Type.Name != UserLocked.Name {
		return sql.NullString{}, nil
	}
	data := map[string]any{}
	if (e.ActorType == "" || e.ActorType == "user") && e.Actor != uuid.Nil {
		data["user_id"] = e.Actor.String()
	}
	if name := subjects[e.TargetType]; name != "" && e.Target != uuid.Nil {
		data[name] = e.Target.String()
	}
	for key, value := range redacted(e.Metadata) {
		data[key] = value
	}
	b, err := json.Marshal(data)
	return text(string(b)), err
}

// secrets are keys whose values are not stored, at any depth.
var secrets = []string{
	"api_key", "authorization", "client_secret", "cookie", "csrf_token", "email", "new_email", "old_email", "otp", "code", "password", "new_password",
	"refresh_token", "access_token", "action_token", "challenge_token", "secret", "token",
}

const hidden = "***REDACTED***"

// redacted is metadata without secrets and without what is an e-mail address.
func redacted(metadata map[string]any) map[string]any {
	clean := make(map[string]any, len(metadata))
	for key, value := range metadata {
		if slices.Contains(secrets, key) {
			value = hidden
		}
		clean[key] = cleaned(value)
	}
	return clean
}

func cleaned(value any) any {
	switch v := value.(type) {
	case map[string]any:
		return redacted(v)
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = cleaned(v[i])
		}
		return list
	case []string:
		list := make([]any, len(v))
		for i := range v {
			list[i] = cleaned(v[i])
		}
		return list
	case string:
		if local, domain, ok := strings.Cut(v, "@"); ok && local != "" && strings.Contains(domain, ".") && !strings.ContainsAny(v, " \t\n/:") {
			return hidden
		}
	}
	return value
}

// Row is an event as it is stored, without who it was.
type Row struct {
	ID            uuid.UUID
	At            time.Time // microseconds
	Type          string
	ActorType     string
	Actor         uuid.NullUUID
	TargetType    sql.NullString
	Target        uuid.NullUUID
	Success       bool
	Failure       sql.NullString
	CorrelationID sql.NullString
	Metadata      sql.NullString // the text as it is stored
	PersonalHash  []byte
	History       bool
}

// Hash is the SHA-256 of everything in the row, each part with its kind and
// length before it, so that no two rows look alike.
func (r Row) Hash() []byte {
	b := append(make([]byte, 0, 512), "authsdk audit row 1"...)
	b = canon(b, 'u', r.ID[:])
	b = canon(b, 't', binary.BigEndian.AppendUint64(nil, uint64(r.At.UnixMicro())))
	b = canon(b, 's', []byte(r.Type))
	b = canon(b, 's', []byte(r.ActorType))
	b = canonID(b, r.Actor)
	b = canonText(b, r.TargetType)
	b = canonID(b, r.Target)
	b = canonBool(b, r.Success)
	b = canonText(b, r.Failure)
	b = canonText(b, r.CorrelationID)
	b = canonText(b, r.Metadata)
	b = canon(b, 'h', r.PersonalHash)
	b = canonBool(b, r.History)
	sum := sha256.Sum256(b)
	return sum[:]
}

// canon appends kind, length (uint32, big-endian) and bytes.
func canon(b []byte, kind byte, part []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, kind), uint32(len(part)))
	return append(b, part...)
}

func canonText(b []byte, s sql.NullString) []byte {
	if !s.Valid {
		return canon(b, '0', nil)
	}
	return canon(b, 's', []byte(s.String))
}

func canonID(b []byte, id uuid.NullUUID) []byte {
	if !id.Valid {
		return canon(b, '0', nil)
	}
	return canon(b, 'u', id.UUID[:])
}

func canonBool(b []byte, yes bool) []byte {
	if yes {
		return canon(b, 'b', []byte{1})
	}
	return canon(b, 'b', []byte{0})
}
