package httpapi

import (
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/authsdk/authsdk/internal/flow/machine"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/transport/web"
)

// grantAPI is how services get tokens: the form bodies of POST /auth/token. Its
// refusals are those of RFC 6749 §5.2, with our envelope in the same object.
type grantAPI struct {
	log      *slog.Logger
	machines *machine.Service
}

// grantOutput is RFC 6749 §5.1.
type grantOutput struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int    `json:"expires_in"`
	Scope       string `json:"scope"`
}

// grantRefusal is RFC 6749 §5.2 and web.Envelope in one.
type grantRefusal struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
	web.Envelope
}

// The longest fields of the form, and the longest form.
const (
	maxFormField = 512
	maxFormScope = 4096
	maxForm      = 16 << 10
)

func (a grantAPI) token(w http.ResponseWriter, r *http.Request) error {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/x-www-form-urlencoded" {
		return fault.New(fault.UnsupportedMediaType)
	}
	in, refused := readGrant(w, r)
	if refused != nil {
		if refused.status < http.StatusInternalServerError {
			a.machines.Refused(r.Context(), refused.code)
		}
		a.refuse(w, r, *refused)
		return nil
	}
	t, err := a.machines.Grant(r.Context(), in)
	if err != nil {
		a.refuse(w, r, grantRefusalOf(err))
		return nil
	}
	web.WriteJSON(w, http.StatusOK, grantOutput{t.Access, "Bearer", int(t.ExpiresIn.Seconds()), t.Scope})
	return nil
}

// refusedGrant is a refusal in the words of RFC 6749.
type refusedGrant struct {
	status int
	error  string
	code   fault.Code
	detail string // empty: the code's
	cause  error
}

var (
	badForm      = refusedGrant{http.StatusBadRequest, "invalid_request", fault.ValidationError, "", nil}
	badGrantType = refusedGrant{http.StatusBadRequest, "unsupported_grant_type", fault.InvalidCredentials, "Unsupported grant type.", nil}
	badClient    = refusedGrant{http.StatusUnauthorized, "invalid_client", fault.InvalidCredentials, "Invalid client credentials.", nil}
)

func grantRefusalOf(err error) refusedGrant {
	code := fault.From(err).Code
	switch code {
	case fault.InvalidCredentials:
		return badClient
	case fault.InvalidScope:
		return refusedGrant{http.StatusBadRequest, "invalid_scope", code, "", nil}
	case fault.AudienceNotAllowed: // RFC 8707 §2
		return refusedGrant{http.StatusBadRequest, "invalid_target", code, "", nil}
	}
	return refusedGrant{cause: err, error: "temporarily_unavailable"}
}

func (a grantAPI) refuse(w http.ResponseWriter, r *http.Request, refused refusedGrant) {
	if refused.cause == nil {
		refused.cause = fault.New(refused.code)
	}
	status, header, body := web.Explain(r.Context(), a.log, refused.cause)
	if refused.status == 0 {
		refused.status = status
	}
	if body.Code == fault.InternalServerError.Slug {
		refused.error = "server_error"
	}
	if refused.detail != "" {
		body.Detail = refused.detail
	}
	header.Del("WWW-Authenticate")
	if refused.status == http.StatusUnauthorized && basicUsed(r) {
		header.Set("WWW-Authenticate", `Basic realm="authd"`)
	}
	for name, values := range header {
		w.Header()[name] = values
	}
	web.WriteJSON(w, refused.status, grantRefusal{refused.error, body.Detail, body})
}

// readGrant reads the form: the first value of each field, trimmed.
func readGrant(w http.ResponseWriter, r *http.Request) (in machine.Input, refused *refusedGrant) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		code := fault.From(web.BodyFault(err)).Code
		return in, &refusedGrant{code.Status, "invalid_request", code, "", nil}
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return in, &badForm
	}
	get := func(name string) string { return strings.TrimSpace(form.Get(name)) }
	for name, longest := range map[string]int{
		"grant_type": maxFormField, "client_id": maxFormField, "client_secret": maxFormField, "audience": maxFormField, "scope": maxFormScope,
	} {
		if value := form.Get(name); len(value) > longest || !web.IsText(value) {
			return in, &badForm
		}
	}
	in = machine.Input{ClientID: get("client_id"), Secret: get("client_secret"), Scope: get("scope"), Audience: get("audience")}
	if basicUsed(r) {
		id, secret, ok := basicOf(r)
		switch {
		case in.Secret != "", in.ClientID != "" && ok && in.ClientID != id: // one method a request (RFC 6749 §2.3)
			return in, &badForm
		case !ok, len(id) > maxFormField, len(secret) > maxFormField:
			return in, &badClient
		}
		in.ClientID, in.Secret = id, secret
	}
	if get("grant_type") != "client_credentials" {
		return in, &badGrantType
	}
	return in, nil
}

// basicUsed reports whether the client chose Authorization: Basic.
func basicUsed(r *http.Request) bool {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "Basic")
}
