package webhook

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// Every row of the contract's table of rejected addresses, what it lets through
// although it is questionable, and what hides an address in another.
func TestOnlyPublicAddressesMayBeCalled(t *testing.T) {
	for _, refused := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "127.0.0.1", "127.255.255.254", "169.254.0.1", "169.254.169.254",
		"172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.168.0.1", "192.168.255.255", "198.18.0.1", "198.19.255.255",
		"198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::7f00:1", "64:ff9b::8.8.8.8", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1",
		"100::1", "2001::1", "2001:1ff:ffff::1", "2001:db8::1", "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%eth0", "ff02::1", "4000::1", "8000::1", "1234::1",
		"100.64.0.1", "100.127.255.255", "192.88.99.1", "2002:7f00:1::", "2002:a00:1::1", "2002:808:808::1", "fec0::1", "3fff::1",
		"192.31.196.1", "192.52.193.1", "192.175.48.1", "2620:4f:8000::1", "5f00::1",
	} {
		if err := (&Guard{}).safe(netip.MustParseAddr(refused)); !errors.Is(err, errUnsafe) {
			t.Errorf("%s may be called: %v", refused, err)
		}
		address := net.JoinHostPort(refused, "443")
		network := "tcp4"
		if strings.Contains(refused, ":") {
			network = "tcp6"
		}
		if err := (&Guard{}).Control(network, address, nil); !errors.Is(err, errUnsafe) {
			t.Errorf("%s may be dialed: %v", address, err)
		}
		if err := (&Guard{AllowPrivate: true}).Control(network, address, nil); err != nil {
			t.Errorf("%s may not be dialed in development: %v", address, err)
		}
	}
	for _, allowed := range []string{"8.8.8.8", "1.1.1.1", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1", "192.0.1.1", "198.20.0.1", "223.255.255.255", "2606:4700::1111", "2a00:1450::1", "2600::1"} {
		if err := (&Guard{}).safe(netip.MustParseAddr(allowed)); err != nil {
			t.Errorf("%s may not be called: %v", allowed, err)
		}
	}
	for _, other := range []struct{ network, address string }{
		{"udp4", "8.8.8.8:53"}, {"unix", "/run/docker.sock"}, {"tcp4", "localhost:80"}, {"tcp4", "8.8.8.8"}, {"", ""},
	} {
		if err := (&Guard{}).Control(other.network, other.address, nil); !errors.Is(err, errUnsafe) {
			t.Errorf("%v may be dialed: %v", other, err)
		}
	}
}

func TestURLsAreNormalised(t *testing.T) {
	for given, want := range map[string]string{
		"HTTPS://8.8.8.8":                     "https://8.8.8.8/",
		"http://8.8.8.8:80/a?b=c#d":           "http://8.8.8.8/a?b=c",
		"https://8.8.8.8:443/x":               "https://8.8.8.8/x",
		"https://8.8.8.8:00443/x":             "https://8.8.8.8/x",
		"https://8.8.8.8:8443":                "https://8.8.8.8:8443/",
		"https://8.8.8.8/%C3%A4%2Fb":          "https://8.8.8.8/%C3%A4%2Fb",
		"https://[2606:4700::1111]:443/":      "https://[2606:4700::1111]/",
		"https://[2606:4700:0:0::1111]:8443/": "https://[2606:4700::1111]:8443/",
	} {
		if got, err := (&Guard{}).Check(t.Context(), given); err != nil || got != want {
			t.Errorf("%s is normalised to %q (%v), not %q", given, got, err, want)
		}
	}
	for given, want := range map[string]string{"https://Bücher.Example./x": "https://xn--bcher-kva.example/x", "http://HOOKS.example.com": "http://hooks.example.com/"} {
		u, err := normalise(given)
		if err != nil || u.String() != want {
			t.Errorf("%s is normalised to %v (%v), not %q", given, u, err, want)
		}
	}
}

