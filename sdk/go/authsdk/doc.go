// Package authsdk lets a Go service trust the access tokens of an authsdk
// server. It needs the standard library only.
//
//	auth, err := authsdk.New("http://localhost:8000", authsdk.Audience("orders-api"))
//	mux.Handle("GET /orders", auth.RequireUser(ordersHandler))
//	id := authsdk.IdentityFrom(r.Context())
//
// A token goes one way through the package: extract (extract.go), parse
// (token.go, json.go), find the key and verify the signature (keys.go, jwk.go),
// check the claims (claims.go), ask the server whether the session still lives
// (session.go). User tokens take every step on every request; tokens of machine
// clients ("m2m") are judged offline.
//
// Whatever goes wrong, the request is refused: 401 if the token is at fault, 503
// with Retry-After if the auth service could not be asked. A 503 never says
// anything about the token.
package authsdk

// Version is the version of this module, sent as "User-Agent: authsdk-go/<version>".
const Version = "0.1.0"
