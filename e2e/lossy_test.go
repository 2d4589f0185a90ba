package e2e

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsdk/authsdk/e2e/authapi"
)

// lossy is a network to a server. While it loses, every answer is thrown away
// and the connection cut: the server has done its work, the client never knows.
type lossy struct {
	loses atomic.Bool
	share atomic.Int32 // of 100 requests and of 100 answers, how many are cut off
	lost  atomic.Int64 // answers thrown away

	server string
	held   sync.RWMutex // write-locked: a black hole, connections stay and nothing passes
	cut    atomic.Bool  // connections are reset, old and new

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// through puts a lossy network between a server and a new client.
func (v *server) through(t *testing.T) (*lossy, *authapi.Client) {
	t.Helper()
	l, address := network(t, v.address)
	client := authapi.New("http://"+address, patience)
	t.Cleanup(client.HTTP.CloseIdleConnections)
	return l, client
}

// network leads from the address that it returns to a server.
func network(t *testing.T, server string) (l *lossy, address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l = &lossy{server: server, conns: map[net.Conn]bool{}}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go l.carry(conn)
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		l.reset()
	})
	return l, listener.Addr().String()
}

// hold makes it a black hole until release.
func (l *lossy) hold()    { l.held.Lock() }
func (l *lossy) release() { l.held.Unlock() }

// reset breaks every connection, as a firewall that rejects would.
func (l *lossy) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.conns {
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
}

func (l *lossy) carry(client net.Conn) {
	defer client.Close()
	l.mu.Lock()
	l.conns[client] = true
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.conns, client)
		l.mu.Unlock()
	}()
	if l.cut.Load() {
		client.(*net.TCPConn).SetLinger(0)
		return
	}
	l.held.RLock()
	server, err := net.DialTimeout("tcp", l.server, 5*time.Second)
	l.held.RUnlock()
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		if l.pass(server, client, false) {
			server.(*net.TCPConn).CloseWrite()
		} else {
			client.Close()
			server.Close()
		}
	}()
	l.pass(client, server, true)
}

// pass copies until the end, which it reports as true, or until it loses
// something: of an answer all of it, of a request the second half.
func (l *lossy) pass(to, from net.Conn, answers bool) (ended bool) {
	piece := make([]byte, 64<<10)
	for {
		n, err := from.Read(piece)
		unlucky := n > 0 && rand.Int32N(100) < l.share.Load()
		switch {
		case answers && n > 0 && (l.loses.Load() || unlucky):
			l.lost.Add(1)
			return false
		case unlucky:
			to.Write(piece[:n/2])
			return false
		case n > 0:
			l.held.RLock()
			_, failed := to.Write(piece[:n])
			l.held.RUnlock()
			if failed != nil {
				return false
			}
		}
		if err != nil {
			return err == io.EOF
		}
	}
}
