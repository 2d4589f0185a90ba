package e2e

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsdk/authsdk/e2e/authapi"
)

// lossy is a network to a server. While it loses, every answer is thrown away
// and the connection cut: the server has done its work, the client never knows.
type lossy struct {
	loses atomic.Bool
	lost  atomic.Int64 // answers thrown away

	server string
}

// through puts a lossy network between a server and a new client.
func (v *server) through(t *testing.T) (*lossy, *authapi.Client) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &lossy{server: v.address}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go l.carry(conn)
		}
	}()
	client := authapi.New("http://"+listener.Addr().String(), patience)
	t.Cleanup(func() {
		listener.Close()
		client.HTTP.CloseIdleConnections()
	})
	return l, client
}

func (l *lossy) carry(client net.Conn) {
	defer client.Close()
	server, err := net.DialTimeout("tcp", l.server, 5*time.Second)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		io.Copy(server, client)
		server.(*net.TCPConn).CloseWrite()
	}()
	answer := make([]byte, 64<<10)
	for {
		n, err := server.Read(answer)
		if l.loses.Load() && n > 0 {
			l.lost.Add(1)
			return
		}
		if n > 0 {
			if _, err := client.Write(answer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
