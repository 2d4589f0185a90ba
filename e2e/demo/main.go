// Command demo walks the main job of authsdk with real programs: it starts
// authd and two services, tells the story of one user over HTTP, and fails if a
// step does not do what it says.
//
//	go run ./e2e/demo -authd bin/authd
//
// With DATABASE__URL (and REDIS__URL) set, authd uses those; on PostgreSQL two
// authd processes share them, and what one is told the other must know.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// patience bounds the whole demo, building the services included.
const patience = 2 * time.Minute

func main() {
	database := os.Getenv("DATABASE__URL")
	authd := flag.String("authd", "bin/authd", "the authd `program` to show")
	second := flag.Bool("second", strings.HasPrefix(database, "postgres"), "share the database between two authd processes (true by itself on PostgreSQL)")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := run(ctx, os.Stdout, *authd, database, os.Getenv("REDIS__URL"), *second); err != nil {
		fmt.Fprintf(os.Stderr, "\nThe demo failed: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, authd, database, redis string, second bool) (err error) {
	begin := time.Now()
	if second && !strings.HasPrefix(database, "postgres") {
		return errors.New("two authd processes can only share PostgreSQL: set DATABASE__URL")
	}
	if authd, err = filepath.Abs(authd); err != nil {
		return err
	}
	if _, err := os.Stat(authd); err != nil {
		return fmt.Errorf("there is no %s: run make build first", authd)
	}
	dir, err := os.MkdirTemp("", "authsdk-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	fmt.Fprint(out, "The main job of authsdk: a user signs in, and other services trust the token.\n\n")
	s := &stage{out: out, dir: dir, authd: authd, database: database, redis: redis}
	defer s.clear()
	if err := s.build(ctx, second); err != nil {
		return fmt.Errorf("the programs do not start: %w", err)
	}
	steps, err := newStory(s).tell(ctx, out)
	if err != nil {
		return fmt.Errorf("%w%s", err, s.complaints())
	}
	fmt.Fprintf(out, "\nAll %d steps did what they say, in %.1f s.\n", steps, time.Since(begin).Seconds())
	return nil
}
