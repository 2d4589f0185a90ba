package e2e

import (
	"database/sql"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"sync"
)

// happened is the events that the servers of the whole suite recorded and sent:
// TestMain compares them with what is documented.
var happened struct {
	mu    sync.Mutex
	types map[string]bool
}

// heard notes what a stopped server has recorded. A database that a test took
// away has nothing to tell.
func (s *store) heard() {
	d, err := sql.Open(s.engine, s.dsn)
	if err != nil {
		return
	}
	defer d.Close()
	for _, query := range []string{`SELECT DISTINCT event_type FROM audit_events`, `SELECT DISTINCT event_type FROM webhook_deliveries`} {
		rows, err := d.Query(query)
		if err != nil {
			return
		}
		for rows.Next() {
			var name string
			if rows.Scan(&name) == nil {
				happened.mu.Lock()
				if happened.types == nil {
					happened.types = map[string]bool{}
				}
				happened.types[name] = true
				happened.mu.Unlock()
			}
		}
		rows.Close()
	}
}

var documentedEvent = regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\|")

// notInTheSuite are events that only happen in time that no test here can wait
// for, each with the test that makes them happen.
var notInTheSuite = map[string]string{
	"audit.head":       "a head is sealed each 30 s: platform/audit/chain_test.go",
	"webhook.disabled": "after three days of failures: core/webhook/result_test.go",
}

// batched are events that are written a second later, which a server that is
// killed at the end of its test may not reach; httpapi/machines_test.go reads them.
var batched = []string{"client.auth.failure", "client.authenticated", "api_key.used"}

// undocumented compares what the whole suite made happen with
// docs/reference/events.md, both ways.
func undocumented() (list []string) {
	if flag.Lookup("test.run").Value.String() != "" || flag.Lookup("test.skip").Value.String() != "" || happened.types == nil {
		return nil
	}
	text, err := os.ReadFile("../docs/reference/events.md")
	if err != nil {
		return []string{err.Error()}
	}
	documented := map[string]bool{}
	for _, m := range documentedEvent.FindAllStringSubmatch(string(text), -1) {
		documented[m[1]] = true
	}
	for name := range happened.types {
		if !documented[name] {
			list = append(list, fmt.Sprintf("the event %s happened, and docs/reference/events.md does not name it", name))
		}
	}
	for name := range documented {
		switch {
		case slices.Contains(batched, name):
		case happened.types[name] && notInTheSuite[name] != "":
			list = append(list, fmt.Sprintf("notInTheSuite names %s, which happens: delete it", name))
		case !happened.types[name] && notInTheSuite[name] == "":
			list = append(list, fmt.Sprintf("docs/reference/events.md names %s, which nothing in the suite makes happen", name))
		}
	}
	slices.Sort(list)
	return list
}
