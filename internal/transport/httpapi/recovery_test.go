package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/mail"
)

const better = "Battery-Staple-8" // another password that the rules allow

func (s *service) forgot(email string, headers ...string) reply {
	return s.post("/auth/password/forgot", fmt.Sprintf(`{"email":%q}`, email), headers...)
}

// resetToken asks for a link and returns its token. A minute passes first: one
// address may ask so often.
func (s *service) resetToken(t testing.TB, email string) string {
	t.Helper()
	s.clock.Advance(time.Minute)
	had := len(s.about(t, email, "Reset your password"))
	s.forgot(email).want(t, http.StatusOK, `{"sent":true}`)
	return s.newest(t, email, "Reset your password", had+1).Tokens()[0]
}

// about lists the mails for a recipient with a subject, the newest first.
func (s *service) about(t testing.TB, to, subject string) (list []mail.Stored) {
	t.Helper()
	for _, m := range must(s.mailbox.List(context.Background(), to))(t) {
		if m.Subject == subject {
			list = append(list, m)
		}
	}
	return list
}

// newest waits for the nth mail to a recipient with a subject.
func (s *service) newest(t testing.TB, to, subject string, n int) mail.Stored {
	t.Helper()
	var list []mail.Stored
	s.eventually(t, fmt.Sprintf("%d × %q to %s", n, subject, to), func() bool {
		list = s.about(t, to, subject)
		return len(list) >= n
	})
	if len(list) > n {
		t.Fatalf("%d × %q to %s, want %d", len(list), subject, to, n)
	}
	return list[0]
}

func (s *service) reset(token, pass string) reply {
	return s.post("/auth/password/reset", fmt.Sprintf(`{"token":%q,"new_password":%q}`, token, pass))
}

