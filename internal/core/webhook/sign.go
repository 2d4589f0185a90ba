package webhook

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// The headers of a delivery. The webhook-… ones are those of Standard Webhooks.
const (
	headerEvent        = "X-Webhook-Event"
	headerLegacy       = "X-Webhook-Signature"
	headerLegacyBefore = "X-Webhook-Signature-Previous"
	headerID           = "Webhook-Id"
	headerTimestamp    = "Webhook-Timestamp"
	headerSignature    = "Webhook-Signature"
)

// Body is what is sent: compact JSON, keys sorted at every level, everything
// beyond ASCII escaped.
func Body(d Delivery) ([]byte, error) {
	var data map[string]any
	decoder := json.NewDecoder(strings.NewReader(d.Data))
	decoder.UseNumber() // numbers go out as they came
	if err := decoder.Decode(&data); err != nil {
		return nil, fmt.Errorf("data of delivery %s: %w", d.ID, err)
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(map[string]any{"created_at": stamp(d.Occurred), "data": data, "event": d.Event, "id": d.ID.String()})
	if err != nil {
		return nil, fmt.Errorf("body of delivery %s: %w", d.ID, err)
	}
	return ascii(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

// ascii escapes what is beyond printable ASCII. In JSON that stands in strings
// only.
func ascii(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		text = text[n:]
		switch {
		case r < 0x7f:
			out = append(out, byte(r))
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

// stamp is RFC 3339 in UTC, with microseconds if there are any.
func stamp(t time.Time) string {
	if t.Nanosecond() == 0 {
		return t.UTC().Format("2006-01-02T15:04:05Z")
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000Z")
}

const secretPrefix = "whsec_"

// keyOf is the key of the signature: the decoded part of a whsec_… secret, else
// the secret's bytes.
func keyOf(secret string) []byte {
	if encoded, ok := strings.CutPrefix(secret, secretPrefix); ok {
		if key, err := base64.StdEncoding.DecodeString(encoded); err == nil && len(key) > 0 {
			return key
		}
	}
	return []byte(secret)
}

// Sign gives the signature of Standard Webhooks, "v1,…", and the one of the
// header X-Webhook-Signature, "sha256=…", which covers the body alone.
func Sign(secret, id string, at time.Time, body []byte) (signature, legacy string) {
	signed := append([]byte(id+"."+strconv.FormatInt(at.Unix(), 10)+"."), body...)
	return "v1," + base64.StdEncoding.EncodeToString(mac(keyOf(secret), signed)), "sha256=" + hex.EncodeToString(mac([]byte(secret), body))
}

func mac(key, data []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(data)
	return h.Sum(nil)
}

// headers of one attempt. old is the secret before, empty if it does not sign
// any more.
func headers(d Delivery, at time.Time, body []byte, secret, old string) http.Header {
	h := http.Header{}
	signature, legacy := Sign(secret, d.ID.String(), at, body)
	if old != "" {
		before, legacyBefore := Sign(old, d.ID.String(), at, body)
		signature += " " + before
		h.Set(headerLegacyBefore, legacyBefore)
	}
	h.Set("Content-Type", "application/json")
	h.Set("User-Agent", "authd-webhook/1")
	h.Set(headerEvent, d.Event)
	h.Set(headerLegacy, legacy)
	h.Set(headerID, d.ID.String())
	h.Set(headerTimestamp, strconv.FormatInt(at.Unix(), 10))
	h.Set(headerSignature, signature)
	return h
}

// tolerance is how far the timestamp of a delivery may be from the receiver's
// clock.
const tolerance = 5 * time.Minute

// Verify is the check that a receiver makes, for `authd webhook listen`. The
// error says what is wrong, in words.
func Verify(secret string, h http.Header, body []byte, now time.Time) error {
	id, stamp, signatures := h.Get(headerID), h.Get(headerTimestamp), h.Get(headerSignature)
	switch {
	case id == "":
		return fmt.Errorf("the header webhook-id is missing")
	case stamp == "":
		return fmt.Errorf("the header webhook-timestamp is missing")
	case signatures == "":
		return fmt.Errorf("the header webhook-signature is missing")
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return fmt.Errorf("webhook-timestamp is not a number of seconds")
	}
	at := time.Unix(seconds, 0)
	if off := now.Sub(at); off > tolerance || off < -tolerance {
		return fmt.Errorf("webhook-timestamp is more than %d minutes from now", int(tolerance.Minutes()))
	}
	want, _ := Sign(secret, id, at, body)
	for signature := range strings.FieldsSeq(signatures) {
		if hmac.Equal([]byte(signature), []byte(want)) {
			return nil
		}
	}
	return fmt.Errorf("it was made with another secret, or the body was changed")
}
