package session

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

func TestASessionIsStoredAsItBegan(t *testing.T) {
	rows := []struct {
		name      string
		audiences []string
		settings  Settings
		expires   time.Time
		absolute  time.Time
		aud       []string
	}{
		{"for this service alone", []string{}, settings, noon.AddDate(0, 0, 7), noon.AddDate(0, 0, 30), []string{"auth-service"}},
		{"for another service too", []string{"orders-api"}, settings, noon.AddDate(0, 0, 7), noon.AddDate(0, 0, 30), []string{"auth-service", "orders-api"}},
		{"without an absolute end", nil, Settings{RefreshTTL: time.Hour}, noon.Add(time.Hour), time.Time{}, []string{"auth-service"}},
		{"with an absolute end before the sliding one", nil, Settings{RefreshTTL: time.Hour, AbsoluteTTL: time.Minute}, noon.Add(time.Minute), noon.Add(time.Minute), []string{"auth-service"}},
	}
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				started, pair := w.signInFrom(t.Context(), w.service(d, w.feed, row.settings), row.audiences...)
				got, u, found, err := load(t.Context(), d.Read(), started.ID)
				if err != nil || !found {
					t.Fatal(found, err)
				}
				want := Session{
					ID: started.ID, UserID: w.jo.ID, Provider: "password", Audiences: row.audiences, AuthTime: noon,
					Expires: row.expires, Absolute: row.absolute, rotation: rotation{at: noon},
				}
				if diff := cmp.Diff(want, got, cmp.AllowUnexported(Session{}, rotation{})); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(w.jo, u); diff != "" {
					t.Error(diff)
				}
				if pair.ExpiresIn != accessTTL {
					t.Errorf("the access token is said to live %v", pair.ExpiresIn)
				}
				c := w.claims(pair.Access)
				if diff := cmp.Diff(row.aud, []string(c.Audience)); diff != "" {
					t.Error(diff)
				}
				if c.Subject != w.jo.ID.String() || c.SessionID != started.ID.String() || c.AuthTime != noon.Unix() {
					t.Errorf("%+v", c)
				}
				if code := w.check(pair.Access); code != "" {
					t.Errorf("its access token: %s", code)
				}
				if next := w.claims(w.mustRotate(pair.Refresh).Access); !cmp.Equal(next.Audience, c.Audience) || next.AuthTime != c.AuthTime {
					t.Errorf("after a refresh it is for %v since %d", next.Audience, next.AuthTime)
				}
			})
		}
	})
}

func TestWhereASessionCameFrom(t *testing.T) {
	rows := []struct {
		name  string
		agent string
		want  string // "" is NULL
	}{
		{"a short name", "Firefox/140", "Firefox/140"},
		{"none", "", ""},
		{"a long name is cut", strings.Repeat("x", 600), strings.Repeat("x", 512)},
		{"but not within a character", strings.Repeat("x", 511) + "é", strings.Repeat("x", 511)},
		{"nor within a longer one", strings.Repeat("x", 510) + "𝄞", strings.Repeat("x", 510)},
	}
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				started, _ := w.signInFrom(audit.WithOrigin(t.Context(), audit.Origin{IP: "192.0.2.1", UserAgent: row.agent}), w.Service)
				var ip string
				var agent *string
				err := d.Read().QueryRowContext(t.Context(), `SELECT ip_address, user_agent FROM sessions WHERE id = $1`, started.ID).Scan(&ip, &agent)
				if err != nil {
					t.Fatal(err)
				}
				if ip != "192.0.2.1" || (agent == nil) != (row.want == "") || agent != nil && (*agent != row.want || !utf8.ValidString(*agent)) {
					t.Errorf("%s, %v", ip, agent)
				}
			})
		}
	})
}

