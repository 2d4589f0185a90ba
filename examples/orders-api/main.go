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
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/authsdk/authsdk/sdk/go/authsdk"
)

func main() {
	addr := flag.String("addr", cmp.Or(os.Getenv("ADDR"), "127.0.0.1:9001"), "listen on this address (env ADDR)")
	authURL := flag.String("auth", cmp.Or(os.Getenv("AUTH_URL"), "http://localhost:8000"), "base URL of authd (env AUTH_URL)")
	audience := flag.String("audience", cmp.Or(os.Getenv("AUDIENCE"), "orders-api"), "name of this service in tokens (env AUDIENCE)")
	cookies := flag.Bool("cookies", os.Getenv("COOKIES") == "true", "accept sessions in cookies, too (env COOKIES=true)")
	access := flag.String("access-cookie", cmp.Or(os.Getenv("ACCESS_COOKIE"), "__Host-auth_access"), "cookie of the access token (env ACCESS_COOKIE)")
	csrf := flag.String("csrf-cookie", cmp.Or(os.Getenv("CSRF_COOKIE"), "__Host-auth_csrf"), "cookie that writes repeat in X-CSRF-Token (env CSRF_COOKIE)")
	flag.Parse()

	opts := []authsdk.Option{authsdk.Audience(*audience), authsdk.OnRefusal(logRefusal)}
	if *cookies {
		opts = append(opts, authsdk.TokenSources("authorization", "cookie"), authsdk.AccessCookieName(*access), authsdk.CSRFCookieName(*csrf))
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, *authURL, *audience, opts); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves until ctx ends, then lets requests under way finish.
func run(ctx context.Context, addr, authURL, audience string, opts []authsdk.Option) error {
	auth, err := authsdk.New(authURL, opts...)
	if err != nil {
		return err
	}
	defer auth.Close()

	book := &orderBook{service: audience, byUser: map[string]*orders{}}
	mux := http.NewServeMux()
	mux.Handle("GET /orders", auth.RequireUserFunc(book.list))
	mux.Handle("POST /orders", auth.RequireUserFunc(book.add))
	confirmed := auth.RequireActionToken(audience+":cancel", authsdk.ActionTarget(orderOf))
	mux.Handle("DELETE /orders/{order}", confirmed(http.HandlerFunc(book.cancel)))
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

// orderBook keeps orders in memory. Every user begins with the same two.
type orderBook struct {
	service string

	mu     sync.Mutex
	byUser map[string]*orders
}

type orders struct {
	made int // ever
	list []order
}

// maxOrders bounds what one user can make us keep.
const maxOrders = 100

// of returns the orders of the caller. The book must be locked.
func (b *orderBook) of(id authsdk.Identity) *orders {
	o := b.byUser[id.UserID]
	if o == nil {
		o = &orders{2, []order{{"o-1001", "Coffee, 1 kg", 1890}, {"o-1002", "Teapot", 3450}}}
		b.byUser[id.UserID] = o
	}
	return o
}

func (b *orderBook) list(w http.ResponseWriter, r *http.Request) {
	id := authsdk.IdentityFrom(r.Context())
	b.mu.Lock()
	list := slices.Clone(b.of(id).list)
	b.mu.Unlock()
	answer(w, http.StatusOK, map[string]any{"service": b.service, "user_id": id.UserID, "email": id.Email, "orders": list})
}

func (b *orderBook) add(w http.ResponseWriter, r *http.Request) {
	var wanted struct {
		Item string `json:"item"`
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&wanted)
	if err != nil || wanted.Item == "" || len(wanted.Item) > 100 {
		answer(w, http.StatusUnprocessableEntity, map[string]string{"detail": "Name the item, in at most 100 bytes.", "code": "validation_error"})
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.of(authsdk.IdentityFrom(r.Context()))
	if len(o.list) == maxOrders {
		answer(w, http.StatusConflict, map[string]string{"detail": "You have enough orders.", "code": "too_many_orders"})
		return
	}
	o.made++
	made := order{fmt.Sprintf("o-%d", 1000+o.made), wanted.Item, 990}
	o.list = append(o.list, made)
	answer(w, http.StatusCreated, made)
}

func (b *orderBook) cancel(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.of(authsdk.IdentityFrom(r.Context()))
	n := len(o.list)
	o.list = slices.DeleteFunc(o.list, func(o order) bool { return o.ID == orderOf(r) })
	if len(o.list) == n {
		answer(w, http.StatusNotFound, map[string]string{"detail": "There is no such order.", "code": "not_found"})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// orderOf is the order in the path.
func orderOf(r *http.Request) string { return r.PathValue("order") }

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

// logRefusal writes down why; the caller is told only that.
func logRefusal(r *http.Request, e *authsdk.Error) {
	slog.Info("request refused", "method", r.Method, "path", r.URL.Path, "status", e.Status, "reason", e.Error())
}
