package web

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// from is a request of a peer, with the lines of X-Forwarded-For.
func from(peer string, forwarded ...string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = peer
	for _, line := range forwarded {
		r.Header.Add("X-Forwarded-For", line)
	}
	return r
}

func TestClientIP(t *testing.T) {
	proxies := ParseProxies([]string{"10.0.0.0/8", "192.0.2.10", "fd00::/8", "2001:db8::5"})
	const proxy, client = "10.1.2.3:4000", "203.0.113.7"
	for _, row := range []struct {
		name      string
		peer      string
		forwarded []string
		want      string
	}{
		{"a peer that is no proxy is the client", client + ":5000", nil, client},
		{"and what it says of others is not believed", client + ":5000", []string{"198.51.100.1"}, client},
		{"not even that it is a proxy's client", client + ":5000", []string{"198.51.100.1, 10.9.9.9"}, client},
		{"nor on several lines", client + ":5000", []string{"10.0.0.1", "198.51.100.1"}, client},
		{"a peer beside a trusted range is no proxy", "11.0.0.1:1", []string{client}, "11.0.0.1"},
		{"a peer without a port", client, []string{"198.51.100.1"}, client},

		{"a proxy's client", proxy, []string{client}, client},
		{"a proxy that is listed by its address", "192.0.2.10:80", []string{client}, client},
		{"its neighbour is no proxy", "192.0.2.11:80", []string{client}, "192.0.2.11"},
		{"an IPv6 proxy from a range", "[fd12::1]:80", []string{client}, client},
		{"an IPv6 proxy by its address", "[2001:db8::5]:80", []string{client}, client},
		{"an IPv4 proxy on an IPv6 socket", "[::ffff:10.1.2.3]:80", []string{client}, client},
		{"an IPv4 client on an IPv6 socket", "[::ffff:203.0.113.7]:80", nil, client},
		{"a proxy with a zone", "[fd12::1%eth0]:80", []string{client}, client},

		{"a proxy behind a proxy", proxy, []string{client + ", 10.0.0.9"}, client},
		{"the same on two lines", proxy, []string{client, "10.0.0.9"}, client},
		{"three lines, the last one first", proxy, []string{"198.51.100.1", client, "10.0.0.9"}, client},
		{"an invented address on the left is not believed", proxy, []string{"198.51.100.1, " + client}, client},
		{"not even one of a proxy", proxy, []string{"10.0.0.5, " + client}, client},
		{"nor one on a line before", proxy, []string{"127.0.0.1", client}, client},
		{"if all are proxies it is the leftmost", proxy, []string{"10.0.0.7, 10.0.0.8, 10.0.0.9"}, "10.0.0.7"},

		{"an address with a port", proxy, []string{client + ":12345"}, client},
		{"an IPv6 address", proxy, []string{"2001:db8::7"}, "2001:db8::7"},
		{"an IPv6 address in brackets", proxy, []string{"[2001:db8::7]"}, "2001:db8::7"},
		{"an IPv6 address with a port", proxy, []string{"[2001:db8::7]:443"}, "2001:db8::7"},
		{"an IPv6 address in another spelling", proxy, []string{"2001:0DB8:0:0::0007"}, "2001:db8::7"},
		{"an IPv4 address in IPv6", proxy, []string{"::ffff:203.0.113.7"}, client},
		{"a proxy's IPv4 address in IPv6", proxy, []string{client + ", ::ffff:10.0.0.9"}, client},
		{"an address with a zone", proxy, []string{"fe80::1%eth0"}, "fe80::1"},
		{"white space around", proxy, []string{"\t " + client + " \t"}, client},

		{"no header", proxy, nil, "10.1.2.3"},
		{"an empty header", proxy, []string{""}, "10.1.2.3"},
		{"commas", proxy, []string{",, ,"}, "10.1.2.3"},
		{"a word", proxy, []string{"unknown"}, "10.1.2.3"},
		{"a name", proxy, []string{"evil.example"}, "10.1.2.3"},
		{"a word after the client is passed over", proxy, []string{client + ", unknown"}, client},
		{"a word before the client changes nothing", proxy, []string{"unknown, " + client}, client},
		{"octal is no address", proxy, []string{"0313.0.0.07"}, "10.1.2.3"},
		{"a number is no address", proxy, []string{"3405803783"}, "10.1.2.3"},
		{"a range is no address", proxy, []string{"203.0.113.0/24"}, "10.1.2.3"},
		{"markup is no address", proxy, []string{"<b>\x00\xff"}, "10.1.2.3"},
		{"a long way", proxy, []string{strings.Repeat("198.51.100.1, ", 2000) + client + strings.Repeat(", 10.0.0.9", 100)}, client},
		{"thirty kilobytes of rubbish", proxy, []string{strings.Repeat("x,", 15<<10)}, "10.1.2.3"},

		{"a peer that is no address", "@", []string{client}, ""},
		{"no peer", "", []string{client}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := proxies.clientIP(from(row.peer, row.forwarded...)); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

func TestOnlyXForwardedForIsRead(t *testing.T) {
	proxies := ParseProxies([]string{"10.0.0.0/8"})
	for _, name := range []string{"X-Real-IP", "Forwarded", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP", "X-Forwarded-Host"} {
		r := from("10.0.0.1:80")
		r.Header.Set(name, "203.0.113.7")
		if got := proxies.clientIP(r); got != "10.0.0.1" {
			t.Errorf("%s makes it %q", name, got)
		}
	}
}

func TestParseProxies(t *testing.T) {
	for _, row := range []struct {
		name string
		cidr string
		want string // empty: none
	}{
		{"a range", "10.0.0.0/8", "10.0.0.0/8"},
		{"a range written with an address in it", "10.1.2.3/8", "10.0.0.0/8"},
		{"an address stands for itself", "192.0.2.10", "192.0.2.10/32"},
		{"so does one of IPv6", "2001:db8::5", "2001:db8::5/128"},
		{"a range of IPv4 in IPv6", "::ffff:10.0.0.0/104", "10.0.0.0/8"},
		{"an address of IPv4 in IPv6", "::ffff:192.0.2.10", "192.0.2.10/32"},
		{"every address", "0.0.0.0/0", "0.0.0.0/0"},
		{"what is neither is left out", "localhost", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			var got []string
			for _, p := range ParseProxies([]string{row.cidr}) {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(slices.DeleteFunc([]string{row.want}, func(s string) bool { return s == "" }), got, cmp.Transformer("", func(s []string) string { return strings.Join(s, " ") })); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Whatever is forwarded, the client is an address or unknown, and a peer that
// is no proxy cannot change it.
func FuzzClientIP(f *testing.F) {
	f.Add("10.0.0.1:80", "203.0.113.7", "")
	f.Add("203.0.113.7:80", "198.51.100.1", "10.0.0.1")
	f.Add("[::ffff:10.0.0.1]:80", "::ffff:203.0.113.7, 10.0.0.9", "[2001:db8::7]:443")
	f.Add("[fe80::1%eth0]:80", "fe80::1%25eth0, [::1", "::1]]")
	f.Add("@", "unknown, _hidden:80", "\x00\xff,,")
	f.Add("10.0.0.1", strings.Repeat("10.0.0.1,", 500), "1.2.3.4.5")
	trusted := netip.MustParsePrefix("10.0.0.0/8")
	proxies := ParseProxies([]string{"10.0.0.0/8"})
	f.Fuzz(func(t *testing.T, peer, first, second string) {
		got := proxies.clientIP(from(peer, first, second))
		alone := proxies.clientIP(from(peer))
		if got != "" {
			address, err := netip.ParseAddr(got)
			if err != nil || address.String() != got || address.Zone() != "" || address.Is4In6() {
				t.Errorf("%q, %q, %q give %q", peer, first, second, got)
			}
		}
		if address, err := netip.ParseAddr(alone); (err != nil || !trusted.Contains(address)) && got != alone {
			t.Errorf("%q, which is no proxy, makes itself %q by %q, %q", peer, got, first, second)
		}
	})
}
