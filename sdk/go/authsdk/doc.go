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
// A token in a cookie was perhaps not sent on purpose: writes with one are checked
// against cross-site request forgery (csrf.go). What a user must confirm with a
// one-time code brings a second token, which is spent (action.go).
//
// Whatever goes wrong, the request is refused: 401 if the token is at fault, 403
// if its holder may not do this, 503 with Retry-After if the auth service could
// not be asked. A 503 never says anything about the token.
package authsdk

// Version is the version of this module, sent as "User-Agent: authsdk-go/<version>".
const Version = "0.1.0"
