package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/flow/account"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
)

func given(pass, actionToken string) account.Given {
	return account.Given{Password: pass, ActionToken: actionToken}
}

const (
	confirmSubject = "Confirm your new email"
	takenSubject   = "Somebody asked to use your email"
	changedSubject = "Your email has been changed"
	undoneSubject  = "Your email has been restored: choose a new password"
)

func (s *service) confirm(token string) reply {
	return s.post("/auth/email/change/confirm", jsonOf("token", token))
}

func (s *service) undo(token string) reply {
	return s.post("/auth/email/change/undo", jsonOf("token", token))
}

// asked asks for another address and returns the token mailed to it.
func (s *service) asked(t testing.TB, access, to string) string {
	t.Helper()
	had := len(s.about(t, to, confirmSubject))
	s.changeEmail(access, good, to, "").want(t, http.StatusOK, isSent)
	return s.newest(t, to, confirmSubject, had+1).Tokens()[0]
}

// moved changes an address and returns the token by which the old mailbox can
// undo that.
func (s *service) moved(t testing.TB, access, from, to string) string {
	t.Helper()
	had := len(s.about(t, from, changedSubject))
	s.confirm(s.asked(t, access, to)).want(t, http.StatusOK, isChanged)
	return s.newest(t, from, changedSubject, had+1).Tokens()[0]
}

// claimed makes an account, as verified does, with an address that had mails
// before.
func (s *service) claimed(t testing.TB, email string) {
	t.Helper()
	s.post("/auth/signup", credentials(email, good)).want(t, http.StatusCreated, `{"accepted":true}`)
	token := s.newest(t, email, "Verify your email", 1).Tokens()[0]
	s.post("/auth/verify-email", jsonOf("token", token)).want(t, http.StatusOK, `{"verified":true}`)
}

