package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/authsdk/authsdk/internal/core/webhook"
)

// webhookListenCmd is a receiver to try webhooks with.
type webhookListenCmd struct {
	Addr   string `default:"127.0.0.1:9999" help:"Where to listen."`
	Secret string `required:"" env:"AUTHD_WEBHOOK_SECRET" placeholder:"SECRET" help:"The webhook's secret."`
	Count  int    `default:"0" help:"End after so many deliveries; 0 goes on until Ctrl-C."`
}

const mostDelivery = 1 << 20

// Run implements the command.
func (c *webhookListenCmd) Run(e *env) error {
	listener, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w", c.Addr, err)
	}
	fmt.Fprintf(e.out, "Waiting for deliveries at http://%s/\n", listener.Addr())
	ctx, enough := context.WithCancel(e.ctx)
	defer enough()
	l := &deliveryListener{env: e, secret: c.Secret, left: c.Count, enough: enough}
	srv := &http.Server{Handler: l, ReadTimeout: 15 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(listener) }()
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if closeErr := srv.Shutdown(last); closeErr != nil {
		srv.Close()
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// deliveryListener prints what comes, one after the other.
type deliveryListener struct {
	env    *env
	secret string
	mu     sync.Mutex
	left   int // deliveries until enough is called; 0: no end
	enough func()
}

func (l *deliveryListener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostDelivery))
	if r.Method != http.MethodPost || err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	now := time.Now()
	verdict, status := "signature ok", http.StatusNoContent
	if err := webhook.Verify(l.secret, r.Header, body, now); err != nil {
		verdict, status = "BAD signature: "+err.Error(), http.StatusUnauthorized
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.env.out, "%s  %s  %s  %s\n%s\n", now.Format("15:04:05"), printable(r.Header.Get("X-Webhook-Event")), printable(r.Header.Get("Webhook-Id")), verdict, readable(body))
	w.WriteHeader(status)
	if l.left > 0 {
		if l.left--; l.left == 0 {
			l.enough()
		}
	}
}

// readable is a body for a terminal.
func readable(body []byte) string {
	var b bytes.Buffer
	if json.Indent(&b, body, "  ", "  ") != nil {
		return "  " + printable(string(body))
	}
	return "  " + printable(b.String())
}

// printable leaves out what would move a terminal's cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
