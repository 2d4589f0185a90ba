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

// victim is what a round kills. Killing starts it again, too.
type victim struct {
	name string
	kill func()
}

func TestKillMinus9LosesNothingThatWasAcknowledged(t *testing.T) {
	t.Run("on SQLite", func(t *testing.T) {
		t.Parallel()
		v := sqliteStore(t).serve(t)
		crash(t, v, []victim{{"authd", v.crashAndRestart}})
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
		crash(t, v, []victim{{"authd", v.crashAndRestart}, {"PostgreSQL", func() {
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

func crash(t *testing.T, v *server, victims []victim) {
	rounds := 4
	if soak {
		rounds = 500
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	var all []*actor
	for range actors {
		// The patience of a client is above that of the server.
		all = append(all, &actor{api: authapi.New(v.Base, patience), email: v.account()})
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
	awaitMails(t, all)
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
acknowledged:  %d sign-ups, %d logins, %d refreshes, %d logouts
in doubt:      %d without an answer, %d refused with 503
verified:      %d sign-ups had one mail each and logged in; the last mail came %.1f s after the last crash
problems:      %d (acknowledged and lost, logged out, or answered wrongly)`,
		strings.Join(kills, ", "), time.Since(begin).Seconds(), sum.signups, sum.logins, sum.refreshes, sum.logouts,
		sum.unanswered, sum.unavailable, sum.confirmed, mailed.Seconds(), len(sum.problems))
	for _, p := range sum.problems[:min(len(sum.problems), 20)] {
		t.Error(p)
	}
	if sum.confirmed != sum.signups {
		t.Errorf("%d of %d acknowledged sign-ups are there", sum.confirmed, sum.signups)
	}
	if n := v.count(t, `SELECT COUNT(*) FROM (SELECT recipient FROM mailbox GROUP BY recipient HAVING COUNT(*) > 1) AS twice`); n != 0 {
		t.Errorf("%d addresses got more than one mail", n)
	}
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
}

// oneRound lets everybody act, kills at a random moment, lets them go on after
// the restart, and then checks every session.
func oneRound(t *testing.T, all []*actor, victim victim, random *rand.Rand) {
	stop := make(chan struct{})
	var acting sync.WaitGroup
	for _, a := range all {
		own := rand.New(rand.NewPCG(random.Uint64(), 0))
		acting.Go(func() { a.act(context.Background(), stop, own) })
	}
	<-time.After(time.Duration(20+random.IntN(600)) * time.Millisecond) // the random moment
	victim.kill()
	<-time.After(100 * time.Millisecond) // of going on
	close(stop)
	acting.Wait()
	for _, a := range all {
		a.checkSessions(t.Context())
		a.checkMail(t.Context())
		if len(a.problems) > 0 {
			t.Errorf("after %s was killed: %s", victim.name, a.problems[0])
		}
	}
}

// awaitMails polls until every acknowledged sign-up has had its mail.
func awaitMails(t *testing.T, all []*actor) {
	deadline := time.After(mailPatience)
	poll := time.NewTicker(200 * time.Millisecond)
	defer poll.Stop()
	for {
		waiting := 0
		for _, a := range all {
			waiting += a.checkMail(t.Context())
		}
		if waiting == 0 {
			return
		}
		select {
		case <-poll.C:
		case <-deadline:
			t.Errorf("%d acknowledged sign-ups had no mail after %v", waiting, mailPatience)
			return
		}
	}
}