// exec changes the database as nothing here does.
func (s *service) exec(t testing.TB, query string, args ...any) {
	t.Helper()
	err := s.db.Write(context.Background(), func(tx *db.Tx) error {
		_, err := tx.ExecContext(context.Background(), query, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// count answers a query for one number.
func (s *service) count(t testing.TB, query string, args ...any) (n int) {
	t.Helper()
	if err := s.db.Read().QueryRowContext(context.Background(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// epoch is what tokens of an account must not be below.
func (s *service) epoch(t testing.TB, email string) int {
	t.Helper()
	return s.count(t, `SELECT epoch FROM users WHERE email_key = $1`, email)
}

// worked waits until no mail is due.
func (s *service) worked(t testing.TB) {
	t.Helper()
	s.eventually(t, "all mails sent", func() bool {
		return s.count(t, `SELECT COUNT(*) FROM river_job WHERE state <> 'completed'`) == 0
	})
}

// deactivate switches an account off.
func (s *service) deactivate(t testing.TB, email string) {
	t.Helper()
	s.exec(t, `UPDATE users SET is_active = FALSE WHERE email_key = $1`, email)
}

// atOnce runs act in n goroutines that begin together, and returns how many
// succeeded; the others must be refused with code.
func atOnce(t testing.TB, n int, code fault.Code, act func(i int) error) (won int) {
	t.Helper()
	var all sync.WaitGroup
	var mu sync.Mutex
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			err := act(i)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case !fault.Has(err, code):
				t.Error(err)
			}
		})
	}
	close(start)
	all.Wait()
	return won
}

func TestForgot(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		s.verified(t, "ann@example.com")
		s.signUp(t, "new@example.com")
		s.verified(t, "off@example.com")
		s.deactivate(t, "off@example.com")
		s.verified(t, "federated@example.com")
		s.exec(t, `DELETE FROM passwords WHERE user_id = (SELECT id FROM users WHERE email_key = 'federated@example.com')`)
		s.worked(t)
		s.events(t)
		addresses := []string{"ann@example.com", "new@example.com", "off@example.com", "federated@example.com", "nobody@example.com"}

		t.Run("the answer and the rows do not tell whether there is an account", func(t *testing.T) {
			var headers http.Header
			for i, email := range addresses {
				jobs, rows := s.count(t, `SELECT COUNT(*) FROM river_job WHERE kind = 'mail_reset_password'`), s.count(t, `SELECT COUNT(*) FROM river_job`)
				r := s.forgot(email)
				r.want(t, http.StatusOK, `{"sent":true}`)
				if i == 0 {
					headers = r.headers()
				} else if diff := cmp.Diff(headers, r.headers()); diff != "" {
					t.Errorf("%s: headers (-first +this):\n%s", email, diff)
				}
				if got := s.count(t, `SELECT COUNT(*) FROM river_job WHERE kind = 'mail_reset_password'`) - jobs; got != 1 {
					t.Errorf("%s: %d jobs", email, got)
				}
				if got := s.count(t, `SELECT COUNT(*) FROM river_job`) - rows; got != 1 {
					t.Errorf("%s: %d jobs in all", email, got)
				}
			}
		})
		t.Run("the worker mails live accounts, confirmed or not, with a password or not", func(t *testing.T) {
			s.worked(t)
			for _, row := range []struct {
				email string
				mails int
			}{{"ann@example.com", 1}, {"new@example.com", 1}, {"federated@example.com", 1}, {"off@example.com", 0}, {"nobody@example.com", 0}} {
				if got := s.about(t, row.email, "Reset your password"); len(got) != row.mails {
					t.Errorf("%s: %d mails", row.email, len(got))
				}
			}
		})
		t.Run("it is recorded once each, for the owner where there is one", func(t *testing.T) {
			got := map[string]int{}
			for _, line := range s.events(t) {
				got[line]++
			}
			want := map[string]int{"user.password.reset.requested": 1}
			for _, email := range addresses[:4] {
				want[fmt.Sprintf("user.password.reset.requested by %[1]s on %[1]s", email)] = 1
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
		t.Run("an address may ask once a minute, whether or not it has an account", func(t *testing.T) {
			for _, email := range []string{"ann@example.com", "nobody@example.com", " Ann@Example.com "} {
				r := s.forgot(email)
				r.refused(t, fault.RateLimited)
				if r.header.Get("Retry-After") != "60" {
					t.Errorf("%s: Retry-After %q", email, r.header.Get("Retry-After"))
				}
			}
			s.worked(t)
			s.recorded(t)
			s.clock.Advance(time.Minute)
			s.forgot("ann@example.com").want(t, http.StatusOK, `{"sent":true}`)
			s.newest(t, "ann@example.com", "Reset your password", 2)
		})
		t.Run("the owner sees in the history where it was asked from", func(t *testing.T) {
			s.clock.Advance(time.Minute)
			s.forgot("ann@example.com", "User-Agent", "Thief/1.0").want(t, http.StatusOK, `{"sent":true}`)
			s.newest(t, "ann@example.com", "Reset your password", 3)
			access, _ := s.login(t, "ann@example.com")
			for _, item := range s.whole(t, "/auth/history", access) {
				if item["event_type"] == "user.password.reset.requested" {
					if item["user_agent"] != "Thief/1.0" || item["ip_address"] != "127.0.0.1" {
						t.Errorf("%v", item)
					}
					return
				}
			}
			t.Error("not in the history")
		})
		t.Run("what is no address is refused", func(t *testing.T) {
			s.forgot("someone").refused(t, fault.ValidationError, fault.Field{Field: "email", Message: "must be an e-mail address"})
		})
	})
}

func TestReset(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		check := func(token string) reply { return s.get("/auth/password/reset?token=" + token) }

		t.Run("a link sets a password, once, and ends what was before", func(t *testing.T) {
			s.verified(t, "ann@example.com")
			access, refresh := s.login(t, "ann@example.com")
			s.login(t, "ann@example.com")
			token := s.resetToken(t, "ann@example.com")
			s.events(t)
			for range 2 {
				check(token).want(t, http.StatusOK, `{"valid":true}`)
			}
			s.recorded(t) // looking is not recorded

			s.reset(token, "weak").refused(t, fault.ValidationError, fault.Field{Field: "new_password", Message: "must be at least 8 characters long"})
			s.recorded(t)
			s.reset(token, good).refused(t, fault.PasswordReused)
			s.recorded(t, `user.password.reset.completed: password_reused`)
			check(token).want(t, http.StatusOK, `{"valid":true}`)

			before := s.epoch(t, "ann@example.com")
			s.reset(" "+token+" ", better).want(t, http.StatusOK, `{"reset":true}`)
			if rose := s.epoch(t, "ann@example.com") - before; rose != 1 { // what tells the other replicas
				t.Errorf("the epoch rose by %d", rose)
			}
			s.recorded(t, `user.password.reset.completed by ann@example.com on ann@example.com`,
				`user.password.changed by ann@example.com on ann@example.com {"reason":"password_reset"}`,
				`session.revoked by ann@example.com on ann@example.com {"reason":"password_reset","revoked_session_count":2,"session_ids":["<id>","<id>"]}`)
			check(token).refused(t, fault.InvalidResetToken)
			s.reset(token, "Third-Password-9").refused(t, fault.InvalidResetToken)
			s.recorded(t, `user.password.reset.completed: invalid_reset_token`)

			s.get("/auth/validate", bearer(access)...).refused(t, fault.SessionExpired)
			s.post("/auth/token", fmt.Sprintf(`{"refresh_token":%q}`, refresh)).refused(t, fault.SessionExpired)
			s.post("/auth/login", credentials("ann@example.com", good)).refused(t, fault.InvalidCredentials)
			if r := s.post("/auth/login", credentials("ann@example.com", better)); r.status != http.StatusOK {
				t.Errorf("%d %s", r.status, r.body)
			}
			if m := s.newest(t, "ann@example.com", "Your password has been reset", 1); len(m.Links()) > 0 {
				t.Errorf("links %v", m.Links())
			}
		})
		t.Run("it opens an account that is locked", func(t *testing.T) {
			s.verified(t, "bea@example.com")
			for range 5 {
				s.post("/auth/login", credentials("bea@example.com", "Wrong-Horse-7"))
			}
			s.post("/auth/login", credentials("bea@example.com", good)).refused(t, fault.AccountLocked)
			token := s.resetToken(t, "bea@example.com")
			s.post("/auth/login", credentials("bea@example.com", "Wrong-Horse-7")) // locks for longer
			s.reset(token, better).want(t, http.StatusOK, `{"reset":true}`)
			if r := s.post("/auth/login", credentials("bea@example.com", better)); r.status != http.StatusOK {
				t.Errorf("%d %s", r.status, r.body)
			}
		})
		t.Run("it confirms the address, and the link of the sign-up dies with the password in it", func(t *testing.T) {
			squatted := s.signUp(t, "cyd@example.com")
			before := s.epoch(t, "cyd@example.com")
			s.reset(s.resetToken(t, "cyd@example.com"), better).want(t, http.StatusOK, `{"reset":true}`)
			if rose := s.epoch(t, "cyd@example.com") - before; rose != 1 {
				t.Errorf("the epoch rose by %d", rose)
			}
			s.post("/auth/verify-email", fmt.Sprintf(`{"token":%q}`, squatted)).refused(t, fault.InvalidVerifyToken)
			if r := s.post("/auth/login", credentials("cyd@example.com", better)); r.status != http.StatusOK {
				t.Errorf("%d %s", r.status, r.body)
			}
		})
		t.Run("an account without a password gets one", func(t *testing.T) {
			s.verified(t, "dan@example.com")
			s.exec(t, `DELETE FROM passwords WHERE user_id = (SELECT id FROM users WHERE email_key = 'dan@example.com')`)
			s.reset(s.resetToken(t, "dan@example.com"), good).want(t, http.StatusOK, `{"reset":true}`)
			s.login(t, "dan@example.com")
		})
		t.Run("a newer link kills the older one", func(t *testing.T) {
			s.verified(t, "eve@example.com")
			older := s.resetToken(t, "eve@example.com")
			newer := s.resetToken(t, "eve@example.com")
			check(older).refused(t, fault.InvalidResetToken)
			s.reset(older, better).refused(t, fault.InvalidResetToken)
			s.reset(newer, better).want(t, http.StatusOK, `{"reset":true}`)
		})
		t.Run("after an hour the link is dead", func(t *testing.T) {
			s.verified(t, "fay@example.com")
			token := s.resetToken(t, "fay@example.com")
			s.clock.Advance(time.Hour)
			check(token).refused(t, fault.InvalidResetToken)
			s.reset(token, better).refused(t, fault.InvalidResetToken)
		})
		t.Run("an account that was switched off meanwhile is not reset", func(t *testing.T) {
			s.verified(t, "gus@example.com")
			token := s.resetToken(t, "gus@example.com")
			s.deactivate(t, "gus@example.com")
			check(token).refused(t, fault.InvalidResetToken)
			s.reset(token, better).refused(t, fault.InvalidResetToken)
		})
		t.Run("the link of a sign-up is no link to reset", func(t *testing.T) {
			token := s.signUp(t, "hal@example.com")
			check(token).refused(t, fault.InvalidResetToken)
			s.reset(token, better).refused(t, fault.InvalidResetToken)
		})
		t.Run("what is no token is refused before anything", func(t *testing.T) {
			short := fault.Field{Field: "token", Message: "must be at least 16 characters long"}
			check("short").refused(t, fault.ValidationError, short)
			s.reset("short", better).refused(t, fault.ValidationError, short)
			s.reset("0123456789abcdef", better).refused(t, fault.InvalidResetToken)
		})
	})
}

func TestOf32ResetsWithOneLinkOneWins(t *testing.T) {
	ctx := context.Background()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		s.verified(t, "ann@example.com")
		access, _ := s.login(t, "ann@example.com")
		token := s.resetToken(t, "ann@example.com")
		s.events(t)
		choice := func(i int) string { return fmt.Sprintf("Racing-Horse-%d", i) }
		// As many passwords as racers: the winner's is the account's.
		won := atOnce(t, 32, fault.InvalidResetToken, func(i int) error {
			for {
				err := s.Recovery.Reset(ctx, token, choice(i))
				if !fault.Has(err, fault.ServiceUnavailable) { // the hashing pool is full
					return err
				}
			}
		})
		if won != 1 {
			t.Errorf("%d won", won)
		}
		changed := 0
		for _, line := range s.events(t) {
			if strings.HasPrefix(line, "user.password.changed") {
				changed++
			}
		}
		if changed != 1 {
			t.Errorf("%d changes recorded", changed)
		}
		s.newest(t, "ann@example.com", "Your password has been reset", 1)
		s.get("/auth/validate", bearer(access)...).refused(t, fault.SessionExpired)
	})
}

