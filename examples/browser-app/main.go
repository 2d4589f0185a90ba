// Command browser-app serves a page and, under the same origin, the two services
// it calls: authd at /_auth/ and orders-api at /api/. So the browser keeps the
// session in cookies of one origin, no script sees a token, and CORS never enters.
package main

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

//go:embed static
var static embed.FS

type settings struct {
	addr         string
	auth, orders string // base URLs
	cert, key    string // files; empty: plain HTTP
}

func main() {
	var s settings
	flag.StringVar(&s.addr, "addr", cmp.Or(os.Getenv("ADDR"), "127.0.0.1:8080"), "listen on this address (env ADDR)")
	flag.StringVar(&s.auth, "auth", cmp.Or(os.Getenv("AUTH_URL"), "http://localhost:8000"), "base URL of authd (env AUTH_URL)")
	flag.StringVar(&s.orders, "orders", cmp.Or(os.Getenv("ORDERS_URL"), "http://127.0.0.1:9001"), "base URL of orders-api (env ORDERS_URL)")
	flag.StringVar(&s.cert, "cert", os.Getenv("TLS_CERT"), "certificate file, for HTTPS (env TLS_CERT)")
	flag.StringVar(&s.key, "key", os.Getenv("TLS_KEY"), "key file, for HTTPS (env TLS_KEY)")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves until ctx ends, then lets requests under way finish.
func run(ctx context.Context, s settings) error {
	handler, err := routes(s.auth, s.orders)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		stopped <- server.Shutdown(grace)
	}()
	if s.cert == "" {
		fmt.Printf("The page is at http://%s\n", strings.Replace(listener.Addr().String(), "127.0.0.1", "localhost", 1))
		err = server.Serve(listener)
	} else {
		fmt.Printf("The page is at https://%s\n", listener.Addr())
		err = server.ServeTLS(listener, s.cert, s.key)
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

// routes is the whole recipe: what of which service is public, and under what path.
func routes(auth, orders string) (http.Handler, error) {
	toAuth, err := proxy("/_auth/", auth, "/auth/")
	if err != nil {
		return nil, err
	}
	toOrders, err := proxy("/api/", orders, "/")
	if err != nil {
		return nil, err
	}
	page, err := fs.Sub(static, "static")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/_auth/", toAuth)
	mux.Handle("/api/", toOrders)
	mux.Handle("/", onlySelf(http.FileServerFS(page)))
	return mux, nil
}

// proxy passes from… on to to… of the service at base. The Host header stays that
// of the page, so that the service can tell the page's origin from others.
func proxy(from, base, to string) (http.Handler, error) {
	target, err := url.Parse(strings.TrimRight(base, "/") + to)
	if err != nil || target.Host == "" {
		return nil, fmt.Errorf("%q is no base URL such as http://localhost:8000", base)
	}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
		r.SetXForwarded()
	}}
	return http.StripPrefix(strings.TrimSuffix(from, "/"), forward), nil
}

// onlySelf lets the page load and call nothing but this origin, and run no script
// that is written into it.
func onlySelf(next http.Handler) http.Handler {
	const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}
