package mail_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	netmail "net/mail"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/platform/mail"
)

// A script is a mail server that answers as it is told.
type script struct {
	tls      *tls.Config         // offers STARTTLS, if set
	implicit bool                // speaks TLS from the first byte instead
	auth     string              // the ways to log in that it offers
	answers  map[string][]string // by verb, one after the other and then yes; "" is the greeting, "." the end of the data
	behind   string              // follows "220 go ahead" in the clear

	listener net.Listener
	all      sync.WaitGroup
	mu       sync.Mutex
	heard    bytes.Buffer // every line
	clear    bytes.Buffer // those that others could read along
	logins   []string     // "user:password over TLS"
	taken    []string
}

// Answers that are none.
const (
	silence = "silence" // says nothing any more
	drip    = "drip"    // says a little now and then, for ever
)

func perform(t *testing.T, s *script) *script {
	t.Helper()
	var err error
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.all.Go(func() {
		for {
			conn, err := s.listener.Accept()
			if err != nil {
				return
			}
			s.all.Go(func() {
				defer conn.Close()
				if s.implicit {
					s.talk(tls.Server(conn, s.tls), true)
				} else {
					s.talk(conn, false)
				}
			})
		}
	})
	t.Cleanup(func() {
		s.listener.Close()
		s.all.Wait()
	})
	return s
}

func (s *script) sender(policy string) *mail.SMTP {
	_, port, _ := net.SplitHostPort(s.listener.Addr().String())
	number, _ := strconv.Atoi(port)
	return &mail.SMTP{Host: "127.0.0.1", Port: number, TLS: policy, From: "Auth <auth@example.com>"}
}

// next is the answer to a verb.
func (s *script) next(verb, yes string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if list := s.answers[verb]; len(list) > 0 {
		s.answers[verb] = list[1:]
		return list[0]
	}
	return yes
}

// stage is one connection of a script.
type stage struct {
	*script
	conn   net.Conn
	lines  *bufio.Reader
	secure bool
}

func (s *script) talk(conn net.Conn, secure bool) {
	p := &stage{s, conn, bufio.NewReader(conn), secure}
	if !p.say(s.next("", "220 test ESMTP")) {
		return
	}
	for p.step() {
	}
}

// say reports whether the client may go on.
func (p *stage) say(text string) bool {
	switch text {
	case silence:
		p.lines.ReadString(0) // until the client has gone
		return false
	case drip:
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			if _, err := fmt.Fprint(p.conn, "250-still here\r\n"); err != nil {
				return false
			}
			<-tick.C
		}
	}
	_, err := fmt.Fprint(p.conn, strings.ReplaceAll(text, "\n", "\r\n")+"\r\n")
	return err == nil && !strings.HasPrefix(text, "421") && !strings.HasPrefix(text, "554 go")
}

func (p *stage) hear() (string, bool) {
	line, err := p.lines.ReadString('\n')
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard.WriteString(line)
	if !p.secure {
		p.clear.WriteString(line)
	}
	return strings.TrimRight(line, "\r\n"), err == nil
}

// step answers one command.
func (p *stage) step() bool {
	line, ok := p.hear()
	if !ok {
		return false
	}
	verb, argument, _ := strings.Cut(line, " ")
	switch verb {
	case "EHLO":
		offers := "250-test\n"
		if p.tls != nil && !p.secure {
			offers += "250-STARTTLS\n"
		}
		if p.auth != "" {
			offers += "250-AUTH " + p.auth + "\n"
		}
		return p.say(p.next(verb, offers+"250 8BITMIME"))
	case "STARTTLS":
		answer := p.next(verb, "220 go ahead")
		if !p.say(answer+p.behind) || !strings.HasPrefix(answer, "220") {
			return true
		}
		conn := tls.Server(p.conn, p.tls)
		if conn.Handshake() != nil {
			return false
		}
		p.conn, p.lines, p.secure = conn, bufio.NewReader(conn), true
		return true
	case "AUTH":
		return p.login(argument)
	case "DATA":
		answer := p.next(verb, "354 go on")
		if !p.say(answer) || !strings.HasPrefix(answer, "354") {
			return true
		}
		text, err := readData(p.lines)
		if err != nil {
			return false
		}
		answer = p.next(".", "250 taken")
		if strings.HasPrefix(answer, "250") {
			p.mu.Lock()
			p.taken = append(p.taken, text)
			p.mu.Unlock()
		}
		return p.say(answer)
	case "QUIT":
		p.say("221 bye")
		return false
	}
	return p.say(p.next(verb, "250 ok"))
}

