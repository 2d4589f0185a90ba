package otp

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

func TestACode(t *testing.T) {
	rows := []struct {
		name string
		code func(w *world, c Challenge) string
		want string
	}{
		{"the right one", func(w *world, c Challenge) string { return w.codeOf(c) }, ""},
		{"with spaces around", func(w *world, c Challenge) string { return "\t " + w.codeOf(c) + " \n" }, ""},
		{"a wrong one", func(w *world, c Challenge) string { return w.wrongFor(c, 0) }, invalid},
		{"none", func(*world, Challenge) string { return "" }, invalid},
		{"a digit short", func(w *world, c Challenge) string { return w.codeOf(c)[1:] }, invalid},
		{"a digit long", func(w *world, c Challenge) string { return "0" + w.codeOf(c) }, invalid},
		{"no digits", func(*world, Challenge) string { return "letter" }, invalid},
		{"of another challenge", func(w *world, _ Challenge) string { return w.codeOf(w.issue()) }, invalid},
		{"too late", func(w *world, c Challenge) string { w.Clock.Advance(ttl); return w.codeOf(c) }, expired},
		{"at the last moment", func(w *world, c Challenge) string { w.Clock.Advance(ttl - time.Microsecond); return w.codeOf(c) }, ""},
		{"a second time", func(w *world, c Challenge) string {
			if got := w.try(c, w.codeOf(c)); got != "" {
				w.t.Error(got)
			}
			return w.codeOf(c)
		}, expired},
		{"after four wrong ones", func(w *world, c Challenge) string {
			for i := range 4 {
				if got := w.try(c, w.wrongFor(c, i)); got != invalid {
					w.t.Errorf("guess %d: %s", i+1, got)
				}
			}
			return w.codeOf(c)
		}, ""},
		{"after five wrong ones", func(w *world, c Challenge) string {
			for i, want := range []string{invalid, invalid, invalid, invalid, dead} {
				if got := w.try(c, w.wrongFor(c, i)); got != want {
					w.t.Errorf("guess %d: %s, want %s", i+1, got, want)
				}
			}
			return w.codeOf(c)
		}, expired},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				w.write(func(tx *db.Tx) error { return Forget(t.Context(), tx, w.ann.ID) })
				c := w.issue()
				code := row.code(w, c)
				before := w.again(c)
				if got := w.try(c, code); got != row.want {
					t.Errorf("%q, want %q", got, row.want)
				}
				if row.want == "" && (!w.again(c).spent || before.spent) {
					t.Error("a right code spends the challenge, and nothing before does")
				}
			})
		}
	})
}

// Whoever reads the database, its logs and its queue cannot sign in.
func TestACodeIsStoredNowhere(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.Length = 12 // which nothing else is by chance
		c := w.issue()
		if err := w.Resend(t.Context(), c, w.ann); err != nil {
			t.Fatal(err)
		}
		asked := w.ask(uuid.New(), "erase_account")
		codes := []string{w.code(c.ID, 1), w.code(c.ID, 2), w.code(asked.ID, 1)}
		w.try(c, "123456789012")
		var dump strings.Builder
		for _, query := range []string{
			`SELECT * FROM otp_challenges`, `SELECT * FROM otp_budgets`, `SELECT * FROM river_job`, `SELECT * FROM audit_events`, `SELECT * FROM audit_personal`,
		} {
			rows, err := d.Read().QueryContext(t.Context(), query)
			if err != nil {
				t.Fatal(err)
			}
			names, err := rows.Columns()
			if err != nil {
				t.Fatal(err)
			}
			for rows.Next() {
				values, targets := make([]any, len(names)), make([]any, len(names))
				for i := range values {
					targets[i] = &values[i]
				}
				if err := rows.Scan(targets...); err != nil {
					t.Fatal(err)
				}
				for _, v := range values {
					if b, ok := v.([]byte); ok {
						v = string(b)
					}
					fmt.Fprintln(&dump, v)
				}
			}
			if err := rows.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if !strings.Contains(dump.String(), c.ID.String()) || !strings.Contains(dump.String(), w.ann.Email) {
			t.Fatalf("this is not what is stored:\n%s", &dump)
		}
		for _, code := range codes {
			if strings.Contains(dump.String(), code) {
				t.Errorf("%s is in\n%s", code, &dump)
			}
		}
		if codes[0] == codes[1] || codes[0] == codes[2] {
			t.Errorf("codes repeat: %v", codes)
		}
	})
}