func TestURLsThatCannotBeAWebhookAreRefused(t *testing.T) {
	for _, given := range []string{
		"", "x", "//8.8.8.8/", "ftp://8.8.8.8/", "file:///etc/passwd", "gopher://8.8.8.8/", "http:8.8.8.8", "http://", "http:///x", "https://:443/",
		"http://jo@8.8.8.8/", "http://jo:secret@8.8.8.8/", "http://8.8.8.8@127.0.0.1/", "http://8.8.8.8:0/", "http://8.8.8.8:65536/", "http://8.8.8.8:x/",
		"http://127.0.0.1/", "http://127.1/", "http://127.0.1/", "http://0177.0.0.1/", "http://0x7f.0.0.1/", "http://0x7f000001/", "http://2130706433/", "http://017700000001/",
		"http://8.8.8.8./", "http://1/", "http://0/", "http://0x/", "http://8.8.8.08/", "http://256.1.1.1/", "http://8.8.8.8.8/", "http://１２７.０.０.１/", "http://127。0。0。1/",
		"http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:8.8.8.8]/", "http://[fe80::1%25eth0]/", "http://[2002:7f00:1::]/", "http://[64:ff9b::7f00:1]/",
		"http://localhost/", "http://LOCALHOST:8080/", "http://a..b/", "http://exa mple/", "http://ex%61mple/", "http://-/%zz", "http://\x00/",
		"http://8.8.8.8/" + strings.Repeat("a", 2048),
	} {
		if got, err := (&Guard{}).Check(t.Context(), given); !fault.Has(err, fault.InvalidWebhookURL) {
			t.Errorf("%q is taken as %q: %v", given, got, err)
		}
	}
}

// answers is a resolver of our own: each question takes the next answer of its
// name, the last one for ever.
type answers struct {
	mu sync.Mutex
	of map[string][]string
}

func (a *answers) next(name string) []netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := a.of[name]
	if len(list) == 0 {
		return nil
	}
	if len(list) > 1 {
		a.of[name] = list[1:]
	}
	var addresses []netip.Addr
	for text := range strings.FieldsSeq(list[0]) {
		addresses = append(addresses, netip.MustParseAddr(text))
	}
	return addresses
}

// resolver speaks DNS to a server on this machine that gives these answers. Only
// questions for IPv4 take one.
func resolver(t *testing.T, of map[string][]string) *net.Resolver {
	t.Helper()
	a := &answers{of: of}
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if reply := a.reply(buffer[:n]); reply != nil {
				conn.WriteTo(reply, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp4", conn.LocalAddr().String())
	}}
}

func (a *answers) reply(question []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(question) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	if q.Type == dnsmessage.TypeA {
		for _, address := range a.next(strings.TrimSuffix(q.Name.String(), ".")) {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}, Body: &dnsmessage.AResource{A: address.As4()},
			})
		}
	}
	packed, err := m.Pack()
	if err != nil {
		return nil
	}
	return packed
}

func TestANameIsGoodIfAllItsAddressesAre(t *testing.T) {
	g := &Guard{Resolver: resolver(t, map[string][]string{
		"public.example.com": {"8.8.8.8"}, "private.example.com": {"10.0.0.1"}, "both.example.com": {"8.8.8.8 127.0.0.1"},
	})}
	if got, err := g.Check(t.Context(), "https://public.example.com"); err != nil || got != "https://public.example.com/" {
		t.Errorf("%q %v", got, err)
	}
	for _, host := range []string{"private.example.com", "both.example.com", "nobody.example.com"} {
		if _, err := g.Check(t.Context(), "https://"+host); !fault.Has(err, fault.InvalidWebhookURL) {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestANameThatChangesItsAnswerReachesNothingInside(t *testing.T) {
	inside := newReceiver(t, status(http.StatusOK))
	_, port, _ := strings.Cut(strings.TrimPrefix(inside.URL, "http://"), ":")
	g := &Guard{Resolver: resolver(t, map[string][]string{"changing.example.com": {"8.8.8.8", "127.0.0.1"}})}
	url, err := g.Check(t.Context(), "http://changing.example.com:"+port)
	if err != nil {
		t.Fatal(err)
	}
	_, err = NewClient(g).Post(url, "application/json", strings.NewReader("{}"))
	if !errors.Is(err, errUnsafe) || len(inside.seen()) > 0 {
		t.Errorf("the answer is %v; %d requests came in", err, len(inside.seen()))
	}
	// The same call, if it were allowed, does come in.
	if _, err := NewClient(&Guard{Resolver: g.Resolver, AllowPrivate: true}).Post(url, "application/json", strings.NewReader("{}")); err != nil || len(inside.seen()) != 1 {
		t.Errorf("%v; %d requests came in", err, len(inside.seen()))
	}
}
