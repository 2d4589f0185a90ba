package webhook

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

func TestAFailedDeliveryIsTriedAgainOnScheduleAndThenGivenUp(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTeapot)
			io.WriteString(w, "no")
		})
		e := w.endpoint(r.URL)
		w.happen(1)
		for i, want := range []time.Duration{time.Minute, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour} {
			if n := w.deliver(); n != 1 {
				t.Fatalf("attempt %d: %d attempts", i+1, n)
			}
			got := w.one(e.ID)
			wait := got.NextRetry.Sub(w.Clock.Now())
			if got.Status != Failed || got.Attempts != int64(i+1) || wait < want*9/10 || wait > want*11/10 {
				t.Errorf("after attempt %d: %+v, next in %v, want %v ± 10%%", i+1, got, wait, want)
			}
			if got.ResponseStatus != http.StatusTeapot || got.ResponseBody != "no" || !got.LastAttempted.Equal(w.Clock.Now()) {
				t.Errorf("after attempt %d: %+v", i+1, got)
			}
			w.Clock.Advance(wait - time.Microsecond)
			if n := w.deliver(); n != 0 {
				t.Errorf("attempt %d came too early", i+2)
			}
			w.Clock.Advance(time.Microsecond)
		}
		if n := w.deliver(); n != 1 {
			t.Fatalf("%d attempts", n)
		}
		if got := w.one(e.ID); got.Status != Abandoned || got.Attempts != 7 || !got.NextRetry.IsZero() {
			t.Errorf("at the end: %+v", got)
		}
		failed := w.recorded(audit.WebhookFailed)
		if len(failed) != 1 || failed[0]["failure"] != "delivery_abandoned" || failed[0]["attempt_count"] != 7.0 || failed[0]["response_status"] != 418.0 || failed[0]["event_type"] != "session.created" {
			t.Errorf("recorded: %v", failed)
		}
		seen := r.seen()
		if len(seen) != 7 {
			t.Fatalf("%d requests", len(seen))
		}
		for i, s := range seen {
			if s.header.Get("webhook-id") != w.one(e.ID).ID.String() || string(s.body) != string(seen[0].body) {
				t.Errorf("request %d has another id or body", i+1)
			}
			if i > 0 && s.header.Get("webhook-timestamp") == seen[i-1].header.Get("webhook-timestamp") {
				t.Errorf("request %d has the timestamp of the one before", i+1)
			}
		}
	})
}

func TestADeliveryHasItsHeadersAndIsRecorded(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		r := newReceiver(t, status(http.StatusNoContent))
		e := w.endpoint(r.URL + "/hooks")
		w.happen(1)
		w.deliver()
		got, sent := w.one(e.ID), r.seen()
		if len(sent) != 1 || got.Status != Delivered || got.Attempts != 1 || got.ResponseStatus != 204 {
			t.Fatalf("%+v, %d requests", got, len(sent))
		}
		h := sent[0].header
		want := map[string]string{
			"Content-Type": "application/json", "User-Agent": "authd-webhook/1", "X-Webhook-Event": "session.created", "Webhook-Id": got.ID.String(),
			"Webhook-Timestamp": fmt.Sprint(w.Clock.Now().Unix()), "Content-Length": fmt.Sprint(len(sent[0].body)),
			"X-Webhook-Signature-Previous": "", "Cookie": "", "Authorization": "", "Accept-Encoding": "",
		}
		for name, value := range want {
			if h.Get(name) != value {
				t.Errorf("%s is %q, want %q", name, h.Get(name), value)
			}
		}
		if err := Verify("hook-secret-1", h, sent[0].body, w.Clock.Now()); err != nil || len(h.Get("X-Webhook-Signature")) != 71 {
			t.Errorf("%v, %s", err, h.Get("X-Webhook-Signature"))
		}
		if want := `{"created_at":"2026-03-01T12:00:00.123456Z","data":{"session_id":"s-1","user_id":"u-\u00e9"},"event":"session.created","id":"` + got.ID.String() + `"}`; string(sent[0].body) != want {
			t.Errorf("body %s, want %s", sent[0].body, want)
		}
		delivered := w.recorded(audit.WebhookDelivered)
		if len(delivered) != 1 || delivered[0]["delivery_id"] != got.ID.String() || delivered[0]["endpoint_id"] != e.ID.String() || delivered[0]["response_status"] != 204.0 {
			t.Errorf("recorded: %v", delivered)
		}
	})
}

