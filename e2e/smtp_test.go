package e2e

import (
	"bufio"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"

	"github.com/authsdk/authsdk/e2e/program"
)

// mailServer takes mail over plain SMTP on loopback and keeps it.
type mailServer struct {
	address string

	mu       sync.Mutex
	listener net.Listener
	mails    []string // as sent, headers and all
}

func newMailServer(t *testing.T) *mailServer {
	t.Helper()
	address, err := program.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	m := &mailServer{address: address}
	m.start(t)
	t.Cleanup(m.stop)
	return m
}

func (m *mailServer) start(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", m.address)
	if err != nil {
		t.Fatal(err)
	}
	m.listener = l
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go m.talk(conn)
		}
	}()
}

func (m *mailServer) stop() { m.listener.Close() }

func (m *mailServer) talk(conn net.Conn) {
	defer conn.Close()
	say := func(line string) { conn.Write([]byte(line + "\r\n")) }
	in := bufio.NewScanner(conn)
	say("220 ready")
	for in.Scan() {
		switch verb := strings.ToUpper(in.Text()); {
		case strings.HasPrefix(verb, "DATA"):
			say("354 go on")
			var text strings.Builder
			for in.Scan() && in.Text() != "." {
				text.WriteString(strings.TrimPrefix(in.Text(), ".") + "\n")
			}
			m.mu.Lock()
			m.mails = append(m.mails, text.String())
			m.mu.Unlock()
			say("250 taken")
		case strings.HasPrefix(verb, "QUIT"):
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// to lists the mails to an address.
func (m *mailServer) to(address string) (texts []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, text := range m.mails {
		message, err := mail.ReadMessage(strings.NewReader(text))
		if err == nil && strings.Contains(message.Header.Get("To"), address) {
			texts = append(texts, text)
		}
	}
	return texts
}
