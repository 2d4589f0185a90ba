// Command orders-api is a small service that trusts the access tokens of authd.
// With -audience billing-api it is another service, which trusts other tokens.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/authsdk/authsdk/sdk/go/authsdk"
)

func main() {
	addr := flag.String("addr", cmp.Or(os.Getenv("ADDR"), "127.0.0.1:9001"), "listen on this address (env ADDR)")
	authURL := flag.String("auth", cmp.Or(os.Getenv("AUTH_URL"), "http://localhost:8000"), "base URL of authd (env AUTH_URL)")
	audience := flag.String("audience", cmp.Or(os.Getenv("AUDIENCE"), "orders-api"), "name of this service in tokens (env AUDIENCE)")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, *authURL, *audience); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves until ctx ends, then lets requests under way finish.
func run(ctx context.Context, addr, authURL, audience string) error {
	auth, err := authsdk.New(authURL, authsdk.Audience(audience), authsdk.OnRefusal(logRefusal))
	if err != nil {
		return err
	}
	defer auth.Close()

	mux := http.NewServeMux()
	mux.Handle("GET /orders", auth.RequireUser(listOrders(audience)))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })

	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Printf("%s listens. Try: curl -H \"Authorization: Bearer $TOKEN\" http://%s/orders\n", audience, listener.Addr())

	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		stopped <- server.Shutdown(grace)
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

type order struct {
	ID    string `json:"id"`
	Item  string `json:"item"`
	Cents int    `json:"cents"`
}

// listOrders gives every user the same two orders; a real service would look for
// those of id.UserID.
func listOrders(audience string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := authsdk.IdentityFrom(r.Context())
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{
			"service": audience,
			"user_id": id.UserID,
			"email":   id.Email,
			"orders":  []order{{"o-1001", "Coffee, 1 kg", 1890}, {"o-1002", "Teapot", 3450}},
		})
	})
}

// logRefusal writes down why; the caller is told only that.
func logRefusal(r *http.Request, e *authsdk.Error) {
	slog.Info("request refused", "method", r.Method, "path", r.URL.Path, "status", e.Status, "reason", e.Error())
}
