package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// Receivers that do everything they should not, beside a good one.
func TestHostileReceiversHarmNobody(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, s *store) {
		v := s.serve(t, private, "WEBHOOK__REQUEST_TIMEOUT_SECONDS=2")
		o := v.admin()
		var ended atomic.Int64 // requests that were never answered, and are over
		never := newTaker(t, func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			ended.Add(1)
		})
		inside := newTaker(t, func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") })
		good := newTaker(t, func(http.ResponseWriter, *http.Request) {})
		reset := newTaker(t, func(w http.ResponseWriter, _ *http.Request) {
			if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
			}
		})
		slow := newTaker(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for {
				w.Write([]byte("x"))
				if w.(http.Flusher).Flush(); r.Context().Err() != nil {
					return
				}
				select {
				case <-tick.C:
				case <-r.Context().Done():
					return
				}
			}
		})
		huge := newTaker(t, func(w http.ResponseWriter, _ *http.Request) {
			block := make([]byte, 1<<20)
			for range 1 << 10 {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
			t.Error("a GiB was read")
		})
		redirect := newTaker(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, inside.URL+"/internal", http.StatusFound)
		})
		stranger := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a certificate of nobody was believed") }))
		stranger.Config.ErrorLog = nil
		defer stranger.Close()

		hooks := map[string]hook{}
		for i := range 16 {
			hooks[fmt.Sprintf("never %d", i)] = v.hook(o, fmt.Sprintf("%s/%d", never.URL, i), "session.created")
		}
		for name, url := range map[string]string{
			"reset": reset.URL, "slow": slow.URL, "huge": huge.URL, "redirect": redirect.URL, "stranger": stranger.URL, "good": good.URL,
		} {
			hooks[name] = v.hook(o, url, "session.created")
		}
		email := v.account()
		const events = 8
		for range events {
			v.login(email)
		}
		await(t, patience, "the good one gets all its events", func() bool { return len(good.all()) >= events })
		if n := len(good.all()); n != events {
			t.Errorf("the good one got %d requests", n)
		}
		for name, h := range hooks {
			var first hookDelivery
			await(t, patience, "the attempts at "+name+" end", func() bool {
				for _, d := range v.deliveries(o, h.ID, "") {
					if d.Attempts > 0 {
						first = d
						return true
					}
				}
				return false
			})
			text := ""
			if first.Body != nil {
				text = *first.Body
			}
			want := map[string]string{"reset": "failed connection reset", "slow": "failed 500", "huge": "delivered 200", "redirect": "failed 302", "stranger": "failed certificate is not valid", "good": "delivered 200"}[name]
			if want == "" {
				want = "failed timeout"
			}
			got := first.Status + " " + text
			if first.Response != nil {
				got = fmt.Sprintf("%s %d", first.Status, *first.Response)
			}
			if got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
		await(t, patience, "every request that was never answered is over", func() bool { return ended.Load() == int64(len(never.all())) })
		if len(inside.all()) != 0 {
			t.Error("something inside was reached")
		}
	})
}
