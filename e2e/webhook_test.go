package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/authsdk/authsdk/e2e/authapi"
)

// private lets webhooks reach the tests' receivers, who are on this machine.
const private = "WEBHOOK__ALLOW_PRIVATE_TARGETS=true"

const hookSecret = "hook-secret-1"

// taker is a receiver of webhooks.
type taker struct {
	*httptest.Server
	mu     sync.Mutex
	got    []delivered
	answer func(w http.ResponseWriter, r *http.Request)
}

type delivered struct {
	header http.Header
	body   []byte
}

func newTaker(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) *taker {
	t.Helper()
	k := &taker{answer: answer}
	k.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		k.mu.Lock()
		k.got = append(k.got, delivered{r.Header, body})
		k.mu.Unlock()
		k.answer(w, r)
	}))
	t.Cleanup(func() {
		k.CloseClientConnections()
		k.Close()
	})
	return k
}

func (k *taker) all() []delivered {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.got)
}

// of are the deliveries of one event.
func (k *taker) of(event string) (list []delivered) {
	for _, d := range k.all() {
		if d.header.Get("X-Webhook-Event") == event {
			list = append(list, d)
		}
	}
	return list
}

func (d delivered) data(t *testing.T) map[string]any {
	t.Helper()
	var body struct{ Data map[string]any }
	if err := json.Unmarshal(d.body, &body); err != nil {
		t.Fatal(err)
	}
	return body.Data
}

