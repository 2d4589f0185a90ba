package e2e

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"

	"github.com/authsdk/authsdk/e2e/authapi"
)

// holder of an account, with two sessions and one story to act out. An act in
// doubt ends the story: what a server may still be doing must not be taken for
// what the next act did.
type holder struct {
	email     string
	password  string // good, if next is empty
	next      string // good instead, or too, after an act in doubt
	old       string // an acknowledged act has replaced it
	sessions  []*session
	story     *story
	step      int
	challenge string
	asked     map[string]int // mails that acknowledged requests asked for, by subject
	doubtful  map[string]int // and requests without an answer
}

// story is what a holder does. Each call is one step; over ends it.
type story struct {
	name   string
	byCode bool // the account has mailed codes
	act    func(a *actor, ctx context.Context, h *holder) (over, failed bool)
}

var stories = []*story{
	{name: "a password change ends the other sessions", act: (*actor).changePassword},
	{name: "a reset ends all sessions", act: (*actor).resetPassword},
	{name: "revoking the others leaves this session", act: (*actor).purge},
	{name: "a mailed code begins a session", byCode: true, act: (*actor).enterByCode},
}

const (
	newPassword = password + "2"
	// mostHolders of one actor wait for their turn.
	mostHolders = 6

	codeMail    = "Your login verification code"
	linkMail    = "Reset your password"
	resetMail   = "Your password has been reset"
	changedMail = "Your password has been changed"
)

// send is one request of a signed-in holder, or of nobody.
func (a *actor) send(ctx context.Context, api *authapi.Client, method, path string, body any, access string) (authapi.Answer, error) {
	var header []string
	if access != "" {
		header = []string{"Authorization", "Bearer " + access}
	}
	answer, err := api.Do(ctx, method, path, body, header...)
	if err == nil && answer.Status != http.StatusOK {
		err = &authapi.Refused{Answer: answer}
	}
	return answer, err
}

// engage makes a confirmed account the next holder, while nothing is broken.
func (a *actor) engage(ctx context.Context, email string, first authapi.Tokens) {
	if len(a.holders) >= mostHolders {
		return
	}
	h := &holder{email: email, password: password, story: stories[a.confirmed%len(stories)], asked: map[string]int{}, doubtful: map[string]int{}}
	second, err := a.look.Login(ctx, email, password, "")
	if err != nil {
		a.problem("a second login: %v", err)
		return
	}
	h.sessions = []*session{{access: first.Access, refresh: first.Refresh}, {access: second.Access, refresh: second.Refresh}}
	if h.story.byCode {
		if _, err := a.send(ctx, a.look, "POST", "/auth/otp/enable", nil, first.Access); err != nil {
			a.problem("mailed codes could not be switched on: %v", err)
			return
		}
	}
	a.holders = append(a.holders, h)
}

// play does the next step of somebody's story.
func (a *actor) play(ctx context.Context, random *rand.Rand) (failed bool) {
	if len(a.holders) == 0 {
		return a.signUp(ctx) // somebody must come first
	}
	i := random.IntN(len(a.holders))
	h := a.holders[i]
	over, failed := h.story.act(a, ctx, h)
	if over {
		a.holders = append(a.holders[:i:i], a.holders[i+1:]...)
		a.played = append(a.played, h)
	}
	return failed
}

// replaced is what a new password does to the holder, and a mail it asks for.
func (h *holder) replaced(acknowledged bool, mail string) {
	if acknowledged {
		h.old, h.password = h.password, newPassword
		h.asked[mail]++
	} else {
		h.next = newPassword
		h.doubtful[mail]++
	}
}

func (a *actor) changePassword(ctx context.Context, h *holder) (over, failed bool) {
	_, err := a.send(ctx, a.api, "POST", "/auth/password/change", map[string]string{"current_password": h.password, "new_password": newPassword}, h.sessions[0].access)
	done, failed := a.outcome("password change", err)
	if done {
		a.changes++
	}
	h.sessions[1].end(done)
	h.replaced(done, changedMail)
	return true, failed
}

func (a *actor) purge(ctx context.Context, h *holder) (over, failed bool) {
	_, err := a.send(ctx, a.api, "DELETE", "/auth/sessions", nil, h.sessions[0].access)
	done, failed := a.outcome("revoking the other sessions", err)
	if done {
		a.purges++
	}
	h.sessions[1].end(done)
	return true, failed
}

