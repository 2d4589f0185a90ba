package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTheMedianAndPercentiles(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(tt.values); got != tt.want {
			t.Errorf("median(%v) = %v, want %v", tt.values, got, tt.want)
		}
	}
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(100-i))
	}
	for p, want := range map[float64]time.Duration{50: 50, 99: 99, 100: 100, 0: 1} {
		if got := percentile(hundred, p); got != want {
			t.Errorf("percentile %v of 1 to 100 = %d, want %d", p, got, want)
		}
	}
	if got := percentile(nil, 99); got != 0 {
		t.Errorf("a percentile of nothing is %v", got)
	}
	if got := percentile([]time.Duration{5, 7}, 99); got != 7 {
		t.Errorf("percentile 99 of two is %d, want the longer", got)
	}
}

func TestACeilingIsTheSumOfItsPartsAsOftenAsTheyAreNamed(t *testing.T) {
	costs := between(map[part]float64{httpPost: 10, sign: 900}, map[part]float64{httpPost: 30, sign: 1100})
	if got := sum([]part{httpPost, sign, httpPost}, costs); got != 1040 {
		t.Errorf("sum = %v, want 20 + 1000 + 20", got)
	}
}

func TestEveryPartOfAScenarioCanBeMeasured(t *testing.T) {
	operations, err := makeOperations(t.Context(), t.TempDir(), "sqlite://")
	if err != nil {
		t.Fatal(err)
	}
	for _, sc := range slices.Concat(scenarios, others) {
		for _, p := range slices.Concat(sc.parts, sc.strict) {
			if lengths[p] == 0 {
				t.Errorf("%s: nobody says how long %q is measured", sc.name, p)
			}
			if op := operations[p]; op == nil && p != httpPost && p != httpGet {
				t.Errorf("%s: %q is not measured", sc.name, p)
			}
		}
	}
	for _, p := range []part{sign, verify, jwtCheck, cached, readByKey, writeOne} {
		if micros, err := measure(t.Context(), operations[p], time.Millisecond, 1); err != nil || micros <= 0 {
			t.Errorf("%s costs %v µs, %v", p, micros, err)
		}
	}
	for _, a := range asides {
		if _, err := scenarioOf(a.endpoint); err != nil {
			t.Error(err)
		}
	}
}

func TestTheGateNamesWhatIsLost(t *testing.T) {
	before := results{Commit: "abc", Figures: []figure{
		{Engine: "SQLite", Endpoint: "login", Ratio: 0.9},
		{Engine: "SQLite", Endpoint: "refresh", Ratio: 0.8},
		{Engine: "SQLite", Endpoint: "OTP login", Ratio: 0.8},
		{Engine: "SQLite", Endpoint: "GET jwks.json", CPU: 1},
	}}
	now := results{Figures: []figure{
		{Engine: "SQLite", Endpoint: "login", Ratio: 0.9 * 0.86},   // within the margin
		{Engine: "SQLite", Endpoint: "refresh", Ratio: 0.8 * 0.84}, // beyond
	}}
	want := []string{"SQLite refresh: 67 % of its ceiling, 80 % at abc", "SQLite OTP login was not measured"}
	if got := gate(before, now); !slices.Equal(got, want) {
		t.Errorf("lost %q, want %q", got, want)
	}
	if got := gate(before, before); len(got) > 0 {
		t.Errorf("against itself, %q is lost", got)
	}
}

func TestTheBlockOfTheReadmeIsReplacedAndNothingElse(t *testing.T) {
	page := "before\n" + blockBegin + "\nold\n" + blockEnd + "\nafter\n"
	got, err := replaceBlock(page, "new\n")
	if want := "before\n" + blockBegin + "\nnew\n" + blockEnd + "\nafter\n"; got != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if again, err := replaceBlock(got, "new\n"); again != got || err != nil {
		t.Errorf("a second time gives %q, %v", again, err)
	}
	for _, page := range []string{"", blockBegin, blockEnd + blockBegin} {
		if _, err := replaceBlock(page, "new"); err == nil {
			t.Errorf("%q has no block, and that was no error", page)
		}
	}
}

func TestTablesHaveAsManyCellsAsTheirHeads(t *testing.T) {
	r := results{
		Figures: []figure{
			{Engine: "SQLite", Endpoint: "login", CPU: 22, Ceiling: 20, Ratio: 0.91, Rate: 20, P50: time.Millisecond},
			{Engine: "SQLite", Endpoint: "validate", CPU: 0.05, Ceiling: 0.04, Ratio: 0.8, Strict: 0.7},
			{Engine: "SQLite", Endpoint: "GET users/me", CPU: 0.2},
		},
		Costs:     []costSheet{{"SQLite", sign, 1000, 8}},
		Processes: []processSheet{{Engine: "SQLite"}},
	}
	g := growing{endpoint: "login", ratio: 1.1}
	l := overloading{asides: []aside{{endpoint: "refresh"}}}
	for _, text := range []string{r.markdown(), growthTable([]growing{g}), l.markdown()} {
		cells, tables := 0, 0
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, "|") {
				cells = 0
				continue
			}
			n := strings.Count(line, "|")
			if cells == 0 {
				cells, tables = n, tables+1
			}
			if n != cells {
				t.Errorf("%d cells in a table of %d: %s", n-1, cells-1, line)
			}
		}
		if tables == 0 {
			t.Errorf("no table in %q", text)
		}
	}
	if text := r.markdown(); !strings.Contains(text, "**91 %**") || !strings.Contains(text, "| GET users/me | SQLite | 0.200 |") {
		t.Errorf("a figure is missing:\n%s", text)
	}
}

func TestDigitsThatCount(t *testing.T) {
	for v, want := range map[float64]string{1234: "1234", 99.96: "100", 23.456: "23.5", 1.2345: "1.23", 0.2345: "0.234", 0.04321: "0.0432"} {
		if got := digits(v); got != want {
			t.Errorf("digits(%v) = %s, want %s", v, got, want)
		}
	}
}

func TestAnOverloadedServerMustShedPolitelyAndServeTheOthers(t *testing.T) {
	fine := func() overloading {
		var l overloading
		l.count([]outcome{{status: 200, latency: time.Second}, {status: 503, retryAfter: true}})
		l.asides = []aside{compare("refresh", []outcome{{status: 200, latency: 10}}, []outcome{{status: 200, latency: 20}})}
		return l
	}
	if broken := fine().broken(); len(broken) > 0 {
		t.Fatalf("all was kept, but: %v", broken)
	}
	for name, spoil := range map[string]func(l *overloading){
		"a 503 without Retry-After": func(l *overloading) { l.count([]outcome{{status: 503}}) },
		"another status":            func(l *overloading) { l.count([]outcome{{status: 500}}) },
		"nothing shed":              func(l *overloading) { l.shed = 0 },
		"memory":                    func(l *overloading) { l.peak = 201 << 20 },
		"a slow neighbour": func(l *overloading) {
			l.asides[0] = compare("refresh", []outcome{{status: 200, latency: 10}}, []outcome{{status: 200, latency: 21}})
		},
		"a failing neighbour": func(l *overloading) {
			l.asides[0] = compare("refresh", []outcome{{status: 200, latency: 10}}, []outcome{{status: 503, retryAfter: true}})
		},
	} {
		l := fine()
		spoil(&l)
		if len(l.broken()) != 1 {
			t.Errorf("%s: %v, want one complaint", name, l.broken())
		}
	}
}
