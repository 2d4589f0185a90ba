package session

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

// late is just beyond the grace.
const late = grace + time.Microsecond

func TestARefreshMovesTheSessionOn(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		started, pair := w.signIn()
		w.clock.Advance(time.Hour)
		next := w.mustRotate(pair.Refresh)
		if next.Refresh == pair.Refresh || next.Access == pair.Access || next.ExpiresIn != accessTTL {
			t.Errorf("%+v", next)
		}
		if code := w.check(next.Access); code != "" {
			t.Errorf("the new access token: %s", code)
		}
		got, _, _, err := load(t.Context(), d.Read(), started.ID)
		if err != nil {
			t.Fatal(err)
		}
		want := started
		want.rotation = rotation{generation: 1, at: noon.Add(time.Hour)}
		want.Expires = noon.Add(time.Hour + settings.RefreshTTL)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(Session{}, rotation{})); diff != "" {
			t.Error(diff)
		}
		if at := w.lastSeen(started.ID); !at.Equal(noon.Add(time.Hour)) {
			t.Errorf("last seen at %v", at)
		}
		if diff := cmp.Diff(map[string]int{"token.refreshed": 1, "token.issued": 1}, w.audited()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWhenASessionEndsByItself(t *testing.T) {
	const day = 24 * time.Hour
	rows := []struct {
		name     string
		settings Settings
		waits    []time.Duration // between refreshes; the last one is the one looked at
		want     string
	}{
		{"unused for almost the refresh lifetime", settings, []time.Duration{7*day - time.Microsecond}, ""},
		{"unused for the refresh lifetime", settings, []time.Duration{7 * day}, "session_expired"},
		{"unused for it, after a use", settings, []time.Duration{6 * day, 7 * day}, "session_expired"},
		{"used, until just before the absolute end", settings, []time.Duration{6 * day, 6 * day, 6 * day, 6 * day, 6*day - time.Microsecond}, ""},
		{"used, at the absolute end", settings, []time.Duration{6 * day, 6 * day, 6 * day, 6 * day, 6 * day}, "session_expired"},
		{"used for ever, if there is no absolute end", Settings{RefreshTTL: 7 * day},
			[]time.Duration{6 * day, 6 * day, 6 * day, 6 * day, 6 * day, 6 * day, 6 * day, 6 * day}, ""},
	}
	each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				w := newWorld(t, d)
				w.Service = w.service(d, w.feed, row.settings)
				_, pair := w.signIn()
				for i, wait := range row.waits {
					w.clock.Advance(wait)
					next, code := w.rotate(pair.Refresh)
					if last := i == len(row.waits)-1; last && code != row.want || !last && code != "" {
						t.Fatalf("refresh %d: %q, want %q", i+1, code, row.want)
					}
					pair = next
				}
			})
		}
	})
}

func TestARefreshBringsWhatIsTrueNow(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		_, pair := w.signIn()
		w.confirm()
		w.change(`UPDATE users SET role = 'admin', email = 'new@example.com', email_otp_enabled = TRUE WHERE id = $1`, w.jo.ID)
		if code := w.check(pair.Access); code != "token_expired" {
			t.Errorf("the old token: %q", code)
		}
		w.clock.Advance(time.Minute)
		pair = w.mustRotate(pair.Refresh)
		if code := w.check(pair.Access); code != "" {
			t.Errorf("the new token: %q", code)
		}
		c := w.claims(pair.Access)
		if c.Role != "admin" || c.Email != "new@example.com" || !c.EmailVerified || !c.EmailOTPEnabled || c.Epoch != 2 {
			t.Errorf("it says %+v", c)
		}
		if c.AuthTime != noon.Unix() {
			t.Errorf("a refresh is no sign-in, but auth_time is %d", c.AuthTime)
		}
	})
}

