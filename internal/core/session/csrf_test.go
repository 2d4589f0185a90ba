package session

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

// signInBound begins a session that is bound to a CSRF token.
func (w *world) signInBound(csrf string) (Session, Pair) {
	w.t.Helper()
	started, pair, err := w.Begin(w.jo, Start{Provider: "password", CSRF: csrf})
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(func(tx *db.Tx) error { return saved(w.Save(w.t.Context(), tx, started, w.jo)) })
	return started, pair
}

// bindCSRF asks for a CSRF token; a new one is "fresh".
func (w *world) bindCSRF(refresh, presented string) string {
	w.t.Helper()
	got, err := w.BindCSRF(w.t.Context(), refresh, presented, func() string { return "fresh" })
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

func (w *world) csrfHash(id uuid.UUID) (hash string) {
	w.t.Helper()
	if err := w.db.Read().QueryRowContext(w.t.Context(), `SELECT COALESCE(csrf_hash, '') FROM sessions WHERE id = $1`, id).Scan(&hash); err != nil {
		w.t.Fatal(err)
	}
	return hash
}

func TestWhichCSRFTokenABrowserUses(t *testing.T) {
	rows := []struct {
		name      string
		change    func(w *world, s Session, p *Pair) // of a session bound to "first"
		presented string
		want      string
		bound     string // to which the session is bound then
	}{
		{"the session's own", nil, "first", "first", "first"},
		{"another", nil, "second", "fresh", "fresh"},
		{"none", nil, "", "fresh", "fresh"},
		{"without a session", func(_ *world, _ Session, p *Pair) { p.Refresh = "" }, "first", "fresh", "first"},
		{"with rubbish for a session", func(_ *world, _ Session, p *Pair) { p.Refresh = "rt_rubbish" }, "first", "fresh", "first"},
		{"with a used refresh token", func(w *world, _ Session, p *Pair) { w.mustRotate(w.mustRotate(p.Refresh).Refresh) }, "first", "first", "first"},
		{"another, with a used refresh token", func(w *world, _ Session, p *Pair) { w.mustRotate(w.mustRotate(p.Refresh).Refresh) }, "second", "fresh", "first"},
		{"of a session that never had one", func(w *world, s Session, _ *Pair) {
			w.change(`UPDATE sessions SET csrf_hash = NULL WHERE id = $1`, s.ID)
		}, "", "fresh", "fresh"},
		{"of a session that has ended", func(w *world, s Session, _ *Pair) {
			w.change(`UPDATE sessions SET revoked_at = $1 WHERE id = $2`, noon, s.ID)
		}, "first", "fresh", "first"},
		{"of a session that has expired", func(w *world, _ Session, _ *Pair) { w.clock.Advance(settings.RefreshTTL) }, "first", "fresh", "first"},
		{"of a deactivated account", func(w *world, _ Session, _ *Pair) {
			w.change(`UPDATE users SET is_active = FALSE WHERE id = $1`, w.jo.ID)
		}, "first", "fresh", "first"},
	}
	each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				w := newWorld(t, d)
				started, pair := w.signInBound("first")
				if row.change != nil {
					row.change(w, started, &pair)
				}
				if got := w.bindCSRF(pair.Refresh, row.presented); got != row.want {
					t.Errorf("%q, want %q", got, row.want)
				}
				if got := w.csrfHash(started.ID); got != secret.Hash(row.bound) {
					t.Errorf("the session is not bound to %q: %s", row.bound, got)
				}
				if reason := w.ended(started.ID); reason != "" {
					t.Errorf("the session ended: %s", reason)
				}
			})
		}
	})
}

