package web

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// LocalOnly hides development pages from everybody but this machine: the peer
// must be loopback, and the Host must name it, so that a web page elsewhere
// cannot reach them through DNS. everyone lets all in.
func LocalOnly(everyone bool) func(Handler) Handler {
	return func(next Handler) Handler {
		return func(w http.ResponseWriter, r *http.Request) error {
			if !everyone && !(localPeer(r.RemoteAddr) && localHost(r.Host) && !forwarded(r)) {
				return fault.New(fault.NotFound)
			}
			return next(w, r)
		}
	}
}

// forwarded reports whether a proxy on this machine passed the request on: the
// client may be anywhere then.
func forwarded(r *http.Request) bool {
	for _, name := range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip"} {
		if r.Header.Get(name) != "" {
			return true
		}
	}
	return false
}

func localPeer(remote string) bool {
	address, err := netip.ParseAddrPort(remote)
	return err == nil && address.Addr().Unmap().IsLoopback()
}

func localHost(host string) bool {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	return host == "localhost" || host == "127.0.0.1" || host == "[::1]"
}