// login takes PLAIN (RFC 4616) and LOGIN.
func (p *stage) login(argument string) bool {
	if answer := p.next("AUTH", ""); answer != "" {
		return p.say(answer)
	}
	decode := func(text string) string {
		b, _ := base64.StdEncoding.DecodeString(text)
		return string(b)
	}
	way, first, _ := strings.Cut(argument, " ")
	var user, password string
	switch way {
	case "PLAIN":
		parts := strings.Split(decode(first)+"\x00\x00", "\x00")
		user, password = parts[1], parts[2]
	case "LOGIN":
		for _, ask := range []struct {
			prompt string
			into   *string
		}{{"Username:", &user}, {"Password:", &password}} {
			p.say("334 " + base64.StdEncoding.EncodeToString([]byte(ask.prompt)))
			line, ok := p.hear()
			if !ok {
				return false
			}
			*ask.into = decode(line)
		}
	default:
		return p.say("504 not that")
	}
	p.mu.Lock()
	p.logins = append(p.logins, fmt.Sprintf("%s:%s by %s, TLS %t", user, password, way, p.secure))
	p.mu.Unlock()
	return p.say("235 welcome")
}

func (s *script) results() (heard, clear string, logins, taken []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard.String(), s.clear.String(), append([]string{}, s.logins...), append([]string{}, s.taken...)
}

// issued is TLS with a certificate of the authority that TestMain makes the
// system trust.
func issued(t *testing.T, change func(*x509.Certificate)) *tls.Config {
	t.Helper()
	authority, err := x509.ParseCertificate(known.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, authority, &key.PublicKey, known.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func TestSMTPTrustsTheSystemsAuthoritiesAndNothingElse(t *testing.T) {
	old := known.Clone()
	old.MaxVersion = tls.VersionTLS11
	for _, row := range []struct {
		name    string
		tls     *tls.Config
		refused string
	}{
		{"a certificate of a known authority", issued(t, func(*x509.Certificate) {}), ""},
		{"a certificate for another address", issued(t, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 2)} }), "certificate"},
		{"a certificate for a name", issued(t, func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"mail.example.org"} }), "certificate"},
		{"a certificate that has expired", issued(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), "expired"},
		{"a certificate of tomorrow", issued(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), "expired or is not yet valid"},
		{"a certificate for clients", issued(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), "certificate"},
		{"a certificate of nobody known", unknown(t), "unknown authority"},
		{"TLS 1.1", old, "protocol version"},
	} {
		for _, policy := range []string{"starttls", "tls", "opportunistic"} {
			t.Run(row.name+", "+policy, func(t *testing.T) {
				s := perform(t, &script{tls: row.tls, implicit: policy == "tls", auth: "PLAIN"})
				sender := s.sender(policy)
				sender.Username, sender.Password = "user", "secret"
				err := sender.Send(t.Context(), message)
				if (err == nil) != (row.refused == "") || err != nil && !strings.Contains(err.Error(), row.refused) {
					t.Errorf("got %v, want %q", err, row.refused)
				}
				_, _, logins, taken := s.results()
				if n := len(taken); (n == 1) != (row.refused == "") || n != len(logins) {
					t.Errorf("%d messages, logins %q", n, logins)
				}
			})
		}
	}
}

