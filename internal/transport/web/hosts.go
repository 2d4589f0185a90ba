package web

import (
	"strings"
)

// Hosts are the values of the Host header that are answered: names, or
// *.example.com for every subdomain. Empty means all.
type Hosts []string

// allow compares without port and case.
func (h Hosts) allow(host string) bool {
	if len(h) == 0 {
		return true
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, allowed := range h {
		allowed = strings.ToLower(allowed)
		if strings.Contains(allowed, ":") && !strings.HasPrefix(allowed, "[") { // IPv6, which a Host has in brackets
			allowed = "[" + allowed + "]"
		}
		if suffix, wild := strings.CutPrefix(allowed, "*"); host == allowed || allowed == "*" || wild && strings.HasSuffix(host, suffix) && len(host) > len(suffix) {
			return true
		}
	}
	return false
}
