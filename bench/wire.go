package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// A wire is one keep-alive connection of HTTP/1.1, written to cost little: the
// generator shares its core with the database.
type wire struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte
	body []byte
}

// An answer is good until the next request of its wire.
type answer struct {
	status     int
	body       []byte
	retryAfter bool
	last       bool // the server closes the connection
}

// answerFor is how long an answer may take. An overloaded server must answer, too.
const answerFor = 60 * time.Second

func dial(address string) (*wire, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &wire{conn: conn, in: bufio.NewReaderSize(conn, 8<<10)}, nil
}

func (w *wire) close() { w.conn.Close() }

// ask sends what request appends and reads the answer.
func (w *wire) ask(request func([]byte) []byte) (a answer, err error) {
	w.out = request(w.out[:0])
	w.conn.SetDeadline(time.Now().Add(answerFor))
	if _, err := w.conn.Write(w.out); err != nil {
		return a, err
	}
	line, err := w.in.ReadSlice('\n')
	if err != nil {
		return a, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return a, errors.New("that is no HTTP/1.1")
	}
	if a.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return a, err
	}
	length, chunked := 0, false
	for {
		if line, err = w.in.ReadSlice('\n'); err != nil {
			return a, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch string(name) { // as net/http writes them
		case "Content-Length":
			if length, err = strconv.Atoi(string(value)); err != nil {
				return a, err
			}
		case "Transfer-Encoding":
			chunked = string(value) == "chunked"
		case "Retry-After":
			a.retryAfter = len(value) > 0
		case "Connection":
			a.last = string(value) == "close"
		}
	}
	w.body = w.body[:0]
	if chunked {
		err = w.chunks()
	} else {
		err = w.read(length)
	}
	a.body = w.body
	return a, err
}

func (w *wire) read(n int) error {
	start := len(w.body)
	w.body = append(w.body, make([]byte, n)...)
	_, err := io.ReadFull(w.in, w.body[start:])
	return err
}

func (w *wire) chunks() error {
	for {
		line, err := w.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(string(bytes.TrimRight(line, "\r\n")), 16, 32)
		if err != nil {
			return err
		}
		if err := w.read(int(n)); err != nil {
			return err
		}
		if _, err := w.in.Discard(2); err != nil || n == 0 {
			return err
		}
	}
}

// get and post append a request.
func get(b []byte, path, bearer string) []byte {
	b = append(append(append(b, "GET "...), path...), " HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Mozilla/5.0 (bench)\r\n"...)
	if bearer != "" {
		b = append(append(append(b, "Authorization: Bearer "...), bearer...), "\r\n"...)
	}
	return append(b, "\r\n"...)
}

func post(b []byte, path, bearer, body string) []byte {
	b = append(append(append(b, "POST "...), path...), " HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Mozilla/5.0 (bench)\r\nContent-Type: application/json\r\n"...)
	if bearer != "" {
		b = append(append(append(b, "Authorization: Bearer "...), bearer...), "\r\n"...)
	}
	b = strconv.AppendInt(append(b, "Content-Length: "...), int64(len(body)), 10)
	return append(append(b, "\r\n\r\n"...), body...)
}

// refused tells of an answer that was not asked for, without what may be secret.
func refused(a answer) error {
	return fmt.Errorf("answered %d: %.200s", a.status, a.body)
}
