package main

import (
	"encoding/base64"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/foundation/secret"
)

const (
	days = 90
	span = days * 24 * time.Hour // in which the sessions and events lie

	refreshTTL  = 7 * 24 * time.Hour // the defaults of the settings
	absoluteTTL = 30 * 24 * time.Hour

	liveShare = 0.20   // of all sessions
	atHome    = 10_000 // accounts known from this machine
	heavyHave = 1_000  // sessions of a heavy account
	heavyOne  = 10_000 // accounts to one heavy
)

// world makes every row from its number alone: nothing is held in memory, and
// two tables agree on a row without asking each other.
type world struct {
	size
	now  time.Time
	hash string
}

// rows is a table's content. The slice is reused.
type rows = iter.Seq[[]any]

// dice is a random sequence that its seed decides (SplitMix64).
type dice uint64

// The sequences.
const (
	ofUser = iota + 1
	ofSession
	ofEvent
)

func roll(sequence, n int) dice { return dice(uint64(sequence)<<56 ^ uint64(n)*0x9e3779b97f4a7c15) }

func (d *dice) next() uint64 {
	*d += 0x9e3779b97f4a7c15
	z := uint64(*d)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (d *dice) n(below int) int { return int(d.next() % uint64(max(below, 1))) }

func (d *dice) chance(p float64) bool { return float64(d.next()>>11)/(1<<53) < p }

// within is a part of a time, in whole microseconds.
func (d *dice) within(t time.Duration) time.Duration {
	return time.Duration(d.n(int(t/time.Microsecond))) * time.Microsecond
}

// id is a UUIDv7 of a moment.
func (d *dice) id(at time.Time) (id uuid.UUID) {
	ms, a, b := uint64(at.UnixMilli()), d.next(), d.next()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6], id[7] = 0x70|byte(a>>8)&0x0f, byte(a)
	for i := range 8 {
		id[8+i] = byte(b >> (56 - 8*i))
	}
	id[8] = 0x80 | id[8]&0x3f
	return id
}

// share is the moment of the n-th of so many, evenly from begin for a length.
func share(begin time.Time, length time.Duration, n, of int) time.Time {
	return begin.Add(time.Duration(float64(length) * float64(n) / float64(of))).Truncate(time.Microsecond)
}

func (w *world) begin() time.Time { return w.now.Add(-span) }

// user is the i-th account: it signed up within two years before the sessions.
func (w *world) user(i int) (id uuid.UUID, created time.Time) {
	const years = 2 * 365 * 24 * time.Hour
	created = share(w.begin().Add(-years), years, i, w.users)
	d := roll(ofUser, i)
	return d.id(created), created
}

func email(i int) string { return fmt.Sprintf("user%07d@example.com", i+1) }

// heavy is how many accounts, the last ones, have a thousand sessions.
func (w *world) heavy() int { return min(max(1, w.users/heavyOne), w.sessions/heavyHave/2) }

// owner is the account of the k-th session.
func (w *world) owner(k int) int {
	d := roll(ofSession, k)
	if d.chance(float64(w.heavy()*heavyHave) / float64(w.sessions)) {
		return w.users - 1 - d.n(w.heavy())
	}
	return d.n(w.users)
}