func TestACookieSessionNeedsItsCSRFToken(t *testing.T) {
	rows := []struct {
		name string
		csrf CSRF
		bare bool // the session has none
		want string
	}{
		{"the right one", CSRF{true, "right"}, false, ""},
		{"another", CSRF{true, "wrong"}, false, "invalid_csrf_token"},
		{"none", CSRF{true, ""}, false, "invalid_csrf_token"},
		{"any, of a session without", CSRF{true, "right"}, true, "invalid_csrf_token"},
		{"none, of a session without", CSRF{true, ""}, true, "invalid_csrf_token"},
		{"its hash", CSRF{true, secret.Hash("right")}, false, "invalid_csrf_token"},
		{"a refresh token that came otherwise", CSRF{}, false, ""},
	}
	each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				w := newWorld(t, d)
				csrf := "right"
				if row.bare {
					csrf = ""
				}
				started, pair := w.signInBound(csrf)
				next, err := w.Rotate(t.Context(), pair.Refresh, row.csrf)
				if slug(err) != row.want || (next == Pair{}) != (err != nil) {
					t.Errorf("refresh: %v", err)
				}
				if err == nil {
					pair = next
				}
				if err := w.Logout(t.Context(), pair.Access, pair.Refresh, row.csrf); slug(err) != row.want {
					t.Errorf("sign out: %v", err)
				}
				want := map[string]string{"": ReasonLogout, "invalid_csrf_token": ""}[row.want]
				if got := w.ended(started.ID); got != want {
					t.Errorf("the session ended: %q, want %q", got, want)
				}
			})
		}
	})
}

// A forged request must not end a session by using an old token, either.
func TestAUsedTokenWithoutItsCSRFTokenIsNoTheft(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		started, pair := w.signInBound("right")
		w.mustRotate(w.mustRotate(pair.Refresh).Refresh)
		if _, err := w.Rotate(t.Context(), pair.Refresh, CSRF{true, "wrong"}); slug(err) != "invalid_csrf_token" {
			t.Error(err)
		}
		if reason := w.ended(started.ID); reason != "" {
			t.Errorf("the session ended: %s", reason)
		}
	})
}

func TestTheCSRFTokenOfACaller(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		_, pair := w.signInBound("first")
		_, bare := w.signInBound("")
		other := w.service(replica(t, d), w.newFeed(d), settings)
		bound := func(s *Service, access, csrf string) bool {
			t.Helper()
			if err := w.feed.Read(t.Context()); err != nil { // so that its cache is asked
				t.Fatal(err)
			}
			id, err := s.Check(t.Context(), access)
			if err != nil {
				t.Fatal(err)
			}
			ok, err := s.Bound(t.Context(), id, csrf)
			if err != nil {
				t.Fatal(err)
			}
			return ok
		}
		for _, s := range []*Service{w.Service, other} {
			if !bound(s, pair.Access, "first") || bound(s, pair.Access, "second") || bound(s, pair.Access, "") {
				t.Error("the session's token is good, and nothing else")
			}
			if bound(s, bare.Access, "first") || bound(s, bare.Access, "") {
				t.Error("a session without a token has none that is good")
			}
		}
		// Another replica hands a new one out; the cache here knows the old one.
		got, err := other.BindCSRF(t.Context(), pair.Refresh, "", func() string { return "second" })
		if err != nil || got != "second" {
			t.Fatal(got, err)
		}
		if id, err := w.Check(t.Context(), pair.Access); err != nil || id.CSRFHash != secret.Hash("first") {
			t.Fatalf("the cache is to know the old token here: %v, %v", id, err)
		}
		if bound(w.Service, pair.Access, "third") || !bound(w.Service, pair.Access, "second") {
			t.Error("the new token is good at once, everywhere")
		}
		if bound(w.Service, pair.Access, "first") || bound(other, pair.Access, "first") {
			t.Error("the old one is good though its replacement was used")
		}
		w.change(`DELETE FROM sessions`)
		id, err := w.Check(t.Context(), pair.Access) // from the cache
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := w.Bound(t.Context(), id, "third"); ok || err != nil {
			t.Errorf("of a session that is gone: %t, %v", ok, err)
		}
	})
}

