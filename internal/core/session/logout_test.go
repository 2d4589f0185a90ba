package session

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

func TestWhoMaySignOut(t *testing.T) {
	rows := []struct {
		name string
		// tokens changes what is presented: both tokens of a session that began
		// at noon.
		tokens func(w *world, p *Pair)
		want   string
		ends   bool
	}{
		{"the refresh token alone", func(_ *world, p *Pair) { p.Access = "" }, "", true},
		{"both tokens of one session", func(*world, *Pair) {}, "", true},
		{"an access token that has expired", func(w *world, _ *Pair) { w.clock.Advance(24 * time.Hour) }, "", true},
		{"an older access token of the session", func(w *world, p *Pair) { p.Refresh = w.mustRotate(p.Refresh).Refresh }, "", true},
		{"an older refresh token of the session", func(w *world, p *Pair) { w.mustRotate(w.mustRotate(p.Refresh).Refresh) }, "", true},
		{"a session that has expired", func(w *world, _ *Pair) { w.clock.Advance(settings.RefreshTTL) }, "", true},
		{"an account that was deactivated", func(w *world, _ *Pair) {
			w.change(`UPDATE users SET is_active = FALSE WHERE id = $1`, w.jo.ID)
		}, "", true},
		{"an access token that a change of the account made too old", func(w *world, _ *Pair) { w.confirm() }, "", true},

		{"an access token of another session of the user", func(w *world, p *Pair) { _, other := w.signIn(); p.Access = other.Access }, "invalid_token", false},
		{"one that has expired", func(w *world, p *Pair) {
			_, other := w.signIn()
			p.Access = other.Access
			w.clock.Advance(24 * time.Hour)
		}, "invalid_token", false},
		{"an access token that is rubbish", func(_ *world, p *Pair) { p.Access = "rubbish" }, "invalid_token", false},
		{"an access token that was changed", func(_ *world, p *Pair) { p.Access = p.Access[:len(p.Access)-4] }, "invalid_token", false},
		{"a refresh token that is rubbish", func(_ *world, p *Pair) { p.Refresh = "rubbish" }, "invalid_token", false},
		{"no refresh token", func(_ *world, p *Pair) { p.Refresh = "" }, "invalid_token", false},
		{"the tokens in each other's place", func(_ *world, p *Pair) { p.Access, p.Refresh = p.Refresh, p.Access }, "invalid_token", false},
		{"no token at all", func(_ *world, p *Pair) { *p = Pair{} }, "invalid_token", false},
	}
	each(t, func(t *testing.T, d *db.DB) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				w := newWorld(t, d)
				started, good := w.signIn()
				presented := good
				row.tokens(w, &presented)
				before := w.audited()
				if got := w.logout(presented.Access, presented.Refresh); got != row.want {
					t.Errorf("%q, want %q", got, row.want)
				}
				if row.ends {
					w.wasSignedOut(started)
					return
				}
				if diff := cmp.Diff(before, w.audited()); diff != "" {
					t.Errorf("it is recorded: %s", diff)
				}
				if reason := w.ended(started.ID); reason != "" {
					t.Errorf("it ended the session: %s", reason)
				}
				if code := slugOf(w.Rotate(t.Context(), good.Refresh, CSRF{})); code != "" {
					t.Errorf("a refresh afterwards: %s", code)
				}
			})
		}
	})
}

func slugOf(_ Pair, err error) string { return slug(err) }

// wasSignedOut asserts what signing out leaves behind, once.
func (w *world) wasSignedOut(s Session) {
	w.t.Helper()
	if reason := w.ended(s.ID); reason != "logout" {
		w.t.Errorf("it ended for %q", reason)
	}
	if !w.feed.Revoked(revocation.Session, s.ID.String()) || w.entries(s.ID) != 1 {
		w.t.Errorf("the feed refuses it: %t, by %d rows", w.feed.Revoked(revocation.Session, s.ID.String()), w.entries(s.ID))
	}
	if n := w.audited(); n["user.logout"] != 1 || n["session.revoked"] != 1 {
		w.t.Errorf("recorded: %v", n)
	}
	if _, code := w.rotate(encodeRefresh(ring, refreshToken{session: s.ID})); code != "session_expired" {
		w.t.Errorf("a refresh afterwards: %q", code)
	}
	if code := w.check(w.mint(s.UserID.String(), s.ID.String())); code != "session_expired" {
		w.t.Errorf("a check afterwards: %q", code)
	}
}

func TestSigningOutTwiceIsNoError(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		started, pair := w.signIn()
		other, otherPair := w.signIn()
		for range 2 {
			if code := w.logout(pair.Access, pair.Refresh); code != "" {
				t.Errorf("%q", code)
			}
			w.wasSignedOut(started)
			w.clock.Advance(time.Minute)
		}
		if at := w.revokedAt(started); !at.Equal(noon) {
			t.Errorf("the second time moved the end to %v", at)
		}
		if reason := w.ended(other.ID); reason != "" || w.check(otherPair.Access) != "" {
			t.Errorf("another session of the user ended: %q", reason)
		}
	})
}

func (w *world) revokedAt(s Session) time.Time {
	w.t.Helper()
	got, _, _, err := load(w.t.Context(), w.db.Read(), s.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return got.RevokedAt
}

// The first reason stays: a thief who signs out hides nothing.
func TestSigningOutOfAStolenSessionKeepsTheReason(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		started, pair := w.signIn()
		w.mustRotate(w.mustRotate(pair.Refresh).Refresh)
		w.rotate(pair.Refresh) // theft
		if code := w.logout("", pair.Refresh); code != "" {
			t.Errorf("%q", code)
		}
		w.wasStolen(started.ID)
		if w.audited()["user.logout"] != 0 {
			t.Error("it is recorded as a sign-out")
		}
	})
}

func TestASessionThatNeverWasCannotSignOut(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		if code := w.logout("", encodeRefresh(ring, someone)); code != "invalid_token" {
			t.Errorf("%q", code)
		}
		if diff := cmp.Diff(map[string]int{}, w.audited()); diff != "" {
			t.Error(diff)
		}
	})
}
