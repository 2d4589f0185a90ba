package authsdk_test

import (
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/authsdk/authsdk/sdk/go/authsdk"
)

func ExampleClient_RequireUser() {
	auth, err := authsdk.New("http://localhost:8000", authsdk.Audience("orders-api"))
	if err != nil {
		log.Fatal(err)
	}
	defer auth.Close()

	orders := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := authsdk.IdentityFrom(r.Context())
		fmt.Fprintf(w, "the orders of %s\n", id.Email)
	})
	refund := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { /* … */ })

	mux := http.NewServeMux()
	mux.Handle("GET /orders", auth.RequireUser(orders))
	mux.Handle("POST /refunds", auth.RequireRole("admin")(auth.RequireFreshAuth(5*time.Minute)(refund)))
	log.Fatal(http.ListenAndServe("127.0.0.1:9001", mux))
}

// A service that pages of the same origin call with their cookies. Writes must
// repeat the CSRF cookie in the header X-CSRF-Token; the guards see to it.
func ExampleTokenSources() {
	auth, err := authsdk.New("http://localhost:8000", authsdk.Audience("orders-api"), authsdk.TokenSources("authorization", "cookie"))
	if err != nil {
		log.Fatal(err)
	}
	defer auth.Close()

	order := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "ordered, by %s\n", authsdk.TransportFrom(r.Context())) // "authorization" or "cookie"
	})
	http.Handle("POST /orders", auth.RequireUser(order))
	log.Fatal(http.ListenAndServe("127.0.0.1:9001", nil))
}

// Every refund is confirmed with a one-time code, for that refund and no other.
func ExampleClient_RequireActionToken() {
	auth, err := authsdk.New("http://localhost:8000", authsdk.Audience("orders-api"))
	if err != nil {
		log.Fatal(err)
	}
	defer auth.Close()

	refund := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { /* … */ })
	order := authsdk.ActionTarget(func(r *http.Request) string { return r.PathValue("order") })
	http.Handle("POST /orders/{order}/refund", auth.RequireActionToken("orders-api:refund", order)(refund))
	log.Fatal(http.ListenAndServe("127.0.0.1:9001", nil))
}
