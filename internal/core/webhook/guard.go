package webhook

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
	"golang.org/x/net/idna"

	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// Guard says which addresses may be called: globally routable unicast only. A
// URL is looked at when it is registered, and the address itself each time it is
// dialed, so that a name cannot change its answer in between.
type Guard struct {
	Resolver     *net.Resolver // nil: the machine's
	AllowPrivate bool          // in development: any address
}

const (
	mostURL     = 2048
	resolveFor  = 5 * time.Second
	connectFor  = 5 * time.Second
	mostHeaders = 16 << 10
)

// errUnsafe is the error of a dial to an address that may not be called.
var errUnsafe = errors.New("the address is not public")

// Check normalises a URL and resolves its host. Fault: invalid_webhook_url.
func (g *Guard) Check(ctx context.Context, rawURL string) (normal string, err error) {
	u, err := normalise(rawURL)
	if err != nil {
		return "", fault.New(fault.InvalidWebhookURL).Because(err)
	}
	ctx, cancel := context.WithTimeout(ctx, resolveFor)
	defer cancel()
	addresses, err := g.resolver().LookupNetIP(ctx, "ip", u.Hostname())
	if err == nil && len(addresses) == 0 {
		err = errors.New("the host has no address")
	}
	for _, address := range addresses {
		if err == nil {
			err = g.safe(address.Unmap()) // lookups give IPv4 in IPv6
		}
	}
	if err != nil {
		return "", fault.New(fault.InvalidWebhookURL).Because(err)
	}
	return u.String(), nil
}

func (g *Guard) resolver() *net.Resolver {
	if g.Resolver == nil {
		return net.DefaultResolver
	}
	return g.Resolver
}

// Control is that of a net.Dialer: it sees the very address that is dialed.
func (g *Guard) Control(network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return errUnsafe
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return errUnsafe
	}
	return g.safe(to.Addr())
}

var public = ssrf.New(ssrf.WithAnyPort())

// safe looks at an address, and at the IPv4 address inside it, if there is one:
// a translator on the way would call that.
func (g *Guard) safe(address netip.Addr) error {
	if g.AllowPrivate {
		return nil
	}
	if inner, ok := embedded(address); ok && public.SafeAddr(inner) != nil {
		return errUnsafe
	}
	if address.Zone() != "" || public.SafeAddr(address) != nil {
		return errUnsafe
	}
	return nil
}

var (
	sixToFour = netip.MustParsePrefix("2002::/16")
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
)

// embedded is the IPv4 address inside a mapped, 6to4 or NAT64 address.
func embedded(a netip.Addr) (netip.Addr, bool) {
	b := a.As16()
	switch {
	case a.Is4In6():
		return a.Unmap(), true
	case sixToFour.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	case nat64.Contains(a):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	}
	return netip.Addr{}, false
}

// numeric is the end of a host that some resolvers read as an IPv4 address:
// 127.1, 0177.0.0.1, 2130706433, 0x7f.1.
var numeric = regexp.MustCompile(`(^|\.)([0-9]+|0x[0-9a-f]*)$`)

// names maps a host to ASCII; plainName is what may come out.
var (
	names     = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.VerifyDNSLength(true))
	plainName = regexp.MustCompile(`^[a-z0-9._-]+$`)
)

// normalise checks everything but the address.
func normalise(rawURL string) (*url.URL, error) {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil:
		return nil, errors.New("it is not a URL") // url.Error repeats it
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("its scheme is not http or https")
	case u.User != nil:
		return nil, errors.New("it has user information")
	case u.Opaque != "" || u.Hostname() == "":
		return nil, errors.New("it has no host")
	}
	host, err := normalHost(u.Hostname())
	if err != nil {
		return nil, err
	}
	port := u.Port()
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return nil, errors.New("its port is not a number from 1 to 65535")
		}
		port = strconv.FormatUint(n, 10)
	}
	if u.Scheme == "http" && port == "80" || u.Scheme == "https" && port == "443" {
		port = ""
	}
	if u.Host = host; strings.Contains(host, ":") {
		u.Host = "[" + host + "]"
	}
	if port != "" {
		u.Host += ":" + port
	}
	u.Fragment, u.RawFragment = "", ""
	if u.Path == "" {
		u.Path = "/"
	}
	if len(u.String()) > mostURL {
		return nil, fmt.Errorf("it is longer than %d characters", mostURL)
	}
	return u, nil
}

func normalHost(host string) (string, error) {
	if address, err := netip.ParseAddr(host); err == nil {
		if address.Zone() != "" || address.Is4In6() {
			return "", errors.New("its host is an address in disguise")
		}
		return address.String(), nil
	}
	host, err := names.ToASCII(strings.TrimSuffix(host, "."))
	host = strings.ToLower(host)
	switch {
	case err != nil || !plainName.MatchString(host):
		return "", errors.New("its host is not a name")
	case numeric.MatchString(host):
		return "", errors.New("its host is a number, not an address of four parts")
	}
	return host, nil
}

// NewClient makes the client that calls receivers: it dials what the guard
// allows, follows no redirects, keeps no connections and knows no proxy.
func NewClient(g *Guard) *http.Client {
	dialer := &net.Dialer{Timeout: connectFor, Control: g.Control, Resolver: g.Resolver}
	return &http.Client{
		Transport: &http.Transport{
			Proxy: nil, DialContext: dialer.DialContext, TLSHandshakeTimeout: connectFor, DisableKeepAlives: true, DisableCompression: true,
			MaxResponseHeaderBytes: mostHeaders,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// hostOf is what of a URL is recorded: the rest may hold secrets.
func hostOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
