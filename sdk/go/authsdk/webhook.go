package authsdk

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// WebhookTolerance is how far the timestamp of a delivery may be from now, unless
// VerifyWebhook is told otherwise.
const WebhookTolerance = 5 * time.Minute

// ErrWebhook is in every error of [VerifyWebhook]: answer 401 and do nothing.
var ErrWebhook = errors.New("authsdk: not a delivery of the auth service")

// Webhook is a delivery whose signature is good.
type Webhook struct {
	// ID is the same each time a delivery is tried again: remember it, and do
	// what it asks for once.
	ID        string
	Event     string // session.created, user.deleted …
	CreatedAt time.Time
	Data      json.RawMessage // an object; its keys depend on the event
}

// VerifyWebhook checks that a delivery comes from the auth service and is no
// replay. body is exactly what was received, tolerance is [WebhookTolerance] if
// zero, now is the current time:
//
//	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
//	…
//	event, err := authsdk.VerifyWebhook(secret, r.Header, body, 0, time.Now())
//	if err != nil {
//		http.Error(w, "bad signature", http.StatusUnauthorized)
//		return
//	}
//
// While the secret is being rotated deliveries carry two signatures; one of them
// must be good.
func VerifyWebhook(secret string, h http.Header, body []byte, tolerance time.Duration, now time.Time) (Webhook, error) {
	if secret == "" {
		return Webhook{}, badWebhook("the secret is empty")
	}
	id, stamp := h.Get("Webhook-Id"), h.Get("Webhook-Timestamp")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if id == "" || err != nil {
		return Webhook{}, badWebhook("webhook-id or webhook-timestamp is missing or not valid")
	}
	if tolerance == 0 {
		tolerance = WebhookTolerance
	}
	if off := now.Sub(time.Unix(seconds, 0)); off > tolerance || off < -tolerance {
		return Webhook{}, badWebhook("webhook-timestamp is too far from now")
	}
	if !signsWebhook(secret, id, stamp, h.Get("Webhook-Signature"), body) {
		return Webhook{}, badWebhook("no signature in webhook-signature is good")
	}
	var event struct {
		ID        string          `json:"id"`
		Event     string          `json:"event"`
		CreatedAt time.Time       `json:"created_at"`
		Data      json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &event); err != nil || event.ID != id {
		return Webhook{}, badWebhook("the body is not a delivery")
	}
	return Webhook{ID: id, Event: event.Event, CreatedAt: event.CreatedAt, Data: bytes.Clone(event.Data)}, nil
}

// signsWebhook reports whether one of the signatures is the secret's.
func signsWebhook(secret, id, stamp, signatures string, body []byte) bool {
	mac := hmac.New(sha256.New, webhookKey(secret))
	mac.Write([]byte(id + "." + stamp + "."))
	mac.Write(body)
	want := []byte("v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	for signature := range strings.FieldsSeq(signatures) {
		if hmac.Equal([]byte(signature), want) {
			return true
		}
	}
	return false
}

// webhookKey is the decoded part of a whsec_… secret, else the secret's bytes.
func webhookKey(secret string) []byte {
	if encoded, ok := strings.CutPrefix(secret, "whsec_"); ok {
		if key, err := base64.StdEncoding.DecodeString(encoded); err == nil && len(key) > 0 {
			return key
		}
	}
	return []byte(secret)
}

func badWebhook(why string) error { return webhookError(why) }

type webhookError string

func (e webhookError) Error() string { return ErrWebhook.Error() + ": " + string(e) }
func (e webhookError) Unwrap() error { return ErrWebhook }
