package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

type healthcheckCmd struct {
	URL string `help:"Base URL of the authd to ask. Default: the configured port on this machine." name:"url"`
}

// Run implements the command.
func (c *healthcheckCmd) Run(e *env) error {
	base := c.URL
	if base == "" {
		cfg, err := load(e)
		if cfg == nil {
			return err
		}
		base = "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.App.Port))
	}
	ctx, cancel := context.WithTimeout(e.ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(base, "/")+"/health/ready", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", strings.TrimSpace(string(body)))
	}
	fmt.Fprintln(e.out, "ready")
	return nil
}
