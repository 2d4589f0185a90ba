package risk

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
)

const (
	chromeNext    = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.2.4 Safari/537.36"
	chromeWindows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
	firefox       = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"
)

func TestWhatStandsOut(t *testing.T) {
	rows := []struct {
		name, ip, agent string
		after           time.Duration
		failures        int
		want            []string
	}{
		{"the usual place", home4, chrome, 0, 0, nil},
		{"a neighbouring address", "198.51.100.200", chrome, 0, 0, nil},
		{"an updated browser", home4, chromeNext, 0, 0, nil},
		{"another network", away, chrome, 0, 0, []string{"new_ip"}},
		{"another browser", home4, firefox, 0, 0, []string{"new_user_agent"}},
		{"another system", home4, chromeWindows, 0, 0, []string{"new_user_agent"}},
		{"two failures before it", home4, chrome, 0, 2, nil},
		{"three failures before it", home4, chrome, 0, 3, []string{"prior_failures"}},
		{"everything", away, firefox, 0, 7, []string{"new_ip", "new_user_agent", "prior_failures"}},
		{"no address", "", chrome, 0, 0, nil},
		{"no user agent", home4, "", 0, 0, nil},
		{"the usual place after 30 days", home4, chrome, 30 * 24 * time.Hour, 0, nil},
		{"and later", home4, chrome, 30*24*time.Hour + time.Second, 0, []string{"new_ip", "new_user_agent"}},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				w := newWorld(t, d)
				w.write(func(tx *db.Tx) error { return w.Forget(t.Context(), tx, w.id, ann) })
				if got := w.use(home4, chrome).Reasons(); got != nil {
					t.Errorf("the first sign-in of the account stands out: %v", got)
				}
				w.Clock.Advance(row.after)
				p := w.look(w.by(row.ip, row.agent))
				if diff := cmp.Diff(row.want, p.Suspicion(row.failures).Reasons()); diff != "" {
					t.Error(diff)
				}
			})
		}
	})
}

func TestWhereAnAccountWasUsedIsKnownFromThenOn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.use(home4, chrome)
		if w.look(w.by(away, firefox)).Known {
			t.Error("a network that it was not used from is known")
		}
		if got := w.use(away, firefox).Reasons(); len(got) != 2 {
			t.Errorf("%v", got)
		}
		if got := w.use(away, firefox).Reasons(); got != nil {
			t.Errorf("the second time from there: %v", got)
		}
		if !w.look(w.by(home4, chrome)).Known {
			t.Error("the first network is forgotten")
		}
		// Each use from there starts the 30 days anew.
		for range 3 {
			w.Clock.Advance(20 * 24 * time.Hour)
			if got := w.use(home4, chrome).Reasons(); got != nil {
				t.Errorf("used within 30 days: %v", got)
			}
		}
		if w.look(w.by(away, firefox)).Known {
			t.Error("a network not used for 60 days is known")
		}
	})
}

func TestPlacesAreBounded(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		for i := range 60 {
			w.Clock.Advance(time.Minute)
			w.use(strange(i), fmt.Sprintf("tool-%d/1.0", i))
		}
		for _, kind := range []string{kindNetwork, kindDevice} {
			if n := w.count(`SELECT COUNT(*) FROM seen WHERE kind = $1`, kind); n != seenMost {
				t.Errorf("%d of kind %s are kept, want %d", n, kind, seenMost)
			}
		}
		if w.look(w.by(strange(9), "")).Known || !w.look(w.by(strange(10), "")).Known || !w.look(w.by(strange(59), "")).Known {
			t.Error("it is not the latest that are kept")
		}
		w.Clock.Advance(31 * 24 * time.Hour)
		w.use(away, firefox)
		if n := w.count(`SELECT COUNT(*) FROM seen`); n != 2 {
			t.Errorf("%d places are kept of which 2 are not too old", n)
		}
	})
}

// A sign-in from a known place writes once an hour.
func TestAKnownPlaceIsNotWrittenEachTime(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		fresh := func() int { return w.count(`SELECT COUNT(*) FROM seen WHERE seen_at = $1`, w.Clock.Now()) }
		w.use(home4, chrome)
		w.Clock.Advance(time.Hour)
		if w.use(home4, chrome); fresh() != 0 {
			t.Error("written within the hour")
		}
		w.Clock.Advance(time.Second)
		if w.use(home4, chrome); fresh() != 2 {
			t.Error("not written after an hour")
		}
	})
}

func TestForgettingAnAccount(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.use(home4, chrome)
		w.say(away, "counted")
		if _, _, err := w.charge(w.from(away), "bob@example.com", Place{}); err != nil {
			t.Fatal(err)
		}
		w.write(func(tx *db.Tx) error { return w.Forget(t.Context(), tx, w.id, ann) })
		if n := w.count(`SELECT COUNT(*) FROM seen`); n != 0 {
			t.Errorf("%d places are left", n)
		}
		if n := w.count(`SELECT COUNT(*) FROM lockouts WHERE account = $1`, w.account(ann)); n != 0 {
			t.Errorf("%d counts are left", n)
		}
		if n := w.count(`SELECT COUNT(*) FROM lockouts`); n != 2 {
			t.Errorf("%d counts of another account are left, want 2", n)
		}
	})
}

func TestManySignInsFromANewPlaceAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		var running sync.WaitGroup
		start := make(chan struct{})
		for i := range 32 {
			running.Go(func() {
				ctx := w.by(strange(i%4), chrome)
				p, err := w.Look(ctx, w.id)
				<-start
				if err == nil {
					err = d.Write(ctx, func(tx *db.Tx) error { return w.Remember(context.WithoutCancel(ctx), tx, noon, w.id, p) })
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		close(start)
		running.Wait()
		if n := w.count(`SELECT COUNT(*) FROM seen`); n != 5 {
			t.Errorf("%d places, want 4 networks and a device", n)
		}
	})
}

func TestADevice(t *testing.T) {
	rows := map[string]string{
		"":            "",
		chrome:        "chrome linux",
		chromeNext:    "chrome linux",
		chromeWindows: "chrome windows",
		firefox:       "firefox linux",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36 Edg/130.0.0.0":    "edge windows",
		"Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36 OPR/115.0.0.0":                "opera windows",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15":            "safari macos",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile Safari/604.1": "safari ios",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 CriOS/130.0 Mobile Safari/604.1":                      "chrome ios",
		"Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36":            "chrome android",
		"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36":                   "chrome chromeos",
		"curl/8.9.1":              "curl other",
		"curl/8.10.0":             "curl other",
		"Go-http-client/2.0":      "go-http-client other",
		"/":                       " other",
		"\xff\xfe/1":              "\ufffd\ufffd other",
		strings.Repeat("a", 5000): strings.Repeat("a", 40) + " other",
	}
	for agent, want := range rows {
		if got := device(agent); got != want {
			t.Errorf("%.60q is %q, want %q", agent, got, want)
		}
	}
}