func TestChangeEmail(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		t.Run("the new mailbox confirms, and nothing changes before", func(t *testing.T) {
			access, refresh := s.in(t, "ann@example.com")
			other, _ := s.login(t, "ann@example.com")
			reset := s.resetToken(t, "ann@example.com")
			s.worked(t)
			s.events(t)
			s.clock.Advance(stale)
			s.changeEmail(access, good, " Ann@New.example.com ", "").want(t, http.StatusOK, isSent)
			token := s.newest(t, "ann@new.example.com", confirmSubject, 1).Tokens()[0]
			s.recorded(t, `user.email.change_requested by ann@example.com on ann@example.com`)
			s.login(t, "ann@example.com")
			s.events(t)

			s.confirm(token).want(t, http.StatusOK, isChanged)
			s.recorded(t, `user.email.changed by ann@new.example.com on ann@new.example.com {"operation":"confirm"}`)
			s.get("/auth/validate", bearer(access)...).refused(t, fault.TokenExpired) // sessions stay, their claims do not
			s.get("/auth/validate", bearer(other)...).refused(t, fault.TokenExpired)
			access, _ = s.renewed(t, refresh)
			if r := s.get("/auth/users/me", bearer(access)...); !strings.Contains(r.body, `"email":"ann@new.example.com","email_verified":true`) {
				t.Errorf("%d %s", r.status, r.body)
			}
			s.post("/auth/login", credentials("ann@example.com", good)).refused(t, fault.InvalidCredentials)
			s.login(t, "ann@new.example.com")
			if m := s.newest(t, "ann@example.com", changedSubject, 1); !strings.HasPrefix(m.Links()[0], baseURL+"/undo-email-change?token=") {
				t.Errorf("links %v", m.Links())
			}
			s.confirm(token).refused(t, fault.InvalidEmailChange)
			s.reset(reset, better).refused(t, fault.InvalidResetToken) // it was mailed to the old mailbox
		})
		t.Run("a confirmation, or a fresh sign-in, does for the password", func(t *testing.T) {
			access, _ := s.in(t, "bea@example.com")
			s.changeEmail(access, "", "bea2@example.com", "").want(t, http.StatusOK, isSent)
			s.clock.Advance(stale)
			s.changeEmail(access, "", "bea2@example.com", "").refused(t, fault.ReauthRequired)
			actionToken := s.confirmed(t, access, "bea@example.com", "change_email")
			s.changeEmail(access, "", "bea2@example.com", actionToken).want(t, http.StatusOK, isSent)
			s.changeEmail(access, "", "bea2@example.com", actionToken).refused(t, fault.ActionTokenInvalid)
			s.changeEmail(access, good, "bea2@example.com", "nonsense").refused(t, fault.ActionTokenInvalid)
		})
		t.Run("one's own address is none to change to", func(t *testing.T) {
			access, _ := s.in(t, "cyd@example.com")
			s.changeEmail(access, good, "Cyd@example.com", "").refused(t, fault.ValidationError, fault.Field{Field: "new_email", Message: "is your address already"})
			s.changeEmail(access, good, "someone", "").refused(t, fault.ValidationError, fault.Field{Field: "new_email", Message: "must be an e-mail address"})
		})
		t.Run("a newer change kills the older one", func(t *testing.T) {
			access, _ := s.in(t, "dan@example.com")
			older := s.asked(t, access, "dan2@example.com")
			newer := s.asked(t, access, "dan3@example.com")
			s.confirm(older).refused(t, fault.InvalidEmailChange)
			s.confirm(newer).want(t, http.StatusOK, isChanged)
		})
		t.Run("three an hour, each account", func(t *testing.T) {
			access, _ := s.in(t, "eve@example.com")
			for range 3 {
				s.changeEmail(access, good, "eve2@example.com", "").want(t, http.StatusOK, isSent)
			}
			r := s.changeEmail(access, good, "eve2@example.com", "")
			r.refused(t, fault.RateLimited)
			if r.header.Get("Retry-After") != "1200" {
				t.Errorf("Retry-After %q", r.header.Get("Retry-After"))
			}
		})
		t.Run("after a day the link is dead", func(t *testing.T) {
			access, _ := s.in(t, "fay@example.com")
			token := s.asked(t, access, "fay2@example.com")
			s.clock.Advance(verifyTTL)
			s.events(t)
			s.confirm(token).refused(t, fault.InvalidEmailChange)
			s.recorded(t, `user.email.changed: invalid_email_change {"operation":"confirm"}`)
		})
		t.Run("a reset, or another password, ends a change that somebody else asked for", func(t *testing.T) {
			access, _ := s.in(t, "gus@example.com")
			token := s.asked(t, access, "thief@example.com")
			s.reset(s.resetToken(t, "gus@example.com"), better).want(t, http.StatusOK, `{"reset":true}`)
			s.confirm(token).refused(t, fault.InvalidEmailChange)

			access, _ = s.in(t, "hal@example.com")
			token = s.asked(t, access, "thief@example.com")
			s.changePassword(access, good, better, "").want(t, http.StatusOK, isChanged)
			s.confirm(token).refused(t, fault.InvalidEmailChange)
		})
		t.Run("an account that was switched off meanwhile is not changed", func(t *testing.T) {
			access, _ := s.in(t, "ida@example.com")
			token := s.asked(t, access, "ida2@example.com")
			s.deactivate(t, "ida@example.com")
			s.confirm(token).refused(t, fault.InvalidEmailChange)
		})
		t.Run("an address that nobody had confirmed is neither kept nor told, and its sign-up is over", func(t *testing.T) {
			access, _ := s.unverified(t, "typo@example.com")
			signedUp := s.mails(t, "typo@example.com", 1)[0].Tokens()[0]
			s.confirm(s.asked(t, access, "right@example.com")).want(t, http.StatusOK, isChanged)
			s.worked(t)
			s.mails(t, "typo@example.com", 1)
			s.post("/auth/verify-email", jsonOf("token", signedUp)).refused(t, fault.InvalidVerifyToken)
			s.login(t, "right@example.com")
			s.post("/auth/signup", credentials("typo@example.com", good)).want(t, http.StatusCreated, `{"accepted":true}`)
			s.newest(t, "typo@example.com", "Verify your email", 2)
		})
	})
}

