package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// results are what a run found out; results.json keeps those that the gate
// compares with.
type results struct {
	Commit  string `json:"commit"`
	Machine string `json:"machine"`
	Date    string `json:"date"`
	Command string `json:"command"`

	Figures   []figure       `json:"figures"`
	Processes []processSheet `json:"processes"`
	Costs     []costSheet    `json:"ceilings"`
}

type processSheet struct {
	Engine       string        `json:"engine"`
	First, Again time.Duration // start to ready: an empty database, and later
	Rest         int64         `json:"rest_bytes"`
	RestAfter    time.Duration `json:"rest_after_ns"`
	Binary       int64         `json:"binary_bytes"`
}

// costSheet is a part's median over a whole run on one engine.
type costSheet struct {
	Engine string  `json:"engine"`
	Part   part    `json:"part"`
	Micros float64 `json:"us"`
	N      int     `json:"n"`
}

func newResults() results {
	return results{Commit: commit(), Machine: machine(), Date: time.Now().UTC().Format("2006-01-02 15:04 UTC"), Command: "cd bench && go run . " + strings.Join(os.Args[1:], " ")}
}

func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=9", "--exclude=*").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func machine() string {
	model := "unknown processor"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, found := strings.Cut(string(info), "model name"); found {
			line, _, _ := strings.Cut(rest, "\n")
			model = strings.TrimLeft(line, " \t:")
		}
	}
	cores := 0
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		cores = strings.Count("\n"+string(info), "\nprocessor")
	}
	return fmt.Sprintf("%d cores %s, %s", cores, model, runtime.Version())
}

// sheets are the medians of all measurements of the parts.
func sheets(engine string, rounds []map[part]float64) (list []costSheet) {
	for _, p := range []part{httpPost, httpGet, sign, verify, jwtCheck, argon, cached, readByKey, writeOne} {
		var all []float64
		for _, costs := range rounds {
			if cost, there := costs[p]; there {
				all = append(all, cost)
			}
		}
		if len(all) > 0 {
			list = append(list, costSheet{engine, p, median(all), len(all)})
		}
	}
	return list
}

// markdown is the results as tables.
func (r results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "`%s`, commit %s, %s, %s. Core 0 has the measured process alone (GOMAXPROCS=1), core 1 the generator, PostgreSQL and Redis.\n", r.Command, r.Commit, r.Date, r.Machine)
	r.writeFigures(&b, true)
	r.writeFigures(&b, false)
	if len(r.Costs) > 0 {
		b.WriteString("\n| ceiling | engine | µs | n |\n|---|---|---|---|\n")
		for _, c := range r.Costs {
			fmt.Fprintf(&b, "| %s | %s | %s | %d |\n", c.Part, c.Engine, digits(c.Micros), c.N)
		}
	}
	if len(r.Processes) > 0 {
		b.WriteString("\n| process | start to ready, new database | again | memory at rest | binary |\n|---|---|---|---|---|\n")
		for _, p := range r.Processes {
			fmt.Fprintf(&b, "| %s | %s ms | %s ms | %s MB after %s | %s MB |\n", p.Engine, millis(p.First), millis(p.Again), megabytes(p.Rest), p.RestAfter, megabytes(p.Binary))
		}
	}
	return b.String()
}

