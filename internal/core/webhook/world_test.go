package webhook

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

var (
	noon   = time.Date(2026, 3, 1, 12, 0, 0, 123_456_000, time.UTC)
	ring   = secret.NewRing("webhook-secrets", "test")
	system = audit.By{Type: "system"}
)

// world is a service that may call this machine, with a clock that the test
// moves.
type world struct {
	*Service
	t *testing.T
}

func newWorld(t *testing.T, d *db.DB) *world {
	t.Helper()
	w := &world{t: t}
	w.Service = w.service(d, clock.Set(noon))
	return w
}

// service is one more worker.
func (w *world) service(d *db.DB, c *clock.Clock) *Service {
	guard := &Guard{AllowPrivate: true}
	return &Service{
		DB: d, Clock: c, Log: dbtest.Log, Seal: ring, Guard: guard, Client: NewClient(guard), Timeout: 10 * time.Second, BodyChars: 1000,
	}
}

// endpoint registers one, for every event if none is named.
func (w *world) endpoint(url string, events ...string) Endpoint {
	w.t.Helper()
	e, _, err := w.Create(w.t.Context(), system, New{Name: "orders", URL: url, Secret: "hook-secret-1", Events: events})
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// happen fans n events out and returns their ids.
func (w *world) happen(n int, types ...audit.Type) (ids []uuid.UUID) {
	w.t.Helper()
	if len(types) == 0 {
		types = []audit.Type{audit.SessionCreated}
	}
	var events []audit.Outgoing
	for i := range n {
		id := uuid.Must(uuid.NewV7())
		ids = append(ids, id)
		events = append(events, audit.Outgoing{EventID: id, Type: types[i%len(types)].Name, At: w.Clock.Now(), Data: `{"session_id":"s-1","user_id":"u-é"}`})
	}
	w.fanOut(events)
	return ids
}

func (w *world) fanOut(events []audit.Outgoing) {
	w.t.Helper()
	w.write(func(tx *db.Tx) error { return w.FanOut(w.t.Context(), tx, w.Clock.Now(), events) })
}

func (w *world) write(fn func(tx *db.Tx) error) {
	w.t.Helper()
	if err := w.DB.Write(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// claimed are the tasks of a claim with all senders free.
func (w *world) claimed(s *Service) []task {
	w.t.Helper()
	tasks, err := s.claim(w.t.Context(), room{senders, map[uuid.UUID]int{}})
	if err != nil {
		w.t.Fatal(err)
	}
	return tasks
}

// deliver works everything that is due now, one after the other.
func (w *world) deliver() (attempts int) {
	w.t.Helper()
	for {
		tasks := w.claimed(w.Service)
		if len(tasks) == 0 {
			return attempts
		}
		for _, t := range tasks {
			attempts++
			w.work(w.t.Context(), t)
		}
	}
}

// all are the deliveries to an endpoint, the oldest first.
func (w *world) all(endpoint uuid.UUID) (list []Delivery) {
	w.t.Helper()
	rows, err := w.DB.Read().QueryContext(w.t.Context(), `SELECT `+deliveryColumns+` FROM webhook_deliveries WHERE endpoint_id = $1 ORDER BY id`, endpoint)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		d, err := scanDelivery(rows)
		if err != nil {
			w.t.Fatal(err)
		}
		list = append(list, d)
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	return list
}

// one is the only delivery to an endpoint.
func (w *world) one(endpoint uuid.UUID) Delivery {
	w.t.Helper()
	list := w.all(endpoint)
	if len(list) != 1 {
		w.t.Fatalf("%d deliveries", len(list))
	}
	return list[0]
}

func (w *world) now(id uuid.UUID) Endpoint {
	w.t.Helper()
	e, err := w.Find(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// recorded are the metadata of the audit events of a type, the oldest first.
func (w *world) recorded(t audit.Type) (list []map[string]any) {
	w.t.Helper()
	rows, err := w.DB.Read().QueryContext(w.t.Context(), `SELECT metadata, COALESCE(failure_reason, '') FROM audit_events WHERE event_type = $1 ORDER BY created_at, id`, t.Name)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var text, failure string
		if err := rows.Scan(&text, &failure); err != nil {
			w.t.Fatal(err)
		}
		metadata := map[string]any{}
		if err := json.Unmarshal([]byte(text), &metadata); err != nil {
			w.t.Fatal(err)
		}
		if failure != "" {
			metadata["failure"] = failure
		}
		list = append(list, metadata)
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	return list
}

// receiver takes deliveries and answers what the test says.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	got    []received
	answer func(w http.ResponseWriter, r *http.Request)
}

type received struct {
	header http.Header
	body   []byte
}

func newReceiver(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) *receiver {
	t.Helper()
	r := &receiver{answer: answer}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.got = append(r.got, received{req.Header, body})
		r.mu.Unlock()
		r.answer(w, req)
	}))
	t.Cleanup(r.Close)
	return r
}

func status(code int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func (r *receiver) seen() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received{}, r.got...)
}