func TestWhichSessionsCannotBeRefreshed(t *testing.T) {
	rows := []struct {
		name   string
		change func(w *world, s Session, p *Pair)
		actor  bool
	}{
		{"one that was signed out", func(w *world, _ Session, p *Pair) { w.logout("", p.Refresh) }, true},
		{"one that has expired", func(w *world, _ Session, _ *Pair) { w.clock.Advance(settings.RefreshTTL) }, true},
		{"one of a deactivated account", func(w *world, _ Session, _ *Pair) {
			w.change(`UPDATE users SET is_active = FALSE WHERE id = $1`, w.jo.ID)
		}, true},
		{"one of a deleted account", func(w *world, _ Session, _ *Pair) {
			w.change(`UPDATE users SET deleted_at = $1 WHERE id = $2`, noon, w.jo.ID)
		}, false}, // nothing new is kept of who is gone
		{"one that is gone", func(w *world, s Session, _ *Pair) { w.change(`DELETE FROM sessions WHERE id = $1`, s.ID) }, false},
		{"one that never was", func(_ *world, _ Session, p *Pair) { p.Refresh = encodeRefresh(ring, refreshToken{session: uuid.New()}) }, false},
	}
	each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				w := newWorld(t, d)
				started, pair := w.signIn()
				row.change(w, started, &pair)
				before := w.audited()["token.refreshed: session_expired"]
				if _, code := w.rotate(pair.Refresh); code != "session_expired" {
					t.Errorf("%q", code)
				}
				if n := w.audited()["token.refreshed: session_expired"]; n != before+1 {
					t.Errorf("%d rows tell of it", n-before)
				}
				var named int
				err := d.Read().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM audit_events WHERE event_type = 'token.refreshed' AND actor_id = $1`, w.jo.ID).Scan(&named)
				if err != nil || (named == 1) != row.actor {
					t.Errorf("%d rows name the user, %v", named, err)
				}
				if w.audited()["session.reuse_detected: refresh_reuse"] != 0 {
					t.Error("it is taken for theft")
				}
			})
		}
	})
}

func TestALostAnswerIsGivenAgain(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		_, first := w.signIn()
		lost := w.mustRotate(first.Refresh)

		w.clock.Advance(grace)
		echoed := w.mustRotate(first.Refresh)
		if echoed.Refresh != lost.Refresh {
			t.Error("within the grace the successor is another one")
		}
		if code := w.check(echoed.Access); code != "" {
			t.Errorf("the access token that came with it: %s", code)
		}

		w.clock.Advance(time.Microsecond)
		retried := w.mustRotate(first.Refresh)
		if retried.Refresh == lost.Refresh {
			t.Error("beyond the grace the successor is the same")
		}
		if diff := cmp.Diff(map[string]int{"token.refreshed": 1, "token.refresh_retried": 1, "token.issued": 2}, w.audited()); diff != "" {
			t.Error(diff)
		}
		w.mustRotate(retried.Refresh)
		w.clock.Advance(late)
		if _, code := w.rotate(lost.Refresh); code != "session_expired" {
			t.Errorf("the answer that was lost and replaced: %q", code)
		}
	})
}

func TestTwoHoldersOfATokenEndTheSession(t *testing.T) {
	rows := []struct {
		name    string
		history func(w *world, first Pair) (last Pair) // last is used, and is theft
	}{
		{"a consumed token replayed while the owner sleeps ends the session when the owner returns", func(w *world, first Pair) Pair {
			owner := w.mustRotate(first.Refresh)
			w.clock.Advance(time.Hour)
			w.mustRotate(first.Refresh) // the thief
			w.clock.Advance(time.Hour)
			return owner
		}},
		{"so it does when the thief has gone on", func(w *world, first Pair) Pair {
			owner := w.mustRotate(first.Refresh)
			w.clock.Advance(time.Hour)
			thief := w.mustRotate(first.Refresh)
			w.clock.Advance(time.Hour)
			w.mustRotate(thief.Refresh)
			return owner
		}},
		{"a thief who comes when the owner has gone on is refused at once", func(w *world, first Pair) Pair {
			w.mustRotate(w.mustRotate(first.Refresh).Refresh)
			return first
		}},
		{"a thief who comes first and is overtaken is found at his next use", func(w *world, first Pair) Pair {
			thief := w.mustRotate(first.Refresh)
			w.clock.Advance(late)
			owner := w.mustRotate(first.Refresh)
			w.clock.Advance(late)
			w.mustRotate(owner.Refresh)
			return thief
		}},
		{"a token of the future, from a backup that was restored", func(_ *world, first Pair) Pair {
			t, _ := decodeRefresh(ring, first.Refresh)
			t.generation = 7
			return Pair{Refresh: encodeRefresh(ring, t)}
		}},
	}
	each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				w := newWorld(t, d)
				started, first := w.signIn()
				other, otherPair := w.signIn()
				last := row.history(w, first)
				if reason := w.ended(started.ID); reason != "" {
					t.Fatalf("it has ended before: %s", reason)
				}
				if _, code := w.rotate(last.Refresh); code != "session_expired" {
					t.Errorf("the displaced one got %q", code)
				}
				w.wasStolen(started.ID)
				if code := w.check(w.mint(w.jo.ID.String(), started.ID.String())); code != "session_expired" {
					t.Errorf("an access token of it: %q", code)
				}
				if _, code := w.rotate(last.Refresh); code != "session_expired" {
					t.Errorf("once more: %q", code)
				}
				w.wasStolen(started.ID)
				if reason := w.ended(other.ID); reason != "" {
					t.Errorf("another session of the user ended: %s", reason)
				}
				w.mustRotate(otherPair.Refresh)
			})
		}
	})
}

// wasStolen asserts what theft leaves behind, once.
func (w *world) wasStolen(id uuid.UUID) {
	w.t.Helper()
	if reason := w.ended(id); reason != "refresh_reuse" {
		w.t.Errorf("it ended for %q", reason)
	}
	if !w.feed.Revoked(revocation.Session, id.String()) || w.entries(id) != 1 {
		w.t.Errorf("the feed refuses it: %t, by %d rows", w.feed.Revoked(revocation.Session, id.String()), w.entries(id))
	}
	a := w.audited()
	if a["session.reuse_detected: refresh_reuse"] != 1 || a["session.revoked"] != 1 {
		w.t.Errorf("recorded: %v", a)
	}
	type row struct {
		ActorType, Target string
		Metadata          map[string]any
	}
	read := func(event string) (r row) {
		var actor uuid.NullUUID
		var metadata string
		err := w.db.Read().QueryRowContext(w.t.Context(), `SELECT actor_type, actor_id, target_id, metadata FROM audit_events
			WHERE event_type = $1 AND target_id = $2`, event, w.jo.ID).Scan(&r.ActorType, &actor, &r.Target, &metadata)
		if err != nil {
			w.t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(metadata), &r.Metadata); err != nil {
			w.t.Fatal(err)
		}
		delete(r.Metadata, "generation")
		return r
	}
	if diff := cmp.Diff(row{"user", w.jo.ID.String(), map[string]any{"session_id": id.String()}}, read("session.reuse_detected")); diff != "" {
		w.t.Error(diff)
	}
	if diff := cmp.Diff(row{"system", w.jo.ID.String(), map[string]any{"reason": "refresh_reuse", "session_ids": []any{id.String()}}}, read("session.revoked")); diff != "" {
		w.t.Error(diff)
	}
}

func TestAnswersCannotBeLostWithoutEnd(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		started, pair := w.signIn()
		_, other := w.signIn()
		w.mustRotate(pair.Refresh)
		w.mustRotate(other.Refresh)
		for range 10 {
			w.clock.Advance(late)
			w.mustRotate(pair.Refresh)
		}
		w.clock.Advance(late)
		_, err := w.Rotate(t.Context(), pair.Refresh, CSRF{})
		f := fault.From(err)
		if f.Code.Slug != "rate_limited" || f.RetryAfter <= 0 || f.RetryAfter > time.Hour {
			t.Fatalf("the eleventh within the hour: %v, retry after %v", err, f.RetryAfter)
		}
		if reason := w.ended(started.ID); reason != "" {
			t.Errorf("it ended the session: %s", reason)
		}
		w.mustRotate(other.Refresh) // has lost none
		w.clock.Advance(f.RetryAfter)
		w.mustRotate(w.mustRotate(pair.Refresh).Refresh)
	})
}

// Whoever sends rubbish costs a MAC and no SQL.
func TestRubbishNeverTouchesTheDatabase(t *testing.T) {
	d := dbtest.SQLite(t)
	w := newWorld(t, d)
	_, pair := w.signIn()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	foreign := encodeRefresh(secret.NewRing("refresh tokens", "another secret"), someone)
	for _, token := range []string{
		"", "rt_", "rubbish", pair.Access, pair.Refresh + "A", pair.Refresh[:40], foreign,
		"rt_" + strings.Repeat("A", 82), "rt_" + strings.Repeat("\n", 82), strings.Repeat("x", 1<<20),
	} {
		if _, code := w.rotate(token); code != "session_expired" {
			t.Errorf("refresh with %.50q: %s", token, code)
		}
		if code := w.logout("", token); code != "invalid_token" {
			t.Errorf("logout with %.50q: %s", token, code)
		}
	}
	if _, code := w.rotate(pair.Refresh); code == "session_expired" {
		t.Error("a good token does not touch it either; this test is blind")
	}
}
