package engines

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// freeAddress picks a port below the range from which the kernel takes the
// ports of outgoing connections: in that range a client that retries while its
// server is stopped can be given the server's own port, connect to itself, and
// keep the server from coming back.
func freeAddress() (string, error) {
	const low, high = 15000, 32000
	var err error
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(low+rand.IntN(high-low)))
		var listener net.Listener
		if listener, err = net.Listen("tcp", addr); err == nil {
			return addr, listener.Close()
		}
	}
	return "", fmt.Errorf("no free port: %w", err)
}

// tempRoot is where temporary directories go: the usual place, unless user
// could not reach into it.
func tempRoot(user *syscall.Credential) string {
	root := os.TempDir()
	if user == nil {
		return root
	}
	for dir := root; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode()&0o001 == 0 {
			return "/tmp"
		}
		if dir == filepath.Dir(dir) {
			return root
		}
	}
}