func TestTheBreakerOpensAfterFiveFailuresInARow(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		answer := http.StatusInternalServerError
		r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(answer) })
		e := w.endpoint(r.URL)
		w.happen(5)
		if n := w.deliver(); n != 5 {
			t.Fatalf("%d attempts", n)
		}
		if got := w.now(e.ID); got.Failures != 5 || !got.FailingSince.Equal(noon) || !got.Active {
			t.Errorf("%+v", got)
		}
		w.happen(3)
		for i, wait := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 10 * time.Minute, 10 * time.Minute} {
			w.Clock.Advance(wait - time.Microsecond)
			if n := w.deliver(); n != 0 {
				t.Errorf("%d attempts while the breaker is open for the %d. time", n, i+1)
			}
			w.Clock.Advance(time.Microsecond)
			if n := w.deliver(); n != 1 {
				t.Errorf("%d attempts when it has been open for %v", n, wait)
			}
		}
		answer = http.StatusOK
		w.Clock.Advance(24 * time.Hour)
		w.deliver()
		if got := w.now(e.ID); got.Failures != 0 || !got.FailingSince.IsZero() {
			t.Errorf("after a success: %+v", got)
		}
		for _, delivery := range w.all(e.ID) {
			if delivery.Status != Delivered {
				t.Errorf("%+v", delivery)
			}
		}
	})
}

func TestAnEndpointThatFailsForThreeDaysIsSwitchedOff(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		bad := w.endpoint(newReceiver(t, status(http.StatusBadGateway)).URL, "session.created")
		w.happen(1)
		w.deliver()
		w.Clock.Advance(disableAfter - time.Microsecond)
		w.deliver()
		if got := w.now(bad.ID); !got.Active || got.Failures != 2 {
			t.Fatalf("a moment too early: %+v", got)
		}
		w.Clock.Advance(time.Microsecond)
		w.happen(3)
		task := w.claimed(w.Service)[0]
		w.work(t.Context(), task)
		got := w.now(bad.ID)
		if got.Active || got.DisabledWhy != DisabledFailing || !got.FailingSince.Equal(noon) {
			t.Errorf("%+v", got)
		}
		for _, delivery := range w.all(bad.ID) {
			if delivery.Status != Abandoned || !delivery.NextRetry.IsZero() {
				t.Errorf("%+v", delivery)
			}
		}
		disabled := w.recorded(audit.WebhookDisabled)
		if len(disabled) != 1 || disabled[0]["endpoint_id"] != bad.ID.String() || disabled[0]["failing_since"] != "2026-03-01T12:00:00.123456Z" {
			t.Errorf("recorded: %v", disabled)
		}
		w.happen(1)
		w.Clock.Advance(24 * time.Hour)
		if n := w.deliver(); n != 0 || len(w.all(bad.ID)) != 4 {
			t.Errorf("it got %d attempts and has %d deliveries", n, len(w.all(bad.ID)))
		}
		on := true
		if e, err := w.Update(t.Context(), system, bad.ID, Patch{Active: &on}); err != nil || !e.Active || e.Failures != 0 || !e.FailingSince.IsZero() || e.DisabledWhy != "" {
			t.Errorf("switched on again: %+v %v", e, err)
		}
		if got := w.now(bad.ID); !got.Active || got.Failures != 0 || !got.FailingSince.IsZero() || got.DisabledWhy != "" {
			t.Errorf("switched on again it is stored as %+v", got)
		}
	})
}

func TestAnAddressThatBecameUnsafeIsGivenUpAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		r := newReceiver(t, status(http.StatusOK))
		e := w.endpoint(r.URL)
		w.happen(1)
		w.Guard = &Guard{}
		w.Client = NewClient(w.Guard)
		w.deliver()
		got := w.one(e.ID)
		if got.Status != Abandoned || got.Attempts != 0 || got.ResponseStatus != 0 || len(r.seen()) != 0 {
			t.Errorf("%+v, %d requests", got, len(r.seen()))
		}
		failed := w.recorded(audit.WebhookFailed)
		if len(failed) != 1 || failed[0]["failure"] != "invalid_webhook_url" || failed[0]["attempt_count"] != 0.0 {
			t.Errorf("recorded: %v", failed)
		}
		if e := w.now(e.ID); e.Failures != 0 {
			t.Errorf("%+v", e)
		}
	})
}

