// Package engines gives tests a PostgreSQL and a Redis of their own.
//
// AUTHD_TEST_POSTGRES_URL and AUTHD_TEST_REDIS_URL decide, each for its engine:
//
//	a URL   use that server
//	off     leave the engine out: the tests that need it skip (refused when CI is set)
//	empty   start a private server from the installed binaries; as root on Debian
//	        install them first, unless AUTHD_TEST_INSTALL=0
//
// A private server lives on 127.0.0.1, keeps its files in a temporary directory,
// and never outlives the process that started it, not even after kill -9.
package engines

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// The variables that decide which servers tests use.
const (
	PostgresVariable = "AUTHD_TEST_POSTGRES_URL"
	RedisVariable    = "AUTHD_TEST_REDIS_URL"
)

// ErrLeftOut says that the developer chose to test without this engine, so a
// test that needs it should skip.
var ErrLeftOut = errors.New("engine left out")

// One private server of each kind serves a whole process: starting one costs
// more than most tests.
var (
	privatePostgres = sync.OnceValues(func() (*Server, error) { return StartPostgres(PostgresOptions{}) })
	privateRedis    = sync.OnceValues(StartRedis)
)

// Postgres returns the URL of a PostgreSQL whose user may create databases.
func Postgres() (adminURL string, err error) {
	return choose("PostgreSQL", PostgresVariable, privatePostgres)
}

// Redis returns the URL of a Redis. It may be shared, so tests prefix their keys.
func Redis() (url string, err error) {
	return choose("Redis", RedisVariable, privateRedis)
}

func choose(engine, variable string, private func() (*Server, error)) (string, error) {
	switch url := os.Getenv(variable); url {
	case "":
		server, err := private()
		if err != nil {
			return "", err
		}
		return server.URL, nil
	case "off":
		return "", leftOut(engine, variable)
	default:
		return url, nil
	}
}

// leftOut is the answer to a variable that is off.
func leftOut(engine, variable string) error {
	if os.Getenv("CI") != "" {
		return fmt.Errorf("%s=off leaves %s out, but CI is set, and CI tests every engine", variable, engine)
	}
	return fmt.Errorf("%w: %s=off", ErrLeftOut, variable)
}