func TestResetPage(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newAPI(t, d)
		s.verified(t, "ann@example.com")
		token := s.resetToken(t, "ann@example.com")
		mail := s.newest(t, "ann@example.com", "Reset your password", 1)
		link, ok := strings.CutPrefix(mail.Links()[0], baseURL)
		if !ok || !strings.HasPrefix(link, "/reset-password?token=") {
			t.Fatalf("the mail links to %s", mail.Links()[0])
		}
		press := func(token, pass string) reply {
			return s.post("/reset-password", "token="+token+"&new_password="+pass, "Content-Type", "application/x-www-form-urlencoded")
		}
		s.events(t)
		t.Run("opening the link, as mail scanners do, asks for a password and uses nothing up", func(t *testing.T) {
			for range 3 {
				r := s.get(link)
				r.page(t, http.StatusOK, `name="token" value="`+token+`"`)
				r.page(t, http.StatusOK, `autocomplete="new-password"`)
				if strings.Contains(r.body, `role="alert"`) {
					t.Error("it complains before anything was typed")
				}
			}
			s.recorded(t)
		})
		t.Run("a password that is refused is said why, and the form stays", func(t *testing.T) {
			for _, row := range []struct {
				pass, says string
				status     int
			}{
				{"Ab-1", "The password must be at least 8 characters long.", 422},
				{"correct-horse", "The password must contain an uppercase letter and a number.", 422},
				{"%ff%ff%ff%ff%ff%ff%ff%ff", "The password must be text.", 422},
				{"", "The password must be at least 8 characters long.", 422},
				{good, "Choose another password: this is the one in use.", 400},
			} {
				r := press(token, row.pass)
				r.page(t, row.status, row.says)
				r.page(t, row.status, `value="`+token+`"`)
				if row.pass != "" && strings.Contains(r.body, row.pass) {
					t.Errorf("what was typed comes back: %s", r.body)
				}
			}
		})
		t.Run("a good one is set, once", func(t *testing.T) {
			press(token, better).page(t, http.StatusOK, "Sign in with the new password")
			press(token, better).page(t, http.StatusBadRequest, "This link does not work")
			s.get(link).page(t, http.StatusBadRequest, "Ask for another one")
			if r := s.post("/auth/login", credentials("ann@example.com", better)); r.status != http.StatusOK {
				t.Errorf("%d %s", r.status, r.body)
			}
		})
		t.Run("a link without a token, or with another, does not work", func(t *testing.T) {
			s.get("/reset-password").page(t, http.StatusBadRequest, "This link does not work")
			s.get("/reset-password?token=%00%ff%22%3E").page(t, http.StatusBadRequest, "This link does not work")
			s.post("/reset-password", "").page(t, http.StatusBadRequest, "This link does not work")
		})
		t.Run("errors are pages too", func(t *testing.T) {
			press(strings.Repeat("a", 70<<10), better).page(t, http.StatusRequestEntityTooLarge, "The request body is too large.")
			press("%zz", better).page(t, http.StatusBadRequest, "That did not work")
		})
	})
}

// page checks that an answer is a page which says something.
func (r reply) page(t testing.TB, status int, says string) {
	t.Helper()
	if r.status != status || !strings.Contains(r.body, says) || !strings.HasPrefix(r.header.Get("Content-Type"), "text/html") {
		t.Errorf("status %d, want %d and %q in\n%s", r.status, status, says, r.body)
	}
	if r.header.Get("Cache-Control") != "no-store" || !strings.Contains(r.header.Get("Content-Security-Policy"), "default-src 'none'") ||
		r.header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("headers %v", r.header)
	}
}
