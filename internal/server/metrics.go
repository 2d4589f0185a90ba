package server

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/foundation/secret"
	"github.com/authsdk/authsdk/internal/platform/audit"
	"github.com/authsdk/authsdk/internal/transport/web"
)

// measure adds the values that are read when somebody asks.
func (s *Server) measure() {
	s.Metrics.Gauge("database_connections_in_use", "Connections to the database in use.", func() float64 {
		inUse, _ := s.DB.Busy()
		return float64(inUse)
	})
	s.Metrics.Gauge("database_connections_max", "Connections to the database there may be.", func() float64 {
		_, most := s.DB.Busy()
		return float64(most)
	})
	s.Metrics.Gauge("password_hashes_waiting", "Password hashes that run or wait for a core.", func() float64 {
		return float64(s.hasher.Waiting())
	})
	s.Metrics.Gauge("revocation_tail_fresh", "1 if revocations were read within the last second.", func() float64 {
		if s.Feed.Fresh() {
			return 1
		}
		return 0
	})
	s.Metrics.Gauge("audit_default_partition_rows", "Audit events that have no month of their own, up to 10,000; PostgreSQL. -1 if the database does not answer.", func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
		defer cancel()
		n, err := audit.InDefaultPartition(ctx, s.DB, 10_000)
		if err != nil {
			return -1
		}
		return float64(n)
	})
	s.Metrics.Gauge("jobs_waiting", "Jobs that wait to run, now or later; -1 if the database does not answer.", func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
		defer cancel()
		n, err := s.Jobs.Waiting(ctx)
		if err != nil {
			return -1
		}
		return float64(n)
	})
}

// showMetrics asks for the token, if there is one.
func (s *Server) showMetrics(w http.ResponseWriter, r *http.Request) error {
	token := s.cfg.Metrics.Token.Reveal()
	given, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if token != "" && !secret.Equal([]byte(given), []byte(token)) {
		return fault.New(fault.InvalidToken)
	}
	s.Metrics.Handler().ServeHTTP(w, r)
	return nil
}

// serveMetrics serves /metrics on its own address, if there is one.
func (s *Server) serveMetrics(failed chan<- error) (stop func(), err error) {
	if s.cfg.Metrics.Addr == "" {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", s.cfg.Metrics.Addr)
	if err != nil {
		return nil, fmt.Errorf("METRICS__ADDR: cannot listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", web.Handle(s.Log, s.showMetrics))
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := srv.Serve(listener); err != http.ErrServerClosed {
			failed <- err
		}
	}()
	return func() { srv.Close() }, nil
}
