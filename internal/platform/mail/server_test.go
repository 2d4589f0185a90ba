package mail_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authsdk/authsdk/internal/platform/mail"
)

// A server speaks enough SMTP (RFC 5321) to take a message or refuse it.
type server struct {
	t        *testing.T
	listener net.Listener
	tls      *tls.Config       // offers STARTTLS, if set
	implicit bool              // speaks TLS from the first byte instead
	login    string            // offers AUTH PLAIN and takes this answer, if set
	answers  map[string]string // instead of yes, by verb; "." answers the end of the data; "silence" never answers
	hangUp   string            // at this verb, once a message was taken

	mu    sync.Mutex
	taken []envelope
	verbs []string
	all   sync.WaitGroup
}

// An envelope is a message as it came over the wire.
type envelope struct {
	From, To string
	TLS      bool
	Login    string
	Data     string
}

func serve(t *testing.T, s *server) *server {
	t.Helper()
	var err error
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.t = t
	s.all.Go(s.accept)
	t.Cleanup(func() {
		s.listener.Close()
		s.all.Wait()
	})
	return s
}

// sender is a Sender through this server.
func (s *server) sender(policy string) *mail.SMTP {
	host, port, err := net.SplitHostPort(s.listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		s.t.Fatal(err)
	}
	return &mail.SMTP{Host: host, Port: number, TLS: policy, From: "Auth <auth@example.com>"}
}

func (s *server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.all.Go(func() {
			defer conn.Close()
			if s.implicit {
				conn = tls.Server(conn, s.tls)
			}
			s.converse(conn)
		})
	}
}

// converse returns when the client has gone or said what we cannot read.
func (s *server) converse(conn net.Conn) {
	lines := bufio.NewReader(conn)
	e := envelope{TLS: s.implicit}
	say := func(answer string) { fmt.Fprintf(conn, "%s\r\n", strings.ReplaceAll(answer, "\n", "\r\n")) }
	answer := func(verb, yes string) bool {
		if no, refused := s.answers[verb]; refused {
			say(no)
			return false
		}
		say(yes)
		return true
	}
	if s.answers["silence"] != "" {
		lines.ReadString('\n')
		return
	}
	say("220 test ESMTP")
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, argument, _ := strings.Cut(line, " ")
		s.mu.Lock()
		s.verbs = append(s.verbs, verb)
		hangUp := verb == s.hangUp && len(s.taken) > 0
		s.mu.Unlock()
		if hangUp {
			return
		}
		switch verb {
		case "EHLO":
			say("250-test") // the first line is not an extension
			if s.tls != nil && !e.TLS {
				say("250-STARTTLS")
			}
			if s.login != "" {
				say("250-AUTH PLAIN")
			}
			say("250 HELP")
		case "STARTTLS":
			say("220 go ahead")
			secure := tls.Server(conn, s.tls)
			if secure.Handshake() != nil {
				return
			}
			conn, lines, e.TLS = secure, bufio.NewReader(secure), true
		case "AUTH":
			if argument != "PLAIN "+s.login {
				say("535 no")
				continue
			}
			e.Login = argument
			say("235 welcome")
		case "MAIL":
			e.From = strings.Fields(strings.TrimPrefix(argument, "FROM:"))[0]
			answer(verb, "250 ok")
		case "RCPT":
			e.To = strings.TrimPrefix(argument, "TO:")
			answer(verb, "250 ok")
		case "DATA":
			if !answer(verb, "354 go on") {
				continue
			}
			if e.Data, err = readData(lines); err != nil {
				return
			}
			if answer(".", "250 taken") {
				s.mu.Lock()
				s.taken = append(s.taken, e)
				s.mu.Unlock()
			}
		case "QUIT":
			say("221 bye")
			return
		default: // NOOP, RSET
			answer(verb, "250 ok")
		}
	}
}

func readData(lines *bufio.Reader) (string, error) {
	var data strings.Builder
	for {
		line, err := lines.ReadString('\n')
		if err != nil || line == ".\r\n" {
			return data.String(), err
		}
		data.WriteString(strings.TrimPrefix(line, "."))
	}
}

func (s *server) got() []envelope {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]envelope{}, s.taken...)
}

func (s *server) heard(verb string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(" "+strings.Join(s.verbs, " ")+" ", " "+verb+" ")
}

// known is TLS with a certificate that TestMain makes the system trust.
var known *tls.Config

func TestMain(m *testing.M) {
	os.Exit(trusting(m))
}

func trusting(m *testing.M) int {
	borrowed := httptest.NewTLSServer(nil)
	borrowed.Close()
	known = &tls.Config{Certificates: borrowed.TLS.Certificates}
	dir, err := os.MkdirTemp("", "mail-test")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "roots.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: borrowed.Certificate().Raw})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		panic(err)
	}
	os.Setenv("SSL_CERT_FILE", file) // read at the first handshake
	return m.Run()
}

// unknown is TLS with a certificate that nobody trusts.
func unknown(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}