func TestWhichAccessTokensAreGood(t *testing.T) {
	rows := []struct {
		name   string
		change func(w *world, s Session, p *Pair) // of a session that began at noon
		want   string
		told   bool // the feed tells, so a session in the cache fares the same
	}{
		{"of a fresh session", func(*world, Session, *Pair) {}, "", true},
		{"within the leeway", func(w *world, _ Session, _ *Pair) { w.clock.Advance(accessTTL + 29*time.Second) }, "", true},
		{"past it", func(w *world, _ Session, _ *Pair) { w.clock.Advance(accessTTL + 31*time.Second) }, "token_expired", true},
		{"that a refresh gave", func(w *world, _ Session, p *Pair) { *p = w.mustRotate(p.Refresh) }, "", true},
		{"from before a refresh", func(w *world, _ Session, p *Pair) { w.mustRotate(p.Refresh) }, "", true},
		{"of a session that has expired", func(w *world, s Session, _ *Pair) {
			w.change(`UPDATE sessions SET expires_at = $1 WHERE id = $2`, noon, s.ID)
		}, "session_expired", false},
		{"of a session about to expire", func(w *world, s Session, _ *Pair) {
			w.change(`UPDATE sessions SET expires_at = $1 WHERE id = $2`, noon.Add(time.Microsecond), s.ID)
		}, "", true},
		{"of a session that was signed out", func(w *world, _ Session, p *Pair) { w.logout("", p.Refresh) }, "session_expired", true},
		{"of a session that another replica ended a moment ago", func(w *world, s Session, _ *Pair) {
			w.change(`UPDATE sessions SET revoked_at = $1, revoke_reason = 'x' WHERE id = $2`, noon, s.ID)
		}, "session_expired", false},
		{"of a session that is gone", func(w *world, s Session, _ *Pair) {
			w.change(`DELETE FROM sessions WHERE id = $1`, s.ID)
		}, "session_expired", false},
		{"of a deactivated account", func(w *world, _ Session, _ *Pair) {
			w.change(`UPDATE users SET is_active = FALSE WHERE id = $1`, w.jo.ID)
		}, "session_expired", false},
		{"of a deleted account", func(w *world, _ Session, _ *Pair) {
			w.change(`UPDATE users SET deleted_at = $1 WHERE id = $2`, noon, w.jo.ID)
		}, "session_expired", false},
		{"from before the address was confirmed", func(w *world, _ Session, _ *Pair) { w.confirm() }, "token_expired", true},
		{"from before it, refreshed since", func(w *world, _ Session, p *Pair) { w.confirm(); *p = w.mustRotate(p.Refresh) }, "", true},
		{"from before a change of role that another replica made", func(w *world, _ Session, _ *Pair) {
			w.change(`UPDATE users SET role = 'admin', epoch = epoch + 1 WHERE id = $1`, w.jo.ID)
		}, "token_expired", false},
		{"signed by a key that was revoked", func(w *world, _ Session, p *Pair) {
			w.revoke(revocation.Key, w.claims(p.Access).KeyID, 0)
		}, "invalid_token", true},
		{"of a session that the feed names", func(w *world, s Session, _ *Pair) {
			w.revoke(revocation.Session, s.ID.String(), 0)
		}, "session_expired", true},
		{"of a user whose tokens the feed ends", func(w *world, _ Session, _ *Pair) {
			w.revoke(revocation.User, w.jo.ID.String(), 2)
		}, "token_expired", true},
		{"of a user whose older tokens the feed ends", func(w *world, _ Session, _ *Pair) {
			w.revoke(revocation.User, w.jo.ID.String(), 1)
		}, "", true},
		{"that names somebody else's session", func(w *world, s Session, p *Pair) {
			p.Access = w.mint(w.addUser().ID.String(), s.ID.String())
		}, "invalid_token", true},
		{"of a user id that is none", func(w *world, s Session, p *Pair) { p.Access = w.mint("service-1", s.ID.String()) }, "invalid_token", true},
		{"of a session id that is none", func(w *world, _ Session, p *Pair) { p.Access = w.mint(w.jo.ID.String(), "1") }, "invalid_token", true},
		{"that is a refresh token", func(_ *world, _ Session, p *Pair) { p.Access = p.Refresh }, "invalid_token", true},
		{"that is empty", func(_ *world, _ Session, p *Pair) { p.Access = "" }, "invalid_token", true},
	}
	each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			for _, cached := range []bool{false, true}[:1+b2i(row.told)] {
				t.Run(row.name+map[bool]string{true: ", checked before"}[cached], func(t *testing.T) {
					w := newWorld(t, d)
					started, pair := w.signIn()
					if cached && w.check(pair.Access) != "" {
						t.Fatal("it is not good to begin with")
					}
					row.change(w, started, &pair)
					if got := w.check(pair.Access); got != row.want {
						t.Errorf("%q, want %q", got, row.want)
					}
				})
			}
		}
	})
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestCheckTellsWhoItIs(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		started, pair := w.signIn("orders-api")
		id, err := w.Check(t.Context(), pair.Access)
		if err != nil {
			t.Fatal(err)
		}
		if id.User != w.jo.ID || id.Session != started.ID || id.Claims.Email != w.jo.Email || len(id.Claims.Audience) != 2 {
			t.Errorf("%+v", id)
		}
	})
}

func TestInAnOutageASessionIsNotCalledExpired(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		_, pair := w.signIn()
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		for name, act := range map[string]func() error{
			"check":   func() error { _, err := w.Check(t.Context(), pair.Access); return err },
			"refresh": func() error { _, err := w.Rotate(t.Context(), pair.Refresh, CSRF{}); return err },
			"logout":  func() error { return w.Logout(t.Context(), "", pair.Refresh, CSRF{}) },
		} {
			if f := fault.From(act()); f.Code.Slug != fault.InternalServerError.Slug { // the transport tells outages apart
				t.Errorf("%s: %s", name, f.Code.Slug)
			}
		}
	})
}
