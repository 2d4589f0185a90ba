package engines

import (
	"os/exec"
	"syscall"
)

// StartRedis starts a private, empty Redis that saves nothing to disk: authd
// keeps nothing in Redis that it could not lose.
func StartRedis() (*Server, error) {
	binary, err := locate("Redis", RedisVariable, "redis-server", findRedis)
	if err != nil {
		return nil, err
	}
	s := &Server{name: "Redis", stop: syscall.SIGTERM, crash: syscall.SIGKILL, version: redisVersion}
	return s.launch(func(port string) error {
		s.URL = "redis://" + s.addr + "/0"
		s.argv = []string{binary, "--bind", "127.0.0.1", "--port", port, "--dir", s.dir, "--save", "", "--appendonly", "no"}
		return nil
	})
}

func findRedis() (string, bool) {
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, true
		}
	}
	return "", false
}
