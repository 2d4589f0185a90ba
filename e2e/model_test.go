package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/authsdk/authsdk/e2e/authapi"
)

// actor is a client under faults and the model of what it was told. Whatever
// was acknowledged must be true for ever; what got no answer may be or not be.
type actor struct {
	api      *authapi.Client // acts through the fault
	look     *authapi.Client // looks at the truth afterwards, past lossy networks
	email    string          // a confirmed account, to log in with
	sessions []*session
	signups  []string  // acknowledged; their mail has not been read yet
	holders  []*holder // of accounts with a story to act out
	played   []*holder // whose story is over; checked after the fault
	owed     []*holder // whose mails have not all come

	tolerates []string // codes that the fault may refuse with, such as token_expired

	tally
}

// session is one login that was acknowledged.
type session struct {
	access  string // the latest acknowledged tokens
	refresh string
	ended   bool // a logout, or what ends sessions, was acknowledged
	leaving bool // it got no answer
}

// end marks a session after an act that ends it.
func (s *session) end(acknowledged bool) {
	if acknowledged {
		s.ended = true
	} else {
		s.leaving = true
	}
}

// tally counts what happened.
type tally struct {
	signups, logins, refreshes, logouts int // acknowledged
	changes, resets, purges, codes      int // likewise; see stories
	unanswered, unavailable, tolerated  int
	confirmed, mails                    int
	slowest                             time.Duration // act
	problems                            []string
}

func (a *tally) add(b tally) {
	a.signups += b.signups
	a.logins += b.logins
	a.refreshes += b.refreshes
	a.logouts += b.logouts
	a.changes += b.changes
	a.resets += b.resets
	a.purges += b.purges
	a.codes += b.codes
	a.unanswered += b.unanswered
	a.unavailable += b.unavailable
	a.tolerated += b.tolerated
	a.confirmed += b.confirmed
	a.mails += b.mails
	a.slowest = max(a.slowest, b.slowest)
	a.problems = append(a.problems, b.problems...)
}

// acknowledged counts all acts that had their answer.
func (a *tally) acknowledged() int {
	return a.signups + a.logins + a.refreshes + a.logouts + a.changes + a.resets + a.purges + a.codes
}

func (a *tally) String() string {
	return fmt.Sprintf("%d sign-ups, %d logins, %d refreshes, %d logouts, %d password changes, %d resets, %d revocations of others, %d logins by code",
		a.signups, a.logins, a.refreshes, a.logouts, a.changes, a.resets, a.purges, a.codes)
}

func (a *actor) problem(format string, args ...any) {
	a.problems = append(a.problems, fmt.Sprintf(format, args...))
}

// act does things in random order until stop, as a client that keeps trying.
func (a *actor) act(ctx context.Context, stop <-chan struct{}, random *rand.Rand) {
	pause := time.NewTicker(3 * time.Millisecond)
	defer pause.Stop()
	for {
		select {
		case <-stop:
			return
		default:
		}
		begin := time.Now()
		var failed bool
		switch dice := random.IntN(100); {
		case dice < 25:
			failed = a.signUp(ctx)
		case dice < 47 || len(a.sessions) == 0:
			failed = a.logIn(ctx)
		case dice < 78:
			failed = a.rotate(ctx, a.anyOf(random))
		case dice < 85:
			failed = a.leave(ctx, a.anyOf(random))
		default:
			failed = a.play(ctx, random)
		}
		a.slowest = max(a.slowest, time.Since(begin))
		if failed { // it is down: no use hurrying
			<-pause.C
		}
	}
}

// anyOf picks one of the newest sessions, so that each is refreshed often.
func (a *actor) anyOf(random *rand.Rand) *session {
	newest := a.sessions[max(0, len(a.sessions)-4):]
	return newest[random.IntN(len(newest))]
}

