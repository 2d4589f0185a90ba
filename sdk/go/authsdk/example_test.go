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
