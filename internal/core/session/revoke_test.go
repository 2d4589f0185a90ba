package session

import (
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/platform/revocation"
)

// revoked is the metadata of this user's session.revoked events, the newest
// last; each must be by the user on the user.
func (w *world) revoked() (list []map[string]any) {
	w.t.Helper()
	rows, err := w.db.Read().QueryContext(w.t.Context(), `
		SELECT metadata FROM audit_events WHERE event_type = 'session.revoked' AND success
			AND actor_type = 'user' AND actor_id = $1 AND target_type = 'user' AND target_id = $2 ORDER BY id`, w.jo.ID, w.jo.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		var metadata map[string]any
		if err := rows.Scan(&text); err != nil {
			w.t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(text), &metadata); err != nil {
			w.t.Fatal(err)
		}
		list = append(list, metadata)
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	return list
}

// revokeOne ends a session in the name of another; code is the fault's slug.
func (w *world) revokeOne(by Session, id uuid.UUID) (code string) {
	w.t.Helper()
	return slug(w.RevokeOne(w.t.Context(), Identity{User: by.UserID, Session: by.ID}, id, "why"))
}

func TestOneSessionIsRevokedAtOnce(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		mine, minePair := w.signIn()
		lost, lostPair := w.signIn()
		third, thirdPair := w.signIn()
		if code := w.check(lostPair.Access); code != "" { // now it is in the cache
			t.Fatal(code)
		}
		if code := w.revokeOne(mine, lost.ID); code != "" {
			t.Fatal(code)
		}
		if code := w.check(lostPair.Access); code != "session_expired" {
			t.Errorf("its access token: %q", code)
		}
		if _, code := w.rotate(lostPair.Refresh); code != "session_expired" {
			t.Errorf("its refresh token: %q", code)
		}
		if reason := w.ended(lost.ID); reason != "why" || !w.revokedAt(lost).Equal(noon) {
			t.Errorf("it ended for %q at %v", reason, w.revokedAt(lost))
		}
		if w.entries(lost.ID) != 1 || !w.feed.Revoked(revocation.Session, lost.ID.String()) {
			t.Errorf("the feed names it %d times", w.entries(lost.ID))
		}
		if diff := cmp.Diff([]map[string]any{{"reason": "why", "session_id": lost.ID.String()}}, w.revoked()); diff != "" {
			t.Error(diff)
		}
		for _, s := range []Session{mine, third} {
			if reason := w.ended(s.ID); reason != "" || w.entries(s.ID) != 0 {
				t.Errorf("another session ended for %q", reason)
			}
		}
		if a, b := w.check(minePair.Access), w.check(thirdPair.Access); a != "" || b != "" {
			t.Errorf("the other sessions: %q, %q", a, b)
		}
	})
}

func TestWhatCannotBeRevokedStays(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		mine, _ := w.signIn()
		lost, _ := w.signIn()
		jo := w.jo
		w.jo = w.addUser()
		foreign, foreignPair := w.signIn()
		w.jo = jo
		w.revokeOne(mine, lost.ID)
		w.clock.Advance(time.Minute)
		for _, tt := range []struct {
			name string
			id   uuid.UUID
			want string
		}{
			{"the current session", mine.ID, "cannot_revoke_current_session"},
			{"somebody else's", foreign.ID, "invalid_session"},
			{"one that never was", uuid.New(), "invalid_session"},
			{"no id", uuid.Nil, "invalid_session"},
			{"one that is revoked", lost.ID, "session_revoked"},
		} {
			if code := w.revokeOne(mine, tt.id); code != tt.want {
				t.Errorf("%s: %q, want %q", tt.name, code, tt.want)
			}
		}
		if w.ended(mine.ID) != "" || w.ended(foreign.ID) != "" || w.check(foreignPair.Access) != "" {
			t.Error("a session ended all the same")
		}
		if !w.revokedAt(lost).Equal(noon) || w.entries(lost.ID) != 1 || len(w.revoked()) != 1 {
			t.Error("the second time left something behind")
		}
	})
}

func TestASessionThatRanOutCanBeRevoked(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		old, _ := w.signIn()
		w.clock.Advance(settings.RefreshTTL + time.Second)
		mine, _ := w.signIn()
		if code := w.revokeOne(mine, old.ID); code != "" || w.ended(old.ID) != "why" {
			t.Errorf("%q, ended for %q", code, w.ended(old.ID))
		}
	})
}