func TestChangeToATakenAddress(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		s.verified(t, "taken@example.com")
		access, _ := s.in(t, "ann@example.com")
		s.worked(t)
		s.events(t)

		t.Run("the answer and the rows are the same; its owner is told", func(t *testing.T) {
			ask := func(to string) (r reply, rows [2]int) {
				r = s.changeEmail(access, good, to, "")
				r.want(t, http.StatusOK, isSent)
				s.recorded(t, `user.email.change_requested by ann@example.com on ann@example.com`)
				return r, [2]int{s.count(t, `SELECT COUNT(*) FROM email_changes`), s.count(t, `SELECT COUNT(*) FROM river_job WHERE kind = 'mail_email_change'`)}
			}
			free, rowsFree := ask("free@example.com")
			taken, rowsTaken := ask("taken@example.com")
			if diff := cmp.Diff(free.headers(), taken.headers()); diff != "" {
				t.Errorf("headers (-free +taken):\n%s", diff)
			}
			if rowsFree != [2]int{1, 1} || rowsTaken != [2]int{1, 2} {
				t.Errorf("free %v, taken %v", rowsFree, rowsTaken)
			}
			if m := s.newest(t, "taken@example.com", takenSubject, 1); len(m.Links()) > 0 {
				t.Errorf("links %v", m.Links())
			}
			s.worked(t)
			if len(s.about(t, "taken@example.com", confirmSubject)) > 0 {
				t.Error("a taken address can be confirmed")
			}
		})
		t.Run("an address that is taken in the meantime cannot be confirmed", func(t *testing.T) {
			access, _ := s.in(t, "bea@example.com")
			token := s.asked(t, access, "soon@example.com")
			s.claimed(t, "soon@example.com")
			s.events(t)
			s.confirm(token).refused(t, fault.InvalidEmailChange)
			s.recorded(t, `user.email.changed: invalid_email_change {"operation":"confirm"}`)
			s.login(t, "bea@example.com")
			s.login(t, "soon@example.com")
		})
	})
}

func TestOf32ConfirmationsOneWins(t *testing.T) {
	ctx := context.Background()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		t.Run("with one link", func(t *testing.T) {
			access, _ := s.in(t, "ann@example.com")
			token := s.asked(t, access, "ann2@example.com")
			s.events(t)
			won := atOnce(t, 32, fault.InvalidEmailChange, func(int) error { return s.Account.ConfirmEmail(ctx, token) })
			if won != 1 {
				t.Errorf("%d won", won)
			}
			changed := 0
			for _, line := range s.events(t) {
				if strings.HasPrefix(line, "user.email.changed by") {
					changed++
				}
			}
			if changed != 1 {
				t.Errorf("%d changes recorded", changed)
			}
			undo := s.newest(t, "ann@example.com", changedSubject, 1).Tokens()[0]
			if won := atOnce(t, 32, fault.InvalidEmailChange, func(int) error { return s.Account.UndoEmail(ctx, undo) }); won != 1 {
				t.Errorf("%d undid it", won)
			}
		})
		t.Run("for one address", func(t *testing.T) {
			const racers = 8
			var tokens []string
			for i := range racers {
				access, _ := s.in(t, fmt.Sprintf("racer%d@example.com", i))
				s.changeEmail(access, good, "goal@example.com", "").want(t, http.StatusOK, isSent)
				tokens = append(tokens, s.newest(t, "goal@example.com", confirmSubject, i+1).Tokens()[0])
			}
			if won := atOnce(t, racers, fault.InvalidEmailChange, func(i int) error { return s.Account.ConfirmEmail(ctx, tokens[i]) }); won != 1 {
				t.Errorf("%d won", won)
			}
			if n := s.count(t, `SELECT COUNT(*) FROM users WHERE email_key = 'goal@example.com'`); n != 1 {
				t.Errorf("%d accounts have it", n)
			}
		})
	})
}

