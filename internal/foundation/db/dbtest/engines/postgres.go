package engines

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// PostgresOptions are the choices of StartPostgres.
type PostgresOptions struct {
	// Durable keeps what was committed through a power cut, as in production.
	// Without it, commits do not wait for the disk: right for tests, except
	// those that measure.
	Durable bool

	// Env is more of its environment, such as a library that bends its clock.
	Env []string
}

var fastSettings = []string{
	"-c", "fsync=off",
	"-c", "synchronous_commit=off",
	"-c", "full_page_writes=off",
	"-c", "autovacuum=off",
}

// StartPostgres starts a private PostgreSQL with an empty database postgres.
func StartPostgres(options PostgresOptions) (*Server, error) {
	initdb, err := locate("PostgreSQL", PostgresVariable, "postgresql", findInitdb)
	if err != nil {
		return nil, err
	}
	account, err := unprivileged()
	if err != nil {
		return nil, err
	}
	s := &Server{name: "PostgreSQL", user: account, stop: syscall.SIGINT, crash: syscall.SIGQUIT, version: postgresVersion}
	return s.launch(func(port string) error {
		data := filepath.Join(s.dir, "data")
		s.URL = "postgres://postgres@" + s.addr + "/postgres?sslmode=disable"
		s.argv = []string{filepath.Join(filepath.Dir(initdb), "postgres"), "-D", data, "-p", port,
			"-c", "listen_addresses=127.0.0.1",
			"-c", "unix_socket_directories=",
			"-c", "max_connections=400",
			"-c", "shared_buffers=128MB",
		}
		if !options.Durable {
			s.argv = append(s.argv, fastSettings...)
		}
		if len(options.Env) > 0 {
			s.argv = slices.Concat([]string{"env"}, options.Env, s.argv)
		}
		return s.createCluster(initdb, data)
	})
}

func (s *Server) createCluster(initdb, data string) error {
	p, err := s.spawn(initdb, "-D", data, "--username=postgres", "--auth=trust",
		"--encoding=UTF8", "--locale=C", "--no-sync")
	if err != nil {
		return fmt.Errorf("run initdb: %w", err)
	}
	<-p.ended
	if p.err != nil {
		return fmt.Errorf("initdb: %w: %s", p.err, s.logTail())
	}
	return nil
}

// unprivileged returns an account to run PostgreSQL under when we are root,
// which it refuses, and nil when we are not.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		account, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody: %w", err)
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// findInitdb looks for an initdb with postgres beside it: in PATH, else the
// newest version where Debian keeps them out of PATH.
func findInitdb() (string, bool) {
	var candidates []string
	if path, err := exec.LookPath("initdb"); err == nil {
		candidates = append(candidates, path)
	}
	packaged, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is well-formed
	slices.SortFunc(packaged, func(a, b string) int { return majorVersion(b) - majorVersion(a) })
	for _, initdb := range append(candidates, packaged...) {
		if _, err := exec.LookPath(filepath.Join(filepath.Dir(initdb), "postgres")); err == nil {
			return initdb, true
		}
	}
	return "", false
}

// majorVersion reads 15 from /usr/lib/postgresql/15/bin/initdb.
func majorVersion(initdb string) int {
	version, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(initdb)))) // 0 for a strange directory: last
	return version
}
