package webhook

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
)

// vectors are made by a program in another language, and read by the tests of
// the SDK, too.
type vectors struct {
	Made []struct {
		Name, Secret, ID, Event, Data, Body, Signature, Legacy string

		CreatedAt string `json:"created_at"`
		Timestamp int64
	}
	Checks []struct {
		Name, Secret, Body string

		OK        bool
		Now       int64
		Tolerance int64 `json:"tolerance_seconds"`
		Headers   map[string]string
	}
}

func readVectors(t *testing.T) (v vectors) {
	t.Helper()
	text, err := os.ReadFile("../../../vectors/webhooks.json")
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil || len(v.Made) == 0 || len(v.Checks) == 0 {
		t.Fatalf("vectors: %v", err)
	}
	return v
}

func TestBodiesAndSignaturesAreThoseOfTheVectors(t *testing.T) {
	for _, v := range readVectors(t).Made {
		t.Run(v.Name, func(t *testing.T) {
			at, err := time.Parse(time.RFC3339Nano, v.CreatedAt)
			if err != nil {
				t.Fatal(err)
			}
			body, err := Body(Delivery{ID: uuid.MustParse(v.ID), Event: v.Event, Data: v.Data, Occurred: at})
			if err != nil || string(body) != v.Body {
				t.Errorf("body %s (%v), want %s", body, err, v.Body)
			}
			signature, legacy := Sign(v.Secret, v.ID, time.Unix(v.Timestamp, 0), []byte(v.Body))
			if signature != v.Signature || legacy != v.Legacy {
				t.Errorf("signatures %s %s, want %s %s", signature, legacy, v.Signature, v.Legacy)
			}
		})
	}
}

func TestListenTakesWhatAReceiverShould(t *testing.T) {
	for _, v := range readVectors(t).Checks {
		if v.Tolerance != 0 {
			continue // listen has one
		}
		h := http.Header{}
		for name, value := range v.Headers {
			h.Set(name, value)
		}
		if err := Verify(v.Secret, h, []byte(v.Body), time.Unix(v.Now, 0)); (err == nil) != v.OK {
			t.Errorf("%s: %v", v.Name, err)
		}
	}
}

func TestTheContractsVector(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 9000, time.UTC)
	body, err := Body(Delivery{
		ID: uuid.MustParse("5f0c2f5e-8a43-4c8e-9d0e-0f6c1d2b3a4c"), Event: "session.created", Occurred: at,
		Data: `{"user_id": "u-é", "session_id": "s-1", "provider": "saml"}`,
	})
	const want = `{"created_at":"2026-05-04T03:02:01.000009Z","data":{"provider":"saml","session_id":"s-1","user_id":"u-\u00e9"},"event":"session.created","id":"5f0c2f5e-8a43-4c8e-9d0e-0f6c1d2b3a4c"}`
	if err != nil || string(body) != want {
		t.Errorf("%s %v", body, err)
	}
	if _, legacy := Sign("hook-secret-1", "x", at, body); legacy != "sha256=1a3457009495a3905cb0bfd71b522e834f1fc681598d83ecea9988dd899317ea" {
		t.Error(legacy)
	}
}
