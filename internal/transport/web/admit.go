package web

import (
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/platform/limit"
)

// Class says how often one address, or IPv6 /64, may call a route.
type Class int

// The classes.
const (
	Default Class = iota
	Login         // guessing passwords
	Token         // refreshing
	Machine       // asked by other services for every request of theirs
	Free          // health checks
)

// Policy is what a route asks of the edge.
type Policy struct {
	AnyHost bool // exempt from the host allow-list: probes and services use other names
	Class   Class
}

// Limits are the numbers behind the classes, a minute and address.
type Limits struct {
	Default, Login, Token int
}

// The rest follows from the default: what other services ask is bounded high,
// and an address altogether by a ceiling, whatever routes it spreads over.
const (
	machineTimes = 500
	ceilingTimes = 10
	tokenTimes   = 20 // each session has the plain number; an office shares this
)

// rule returns the limit of a class; none for Free.
func (l Limits) rule(c Class) (r limit.Rule, limited bool) {
	r.Per = time.Minute
	switch c {
	case Default:
		r.Name, r.Burst = "ip", l.Default
	case Login:
		r.Name, r.Burst = "ip-login", l.Login
	case Token:
		r.Name, r.Burst = "ip-token", tokenTimes*l.Token
	case Machine:
		r.Name, r.Burst = "ip-machine", machineTimes*l.Default
	}
	return r, r.Burst > 0
}

func (l Limits) ceiling() limit.Rule {
	return limit.Rule{Name: "ip-all", Burst: ceilingTimes * l.Default, Per: time.Minute}
}

// Gate decides whether a request may reach its route.
type Gate struct {
	Hosts   Hosts
	Limiter *limit.Limiter
	Limits  Limits
}

// admit checks the host, then the budget of the client's address: for this
// route, and for everything it asks.
func (g *Gate) admit(w http.ResponseWriter, r *http.Request, pattern string, p Policy) error {
	if g == nil {
		return nil
	}
	if !p.AnyHost && !g.Hosts.allow(r.Host) {
		return fault.New(fault.InvalidHost)
	}
	rule, limited := g.Limits.rule(p.Class)
	if !limited {
		return nil
	}
	holder := subscriber(audit.OriginOf(r.Context()).IP)
	own := limit.Check{Rule: rule, Key: pattern + " " + holder}
	var d limit.Decision
	if p.Class == Machine {
		// Counted in this process: the limit is far above what anybody needs, it
		// protects the process, and Redis would cost more than the answer does.
		d = g.Limiter.AllowHere(own.Rule, own.Key)
	} else {
		// The ceiling first: what the route refuses then costs the others, and an
		// address in excess costs one look.
		d = g.Limiter.AllowAll(r.Context(), limit.Check{Rule: g.Limits.ceiling(), Key: holder}, own)
	}
	if p.Class != Machine || !d.Allowed { // services need not count: it would cost them and us a tenth of a check
		ShowLimit(w, d)
	}
	if !d.Allowed {
		return fault.Retry(fault.RateLimited, d.RetryAfter)
	}
	return nil
}

// subscriber is who holds a budget: an IPv4 address, or an IPv6 /64, in which
// anybody may take a new address for every request.
func subscriber(ip string) string {
	a, err := netip.ParseAddr(ip)
	if err != nil || a.Is4() {
		return ip
	}
	prefix, _ := a.Prefix(64) // which fits the kind of address
	return prefix.String()
}

// ShowLimit tells the client its budget (draft-ietf-httpapi-ratelimit-headers).
func ShowLimit(w http.ResponseWriter, d limit.Decision) {
	values := [...]string{strconv.Itoa(d.Limit), strconv.Itoa(d.Remaining), strconv.Itoa(int(math.Ceil(d.ResetAfter.Seconds())))}
	h := w.Header() // as Set would write the names
	h["Ratelimit-Limit"], h["Ratelimit-Remaining"], h["Ratelimit-Reset"] = values[0:1:1], values[1:2:2], values[2:3:3]
}