func TestOfManyRightGuessesAtOnceOneCounts(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		c := w.issue()
		code := w.codeOf(c)
		got := w.race(func(int) string { return w.try(c, code) })
		if diff := cmp.Diff(map[string]int{"": 1, expired: racers - 1}, got); diff != "" {
			t.Error(diff)
		}
		if ok, late := w.recorded("otp.verified", ""), w.recorded("otp.expired", expired); ok != 1 || late != racers-1 {
			t.Errorf("%d verified, %d expired", ok, late)
		}
	})
}

func TestOfManyGuessesAtOnceNoMoreThanAllowedAreCompared(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		c := w.issue()
		wrong := make([]string, racers)
		for i := range wrong {
			wrong[i] = w.wrongFor(c, i)
		}
		got := w.race(func(i int) string { return w.try(c, wrong[i]) })
		if diff := cmp.Diff(map[string]int{invalid: 4, dead: 1, expired: racers - 5}, got); diff != "" {
			t.Error(diff)
		}
		if got := w.try(c, w.codeOf(c)); got != expired {
			t.Errorf("the right code afterwards: %q", got)
		}
		if n := w.count(`SELECT failures FROM otp_budgets`); n != 5 {
			t.Errorf("%d wrong guesses in the account's budget, want 5", n)
		}
		if one, four := w.recorded("otp.failed", dead), w.recorded("otp.failed", invalid); one != 1 || four != 4 {
			t.Errorf("%d and %d recorded", one, four)
		}
	})
}

func TestResendingKillsTheOlderCodeAndForgivesNoGuess(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		c := w.issue()
		older := w.codeOf(c)
		for i := range 3 {
			w.try(c, w.wrongFor(c, i))
		}
		if err := w.Resend(t.Context(), w.again(c), w.ann); err != nil {
			t.Fatal(err)
		}
		if w.codeOf(c) == older {
			t.Fatal("the same code was mailed again")
		}
		if got := w.try(c, older); got != invalid {
			t.Errorf("the older code: %q", got)
		}
		if got := w.try(c, w.wrongFor(c, 0)); got != dead {
			t.Errorf("the fifth wrong guess in all: %q", got)
		}
		if err := w.Resend(t.Context(), w.again(c), w.ann); slug(err) != expired {
			t.Errorf("a dead challenge is mailed again: %v", err)
		}
		if !w.again(c).Expires.Equal(noon.Add(ttl)) {
			t.Error("a resend lengthens the challenge")
		}
	})
}

func TestAChallengeIsMailedFourTimes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		c := w.issue()
		for range 3 {
			if err := w.Resend(t.Context(), w.again(c), w.ann); err != nil {
				t.Fatal(err)
			}
		}
		w.Clock.Advance(4 * time.Minute)
		err := w.Resend(t.Context(), w.again(c), w.ann)
		if f := fault.From(err); f.Code.Slug != "rate_limited" || f.RetryAfter != 6*time.Minute {
			t.Errorf("%v, %v", err, f.RetryAfter)
		}
		if sent, queued := w.recorded("otp.sent", ""), w.count(`SELECT COUNT(*) FROM river_job`); sent != 4 || queued != 4 {
			t.Errorf("%d mails recorded, %d queued", sent, queued)
		}
		if got := w.try(c, w.code(c.ID, 4)); got != "" {
			t.Errorf("the last code: %q", got)
		}
		if err := w.Resend(t.Context(), w.again(c), w.ann); slug(err) != expired {
			t.Errorf("a used challenge is mailed again: %v", err)
		}
	})
}

// Whoever asks for another mail has read the challenge a moment before.
func TestAResendThatIsTooLateMailsNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		read := w.again(w.issue())
		if got := w.try(read, w.codeOf(read)); got != "" {
			t.Fatal(got)
		}
		if err := w.Resend(t.Context(), read, w.ann); slug(err) != expired {
			t.Error(err)
		}
		if n := w.count(`SELECT COUNT(*) FROM river_job`); n != 1 {
			t.Errorf("%d mails are queued", n)
		}
	})
}

func TestFewerGuessesMayBeAllowedFromNowOn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		c := w.issue()
		for i := range 3 {
			w.try(c, w.wrongFor(c, i))
		}
		w.MaxAttempts = 3
		if got := w.try(c, w.codeOf(c)); got != expired {
			t.Errorf("%q", got)
		}
	})
}

