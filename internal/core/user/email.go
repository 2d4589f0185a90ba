package user

import (
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"

	"github.com/authsdk/authsdk/internal/foundation/fault"
)

// maxEmail is the longest address SMTP can carry (RFC 5321 §4.5.3.1.3).
const maxEmail = 254

// reservedTLDs can receive no mail (RFC 2606, RFC 6762, RFC 7686).
var reservedTLDs = []string{".test", ".invalid", ".local", ".localhost", ".onion", ".arpa"}

// domains is idna.Lookup that also refuses empty and over-long labels.
var domains = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.VerifyDNSLength(true))

// ParseEmail checks an address and returns it in the one form that is stored
// and compared: lower case, domain in ASCII. "Jo <jo@x.io>" gives jo@x.io. The
// fault names the field and never repeats the value.
func ParseEmail(field, input string) (string, error) {
	bad := fault.Invalid(field, "must be an e-mail address")
	input = strings.TrimSpace(input)
	if len(input) > 2*maxEmail || !utf8.ValidString(input) || strings.ContainsFunc(input, unicode.IsControl) {
		return "", bad
	}
	if strings.Contains(input, `"@`) { // a quoted local part, which the parser unquotes
		return "", bad
	}
	parsed, err := mail.ParseAddress(input)
	if err != nil {
		return "", bad
	}
	local, domain, _ := cutLast(parsed.Address, "@")
	local = norm.NFC.String(strings.ToLower(local))
	domain, err = domains.ToASCII(domain)
	if err != nil || !plainLocal(local) || len(local) > 64 {
		return "", bad
	}
	address := local + "@" + strings.ToLower(domain)
	_, tld, dotted := cutLast(domain, ".")
	if len(address) > maxEmail || !dotted || strings.Trim(tld, "0123456789") == "" { // 192.0.2.1, 127.1
		return "", bad
	}
	for _, tld := range reservedTLDs {
		if strings.HasSuffix("."+strings.ToLower(domain), tld) {
			return "", fault.Invalid(field, "must be at a domain that can receive mail")
		}
	}
	return address, nil
}

// plainLocal refuses what only a quoted local part may hold (legal, unused, and
// read differently by different mail systems), and what cannot be seen.
func plainLocal(local string) bool {
	if local == "" || strings.HasPrefix(local, ".") || strings.HasSuffix(local, ".") || strings.Contains(local, "..") {
		return false
	}
	hidden := func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsGraphic(r) }
	return !strings.ContainsAny(local, "\"(),:;<>@[\\]") && !strings.ContainsFunc(local, hidden)
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