// signedWith reports whether one of the signatures is the secret's, as a
// receiver would compute it.
func (d delivered) signedWith(secret string) bool {
	key := []byte(secret)
	if encoded, ok := strings.CutPrefix(secret, "whsec_"); ok {
		key, _ = base64.StdEncoding.DecodeString(encoded)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(d.header.Get("webhook-id") + "." + d.header.Get("webhook-timestamp") + "."))
	mac.Write(d.body)
	return slices.Contains(strings.Fields(d.header.Get("webhook-signature")), "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

func (d delivered) signedOfOldWith(secret string) bool {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(d.body)
	return d.header.Get("X-Webhook-Signature") == "sha256="+hex.EncodeToString(mac.Sum(nil))
}

// hook is a webhook as the API shows it.
type hook struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	URL      string   `json:"url"`
	Events   []string `json:"events"`
	IsActive bool     `json:"is_active"`
	Disabled *string  `json:"disabled_reason"`
	Failures int      `json:"consecutive_failures"`
	Since    *string  `json:"failing_since"`
	OldUntil *string  `json:"old_secret_until"`
	Secret   *string  `json:"secret"`
}

// hookDelivery is a delivery as the API shows it.
type hookDelivery struct {
	ID        string          `json:"id"`
	Endpoint  string          `json:"endpoint_id"`
	Event     string          `json:"event_type"`
	Status    string          `json:"status"`
	Attempts  int             `json:"attempt_count"`
	Last      *string         `json:"last_attempted_at"`
	Next      *string         `json:"next_retry_at"`
	Response  *int            `json:"response_status"`
	Body      *string         `json:"response_body"`
	CreatedAt string          `json:"created_at"`
	Payload   json.RawMessage `json:"payload"`
}

// hook registers a webhook.
func (v *server) hook(o *authapi.Operator, url string, events ...string) (h hook) {
	v.t.Helper()
	v.must(o, &h, "POST", "/admin/webhooks", map[string]any{"name": "orders", "url": url, "secret": hookSecret, "events": events})
	return h
}

func (v *server) must(o *authapi.Operator, into any, method, path string, body any) {
	v.t.Helper()
	if a, err := o.Signed(v.t.Context(), into, method, path, body); err != nil {
		v.t.Fatalf("%s %s: %v (%s)", method, path, err, a)
	}
}

func (v *server) deliveries(o *authapi.Operator, id, query string) []hookDelivery {
	v.t.Helper()
	list, err := authapi.List[hookDelivery](v.t.Context(), o, "/admin/webhooks/"+id+"/deliveries"+query)
	if err != nil {
		v.t.Fatal(err)
	}
	return list
}

func TestWebhooks(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t, private)
		o := v.admin()
		ok := newTaker(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "thanks") })

		var made hook
		v.must(o, &made, "POST", "/admin/webhooks", map[string]any{"name": " orders ", "url": strings.ToUpper(ok.URL[:4]) + ok.URL[4:], "events": []string{"session.created", "session.created"}})
		if made.Name != "orders" || made.URL != ok.URL+"/" || !slices.Equal(made.Events, []string{"session.created"}) || !made.IsActive || made.Secret == nil || !strings.HasPrefix(*made.Secret, "whsec_") {
			t.Errorf("made: %+v", made)
		}
		email := v.account()
		tokens := v.login(email)
		await(t, patience, "the event arrives", func() bool { return len(ok.all()) == 1 })
		_, claims := claims(t, tokens.Access)
		got := ok.all()[0]
		if !got.signedWith(*made.Secret) || !got.signedOfOldWith(*made.Secret) || got.header.Get("X-Webhook-Event") != "session.created" || got.header.Get("User-Agent") != "authd-webhook/1" {
			t.Errorf("headers %v", got.header)
		}
		if data := got.data(t); data["session_id"] != claims["sid"] || data["user_id"] != claims["sub"] || data["provider"] != "password" {
			t.Errorf("data %v", data)
		}
		var list []hookDelivery
		await(t, patience, "the delivery is delivered", func() bool {
			list = v.deliveries(o, made.ID, "?status=delivered&limit=1")
			return len(list) == 1
		})
		if d := list[0]; d.ID != got.header.Get("webhook-id") || d.Attempts != 1 || *d.Response != 200 || *d.Body != "thanks" || d.Next != nil || d.Last == nil || d.Endpoint != made.ID {
			t.Errorf("%+v", d)
		}
		var detail hookDelivery
		v.must(o, &detail, "GET", "/admin/webhooks/"+made.ID+"/deliveries/"+list[0].ID, nil)
		if string(detail.Payload) != string(got.body) {
			t.Errorf("payload %s, sent %s", detail.Payload, got.body)
		}

		// Again by hand, by both ways: the same id and body.
		for i, path := range []string{"/admin/webhooks/deliveries/", "/webhooks/deliveries/"} {
			v.must(o, nil, "POST", path+list[0].ID+"/retry", nil)
			await(t, patience, "it comes again", func() bool { return len(ok.all()) == i+2 })
			if again := ok.all()[i+1]; string(again.body) != string(got.body) || again.header.Get("webhook-id") != list[0].ID {
				t.Errorf("again: %v %s", again.header, again.body)
			}
			await(t, patience, "and is delivered", func() bool { return len(v.deliveries(o, made.ID, "?status=delivered")) == 1 })
		}

		// A new secret beside the old one.
		var rotated hook
		v.must(o, &rotated, "POST", "/admin/webhooks/"+made.ID+"/rotate-secret", nil)
		var queued struct {
			Queued     bool
			DeliveryID string `json:"delivery_id"`
		}
		v.must(o, &queued, "POST", "/admin/webhooks/"+made.ID+"/ping", nil)
		await(t, patience, "the ping arrives", func() bool { return len(ok.of("webhook.test")) == 1 })
		ping := ok.of("webhook.test")[0]
		if !queued.Queued || ping.header.Get("webhook-id") != queued.DeliveryID || !ping.signedWith(*made.Secret) || !ping.signedWith(*rotated.Secret) || rotated.OldUntil == nil || ping.data(t)["endpoint_id"] != made.ID {
			t.Errorf("ping %+v %v %s", queued, ping.header, ping.body)
		}
		v.must(o, &rotated, "POST", "/admin/webhooks/"+made.ID+"/rotate-secret", map[string]any{"secret": hookSecret, "overlap_seconds": 0})
		if rotated.Secret != nil || rotated.OldUntil != nil {
			t.Errorf("%+v", rotated)
		}

		// Off: nothing more comes. On again: it does.
		var changed hook
		v.must(o, &changed, "PATCH", "/admin/webhooks/"+made.ID, map[string]any{"is_active": false, "name": "billing"})
		if changed.IsActive || changed.Name != "billing" || changed.URL != made.URL || changed.Disabled == nil || *changed.Disabled != "operator" {
			t.Errorf("%+v", changed)
		}
		v.must(o, &changed, "PATCH", "/admin/webhooks/"+made.ID, map[string]any{"is_active": true, "events": []string{}})
		if !changed.IsActive || len(changed.Events) != 0 || changed.Disabled != nil {
			t.Errorf("%+v", changed)
		}
		v.must(o, &changed, "GET", "/admin/webhooks/"+made.ID, nil)
		if !changed.IsActive || changed.Name != "billing" {
			t.Errorf("%+v", changed)
		}

		// The paths of old.
		other := hook{}
		v.must(o, &other, "POST", "/webhooks", map[string]any{"name": "old", "url": ok.URL, "secret": hookSecret})
		var plain []hook
		v.must(o, &plain, "GET", "/webhooks", nil)
		if len(plain) != 2 || plain[0].ID != other.ID || other.Secret != nil {
			t.Errorf("%+v", plain)
		}
		var old []hookDelivery
		v.must(o, &old, "GET", "/webhooks/"+made.ID+"/deliveries", nil)
		if len(old) < 2 {
			t.Errorf("%+v", old)
		}
		if page, err := authapi.List[hook](t.Context(), o, "/admin/webhooks?limit=1"); err != nil || len(page) != 2 {
			t.Errorf("%+v %v", page, err)
		}

		// Deleted: what waits is given up.
		bad := newTaker(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
		gone := v.hook(o, bad.URL, "session.created")
		v.login(email)
		await(t, patience, "a delivery fails", func() bool { return len(v.deliveries(o, gone.ID, "?status=failed")) == 1 })
		waiting := v.deliveries(o, gone.ID, "")[0]
		if waiting.Attempts != 1 || waiting.Next == nil || *waiting.Response != 502 {
			t.Errorf("%+v", waiting)
		}
		var removed struct {
			IDs   []string `json:"abandoned_delivery_ids"`
			Count int      `json:"abandoned_delivery_count"`
			ID    string   `json:"endpoint_id"`
		}
		v.must(o, &removed, "DELETE", "/admin/webhooks/"+gone.ID, nil)
		if removed.ID != gone.ID || removed.Count != 1 || !slices.Equal(removed.IDs, []string{waiting.ID}) {
			t.Errorf("%+v", removed)
		}
		a, err := o.Signed(t.Context(), nil, "GET", "/admin/webhooks/"+gone.ID, nil)
		refuses(t, err, http.StatusNotFound, "webhook_not_found")
		_ = a

		// The command line, beside the server.
		if out := v.authd(t, []string{private}, "webhook", "list"); out.ExitCode() != 0 || !strings.Contains(out.Output(), other.ID) || strings.Contains(out.Output(), gone.ID) {
			t.Errorf("webhook list: %s", out.Output())
		}
		if out := v.authd(t, []string{private}, "webhook", "ping", made.ID); out.ExitCode() != 0 {
			t.Errorf("webhook ping: %s", out.Output())
		}
		await(t, patience, "the ping of the command arrives", func() bool { return len(ok.of("webhook.test")) == 2 })
		if out := v.authd(t, nil, "webhook", "create", "inside", "http://127.0.0.1:1/"); out.ExitCode() != 1 || !strings.Contains(out.Output(), "cannot be a webhook") {
			t.Errorf("webhook create: %s", out.Output())
		}
	})
}

