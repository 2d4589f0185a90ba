package httpapi

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/authsdk/authsdk/internal/core/session"
	"github.com/authsdk/authsdk/internal/foundation/fault"
	"github.com/authsdk/authsdk/internal/transport/web"
)

type sessionAPI struct{ sessions *session.Service }

func (a sessionAPI) routes() []Route {
	return []Route{
		plain("POST /auth/token", "Trade a refresh token for new tokens", a.token, jsonBody[refreshInput, tokens](true),
			fault.SessionExpired, fault.RateLimited, fault.MalformedRequest, fault.ValidationError,
			fault.RequestTooLarge, fault.UnsupportedMediaType).tag("Sessions"),
		plain("POST /auth/logout", "End a session", a.logout, jsonBody[refreshInput, struct{}](false),
			fault.InvalidToken, fault.MalformedRequest, fault.ValidationError, fault.RequestTooLarge).
			tag("Sessions").success(http.StatusNoContent),
		plain("GET /auth/validate", "Tell whether an access token is good right now", a.validate, nil).
			tag("Services").auth(Session).success(http.StatusNoContent),
	}
}

type refreshInput struct {
	RefreshToken string `json:"refresh_token" minLength:"16" maxLength:"512"`
}

func (in refreshInput) check() error {
	if len(in.RefreshToken) < 16 || len(in.RefreshToken) > 512 {
		return fault.Invalid("refresh_token", "must be 16 to 512 characters long")
	}
	return nil
}

func (a sessionAPI) token(w http.ResponseWriter, r *http.Request) error {
	if isForm(r) {
		return fault.New(fault.UnsupportedMediaType)
	}
	var in refreshInput
	if err := readJSON(r, &in); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	pair, err := a.sessions.Rotate(r.Context(), in.RefreshToken)
	if err != nil {
		return err
	}
	web.WriteJSON(w, http.StatusOK, tokensOf(pair))
	return nil
}

// logout needs no live access token: the refresh token alone is enough.
func (a sessionAPI) logout(w http.ResponseWriter, r *http.Request) error {
	var in refreshInput
	if err := readJSON(r, &in); err != nil {
		return err
	}
	if in.RefreshToken == "" {
		return fault.New(fault.InvalidToken)
	}
	if err := in.check(); err != nil {
		return err
	}
	if err := a.sessions.Logout(r.Context(), bearer(r.Header.Get("Authorization")), in.RefreshToken); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a sessionAPI) validate(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// jsonBody documents what a plain handler takes and gives.
func jsonBody[I, O any](required bool) func(op *huma.Operation, api huma.API) {
	return func(op *huma.Operation, api huma.API) {
		op.RequestBody = &huma.RequestBody{
			Required: required,
			Content:  map[string]*huma.MediaType{"application/json": {Schema: schemaOf[I](api)}},
		}
		documentAnswer[O](op, api)
	}
}
