package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// A scenario is an endpoint and who asks it.
//
// To add one: write an act (what it sends, what it makes of the answer), name
// the parts of its ceiling and say how the crowd is prepared.
type scenario struct {
	name  string
	parts []part // its summed ceiling; none: it is measured without one
	// strict is the ceiling with HTTP as it is asked here, where that is not the
	// POST that the ceilings are defined with.
	strict []part

	prepare func(s *site) (*crowd, error)
	// refill brings a crowd whose acts ask only once up to a size.
	refill func(s *site, c *crowd, size int) error
	fresh  int // how many of them a slice has, and each second of the open model
	// slice runs what is more than one closed loop.
	slice func(s *site, c *crowd, d time.Duration) (n int, took time.Duration, err error)
}

// scenarios that have a ceiling, and a floor to keep.
var scenarios = []scenario{
	{
		name: "login", parts: []part{httpPost, readByKey, argon, sign, writeOne},
		prepare: func(s *site) (*crowd, error) {
			return logins(s.emails[:people]), s.each(func(*session) {}) // from where they are known
		},
	},
	{
		name:    "OTP login",
		parts:   []part{httpPost, readByKey, argon, writeOne, httpPost, sign, writeOne},
		prepare: codedLogins, slice: codedSlice,
	},
	{
		name: "refresh", parts: []part{httpPost, sign, writeOne},
		prepare: func(s *site) (*crowd, error) {
			c := &crowd{}
			return c, s.each(func(t *session) { c.join(t) })
		},
	},
	{
		name: "validate, first sight", parts: []part{httpPost, jwtCheck}, strict: []part{httpGet, jwtCheck},
		prepare: func(*site) (*crowd, error) { return &crowd{}, nil }, refill: freshTokens, fresh: 1500,
	},
	{
		name: "validate, seen token", parts: []part{httpPost, cached}, strict: []part{httpGet, cached},
		prepare: readers("/auth/validate"),
	},
	// Services with a credential of their own (scenarios_machine.go).
	{name: "client credentials", parts: []part{httpPost, readByKey, sign}, prepare: clientGrants},
	{name: "introspect", parts: []part{httpPost, cached}, prepare: introspections},
}

// others are measured without a ceiling: what they cost, and whether that grows
// with the tables.
var others = []scenario{
	{name: "GET users/me", prepare: readers("/auth/users/me")},
	{name: "GET sessions", prepare: lists("/auth/sessions")},
	{name: "GET history", prepare: lists("/auth/history")},
	{name: "GET jwks.json", prepare: readers("/.well-known/jwks.json")},
	{name: "POST signup", prepare: strangers("/auth/signup", `{"email":"%s","password":"`+password+`"}`)},
	{name: "POST password/forgot", prepare: strangers("/auth/password/forgot", `{"email":"%s"}`)},
	{name: "POST logout", prepare: func(*site) (*crowd, error) { return &crowd{}, nil }, refill: freshSessions, fresh: 40},
}

// signingIn is an account that logs in again and again.
type signingIn struct {
	email string
	then  func(body []byte) error
}

func logins(emails []string) *crowd {
	c := &crowd{}
	for _, email := range emails {
		c.join(signingIn{email: email})
	}
	return c
}

func (a signingIn) request(b []byte) []byte {
	return post(b, "/auth/login", "", `{"email":"`+a.email+`","password":"`+password+`","audience":"orders-api"}`)
}

func (a signingIn) reply(body []byte) (bool, error) {
	if !bytes.Contains(body, []byte(`"refresh_token":`)) {
		return true, errors.New("a login without a session")
	}
	if a.then != nil {
		return false, a.then(body)
	}
	return true, nil
}