func TestUndoEmailChange(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		t.Run("the owner takes the account back from a thief", func(t *testing.T) {
			s.verified(t, "ann@example.com")
			thief, thiefRefresh := s.login(t, "ann@example.com") // who knows the password
			undo := s.moved(t, thief, "ann@example.com", "thief@example.com")
			thief, thiefRefresh = s.renewed(t, thiefRefresh)
			s.clock.Advance(time.Minute)
			thiefsLink := s.resetToken(t, "thief@example.com")
			pending := s.asked(t, thief, "thief3@example.com")

			// Meanwhile nobody else gets the address: not by signing up, not by a change.
			s.post("/auth/signup", credentials("ann@example.com", better)).want(t, http.StatusCreated, `{"accepted":true}`)
			other, _ := s.in(t, "other@example.com")
			s.changeEmail(other, good, "ann@example.com", "").want(t, http.StatusOK, isSent)
			s.newest(t, "ann@example.com", takenSubject, 1)
			if n := s.count(t, `SELECT COUNT(*) FROM users WHERE email_key = 'ann@example.com'`); n > 0 {
				t.Fatal("somebody else has the address")
			}

			s.worked(t)
			s.events(t)
			s.undo(undo).want(t, http.StatusOK, isUndone)
			s.recorded(t, `user.email.change_undone by ann@example.com on ann@example.com {"operation":"undo"}`,
				`session.revoked by ann@example.com on ann@example.com {"reason":"email_change_undone","revoked_session_count":1,"session_ids":["<id>"]}`)
			s.get("/auth/validate", bearer(thief)...).refused(t, fault.SessionExpired)
			s.post("/auth/token", jsonOf("refresh_token", thiefRefresh)).refused(t, fault.SessionExpired)
			for _, email := range []string{"ann@example.com", "thief@example.com"} {
				s.post("/auth/login", credentials(email, good)).refused(t, fault.InvalidCredentials)
			}
			s.reset(thiefsLink, better).refused(t, fault.InvalidResetToken)
			s.confirm(pending).refused(t, fault.InvalidEmailChange)
			s.undo(undo).refused(t, fault.InvalidEmailChange)

			link := s.newest(t, "ann@example.com", undoneSubject, 1).Tokens()[0]
			s.reset(link, better).want(t, http.StatusOK, `{"reset":true}`)
			if r := s.post("/auth/login", credentials("ann@example.com", better)); r.status != http.StatusOK {
				t.Errorf("%d %s", r.status, r.body)
			}
			// Nobody asked for that link.
			for _, line := range s.events(t) {
				if strings.HasPrefix(line, "user.password.reset.requested") {
					t.Error(line)
				}
			}
		})
		t.Run("the oldest address has the last word, and the later ones none", func(t *testing.T) {
			access, refresh := s.in(t, "bea@example.com")
			first := s.moved(t, access, "bea@example.com", "thief1@example.com")
			access, _ = s.renewed(t, refresh)
			second := s.moved(t, access, "thief1@example.com", "thief2@example.com")
			s.undo(first).want(t, http.StatusOK, isUndone)
			s.undo(second).refused(t, fault.InvalidEmailChange)
			if n := s.count(t, `SELECT COUNT(*) FROM users WHERE email_key = 'bea@example.com'`); n != 1 {
				t.Error("the account has another address")
			}
			// What was kept for the second undo is free again.
			s.claimed(t, "thief1@example.com")
		})
		t.Run("a change back is no change to a kept address", func(t *testing.T) {
			access, refresh := s.in(t, "cyd@example.com")
			s.moved(t, access, "cyd@example.com", "cyd2@example.com")
			access, _ = s.renewed(t, refresh)
			s.confirm(s.asked(t, access, "cyd@example.com")).want(t, http.StatusOK, isChanged)
			s.login(t, "cyd@example.com")
		})
		t.Run("a sign-in that the thief began does not go on", func(t *testing.T) {
			access, refresh := s.in(t, "dan@example.com")
			undo := s.moved(t, access, "dan@example.com", "thief4@example.com")
			access, _ = s.renewed(t, refresh)
			s.post("/auth/otp/enable", "", bearer(access)...).want(t, http.StatusOK, `{"email_otp_enabled":true}`)
			challenge := s.post("/auth/login", credentials("thief4@example.com", good)).field(t, "challenge_token")
			code := s.newest(t, "thief4@example.com", "Your login verification code", 1).Codes()[0]
			s.undo(undo).want(t, http.StatusOK, isUndone)
			s.post("/auth/otp/verify/login", jsonOf("challenge_token", challenge, "code", code)).refused(t, fault.InvalidToken)
		})
		t.Run("after 72 hours the link is dead and the address free", func(t *testing.T) {
			access, _ := s.in(t, "eve@example.com")
			undo := s.moved(t, access, "eve@example.com", "eve2@example.com")
			s.clock.Advance(72 * time.Hour)
			s.events(t)
			s.undo(undo).refused(t, fault.InvalidEmailChange)
			s.recorded(t, `user.email.change_undone: invalid_email_change {"operation":"undo"}`)
			s.post("/auth/signup", credentials("eve@example.com", good)).want(t, http.StatusCreated, `{"accepted":true}`)
			s.newest(t, "eve@example.com", "Verify your email", 2)
			if err := account.Prune(context.Background(), d, s.clock.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			if n := s.count(t, `SELECT COUNT(*) FROM email_changes WHERE old_email = 'eve@example.com'`); n > 0 {
				t.Error("what is over is kept")
			}
		})
		t.Run("what can still be undone is not pruned", func(t *testing.T) {
			access, _ := s.in(t, "fay@example.com")
			undo := s.moved(t, access, "fay@example.com", "fay2@example.com")
			s.clock.Advance(71 * time.Hour)
			if err := account.Prune(context.Background(), d, s.clock.Now()); err != nil {
				t.Fatal(err)
			}
			s.undo(undo).want(t, http.StatusOK, isUndone)
		})
		t.Run("what confirms does not undo, and the other way about", func(t *testing.T) {
			access, _ := s.in(t, "gus@example.com")
			token := s.asked(t, access, "gus2@example.com")
			s.undo(token).refused(t, fault.InvalidEmailChange)
			s.confirm(token).want(t, http.StatusOK, isChanged)
			undo := s.newest(t, "gus@example.com", changedSubject, 1).Tokens()[0]
			s.confirm(undo).refused(t, fault.InvalidEmailChange)
			s.undo(undo).want(t, http.StatusOK, isUndone)
		})
	})
}

