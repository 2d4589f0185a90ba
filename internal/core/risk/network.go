package risk

import (
	"net/netip"
	"strings"
)

// network is one place that guesses may come from: an IPv4 /24; an IPv6 /64,
// and with more patience the /48 around it, in which one customer may have
// thousands of /64s.
type network struct {
	prefix string
	steps  ladder
}

// networksOf returns the networks of an address, the narrowest first. What has
// no address is a network of its own.
func networksOf(ip string) []network {
	a, err := netip.ParseAddr(ip)
	switch {
	case err != nil:
		return []network{{"unknown", narrow}}
	case a.Unmap().Is4():
		return []network{{cut(a.Unmap(), 24), narrow}}
	}
	return []network{{cut(a, 64), narrow}, {cut(a, 48), wide}}
}

// Network is the widest network that an address counts in: an IPv4 /24 or IPv6
// /48.
func Network(ip string) string {
	all := networksOf(ip)
	return all[len(all)-1].prefix
}

// home is the network by which an account is known: an IPv4 /24 or IPv6 /64.
func home(ip string) string {
	if _, err := netip.ParseAddr(ip); err != nil {
		return ""
	}
	return networksOf(ip)[0].prefix
}

func cut(a netip.Addr, bits int) string {
	prefix, _ := a.Prefix(bits) // without a zone; bits fit the kind of address
	return prefix.String()
}

// device is the browser family and the system of a user agent: coarse, so that
// an update is not a new device. Empty if there is none.
func device(userAgent string) string {
	if userAgent == "" {
		return ""
	}
	browser, system := "other", "other"
	for _, b := range []struct{ in, name string }{
		{"Edg", "edge"}, {"OPR/", "opera"}, {"Opera", "opera"}, {"CriOS/", "chrome"}, {"FxiOS/", "firefox"},
		{"Chrome/", "chrome"}, {"Firefox/", "firefox"}, {"Safari/", "safari"},
	} {
		if strings.Contains(userAgent, b.in) {
			browser = b.name
			break
		}
	}
	if browser == "other" { // a program: its name without the version
		browser, _, _ = strings.Cut(userAgent, "/")
		browser = strings.ToLower(browser[:min(len(browser), 40)])
	}
	for _, s := range []struct{ in, name string }{
		{"Windows", "windows"}, {"Android", "android"}, {"iPhone", "ios"}, {"iPad", "ios"},
		{"Mac OS X", "macos"}, {"Macintosh", "macos"}, {"CrOS", "chromeos"}, {"Linux", "linux"},
	} {
		if strings.Contains(userAgent, s.in) {
			system = s.name
			break
		}
	}
	return strings.ToValidUTF8(browser, "") + " " + system
}
