package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A growing is one endpoint on an empty and on a full database, measured in turn.
type growing struct {
	endpoint    string
	empty, full side
	ratio       float64 // of the CPU, full / empty: median of the rounds
	n           int     // requests of the open model on each side
}

type side struct {
	cpu      float64       // ms a request
	p50, p99 time.Duration // medians of the turns
}

// growth measures every endpoint on an empty database and on the seeded one of
// o.database, which belongs to the same PostgreSQL.
func (o options) growth(ctx context.Context) error {
	v, err := startServices(o.authd, nil)
	if err != nil {
		return err
	}
	defer v.close()
	if err := pinPostgres(ctx, o.database); err != nil {
		return err
	}
	full, err := v.siteAt(ctx, o.database)
	if err != nil {
		return err
	}
	defer full.close()
	for i := range people { // anybody of the many
		full.emails[i] = fmt.Sprintf("user%07d@example.com", 1+rand.IntN(o.seeded))
	}
	name := fmt.Sprintf("bench_empty_%d", os.Getpid())
	url, err := createDatabase(ctx, o.database, name)
	if err != nil {
		return err
	}
	defer execute(context.WithoutCancel(ctx), o.database, "DROP DATABASE "+name+" WITH (FORCE)")
	empty, err := v.siteAt(ctx, url)
	if err != nil {
		return err
	}
	defer empty.close()
	for _, s := range []*site{empty, full} {
		if err := s.start(ctx); err != nil {
			return err
		}
	}
	if _, err := atRest(ctx, full, o.rest); err != nil { // what starts with a server has begun
		return err
	}
	var all []growing
	for _, sc := range slices.Concat(scenarios, others) {
		if !o.wants(sc.name) {
			continue
		}
		g, err := grow(sc, empty, full, o.plan)
		if err != nil {
			return fmt.Errorf("%s: %w", sc.name, err)
		}
		fmt.Fprintf(os.Stderr, "%s: %.2f × the CPU\n", sc.name, g.ratio)
		all = append(all, g)
	}
	fmt.Print(growthTable(all))
	return nil
}

// siteAt is a site on a PostgreSQL database that is there.
func (v *services) siteAt(ctx context.Context, url string) (*site, error) {
	s, err := v.emptySite(postgresEngine)
	if err != nil {
		return nil, err
	}
	s.database, s.settings = url, append(s.settings, "DATABASE__URL="+url)
	return s, s.fill(ctx)
}

// turns is how often the open model goes to each side.
const turns = 6

// grow measures both sides in turn, so that a slow moment of the machine meets
// both.
func grow(sc scenario, empty, full *site, p plan) (g growing, err error) {
	g.endpoint = sc.name
	var on [2]*running
	for i, s := range []*site{empty, full} {
		if on[i], err = sc.begin(s); err != nil {
			return g, err
		}
		if _, _, err := on[i].load(p.warmUp); err != nil {
			return g, err
		}
	}
	var cpu [2][]float64
	var seen, ratios []float64
	for round := range p.rounds {
		var micros [2]float64
		for turn := range 2 {
			i := (round + turn) % 2 // neither is always the first
			n, took, used, err := on[i].measured(p.slice)
			if err != nil {
				return g, err
			}
			micros[i] = float64(used.Nanoseconds()) / 1e3 / float64(n)
			cpu[i] = append(cpu[i], micros[i])
			seen = append(seen, float64(n)/took.Seconds())
		}
		ratios = append(ratios, micros[1]/micros[0])
	}
	g.empty.cpu, g.full.cpu, g.ratio = median(cpu[0])/1e3, median(cpu[1])/1e3, median(ratios)
	if p.open == 0 {
		return g, nil
	}
	var p50, p99 [2][]float64
	rate := min(median(seen)/2, fastest) // the same on both sides
	for turn := range 2 * turns {
		i := (turn + turn/2) % 2
		some, err := on[i].open(rate, p.open)
		if err != nil {
			return g, err
		}
		p50[i] = append(p50[i], float64(percentile(some, 50)))
		p99[i] = append(p99[i], float64(percentile(some, 99)))
		g.n += len(some)
	}
	for i, on := range []*side{&g.empty, &g.full} {
		on.p50, on.p99 = time.Duration(median(p50[i])), time.Duration(median(p99[i]))
	}
	g.n /= 2
	return g, nil
}

// fastest is a rate at which the generator adds little of its own to a latency.
const fastest = 2000

func growthTable(all []growing) string {
	var b strings.Builder
	b.WriteString("| endpoint | CPU ms/request, empty | full | full / empty | p50 ms, empty | full | p99 ms, empty | full | full / empty | requests each |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, g := range all {
		fmt.Fprintf(&b, "| %s | %s | %s | **%.2f** | %s | %s | %s | %s | **%.2f** | %d |\n", g.endpoint, digits(g.empty.cpu), digits(g.full.cpu), g.ratio,
			millis(g.empty.p50), millis(g.full.p50), millis(g.empty.p99), millis(g.full.p99), float64(g.full.p99)/float64(max(g.empty.p99, 1)), g.n)
	}
	return b.String()
}

// pinPostgres moves the PostgreSQL of a URL, which somebody else started, to the
// generator's core.
func pinPostgres(ctx context.Context, url string) error {
	d, err := sql.Open("pgx", url)
	if err != nil {
		return err
	}
	defer d.Close()
	d.SetMaxOpenConns(1)
	var pid int
	if err := d.QueryRowContext(ctx, `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
		return err
	}
	parent, ok := parentOf(fmt.Sprint(pid))
	if !ok {
		return errors.New("the PostgreSQL of -database is not on this machine")
	}
	stats, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, path := range stats {
		one := filepath.Base(path)
		if its, ok := parentOf(one); one == parent || ok && its == parent {
			// Fails for a process that has just ended.
			exec.CommandContext(ctx, "taskset", "-cp", generatorCore, one).Run()
		}
	}
	return nil
}

// parentOf reads the parent of a postgres process.
func parentOf(pid string) (parent string, ok bool) {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil || !strings.Contains(string(stat), "(postgres)") {
		return "", false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	return fields[1], true
}