// outcome sorts an answer: done, in doubt (none, or unavailable), or one that
// must not be.
func (a *actor) outcome(act string, err error) (done, failed bool) {
	var refused *authapi.Refused
	switch {
	case err == nil:
		return true, false
	case !errors.As(err, &refused):
		a.unanswered++
	case refused.Status == http.StatusServiceUnavailable && refused.Header.Get("Retry-After") != "":
		a.unavailable++
	case slices.Contains(a.tolerates, refused.Envelope().Code):
		a.tolerated++
	default:
		a.problem("%s: %v", act, err)
	}
	return false, true
}

func (a *actor) signUp(ctx context.Context) (failed bool) {
	email := newEmail()
	_, err := a.api.Signup(ctx, email, password)
	done, failed := a.outcome("sign-up", err)
	if done {
		a.tally.signups++
		a.signups = append(a.signups, email)
	}
	return failed
}

func (a *actor) logIn(ctx context.Context) (failed bool) {
	tokens, err := a.api.Login(ctx, a.email, password, "")
	done, failed := a.outcome("login", err)
	if done {
		a.logins++
		a.sessions = append(a.sessions, &session{access: tokens.Access, refresh: tokens.Refresh})
	}
	return failed
}

// rotate sends the latest token that was acknowledged, also after an answer was
// lost.
func (a *actor) rotate(ctx context.Context, s *session) (failed bool) {
	if s.ended || s.leaving {
		return false
	}
	tokens, err := a.api.Refresh(ctx, s.refresh)
	done, failed := a.outcome("refresh", err)
	if done {
		a.refreshes++
		s.access, s.refresh = tokens.Access, tokens.Refresh
	}
	return failed
}

func (a *actor) leave(ctx context.Context, s *session) (failed bool) {
	if s.ended {
		return false
	}
	_, err := a.api.Logout(ctx, s.refresh)
	done, failed := a.outcome("logout", err)
	if done {
		a.logouts++
	}
	s.end(done)
	return failed
}

// checkSessions holds the server to what it acknowledged, and forgets it.
func (a *actor) checkSessions(ctx context.Context) {
	for _, s := range a.sessions {
		a.checkSession(ctx, s, "a session")
	}
	a.sessions = nil
	for _, h := range a.played {
		a.checkHolder(ctx, h)
	}
	a.owed = append(a.owed, a.played...)
	a.played = nil
}

func (a *actor) checkSession(ctx context.Context, s *session, what string) {
	tokens, err := a.look.Refresh(ctx, s.refresh)
	var refused *authapi.Refused
	gone := errors.As(err, &refused) && refused.Status == http.StatusUnauthorized
	switch {
	case s.ended && !gone:
		a.problem("%s that had ended lives again (%v)", what, err)
	case s.ended:
		if _, err := a.look.Validate(ctx, s.access); err == nil {
			a.problem("%s that had ended has a good access token", what)
		}
	case s.leaving && gone:
	case err != nil:
		a.problem("%s was logged out: %v", what, err)
	default:
		if _, err := a.look.Validate(ctx, tokens.Access); err != nil {
			a.problem("a new access token of %s: %v", what, err)
		}
	}
}

// checkMail confirms the acknowledged sign-ups whose mail has come, logs them
// in, and returns how many still wait, and how many other mails.
func (a *actor) checkMail(ctx context.Context) (waiting int) {
	var left []string
	for _, email := range a.signups {
		mails, err := a.look.Mails(ctx, email)
		switch {
		case err != nil:
			a.problem("mailbox: %v", err)
		case len(mails) == 0:
			left = append(left, email)
		case len(mails) > 1 || len(mails[0].Tokens) != 1:
			a.problem("%s got %d mails", email, len(mails))
		default:
			if _, err := a.look.Verify(ctx, mails[0].Tokens[0]); err != nil {
				a.problem("the link of an acknowledged sign-up: %v", err)
			} else if tokens, err := a.look.Login(ctx, email, password, ""); err != nil {
				a.problem("the login of an acknowledged sign-up: %v", err)
			} else {
				a.confirmed++
				a.engage(ctx, email, tokens)
			}
		}
	}
	a.signups = left
	a.owed = slices.DeleteFunc(a.owed, func(h *holder) bool { return a.mailed(ctx, h) })
	return len(left) + len(a.owed)
}
