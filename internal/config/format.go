package config

import (
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/authsdk/authsdk/internal/foundation/cron"
)

// formats are the values of the tag format: what a text must be, in words that
// follow "must be", and the check.
var formats = map[string]struct {
	what string
	ok   func(string) bool
}{
	"URL":          {"an http or https URL with a host and no password, such as https://auth.example.com", isURL},
	"origin":       {"a scheme and a host without a path, such as https://app.example.com", isOrigin},
	"host":         {"a host name or an IP address, without a port", isHost},
	"host pattern": {"a host name without a port, or one such as *.example.com", isHostPattern},
	"domain":       {"a domain, such as example.com", isCookieDomain},
	"host:port":    {"an address with a port, such as 127.0.0.1:9090", isHostPort},
	"CIDR":         {"an address range, such as 10.0.0.0/8", isCIDR},
	"mail address": {"a mail address, such as auth@example.com", isMailAddress},
	"audience":     {"1 to 255 visible ASCII characters without spaces", isAudience},
	"header name":  {"the name of a header, such as X-CSRF-Token", isToken},
	"cookie name":  {"the name of a cookie: letters, digits, - and _", isToken},
	"path":         {"a path that starts with /", isPath},
	"cron":         {"five cron fields (minute, hour, day of month, month, day of week), such as 0 3 * * *", isCron},
}

func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && isHost(u.Hostname()) &&
		u.User == nil && isPort(u.Port(), true) && !strings.HasSuffix(u.Host, ":")
}

func isOrigin(s string) bool {
	u, err := url.Parse(s)
	return err == nil && isURL(s) && u.Scheme+"://"+u.Host == s
}

var label = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)

func isDomain(s string) bool {
	s = strings.TrimPrefix(s, ".")
	for part := range strings.SplitSeq(s, ".") {
		if !label.MatchString(part) {
			return false
		}
	}
	return len(s) <= 253
}

// isCookieDomain leaves out the underscore, which net/http puts in no cookie.
func isCookieDomain(s string) bool { return isDomain(s) && !strings.Contains(s, "_") }

func isHost(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil || isDomain(s) && !strings.HasPrefix(s, ".")
}

func isHostPattern(s string) bool {
	bare := strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	return s == "*" || isHost(strings.TrimPrefix(s, "*.")) || strings.HasPrefix(s, "[") && isHost(bare)
}

func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	return err == nil && (host == "" || isHost(host)) && isPort(port, false)
}

func isPort(s string, optional bool) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 || optional && s == ""
}

func isCIDR(s string) bool {
	_, errRange := netip.ParsePrefix(s)
	_, errAddr := netip.ParseAddr(s)
	return errRange == nil || errAddr == nil
}

func isMailAddress(s string) bool {
	_, err := mail.ParseAddress(s)
	return err == nil
}

func isAudience(s string) bool {
	return len(s) <= 255 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

var token = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$") // RFC 9110, section 5.6.2

func isToken(s string) bool { return token.MatchString(s) }

func isPath(s string) bool {
	return strings.HasPrefix(s, "/") && isAudience(s) && !strings.ContainsAny(s, ";,")
}

func isCron(s string) bool {
	_, err := cron.Parse(s)
	return err == nil
}
