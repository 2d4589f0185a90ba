package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// A part is one thing that an endpoint cannot do without.
type part string

// The parts. Their costs are processor time of the process that does them, on
// the measured core, without any of ours around them.
const (
	httpPost  part = "HTTP"         // net/http: POST, JSON decoded, JSON answered
	httpGet   part = "HTTP GET"     // net/http: GET, JSON answered
	argon     part = "Argon2id"     // 19 MiB, t=2, p=1
	sign      part = "sign"         // RSA-2048, PKCS #1 v1.5, SHA-256
	verify    part = "verify"       // the same
	jwtCheck  part = "JWT validate" // RS256 with the standard library: decode, verify, read the claims
	cached    part = "hash + look-up"
	readByKey part = "read"  // one row by its key
	writeOne  part = "write" // one row inserted and committed, durably
)

// lengths are how long a part is repeated for one measurement.
var lengths = map[part]time.Duration{
	httpPost: 400 * time.Millisecond, httpGet: 400 * time.Millisecond,
	argon: 500 * time.Millisecond, sign: 200 * time.Millisecond, verify: 50 * time.Millisecond, jwtCheck: 80 * time.Millisecond,
	cached: 30 * time.Millisecond, readByKey: 120 * time.Millisecond, writeOne: 150 * time.Millisecond,
}

// ceilings measures parts by asking two children on the measured core: a server
// that says hello, and this program doing the rest.
type ceilings struct {
	hello *process
	child io.Closer
	ask   *bufio.ReadWriter
	greet map[part]*crowd
}

func startCeilings(ctx context.Context, dir, databaseURL string) (_ *ceilings, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &ceilings{greet: map[part]*crowd{httpPost: {}, httpGet: {}}}
	for range 2 * connections {
		c.greet[httpPost].join(greeting{path: "/hello", body: `{"name":"somebody who logs in","number":7}`})
		c.greet[httpGet].join(greeting{path: "/hello"})
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	c.hello = &process{cmd: onMeasuredCore(ctx, self, "hello", address), address: address, ended: make(chan struct{})}
	c.hello.cmd.Stderr = os.Stderr
	if err := c.hello.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		c.hello.cmd.Wait() // the error is on our standard error
		close(c.hello.ended)
	}()
	if err := c.hello.await("/hello"); err != nil {
		return nil, err
	}
	child := onMeasuredCore(ctx, self, "ceiling", dir, databaseURL)
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.child, c.ask = in, bufio.NewReadWriter(bufio.NewReader(out), bufio.NewWriter(in))
	return c, child.Start()
}

func (c *ceilings) close() {
	c.child.Close() // its input ends, and so does it
	c.hello.stop()
}

// cost of a part, in microseconds.
func (c *ceilings) cost(p part) (float64, error) {
	if crowd := c.greet[p]; crowd != nil {
		return c.http(crowd, lengths[p])
	}
	fmt.Fprintf(c.ask, "%s\t%s\n", p, lengths[p])
	if err := c.ask.Flush(); err != nil {
		return 0, err
	}
	line, err := c.ask.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("the ceiling %q was not measured: %w", p, err)
	}
	var micros float64
	if _, err := fmt.Sscan(line, &micros); err != nil {
		return 0, fmt.Errorf("the ceiling %q was not measured: %s", p, strings.TrimSpace(line))
	}
	return micros, nil
}

func (c *ceilings) http(crowd *crowd, d time.Duration) (micros float64, err error) {
	before, err := c.hello.cpu()
	if err != nil {
		return 0, err
	}
	n, _, err := closed(c.hello.address, crowd, connections, d, anyNumber)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, errors.New("hello was never said")
	}
	after, err := c.hello.cpu()
	return float64((after - before).Nanoseconds()) / 1e3 / float64(n), err
}

// costs of parts, each measured once.
func (c *ceilings) costs(parts []part) (map[part]float64, error) {
	costs := map[part]float64{}
	for _, p := range parts {
		if _, there := costs[p]; there {
			continue
		}
		cost, err := c.cost(p)
		if err != nil {
			return nil, err
		}
		costs[p] = cost
	}
	return costs, nil
}

// sum is the ceiling of what needs these parts, each as often as it is named.
func sum(parts []part, costs map[part]float64) (micros float64) {
	for _, p := range parts {
		micros += costs[p]
	}
	return micros
}

type greeting struct{ path, body string }

func (g greeting) request(b []byte) []byte {
	if g.body == "" {
		return get(b, g.path, "")
	}
	return post(b, g.path, "", g.body)
}

func (greeting) reply([]byte) (bool, error) { return true, nil }
