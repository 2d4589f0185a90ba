package webhook

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/platform/audit"
)

func TestWorkersThatClaimAtOnceShareOutTheDeliveries(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		for range 30 {
			w.endpoint("http://127.0.0.1:1/")
		}
		w.happen(4)
		var mu sync.Mutex
		var wait sync.WaitGroup
		by := map[uuid.UUID]int{}
		for range 6 {
			s := w.service(d, w.Clock)
			wait.Go(func() {
				for range 20 {
					tasks, err := s.claim(t.Context(), room{10, map[uuid.UUID]int{}})
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					for _, task := range tasks {
						by[task.ID]++
					}
					mu.Unlock()
				}
			})
		}
		wait.Wait()
		for id, n := range by {
			if n > 1 {
				t.Errorf("%s was claimed %d times", id, n)
			}
		}
		if len(by) != 120 {
			t.Errorf("%d of 120 deliveries were claimed", len(by))
		}
	})
}

func TestALeaseEndsAndTheSlowOnesResultIsDropped(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		r := newReceiver(t, status(http.StatusOK))
		e := w.endpoint(r.URL)
		w.happen(1)
		slow := w.claimed(w.Service)
		if len(slow) != 1 {
			t.Fatalf("%d tasks", len(slow))
		}
		other := w.service(d, w.Clock)
		w.Clock.Advance(w.leaseFor() - time.Microsecond)
		if early := w.claimed(other); len(early) != 0 {
			t.Fatal("the delivery was claimed while its lease ran")
		}
		w.Clock.Advance(time.Microsecond)
		again := w.claimed(other)
		if len(again) != 1 || again[0].ID != slow[0].ID {
			t.Fatalf("after the lease %d tasks are claimed", len(again))
		}
		if _, _, err := w.settle(t.Context(), slow[0], result{status: 500}); err == nil {
			t.Error("the result of the slow worker was written")
		}
		if got, e := w.one(e.ID), w.now(e.ID); got.Status != Pending || got.Attempts != 0 || e.Failures != 0 {
			t.Errorf("after the slow worker: %+v, %+v", got, e)
		}
		if outcome, _, err := other.settle(t.Context(), again[0], result{status: 200, text: "ok"}); err != nil || outcome != "delivered" {
			t.Errorf("%s %v", outcome, err)
		}
		if got := w.one(e.ID); got.Status != Delivered || got.Attempts != 1 || got.ResponseStatus != 200 || got.ResponseBody != "ok" || got.LastAttempted.IsZero() {
			t.Errorf("%+v", got)
		}
		w.Clock.Advance(24 * time.Hour)
		if more := w.claimed(other); len(more) != 0 {
			t.Error("a delivered one was claimed again")
		}
	})
}

func TestATaskThatIsTooOldIsNotSent(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	r := newReceiver(t, status(http.StatusOK))
	e := w.endpoint(r.URL)
	w.happen(1)
	task := w.claimed(w.Service)[0]
	task.deadline = time.Now()
	w.work(t.Context(), task)
	if got := w.one(e.ID); len(r.seen()) != 0 || got.Status != Pending || got.Attempts != 0 {
		t.Errorf("%d requests, %+v", len(r.seen()), got)
	}
	w.Clock.Advance(w.leaseFor())
	if w.deliver(); len(r.seen()) != 1 {
		t.Error("it did not come again after its lease")
	}
}

