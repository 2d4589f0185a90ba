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
func (l Limits) rule(c Class) (limit.Rule, bool) {
	burst := map[Class]int{Default: l.Default, Login: l.Login, Token: tokenTimes * l.Token, Machine: machineTimes * l.Default}[c]
	name := map[Class]string{Default: "ip", Login: "ip-login", Token: "ip-token", Machine: "ip-machine"}[c]
	return limit.Rule{Name: name, Burst: burst, Per: time.Minute}, burst > 0
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
	checks := []limit.Check{{Rule: rule, Key: pattern + " " + holder}}
	if p.Class != Machine {
		// First: what the route refuses then costs the others, and an address in
		// excess costs one look.
		checks = append([]limit.Check{{Rule: g.Limits.ceiling(), Key: holder}}, checks...)
	}
	d := g.Limiter.AllowAll(r.Context(), checks...)
	ShowLimit(w, d)
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
	h := w.Header()
	h.Set("RateLimit-Limit", strconv.Itoa(d.Limit))
	h.Set("RateLimit-Remaining", strconv.Itoa(d.Remaining))
	h.Set("RateLimit-Reset", strconv.Itoa(int(math.Ceil(d.ResetAfter.Seconds()))))
}
