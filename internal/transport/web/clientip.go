package web

import (
	"net/http"
	"net/netip"
	"strings"
)

// Proxies are the addresses whose X-Forwarded-For is believed.
type Proxies []netip.Prefix

// clientIP is the address of the client: the peer's, or, when the peer is a
// trusted proxy, the last address in X-Forwarded-For that is not one. All lines
// of the header count, ports are dropped, and what is not an address is passed
// over. It is empty if nothing is known.
func (p Proxies) clientIP(r *http.Request) string {
	remote, ok := parseIP(r.RemoteAddr)
	if !ok {
		return ""
	}
	if !p.trust(remote) {
		return remote.String()
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	client := remote
	for i := len(hops) - 1; i >= 0; i-- {
		hop, ok := parseIP(strings.TrimSpace(hops[i]))
		if !ok {
			continue
		}
		client = hop
		if !p.trust(hop) {
			break
		}
	}
	return client.String()
}

func (p Proxies) trust(a netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// parseIP reads an address with or without a port, in the form that IPv4
// prefixes match.
func parseIP(s string) (netip.Addr, bool) {
	if withPort, err := netip.ParseAddrPort(s); err == nil { // a peer, so first
		return withPort.Addr().Unmap().WithZone(""), true
	}
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		return a, false
	}
	return a.Unmap().WithZone(""), true
}

// ParseProxies reads the setting, whose entries are ranges or addresses; the
// configuration has been checked.
func ParseProxies(entries []string) Proxies {
	var p Proxies
	for _, entry := range entries {
		prefix, err := netip.ParsePrefix(entry)
		if err != nil {
			address, ok := parseIP(entry)
			if !ok {
				continue
			}
			prefix = netip.PrefixFrom(address, address.BitLen())
		}
		if a := prefix.Addr(); a.Is4In6() && prefix.Bits() >= 96 { // peers are compared as IPv4
			prefix = netip.PrefixFrom(a.Unmap(), prefix.Bits()-96)
		}
		p = append(p, prefix.Masked())
	}
	return p
}