func TestEmailChangePages(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		access, _ := s.in(t, "ann@example.com")
		s.changeEmail(access, good, "ann2@example.com", "").want(t, http.StatusOK, isSent)
		press := func(path, token string) reply {
			return s.post(path, "token="+token, "Content-Type", "application/x-www-form-urlencoded")
		}
		for _, step := range []struct{ to, subject, path, asks, says string }{
			{"ann2@example.com", confirmSubject, "/confirm-email-change", "Confirm your new address", "Address changed"},
			{"ann@example.com", changedSubject, "/undo-email-change", "Take your account back", "Your old address is back"},
		} {
			t.Run(step.path, func(t *testing.T) {
				m := s.newest(t, step.to, step.subject, 1)
				token := m.Tokens()[0]
				if m.Links()[0] != baseURL+step.path+"?token="+token {
					t.Fatalf("the mail links to %s", m.Links()[0])
				}
				s.events(t)
				for range 2 { // as mail scanners do
					s.get(step.path+"?token="+token).page(t, http.StatusOK, step.asks)
					s.get(step.path+"?token="+token).page(t, http.StatusOK, `value="`+token+`"`)
				}
				s.recorded(t)
				press(step.path, token).page(t, http.StatusOK, step.says)
				press(step.path, token).page(t, http.StatusBadRequest, "This link does not work")
				s.get(step.path).page(t, http.StatusBadRequest, "This link does not work")
				press(step.path, "%00").page(t, http.StatusBadRequest, "This link does not work")
				press(step.path, "%zz").page(t, http.StatusBadRequest, "That did not work")
				r := s.get(step.path + `?token=%22%3E%3Cscript%3E`)
				if r.page(t, http.StatusOK, "&lt;script&gt;"); strings.Contains(r.body, "<script") {
					t.Error(r.body)
				}
			})
		}
	})
}