func TestSMTPLogsInAsTheServerCan(t *testing.T) {
	for _, row := range []struct {
		name, offers, want string // want is empty where it cannot
	}{
		{"plain", "PLAIN", "PLAIN"},
		{"login", "LOGIN", "LOGIN"},
		{"both", "LOGIN PLAIN", "PLAIN"},
		{"as Google does", "LOGIN PLAIN XOAUTH2 PLAIN-CLIENTTOKEN OAUTHBEARER XOAUTH", "PLAIN"},
		{"as Microsoft does", "LOGIN XOAUTH2", "LOGIN"},
		{"not by password", "XOAUTH2 GSSAPI", ""},
	} {
		for _, policy := range []string{"starttls", "tls"} {
			t.Run(row.name+", "+policy, func(t *testing.T) {
				s := perform(t, &script{tls: known, implicit: policy == "tls", auth: row.offers})
				sender := s.sender(policy)
				sender.Username, sender.Password = "user", "pass wörd"
				err := sender.Send(t.Context(), message)
				_, _, logins, taken := s.results()
				if row.want == "" {
					if err == nil || len(taken) > 0 {
						t.Errorf("%v, %d messages", err, len(taken))
					}
					return
				}
				if want := "user:pass wörd by " + row.want + ", TLS true"; err != nil || len(taken) != 1 || len(logins) != 1 || logins[0] != want {
					t.Errorf("%v, %d messages, logins %q, want %q", err, len(taken), logins, want)
				}
			})
		}
	}
}

func TestSMTPTellsNoPasswordInTheClear(t *testing.T) {
	const user, password = "user-canary", "pass-canary"
	for _, offers := range []string{"PLAIN", "LOGIN", "PLAIN LOGIN", "CRAM-MD5", "XOAUTH2", ""} {
		for _, policy := range []string{"none", "opportunistic", "starttls", "tls"} {
			t.Run(offers+", "+policy, func(t *testing.T) {
				s := perform(t, &script{auth: offers}) // without TLS, whatever is asked for
				sender := s.sender(policy)
				sender.Username, sender.Password = user, password
				err := sender.Send(t.Context(), message)
				heard, _, _, taken := s.results()
				if err == nil || len(taken) > 0 {
					t.Errorf("%v, %d messages", err, len(taken))
				}
				for _, form := range []string{password, base64.StdEncoding.EncodeToString([]byte(password)), base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))} {
					if strings.Contains(heard, form) || err != nil && strings.Contains(err.Error(), form) {
						t.Errorf("%q is told: %s; %v", form, heard, err)
					}
				}
			})
		}
	}
}

// What somebody slips in behind the answer to STARTTLS was not encrypted.
func TestSMTPBelievesNothingFromBeforeTheHandshake(t *testing.T) {
	s := perform(t, &script{tls: known, auth: "PLAIN", behind: "\r\n250-evil\r\n250 AUTH LOGIN"})
	sender := s.sender("starttls")
	sender.Username, sender.Password = "user", "secret"
	err := sender.Send(t.Context(), message)
	if _, _, logins, _ := s.results(); err == nil && (len(logins) != 1 || !strings.Contains(logins[0], "PLAIN, TLS true")) {
		t.Errorf("%q", logins)
	}
}

func TestSMTPRefusalsAreErrorsAndTheNextAttemptIsANewOne(t *testing.T) {
	for _, verb := range []string{"", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "."} {
		for _, answer := range []string{"421 shutting down", "451 try later", "452 full", "550 no <Jo@example.org> here", "554 never"} {
			t.Run(verb+" "+answer, func(t *testing.T) {
				answers := map[string][]string{verb: {answer, answer}}
				if verb == "EHLO" { // after which HELO is tried
					answers["HELO"] = []string{answer, answer}
				}
				s := perform(t, &script{tls: known, auth: "PLAIN", answers: answers})
				sender := s.sender("starttls")
				sender.Username, sender.Password = "user", "secret"
				for range 2 {
					err := sender.Send(t.Context(), message)
					if err == nil || !strings.Contains(err.Error(), answer[:3]) && verb != "" {
						t.Errorf("got %v, want %q", err, answer)
					}
					if err != nil && (strings.Contains(strings.ToLower(err.Error()), message.To) || strings.Contains(err.Error(), "secret")) {
						t.Errorf("the log would tell: %v", err)
					}
				}
				if err := sender.Send(t.Context(), message); err != nil {
					t.Errorf("the third: %v", err)
				}
				if _, _, _, taken := s.results(); len(taken) != 1 {
					t.Errorf("%d messages came", len(taken))
				}
			})
		}
	}
}

