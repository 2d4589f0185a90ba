package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/authsdk/authsdk/e2e/authapi"
)

// actor is a client under faults and the model of what it was told. Whatever
// was acknowledged must be true for ever; what got no answer may be or not be.
type actor struct {
	api      *authapi.Client
	email    string // a confirmed account, to log in with
	sessions []*session
	signups  []string // acknowledged; their mail has not been read yet
	doubtful []string // no answer

	tally
}

// session is one login that was acknowledged.
type session struct {
	refresh string // the latest acknowledged token
	ended   bool   // a logout was acknowledged
	leaving bool   // a logout got no answer
}

// tally counts what happened.
type tally struct {
	signups, logins, refreshes, logouts int // acknowledged
	unanswered, unavailable, confirmed  int
	problems                            []string
}

func (a *tally) add(b tally) {
	a.signups += b.signups
	a.logins += b.logins
	a.refreshes += b.refreshes
	a.logouts += b.logouts
	a.unanswered += b.unanswered
	a.unavailable += b.unavailable
	a.confirmed += b.confirmed
	a.problems = append(a.problems, b.problems...)
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
		var failed bool
		switch dice := random.IntN(100); {
		case dice < 30:
			failed = a.signUp(ctx)
		case dice < 55 || len(a.sessions) == 0:
			failed = a.logIn(ctx)
		case dice < 92:
			failed = a.rotate(ctx, a.anyOf(random))
		default:
			failed = a.leave(ctx, a.anyOf(random))
		}
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
	} else {
		a.doubtful = append(a.doubtful, email)
	}
	return failed
}

func (a *actor) logIn(ctx context.Context) (failed bool) {
	tokens, err := a.api.Login(ctx, a.email, password, "")
	done, failed := a.outcome("login", err)
	if done {
		a.logins++
		a.sessions = append(a.sessions, &session{refresh: tokens.Refresh})
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
		s.refresh = tokens.Refresh
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
		s.ended = true
	} else {
		s.leaving = true
	}
	return failed
}

// checkSessions holds the server to what it acknowledged, and forgets them.
func (a *actor) checkSessions(ctx context.Context) {
	for _, s := range a.sessions {
		tokens, err := a.api.Refresh(ctx, s.refresh)
		var refused *authapi.Refused
		gone := errors.As(err, &refused) && refused.Status == http.StatusUnauthorized
		switch {
		case s.ended && !gone:
			a.problem("a session that was logged out lives again (%v)", err)
		case s.ended, s.leaving && gone:
		case err != nil:
			a.problem("a session was logged out: %v", err)
		default:
			if _, err := a.api.Validate(ctx, tokens.Access); err != nil {
				a.problem("a new access token: %v", err)
			}
		}
	}
	a.sessions = nil
}

// checkMail confirms the acknowledged sign-ups whose mail has come, logs them
// in, and returns how many still wait.
func (a *actor) checkMail(ctx context.Context) (waiting int) {
	var left []string
	for _, email := range a.signups {
		mails, err := a.api.Mails(ctx, email)
		switch {
		case err != nil:
			a.problem("mailbox: %v", err)
		case len(mails) == 0:
			left = append(left, email)
		case len(mails) > 1 || len(mails[0].Tokens) != 1:
			a.problem("%s got %d mails", email, len(mails))
		default:
			if _, err := a.api.Verify(ctx, mails[0].Tokens[0]); err != nil {
				a.problem("the link of an acknowledged sign-up: %v", err)
			} else if _, err := a.api.Login(ctx, email, password, ""); err != nil {
				a.problem("the login of an acknowledged sign-up: %v", err)
			} else {
				a.confirmed++
			}
		}
	}
	a.signups = left
	return len(left)
}