func TestSavingASessionWhoseAccountChanged(t *testing.T) {
	rows := []struct {
		name, change string
		saved        bool
	}{
		{"nothing", `UPDATE users SET updated_at = created_at WHERE id = $1`, true},
		{"what its tokens say", `UPDATE users SET epoch = epoch + 1 WHERE id = $1`, false},
		{"it is deactivated", `UPDATE users SET is_active = FALSE WHERE id = $1`, false},
		{"it is deleted", `UPDATE users SET deleted_at = created_at WHERE id = $1`, false},
	}
	each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				w := newWorld(t, d)
				started, _, err := w.Begin(w.jo, Start{Provider: "password", CSRF: "csrf", Suspicious: []string{"new_ip", "prior_failures"}})
				if err != nil {
					t.Fatal(err)
				}
				w.change(row.change, w.jo.ID)
				var ok bool
				w.write(func(tx *db.Tx) (err error) {
					ok, err = w.Save(t.Context(), tx, started, w.jo)
					return err
				})
				got, _, found, err := load(t.Context(), d.Read(), started.ID)
				if err != nil || ok != row.saved || found != row.saved {
					t.Fatalf("saved: %t, found: %t, %v", ok, found, err)
				}
				if !found {
					return
				}
				var suspicious bool
				var reasons string
				err = d.Read().QueryRowContext(t.Context(), `SELECT is_suspicious, suspicious_reasons FROM sessions WHERE id = $1`, started.ID).Scan(&suspicious, &reasons)
				if err != nil || !suspicious || reasons != `["new_ip","prior_failures"]` || got.CSRFHash != secret.Hash("csrf") {
					t.Errorf("%t, %s, %s, %v", suspicious, reasons, got.CSRFHash, err)
				}
			})
		}
	})
}

func TestEndingAllSessionsOfAnAccount(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		end := func(keep uuid.UUID) (ended []uuid.UUID) {
			t.Helper()
			w.write(func(tx *db.Tx) (err error) {
				ended, err = EndAll(t.Context(), tx, noon, w.jo.ID, keep, ReasonPasswordChange)
				return err
			})
			return ended
		}
		first, _ := w.signIn()
		second, _ := w.signIn()
		kept, _ := w.signIn()
		if code := w.logout("", func() string { _, p := w.signIn(); return p.Refresh }()); code != "" {
			t.Fatal(code)
		}
		ann := w.jo
		w.jo = w.addUser()
		stranger, _ := w.signIn()
		w.jo = ann
		got := end(kept.ID)
		if !slices.Contains(got, first.ID) || !slices.Contains(got, second.ID) || len(got) != 2 {
			t.Errorf("ended: %v", got)
		}
		for id, want := range map[uuid.UUID]string{first.ID: ReasonPasswordChange, second.ID: ReasonPasswordChange, kept.ID: "", stranger.ID: ""} {
			if got := w.ended(id); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
		if diff := cmp.Diff([]uuid.UUID{kept.ID}, end(uuid.Nil)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]uuid.UUID{}, end(uuid.Nil)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWhichSessionsAreProvedAgain(t *testing.T) {
	rows := []struct {
		name   string
		change func(w *world, s *Session)
		want   bool
	}{
		{"a live one", func(*world, *Session) {}, true},
		{"one that has ended", func(w *world, s *Session) { w.change(`UPDATE sessions SET revoked_at = $1 WHERE id = $2`, noon, s.ID) }, false},
		{"one that has expired", func(w *world, _ *Session) { w.clock.Advance(settings.RefreshTTL) }, false},
		{"one that is not there", func(_ *world, s *Session) { s.ID = uuid.New() }, false},
	}
	each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				w := newWorld(t, d)
				started, pair := w.signIn()
				stored := started.ID
				w.clock.Advance(time.Hour)
				row.change(w, &started)
				var live bool
				w.write(func(tx *db.Tx) (err error) {
					live, err = Reprove(t.Context(), tx, started.ID, w.clock.Now())
					return err
				})
				got, u, _, err := Find(t.Context(), d.Read(), stored)
				if err != nil || live != row.want || got.AuthTime.Equal(w.clock.Now()) != row.want {
					t.Errorf("%t, proved %v, %v", live, got.AuthTime, err)
				}
				if !live {
					return
				}
				access, err := w.Renew(got, u)
				if err != nil || w.claims(access).AuthTime != w.clock.Now().Unix() || w.claims(w.mustRotate(pair.Refresh).Access).AuthTime != w.clock.Now().Unix() {
					t.Errorf("its tokens do not say so: %v", err)
				}
			})
		}
	})
}