func (r results) writeFigures(b *strings.Builder, withCeiling bool) {
	head := "\n| endpoint | engine | CPU ms/request | summed ceiling ms | of the ceiling (rounds) | with HTTP as asked | /core-s | r/s, 16 connections | p50 / p99 ms at rate | peak MB |\n|---|---|---|---|---|---|---|---|---|---|\n"
	if !withCeiling {
		head = "\n| endpoint | engine | CPU ms/request | RSA sign beside it, ms | /core-s | r/s, 16 connections | p50 / p99 ms at rate | peak MB |\n|---|---|---|---|---|---|---|---|\n"
	}
	for _, f := range r.Figures {
		if (f.Ratio > 0) != withCeiling {
			continue
		}
		b.WriteString(head)
		head = ""
		fmt.Fprintf(b, "| %s | %s | %s | ", f.Endpoint, f.Engine, digits(f.CPU))
		if withCeiling {
			strict := ""
			if f.Strict > 0 {
				strict = percent(f.Strict)
			}
			fmt.Fprintf(b, "%s | **%s** (%s–%s) | %s | ", digits(f.Ceiling), percent(f.Ratio), percent(f.Low), percent(f.High), strict)
		} else {
			fmt.Fprintf(b, "%s | ", digits(f.Sign))
		}
		open := ""
		if f.Rate > 0 {
			open = fmt.Sprintf("%s / %s at %s", millis(f.P50), millis(f.P99), digits(f.Rate))
		}
		fmt.Fprintf(b, "%s | %s | %s | %s |\n", digits(1e3/f.CPU), digits(f.Seen), open, megabytes(f.Peak))
	}
}

func percent(ratio float64) string  { return fmt.Sprintf("%.0f %%", ratio*100) }
func megabytes(n int64) string      { return fmt.Sprintf("%.0f", float64(n)/(1<<20)) }
func millis(d time.Duration) string { return digits(float64(d.Microseconds()) / 1e3) }

// digits writes three of them that count.
func digits(v float64) string {
	switch a := math.Abs(v); {
	case a >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case a >= 9.995:
		return fmt.Sprintf("%.1f", v)
	case a >= 0.9995:
		return fmt.Sprintf("%.2f", v)
	case a >= 0.09995:
		return fmt.Sprintf("%.3f", v)
	}
	return fmt.Sprintf("%.4f", v)
}

// The block of the README that a run writes.
const (
	blockBegin = "<!-- bench:begin -->"
	blockEnd   = "<!-- bench:end -->"
)

// replaceBlock puts text between the marks.
func replaceBlock(page, text string) (string, error) {
	before, rest, begun := strings.Cut(page, blockBegin)
	_, after, ended := strings.Cut(rest, blockEnd)
	if !begun || !ended {
		return "", fmt.Errorf("README.md has no lines %s and %s: add them where the tables belong", blockBegin, blockEnd)
	}
	return before + blockBegin + "\n" + text + blockEnd + after, nil
}

const (
	readme     = "README.md"
	resultFile = "results.json"
)

// write keeps the results: tables in the README, ratios for the gate.
func (r results) write() error {
	page, err := os.ReadFile(readme)
	if err != nil {
		return fmt.Errorf("run it in bench/: %w", err)
	}
	text, err := replaceBlock(string(page), r.markdown())
	if err != nil {
		return err
	}
	encoded, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(resultFile, append(encoded, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(readme, []byte(text), 0o644)
}

// mostLost is the share of a ratio that the gate lets go.
const mostLost = 0.15

// gate names what is lost against an earlier run.
func gate(before, now results) (lost []string) {
	found := map[string]figure{}
	for _, f := range now.Figures {
		found[f.Engine+" "+f.Endpoint] = f
	}
	for _, f := range before.Figures {
		if f.Ratio == 0 {
			continue
		}
		name := f.Engine + " " + f.Endpoint
		switch got, there := found[name]; {
		case !there:
			lost = append(lost, name+" was not measured")
		case got.Ratio < f.Ratio*(1-mostLost):
			lost = append(lost, fmt.Sprintf("%s: %s of its ceiling, %s at %s", name, percent(got.Ratio), percent(f.Ratio), before.Commit))
		}
	}
	return lost
}

func readResults() (r results, err error) {
	encoded, err := os.ReadFile(resultFile)
	if err != nil {
		return r, fmt.Errorf("there is nothing to compare with: run it with -write first (%w)", err)
	}
	return r, json.Unmarshal(encoded, &r)
}