func TestOfManyWhoRevokeASessionOneDoes(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		mine, _ := w.signIn()
		lost, _ := w.signIn()
		codes := make([]string, 32)
		var racing sync.WaitGroup
		for i := range codes {
			racing.Go(func() { codes[i] = w.revokeOne(mine, lost.ID) })
		}
		racing.Wait()
		count := map[string]int{}
		for _, code := range codes {
			count[code]++
		}
		if diff := cmp.Diff(map[string]int{"": 1, "session_revoked": 31}, count); diff != "" {
			t.Error(diff)
		}
		if w.entries(lost.ID) != 1 || len(w.revoked()) != 1 {
			t.Errorf("%d entries, %d events", w.entries(lost.ID), len(w.revoked()))
		}
	})
}

func TestTheOtherSessionsAreRevokedAtOnce(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		runOut, _ := w.signIn()
		w.clock.Advance(settings.RefreshTTL)
		before, beforePair := w.signIn()
		gone, gonePair := w.signIn()
		w.logout("", gonePair.Refresh)
		jo := w.jo
		w.jo = w.addUser()
		foreign, foreignPair := w.signIn()
		w.jo = jo
		mine, minePair := w.signIn()
		after, afterPair := w.signIn()
		w.check(beforePair.Access)
		w.check(afterPair.Access)

		by := Identity{User: w.jo.ID, Session: mine.ID}
		ended, err := w.RevokeOthers(t.Context(), by, "why")
		if err != nil {
			t.Fatal(err)
		}
		want := []uuid.UUID{runOut.ID, before.ID, after.ID}
		sortAsListed(want)
		sortAsListed(ended)
		if diff := cmp.Diff(want, ended); diff != "" {
			t.Error(diff)
		}
		for _, id := range ended {
			if w.ended(id) != "why" || w.entries(id) != 1 || !w.feed.Revoked(revocation.Session, id.String()) {
				t.Errorf("%s ended for %q, %d entries", id, w.ended(id), w.entries(id))
			}
		}
		if a, b := w.check(beforePair.Access), w.check(afterPair.Access); a != "session_expired" || b != "session_expired" {
			t.Errorf("access tokens of the others: %q, %q", a, b)
		}
		if a, b := w.check(minePair.Access), w.check(foreignPair.Access); a != "" || b != "" {
			t.Errorf("the current session: %q; somebody else's: %q", a, b)
		}
		if w.ended(gone.ID) != ReasonLogout || w.ended(foreign.ID) != "" {
			t.Errorf("one that had ended: %q; somebody else's: %q", w.ended(gone.ID), w.ended(foreign.ID))
		}

		w.clock.Advance(time.Minute)
		if ended, err := w.RevokeOthers(t.Context(), by, "again"); err != nil || ended == nil || len(ended) != 0 {
			t.Errorf("with none left: %v, %v", ended, err)
		}
		events := w.revoked()
		if len(events) != 3 || events[0]["reason"] != ReasonLogout {
			t.Fatalf("%d events", len(events))
		}
		events = events[1:]
		if n, list := events[0]["revoked_session_count"], events[0]["session_ids"].([]any); n != 3.0 || len(list) != 3 || events[0]["reason"] != "why" {
			t.Errorf("%v", events[0])
		}
		if diff := cmp.Diff(map[string]any{"reason": "again", "session_ids": []any{}, "revoked_session_count": 0.0}, events[1]); diff != "" {
			t.Error(diff)
		}
	})
}

// More sessions than one statement names are revoked in one act, each by name.
func TestAThousandSessionsAreRevokedInOneAct(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		mine, _ := w.signIn()
		for range 4 {
			w.fill(w.jo.ID, 300) // of which 200 are live
		}
		ended, err := w.RevokeOthers(t.Context(), Identity{User: w.jo.ID, Session: mine.ID}, "why")
		if err != nil || len(ended) != 800 {
			t.Fatalf("%d sessions, %v", len(ended), err)
		}
		for _, id := range ended {
			if !w.feed.Revoked(revocation.Session, id.String()) {
				t.Fatalf("%s is not named", id)
			}
		}
		other := w.newFeed(replica(t, d))
		for _, id := range ended {
			if !other.Revoked(revocation.Session, id.String()) {
				t.Fatalf("%s is not named at another replica", id)
			}
		}
		if live := w.listed(Active, 200); len(live) != 1 || live[0].ID != mine.ID {
			t.Errorf("%d sessions are live", len(live))
		}
	})
}