func TestAReceiverMayAskForMoreTime(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	for _, tt := range []struct {
		status      int
		after       string
		least, most time.Duration
	}{
		{429, "120", 2 * time.Minute, 2 * time.Minute},
		{503, noon.Add(10 * time.Minute).Truncate(time.Second).Format(http.TimeFormat), 9 * time.Minute, 10 * time.Minute},
		{503, "999999", 24 * time.Hour, 24 * time.Hour},
		{503, "1", 54 * time.Second, 66 * time.Second}, // the schedule's is longer
		{503, "-5", 54 * time.Second, 66 * time.Second},
		{503, "soon", 54 * time.Second, 66 * time.Second},
		{500, "7200", 54 * time.Second, 66 * time.Second},
	} {
		r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", tt.after)
			w.WriteHeader(tt.status)
		})
		e := w.endpoint(r.URL, "session.created")
		w.happen(1)
		w.deliver()
		if wait := w.all(e.ID)[0].NextRetry.Sub(w.Clock.Now()); wait < tt.least || wait > tt.most {
			t.Errorf("%d with Retry-After %s: the next attempt is in %v", tt.status, tt.after, wait)
		}
		if _, err := w.Delete(t.Context(), system, e.ID); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatAnAnswerLeavesBehind(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	w.Timeout = 300 * time.Millisecond
	w.BodyChars = 10
	inside := newReceiver(t, status(http.StatusOK))
	answer := func(act func(w http.ResponseWriter, r *http.Request)) string { return newReceiver(t, act).URL }
	hijack := func(act func(c net.Conn)) string {
		return answer(func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			act(c)
			c.Close()
		})
	}
	tlsServer := httptest.NewTLSServer(http.HandlerFunc(status(http.StatusOK)))
	defer tlsServer.Close()
	closed := httptest.NewServer(nil)
	closed.Close()
	for _, tt := range []struct {
		says, url string
		status    int64
		text      string
		delivered bool
	}{
		{"a success", answer(status(201)), 201, "", true},
		{"a redirect", answer(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, inside.URL, http.StatusTemporaryRedirect)
		}), 307, "", false},
		{"text beyond what is kept", answer(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "äöü€😀"+strings.Repeat("x", 100))
		}), 200, "äöü€😀xxxxx", true},
		{"bytes that are no text", answer(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "a\x00b\xff\xfec") }), 200, "ab\ufffdc", true},
		{"a success whose body breaks off", hijack(func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf") }), 200, "half", true},
		{"nothing", hijack(func(net.Conn) {}), 0, "connection reset", false},
		{"what is no HTTP", hijack(func(c net.Conn) { io.WriteString(c, "220 smtp.example.com ESMTP\r\n") }), 0, "no valid answer", false},
		{"endless headers", hijack(func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n")
		}), 0, "no valid answer", false},
		{"silence", answer(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), 0, "timeout", false},
		{"a certificate of nobody", tlsServer.URL, 0, "certificate is not valid", false},
		{"no listener", closed.URL, 0, "connection refused", false},
		{"TLS asked of HTTP", strings.Replace(answer(status(200)), "http://", "https://", 1), 0, "no valid answer", false},
	} {
		t.Run(tt.says, func(t *testing.T) {
			e := w.endpoint(tt.url, "session.created")
			w.happen(1)
			w.deliver()
			got := w.one(e.ID)
			if got.ResponseStatus != tt.status || !strings.HasPrefix(got.ResponseBody, tt.text) || (got.Status == Delivered) != tt.delivered || !utf8.ValidString(got.ResponseBody) {
				t.Errorf("%+v", got)
			}
			if tt.text != "" && got.ResponseBody != tt.text {
				t.Errorf("kept %q, want %q", got.ResponseBody, tt.text)
			}
			if _, err := w.Delete(t.Context(), system, e.ID); err != nil {
				t.Fatal(err)
			}
		})
	}
	if len(inside.seen()) != 0 {
		t.Error("a redirect was followed")
	}
}

func TestAHugeAnswerIsNotRead(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	ended := make(chan int, 1)
	e := w.endpoint(newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
		sent, block := 0, make([]byte, 1<<20)
		for sent < 1<<30 {
			n, err := w.Write(block)
			if sent += n; err != nil {
				break
			}
		}
		ended <- sent
	}).URL)
	w.happen(1)
	w.deliver()
	if sent := <-ended; sent >= 1<<28 {
		t.Errorf("%d MiB were taken", sent>>20)
	}
	if got := w.one(e.ID); got.Status != Delivered {
		t.Errorf("%+v", got)
	}
}
