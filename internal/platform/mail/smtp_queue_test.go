package mail_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/user"
	"github.com/authsdk/authsdk/internal/flow/signup"
	"github.com/authsdk/authsdk/internal/foundation/clock"
	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/foundation/metric"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/platform/jobs"
	"github.com/authsdk/authsdk/internal/platform/limit"
)

// due makes a job that waits for its next attempt due now, as time would. It
// reports whether there was one.
func due(t *testing.T, d *db.DB) (was bool) {
	t.Helper()
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		done, err := tx.ExecContext(t.Context(), `UPDATE river_job SET state = 'available', scheduled_at = created_at WHERE state = 'retryable'`)
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		was = n == 1
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return was
}

func eventually(t *testing.T, what string, reached func() bool) {
	t.Helper()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	deadline := time.After(30 * time.Second)
	for !reached() {
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("not after 30 s: %s", what)
		}
	}
}

func TestAMailIsTriedAgainUntilItIsTakenAndComesOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		server := perform(t, &script{tls: known, auth: "PLAIN", answers: map[string][]string{"MAIL": {"451 try later"}, ".": {"452 full"}}})
		sender := server.sender("starttls")
		sender.Username, sender.Password = "user", "secret"
		c := (*clock.Clock)(nil)
		queue, err := jobs.New(d, dbtest.Log)
		if err != nil {
			t.Fatal(err)
		}
		limiter, err := limit.Open(t.Context(), "", dbtest.Log, c)
		if err != nil {
			t.Fatal(err)
		}
		signups := &signup.Service{
			DB: d, Clock: c, Jobs: queue, Limiter: limiter, Metrics: metric.New(), Mail: sender,
			Links: secret.NewRing("mail-links", "test"), BaseURL: "https://auth.example.com", VerifyTTL: time.Hour,
		}
		queue.Handle(map[string]jobs.Handler{signup.VerifyMail: signups.SendVerification})
		err = d.Write(t.Context(), func(tx *db.Tx) error {
			_, err := user.Create(t.Context(), tx, c.Now(), user.User{ID: uuid.New(), Email: "jo@example.org", Role: user.RoleUser, Active: true})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := queue.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			if err := queue.Stop(ctx); err != nil {
				t.Error(err)
			}
		})
		if err := signups.RequestResend(t.Context(), "jo@example.org"); err != nil {
			t.Fatal(err)
		}
		for _, attempt := range []string{"first", "second"} {
			eventually(t, "the "+attempt+" attempt fails", func() bool { return due(t, d) })
		}
		eventually(t, "the third attempt works", func() bool {
			n, err := queue.Waiting(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var done int
			err = d.Read().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM river_job WHERE kind = $1 AND state = 'completed'`, signup.VerifyMail).Scan(&done)
			if err != nil {
				t.Fatal(err)
			}
			return n == 0 && done == 1
		})
		heard, _, logins, taken := server.results()
		if len(taken) != 1 || len(logins) != 3 || strings.Count(heard, "MAIL FROM") != 3 {
			t.Fatalf("%d mails came in %d conversations: %s", len(taken), len(logins), heard)
		}
		got := open(t, taken[0])
		if got.To != "<jo@example.org>" || !strings.Contains(got.Parts["text/plain"], "https://auth.example.com/verify-email?token=") || got.Parts["text/html"] == "" {
			t.Errorf("%+v", got)
		}
		w := httptest.NewRecorder()
		signups.Metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		for _, want := range []string{`auth_service_mails_total{outcome="failed"} 2`, `auth_service_mails_total{outcome="sent"} 1`} {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("not counted: %s", want)
			}
		}
	})
}