func TestOneEndpointDoesNotTakeEverySender(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		busy, calm := w.endpoint("http://127.0.0.1:1/", "session.created"), w.endpoint("http://127.0.0.1:1/", "user.deleted")
		w.happen(20)
		w.Clock.Advance(time.Second)
		w.happen(1, audit.UserDeleted)
		count := func(tasks []task) map[uuid.UUID]int {
			of := map[uuid.UUID]int{}
			for _, task := range tasks {
				of[task.Endpoint]++
			}
			return of
		}
		if of := count(w.claimed(w.Service)); of[busy.ID] != perEndpoint || of[calm.ID] != 1 {
			t.Errorf("claimed by endpoint: %v", of)
		}
		tasks, err := w.claim(t.Context(), room{60, map[uuid.UUID]int{busy.ID: 3}})
		if of := count(tasks); err != nil || of[busy.ID] != 1 {
			t.Errorf("with 3 of 4 at work: %v %v", of, err)
		}
		tasks, err = w.claim(t.Context(), room{60, map[uuid.UUID]int{busy.ID: perEndpoint}})
		if err != nil || len(tasks) != 0 {
			t.Errorf("with 4 of 4 at work: %d %v", len(tasks), err)
		}
		tasks, err = w.claim(t.Context(), room{2, map[uuid.UUID]int{}})
		if err != nil || len(tasks) != 2 {
			t.Errorf("with 2 senders free: %d %v", len(tasks), err)
		}
	})
}

func TestAFailingEndpointGetsOneAtATime(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		e := w.endpoint("http://127.0.0.1:1/")
		w.happen(10)
		w.write(func(tx *db.Tx) error {
			_, err := tx.ExecContext(t.Context(), `UPDATE webhook_endpoints SET failures = $1 WHERE id = $2`, breakerAt, e.ID)
			return err
		})
		if tasks := w.claimed(w.Service); len(tasks) != 1 {
			t.Errorf("%d are claimed", len(tasks))
		}
		if tasks, err := w.claim(t.Context(), room{60, map[uuid.UUID]int{e.ID: 1}}); err != nil || len(tasks) != 0 {
			t.Errorf("%d more are claimed (%v)", len(tasks), err)
		}
	})
}

func TestAnIdleWorkerWritesNothing(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	e := w.endpoint("http://127.0.0.1:1/")
	w.happen(1)
	_ = w.claimed(w.Service) // leased: nothing is due
	tx, err := w.DB.Writer().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if tasks, err := w.claim(ctx, room{senders, map[uuid.UUID]int{}}); err != nil || len(tasks) != 0 { // would wait for the writer
		t.Errorf("%d %v", len(tasks), err)
	}
	_ = e
}

// Two whole workers, on real databases: every delivery arrives, and no two
// requests of one id are there at once.
func TestTwoWorkersNeverSendOneDeliveryAtTheSameTime(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		var mu sync.Mutex
		now, times := map[string]int{}, map[string]int{}
		r := newReceiver(t, func(_ http.ResponseWriter, req *http.Request) {
			id := req.Header.Get("webhook-id")
			mu.Lock()
			times[id]++
			if now[id]++; now[id] > 1 {
				t.Errorf("%s is sent twice at once", id)
			}
			mu.Unlock()
			time.Sleep(time.Millisecond) // the receiver's own work
			mu.Lock()
			now[id]--
			mu.Unlock()
		})
		const endpoints, events = 8, 30
		for range endpoints {
			w.endpoint(r.URL)
		}
		w.happen(events)
		ctx, stop := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		for range 2 {
			s := w.service(d, (*clock.Clock)(nil))
			wait.Go(func() { s.Run(ctx) })
		}
		until(t, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(times) == endpoints*events
		})
		stop()
		wait.Wait()
		for id, n := range times {
			if n != 1 {
				t.Errorf("%s came %d times", id, n)
			}
		}
		var delivered int
		if err := d.Read().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM webhook_deliveries WHERE status = 'delivered'`).Scan(&delivered); err != nil || delivered != endpoints*events {
			t.Errorf("%d are delivered (%v)", delivered, err)
		}
	})
}

// until polls, with a bound that only a broken program reaches.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen within a minute")
		}
		<-tick.C
	}
}

func TestAStoppingWorkerFinishesWhatItBegan(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		began, stopped := make(chan struct{}), make(chan struct{})
		r := newReceiver(t, func(http.ResponseWriter, *http.Request) {
			close(began)
			<-stopped
		})
		e := w.endpoint(r.URL)
		w.happen(1)
		ctx, stop := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() { w.Run(ctx) })
		<-began
		stop()
		close(stopped)
		wait.Wait()
		if got := w.one(e.ID); got.Status != Delivered {
			t.Errorf("%+v", got)
		}
	})
}
