package httpapi

import (
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/authsdk/authsdk/internal/core/keyring"
	"github.com/authsdk/authsdk/internal/transport/web"
)

type keyringAPI struct{ keys *keyring.Keyring }

func (a keyringAPI) routes() []Route {
	return []Route{
		plain("GET /.well-known/jwks.json", "The keys that verify tokens", a.jwks, answersJWKS).tag("Services").quiet().limit(web.Machine).anyHost(),
	}
}

func answersJWKS(op *huma.Operation, api huma.API) {
	answers[jwks](op, api)
	op.Responses["304"] = &huma.Response{Description: "The keys are those of the ETag in If-None-Match."}
}

// jwks is a JWK Set (RFC 7517 §5).
type jwks struct {
	Keys []jwk `json:"keys"`
}

type jwk struct {
	KeyType   string `json:"kty" enum:"RSA,EC,OKP"`
	Use       string `json:"use" enum:"sig"`
	Algorithm string `json:"alg" enum:"RS256,ES256,EdDSA"`
	KeyID     string `json:"kid"`
	N         string `json:"n,omitempty" doc:"RSA modulus."`
	E         string `json:"e,omitempty" doc:"RSA exponent."`
	Curve     string `json:"crv,omitempty"`
	X         string `json:"x,omitempty"`
	Y         string `json:"y,omitempty"`
}

// jwks may be cached for a minute: a new key is published before it signs.
func (a keyringAPI) jwks(w http.ResponseWriter, r *http.Request) error {
	body, etag := a.keys.JWKS()
	h := w.Header()
	h.Set("Cache-Control", "public, max-age=60")
	h.Del("Pragma")
	h.Set("ETag", etag)
	if sameTag(r.Header.Get("If-None-Match"), etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", jsonType)
	w.Write(body) // a failed write has nobody left to tell
	return nil
}

// sameTag reports whether an If-None-Match header names the tag; weak tags do
// (RFC 9110 §13.1.2).
func sameTag(header, etag string) bool {
	for tag := range strings.SplitSeq(header, ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
			return true
		}
	}
	return false
}