// session refreshes.
type session struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`

	made func(access string) // hears of new tokens; may be nil
}

func (t *session) request(b []byte) []byte {
	return post(b, "/auth/token", "", `{"refresh_token":"`+t.Refresh+`"}`)
}

func (t *session) reply(body []byte) (bool, error) {
	if err := json.Unmarshal(body, t); err != nil {
		return false, err
	}
	if t.made != nil {
		t.made(t.Access)
	}
	return true, nil
}

// logIn makes sessions, n of them.
func (s *site) logIn(n int) (sessions []*session, err error) {
	c := &crowd{}
	made := make(chan *session, n)
	for i := range n {
		c.join(signingIn{email: s.emails[i%people], then: func(body []byte) error {
			t := &session{}
			made <- t
			return json.Unmarshal(body, t)
		}})
	}
	if _, _, err := closed(s.address, c, connections, time.Hour, n); err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	close(made)
	for t := range made {
		sessions = append(sessions, t)
	}
	return sessions, nil
}

// visited has everybody logged in so many times, and everybody's last session
// remembered.
func (s *site) visited(times int) (err error) {
	for ; s.visits < times && err == nil; s.visits++ {
		s.sessions, err = s.logIn(people)
	}
	return err
}

// each tells of a session of every account.
func (s *site) each(tell func(*session)) (err error) {
	if err := s.visited(1); err != nil {
		return err
	}
	for _, t := range s.sessions {
		tell(t)
	}
	return nil
}

// reading gets something with an access token.
type reading struct {
	path, access string
	once         bool
}

func (a reading) request(b []byte) []byte    { return get(b, a.path, a.access) }
func (a reading) reply([]byte) (bool, error) { return !a.once, nil }

// readers have a token each, the same one every time.
func readers(path string) func(s *site) (*crowd, error) {
	return func(s *site) (*crowd, error) {
		c := &crowd{}
		return c, s.each(func(t *session) { c.join(reading{path: path, access: t.Access}) })
	}
}

// lists are read a page at a time, which everybody can fill: the work is the
// same whoever asks.
func lists(path string) func(s *site) (*crowd, error) {
	const page = 3
	return func(s *site) (*crowd, error) {
		if err := s.visited(page); err != nil {
			return nil, err
		}
		return readers(fmt.Sprintf("%s?limit=%d", path, page))(s)
	}
}

// freshTokens are got by refreshing and never shown before.
func freshTokens(s *site, c *crowd, size int) error {
	refreshing := &crowd{}
	tell := func(access string) { c.join(reading{path: "/auth/validate", access: access, once: true}) }
	err := s.each(func(t *session) {
		t.made = tell
		refreshing.join(t)
	})
	if err != nil {
		return err
	}
	_, _, err = closed(s.address, refreshing, connections, time.Hour, max(size-c.size(), 0))
	s.each(func(t *session) { t.made = nil })
	if err != nil {
		return fmt.Errorf("refresh: %w", err)
	}
	return nil
}

// leaving logs out.
type leaving struct{ *session }

func (a leaving) request(b []byte) []byte {
	return post(b, "/auth/logout", a.Access, `{"refresh_token":"`+a.Refresh+`"}`)
}

func (leaving) reply([]byte) (bool, error) { return false, nil }

func freshSessions(s *site, c *crowd, size int) error {
	sessions, err := s.logIn(max(size-c.size(), 0))
	for _, t := range sessions {
		c.join(leaving{t})
	}
	return err
}

// stranger comes with an address that was never seen before.
type stranger struct {
	path, body string
	count      *atomic.Int64
}

func strangers(path, body string) func(*site) (*crowd, error) {
	count := new(atomic.Int64)
	return func(*site) (*crowd, error) {
		c := &crowd{}
		for range 4 * connections {
			c.join(stranger{path, body, count})
		}
		return c, nil
	}
}

func (a stranger) request(b []byte) []byte {
	email := fmt.Sprintf("stranger%d-%d@bench.example.com", a.count.Add(1), time.Now().UnixNano())
	return post(b, a.path, "", fmt.Sprintf(a.body, email))
}

func (stranger) reply([]byte) (bool, error) { return true, nil }

// challenged is an account that logs in with a password and a mailed code: it
// waits in asked until the code is there.
type challenged struct {
	email     string
	asked     chan *challenged
	challenge struct {
		Token string `json:"challenge_token"`
	}
	code string
}

func codedLogins(s *site) (*crowd, error) {
	c := &crowd{}
	for _, email := range s.codes {
		c.join(&challenged{email: email, asked: s.asked})
	}
	return c, nil
}

func (a *challenged) request(b []byte) []byte { return signingIn{email: a.email}.request(b) }

func (a *challenged) reply(body []byte) (bool, error) {
	if err := json.Unmarshal(body, &a.challenge); err != nil || a.challenge.Token == "" {
		return false, errors.Join(errors.New("a login without a challenge"), err)
	}
	a.asked <- a
	return false, nil
}

// proving is a challenged account that has its code.
type proving struct{ *challenged }

func (a proving) request(b []byte) []byte {
	return post(b, "/auth/otp/verify/login", "", `{"challenge_token":"`+a.challenge.Token+`","code":"`+a.code+`"}`)
}

func (a proving) reply(body []byte) (bool, error) {
	_, err := signingIn{}.reply(body)
	return false, err
}

// codedSlice has accounts log in, waits for all mails and brings the codes. The
// wait is not counted as time, but what the server does in it, as cost.
func codedSlice(s *site, c *crowd, d time.Duration) (n int, took time.Duration, err error) {
	n, took, err = closed(s.address, c, connections, d, anyNumber)
	if err != nil {
		return n, took, err
	}
	proofs, took2, err := s.prove(c)
	if err == nil && proofs < n {
		err = fmt.Errorf("of %d challenges %d were answered", n, proofs)
	}
	return n, took + took2, err
}

// prove answers all challenges; their accounts go back to the crowd.
func (s *site) prove(c *crowd) (n int, took time.Duration, err error) {
	proofs := &crowd{}
	var accounts []act
	for range len(s.asked) {
		a := <-s.asked
		if a.code, err = s.sink.spend(a.email, 20*time.Second); err != nil {
			return 0, 0, err
		}
		proofs.join(proving{a})
		accounts = append(accounts, a)
	}
	n, took, err = closed(s.address, proofs, connections, time.Hour, len(accounts))
	c.join(accounts...)
	return n, took, err
}
