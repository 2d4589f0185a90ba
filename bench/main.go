// Command bench measures, in one run on one machine, what the hardware can do
// (the ceilings) and what authd makes of it. Quote ratios of one run, not single
// figures: machines are noisy.
//
//	make bench                                   everything that has a ceiling, and the rest
//	make bench-gate                              fail where a ratio is lost
//	cd bench && go run . -only refresh -engines SQLite
//	cd bench && go run . -write                  tables into README.md, figures into results.json
//	cd bench && go run . -overload               three times the logins that are sustainable
//	cd bench && go run . -growth -database …     an empty database and the one that ./seed filled
//	cd bench && go run . -profile /tmp/profiles  CPU and allocations of the server, by endpoint
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	authd   string
	engines []string
	only    []string
	plan    plan
	rest    time.Duration

	gate, write bool

	growing, overloading, operating bool
	database                        string // that is seeded
	seeded                          int
	profiles                        string // the folder they go to
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch { // what startCeilings starts
	case len(args) == 2 && args[0] == "hello":
		return hello(args[1])
	case len(args) == 3 && args[0] == "ceiling":
		return ceiling(ctx, args[1], args[2])
	case len(args) == 1 && args[0] == "profiled":
		return profiled(ctx)
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	if err := pin(); err != nil {
		return err
	}
	switch {
	case o.operating:
		return o.operator(ctx)
	case o.growing:
		return o.growth(ctx)
	case o.overloading:
		return o.overload(ctx)
	case o.profiles != "":
		return o.profile(ctx)
	}
	return o.run(ctx)
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("bench", flag.ExitOnError)
	f.StringVar(&o.authd, "authd", "../bin/authd", "the binary to measure")
	engines := f.String("engines", sqliteEngine+","+postgresEngine, "the engines to measure on")
	only := f.String("only", "", "measure only endpoints whose name contains one of these, separated by commas")
	seconds := f.Int("seconds", 8, "load on each endpoint, in slices of a second")
	f.DurationVar(&o.plan.open, "open", 5*time.Second, "how long requests arrive at a fixed rate; 0 leaves it out")
	f.DurationVar(&o.rest, "rest", 5*time.Second, "when the memory at rest is read")
	f.BoolVar(&o.gate, "gate", false, "fail where a ratio is lost by more than 15 % against "+resultFile)
	f.BoolVar(&o.write, "write", false, "write the tables into "+readme+" and the figures into "+resultFile)
	f.BoolVar(&o.overloading, "overload", false, "offer three times the logins that are sustainable, and see what the server keeps")
	f.BoolVar(&o.growing, "growth", false, "compare every endpoint on an empty database and on the seeded one of -database")
	f.BoolVar(&o.operating, "operator", false, "measure the operator's lists, and events on their way to webhooks, on the seeded database of -database")
	f.StringVar(&o.database, "database", "", "with -growth and -operator: the URL of a PostgreSQL database that bench/seed has filled")
	f.IntVar(&o.seeded, "seeded", 1_000_000, "with -growth: how many users it has")
	f.StringVar(&o.profiles, "profile", "", "write CPU and allocation profiles of each endpoint under load into this folder")
	f.Parse(args) // ends the program on an error
	o.engines = split(*engines)
	for _, e := range o.engines {
		if e != sqliteEngine && e != postgresEngine {
			return o, fmt.Errorf("an engine is %s or %s", sqliteEngine, postgresEngine)
		}
	}
	if (o.growing || o.operating) == (o.database == "") {
		return o, errors.New("-growth or -operator, and -database go together")
	}
	if o.write && (*only != "" || len(o.engines) < 2) {
		return o, errors.New("-write needs all figures: leave out -only and -engines")
	}
	o.only = split(*only)
	o.plan.rounds, o.plan.slice, o.plan.warmUp = *seconds, time.Second, 2*time.Second
	return o, nil
}

func split(list string) []string {
	return slices.DeleteFunc(strings.Split(list, ","), func(s string) bool { return s == "" })
}

func (o options) wants(name string) bool {
	return len(o.only) == 0 || slices.ContainsFunc(o.only, func(part string) bool { return strings.Contains(name, part) })
}

func (o options) run(ctx context.Context) error {
	var before results
	if o.gate {
		var err error
		if before, err = readResults(); err != nil {
			return err
		}
		before.Figures = slices.DeleteFunc(before.Figures, func(f figure) bool {
			return !o.wants(f.Endpoint) || !slices.Contains(o.engines, f.Engine)
		})
	}
	v, err := startServices(o.authd, o.engines)
	if err != nil {
		return err
	}
	defer v.close()
	r := newResults()
	for _, engine := range o.engines {
		if err := o.measure(ctx, v, engine, &r); err != nil {
			return fmt.Errorf("%s: %w", engine, err)
		}
	}
	fmt.Println(r.markdown())
	if o.write {
		if err := r.write(); err != nil {
			return err
		}
	}
	if lost := gate(before, r); o.gate && len(lost) > 0 {
		return fmt.Errorf("more than %s is lost:\n%s", percent(mostLost), strings.Join(lost, "\n"))
	}
	return nil
}

// measure takes all figures of one engine.
func (o options) measure(ctx context.Context, v *services, engine string, r *results) error {
	s, err := v.newSite(ctx, engine)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.open(ctx); err != nil {
		return err
	}
	sheet := processSheet{Engine: engine, First: s.first, Again: s.again, RestAfter: o.rest}
	if sheet.Rest, err = atRest(ctx, s, o.rest); err != nil {
		return err
	}
	info, err := os.Stat(v.authd)
	if err != nil {
		return err
	}
	sheet.Binary = info.Size()
	r.Processes = append(r.Processes, sheet)
	c, err := startCeilings(ctx, s.dir, s.ceiling)
	if err != nil {
		return err
	}
	defer c.close()
	var rounds []map[part]float64
	for _, sc := range slices.Concat(scenarios, others) {
		if !o.wants(sc.name) {
			continue
		}
		if o.gate && len(sc.parts) == 0 {
			continue
		}
		f, costs, err := measureEndpoint(s, c, o.plan, sc)
		if err != nil {
			return fmt.Errorf("%s: %w", sc.name, err)
		}
		fmt.Fprintf(os.Stderr, "%s %s: %s ms", engine, sc.name, digits(f.CPU))
		if f.Ratio > 0 {
			fmt.Fprintf(os.Stderr, ", %s of its ceiling", percent(f.Ratio))
		}
		fmt.Fprintln(os.Stderr)
		r.Figures, rounds = append(r.Figures, f), append(rounds, costs...)
	}
	r.Costs = append(r.Costs, sheets(engine, rounds)...)
	return nil
}
