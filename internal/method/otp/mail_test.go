package otp

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/foundation/db"
	"github.com/authsdk/authsdk/internal/foundation/db/dbtest"
	"github.com/authsdk/authsdk/internal/platform/jobs"
)

// work starts the queue; from then on next gives its jobs.
func (w *world) work() {
	w.t.Helper()
	if err := w.Jobs.Start(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := w.Jobs.Stop(ctx); err != nil {
			w.t.Error(err)
		}
	})
}

func (w *world) next() jobs.Job {
	w.t.Helper()
	select {
	case job := <-w.jobs:
		return job
	case <-time.After(10 * time.Second):
		w.t.Fatal("no job after 10 s")
		panic("unreachable")
	}
}

// send works a job and returns the text of the mail, empty if there was none.
func (w *world) send(job jobs.Job) string {
	w.t.Helper()
	before := len(w.outbox.sent)
	if err := w.SendCode(w.t.Context(), job); err != nil {
		w.t.Fatal(err)
	}
	if len(w.outbox.sent) == before {
		return ""
	}
	m := w.outbox.sent[before]
	if m.To != w.ann.Email || m.ID != job.ID.String() {
		w.t.Errorf("a mail to %s with id %s", m.To, m.ID)
	}
	return m.Subject + "\n" + m.Text
}

func TestAMailedCodeIsTheRightOne(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.work()
		c := w.issue()
		job := w.next()
		said := w.send(job)
		if !strings.Contains(said, w.codeOf(c)) || !strings.Contains(said, "10 minutes") {
			t.Errorf("%s is not in\n%s", w.codeOf(c), said)
		}
		w.Clock.Advance(9*time.Minute + 15*time.Second)
		if again := w.send(job); !strings.Contains(again, w.codeOf(c)) || !strings.Contains(again, "1 minute") || strings.Contains(again, "1 minutes") {
			t.Errorf("a second run is to mail the same code:\n%s", again)
		}
		asked := w.ask(uuid.New(), "erase_account")
		said = w.send(w.next())
		for _, part := range []string{w.codeOf(asked), "erase_account", "order 7"} {
			if !strings.Contains(said, part) {
				t.Errorf("%s is not in\n%s", part, said)
			}
		}
	})
}

func TestACodeThatIsOfNoUseIsNotMailed(t *testing.T) {
	rows := []struct {
		name   string
		before func(w *world, c Challenge) // the job runs
	}{
		{"it was used", func(w *world, c Challenge) { w.try(c, w.codeOf(c)) }},
		{"it has expired", func(w *world, _ Challenge) { w.Clock.Advance(ttl) }},
		{"a resend replaced it", func(w *world, c Challenge) {
			if err := w.Resend(w.t.Context(), w.again(c), w.ann); err != nil {
				w.t.Fatal(err)
			}
			if said := w.send(w.next()); !strings.Contains(said, w.codeOf(c)) {
				w.t.Errorf("the resend mails\n%s", said)
			}
		}},
		{"the account was erased", func(w *world, _ Challenge) {
			w.write(func(tx *db.Tx) error { return Forget(w.t.Context(), tx, w.ann.ID) })
		}},
		{"five guesses were wrong", func(w *world, c Challenge) {
			for i := range 5 {
				w.try(c, w.wrongFor(c, i))
			}
		}},
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.work()
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				w.write(func(tx *db.Tx) error { return Forget(t.Context(), tx, w.ann.ID) })
				c := w.issue()
				job := w.next()
				row.before(w, c)
				if said := w.send(job); said != "" {
					t.Errorf("mailed:\n%s", said)
				}
			})
		}
	})
}

func TestAMailServerThatIsDownIsTriedAgain(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	w.work()
	w.issue()
	job := w.next()
	w.outbox.down = errors.New("no route")
	if err := w.SendCode(t.Context(), job); !errors.Is(err, w.outbox.down) {
		t.Errorf("%v: the queue would not try again", err)
	}
}