func TestManyResendsAtOnceMailNoMore(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		c := w.again(w.issue())
		got := w.race(func(int) string { return slug(w.Resend(t.Context(), c, w.ann)) })
		if got[""] != 3 || w.again(c).sends != 4 || w.count(`SELECT mails FROM otp_budgets`) != 4 {
			t.Errorf("%v", got)
		}
	})
}

// TestAnAccountIsMailedTwentyCodesAnHour to sign in; codes for acts have a budget
// of their own, so that a session cannot keep its owner from signing in.
func TestAnAccountIsMailedTwentyCodesAnHour(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		session := uuid.New()
		for i := range 6 {
			c := w.issue()
			for range 2 {
				if err := w.Resend(t.Context(), w.again(c), w.ann); err != nil {
					t.Fatal(i, err)
				}
			}
		}
		w.issue()
		last := w.issue()
		for range 20 {
			w.ask(session, "erase_account")
		}
		w.Clock.Advance(9 * time.Minute)
		blocked := func(err error, wait time.Duration) {
			t.Helper()
			if f := fault.From(err); f.Code.Slug != "otp_issuance_blocked" || f.RetryAfter != wait {
				t.Errorf("%v, %v, want %v", err, f.RetryAfter, wait)
			}
		}
		before := w.count(`SELECT COUNT(*) FROM otp_challenges`)
		_, err := w.tryIssue(w.ann, Challenge{Context: Login})
		blocked(err, 51*time.Minute)
		_, err = w.tryIssue(w.ann, Challenge{Context: Action, Session: session, Action: "erase_account"})
		blocked(err, 51*time.Minute)
		blocked(w.Resend(t.Context(), w.again(last), w.ann), 51*time.Minute)
		if n := w.recorded("otp.sent", "otp_issuance_blocked"); n != 1 { // Issue leaves that to its caller
			t.Errorf("%d refusals recorded", n)
		}
		if n := w.count(`SELECT COUNT(*) FROM otp_challenges`); n != before || w.again(last).sends != 1 {
			t.Error("a refusal changes challenges")
		}
		if got := w.try(last, w.codeOf(last)); got != "" {
			t.Errorf("a code that was mailed before: %q", got)
		}
		bob := w.addUser("bob@example.com")
		if _, err := w.tryIssue(bob, Challenge{Context: Login}); err != nil {
			t.Errorf("another account: %v", err)
		}
		w.Clock.Advance(51 * time.Minute)
		w.issue()
		if n := w.count(`SELECT mails FROM otp_budgets WHERE user_id = $1 AND context = 'login'`, w.ann.ID); n != 1 {
			t.Errorf("%d mails in the next hour", n)
		}
	})
}

func TestManyChallengesAtOnceStayWithinTheBudget(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		got := w.race(func(int) string { _, err := w.tryIssue(w.ann, Challenge{Context: Login}); return slug(err) })
		if diff := cmp.Diff(map[string]int{"": 20, "otp_issuance_blocked": racers - 20}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTheEleventhWrongGuessInAnHourBlocksFurtherMails(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.MaxAttempts = 4
		open := w.issue()
		guess := func(n int) {
			t.Helper()
			for range n {
				c := w.issue()
				w.try(c, w.wrongFor(c, 0))
			}
		}
		guess(10)
		c := w.issue()
		if n := w.recorded("otp.excessive_failures", "otp_issuance_blocked"); n != 0 {
			t.Errorf("%d blocks after ten", n)
		}
		w.try(c, w.wrongFor(c, 0))
		w.try(c, w.wrongFor(c, 1))
		if n := w.recorded("otp.excessive_failures", "otp_issuance_blocked"); n != 1 {
			t.Errorf("%d blocks recorded after twelve, want 1", n)
		}
		w.Clock.Advance(time.Minute)
		_, err := w.tryIssue(w.ann, Challenge{Context: Login})
		if f := fault.From(err); f.Code.Slug != "otp_issuance_blocked" || f.RetryAfter != 14*time.Minute {
			t.Errorf("%v, %v", err, f.RetryAfter)
		}
		if err := w.Resend(t.Context(), w.again(open), w.ann); slug(err) != "otp_issuance_blocked" {
			t.Errorf("a resend: %v", err)
		}
		if got := w.try(open, w.codeOf(open)); got != "" {
			t.Errorf("a code that was mailed before: %q", got)
		}
		w.Clock.Advance(14 * time.Minute)
		c = w.issue()
		w.try(c, w.wrongFor(c, 0))
		if n := w.recorded("otp.excessive_failures", "otp_issuance_blocked"); n != 2 {
			t.Errorf("%d blocks recorded: one more wrong guess in that hour is to block anew", n)
		}
		w.Clock.Advance(time.Hour)
		guess(10)
		if n := w.recorded("otp.excessive_failures", "otp_issuance_blocked"); n != 2 {
			t.Errorf("%d blocks recorded: ten guesses in the next hour are none", n)
		}
	})
}

