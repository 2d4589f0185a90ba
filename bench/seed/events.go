package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/authsdk/authsdk/internal/platform/audit"
)

// kind is one sort of event, and its share among those that follow a sign-in.
type kind struct {
	event    audit.Type
	weight   int
	target   string // session, user or empty
	metadata string // %s is the session's id
	failure  string
}

const passwordOnly = `{"provider":"password"}`

// begins are the events of every sign-in, in order.
var begins = []kind{
	{audit.LoginSuccess, 0, "", passwordOnly, ""},
	{audit.SessionCreated, 0, "session", passwordOnly, ""},
	{audit.TokenIssued, 0, "", `{"provider":"password","token_kind":"login"}`, ""},
}

// follows are the others.
var follows = []kind{
	{audit.TokenRefreshed, 60, "session", `{"provider":"password","session_id":"%s"}`, ""},
	{audit.UserLogout, 10, "session", `{"provider":"password","session_id":"%s"}`, ""},
	{audit.LoginFailure, 8, "", passwordOnly, "invalid_credentials"},
	{audit.SessionRevoked, 4, "user", `{"reason":"self_targeted","session_id":"%s"}`, ""},
	{audit.LoginOTPRequired, 4, "", passwordOnly, ""},
	{audit.OTPSent, 4, "", `{"context":"login"}`, ""},
	{audit.OTPVerified, 3, "", `{"context":"login"}`, ""},
	{audit.LoginSuspicious, 2, "", `{"provider":"password","new_ip":true,"new_user_agent":false,"prior_failures":0}`, ""},
	{audit.ReauthSuccess, 2, "", `{"provider":"password","session_id":"%s"}`, ""},
	{audit.ResetRequested, 1, "user", "", ""},
	{audit.PasswordChanged, 1, "user", `{"reason":"password_change"}`, ""},
	{audit.TokenRefreshRetried, 1, "session", `{"session_id":"%s","generation":3,"branch":1}`, ""},
}

func drawn(d *dice) kind {
	n := 0
	for _, k := range follows {
		n += k.weight
	}
	n = d.n(n)
	for _, k := range follows {
		if n -= k.weight; n < 0 {
			return k
		}
	}
	return follows[0]
}

// happened is one event with its personal part.
type happened struct {
	id, actor uuid.UUID
	target    any
	at        time.Time
	kind      kind
	metadata  any
	salt      [16]byte
	ip, agent string
}

func (w *world) at(n int) time.Time { return share(w.begin(), span, n, w.audit) }

// event is the n-th: of the session that began about then, first what a sign-in
// records, then something else.
func (w *world) event(n int) (h happened) {
	d := roll(ofEvent, n)
	h.at = w.at(n)
	h.id = d.id(h.at)
	k := int(int64(n) * int64(w.sessions) / int64(w.audit))
	first := int((int64(k)*int64(w.audit) + int64(w.sessions) - 1) / int64(w.sessions))
	owner := w.owner(k)
	h.actor, _ = w.user(owner)
	about, _ := w.session(k)
	if i := n - first; i < len(begins) {
		h.kind = begins[i]
	} else {
		h.kind = drawn(&d)
	}
	switch h.kind.target {
	case "user":
		h.target = h.actor
	case "session":
		h.target = about
	}
	if text := h.kind.metadata; strings.Contains(text, "%s") {
		h.metadata = fmt.Sprintf(text, about)
	} else if text != "" {
		h.metadata = text
	}
	binary.LittleEndian.PutUint64(h.salt[:], d.next())
	binary.LittleEndian.PutUint64(h.salt[8:], d.next())
	h.ip, h.agent = w.origin(owner, &d)
	return h
}

// personalHash is what audit.Record stores.
func (h happened) personalHash() []byte {
	b := append([]byte{}, h.salt[:]...)
	for _, f := range []string{h.ip, h.agent} {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

// numbers are the events from a moment to before another; zero times are open.
func (w *world) numbers(from, to time.Time) (first, end int) {
	end = w.audit
	if !from.IsZero() {
		first = sort.Search(w.audit, func(n int) bool { return !w.at(n).Before(from) })
	}
	if !to.IsZero() {
		end = sort.Search(w.audit, func(n int) bool { return !w.at(n).Before(to) })
	}
	return first, end
}

func (w *world) events(first, end int) rows {
	return func(yield func([]any) bool) {
		row := make([]any, 13)
		for n := first; n < end; n++ {
			h := w.event(n)
			var targetType, failure any
			if h.kind.target != "" {
				targetType = h.kind.target
			}
			if h.kind.failure != "" {
				failure = h.kind.failure
			}
			row = append(row[:0], h.id, h.at, h.kind.event.Name, "user", h.actor, targetType, h.target,
				failure == nil, failure, h.id.String(), h.metadata, h.personalHash(), h.kind.event.History)
			if !yield(row) {
				return
			}
		}
	}
}

func (w *world) personal(first, end int) rows {
	return func(yield func([]any) bool) {
		row := make([]any, 5)
		for n := first; n < end; n++ {
			h := w.event(n)
			if row = append(row[:0], h.id, h.at, h.salt[:], h.ip, h.agent); !yield(row) {
				return
			}
		}
	}
}