func (a *actor) resetPassword(ctx context.Context, h *holder) (over, failed bool) {
	if h.step == 0 {
		_, err := a.send(ctx, a.api, "POST", "/auth/password/forgot", map[string]string{"email": h.email}, "")
		done, failed := a.outcome("forgotten password", err)
		return a.requested(h, linkMail, done), failed
	}
	mail, here := a.received(ctx, h, linkMail)
	if !here || len(mail.Tokens) != 1 {
		return false, !here
	}
	_, err := a.send(ctx, a.api, "POST", "/auth/password/reset", map[string]string{"token": mail.Tokens[0], "new_password": newPassword}, "")
	done, failed := a.outcome("reset", err)
	if done {
		a.resets++
	}
	for _, s := range h.sessions {
		s.end(done)
	}
	h.replaced(done, resetMail)
	return true, failed
}

func (a *actor) enterByCode(ctx context.Context, h *holder) (over, failed bool) {
	if h.step == 0 {
		answer, err := a.send(ctx, a.api, "POST", "/auth/login", map[string]string{"email": h.email, "password": h.password}, "")
		done, failed := a.outcome("login with a code to come", err)
		h.challenge = textOf(answer, "challenge_token")
		return a.requested(h, codeMail, done), failed
	}
	mail, here := a.received(ctx, h, codeMail)
	if !here || len(mail.Codes) != 1 {
		return false, !here
	}
	answer, err := a.send(ctx, a.api, "POST", "/auth/otp/verify/login", map[string]string{"challenge_token": h.challenge, "code": mail.Codes[0]}, "")
	done, failed := a.outcome("login by code", err)
	if done {
		a.codes++
		h.sessions = append(h.sessions, &session{access: textOf(answer, "access_token"), refresh: textOf(answer, "refresh_token")})
	}
	return true, failed
}

// requested notes a mail that was asked for. Without an answer the story is
// over: a second request might count as one too many.
func (a *actor) requested(h *holder, subject string, done bool) (over bool) {
	if !done {
		h.doubtful[subject]++
		return true
	}
	h.asked[subject]++
	h.step++
	return false
}

// received looks into the mailbox, in the way of the fault, too.
func (a *actor) received(ctx context.Context, h *holder, subject string) (authapi.Mail, bool) {
	mails, err := a.api.Mails(ctx, h.email)
	a.outcome("mailbox", err)
	for _, mail := range mails {
		if mail.Subject == subject {
			return mail, true
		}
	}
	return authapi.Mail{}, false
}

// checkHolder holds the server to what it acknowledged.
func (a *actor) checkHolder(ctx context.Context, h *holder) {
	for _, s := range h.sessions {
		a.checkSession(ctx, s, "a session ("+h.story.name+")")
	}
	good := a.admits(ctx, h.email, h.password)
	switch {
	case !good && (h.next == "" || !a.admits(ctx, h.email, h.next)):
		a.problem("%s: the password is refused", h.story.name)
	case h.old != "" && a.admits(ctx, h.email, h.old):
		a.problem("%s: the password before still works", h.story.name)
	}
}

// admits reports whether a password is right.
func (a *actor) admits(ctx context.Context, email, password string) bool {
	answer, err := a.send(ctx, a.look, "POST", "/auth/login", map[string]string{"email": email, "password": password}, "")
	switch {
	case err == nil:
		return true
	case answer.Status != http.StatusUnauthorized:
		a.problem("a login: %v", err)
	}
	return false
}

// mailed reports whether all mails came that were acknowledged, each once.
func (a *actor) mailed(ctx context.Context, h *holder) bool {
	mails, err := a.look.Mails(ctx, h.email)
	if err != nil {
		a.problem("mailbox: %v", err)
		return false
	}
	came := map[string]int{}
	for _, mail := range mails {
		came[mail.Subject]++
	}
	total := 0
	for _, subject := range []string{codeMail, linkMail, resetMail, changedMail} {
		least, most := h.asked[subject], h.asked[subject]+h.doubtful[subject]
		if h.story.byCode && subject == codeMail {
			most += 2 // the logins of checkHolder
		}
		if came[subject] > most {
			a.problem("%s got %d mails %q, not %d", h.email, came[subject], subject, most)
		}
		if came[subject] < least {
			return false
		}
		total += least
	}
	a.mails += total
	return true
}

// textOf reads a text of an answer; it is empty if there is none.
func textOf(a authapi.Answer, name string) string {
	var fields map[string]any
	if json.Unmarshal(a.Body, &fields) != nil {
		return ""
	}
	text, _ := fields[name].(string)
	return text
}
