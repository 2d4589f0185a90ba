package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authsdk/authsdk/e2e/authapi"
)

// fault is what a round suffers. strike begins it and mends it.
type fault struct {
	name   string
	strike func()
}

func TestKillMinus9LosesNothingThatWasAcknowledged(t *testing.T) {
	t.Parallel()
	t.Run("on SQLite", func(t *testing.T) {
		t.Parallel()
		v := sqliteStore(t).serve(t)
		crash(t, v, []fault{{"authd", v.crashAndRestart}})
		var verdict string
		if err := v.sql(t).QueryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
			t.Errorf("the file is damaged: %s %v", verdict, err)
		}
	})
	t.Run("on PostgreSQL", func(t *testing.T) {
		t.Parallel()
		postgres := ownPostgres(t)
		v := postgresAt(t, postgres.URL).serve(t)
		v.mayFail = true // jobs fail, loudly, while PostgreSQL is down
		crash(t, v, []fault{{"authd", v.crashAndRestart}, {"PostgreSQL", func() {
			if err := postgres.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := postgres.Start(); err != nil {
				t.Fatal(err)
			}
			v.await()
		}}})
	})
}

func (v *server) crashAndRestart() {
	v.kill()
	v.restart()
}

const (
	actors = 6
	// mailPatience is beyond the slowest mail: on PostgreSQL a job that was
	// running at the crash is taken up after 40 s plus three timers.
	mailPatience = 2 * time.Minute
)

func crash(t *testing.T, v *server, victims []fault) {
	rounds := 4
	if soak {
		rounds = 500
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	var all []*actor
	for range actors {
		// The patience of a client is above that of the server.
		client := authapi.New(v.Base, patience)
		all = append(all, &actor{api: client, look: client, email: v.account()})
	}
	killed := map[string]int{}
	begin := time.Now()
	for round := range rounds {
		victim := victims[round%len(victims)]
		killed[victim.name]++
		oneRound(t, all, victim, random)
		if t.Failed() {
			break
		}
	}
	restarted := time.Now()
	settle(t, all)
	mailed := time.Since(restarted)

	var sum tally
	for _, a := range all {
		sum.add(a.tally)
	}
	var kills []string
	for _, w := range victims {
		kills = append(kills, fmt.Sprintf("%s %d times", w.name, killed[w.name]))
	}
	t.Logf(`killed:        %s, in %.0f s
acknowledged:  %s
in doubt:      %d without an answer, %d refused with 503
verified:      %d sign-ups had one mail each and logged in; %d other mails; the last mail came %.1f s after the last crash
problems:      %d (acknowledged and lost, logged out, or answered wrongly)`,
		strings.Join(kills, ", "), restarted.Sub(begin).Seconds(), &sum,
		sum.unanswered, sum.unavailable, sum.confirmed, sum.mails, mailed.Seconds(), len(sum.problems))
	sum.verify(t)
	if sum.confirmed != sum.signups {
		t.Errorf("%d of %d acknowledged sign-ups are there", sum.confirmed, sum.signups)
	}
	v.mailedOnce(t)
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
}

// verify fails the test for what must not be.
func (sum *tally) verify(t *testing.T) {
	t.Helper()
	for _, p := range sum.problems[:min(len(sum.problems), 20)] {
		t.Error(p)
	}
}

// mailedOnce looks at the whole mailbox. Codes are left to the model, whose
// last look at an account with codes is a login.
func (v *server) mailedOnce(t *testing.T) {
	t.Helper()
	n := v.count(t, `SELECT COUNT(*) FROM (SELECT recipient FROM mailbox WHERE subject <> $1 GROUP BY recipient, subject HAVING COUNT(*) > 1) AS twice`, codeMail)
	if n != 0 {
		t.Errorf("%d addresses got a mail more than once", n)
	}
}

// oneRound lets everybody act, strikes at a random moment, lets them go on
// afterwards, and then checks every session.
func oneRound(t *testing.T, all []*actor, f fault, random *rand.Rand) {
	stop := make(chan struct{})
	var acting sync.WaitGroup
	for _, a := range all {
		own := rand.New(rand.NewPCG(random.Uint64(), 0))
		acting.Go(func() { a.act(context.Background(), stop, own) })
	}
	<-time.After(time.Duration(20+random.IntN(600)) * time.Millisecond) // the random moment
	f.strike()
	<-time.After(100 * time.Millisecond) // of going on
	close(stop)
	acting.Wait()
	var checking sync.WaitGroup
	for _, a := range all {
		checking.Go(func() {
			a.checkSessions(t.Context())
			a.checkMail(t.Context())
		})
	}
	checking.Wait()
	for _, a := range all {
		if len(a.problems) > 0 {
			t.Errorf("round of %s: %s", f.name, a.problems[0])
		}
	}
}

// settle ends all stories, checks everything once more, and polls until every
// mail that was acknowledged has come.
func settle(t *testing.T, all []*actor) {
	t.Helper()
	conclude(t, all)
	deadline := time.After(mailPatience)
	poll := time.NewTicker(200 * time.Millisecond)
	defer poll.Stop()
	for {
		waiting := 0
		for _, a := range all {
			waiting += a.checkMail(t.Context())
			a.holders = nil // who was confirmed now has no story to come
		}
		if waiting == 0 {
			return
		}
		select {
		case <-poll.C:
		case <-deadline:
			t.Errorf("%d acknowledged sign-ups and acts had no mail after %v", waiting, mailPatience)
			return
		}
	}
}

// conclude ends all stories and checks everything but the mails.
func conclude(t *testing.T, all []*actor) {
	for _, a := range all {
		a.played, a.holders = append(a.played, a.holders...), nil
		a.checkSessions(t.Context())
	}
}
