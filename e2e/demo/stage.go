package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/authsdk/authsdk/e2e/authapi"
	"github.com/authsdk/authsdk/e2e/program"
)

// stage is what the story plays on: the running programs.
type stage struct {
	out             io.Writer
	dir             string
	authd           string // the program
	database, redis string // URLs, empty for authd's own defaults

	actors        []*actor
	first, last   *authapi.Client // authd; one and the same if there is only one
	orders, bills *authapi.Client // the services
}

// actor is a program that was started.
type actor struct {
	*program.Program
	name string
	url  string
}

// stopPatience is how long a program may take to end.
const stopPatience = 25 * time.Second

func (s *stage) build(ctx context.Context, second bool) error {
	names := []string{"authd"}
	if second {
		names = []string{"authd A", "authd B"}
	}
	base := ""
	for _, name := range names {
		address, err := program.FreeAddress()
		if err != nil {
			return err
		}
		if base == "" {
			base = "http://" + address
		}
		client, err := s.startAuthd(ctx, name, address, base)
		if err != nil {
			return err
		}
		if s.last = client; s.first == nil {
			s.first = client
		}
	}
	service := filepath.Join(s.dir, "orders-api")
	if err := program.Build(ctx, "github.com/authsdk/authsdk/examples/orders-api", service); err != nil {
		return err
	}
	var err error
	if s.orders, err = s.startService(ctx, service, "orders-api"); err != nil {
		return err
	}
	if s.bills, err = s.startService(ctx, service, "billing-api"); err != nil {
		return err
	}
	fmt.Fprintln(s.out)
	return nil
}

func (s *stage) startAuthd(ctx context.Context, name, address, base string) (*authapi.Client, error) {
	_, port, _ := strings.Cut(address, ":")
	env := program.Minimal("APP__PORT="+port, "EMAIL__PUBLIC_BASE_URL="+base)
	kept := "an embedded database"
	if s.database != "" {
		env = append(env, "DATABASE__URL="+s.database)
		kept, _, _ = strings.Cut(s.database, ":")
	}
	if s.redis != "" {
		env = append(env, "REDIS__URL="+s.redis)
		kept += " and redis"
	}
	spec := program.Spec{Path: s.authd, Args: []string{"serve", "--migrate"}, Dir: s.dir, Env: env}
	return s.start(ctx, name, "on "+kept, spec, "http://"+address, "/health/ready")
}

func (s *stage) startService(ctx context.Context, path, audience string) (*authapi.Client, error) {
	address, err := program.FreeAddress()
	if err != nil {
		return nil, err
	}
	spec := program.Spec{
		Path: path, Args: []string{"-addr", address, "-auth", s.first.Base, "-audience", audience},
		Dir: s.dir, Env: program.Minimal(),
	}
	return s.start(ctx, audience, "a service that trusts authd", spec, "http://"+address, "/healthz")
}

func (s *stage) start(ctx context.Context, name, what string, spec program.Spec, url, health string) (*authapi.Client, error) {
	begin := time.Now()
	p, err := program.Start(spec)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s.actors = append(s.actors, &actor{p, name, url})
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := p.Await(ctx, url+health); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	fmt.Fprintf(s.out, "    %-11s  %s  %s, ready after %d ms\n", name, url, what, time.Since(begin).Milliseconds())
	return authapi.New(url, 20*time.Second), nil
}

// stop ends every program in order, the services first.
func (s *stage) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	for i := len(s.actors) - 1; i >= 0; i-- {
		a := s.actors[i]
		if !a.Running() {
			return fmt.Errorf("%s had ended before with exit code %d", a.name, a.ExitCode())
		}
		code, err := a.Terminate(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		if code != 0 {
			return fmt.Errorf("%s ended with exit code %d", a.name, code)
		}
	}
	return nil
}

// clear ends what still runs, however the story went.
func (s *stage) clear() {
	for _, a := range s.actors {
		a.Kill()
	}
}

// complaints is what the programs logged beyond the ordinary, for whoever has
// to find out why.
func (s *stage) complaints() string {
	var b strings.Builder
	for _, a := range s.actors {
		for line := range strings.Lines(a.Output()) {
			if strings.Contains(line, "WARN") || strings.Contains(line, "ERROR") || strings.Contains(line, "refused") {
				fmt.Fprintf(&b, "\n    %s: %s", a.name, strings.TrimSpace(line))
			}
		}
	}
	if b.Len() > 0 {
		return "\n\nFrom their logs:" + b.String()
	}
	return ""
}