// browsers are user agents and what authd makes of them.
var browsers = []struct{ agent, device string }{
	{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36", "chrome windows"},
	{"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1", "safari ios"},
	{"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36", "chrome android"},
	{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15", "safari macos"},
	{"Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0", "firefox linux"},
}

func network(i int) string { return fmt.Sprintf("10.%d.%d", i>>8&0xff, i&0xff) }

// origin is where and with what an account is used at a time.
func (w *world) origin(i int, d *dice) (ip, agent string) {
	if d.chance(0.1) {
		i += 7919 // the second place it is known from
	}
	return fmt.Sprintf("%s.%d", network(i), 1+d.n(254)), browsers[i%len(browsers)].agent
}

func (w *world) accounts() rows {
	return func(yield func([]any) bool) {
		row := make([]any, 10)
		for i := range w.users {
			id, at := w.user(i)
			address, role := email(i), "user"
			row = append(row[:0], id, address, address, role, true, true, false, 1, at, at)
			if !yield(row) {
				return
			}
		}
	}
}

func (w *world) passwords() rows {
	return func(yield func([]any) bool) {
		row := make([]any, 3)
		for i := range w.users {
			id, at := w.user(i)
			if row = append(row[:0], id, w.hash, at); !yield(row) {
				return
			}
		}
	}
}

// links are the spent ones of sign-ups, and of a reset in twenty.
func (w *world) links() rows {
	return func(yield func([]any) bool) {
		row := make([]any, 6)
		for i := range w.users {
			id, at := w.user(i)
			for n, purpose := range []string{"verify_email", "reset_password"} {
				if n == 1 && i%20 != 0 {
					continue
				}
				issued := at.Add(time.Duration(n) * 24 * time.Hour)
				row = append(row[:0], id, purpose, secret.Hash(fmt.Sprint(purpose, i)), issued, issued.Add(24*time.Hour), issued.Add(time.Minute))
				if !yield(row) {
					return
				}
			}
		}
	}
}

// seen are the places of each account: its home, for some a second one, and this
// machine for the first.
func (w *world) seen() rows {
	return func(yield func([]any) bool) {
		row := make([]any, 4)
		for i := range w.users {
			id, _ := w.user(i)
			d := roll(ofUser, i)
			at := w.now.Add(-d.within(40 * 24 * time.Hour))
			places := [][2]string{{"network", network(i) + ".0/24"}, {"device", browsers[i%len(browsers)].device}}
			if d.chance(0.5) {
				places = append(places, [2]string{"network", network(i+7919) + ".0/24"})
				if other := browsers[(i+7919)%len(browsers)].device; other != places[1][1] {
					places = append(places, [2]string{"device", other})
				}
			}
			for _, p := range places {
				if row = append(row[:0], id, p[0], p[1], at); !yield(row) {
					return
				}
			}
			if i >= atHome {
				continue
			}
			for _, p := range [][2]string{{"network", "127.0.0.0/24"}, {"device", "go-http-client other"}} {
				if row = append(row[:0], id, p[0], p[1], w.now); !yield(row) {
					return
				}
			}
		}
	}
}

// session is the k-th, and when it began.
func (w *world) session(k int) (id uuid.UUID, created time.Time) {
	created = share(w.begin(), span, k, w.sessions)
	d := roll(ofSession, k)
	return d.id(created), created
}

// signIns are the sessions: a fifth lives, the others were ended or ran out.
func (w *world) signIns() rows {
	return func(yield func([]any) bool) {
		row := make([]any, 20)
		for k := range w.sessions {
			owner := w.owner(k)
			user, _ := w.user(owner)
			id, created := w.session(k)
			d := roll(ofSession, -k)
			ip, agent := w.origin(owner, &d)
			age, absolute := w.now.Sub(created), created.Add(absoluteTTL)
			var last, expires time.Time
			var revoked, reason any
			const young = absoluteTTL - 24*time.Hour
			if age < young && d.chance(liveShare*float64(span)/float64(young)) {
				last = w.now.Add(-d.within(min(age, refreshTTL-24*time.Hour)))
				expires = earlier(last.Add(refreshTTL), absolute)
			} else {
				last = created.Add(d.within(min(age, absoluteTTL-refreshTTL)))
				expires = earlier(last.Add(refreshTTL), absolute)
				if expires.After(w.now) || d.chance(0.5) {
					revoked, reason = last.Add(d.within(min(w.now.Sub(last), 24*time.Hour))), reasons[d.n(len(reasons))]
				}
			}
			generation := d.n(1 + int(last.Sub(created)/(3*time.Hour)))
			row = append(row[:0], id, user, "password", `["orders-api"]`, created, created, absolute, expires,
				generation, 0, 0, last, last, revoked, reason, ip, agent, d.chance(0.02), `[]`, nil)
			if row[17] == true {
				row[18] = `["new_ip"]`
			}
			if !yield(row) {
				return
			}
		}
	}
}

var reasons = []string{session.ReasonLogout, session.ReasonLogout, session.ReasonSelfTargeted, session.ReasonSelfOthers, session.ReasonPasswordChange}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// lockouts are of the last hour: what is older is pruned.
func (w *world) lockouts() rows {
	return func(yield func([]any) bool) {
		for i := range min(1000, w.users) {
			at := w.now.Add(-time.Duration(i) * time.Second)
			account := base64.RawURLEncoding.EncodeToString(secret.Bytes(32))
			if !yield([]any{account, network(i) + ".0/24", 1 + i%4, 0, time.Time{}, at.Add(time.Hour)}) {
				return
			}
		}
	}
}

// challenges are codes mailed within the last hour and a half, half of them used.
func (w *world) challenges() rows {
	return func(yield func([]any) bool) {
		n := min(5000, w.users)
		for i := range n {
			at := share(w.now.Add(-90*time.Minute), 80*time.Minute, i, n)
			user, _ := w.user(i * (w.users / n))
			var spent any
			if i%2 == 0 {
				spent = at.Add(30 * time.Second)
			}
			d := roll(ofUser, -1-i)
			if !yield([]any{d.id(at), user, "login", `["orders-api"]`, 1, i % 3, at, at.Add(10 * time.Minute), spent}) {
				return
			}
		}
	}
}

// budgets stay with accounts that ever asked for a code.
func (w *world) budgets() rows {
	return func(yield func([]any) bool) {
		for i := 0; i < w.users; i += 20 {
			user, _ := w.user(i)
			if !yield([]any{user, "login", 0, 1, w.now.Add(-time.Duration(i%1000) * time.Hour)}) {
				return
			}
		}
	}
}

// confirmations are of the last hour, all spent.
func (w *world) confirmations() rows {
	return func(yield func([]any) bool) {
		n := min(2000, w.users)
		for i := range n {
			at := share(w.now.Add(-time.Hour), time.Hour, i, n)
			user, _ := w.user(i * (w.users / n))
			d := roll(ofUser, -1_000_000-i)
			if !yield([]any{d.id(at), user, d.id(at), "change_email", at.Add(5 * time.Minute), at.Add(time.Second)}) {
				return
			}
		}
	}
}

// changes of addresses that the old mailbox can still undo.
func (w *world) changes() rows {
	return func(yield func([]any) bool) {
		n := min(2000, w.users)
		for i := range n {
			at := share(w.now.Add(-3*24*time.Hour), 3*24*time.Hour-time.Hour, i, n)
			account := i * (w.users / n)
			user, _ := w.user(account)
			d := roll(ofUser, -2_000_000-i)
			if !yield([]any{d.id(at), user, "old" + email(account), email(account), secret.Hash(fmt.Sprint("new", i)), secret.Hash(fmt.Sprint("old", i)),
				at, at.Add(24 * time.Hour), at.Add(time.Minute), at.Add(3 * 24 * time.Hour)}) {
				return
			}
		}
	}
}
