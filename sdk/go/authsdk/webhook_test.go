package authsdk

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"testing"
	"time"
)

// The vectors are those of the server's tests.
func TestWebhooksAreCheckedAsTheVectorsSay(t *testing.T) {
	text, err := os.ReadFile("../../../vectors/webhooks.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Made []struct {
			Name, Secret, ID, Event, Data, Body, Signature string

			CreatedAt time.Time `json:"created_at"`
			Timestamp json.Number
		}
		Checks []struct {
			Name, Secret, Body string

			OK        bool
			Now       int64
			Tolerance time.Duration `json:"tolerance_seconds"`
			Headers   map[string]string
		}
	}
	if err := json.Unmarshal(text, &vectors); err != nil || len(vectors.Made) < 4 || len(vectors.Checks) < 20 {
		t.Fatalf("%d made, %d checks: %v", len(vectors.Made), len(vectors.Checks), err)
	}
	for _, v := range vectors.Checks {
		h := http.Header{}
		for name, value := range v.Headers {
			h.Set(name, value)
		}
		got, err := VerifyWebhook(v.Secret, h, []byte(v.Body), v.Tolerance*time.Second, time.Unix(v.Now, 0))
		switch {
		case v.OK && (err != nil || got.Event != "session.created" || got.ID != h.Get("webhook-id")):
			t.Errorf("%s: %+v %v", v.Name, got, err)
		case !v.OK && (!errors.Is(err, ErrWebhook) || got.ID != ""):
			t.Errorf("%s: %+v %v", v.Name, got, err)
		}
	}
	for _, v := range vectors.Made {
		h := http.Header{"Webhook-Id": {v.ID}, "Webhook-Timestamp": {v.Timestamp.String()}, "Webhook-Signature": {v.Signature}}
		seconds, err := v.Timestamp.Int64()
		if err != nil {
			t.Fatal(err)
		}
		got, err := VerifyWebhook(v.Secret, h, []byte(v.Body), 0, time.Unix(seconds, 0))
		if err != nil || got.Event != v.Event || !got.CreatedAt.Equal(v.CreatedAt) || !json.Valid(got.Data) {
			t.Errorf("%s: %+v %v", v.Name, got, err)
		}
	}
}

func TestAWebhookWithoutASecretOrWithAStrangeBodyIsRefused(t *testing.T) {
	now := time.Unix(1777863721, 0)
	h := http.Header{"Webhook-Id": {"x"}, "Webhook-Timestamp": {"1777863721"}}
	if _, err := VerifyWebhook("", h, nil, 0, now); !errors.Is(err, ErrWebhook) {
		t.Errorf("without a secret: %v", err)
	}
	// Rightly signed (HMAC-SHA256 of "x.1777863721." + body under "hook-secret-1"), but no delivery.
	for _, body := range []string{"", "[]", "{}", `{"id":"y"}`, `{"id":"x","created_at":5}`} {
		signed := h.Clone()
		signed.Set("Webhook-Signature", signOf("hook-secret-1", "x", "1777863721", body))
		if _, err := VerifyWebhook("hook-secret-1", signed, []byte(body), 0, now); !errors.Is(err, ErrWebhook) {
			t.Errorf("body %q: %v", body, err)
		}
	}
}

func signOf(secret, id, stamp, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(id + "." + stamp + "." + body))
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
