package engines

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"
)

// answerTime bounds one exchange with a server.
const answerTime = 5 * time.Second

// A refusal is the answer of a server that is there but does not let us in.
type refusal string

func (r refusal) Error() string { return "refused: " + string(r) }

// Version asks the server at rawURL for its version. It is empty when the
// server is there but wants more than a plain greeting (a password, TLS), and
// when rawURL does not name a TCP address. An error means that no such server
// answers.
func Version(rawURL string) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Hostname() == "" {
		return "", nil
	}
	version := ""
	switch u.Scheme {
	case "postgres", "postgresql":
		database := strings.TrimPrefix(u.Path, "/")
		version, err = postgresHandshake(address(u, "5432"), u.User.Username(), database)
	case "redis":
		version, err = redisVersion(address(u, "6379"))
	}
	if refused := refusal(""); errors.As(err, &refused) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("no answer from %s: %w", u.Redacted(), err)
	}
	return version, nil
}

func address(u *url.URL, port string) string {
	if u.Port() != "" {
		port = u.Port()
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func postgresVersion(addr string) (string, error) {
	return postgresHandshake(addr, "postgres", "postgres")
}

// postgresHandshake opens a session and returns the version the server tells.
// A session, because a starting server accepts connections before it serves.
func postgresHandshake(addr, user, database string) (version string, err error) {
	conn, err := net.DialTimeout("tcp", addr, answerTime)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return "", err
	}
	hello := "\x00\x03\x00\x00user\x00" + user + "\x00database\x00" + database + "\x00\x00"
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(4+len(hello))), hello...)); err != nil {
		return "", err
	}
	for in := bufio.NewReader(conn); ; {
		kind, body, err := readMessage(in)
		if err != nil {
			return "", err
		}
		switch kind {
		case 'R': // authentication: 0 means none is needed
			if body != "\x00\x00\x00\x00" {
				return "", refusal("it wants a password")
			}
		case 'S':
			if name, value, _ := strings.Cut(body, "\x00"); name == "server_version" {
				version = strings.TrimSuffix(value, "\x00")
			}
		case 'E':
			return "", refusal(strings.ReplaceAll(body, "\x00", " "))
		case 'Z': // ready for queries
			_, err := conn.Write([]byte("X\x00\x00\x00\x04"))
			return version, err
		}
	}
}

func readMessage(in io.Reader) (kind byte, body string, err error) {
	var head [5]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return 0, "", err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size < 4 || size > 1<<16 {
		return 0, "", fmt.Errorf("not PostgreSQL: a message of %d bytes", size)
	}
	content := make([]byte, size-4)
	_, err = io.ReadFull(in, content)
	return head[0], string(content), err
}

// redisVersion asks for INFO, which, other than PING, also tells the version.
func redisVersion(addr string) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, answerTime)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte("INFO server\r\n")); err != nil {
		return "", err
	}
	in := bufio.NewScanner(conn)
	for in.Scan() {
		line := in.Text()
		if strings.HasPrefix(line, "-") {
			return "", refusal(line[1:])
		}
		if version, found := strings.CutPrefix(line, "redis_version:"); found {
			return version, nil
		}
	}
	if in.Err() != nil {
		return "", in.Err()
	}
	return "", fmt.Errorf("no version in the answer of %s: not Redis", addr)
}