// What was registered in another network, or whose name changed its answer, is
// not called.
func TestAnAddressInsideIsNotCalled(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t, private)
		o := v.admin()
		inside := newTaker(t, func(http.ResponseWriter, *http.Request) {})
		h := v.hook(o, inside.URL, "user.deleted")
		v.kill()
		v.settings = append(v.settings, "WEBHOOK__ALLOW_PRIVATE_TARGETS=false")
		v.restart()
		for _, url := range []string{inside.URL, "http://localhost:1/", "http://169.254.169.254/latest", "http://[::1]/", "http://0177.0.0.1/", "http://2130706433/", "ftp://example.com/", "http://jo:pw@example.com/"} {
			_, err := o.Signed(t.Context(), nil, "POST", "/admin/webhooks", map[string]any{"name": "x", "url": url})
			refuses(t, err, http.StatusBadRequest, "invalid_webhook_url")
		}
		v.must(o, nil, "POST", "/admin/webhooks/"+h.ID+"/ping", nil)
		await(t, patience, "the delivery is given up", func() bool { return len(v.deliveries(o, h.ID, "?status=abandoned")) == 1 })
		if d := v.deliveries(o, h.ID, "")[0]; d.Attempts != 0 || len(inside.all()) != 0 {
			t.Errorf("%+v, %d requests", d, len(inside.all()))
		}
		if n := s.count(t, `SELECT COUNT(*) FROM audit_events WHERE event_type = 'webhook.failed' AND failure_reason = 'invalid_webhook_url'`); n != 1 {
			t.Errorf("%d events", n)
		}
	})
}
