package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/authsdk/authsdk/internal/config"
	"github.com/authsdk/authsdk/internal/server"
)

// profilesAt names the address of the profiles to a server that we are.
const profilesAt = "BENCH_PROFILES_AT"

// profiled serves as `authd serve --migrate` does, with profiles at an address
// of their own: authd itself offers none.
func profiled(ctx context.Context) error {
	cfg, err := config.Load(os.Environ(), ".")
	if err != nil {
		return err
	}
	log := server.NewLog(os.Stdout, false, cfg)
	mux := http.NewServeMux()
	mux.HandleFunc("/profile", pprof.Profile)
	mux.Handle("/allocs", pprof.Handler("allocs"))
	go http.ListenAndServe(os.Getenv(profilesAt), mux)
	listener, err := net.Listen("tcp", cfg.ListenAddr())
	if err != nil {
		return err
	}
	s, err := server.New(ctx, cfg, log, server.Options{Migrate: true})
	if err != nil {
		return err
	}
	return s.Run(ctx, listener)
}

// profile puts each endpoint under load and keeps what the server did meanwhile.
func (o options) profile(ctx context.Context) error {
	if err := os.MkdirAll(o.profiles, 0o755); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	v, err := startServices(o.authd, o.engines)
	if err != nil {
		return err
	}
	defer v.close()
	v.server = []string{self, "profiled"}
	for _, engine := range o.engines {
		if err := o.profileOn(ctx, v, engine); err != nil {
			return fmt.Errorf("%s: %w", engine, err)
		}
	}
	return nil
}

func (o options) profileOn(ctx context.Context, v *services, engine string) error {
	s, err := v.newSite(ctx, engine)
	if err != nil {
		return err
	}
	defer s.close()
	at, err := freeAddress()
	if err != nil {
		return err
	}
	s.settings = append(s.settings, profilesAt+"="+at)
	if err := s.start(ctx); err != nil {
		return err
	}
	for _, sc := range slices.Concat(scenarios, others) {
		if !o.wants(sc.name) {
			continue
		}
		r, err := sc.begin(s)
		if err == nil {
			_, _, err = r.load(o.plan.warmUp)
		}
		if err == nil {
			err = o.profileOne(r, at)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", sc.name, err)
		}
	}
	return nil
}

// profileOne takes both profiles of the same load.
func (o options) profileOne(r *running, at string) error {
	name := strings.NewReplacer(" ", "-", ",", "", "/", "-").Replace(strings.ToLower(r.site.engine + " " + r.name))
	length := time.Duration(o.plan.rounds) * o.plan.slice
	if err := r.ready(r.fresh * o.plan.rounds); err != nil {
		return err
	}
	var taking sync.WaitGroup
	var failed [2]error
	for i, kind := range []string{"profile", "allocs"} {
		taking.Go(func() {
			path := filepath.Join(o.profiles, name+map[string]string{"profile": ".cpu", "allocs": ".allocs"}[kind])
			failed[i] = fetch(fmt.Sprintf("http://%s/%s?seconds=%d", at, kind, int(length.Seconds())), path)
		})
	}
	run := r.slice
	if run == nil {
		run = func(s *site, c *crowd, d time.Duration) (int, time.Duration, error) {
			return closed(s.address, c, connections, d, anyNumber)
		}
	}
	n, _, err := run(r.site, r.crowd, length)
	taking.Wait()
	for _, f := range failed {
		if err == nil {
			err = f
		}
	}
	fmt.Printf("%s: %d requests\n", filepath.Join(o.profiles, name), n)
	return err
}

func fetch(url, path string) error {
	res, err := http.Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d", url, res.StatusCode)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, res.Body); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