func TestCodesOfThePreviousKeyAreStillGood(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		c := w.issue()
		before := w.codeOf(c)
		w.Codes = secret.NewRing("otp-codes", "next", "test")
		if got := w.codeOf(c); got == before {
			t.Fatal("the key makes no difference")
		}
		if got := w.try(c, before); got != "" {
			t.Errorf("%q", got)
		}
		c = w.issue()
		if got := w.try(c, w.codeOf(c)); got != "" {
			t.Errorf("one of today's key: %q", got)
		}
		c = w.issue()
		w.Codes = secret.NewRing("otp-codes", "other")
		if got := w.try(c, before); got != invalid {
			t.Errorf("one of a key that is gone: %q", got)
		}
	})
}

func TestACodeForAnActionBelongsToItsSession(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		here, there := uuid.New(), uuid.New()
		first := w.ask(here, "erase_account")
		elsewhere := w.ask(there, "erase_account")
		w.Clock.Advance(time.Second)
		second := w.ask(here, "change_email")
		pending, found, err := Pending(t.Context(), d.Read(), here)
		if err != nil || !found || pending.ID != second.ID || pending.Action != "change_email" || pending.Target != "order 7" || pending.Session != here || pending.User != w.ann.ID {
			t.Errorf("%+v, %t, %v", pending, found, err)
		}
		if got := w.try(first, w.code(first.ID, 1)); got != expired {
			t.Errorf("the code that was replaced: %q", got)
		}
		if got := w.try(elsewhere, w.code(elsewhere.ID, 1)); got != "" {
			t.Errorf("the other session's: %q", got)
		}
		if _, found, err := Pending(t.Context(), d.Read(), uuid.New()); found || err != nil {
			t.Errorf("a session that asked for nothing: %t, %v", found, err)
		}
		if _, found, err := ByID(t.Context(), d.Read(), second.ID); found || err != nil {
			t.Errorf("a code for an action is found as one for a sign-in: %t, %v", found, err)
		}
		login := w.issue()
		got, found, err := ByID(t.Context(), d.Read(), login.ID)
		if err != nil || !found || got.User != w.ann.ID || got.Context != Login || !got.Expires.Equal(login.Expires) {
			t.Errorf("%+v, %t, %v", got, found, err)
		}
		if diff := cmp.Diff([]string{"orders-api"}, got.Audiences); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWhatIsForgottenAndPruned(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		bob := w.addUser("bob@example.com")
		if _, err := w.tryIssue(bob, Challenge{Context: Login}); err != nil {
			t.Fatal(err)
		}
		w.issue()
		w.write(func(tx *db.Tx) error { return Forget(t.Context(), tx, w.ann.ID) })
		if n := w.count(`SELECT COUNT(*) FROM otp_challenges`); n != 1 {
			t.Errorf("%d challenges, want Bob's", n)
		}
		if n := w.count(`SELECT COUNT(*) FROM otp_budgets`); n != 1 {
			t.Errorf("%d budgets, want Bob's", n)
		}
		for _, step := range []struct {
			after time.Duration
			want  int
		}{{ttl + time.Hour, 1}, {time.Second, 0}} {
			w.Clock.Advance(step.after)
			if err := Prune(t.Context(), d, w.Clock.Now()); err != nil {
				t.Fatal(err)
			}
			if n := w.count(`SELECT COUNT(*) FROM otp_challenges`); n != step.want {
				t.Errorf("%d challenges, want %d", n, step.want)
			}
		}
	})
}

func TestMask(t *testing.T) {
	for email, want := range map[string]string{
		"jo@example.com": "j*@example.com", "j@example.com": "j@example.com", "john@example.com": "j***@example.com", "ürsel@example.com": "ü****@example.com",
	} {
		if got := Mask(email); got != want {
			t.Errorf("%s is %s, want %s", email, got, want)
		}
	}
}