func TestSMTPThatIsSlowIsLeft(t *testing.T) {
	const patience = 300 * time.Millisecond
	for _, how := range []string{silence, drip} {
		for _, verb := range []string{"", "EHLO", "MAIL", "RCPT", "DATA", "."} {
			t.Run(how+" at "+verb, func(t *testing.T) {
				t.Parallel()
				s := perform(t, &script{answers: map[string][]string{verb: {how}}})
				begin := time.Now()
				err := s.sender("none").Within(patience).Send(t.Context(), message)
				if took := time.Since(begin); err == nil || took > 20*patience {
					t.Errorf("%v after %v", err, took)
				}
			})
		}
	}
	t.Run("silence in the handshake", func(t *testing.T) {
		s := perform(t, &script{answers: map[string][]string{"": {silence}}})
		begin := time.Now()
		if err := s.sender("tls").Within(patience).Send(t.Context(), message); err == nil || time.Since(begin) > 20*patience {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
	t.Run("the doctor leaves, too", func(t *testing.T) {
		s := perform(t, &script{answers: map[string][]string{"EHLO": {drip}}})
		begin := time.Now()
		if err := s.sender("none").Within(patience).Greet(t.Context()); err == nil || time.Since(begin) > 20*patience {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

func TestSMTPHeadersCannotBeForged(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(m *mail.Message)
	}{
		{"a subject of two lines", func(m *mail.Message) { m.Subject = "Hello\r\nBcc: all@example.org\r\n\r\n<b>now</b>" }},
		{"a subject with a line feed", func(m *mail.Message) { m.Subject = "Hello\nBcc: all@example.org" }},
		{"a subject with a carriage return", func(m *mail.Message) { m.Subject = "Hello\rBcc: all@example.org" }},
		{"a subject that is long", func(m *mail.Message) { m.Subject = strings.Repeat("Grüße, ", 100) }},
		{"an end of the data in the text", func(m *mail.Message) { m.Text = "Hello\r\n.\r\nMAIL FROM:<evil@example.org>\r\n" }},
		{"an end of the data in the page", func(m *mail.Message) { m.HTML = "<p>\n.\nQUIT\n</p>" }},
		{"a line of ten thousand characters", func(m *mail.Message) { m.Text = strings.Repeat("x", 10_000) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := perform(t, &script{})
			m := message
			row.change(&m)
			if err := s.sender("none").Send(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			heard, _, _, taken := s.results()
			if len(taken) != 1 || strings.Count(heard, "MAIL") != 1 || strings.Count(heard, "RCPT") != 1 {
				t.Fatalf("%d messages: %s", len(taken), heard)
			}
			got, err := netmail.ReadMessage(strings.NewReader(taken[0]))
			if err != nil {
				t.Fatal(err)
			}
			for name := range got.Header {
				if name == "Bcc" || name == "Cc" {
					t.Errorf("%s: %q", name, got.Header[name])
				}
			}
			if to := got.Header["To"]; len(to) != 1 || to[0] != "<"+message.To+">" {
				t.Errorf("To: %q", to)
			}
			for line := range strings.SplitSeq(taken[0], "\r\n") {
				if len(line) > 998 || strings.ContainsAny(line, "\r\n") {
					t.Errorf("a line of %d characters: %.60q", len(line), line)
				}
			}
			if r := open(t, taken[0]); strings.NewReplacer("\r", "", "\n", "").Replace(r.Subject) != strings.NewReplacer("\r", "", "\n", "").Replace(m.Subject) || r.MessageID != "<"+m.ID+"@example.com>" {
				t.Errorf("%q, %s", r.Subject, r.MessageID)
			}
		})
	}
}
