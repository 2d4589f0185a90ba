package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"time"
)

// A sink is a mail server that takes everything and remembers the codes.
type sink struct {
	listener net.Listener

	mu    sync.Mutex
	codes map[string]string // by address, the newest
	mails int
}

func startSink() (*sink, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sink{listener: l, codes: map[string]string{}}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			go s.talk(conn)
		}
	}()
	return s, nil
}

// settings lead authd to the sink.
func (s *sink) settings() []string {
	_, port, _ := net.SplitHostPort(s.listener.Addr().String())
	return []string{"EMAIL__SMTP_HOST=127.0.0.1", "EMAIL__SMTP_PORT=" + port, "EMAIL__SMTP_TLS=none"}
}

// talk speaks as much SMTP as a client of good manners needs.
func (s *sink) talk(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	var to string
	fmt.Fprint(conn, "220 sink ESMTP\r\n")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " ")
		reply := "250 fine"
		switch verb {
		case "RCPT":
			_, rest, _ := strings.Cut(line, "<")
			to, _, _ = strings.Cut(rest, ">")
		case "DATA":
			fmt.Fprint(conn, "354 go on\r\n")
			var text bytes.Buffer
			for {
				line, err := in.ReadSlice('\n')
				if err != nil {
					return
				}
				if string(line) == ".\r\n" {
					break
				}
				text.Write(line)
			}
			s.take(to, text.Bytes())
		case "QUIT":
			fmt.Fprint(conn, "221 bye\r\n")
			return
		}
		fmt.Fprint(conn, reply+"\r\n")
	}
}

// codeLine is a code in a line of its own, as the mail in plain text has it.
var codeLine = regexp.MustCompile(`(?m)^(\d{6})\r?$`)

func (s *sink) take(to string, mail []byte) {
	found := codeLine.FindSubmatch(mail)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails++
	if found != nil {
		s.codes[to] = string(found[1])
	}
}

// spend waits for the code mailed to an address and forgets it.
func (s *sink) spend(to string, patience time.Duration) (string, error) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		s.mu.Lock()
		code := s.codes[to]
		delete(s.codes, to)
		s.mu.Unlock()
		if code != "" {
			return code, nil
		}
	}
	return "", fmt.Errorf("no code was mailed within %v", patience)
}
